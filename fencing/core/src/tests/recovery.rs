//! Services that end by themselves.

use std::time::Duration;

use super::bench::*;
use crate::{Action, Level, Operator, Order, Recovery, Services};

/// Of a test, milliseconds.
const WINDOW: u64 = 60_000;

/// A primary whose services run, and are started again twice within [`WINDOW`].
fn serving() -> Bench {
    let mut bench = Bench::serving(|config| {
        config.recovery = Some(Recovery {
            restarts: 2,
            window: Duration::from_millis(WINDOW),
        });
    });
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    bench.said.resources[0].ready = true;
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    bench
}

/// Time passes in which the replica and the other agent are well.
fn passes(bench: &mut Bench, ms: u64) {
    for _ in 0..ms / 1000 {
        bench.live(1000);
        bench.view(primary());
    }
}

/// They end, and are started again.
fn ends_and_comes_back(bench: &mut Bench) {
    bench.ended();
    assert_eq!(bench.acts(), [start(5)]);
    assert!(bench.was_told(Level::Warning, "ended by itself: db: started again"));
    bench.services(Ok(()));
    assert_eq!(bench.agent.resources[R0].services, Services::Up);
}

#[test]
fn they_are_started_again_so_often_and_then_the_role_goes_over() {
    let mut bench = serving();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert!(bench.was_told(Level::Alarm, "too often: the role goes to beta"));
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Ok(()));
    let hand_over = |act: &Action| matches!(act, Action::Order(R0, Order::HandOver { .. }));
    assert!(bench.acts().iter().any(hand_over));
    bench.live(INTERVAL);
    assert!(bench.says().gave_up);
    bench.live(WINDOW);
    assert!(!bench.says().gave_up, "for a while");
}

#[test]
fn an_end_counts_for_a_while() {
    let mut bench = serving();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.live(WINDOW);
    bench.acts();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
}

#[test]
fn who_has_given_them_up_does_not_get_them_back() {
    let mut bench = serving();
    bench.said.resources[0].gave_up = true;
    bench.beat();
    ends_and_comes_back(&mut bench);
    passes(&mut bench, WINDOW / 2);
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert!(bench.was_told(
        Level::Alarm,
        "beta has given them up as well. Started again in 30 s"
    ));
    passes(&mut bench, WINDOW / 2 - 2000);
    assert_eq!(bench.acts(), []);
    passes(&mut bench, 3000);
    assert_eq!(bench.acts(), [start(5)]);
}

#[test]
fn they_go_over_as_soon_as_somebody_can_have_them() {
    let mut bench = serving();
    bench.said.resources[0].ready = false;
    bench.beat();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert!(bench.was_told(Level::Alarm, "beta would not take over"));
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].ready = true;
    bench.live(1000);
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
}

#[test]
fn what_was_given_up_and_has_stayed_is_not_given_up_again_and_again() {
    let mut bench = serving();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Err("busy"));
    assert!(bench.was_told(Level::Alarm, "the switchover is given up"));
    passes(&mut bench, 10_000);
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    bench.ended();
    assert!(bench.was_told(Level::Alarm, "they were given up here before"));
    passes(&mut bench, 10_000);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_start_that_fails_in_maintenance_moves_nothing() {
    let mut bench = serving();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.agent.config.recovery = bench.agent.config.recovery.map(|mut recovery| {
        recovery.restarts = 3;
        recovery
    });
    bench.ended();
    assert_eq!(bench.acts(), [start(5)]);
    bench.ask(Operator::Maintenance(true)).unwrap();
    bench.services(Err("exit status 1"));
    passes(&mut bench, 5000);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.agent.resources[R0].switching, None);
}

#[test]
fn a_person_has_them_started_at_once() {
    let mut bench = serving();
    bench.said.resources[0].gave_up = true;
    bench.beat();
    ends_and_comes_back(&mut bench);
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert_eq!(bench.acts(), []);
    bench.ask(Operator::Clear).unwrap();
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    ends_and_comes_back(&mut bench);
}

#[test]
fn those_that_do_not_come_up_are_tried_elsewhere() {
    let mut bench = serving();
    bench.ended();
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Err("exit status 1"));
    assert!(bench.was_told(Level::Alarm, "did not come up: exit status 1"));
    bench.live(10_000);
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Err("exit status 1"));
    assert!(bench.was_told(Level::Alarm, "the role goes to beta"));
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
}

#[test]
fn nobody_is_started_in_maintenance_or_without_a_policy() {
    let mut bench = serving();
    bench.ask(Operator::Maintenance(true)).unwrap();
    bench.ended();
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.agent.resources[R0].services, Services::Up);
    bench.ask(Operator::Maintenance(false)).unwrap();
    bench.agent.config.recovery = None;
    bench.ended();
    assert_eq!(bench.acts(), []);
}

#[test]
fn who_waits_for_the_device_has_not_ended() {
    let mut bench = serving();
    let waits = |bench: &Bench| bench.agent.io_waits(R0);
    assert!(!waits(&bench));
    bench.view(frozen());
    assert!(waits(&bench), "suspended");
    bench.view(primary());
    assert!(!waits(&bench), "it goes on");
    // Its disk answers nothing, or its process says nothing: what takes no longer than a pause is none.
    bench.live(DEAD);
    assert!(!waits(&bench));
    bench.live(INTERVAL);
    assert!(waits(&bench), "it stands still");
    bench.view(ReplicaView {
        progress: 8,
        ..primary()
    });
    assert!(!waits(&bench), "it goes on");
    bench.gone();
    assert!(waits(&bench), "nobody serves it");
    bench.view(ReplicaView {
        run: 2,
        open: false,
        ..primary()
    });
    assert!(waits(&bench), "it is not open yet");
}

#[test]
fn what_is_really_gone_counts_also_while_the_device_waits() {
    for stalled in [frozen(), primary()] {
        let mut bench = serving();
        bench.view(stalled);
        bench.live(DEAD + INTERVAL);
        bench.acts();
        assert!(bench.agent.io_waits(R0));
        bench.ended();
        assert!(bench.was_told(Level::Warning, "ended by itself: db: started again"));
    }
}
