//! R6: the intent, the last look at the reason, the shot and its end.

use super::bench::*;
use crate::{Action, Level, Operator, Order, Role, fence::Fencing};

#[test]
fn the_intent_is_stored_before_the_shot() {
    let mut bench = Bench::primary();
    bench.stores_at_once = false;
    bench.view(frozen());
    bench.pass(DEAD + INTERVAL);
    assert_eq!(bench.acts(), []);
    let memory = bench.stores.last().expect("one is to be stored").clone();
    assert_eq!(memory.intents.len(), 1);
    assert_eq!(memory.intents[0].node, "beta");
    let now = bench.time();
    bench.agent.handle_stored(now, memory.version - 1, Ok(()));
    bench.settle();
    assert_eq!(bench.acts(), [], "an older version is not it");
    bench.agent.handle_stored(now, memory.version, Ok(()));
    bench.settle();
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn the_intent_is_forgotten_when_the_shot_has_ended_well() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.memory().intents.len(), 1);
    bench.fenced();
    assert_eq!(bench.memory().intents, []);
    assert_eq!(bench.stores.last(), Some(bench.memory()));
}

#[test]
fn an_intent_of_an_earlier_run_is_forgotten_once_the_peer_is_heard() {
    let intent = crate::Intent {
        node: "beta".into(),
        why: "r0".into(),
        at: 1,
    };
    let memory = crate::Memory {
        version: 9,
        intents: vec![intent],
        ..crate::Memory::default()
    };
    let mut bench = Bench::remembering(memory, |_| ());
    bench.pass(10 * DEAD);
    assert_eq!(bench.memory().intents.len(), 1);
    assert_eq!(bench.acts(), [], "an intent alone is no reason");
    bench.beat();
    assert_eq!(bench.memory().intents, []);
}

#[test]
fn a_shot_whose_reason_is_gone_is_not_fired_while_the_intent_is_stored() {
    let mut bench = Bench::primary();
    bench.stores_at_once = false;
    bench.view(frozen());
    bench.pass(DEAD);
    assert!(matches!(
        bench.agent.peers[BETA].fencing,
        Fencing::Storing { .. }
    ));
    bench.beat();
    let (now, version) = (bench.time(), bench.memory().version);
    bench.agent.handle_stored(now, version, Ok(()));
    bench.settle();
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.agent.peers[BETA].fencing, Fencing::Idle);
    assert_eq!(bench.memory().intents, []);
}

#[test]
fn a_shot_whose_reason_is_gone_is_not_fired_while_it_waits() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.view(standby());
    assert!(bench.was_told(Level::Info, "not to be fenced any more"));
    bench.pass(10 * DELAY);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.memory().intents, []);
}

#[test]
fn a_shot_whose_reason_is_gone_is_not_fired_between_attempts() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.misfired();
    bench.acts();
    bench.view(primary());
    bench.pass(60_000);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.agent.peers[BETA].fencing, Fencing::Idle);
}

#[test]
fn a_shot_that_was_asked_for_is_wanted_as_long_as_its_reason_stands() {
    let mut bench = Bench::primary();
    assert!(!bench.agent.still_wants(BETA), "none was asked for");
    bench.view(frozen());
    bench.pass(DEAD);
    assert!(bench.agent.still_wants(BETA));
    bench.pass(DEAD);
    assert!(bench.agent.still_wants(BETA));
    bench.beat();
    assert!(!bench.agent.still_wants(BETA), "it is heard");
    bench.pass(DEAD);
    assert!(bench.agent.still_wants(BETA));
    bench.view(primary());
    assert!(!bench.agent.still_wants(BETA), "it is connected");
    bench.view(frozen());
    bench.pass(DEAD);
    bench.ask(Operator::Maintenance(true)).expect("possible");
    assert!(!bench.agent.still_wants(BETA), "a person works on it");
    bench.ask(Operator::Maintenance(false)).expect("possible");
    bench.ask(Operator::Leave).expect("possible");
    assert!(!bench.agent.still_wants(BETA), "this agent leaves");
}

#[test]
fn a_shot_that_was_given_up_is_no_failure_of_the_device() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.beat();
    bench.told.clear();
    bench.misfired();
    assert!(!bench.was_told(Level::Alarm, "has failed"));
    assert_eq!(bench.agent.peers[BETA].fencing, Fencing::Idle);
    assert_eq!(bench.memory().intents, []);
}

#[test]
fn one_shot_at_a_time() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(100 * DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_device_that_fails_is_tried_again_with_longer_pauses_in_its_own_slots_and_nothing_is_promoted()
{
    let mut bench = Bench::standby();
    bench.beat();
    bench.view(orphan());
    assert_eq!(
        bench.wait_for(&Action::Fence(BETA), DEAD + DELAY),
        DEAD + DELAY
    );
    let mut pauses = Vec::new();
    for _ in 0..7 {
        bench.misfired();
        assert!(bench.was_told(Level::Alarm, "fencing beta has failed: no answer"));
        let start = bench.now;
        loop {
            bench.pass(50);
            bench.view(orphan());
            match bench.acts().as_slice() {
                [] => {}
                [Action::Fence(BETA)] => break,
                other => panic!("{other:?}"),
            }
        }
        pauses.push(bench.now - start);
    }
    // Within the slot as long as a shot ends before the next one begins; then a round of six delays later.
    assert_eq!(
        pauses,
        [1_000, 17_000, 18_000, 18_000, 72_000, 72_000, 72_000]
    );
    assert_eq!(bench.memory().intents.len(), 1);
    let state = &bench.agent.status().peers[0].state;
    assert_eq!(state, "being fenced");
}

#[test]
fn a_device_that_works_after_all_ends_it() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.misfired();
    bench.pass(1_000);
    bench.acts();
    bench.fenced();
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
}

#[test]
fn the_result_of_a_shot_that_nobody_asked_for_is_nothing() {
    let mut bench = Bench::primary();
    bench.fenced();
    bench.misfired();
    assert!(bench.agent.peers[BETA].proof.is_none());
    bench.view(frozen());
    bench.pass(DEAD - 2 * INTERVAL);
    bench.fenced();
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_node_that_is_back_before_its_shot_has_ended_is_not_taken_for_off() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.acts();
    bench.new_run();
    bench.beat();
    bench.fenced();
    assert_eq!(bench.acts(), []);
    bench.beat();
    assert_eq!(bench.agent.status().peers[0].state, "heard");
    // What was under way from the run that ended is no word of a new one.
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.beat();
    bench.fenced();
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
}

#[test]
fn the_receipt_says_after_which_meeting_the_shot_was_fired() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.acts();
    bench.fenced();
    assert_eq!(
        bench.order(),
        Some(Order::ReceiptFenced {
            about: BETA,
            detail: "read as off".into(),
            met: 70
        })
    );
}

#[test]
fn a_shot_that_was_fired_before_they_met_again_gives_no_right_and_another_is_fired() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    let mut since = frozen();
    since.met = 71;
    bench.view(since);
    bench.fenced();
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.fenced();
    let order = bench.order();
    assert!(
        matches!(order, Some(Order::ReceiptFenced { met: 71, .. })),
        "{order:?}"
    );
}

#[test]
fn a_peer_that_was_off_and_met_since_can_be_fenced_again_though_its_agent_was_never_heard() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.fenced();
    bench.acts();
    bench.obeyed();
    bench.view(alone());
    assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
    let mut back = primary();
    back.met = 72;
    bench.view(back.clone());
    bench.pass(60_000);
    assert_eq!(bench.acts(), []);
    bench.view(back);
    let mut lost = frozen();
    lost.met = 72;
    bench.view(lost);
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.fenced();
    let order = bench.order();
    assert!(
        matches!(order, Some(Order::ReceiptFenced { met: 72, .. })),
        "{order:?}"
    );
}

#[test]
fn a_receipt_that_was_refused_is_offered_again_after_a_pause() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.wait_for(&Action::Fence(BETA), 2 * DEAD + DELAY);
    bench.fenced();
    let first = bench.order();
    bench.refused("busy");
    assert!(bench.was_told(Level::Warning, "did not take the receipt: busy"));
    bench.view(orphan());
    bench.pass(999);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert_eq!(bench.order(), first);
}

#[test]
fn a_standby_takes_over_by_the_receipt_and_then_tells_from_whom() {
    let mut bench = Bench::standby();
    bench.beat();
    let lost = bench.now;
    bench.view(orphan());
    bench.wait_for(&Action::Fence(BETA), DEAD + DELAY);
    bench.fenced();
    assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
    bench.obeyed();
    bench.pass(INTERVAL);
    assert_eq!(bench.acts(), [], "what the replica is now comes first");
    bench.view(orphan());
    assert_eq!(bench.acts(), [], "it may need more");
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    let failover = bench.memory().failovers.last().expect("one").clone();
    assert_eq!(
        (failover.resource.as_str(), failover.from.as_str()),
        ("r0", "beta")
    );
    assert_eq!(failover.took_ms, bench.now - lost);
    assert_eq!(failover.receipt, "fence: read as off");
    assert!(bench.was_told(Level::Warning, "taken over from beta"));
    bench.view(ReplicaView {
        role: Role::Primary,
        peer_in_sync: false,
        open: true,
        ..entitled()
    });
    assert_eq!(
        bench.acts(),
        [Action::PowerOn(BETA)],
        "nobody needs it off any more"
    );
}

#[test]
fn without_a_way_to_fence_nothing_is_shot_or_promoted_and_a_person_is_told_once() {
    for role in [Role::Primary, Role::Standby] {
        let mut bench = Bench::with(|config| config.peers[BETA].can_fence = false);
        bench.beat();
        bench.view(if role == Role::Primary {
            frozen()
        } else {
            orphan()
        });
        bench.pass(100 * DEAD);
        assert_eq!(bench.acts(), []);
        let alarms = |told: &&(Level, String)| told.0 == Level::Alarm && told.1.contains("no way");
        assert_eq!(bench.told.iter().filter(alarms).count(), 1);
        bench.told.clear();
        bench.beat();
        bench.pass(2 * DEAD);
        assert!(
            bench.was_told(Level::Alarm, "no way to fence it"),
            "lost once more"
        );
    }
}

#[test]
fn a_device_that_does_not_work_is_an_alarm_before_it_is_needed() {
    let mut bench = Bench::primary();
    let result = Err("no route".to_owned());
    let now = bench.time();
    bench.agent.handle_monitor(now, BETA, result);
    bench.settle();
    assert!(bench.was_told(
        Level::Alarm,
        "the fence device of beta does not work: no route"
    ));
}
