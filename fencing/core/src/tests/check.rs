//! What a fence device says while the node that it belongs to is heard.

use super::bench::*;
use crate::{Action, Level, Power, Role};

const CHECK: Action = Action::CheckPower(BETA);
const READ: Action = Action::ReadPower(BETA);
const EARLY: u64 = DEAD / 4;

/// Its peer has just been heard for the first time, and its devices are asked.
fn asked() -> Bench {
    let mut bench = Bench::with(|config| config.peers[BETA].reads_power = true);
    bench.checks = None;
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].can_promote = false;
    bench.view(standby());
    bench.beat();
    assert_eq!(bench.acts(), [CHECK], "at once, not after a minute");
    bench
}

fn answer(bench: &mut Bench, on: Option<bool>) {
    bench.agent.handle_checked(bench.time(), BETA, power(on));
    bench.settle();
}

fn state(bench: &Bench) -> String {
    bench.agent.status().peers[0].state.clone()
}

#[test]
fn nothing_is_read_of_a_silent_node_whose_device_never_read_on() {
    for read in [Some(false), None] {
        let mut bench = asked();
        answer(&mut bench, read);
        bench.live(EARLY);
        bench.pass(EARLY);
        bench.view(orphan());
        bench.pass(DEAD - EARLY - TICK);
        assert_eq!(bench.acts(), [], "{read:?}");
        bench.pass(DELAY + TICK);
        assert_eq!(bench.acts(), [Action::Fence(BETA)], "in its time");
    }
    let mut bench = asked();
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [], "it has not answered yet");
}

#[test]
fn a_device_that_has_read_on_is_believed_and_asked_once_a_minute() {
    let mut bench = asked();
    answer(&mut bench, Some(true));
    bench.live(59_000);
    assert_eq!(bench.acts(), []);
    bench.live(1_250);
    assert_eq!(bench.acts(), [CHECK]);
    answer(&mut bench, Some(true));
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
}

#[test]
fn a_wrong_device_is_an_alarm_until_it_reads_on() {
    let mut bench = asked();
    answer(&mut bench, Some(false));
    assert!(
        !bench.was_told(Level::Alarm, "beta"),
        "for an instant, perhaps"
    );
    bench.live(1_000);
    assert_eq!(bench.acts(), [CHECK]);
    answer(&mut bench, Some(false));
    assert!(bench.was_told(
        Level::Alarm,
        "beta: its power reads as off (the switch) while it runs: the plug or the device is wrong"
    ));
    assert!(
        state(&bench).contains("twindisk fence test beta"),
        "{}",
        state(&bench)
    );
    bench.live(2_000);
    assert_eq!(bench.acts(), [CHECK]);
    answer(&mut bench, None);
    assert!(!bench.was_told(Level::Alarm, "beta"), "once");
    bench.live(5_000);
    assert_eq!(bench.acts(), [CHECK]);
    answer(&mut bench, Some(true));
    assert!(bench.was_told(Level::Info, "reads as on again"));
    assert_eq!(state(&bench), "heard");
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
}

#[test]
fn what_is_read_of_who_falls_silent_or_starts_anew_meanwhile_is_no_check() {
    let mut bench = asked();
    bench.pass(EARLY);
    answer(&mut bench, Some(true));
    assert_eq!(
        bench.acts(),
        [],
        "it is silent, and its device was not proved"
    );
    bench.live(1_000);
    assert_eq!(bench.acts(), [CHECK]);
    bench.new_run();
    bench.beat();
    answer(&mut bench, Some(false));
    bench.live(60_000);
    assert!(!bench.was_told(Level::Alarm, "beta"));
}

#[test]
fn a_shot_and_a_reading_end_a_check() {
    let mut bench = asked();
    bench.checks = Some(Power::On);
    answer(&mut bench, Some(true));
    bench.checks = None;
    bench.live(60_000);
    assert_eq!(bench.acts(), [CHECK]);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    answer(&mut bench, Some(false));
    bench.live(60_000);
    assert_eq!(bench.acts(), [CHECK], "nobody has asked for that answer");
}

#[test]
fn nobody_checks_where_readings_prove_nothing() {
    let mut bench = Bench::new();
    bench.checks = None;
    bench.meet(standby());
    bench.live(61_000);
    assert_eq!(bench.acts(), []);
}
