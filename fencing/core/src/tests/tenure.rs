//! R17, R12: who was a client of an earlier time of the role is gone before anybody is promoted, here and there.

use super::bench::*;
use crate::{Action, Led, Level, Memory, Operator, Order, Role, Services, Serving, Started};

/// A node whose services were started in term 5, as its agent remembers.
fn remembering(term: Option<u64>) -> Bench {
    let services = term.map(|term| Started {
        resource: "r0".into(),
        term,
        host: HOST.into(),
    });
    let memory = Memory {
        version: 1,
        holds: vec!["r0".into()],
        services: services.into_iter().collect(),
        ..Memory::default()
    };
    Bench::remembering(memory, |config| config.resources[R0].has_services = true)
}

/// A standby of a resource with services whose primary, beta, has them.
fn standby_with_services() -> Bench {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.said.resources[0].services = Services::Up;
    bench.meet(standby());
    bench
}

/// Both are standby and connected, and this one could be promoted.
fn free() -> ReplicaView {
    ReplicaView {
        can_promote: true,
        peer_role: Some(Role::Standby),
        ..standby()
    }
}

/// Primary once more, in this term.
fn again(term: u64) -> ReplicaView {
    ReplicaView {
        run: 2,
        term,
        led: Some(Led { node: 1, term }),
        ..primary()
    }
}

fn state(bench: &Bench) -> Services {
    bench.agent.resources[R0].services
}

/// The process of the primary died and is back: it grants whatever it is asked for, and its services are still up.
fn primary_is_back() -> Bench {
    let mut bench = standby_with_services();
    bench.said.resources[0].role = Role::Standby;
    bench.view(free());
    bench
}

#[test]
fn a_standby_is_not_promoted_while_services_run_where_the_primary_was() {
    let mut bench = primary_is_back();
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.acts(), [], "it may be promoted again itself");
    assert_eq!(bench.says().ask, Question::None);
}

#[test]
fn the_peer_is_asked_to_let_go_and_its_word_that_services_are_down_is_waited_for() {
    let mut bench = primary_is_back();
    bench.live(GRACE + INTERVAL);
    assert_ne!(bench.says().ask, Question::None, "it had its time");
    bench.said.resources[0].services = Services::Stopping;
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].services = Services::Down;
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn services_that_stay_up_where_the_primary_was_are_fenced_before_the_takeover() {
    let mut bench = primary_is_back();
    bench.said.resources[0].services = Services::Failed;
    bench.live(GRACE + 2 * DEAD - INTERVAL);
    assert_eq!(bench.acts(), []);
    let end = bench.now + DELAY + 2 * INTERVAL;
    let mut acts = Vec::new();
    while bench.now < end {
        bench.live(INTERVAL);
        acts.extend(bench.acts());
    }
    assert!(acts.contains(&Action::Fence(BETA)), "{acts:?}");
    assert!(!acts.contains(&Action::Order(R0, Order::Promote)));
    assert!(bench.was_told(Level::Warning, "its services of an earlier time"));
    bench.fenced();
    bench.view(ReplicaView {
        linked: false,
        peer_role: None,
        ..free()
    });
    assert_eq!(bench.order(), Some(Order::Promote), "it is off");
}

#[test]
fn the_word_of_an_agent_counts_only_from_the_term_on_that_it_is_about() {
    let mut bench = primary_is_back();
    bench.said.resources[0].services = Services::Down;
    bench.said.resources[0].services_term = 4;
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.acts(), [], "that was before it was primary");
    bench.said.resources[0].services_term = 5;
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn who_is_just_being_promoted_has_no_services_yet_and_that_says_nothing() {
    let mut bench = standby_with_services();
    bench.said.resources[0].role = Role::Standby;
    bench.said.resources[0].services = Services::Down;
    bench.live(DEAD - INTERVAL);
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].services = Services::Up;
    bench.live(DEAD);
    assert_eq!(bench.memory().freed, []);
}

#[test]
fn a_goodbye_of_a_replica_gives_nobody_the_right_to_start_its_services() {
    let mut bench = standby_with_services();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.view(entitled());
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].services = Services::Down;
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn an_agent_that_leaves_with_its_services_up_is_waited_for_and_a_person_is_told() {
    let mut bench = standby_with_services();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.said.leaving = true;
    bench.beat();
    bench.view(entitled());
    bench.pass(30 * DEAD);
    assert_eq!(bench.acts(), []);
    assert!(bench.was_told(Level::Alarm, "its services of an earlier time"));
    bench.ask(Operator::Confirm(BETA)).expect("possible");
    assert_eq!(
        bench.order(),
        Some(Order::Promote),
        "a person vouches for it"
    );
}

#[test]
fn an_agent_that_leaves_with_its_services_down_is_believed_for_good() {
    let mut bench = standby_with_services();
    let about = &mut bench.said.resources[0];
    (about.serving, about.role) = (Serving::No, Role::Standby);
    about.services = Services::Down;
    bench.said.leaving = true;
    bench.beat();
    let memory = bench.memory().clone();
    assert_eq!(memory.freed.len(), 1);
    let mut bench = Bench::remembering(memory, |config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.view(entitled());
    bench.pass(DEAD);
    assert_eq!(
        bench.order(),
        Some(Order::Promote),
        "and by the next agent here"
    );
}

#[test]
fn one_that_was_released_by_its_agent_or_is_off_has_no_services() {
    let mut bench = standby_with_services();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.view(orphan());
    bench.live(GRACE + INTERVAL);
    bench.said.resources[0].released = bench.says().ask;
    bench.beat();
    assert!(matches!(bench.order(), Some(Order::ReceiptReleased { .. })));
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn a_node_whose_services_of_an_earlier_time_stay_up_is_not_promoted_and_says_so() {
    let mut bench = remembering(Some(4));
    bench.said.resources[0].can_promote = true;
    bench.view(ReplicaView {
        led: primary().led,
        ..free()
    });
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Err("still up after a forced stop"));
    bench.live(10 * DEAD);
    assert!(!bench.acts().contains(&Action::Order(R0, Order::Promote)));
    assert!(!bench.says().can_promote, "the other one need not wait");
    let missing = bench.agent.status().resources[0].missing.clone();
    assert!(
        missing
            .is_some_and(|what| what.contains("services of an earlier time are still up on alpha"))
    );
    assert!(bench.was_told(Level::Alarm, "caches are older than the device"));
}

#[test]
fn a_restarted_agent_does_not_take_leftovers_for_its_own() {
    // Nobody knows of which term they are; of an earlier one; of one that is not followed by this.
    for remembered in [None, Some(3), Some(6)] {
        let mut bench = remembering(remembered);
        bench.beat();
        bench.view(primary());
        assert_eq!(bench.acts(), [Action::StopServices(R0)], "{remembered:?}");
        bench.services(Ok(()));
        assert_eq!(bench.acts(), [start(5)]);
    }
    for remembered in [5, 4] {
        let mut bench = remembering(Some(remembered));
        bench.view(primary());
        assert_eq!(bench.acts(), [start(5)], "its own");
    }
}

#[test]
fn services_outlive_a_process_that_comes_back_and_belong_to_the_new_term() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    assert_eq!(bench.acts(), [start(5)]);
    bench.services(Ok(()));
    for term in [6, 7] {
        bench.gone();
        bench.view(ReplicaView {
            led: Some(Led {
                node: 1,
                term: term - 1,
            }),
            run: term,
            ..free()
        });
        assert_eq!(bench.order(), Some(Order::Promote));
        bench.obeyed();
        bench.view(again(term));
        assert_eq!(bench.acts(), [], "they stay");
        assert_eq!(state(&bench), Services::Up);
        let remembered = &bench.memory().services;
        assert_eq!(remembered.first().map(|one| one.term), Some(term));
    }
}

#[test]
fn services_go_down_and_up_where_the_role_comes_back_after_another_had_it() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.view(again(7));
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Ok(()));
    bench.said.resources[0].services_term = 7;
    bench.beat();
    assert_eq!(bench.acts(), [start(7)]);
}

#[test]
fn a_primary_that_is_back_lets_go_when_it_is_asked_and_can_not_go_on_itself() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.gone();
    bench.view(ReplicaView {
        led: primary().led,
        can_promote: false,
        ..free()
    });
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    bench.pass(0);
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Ok(()));
    bench.live(DEAD);
    assert_eq!(
        bench.acts(),
        [],
        "it is connected: it grants the term itself"
    );
    assert_eq!(bench.says().services, Services::Down);
}

#[test]
fn beats_say_which_term_services_belong_to() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.live(INTERVAL);
    let said = bench.says().clone();
    assert_eq!((said.services, said.services_term), (Services::Up, 5));
    bench.view(ReplicaView {
        term: 6,
        ..standby()
    });
    bench.services(Ok(()));
    bench.live(INTERVAL);
    let said = bench.says().clone();
    assert_eq!((said.services, said.services_term), (Services::Down, 6));
}

#[test]
fn a_role_is_not_handed_to_a_node_whose_services_are_not_down() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.said.resources[0].services = Services::Failed;
    bench.beat();
    let why = bench.ask(switchover(R0)).expect_err("they are not down");
    assert!(why.contains("not known to be down on beta"), "{why}");
    bench.said.resources[0].services = Services::Down;
    bench.beat();
    bench.ask(switchover(R0)).expect("possible");
    bench.acts();
    bench.said.resources[0].services = Services::Failed;
    bench.beat();
    bench.services(Ok(()));
    assert!(bench.was_told(Level::Warning, "the switchover is given up"));
    assert_eq!(bench.acts(), [], "some are left over there");
    bench.said.resources[0].services = Services::Down;
    bench.beat();
    assert_eq!(bench.acts(), [start(5)]);
}

#[test]
fn services_go_before_a_process_that_is_to_be_stopped_and_come_back_with_the_next_one() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.ask(Operator::Yield).expect("possible");
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    assert_eq!(bench.agent.has_yielded(), None);
    bench.services(Ok(()));
    assert_eq!(bench.agent.has_yielded(), Some(Ok(())));
    bench.view(primary());
    bench.live(DEAD);
    assert_eq!(bench.acts(), [], "it is still there");
    bench.gone();
    bench.view(again(6));
    assert_eq!(bench.acts(), [start(6)]);
}

#[test]
fn a_process_that_was_to_be_stopped_and_was_not_goes_on_after_a_while() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.ask(Operator::Yield).expect("possible");
    bench.services(Ok(()));
    bench.acts();
    bench.live(91_000);
    assert_eq!(bench.acts(), [start(5)]);
    assert!(bench.was_told(Level::Warning, "was to be stopped and was not"));
}

#[test]
fn services_that_do_not_go_down_for_a_stop_are_told() {
    let mut bench = remembering(Some(5));
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.ask(Operator::Yield).expect("possible");
    bench.services(Err("busy"));
    let why = bench.agent.has_yielded().expect("known").expect_err("up");
    assert!(why.contains("r0"), "{why}");
}
