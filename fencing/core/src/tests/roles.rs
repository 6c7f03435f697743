//! Who is promoted without a failover: a restart in place, a cold start.

use super::bench::*;
use crate::{Level, Memory, Order, Role, Serving};

/// A standby that is connected to another one, and may be promoted.
fn idle() -> ReplicaView {
    ReplicaView {
        can_promote: true,
        peer_role: Some(Role::Standby),
        ..standby()
    }
}

fn holding() -> Memory {
    Memory {
        version: 3,
        holds: vec!["r0".into()],
        ..Memory::default()
    }
}

#[test]
fn a_primary_whose_process_was_restarted_is_promoted_again_at_once() {
    let mut bench = Bench::primary();
    bench.gone();
    bench.live(DEAD);
    let mut back = idle();
    back.run = 2;
    bench.view(ReplicaView {
        can_promote: false,
        ..back.clone()
    });
    assert_eq!(bench.acts(), [], "not before it can be");
    bench.view(back);
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    assert!(bench.was_told(Level::Info, "is primary here"));
    assert_eq!(bench.memory().failovers, [], "that is no failover");
}

#[test]
fn a_restarted_agent_knows_that_its_node_was_primary() {
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn a_restarted_primary_is_not_promoted_when_its_peer_is_primary() {
    let mut connected = idle();
    connected.peer_role = Some(Role::Primary);
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.view(connected);
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), []);
    assert!(
        bench.memory().holds.is_empty(),
        "it does not hold it any more"
    );

    let mut bench = Bench::remembering(holding(), |_| ());
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].term = 6;
    bench.beat();
    bench.view(entitled());
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), [], "its agent says so");
    assert!(bench.memory().holds.is_empty());
}

#[test]
fn what_is_said_of_an_older_term_holds_nobody_back() {
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].term = 4;
    bench.beat();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn what_a_silent_process_was_holds_nobody_back() {
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.said.resources[0].role = Role::Primary;
    bench.said.resources[0].serving = Serving::Silent;
    bench.beat();
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn one_that_gave_the_role_away_does_not_hold_it() {
    let mut bench = Bench::primary();
    assert_eq!(bench.memory().holds, ["r0"]);
    bench.view(ReplicaView {
        peer_role: Some(Role::Standby),
        ..standby()
    });
    assert!(bench.memory().holds.is_empty());
    assert_eq!(bench.stores.last(), Some(bench.memory()));
}

#[test]
fn on_a_cold_start_the_lower_number_is_promoted_after_a_moment() {
    let mut bench = Bench::new();
    bench.said.resources[0].can_promote = true;
    bench.view(idle());
    bench.live(DEAD - 1);
    assert_eq!(bench.acts(), []);
    bench.live(1);
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn on_a_cold_start_the_higher_number_waits_for_the_lower_one() {
    let mut bench = Bench::with(|config| {
        config.node = 2;
        config.peers[BETA].node = 1;
    });
    bench.said.resources[0].can_promote = true;
    bench.view(idle());
    bench.live(10 * DEAD);
    assert_eq!(bench.acts(), []);
    bench.said.resources[0].can_promote = false;
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Promote), "the other one can't");
}

#[test]
fn on_a_cold_start_alone_whoever_can_is_promoted() {
    let mut bench = Bench::with(|config| {
        config.node = 2;
        config.peers[BETA].node = 1;
    });
    bench.view(entitled());
    bench.pass(DEAD);
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn on_a_cold_start_nobody_is_promoted_who_needs_a_right() {
    let mut bench = Bench::new();
    let mut view = orphan();
    view.up_to_date = false;
    bench.view(view.clone());
    bench.pass(10 * DEAD);
    view.can_promote = true;
    bench.view(view);
    bench.pass(10 * DEAD);
    assert_eq!(bench.acts(), []);
}

#[test]
fn the_moment_of_a_cold_start_begins_anew_when_it_could_not_be_promoted_for_a_while() {
    let mut bench = Bench::new();
    bench.view(entitled());
    bench.pass(DEAD - INTERVAL);
    bench.view(orphan());
    bench.view(entitled());
    bench.pass(DEAD - INTERVAL);
    assert_eq!(bench.acts(), []);
}

#[test]
fn a_promotion_that_was_refused_is_tried_again_after_a_pause() {
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.refused("a higher term");
    assert!(bench.was_told(Level::Warning, "could not be promoted: a higher term"));
    bench.view(entitled());
    bench.pass(999);
    assert_eq!(bench.acts(), []);
    bench.pass(1);
    assert_eq!(bench.order(), Some(Order::Promote));
}

#[test]
fn one_order_at_a_time() {
    let mut bench = Bench::remembering(holding(), |_| ());
    bench.view(entitled());
    assert_eq!(bench.order(), Some(Order::Promote));
    for _ in 0..10 {
        bench.view(entitled());
        bench.live(DEAD);
    }
    assert_eq!(bench.acts(), []);
}

#[test]
fn an_answer_to_no_order_is_nothing() {
    let mut bench = Bench::primary();
    bench.obeyed();
    bench.refused("what?");
    assert_eq!(bench.acts(), []);
    assert!(!bench.was_told(Level::Warning, ""));
}

#[test]
fn a_restart_of_one_that_went_on_alone_is_no_failover() {
    let mut bench = Bench::primary();
    bench.view(frozen());
    bench.pass(DEAD);
    bench.fenced();
    bench.obeyed();
    bench.view(alone());
    bench.acts();
    bench.gone();
    bench.view(ReplicaView {
        run: 2,
        met: 90,
        peer_in_sync: false,
        ..entitled()
    });
    assert_eq!(bench.order(), Some(Order::Promote));
    bench.obeyed();
    assert_eq!(bench.memory().failovers, []);
}

#[test]
fn a_change_of_role_is_told_at_once() {
    let mut bench = Bench::standby();
    let gone = None;
    let steps = [
        (Some(entitled()), Role::Standby, 0),
        (Some(alone()), Role::Primary, 1),
        (Some(primary()), Role::Primary, 0),
        (Some(standby()), Role::Standby, 1),
        (gone, Role::Standby, 1),
        (Some(outdated()), Role::Standby, 1),
    ];
    for (view, role, beats) in steps {
        bench.live(INTERVAL / 2);
        let before = bench.sent.len();
        bench.view_of(R0, view.clone());
        assert_eq!(bench.sent.len() - before, beats, "{view:?}");
        bench.live(INTERVAL);
        assert_eq!(bench.says().role, role);
    }
    bench.live(INTERVAL / 2);
    bench.sent.clear();
    bench.view(alone());
    let told: Vec<Role> = bench
        .sent
        .iter()
        .map(|beat| beat.resources[0].role)
        .collect();
    assert_eq!(told, [Role::Primary]);
    bench.pass(0);
    assert_eq!(
        bench.sent.len(),
        1,
        "and the next one comes an interval later"
    );
}
