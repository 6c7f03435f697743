//! Services that end by themselves.

use std::time::Duration;

use super::bench::*;
use crate::{Action, Level, Memory, Operator, Order, Recovery, Services, TermOf};

/// Of a test, milliseconds.
const WINDOW: u64 = 60_000;

/// A primary whose services run, and are started again twice within [`WINDOW`].
fn serving() -> Bench {
    let memory = Memory {
        version: 1,
        holds: vec!["r0".into()],
        services: vec![TermOf {
            resource: "r0".into(),
            term: 5,
        }],
        ..Memory::default()
    };
    let mut bench = Bench::remembering(memory, |config| {
        config.resources[R0].has_services = true;
        config.recovery = Some(Recovery {
            restarts: 2,
            window: Duration::from_millis(WINDOW),
        });
    });
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    bench
}

/// They end, and are started again.
fn ends_and_comes_back(bench: &mut Bench) {
    bench.ended();
    assert_eq!(bench.acts(), [start(5)]);
    assert!(bench.was_told(Level::Warning, "ended by itself: database: started again"));
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
    bench.live(WINDOW / 2);
    bench.acts();
    ends_and_comes_back(&mut bench);
    bench.ended();
    assert!(bench.was_told(
        Level::Alarm,
        "beta has given them up as well. Started again in 30 s"
    ));
    assert_eq!(bench.acts(), []);
    bench.live(WINDOW / 2 - 2 * INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.live(3 * INTERVAL);
    assert_eq!(bench.acts(), [start(5)]);
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
