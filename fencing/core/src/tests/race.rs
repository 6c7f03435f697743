//! R7: who of two that live and have lost each other fires first.

use super::bench::*;
use crate::{Action, Level, Profile};

/// How long it waits to fire, once its peer is lost.
fn delay(mut bench: Bench, lost: ReplicaView) -> u64 {
    bench.beat();
    bench.view(lost);
    bench.wait_for(&Action::Fence(BETA), DEAD + 200 * DELAY) - DEAD
}

#[test]
fn the_primary_fires_at_once() {
    assert_eq!(delay(Bench::primary(), frozen()), 0);
}

#[test]
fn the_standby_waits_the_fence_delay() {
    assert_eq!(delay(Bench::standby(), orphan()), DELAY);
}

#[test]
fn the_standby_waits_longer_than_its_device_takes() {
    let mut bench = Bench::standby();
    bench.monitored(DELAY);
    assert_eq!(delay(bench, orphan()), 2 * DELAY);
}

#[test]
fn the_standby_waits_longer_than_the_device_of_the_primary_takes() {
    let mut bench = Bench::standby();
    bench.said.fence_latency = 2 * DELAY;
    assert_eq!(delay(bench, orphan()), 4 * DELAY);
}

#[test]
fn the_measured_latency_is_published() {
    let mut bench = Bench::standby();
    bench.monitored(1234);
    bench.pass(INTERVAL);
    assert_eq!(bench.sent.last().expect("a beat").fence_latency, 1234);
}

#[test]
fn a_latency_beyond_all_measure_is_waited_for_and_nothing_overflows() {
    let mut bench = Bench::standby();
    bench.said.fence_latency = u64::MAX;
    bench.beat();
    bench.pinged(false);
    bench.view(orphan());
    bench.pass(10 * DEAD);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.power(Some(false));
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn an_isolated_primary_waits_longer_than_the_standby() {
    let mut isolated = Bench::primary();
    isolated.pinged(false);
    let isolated = delay(isolated, frozen());
    let standby = delay(Bench::standby(), orphan());
    assert!(isolated >= standby + DELAY, "{isolated} and {standby}");
}

/// Its disk hung, and its replica with it: the standby is in its slot by now.
#[test]
fn a_primary_that_notices_late_waits_for_its_next_slot() {
    let late = |by: u64, hung: bool| {
        let mut bench = Bench::primary();
        bench.beat();
        bench.pass(DEAD + by);
        if !hung {
            bench.view(primary());
        }
        bench.view(frozen());
        by + bench.wait_for(&Action::Fence(BETA), 200 * DELAY)
    };
    assert_eq!(late(DELAY / 4, true), DELAY / 4);
    assert_eq!(late(DELAY, true), 6 * DELAY);
    assert_eq!(late(7 * DELAY, true), 12 * DELAY);
    assert_eq!(late(7 * DELAY, false), 7 * DELAY);
}

/// The cables were cut in the moment of its promotion: the other one thinks that nobody is primary.
#[test]
fn an_isolated_primary_waits_longer_than_one_that_does_not_know_of_it() {
    let mut isolated = Bench::primary();
    isolated.pinged(false);
    let isolated = delay(isolated, frozen());
    let mut other = Bench::with(|config| {
        config.node = 2;
        config.peers[BETA].node = 1;
    });
    other.view(standby());
    other.live(INTERVAL);
    let other = delay(other, orphan());
    assert!(isolated >= other + DELAY, "{isolated} and {other}");
}

#[test]
fn an_isolated_standby_waits_longest() {
    let mut standby = Bench::standby();
    standby.pinged(false);
    let mut primary = Bench::primary();
    primary.pinged(false);
    let (standby, primary) = (delay(standby, orphan()), delay(primary, frozen()));
    assert!(standby >= primary + DELAY, "{standby} and {primary}");
}

#[test]
fn clients_that_answer_again_give_the_advantage_back() {
    let mut bench = Bench::primary();
    bench.pinged(false);
    assert!(bench.was_told(Level::Warning, "no ping target answers"));
    bench.pinged(true);
    assert_eq!(delay(bench, frozen()), 0);
}

#[test]
fn power_read_as_off_ends_the_wait() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.power(Some(false));
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    assert!(bench.was_told(Level::Info, "off already"));
}

#[test]
fn power_that_is_on_or_not_known_does_not_end_the_wait() {
    for read in [Some(true), None] {
        let mut bench = Bench::standby();
        bench.beat();
        bench.view(orphan());
        bench.pass(DEAD);
        bench.power(read);
        bench.pass(DELAY - 1);
        assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
        bench.pass(1);
        assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    }
}

#[test]
fn power_read_as_off_does_not_hurry_a_device_that_fails() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.misfired();
    bench.acts();
    bench.power(Some(false));
    assert_eq!(bench.acts(), []);
}

#[test]
fn power_read_as_off_shoots_at_nobody_who_is_heard() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.pass(DEAD);
    bench.acts();
    bench.beat();
    bench.power(Some(false));
    bench.pass(DELAY);
    assert!(!bench.acts().contains(&Action::Fence(BETA)));
}

#[test]
fn fence_loops_are_damped_and_the_race_stays_one() {
    let mut bench = Bench::primary();
    let mut waited = Vec::new();
    for _ in 0..6 {
        bench.beat();
        bench.view(frozen());
        waited.push(bench.wait_for(&Action::Fence(BETA), DEAD + 100_000) - DEAD);
        bench.fenced();
        bench.order().expect("the receipt");
        bench.obeyed();
        bench.view(alone());
        assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
        bench.new_run();
        bench.beat();
        bench.view(primary());
    }
    assert_eq!(waited[..2], [0, 0]);
    assert!(waited[2] >= 5_000 && waited[3] >= 15_000 && waited[4] >= 60_000);
    assert!(waited[5] <= 90_000, "it has an end: {waited:?}");
}

#[test]
fn damping_is_forgotten_in_time() {
    let mut bench = Bench::primary();
    for _ in 0..4 {
        bench.beat();
        bench.view(frozen());
        bench.wait_for(&Action::Fence(BETA), DEAD + 100_000);
        bench.fenced();
        bench.order();
        bench.obeyed();
        bench.view(alone());
        bench.acts();
        bench.new_run();
        bench.beat();
        bench.view(primary());
    }
    bench.live(11 * 60 * 1000);
    assert_eq!(delay(bench, frozen()), 0);
}

/// Whatever the latency, and however often the primary has fired: nobody fires while a shot of the other is under way.
#[test]
fn a_damped_primary_and_its_standby_never_fire_together() {
    for latency in (0..40).map(|half| half * 500) {
        for shots in 0..6 {
            for isolated in [false, true] {
                let mut primary = Bench::primary();
                primary.monitored(latency);
                primary.said.fence_latency = latency;
                let now = primary.time();
                primary.agent.peers[BETA].shots = vec![now; shots];
                if isolated {
                    primary.pinged(false);
                }
                let primary = delay(primary, frozen());
                let mut standby = Bench::standby();
                standby.monitored(latency);
                standby.said.fence_latency = latency;
                let standby = delay(standby, orphan());
                let apart = primary.abs_diff(standby);
                assert!(
                    apart > latency,
                    "{latency} ms, {shots} shots: {primary} and {standby}"
                );
            }
        }
    }
}

#[test]
fn who_stood_still_has_lost_the_advantage_for_a_while() {
    let late = |since: u64| {
        let mut bench = Bench::primary();
        bench.stall(10 * DEAD);
        bench.live(since);
        delay(bench, frozen())
    };
    assert_eq!(late(0), 3 * DELAY);
    assert_eq!(late(2 * DEAD + DELAY), 0);
}

#[test]
fn a_standby_that_stood_still_waits_longest() {
    let mut bench = Bench::standby();
    bench.stall(10 * DEAD);
    assert_eq!(delay(bench, orphan()), 4 * DELAY);
}

#[test]
fn all_times_follow_the_profile() {
    for profile in [Profile::Fast, Profile::Default, Profile::Wide] {
        let mut bench = Bench::with(|config| config.profile = profile);
        bench.meet(standby());
        bench.beat();
        bench.view(orphan());
        let lost = as_ms(profile.dead() + profile.fence_delay());
        assert_eq!(
            bench.wait_for(&Action::Fence(BETA), lost),
            lost,
            "{profile:?}"
        );
        let mut bench = Bench::with(|config| config.profile = profile);
        bench.meet(primary());
        bench.beat();
        bench.view(frozen());
        let dead = as_ms(profile.dead());
        let waited = bench.wait_for(&Action::Fence(BETA), dead);
        assert_eq!(waited, dead, "{profile:?}");
    }
}

#[test]
fn a_primary_whose_peer_was_primary_a_moment_ago_fires_at_once() {
    let mut bench = Bench::with(|config| {
        config.node = 2;
        config.peers[BETA].node = 1;
    });
    bench.meet(standby());
    bench.view(primary());
    assert_eq!(delay(bench, frozen()), 0, "its last beat is older");
}
