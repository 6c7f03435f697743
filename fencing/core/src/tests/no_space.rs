//! A replica whose writes wait for space: an alarm, and nothing else (R13).

use super::bench::*;
use crate::Level;

fn full(view: ReplicaView) -> ReplicaView {
    ReplicaView {
        no_space: Some("no space on alpha: free room".into()),
        ..view
    }
}

#[test]
fn it_is_an_alarm_once_and_nobody_is_shot_or_promoted() {
    for (mut bench, view) in [(Bench::primary(), primary()), (Bench::standby(), standby())] {
        for _ in 0..10 {
            bench.view(full(view.clone()));
            bench.live(DEAD);
        }
        assert!(bench.was_told(Level::Alarm, "free room"));
        assert_eq!(bench.acts(), []);
        let state = &bench.agent.status().resources[0];
        assert!(state.state.contains("NO SPACE") && state.no_space.is_some());
        bench.view(view);
        assert!(bench.was_told(Level::Info, "what waited for space is written"));
        assert_eq!(bench.agent.status().resources[0].no_space, None);
    }
}
