//! A replica that is surely not in use is recorded as Outdated by its own agent: ask and answer, instead of a shot.

use super::bench::*;
use crate::{Action, Level, Operator, Order, Role, Services, Serving};

/// A frozen primary that asks beta's agent.
fn asking() -> Bench {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.beat();
    assert_ne!(bench.says().ask, Question::None);
    bench
}

/// An agent whose replica is this, and that is asked by beta's.
fn asked(view: Option<ReplicaView>, services: bool) -> Bench {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = services);
    bench.view_of(R0, view);
    bench.acts();
    bench.said.resources[0].ask = Question::from(77);
    bench
}

#[test]
fn a_frozen_primary_asks_at_once_and_does_not_shoot_one_that_answers() {
    let mut bench = asking();
    let ask = bench.says().ask;
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.says().ask, ask, "the same question");
    bench.said.resources[0].released = ask;
    bench.beat();
    assert_eq!(
        bench.order(),
        Some(Order::ReceiptReleased {
            about: BETA,
            detail: "beta's agent recorded it as outdated".into(),
            met: 70
        })
    );
    bench.obeyed();
    bench.view(alone());
    bench.live(INTERVAL);
    assert_eq!(bench.says().ask, Question::None);
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn an_answer_to_another_question_is_none() {
    let mut bench = asking();
    bench.said.resources[0].released = Question::from(u64::from(bench.says().ask) ^ 2);
    bench.beat();
    assert_eq!(bench.acts(), []);
}

#[test]
fn an_answer_from_before_a_meeting_is_none() {
    let mut bench = asking();
    let ask = bench.says().ask;
    let again = ReplicaView {
        met: 71,
        ..frozen()
    };
    bench.view(again);
    bench.said.resources[0].released = ask;
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    let new = bench.says().ask;
    assert!(new != ask && new.is_asked());
    bench.said.resources[0].released = new;
    bench.beat();
    assert!(matches!(
        bench.order(),
        Some(Order::ReceiptReleased { met: 71, .. })
    ));
}

#[test]
fn an_answer_that_comes_when_both_are_connected_is_none() {
    let mut bench = asking();
    bench.said.resources[0].released = bench.says().ask;
    bench.view(primary());
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.says().ask, Question::None);
}

#[test]
fn one_that_is_not_heard_is_not_asked() {
    let mut bench = Bench::primary();
    bench.pass(DEAD);
    bench.view(frozen());
    bench.acts();
    bench.pass(INTERVAL);
    assert_eq!(bench.says().ask, Question::None);
}

#[test]
fn a_standby_asks_only_when_the_process_of_the_primary_had_time_to_come_back() {
    let mut bench = Bench::standby();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.view(orphan());
    bench.live(GRACE - 1);
    assert_eq!(bench.says().ask, Question::None);
    bench.live(1);
    let ask = bench.says().ask;
    assert_ne!(ask, Question::None);
    bench.said.resources[0].released = ask;
    bench.beat();
    assert!(matches!(bench.order(), Some(Order::ReceiptReleased { .. })));
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    let failover = bench.memory().failovers.last().expect("one");
    assert!(
        failover.receipt.starts_with("release: "),
        "{}",
        failover.receipt
    );
}

#[test]
fn a_process_that_does_not_answer_or_comes_back_is_not_gone() {
    for serving in [Serving::Silent, Serving::Yes] {
        let mut bench = Bench::standby();
        bench.view(orphan());
        bench.said.resources[0].serving = Serving::No;
        bench.live(GRACE - INTERVAL);
        bench.said.resources[0].serving = serving;
        bench.live(INTERVAL);
        bench.said.resources[0].serving = Serving::No;
        bench.live(GRACE - INTERVAL);
        assert_eq!(bench.says().ask, Question::None, "{serving:?}");
    }
}

#[test]
fn one_that_is_asked_in_vain_is_fenced() {
    let mut bench = asking();
    bench.live(2 * DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_standby_that_is_asked_is_recorded_as_outdated_and_says_so() {
    let mut bench = asked(Some(orphan()), false);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: false }));
    assert_eq!(
        bench.says().released,
        Question::from(0),
        "not before it is done"
    );
    bench.obeyed();
    assert_eq!(bench.says().released, Question::from(77), "at once");
    bench.view(outdated());
    bench.live(INTERVAL);
    assert_eq!(bench.says().released, Question::from(77));
    bench.live(10 * INTERVAL);
    assert_eq!(bench.acts(), [], "once");
}

#[test]
fn one_whose_process_is_gone_is_still_gone_when_it_is_released() {
    let mut bench = asked(None, false);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: true }));
    bench.obeyed();
    let said = bench.says();
    assert_eq!(said.released, Question::from(77));
    // Who asked would think that the process may be back, forget the question, and ask again after the grace: for ever.
    assert_eq!(said.serving, Serving::No);
}

#[test]
fn each_question_is_answered_anew() {
    let mut bench = asked(Some(orphan()), false);
    bench.beat();
    bench.acts();
    bench.obeyed();
    bench.view(outdated());
    bench.said.resources[0].ask = Question::from(78);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: false }));
    bench.obeyed();
    bench.view(outdated());
    bench.live(INTERVAL);
    assert_eq!(bench.says().released, Question::from(78));
}

#[test]
fn the_question_that_was_answered_is_the_one_that_was_asked() {
    let mut bench = asked(Some(orphan()), false);
    bench.beat();
    bench.acts();
    bench.said.resources[0].ask = Question::from(78);
    bench.beat();
    bench.obeyed();
    bench.pass(INTERVAL);
    assert_eq!(bench.says().released, Question::from(77));
}

#[test]
fn a_record_that_was_refused_releases_nothing_and_is_tried_again() {
    let mut bench = asked(Some(orphan()), false);
    bench.beat();
    bench.acts();
    bench.refused("locked");
    assert!(bench.was_told(Level::Warning, "could not be recorded as outdated: locked"));
    bench.view(orphan());
    bench.pass(INTERVAL);
    assert_eq!(bench.says().released, Question::None);
    bench.live(1000);
    assert_eq!(bench.order(), Some(Order::Outdate { offline: false }));
}

#[test]
fn a_replica_without_a_process_is_outdated_in_its_metadata() {
    let mut bench = asked(None, false);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: true }));
}

#[test]
fn one_that_was_not_looked_at_yet_is_not_outdated() {
    let mut bench = Bench::new();
    bench.said.resources[0].ask = Question::from(77);
    bench.live(10 * INTERVAL);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_primary_and_a_connected_standby_release_nothing() {
    for view in [primary(), alone(), standby()] {
        let mut bench = asked(Some(view.clone()), false);
        bench.live(10 * INTERVAL);
        assert_eq!(bench.acts(), [], "{view:?}");
    }
}

#[test]
fn a_question_that_is_not_asked_any_more_is_not_answered() {
    let mut bench = asked(Some(standby()), false);
    bench.beat();
    bench.pass(DEAD);
    bench.view(orphan());
    bench.pass(0);
    assert!(
        !bench
            .acts()
            .contains(&Action::Order(R0, Order::Outdate { offline: false }))
    );
}

#[test]
fn one_that_has_the_right_to_the_next_term_releases_nothing() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.wait_for(&Action::Fence(BETA), 2 * DEAD + DELAY);
    bench.fenced();
    bench.acts();
    bench.obeyed();
    bench.new_run();
    bench.said.resources[0].role = Role::Standby;
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn one_that_is_firing_releases_nothing() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.wait_for(&Action::Fence(BETA), 2 * DEAD + DELAY);
    bench.said.resources[0].ask = Question::from(77);
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn one_that_is_being_outdated_does_not_fire() {
    let mut bench = Bench::standby();
    bench.said.hears = 0;
    bench.view(orphan());
    bench.live(DEAD + DELAY - INTERVAL);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA)]);
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: false }));
    bench.live(2 * DELAY);
    assert_eq!(
        bench.acts(),
        [],
        "both would be lost: one by the shot, one by the record"
    );
    bench.obeyed();
    bench.live(2 * DELAY);
    assert_eq!(bench.acts(), [], "what it is now is not seen yet");
    bench.view(outdated());
    bench.live(2 * DELAY);
    assert_eq!(bench.acts(), []);
}

#[test]
fn services_go_down_before_their_replica_is_released() {
    let memory = crate::Memory {
        version: 1,
        holds: vec!["r0".into()],
        services: vec![crate::Started {
            resource: "r0".into(),
            term: 5,
            host: HOST.into(),
        }],
        ..crate::Memory::default()
    };
    let mut bench = Bench::remembering(memory, |config| config.resources[R0].has_services = true);
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    bench.gone();
    bench.live(GRACE);
    assert_eq!(bench.acts(), [], "they wait for the process");
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    bench.pass(0);
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    bench.services(Ok(()));
    assert_eq!(bench.order(), Some(Order::Outdate { offline: true }));
}

#[test]
fn services_that_do_not_go_down_release_nothing() {
    let mut bench = asked(None, true);
    assert_eq!(bench.agent.resources[R0].services, Services::Stopping);
    bench.services(Err("busy"));
    bench.live(5 * DEAD);
    bench.acts();
    bench.said.resources[0].ask = Question::from(78);
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.says().released, Question::None);
}

#[test]
fn in_maintenance_nobody_is_asked() {
    let mut bench = Bench::primary();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.view(frozen());
    bench.live(10 * DEAD);
    assert_eq!(bench.says().ask, Question::None);
    assert_eq!(bench.acts(), []);
}

#[test]
fn questions_have_numbers_that_do_not_repeat() {
    let mut bench = Bench::primary();
    let numbers: std::collections::BTreeSet<u64> =
        (0..1000).map(|_| bench.agent.question().into()).collect();
    assert_eq!(numbers.len(), 1000);
    assert!(!numbers.contains(&0));
}

#[test]
fn a_takeover_that_is_seen_before_its_order_is_answered_is_one() {
    let mut bench = Bench::standby();
    bench.said.resources[0].serving = Serving::No;
    bench.view(orphan());
    bench.live(GRACE + INTERVAL);
    bench.said.resources[0].released = bench.says().ask;
    bench.beat();
    assert!(matches!(bench.order(), Some(Order::ReceiptReleased { .. })));
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.view(alone());
    bench.obeyed();
    assert_eq!(bench.memory().failovers.len(), 1);
}

/// The other one had it recorded, came back, and was lost again between two looks.
#[test]
fn a_release_is_no_right_after_a_meeting_that_nobody_saw() {
    let mut bench = asking();
    bench.said.resources[0].released = bench.says().ask;
    bench.beat();
    bench.acts();
    bench.obeyed();
    let again = |view: ReplicaView| ReplicaView { met: 71, ..view };
    bench.view(again(frozen()));
    bench.pass(DEAD + INTERVAL);
    bench.acts();
    bench.fenced();
    let acts = bench.acts();
    let receipt =
        |act: &Action| matches!(act, Action::Order(R0, Order::ReceiptFenced { met: 71, .. }));
    assert!(acts.iter().any(receipt), "{acts:?}");
}

/// Its metadata hangs: the receipt is stored long after the two have met, and have lost each other, again.
#[test]
fn a_release_that_is_stored_after_a_meeting_keeps_nobody_from_being_fenced() {
    let mut bench = asking();
    bench.said.resources[0].released = bench.says().ask;
    bench.beat();
    assert!(matches!(
        bench.order(),
        Some(Order::ReceiptReleased { met: 70, .. })
    ));
    let again = |view: ReplicaView| ReplicaView { met: 71, ..view };
    bench.view(again(primary()));
    bench.view(again(frozen()));
    bench.pass(DEAD + INTERVAL);
    bench.fenced();
    bench.obeyed();
    bench.view(again(frozen()));
    let acts = bench.acts();
    let receipt =
        |act: &Action| matches!(act, Action::Order(R0, Order::ReceiptFenced { met: 71, .. }));
    assert!(acts.iter().any(receipt), "{acts:?}");
}
