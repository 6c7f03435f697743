//! What is run once the services are up on a new primary.

use std::time::Duration;

use super::bench::*;
use crate::{Action, Level, Operator, Recovery, Services};

/// A primary whose services are about to come up.
fn starting() -> Bench {
    let mut bench = Bench::serving(|config| {
        config.resources[R0].after_promote = true;
        config.recovery = Some(Recovery {
            restarts: 2,
            window: Duration::from_secs(60),
        });
    });
    bench.said.resources[0].ready = true;
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench
}

const fn hook(term: u64) -> Action {
    Action::AfterPromote { resource: R0, term }
}

fn over(bench: &mut Bench, term: u64, result: Result<(), &str>) {
    let result = result.map_err(str::to_owned);
    let now = bench.time();
    bench.agent.handle_after_promote(now, R0, term, result);
    bench.settle();
}

#[test]
fn it_runs_once_when_the_services_are_up_and_not_when_they_are_started_again_in_place() {
    let mut bench = starting();
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [hook(5)]);
    bench.live(5000);
    bench.view(primary());
    assert_eq!(bench.acts(), [], "beside itself");
    over(&mut bench, 5, Ok(()));
    assert_eq!(bench.acts(), []);
    bench.ended();
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [], "once more");
}

#[test]
fn services_that_come_up_late_are_told_of_when_they_have() {
    let mut bench = starting();
    bench.services(Err("exit status 1"));
    assert_eq!(bench.acts(), []);
    bench.live(10_000);
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [hook(5)]);
}

#[test]
fn that_it_fails_is_an_alarm_and_nothing_else() {
    let mut bench = starting();
    bench.services(Ok(()));
    bench.acts();
    over(&mut bench, 5, Err("exit status 7"));
    assert!(bench.was_told(Level::Alarm, "after-promote failed"));
    assert_eq!(bench.agent.resources[R0].services, Services::Up);
    bench.live(20_000);
    bench.view(primary());
    assert_eq!(bench.acts(), []);
}

#[test]
fn it_runs_anew_when_the_services_have_been_down() {
    let mut bench = starting();
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [hook(5)]);
    bench.ask(Operator::Yield).unwrap();
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    // It was ended with them: what it had come to counts no more.
    over(&mut bench, 5, Err("killed"));
    assert!(!bench.was_told(Level::Alarm, "after-promote"));
    bench.services(Ok(()));
    for _ in 0..91 {
        bench.live(1000);
        bench.view(primary());
    }
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [hook(5)]);
}

#[test]
fn it_waits_for_the_end_of_maintenance() {
    let mut bench = starting();
    bench.ask(Operator::Maintenance(true)).unwrap();
    bench.services(Ok(()));
    assert_eq!(bench.acts(), []);
    bench.ask(Operator::Maintenance(false)).unwrap();
    assert_eq!(bench.acts(), [hook(5)]);
}
