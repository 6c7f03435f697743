//! Disks that have failed or hang: both nodes tell a person, once each, and say when it is over.

use super::bench::*;
use crate::{Level, Profile};

const HANG: u64 = as_ms(Profile::Default.hang());

fn told(bench: &Bench, level: Level, words: &str) -> usize {
    let told = bench.told.iter();
    told.filter(|(at, what)| *at == level && what.contains(words))
        .count()
}

fn faults(bench: &Bench) -> Vec<String> {
    bench.agent.status().resources[0].faults.clone()
}

#[test]
fn what_the_replica_says_is_an_alarm_on_primary_and_standby() {
    for (mut bench, view) in [(Bench::primary(), primary()), (Bench::standby(), standby())] {
        let dead = "the metadata of beta can't be written";
        for _ in 0..3 {
            bench.view(ReplicaView {
                faults: vec![dead.into()],
                ..view.clone()
            });
            bench.live(INTERVAL);
        }
        assert_eq!(told(&bench, Level::Alarm, dead), 1, "once");
        assert_eq!(faults(&bench), [dead]);
        let other = "the disk of alpha has failed";
        bench.view(ReplicaView {
            faults: vec![dead.into(), other.into()],
            ..view.clone()
        });
        bench.live(INTERVAL);
        assert_eq!(told(&bench, Level::Alarm, other), 1, "each for itself");
        bench.view(view);
        bench.live(INTERVAL);
        assert_eq!(told(&bench, Level::Info, "it is over"), 2);
        assert!(faults(&bench).is_empty());
    }
}

#[test]
fn a_standby_whose_disk_hangs_is_an_alarm_there() {
    let mut bench = Bench::standby();
    let since = bench.now;
    while bench.now < since + HANG - INTERVAL {
        bench.view(ReplicaView {
            oldest: Duration::from_millis(bench.now - since),
            ..standby()
        });
        bench.live(INTERVAL);
    }
    assert!(faults(&bench).is_empty(), "a slow disk is none");
    for _ in 0..3 {
        bench.view(ReplicaView {
            oldest: Duration::from_millis(bench.now - since),
            ..standby()
        });
        bench.live(INTERVAL);
    }
    assert_eq!(told(&bench, Level::Alarm, "answers nothing"), 1);
    bench.view(standby());
    bench.live(INTERVAL);
    // It has moved when it was seen to have nothing to do.
    assert!(faults(&bench).is_empty());
}

#[test]
fn and_on_the_primary_whatever_becomes_of_the_connection() {
    let mut bench = Bench::primary();
    bench.said.resources[0].oldest_ms = HANG;
    for view in [primary(), frozen(), alone()] {
        bench.view(view);
        bench.live(INTERVAL);
        assert_eq!(faults(&bench).len(), 1);
    }
    assert_eq!(told(&bench, Level::Alarm, "beta answers nothing"), 1);
    bench.said.resources[0].oldest_ms = 0;
    bench.live(INTERVAL);
    assert!(faults(&bench).is_empty());
}
