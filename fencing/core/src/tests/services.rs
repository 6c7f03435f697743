//! Services follow the primary role.

use super::bench::*;
use crate::{Action, Level, Operator, Role, Services};

fn bench() -> Bench {
    Bench::serving(|_| ())
}

/// A primary whose services run.
fn serving() -> Bench {
    let mut bench = bench();
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    bench
}

fn state(bench: &Bench) -> Services {
    bench.agent.resources[R0].services
}

#[test]
fn they_start_when_the_device_is_open() {
    let mut bench = bench();
    let mut view = primary();
    view.open = false;
    bench.view(view);
    assert_eq!(bench.acts(), []);
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.view(primary());
    assert_eq!(bench.acts(), [], "once");
}

#[test]
fn what_an_earlier_agent_left_is_stopped_where_they_do_not_belong() {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = true);
    assert_eq!(state(&bench), Services::Stopping);
    bench.services(Ok(()));
    bench.view(standby());
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    assert_eq!(state(&bench), Services::Down);
}

#[test]
fn they_stay_while_their_device_waits_or_its_process_comes_back() {
    let mut bench = serving();
    bench.view(frozen());
    bench.beat();
    bench.gone();
    bench.live(DEAD);
    let mut back = standby();
    back.led = primary().led;
    back.run = 2;
    back.peer_role = Some(Role::Standby);
    bench.view(back);
    assert_eq!(bench.acts(), []);
    assert_eq!(state(&bench), Services::Up);
}

#[test]
fn they_go_down_when_the_role_is_lost() {
    let mut bench = serving();
    bench.view(standby());
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Ok(()));
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn they_go_down_when_the_other_agent_says_that_it_is_primary() {
    let mut bench = serving();
    bench.view(ReplicaView {
        run: 2,
        led: primary().led,
        ..orphan()
    });
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].term = 6;
    bench.beat();
    bench.pass(0);
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
}

#[test]
fn one_that_loses_its_role_while_they_start_stops_them_when_they_have() {
    let mut bench = bench();
    bench.view(primary());
    bench.acts();
    bench.view(standby());
    assert_eq!(bench.acts(), [], "one thing at a time");
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
}

#[test]
fn those_that_do_not_come_up_are_an_alarm_and_tried_again() {
    let mut bench = bench();
    bench.view(primary());
    bench.acts();
    bench.services(Err("no mount point"));
    assert!(bench.was_told(Level::Alarm, "its services did not come up: no mount point"));
    bench.live(9_999);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [start(5)]);
}

#[test]
fn those_that_do_not_go_down_are_an_alarm_and_tried_again() {
    let mut bench = serving();
    bench.view(standby());
    bench.acts();
    bench.services(Err("busy"));
    assert!(bench.was_told(Level::Alarm, "its services did not go down: busy"));
    bench.live(10_000);
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
}

#[test]
fn an_outcome_that_nobody_waits_for_is_nothing() {
    let mut bench = serving();
    bench.services(Err("what?"));
    assert_eq!(state(&bench), Services::Up);
    assert!(!bench.was_told(Level::Alarm, ""));
}

#[test]
fn they_are_left_alone_in_maintenance_and_when_the_agent_leaves() {
    for wish in [Operator::Maintenance(true), Operator::Leave] {
        let mut bench = serving();
        bench.ask(wish).expect("possible");
        bench.view(standby());
        bench.live(DEAD);
        assert_eq!(bench.acts(), [], "{wish:?}");
    }
}

#[test]
fn a_resource_without_services_has_none() {
    let mut bench = Bench::primary();
    bench.view(standby());
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    assert_eq!(state(&bench), Services::Unknown);
}
