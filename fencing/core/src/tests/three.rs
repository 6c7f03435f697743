//! A resource with three nodes: who goes on when one or two of them are lost.

use super::{
    bench::*,
    trio::{
        Bench, HIGH, LOW, PROMOTE, R0, entitled, lost, orphan, peer, primary, receipt, standby,
        view,
    },
};
use crate::{
    Action, BeatResource, Led, MemberIndex, Operator, Order, Profile, ReplicaView, Role, Services,
    Time,
};

#[test]
fn the_first_standby_fires_a_delay_before_the_second() {
    let waits = |node| {
        let mut bench = Bench::standby(node);
        bench.said = [None, Some(orphan())];
        bench.view(lost());
        bench.waits_for_shot(LOW)
    };
    let (first, second) = (waits(2), waits(3));
    assert!(
        (DEAD + DELAY - INTERVAL..=DEAD + DELAY).contains(&first),
        "{first}"
    );
    assert!(first + DELAY - TICK <= second && second <= first + DELAY + INTERVAL);
}

#[test]
fn the_second_standby_goes_on_as_soon_as_the_first_can_not() {
    let mut bench = Bench::standby(3);
    let can_not = BeatResource {
        ready: false,
        ..orphan()
    };
    bench.said = [None, Some(can_not)];
    bench.view(lost());
    let waits = bench.waits_for_shot(LOW);
    assert!(waits <= DEAD + DELAY, "{waits}");
}

#[test]
fn power_that_is_off_already_is_left_to_the_first_for_a_delay() {
    let waits = |node| {
        let mut bench = Bench::standby(node);
        bench.said = [None, Some(orphan())];
        bench.view(lost());
        while !bench.acts().contains(&Action::ReadPower(peer(LOW))) {
            bench.pass(TICK);
        }
        bench
            .agent
            .handle_power(Time(bench.now), peer(LOW), power(Some(false)));
        bench.settle();
        bench.waits_for_shot(LOW)
    };
    assert_eq!(waits(2), 0);
    assert!((DELAY - TICK..=DELAY + TICK).contains(&waits(3)));
}

#[test]
fn the_shot_promotes_the_first_and_the_second_wants_nothing_more() {
    let mut bench = Bench::standby(2);
    bench.said = [None, Some(orphan())];
    bench.view(lost());
    bench.waits_for_shot(LOW);
    bench.fenced(LOW);
    assert_eq!(bench.acts(), [receipt(LOW)]);
    bench.obeyed();
    bench.view(entitled());
    assert_eq!(bench.acts(), [PROMOTE]);

    let mut second = Bench::standby(3);
    second.said = [None, Some(orphan())];
    second.view(lost());
    second.pass(DEAD + DELAY + 500);
    let promoted = BeatResource {
        term: 6,
        ..primary()
    };
    second.said = [None, Some(promoted)];
    second.view(view(Role::Standby, [None, Some(Role::Primary)]));
    second.pass(10 * DELAY);
    let shots = second.acts();
    assert!(!shots.contains(&Action::Fence(peer(LOW))), "{shots:?}");
}

#[test]
fn who_has_a_right_leaves_the_role_to_the_first_for_a_while() {
    let mut bench = Bench::standby(3);
    bench.said = [None, Some(orphan())];
    bench.view(lost());
    bench.waits_for_shot(LOW);
    bench.fenced(LOW);
    bench.obeyed();
    bench.acts();
    bench.view(entitled());
    let succession = DEAD + as_ms(Profile::Default.succession());
    bench.pass(succession - INTERVAL);
    assert_eq!(bench.acts(), []);
    bench.pass(2 * INTERVAL);
    assert_eq!(bench.acts(), [PROMOTE]);
}

#[test]
fn a_shot_at_one_is_no_receipt_about_the_other() {
    let mut bench = Bench::standby(2);
    bench.said = [None, None];
    bench.view(view(Role::Standby, [None, None]));
    bench.waits_for_shot(LOW);
    assert_eq!(bench.acts(), [], "the primary first");
    bench.fenced(LOW);
    let acts = bench.acts();
    assert!(acts.contains(&receipt(LOW)), "{acts:?}");
    bench.obeyed();
    bench.view(view(Role::Standby, [None, None]));
    bench.waits_for_shot(HIGH);
    bench.fenced(HIGH);
    assert_eq!(bench.acts(), [receipt(HIGH)]);
    bench.obeyed();
    bench.view(ReplicaView {
        can_promote: true,
        ..view(Role::Standby, [None, None])
    });
    assert_eq!(bench.acts(), [PROMOTE]);
}

#[test]
fn a_receipt_that_is_void_is_brought_again() {
    let mut bench = Bench::standby(2);
    bench.said = [None, Some(orphan())];
    bench.view(lost());
    bench.waits_for_shot(LOW);
    bench.fenced(LOW);
    bench.acts();
    bench.obeyed();
    bench.view(lost());
    assert_eq!(bench.acts(), [], "it holds");
    let mut void = lost();
    void.peers[MemberIndex::new(LOW)].has_receipt = false;
    bench.view(void);
    assert_eq!(bench.acts(), [receipt(LOW)]);
}

#[test]
fn nobody_is_set_aside_for_a_primary_that_can_not_be_fenced() {
    let mut bench = Bench::standby(2);
    bench.said = [None, None];
    bench.view(view(Role::Standby, [None, None]));
    for _ in 0..4 {
        bench.waits_for_shot(LOW);
        bench.failed(LOW);
        let acts = bench.acts();
        assert!(!acts.contains(&Action::Fence(peer(HIGH))), "{acts:?}");
    }
}

#[test]
fn a_primary_that_another_standby_follows_is_not_fenced() {
    let mut bench = Bench::standby(3);
    bench.said = [None, Some(standby(1))];
    bench.view(lost());
    bench.pass(20 * DELAY);
    assert_eq!(bench.acts(), []);
    // That one's process says nothing any more: what it said once counts no longer.
    let stuck = BeatResource {
        oldest_ms: DEAD,
        ready: false,
        ..standby(1)
    };
    bench.said = [None, Some(stuck)];
    bench.waits_for_shot(LOW);
}

#[test]
fn a_standby_of_a_new_primary_fences_nobody_for_the_old_one() {
    let mut bench = Bench::standby(2);
    let promoted = BeatResource {
        term: 6,
        ..primary()
    };
    // It is not connected to it, and hears it.
    bench.said = [None, Some(promoted)];
    bench.view(view(Role::Standby, [None, None]));
    bench.pass(20 * DELAY);
    let acts = bench.acts();
    assert!(!acts.contains(&Action::Fence(peer(LOW))), "{acts:?}");
}

#[test]
fn a_standby_that_is_away_for_a_moment_is_asked_for_nothing() {
    let mut bench = Bench::standby(2);
    bench.said = [None, Some(orphan())];
    bench.view(view(Role::Standby, [None, None]));
    bench.waits_for_shot(LOW);
    bench.view(lost());
    bench.fenced(LOW);
    bench.obeyed();
    bench.acts();
    bench.view(view(Role::Standby, [None, None]));
    let asked = |bench: &Bench| bench.agent.member(R0, MemberIndex::new(HIGH)).asking;
    bench.pass(as_ms(Profile::Default.restart_grace()) - INTERVAL);
    assert_eq!(asked(&bench), None);
    bench.pass(2 * INTERVAL);
    assert!(asked(&bench).is_some());
}

#[test]
fn a_primary_without_one_of_two_needs_that_one_off_and_no_other() {
    let mut bench = Bench::primary();
    bench.said[HIGH] = None;
    bench.view(view(Role::Primary, [Some(Role::Standby), None]));
    let waits = bench.waits_for_shot(HIGH);
    assert!(waits <= DEAD, "{waits}");
    bench.fenced(HIGH);
    assert_eq!(bench.acts(), [receipt(HIGH)]);
    bench.obeyed();
    let mut alone = view(Role::Primary, [Some(Role::Standby), None]);
    alone.suspended = false;
    alone.peers[MemberIndex::new(HIGH)].in_sync = false;
    alone.peers[MemberIndex::new(HIGH)].awaited = false;
    bench.view(alone);
    assert_eq!(bench.acts(), [Action::PowerOn(peer(HIGH))]);
}

#[test]
fn a_primary_cut_off_from_both_fires_at_both_at_once() {
    let mut bench = Bench::primary();
    bench.said = [None, None];
    bench.view(view(Role::Primary, [None, None]));
    bench.pass(DEAD);
    let acts = bench.acts();
    for at in [LOW, HIGH] {
        assert!(acts.contains(&Action::Fence(peer(at))), "{acts:?}");
    }
}

#[test]
fn the_role_is_handed_to_whom_a_person_names() {
    let mut bench = Bench::primary();
    let wish = |to| Operator::Switchover { resource: R0, to };
    let ask = |bench: &mut Bench, to| {
        let result = bench.agent.handle_operator(Time(bench.now), wish(to));
        bench.settle();
        result
    };
    assert_eq!(ask(&mut bench, Some(peer(HIGH))), Ok(()));
    let to = peer(HIGH);
    assert_eq!(bench.acts(), [Action::Order(R0, Order::HandOver { to })]);
    bench
        .agent
        .handle_ordered(Time(bench.now), R0, Err("no".into()));
    bench.settle();
    // The first that could have it.
    bench.view(view(Role::Primary, [None, Some(Role::Standby)]));
    assert!(ask(&mut bench, Some(peer(LOW))).is_err());
}

#[test]
fn services_of_each_other_node_are_known_to_be_down_by_the_word_of_who_had_them() {
    let mut bench = Bench::new(2, true);
    let mut leads = primary();
    (leads.services, leads.services_term) = (Services::Up, 5);
    // Gamma has some that nobody can say of: who is primary has seen to that.
    let mut other = standby(1);
    other.services = Services::Unknown;
    bench.said = [Some(leads), Some(other)];
    bench.view(view(
        Role::Standby,
        [Some(Role::Primary), Some(Role::Standby)],
    ));
    bench.pass(3 * INTERVAL);
    let freed = |bench: &Bench, node: &str| bench.agent.memory.freed_on("r0", node, false);
    assert_eq!(freed(&bench, "gamma"), Some(5));
    assert_eq!(freed(&bench, "alpha"), None, "its own are up");
}

/// A standby whose members are so, and the set without, or with, one of them.
fn set_with(peers: [Option<Role>; 2], at: usize, in_sync: bool) -> ReplicaView {
    let mut view = view(Role::Standby, peers);
    for peer in view.peers.iter_mut() {
        peer.has_receipt = false;
    }
    view.peers[MemberIndex::new(at)].in_sync = in_sync;
    view
}

#[test]
fn who_was_taken_in_again_is_not_off_by_what_was_read_before() {
    let mut bench = Bench::reader(2);
    bench.said[HIGH] = None;
    let alone = [Some(Role::Primary), None];
    bench.pass(DEAD / 4);
    bench.off_twice(HIGH);
    assert_eq!(bench.acts(), []);
    bench.view(set_with(alone, HIGH, false));
    bench.view(set_with(alone, HIGH, true));
    bench.said[LOW] = None;
    bench.view(set_with([None, None], HIGH, true));
    let asks = |act: &Action| matches!(act, Action::ReadPower(_));
    assert!(bench.acts().iter().all(asks), "no receipt");
    assert!(bench.agent.peers[peer(HIGH)].proof.is_none());
}

/// It has everything, and may be without what comes after the loss of both others.
fn who_was_shot(node: u8) -> Bench {
    let mut bench = Bench::standby(node);
    bench.said = [None, Some(orphan())];
    bench.view(lost());
    bench.waits_for_shot(LOW);
    bench.fenced(LOW);
    assert_eq!(bench.acts(), [receipt(LOW)]);
    bench.obeyed();
    // The other standby goes on.
    bench.said[HIGH] = Some(primary());
    bench
}

fn must_be_shot_again(mut bench: Bench) {
    bench.said = [None, None];
    let mut gone = set_with([None, None], LOW, true);
    gone.led = Some(Led { node: 3, term: 6 });
    bench.view(gone.clone());
    let orders = |act: &Action| matches!(act, Action::Order(..));
    assert!(!bench.acts().iter().any(orders));
    // Who was primary comes first.
    bench.waits_for_shot(HIGH);
    bench.fenced(HIGH);
    assert_eq!(bench.acts(), [receipt(HIGH)]);
    bench.obeyed();
    gone.peers[MemberIndex::new(HIGH)].has_receipt = true;
    bench.view(gone);
    bench.waits_for_shot(LOW);
}

#[test]
fn who_was_taken_in_again_is_not_off_by_a_shot_of_before() {
    let mut bench = who_was_shot(2);
    let led = [None, Some(Role::Primary)];
    bench.view(set_with(led, LOW, false));
    bench.view(set_with(led, LOW, true));
    must_be_shot_again(bench);
}

#[test]
fn a_shot_that_nobody_needs_any_more_is_no_receipt_later() {
    let mut bench = who_was_shot(2);
    bench.view(set_with([None, Some(Role::Primary)], LOW, true));
    assert!(bench.acts().contains(&Action::PowerOn(peer(LOW))));
    must_be_shot_again(bench);
    let mut bench = who_was_shot(2);
    let wish = Operator::Maintenance(true);
    bench
        .agent
        .handle_operator(Time(bench.now), wish)
        .expect("possible");
    bench.view(set_with([None, Some(Role::Primary)], LOW, true));
    assert_eq!(bench.acts(), []);
    let wish = Operator::Maintenance(false);
    bench
        .agent
        .handle_operator(Time(bench.now), wish)
        .expect("possible");
    bench.acts();
    must_be_shot_again(bench);
}
