//! R12: services are started beside none on the other node, however the role has come.

use super::bench::*;
use crate::{Action, Led, Level, Order, Role, Services, Serving};

/// A standby of a resource with services, whose primary, beta, has them.
fn standby_with_services() -> Bench {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.said.resources[0].services = Services::Up;
    bench.meet(standby());
    bench
}

/// Primary in the next term, and nobody has ordered that.
fn came_by_itself() -> ReplicaView {
    ReplicaView {
        term: 6,
        led: Some(Led { node: 1, term: 6 }),
        ..primary()
    }
}

/// The replicas have handed the role over by themselves, and this is how the services are where it was.
fn handed_over(services: Services) -> Bench {
    let mut bench = standby_with_services();
    bench.said.resources[0].role = Role::Standby;
    bench.said.resources[0].services = services;
    bench.beat();
    bench.view(came_by_itself());
    assert_eq!(bench.acts(), []);
    bench
}

/// All that is wanted while beta's agent is heard.
fn acts_within(bench: &mut Bench, ms: u64) -> Vec<Action> {
    let end = bench.now + ms;
    let mut acts = Vec::new();
    while bench.now < end {
        bench.live(INTERVAL);
        acts.extend(bench.acts());
    }
    acts
}

#[test]
fn they_wait_for_those_of_the_other_node_when_the_role_has_come_by_itself() {
    let mut bench = handed_over(Services::Up);
    bench.said.resources[0].services = Services::Stopping;
    bench.live(DEAD);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].services = Services::Down;
    bench.beat();
    assert_eq!(bench.acts(), [], "its agent may not have seen it start");
    bench.said.resources[0].services_term = 6;
    bench.beat();
    assert_eq!(bench.acts(), [start(6)]);
}

#[test]
fn beats_that_may_have_been_recorded_say_nothing_of_services() {
    let mut bench = handed_over(Services::Up);
    bench.said.resources[0].services = Services::Down;
    bench.said.resources[0].services_term = 6;
    bench.answers = false;
    bench.said.echo_seq = 0;
    bench.live(GRACE - INTERVAL);
    assert!(!bench.acts().contains(&start(6)));
    bench.answers = true;
    bench.beat();
    assert!(bench.acts().contains(&start(6)));
}

#[test]
fn an_agent_whose_replica_can_not_hear_of_the_term_is_believed_after_a_while() {
    let mut bench = handed_over(Services::Down);
    bench.live(GRACE - INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.live(INTERVAL);
    assert_eq!(bench.acts(), [start(6)]);
}

#[test]
fn an_agent_that_says_that_its_replica_is_primary_is_not_believed() {
    let mut bench = handed_over(Services::Down);
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].services_term = 6;
    bench.live(DEAD);
    assert_eq!(bench.acts(), [], "it may be about to start them");
}

#[test]
fn a_goodbye_with_services_down_is_enough() {
    let mut bench = handed_over(Services::Down);
    bench.said.leaving = true;
    bench.beat();
    assert_eq!(bench.acts(), [start(6)]);
}

#[test]
fn a_node_that_falls_silent_with_services_is_powered_off_first() {
    let mut bench = handed_over(Services::Up);
    let fenced = bench.wait_for(&Action::Fence(BETA), 2 * GRACE + DELAY);
    assert!(fenced >= GRACE);
    assert!(bench.was_told(Level::Alarm, "those on beta are not known to be down (R12)"));
    bench.fenced();
    assert!(bench.acts().contains(&start(6)));
}

#[test]
fn services_that_stay_up_there_are_asked_for_and_then_powered_off() {
    let mut bench = handed_over(Services::Failed);
    assert_eq!(acts_within(&mut bench, GRACE - INTERVAL), []);
    assert_eq!(bench.says().ask, Question::None, "they have their time");
    assert_eq!(acts_within(&mut bench, 2 * INTERVAL), []);
    assert!(bench.says().ask.is_asked());
    let acts = acts_within(&mut bench, 2 * DEAD + DELAY);
    assert_eq!(acts.first(), Some(&Action::Fence(BETA)), "{acts:?}");
    assert!(!acts.contains(&start(6)));
}

#[test]
fn what_an_agent_could_not_take_down_when_it_started_is_no_service_that_was_started() {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.said.resources[0].services = Services::Failed;
    bench.said.resources[0].services_term = 0;
    bench.beat();
    let first = ReplicaView {
        term: 1,
        led: Some(Led { node: 1, term: 1 }),
        ..primary()
    };
    bench.view(first);
    assert_eq!(bench.acts(), [start(1)], "nobody was primary before");
    bench.services(Ok(()));
    bench.said.resources[0].services_term = 1;
    bench.view(ReplicaView {
        run: 3,
        term: 3,
        led: Some(Led { node: 1, term: 3 }),
        ..primary()
    });
    assert_eq!(bench.acts(), [Action::StopServices(R0)]);
    bench.services(Ok(()));
    assert_eq!(bench.acts(), [], "these were started");
}

#[test]
fn a_promotion_that_was_ordered_asks_nobody_again() {
    let mut bench = standby_with_services();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.said.resources[0].services = Services::Down;
    bench.view(entitled());
    bench.live(DEAD + INTERVAL);
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    bench.view(ReplicaView {
        term: 8,
        led: Some(Led { node: 1, term: 8 }),
        ..alone()
    });
    assert_eq!(bench.acts(), [start(8)], "in whatever term");
    // Nor does the next agent here, whose own services are gone, while the other node is silent.
    let memory = bench.memory().clone();
    let mut bench = Bench::remembering(memory, |config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.view(ReplicaView {
        term: 9,
        led: Some(Led { node: 1, term: 9 }),
        ..alone()
    });
    assert_eq!(bench.acts(), [start(9)], "it was promoted again in place");
}

#[test]
fn a_promotion_in_place_says_nothing_of_what_was_not_known_before() {
    let mut bench = handed_over(Services::Up);
    bench.gone();
    bench.view(ReplicaView {
        can_promote: true,
        term: 6,
        led: came_by_itself().led,
        ..orphan()
    });
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    bench.view(ReplicaView {
        term: 7,
        led: Some(Led { node: 1, term: 7 }),
        ..alone()
    });
    bench.pass(DEAD + INTERVAL);
    assert_eq!(bench.acts(), [], "beta is silent, and they may run there");
}

#[test]
fn a_promotion_that_was_refused_says_nothing_of_one_that_comes_by_itself() {
    let mut bench = standby_with_services();
    bench.said.resources[0].serving = Serving::No;
    bench.said.resources[0].role = Role::Standby;
    bench.said.resources[0].services = Services::Down;
    bench.view(entitled());
    bench.live(DEAD + INTERVAL);
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.refused("a higher term");
    bench.said.resources[0].serving = Serving::Yes;
    bench.said.resources[0].services = Services::Up;
    bench.beat();
    bench.view(entitled());
    bench.view(ReplicaView {
        term: 8,
        led: Some(Led { node: 1, term: 8 }),
        ..primary()
    });
    bench.live(DEAD);
    assert!(!bench.acts().contains(&start(8)));
}
