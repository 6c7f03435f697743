//! R7: first shots and retries keep to one time table, so that a retry never meets the other side in its place.

use super::bench::*;
use crate::Action;

/// When a node fires, in milliseconds since its peer was lost, with a device that fails each time after so long.
fn shots(mut bench: Bench, lost: &ReplicaView, fails_after: u64, until: u64) -> Vec<u64> {
    bench.beat();
    bench.view(lost.clone());
    let start = bench.now;
    let mut shots = Vec::new();
    while bench.now < start + until {
        bench.pass(50);
        bench.view(lost.clone());
        if bench.acts().contains(&Action::Fence(BETA)) {
            shots.push(bench.now - start);
            bench.pass(fails_after);
            bench.misfired();
        }
    }
    shots
}

#[test]
fn a_retry_never_meets_the_other_node_in_its_place() {
    for latency in [0, 200, 1000, 3000] {
        for fails_after in [50, 300, 1000, 4000] {
            let known = |mut bench: Bench| {
                bench.monitored(latency);
                bench.said.fence_latency = latency;
                bench
            };
            let primary = shots(known(Bench::primary()), &frozen(), fails_after, 200_000);
            let standby = shots(known(Bench::standby()), &orphan(), fails_after, 200_000);
            assert!(
                primary.len() >= 3 && standby.len() >= 3,
                "both go on trying"
            );
            for one in &primary {
                for other in &standby {
                    let apart = one.abs_diff(*other);
                    assert!(
                        apart > latency + DELAY / 8,
                        "latency {latency}, fails after {fails_after}: {one} and {other}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_device_that_fails_once_is_tried_again_in_the_same_slot() {
    let shots = shots(Bench::primary(), &frozen(), 50, 30_000);
    assert_eq!(shots.first(), Some(&DEAD));
    assert!(shots[1] - shots[0] < DELAY / 2, "{shots:?}");
}

/// Kept from looking at the clock for less than counts as having stood still, again and again.
#[test]
fn a_slot_that_was_missed_is_over() {
    let mut bench = Bench::standby();
    bench.beat();
    bench.monitored(DELAY / 2);
    bench.view(orphan());
    bench.pass(DEAD + DELAY - 50);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.stall(DEAD / 2);
    let missed = bench.acts().is_empty();
    assert!(
        missed,
        "the slot of the other side begins before this shot would have hit"
    );
    bench.view(orphan());
    bench.pass(5 * DELAY);
    assert_eq!(bench.acts(), []);
}

/// Its own services had to go first: the primary has been in the race since the two lost each other.
#[test]
fn who_wants_it_late_has_no_race_of_its_own() {
    for late in [DELAY + DELAY / 2, 3 * DELAY, 5 * DELAY] {
        let mut bench = Bench::standby();
        bench.stores_at_once = false;
        bench.beat();
        bench.view(orphan());
        bench.pass(DEAD + late);
        bench.stored(Ok(()));
        let waited = bench.wait_for(&Action::Fence(BETA), 20 * DELAY);
        let place = (late + waited) % (6 * DELAY);
        assert!(
            (DELAY..=DELAY + DELAY / 2).contains(&place),
            "after {late} ms, in its second slot: {place}"
        );
    }
}
