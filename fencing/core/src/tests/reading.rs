//! R6: what the power of a silent node reads as.

use super::bench::*;
use crate::{Action, Level, Operator, Order, Profile, Role};

const EARLY: u64 = DEAD / 4;
const GAP: u64 = 200;
const READ: Action = Action::ReadPower(BETA);

fn reads(role: Role) -> Bench {
    let mut bench = Bench::with(|config| config.peers[BETA].reads_power = true);
    bench.meet(if role == Role::Primary {
        primary()
    } else {
        standby()
    });
    bench
}

fn lost(role: Role) -> ReplicaView {
    if role == Role::Primary {
        frozen()
    } else {
        orphan()
    }
}

/// It has lost its peer, and reads its power for the first time.
fn reading(role: Role) -> Bench {
    let mut bench = reads(role);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    bench.view(lost(role));
    assert_eq!(bench.acts(), []);
    bench
}

fn off_twice(bench: &mut Bench) {
    bench.power(Some(false));
    bench.pass(GAP);
    assert_eq!(bench.acts(), [READ]);
    bench.power(Some(false));
}

#[test]
fn power_that_reads_as_off_twice_is_a_receipt_and_nobody_is_shot() {
    for role in [Role::Primary, Role::Standby] {
        let mut bench = reading(role);
        let start = bench.now;
        off_twice(&mut bench);
        let Some(Order::ReceiptFenced { about, detail, met }) = bench.order() else {
            panic!("{role:?}: no receipt");
        };
        assert_eq!((about, met), (BETA, 70));
        assert!(
            detail.contains("off twice, 200 ms apart: the switch"),
            "{detail}"
        );
        assert!(bench.now - start < EARLY, "long before it counts as dead");
        assert!(bench.was_told(Level::Info, "beta is off, and need not be fenced"));
        assert_eq!(bench.memory().intents, []);
        bench.obeyed();
        bench.pass(10 * DEAD);
        assert!(!bench.acts().contains(&Action::Fence(BETA)));
    }
}

#[test]
fn one_reading_is_none_and_the_second_one_comes_a_while_later() {
    let mut bench = reading(Role::Standby);
    bench.power(Some(false));
    bench.pass(GAP - 1);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert_eq!(bench.acts(), [READ]);
    bench.power(Some(true));
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [], "on is on");
    bench.power(Some(false));
    assert_eq!(bench.acts(), [], "nobody has asked");
}

#[test]
fn what_was_read_before_a_beat_means_nothing() {
    let mut bench = reading(Role::Standby);
    bench.power(Some(false));
    bench.beat();
    bench.pass(GAP);
    assert_eq!(bench.acts(), [], "the first one is forgotten");
    bench.pass(2 * EARLY);
    assert_eq!(bench.acts(), [READ]);
    bench.beat();
    bench.power(Some(false));
    bench.pass(EARLY - 1);
    assert_eq!(bench.acts(), [], "it was under way when the beat came");
    bench.pass(2 * EARLY);
    assert_eq!(bench.acts(), [READ]);
    bench.power(Some(false));
    bench.pass(GAP);
    bench.acts();
    bench.beat();
    bench.power(Some(false));
    bench.pass(DEAD - 1);
    assert_eq!(bench.order_among(), None);
}

#[test]
fn an_agent_that_stood_still_begins_anew() {
    let mut bench = reading(Role::Standby);
    bench.power(Some(false));
    bench.stall(DEAD);
    assert_eq!(bench.acts(), []);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    bench.power(Some(false));
    assert_eq!(bench.acts(), [], "that is the first one");
}

#[test]
fn power_that_is_on_or_not_known_changes_nothing_of_the_timetable() {
    for (role, due) in [(Role::Primary, DEAD), (Role::Standby, DEAD + DELAY)] {
        for read in [Some(true), None] {
            let mut bench = reading(role);
            bench.power(read);
            let mut waited = EARLY;
            loop {
                bench.pass(TICK);
                waited += TICK;
                match bench.acts().as_slice() {
                    [] => {}
                    [READ] => bench.power(read),
                    [Action::Fence(BETA)] => break,
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(waited, due, "{role:?} {read:?}");
        }
    }
}

#[test]
fn a_reading_without_an_answer_keeps_no_shot_waiting_and_is_worth_nothing_after_it() {
    let mut bench = reading(Role::Primary);
    bench.power(Some(false));
    bench.pass(GAP);
    assert_eq!(bench.acts(), [READ]);
    bench.pass(DEAD - EARLY - GAP);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.power(Some(false));
    assert_eq!(bench.acts(), []);
    bench.misfired();
    bench.pass(GAP);
    bench.power(Some(false));
    assert_eq!(bench.acts(), [], "a device that has failed is not asked");
}

#[test]
fn a_partition_leads_to_few_readings() {
    let mut bench = reads(Role::Primary);
    bench.view(frozen());
    let mut readings = 0;
    for _ in 0..DEAD / TICK - 1 {
        bench.pass(TICK);
        for act in bench.acts() {
            assert_eq!(act, READ);
            readings += 1;
            bench.power(Some(true));
        }
    }
    assert_eq!(readings, 2, "within the time to dead");
    bench.view(primary());
    for _ in 0..600_000 / TICK {
        bench.pass(TICK);
        for act in bench.acts() {
            assert_eq!(act, READ);
            readings += 1;
            bench.power(Some(true));
        }
    }
    assert!(
        (10..20).contains(&readings),
        "{readings} within ten minutes"
    );
}

#[test]
fn beats_that_come_and_go_lead_to_a_reading_a_second_at_most() {
    let mut bench = reads(Role::Standby);
    let mut readings = 0;
    for _ in 0..20 {
        bench.beat();
        bench.pass(EARLY);
        readings += bench.acts().len();
        bench.power(Some(true));
    }
    assert!(readings <= 11, "{readings} in ten seconds");
}

#[test]
fn a_connection_that_breaks_is_looked_into_at_once_and_is_no_silence() {
    let mut bench = reads(Role::Standby);
    bench.beat();
    bench.pass(TICK);
    bench.view(orphan());
    bench.pass(0);
    assert_eq!(bench.acts(), [READ]);
    off_twice(&mut bench);
    assert_eq!(bench.acts(), [], "it was heard a moment ago");
    bench.pass(EARLY - GAP - TICK - 1);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
}

/// The power of the other host goes, and nobody closes its connections.
#[test]
fn what_was_read_while_the_replicas_count_as_connected_counts_when_they_are_not() {
    let mut bench = reads(Role::Standby);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    off_twice(&mut bench);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [], "nobody needs it off");
    bench.view(orphan());
    assert!(matches!(
        bench.order(),
        Some(Order::ReceiptFenced { met: 70, .. })
    ));
}

#[test]
fn who_has_connected_since_the_first_reading_is_not_off() {
    let mut bench = reading(Role::Standby);
    let met_again = ReplicaView {
        met: 71,
        ..orphan()
    };
    bench.view(met_again.clone());
    off_twice(&mut bench);
    assert_eq!(bench.order_among(), None);
    bench.view(met_again);
    bench.pass(EARLY);
    assert_eq!(
        bench.order_among(),
        None,
        "it must be read, or shot, once more"
    );
    bench.pass(DEAD);
    assert!(bench.agent.peers[BETA].proof.is_none());
}

#[test]
fn nobody_is_read_who_is_not_to_be_off() {
    let silent = |change: fn(&mut Bench)| {
        let mut bench = reads(Role::Standby);
        change(&mut bench);
        bench.acts();
        bench.pass(DEAD - INTERVAL);
        bench.acts()
    };
    assert_eq!(silent(|_| ()), [READ], "the others differ by one thing");
    let maintenance = |bench: &mut Bench| {
        bench.ask(Operator::Maintenance(true)).expect("possible");
    };
    assert_eq!(silent(maintenance), []);
    let goodbye = |bench: &mut Bench| {
        bench.said.leaving = true;
        bench.beat();
    };
    assert_eq!(silent(goodbye), []);
    let no_copy = |bench: &mut Bench| {
        bench.view(ReplicaView {
            peer_in_sync: false,
            ..standby()
        });
    };
    assert_eq!(silent(no_copy), []);
    assert_eq!(silent(|bench| bench.gone()), []);
    let mut bench = Bench::with(|config| {
        config.peers[BETA].reads_power = true;
        config.resources[R0].arbiter = true;
    });
    bench.meet(standby());
    bench.pass(DEAD - INTERVAL);
    assert!(!bench.acts().contains(&READ), "R8");
}

#[test]
fn what_is_known_of_its_power_does_nothing_in_maintenance() {
    let mut bench = reading(Role::Standby);
    bench.power(Some(false));
    bench.pass(GAP);
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.power(Some(false));
    bench.pass(DEAD);
    assert_eq!(bench.order_among(), None);
}

#[test]
fn who_is_heard_again_was_not_off_for_long_and_may_be_read_again() {
    let mut bench = reading(Role::Standby);
    off_twice(&mut bench);
    assert!(bench.order().is_some());
    bench.refused("busy");
    bench.new_run();
    bench.beat();
    assert!(bench.was_told(Level::Info, "heard again"));
    bench.view(orphan());
    bench.acts();
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    bench.pass(DEAD);
}

#[test]
fn a_beat_of_the_run_that_was_off_is_not_believed() {
    let mut bench = reading(Role::Standby);
    off_twice(&mut bench);
    bench.order();
    let late = bench.next_beat();
    assert_eq!(
        bench.hear(0, &late),
        Err("it is of a run that was powered off")
    );
}

#[test]
fn the_time_to_the_first_reading_follows_the_profile() {
    for profile in [Profile::Fast, Profile::Default, Profile::Wide] {
        let mut bench = Bench::with(|config| {
            config.profile = profile;
            config.peers[BETA].reads_power = true;
        });
        bench.said.resources[0].role = Role::Primary;
        bench.beat();
        bench.view(standby());
        let waited = bench.wait_for(&READ, as_ms(profile.dead()));
        assert_eq!(waited, as_ms(profile.dead()) / 4, "{profile:?}");
    }
}

#[test]
fn off_that_nobody_needed_is_read_again_before_it_counts() {
    let mut bench = reads(Role::Standby);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    off_twice(&mut bench);
    bench.pass(DEAD - 1);
    assert_eq!(
        bench.acts(),
        [],
        "nobody needs it off, and it is news still"
    );
    bench.pass(1);
    assert_eq!(bench.acts(), [READ]);
    bench.view(orphan());
    assert_eq!(bench.acts(), [], "what was is no receipt any more");
    bench.power(Some(true));
    bench.pass(TICK);
    assert_eq!(bench.order_among(), None);
    assert!(bench.agent.peers[BETA].proof.is_none());
}

#[test]
fn off_that_is_never_needed_is_read_again_ever_more_rarely() {
    let mut bench = reads(Role::Standby);
    let mut readings = 0;
    for _ in 0..600_000 / TICK {
        bench.pass(TICK);
        for act in bench.acts() {
            assert_eq!(act, READ);
            readings += 1;
            bench.power(Some(false));
        }
    }
    assert!(
        (20..40).contains(&readings),
        "{readings} within ten minutes, two at a time"
    );
}

#[test]
fn off_is_forgotten_with_the_reason_to_ask() {
    let mut bench = reads(Role::Standby);
    bench.pass(EARLY);
    assert_eq!(bench.acts(), [READ]);
    off_twice(&mut bench);
    bench.view(ReplicaView {
        peer_in_sync: false,
        ..standby()
    });
    bench.view(orphan());
    assert_eq!(bench.order_among(), None, "it must be read once more");
}
