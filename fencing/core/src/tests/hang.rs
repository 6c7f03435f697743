//! What a watchdog is fed for.

use super::bench::*;
use crate::{Level, Profile, ReplicaView};

const HANG: u64 = Profile::Default.hang();

fn busy(progress: u64) -> ReplicaView {
    ReplicaView {
        progress,
        oldest_ms: 100,
        ..primary()
    }
}

/// Looks at the replica for a while, each time with what `view` makes of the number of the look.
fn look(bench: &mut Bench, ms: u64, view: impl Fn(u64) -> ReplicaView) {
    for number in 0..ms / INTERVAL {
        bench.view(view(number));
        bench.live(INTERVAL);
    }
}

#[test]
fn a_primary_that_gets_nothing_done_though_there_is_something_to_do_hangs() {
    let mut bench = Bench::primary();
    bench.view(busy(7));
    look(&mut bench, HANG - INTERVAL, |_| busy(7));
    assert!(bench.agent.is_well());
    look(&mut bench, 2 * INTERVAL, |_| busy(7));
    assert!(!bench.agent.is_well());
    let alarms = |told: &&(Level, String)| told.0 == Level::Alarm;
    look(&mut bench, HANG, |_| busy(7));
    assert_eq!(bench.told.iter().filter(alarms).count(), 1, "once");
    bench.view(busy(8));
    assert!(bench.agent.is_well(), "it goes on");
}

#[test]
fn a_primary_whose_process_says_nothing_hangs() {
    let mut bench = Bench::primary();
    bench.live(HANG + INTERVAL);
    assert!(!bench.agent.is_well());
}

#[test]
fn one_that_works_waits_for_a_receipt_or_has_nothing_to_do_does_not_hang() {
    let idle = |_| primary();
    let waits = |_| ReplicaView {
        oldest_ms: 100,
        ..frozen()
    };
    let mut bench = Bench::primary();
    look(&mut bench, 2 * HANG, busy);
    assert!(bench.agent.is_well());
    look(&mut bench, 2 * HANG, idle);
    assert!(bench.agent.is_well());
    look(&mut bench, 2 * HANG, waits);
    assert!(bench.agent.is_well());
}

#[test]
fn a_standby_and_one_without_a_process_do_not_hang() {
    let mut bench = Bench::standby();
    bench.live(2 * HANG);
    assert!(bench.agent.is_well());
    let mut bench = Bench::primary();
    bench.gone();
    bench.live(2 * HANG);
    assert!(bench.agent.is_well());
}

#[test]
fn the_time_in_which_the_agent_stood_still_is_nobody_hanging() {
    let mut bench = Bench::primary();
    bench.stall(2 * HANG);
    assert!(bench.agent.is_well());
}
