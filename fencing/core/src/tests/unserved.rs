//! Nobody is primary: somebody acts, or a person is told what is missing.

use super::bench::*;
use crate::{Action, Level, Operator, Order, Profile, Role, Serving};

const UNSERVED: u64 = as_ms(Profile::Default.unserved());

fn missing(bench: &Bench) -> Option<String> {
    bench.agent.status().resources[0].missing.clone()
}

/// The replication link is dead, and the primary's process was restarted: it is a standby that can't be promoted.
#[test]
fn a_primary_that_was_restarted_without_a_link_is_asked_to_let_go() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.said.resources[0].role = Role::Standby;
    bench.live(GRACE - INTERVAL);
    assert_eq!(
        bench.says().ask,
        Question::None,
        "it may be back in a moment"
    );
    bench.live(2 * INTERVAL);
    let ask = bench.says().ask;
    assert_ne!(ask, Question::None);
    bench.said.resources[0].released = ask;
    bench.beat();
    assert!(matches!(bench.order(), Some(Order::ReceiptReleased { .. })));
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn one_that_does_not_let_go_is_fenced() {
    let mut bench = Bench::standby();
    bench.view(orphan());
    bench.said.resources[0].role = Role::Standby;
    bench.live(GRACE + 2 * DEAD + DELAY + 4 * INTERVAL);
    assert!(bench.acts().contains(&Action::Fence(BETA)));
}

#[test]
fn of_two_that_could_go_on_the_lower_number_asks_and_does_not_let_go() {
    let bench = |node: u8| {
        let mut bench = Bench::with(|config| {
            config.node = node;
            config.peers[BETA].node = 3 - node;
        });
        bench.view(orphan());
        bench.said.resources[0].ready = true;
        bench.live(GRACE + INTERVAL);
        bench
    };
    let (mut lower, mut higher) = (bench(1), bench(2));
    assert_ne!(lower.says().ask, Question::None);
    assert_eq!(higher.says().ask, Question::None);
    higher.said.resources[0].ask = Question::from(77);
    higher.beat();
    assert_eq!(higher.order(), Some(Order::Outdate { offline: false }));
    lower.said.resources[0].ask = Question::from(77);
    lower.live(INTERVAL);
    assert_eq!(lower.acts(), []);
}

#[test]
fn a_person_is_told_once_what_is_missing_and_status_says_it_until_it_is_there() {
    let mut bench = Bench::new();
    let mut view = outdated();
    view.needs = vec!["alpha is Outdated".into()];
    bench.said.resources[0].serving = Serving::No;
    bench.view(view);
    bench.live(UNSERVED - INTERVAL);
    assert_eq!(missing(&bench), None);
    assert!(!bench.was_told(Level::Alarm, ""));
    bench.live(2 * INTERVAL);
    let what = missing(&bench).expect("something");
    assert!(
        what.contains("alpha can't be promoted: alpha is Outdated"),
        "{what}"
    );
    assert!(
        what.contains("`twindisk serve` does not run on beta"),
        "{what}"
    );
    bench.live(5 * UNSERVED);
    let alarms = bench
        .told
        .iter()
        .filter(|(level, what)| *level == Level::Alarm && what.contains("nobody takes writes"));
    assert_eq!(alarms.count(), 1, "{:?}", bench.told);
    bench.view(primary());
    bench.pass(0);
    assert_eq!(missing(&bench), None);
    assert!(bench.was_told(Level::Info, "somebody takes writes again"));
}

#[test]
fn whoever_is_served_elsewhere_lacks_nothing() {
    let mut bench = Bench::standby();
    bench.live(5 * UNSERVED);
    assert_eq!(missing(&bench), None);
    let mut bench = Bench::new();
    bench.said.resources[0].role = Role::Primary;
    bench.view(outdated());
    bench.live(5 * UNSERVED);
    assert_eq!(missing(&bench), None, "its agent says so");
}

#[test]
fn each_thing_that_is_missing_has_its_words() {
    let after = |bench: &mut Bench| {
        bench.live(UNSERVED + INTERVAL);
        missing(bench).expect("nobody takes writes")
    };
    let mut bench = Bench::new();
    bench.gone();
    assert!(after(&mut bench).contains("does not run on alpha"));
    let mut bench = Bench::new();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.view(entitled());
    assert!(after(&mut bench).contains("maintenance"));
    let mut bench = Bench::new();
    bench.ask(Operator::Maintenance(true)).expect("possible");
    bench.view(frozen());
    assert!(after(&mut bench).contains("I/O waits for beta"));
    let mut bench = Bench::new();
    bench.said.resources[0].serving = Serving::Silent;
    bench.view(outdated());
    assert!(after(&mut bench).contains("on beta does not answer"));
    let mut bench = Bench::new();
    bench.view(outdated());
    bench.pass(UNSERVED + INTERVAL);
    assert!(missing(&bench).expect("some").contains("beta is not heard"));
}

/// A right is over once they are connected again.
#[test]
fn a_right_of_before_a_meeting_keeps_nobody_from_being_fenced_at_the_next_loss() {
    // A primary and a standby that were given the right, and whose replicas meet before anything came of it.
    let waits = ReplicaView {
        suspended: true,
        ..primary()
    };
    for (start, lost, met) in [
        (primary(), frozen(), waits),
        (standby(), orphan(), standby()),
    ] {
        let mut bench = Bench::new();
        bench.meet(start);
        bench.view(lost.clone());
        bench.wait_for(&Action::Fence(BETA), DEAD + DELAY + INTERVAL);
        bench.fenced();
        assert!(matches!(bench.order(), Some(Order::ReceiptFenced { .. })));
        bench.obeyed();
        let since = |view: ReplicaView| ReplicaView { met: 71, ..view };
        bench.new_run();
        bench.beat();
        bench.view(since(met));
        bench.view(since(lost.clone()));
        bench.wait_for(&Action::Fence(BETA), DEAD + DELAY + INTERVAL);
    }
}

/// The status was asked for before the order was carried out, and its answer comes after that of the order.
#[test]
fn what_was_seen_before_an_order_was_carried_out_is_not_believed_after_it() {
    let mut bench = Bench::with(|config| config.resources[R0].has_services = true);
    bench.services(Ok(()));
    bench.beat();
    bench.view(primary());
    bench.services(Ok(()));
    bench.acts();
    bench.ask(switchover(R0)).expect("possible");
    bench.services(Ok(()));
    assert!(
        bench
            .acts()
            .contains(&Action::Order(R0, Order::HandOver { to: BETA }))
    );
    let looking = bench.agent.looking(R0);
    bench.obeyed();
    bench
        .agent
        .handle_replica(bench.time(), R0, looking, Some(primary().into()));
    bench.settle();
    assert_eq!(
        bench.acts(),
        [],
        "services would run where the role was given away"
    );
    bench.view(standby());
    assert_eq!(bench.acts(), []);
}
