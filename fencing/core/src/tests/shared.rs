//! Two resources with one peer.

use super::bench::*;
use crate::{Action, Config, Level, Order, Role};

fn two(config: &mut Config) {
    config.resources.push(resource("r1"));
}

/// The views of both resources, which beta has lost.
fn lost(bench: &mut Bench, first: ReplicaView, second: ReplicaView) {
    let said = |view: &ReplicaView| match view.role {
        Role::Primary => Role::Standby,
        Role::Standby => Role::Primary,
    };
    bench.said.resources[0].role = said(&first);
    bench.said.resources[1].role = said(&second);
    bench.beat();
    bench.view_of(R0, Some(first));
    bench.view_of(R1, Some(second));
}

fn as_node(node: u8) -> Bench {
    Bench::with(|config| {
        two(config);
        config.node = node;
        config.peers[BETA].node = 3 - node;
    })
}

fn second_met(view: ReplicaView) -> ReplicaView {
    ReplicaView { met: 90, ..view }
}

#[test]
fn one_shot_serves_both_and_each_receipt_names_its_own_meeting() {
    let mut bench = as_node(1);
    lost(&mut bench, orphan(), second_met(orphan()));
    bench.pass(DEAD + DELAY);
    assert_eq!(bench.acts(), [Action::ReadPower(BETA), Action::Fence(BETA)]);
    assert_eq!(bench.memory().intents.len(), 1);
    assert!(bench.memory().intents[0].why.contains("r1"));
    bench.fenced();
    let receipt = |resource, met| {
        let detail = "read as off".into();
        Action::Order(
            resource,
            Order::ReceiptFenced {
                about: BETA,
                detail,
                met,
            },
        )
    };
    assert_eq!(bench.acts(), [receipt(R0, 70), receipt(R1, 90)]);
    bench.obeyed_of(R0);
    bench.obeyed_of(R1);
    bench.view_of(R0, Some(entitled()));
    bench.view_of(R1, Some(second_met(entitled())));
    let promote = |resource| Action::Order(resource, Order::Promote);
    assert_eq!(bench.acts(), [promote(R0), promote(R1)]);
    bench.obeyed_of(R0);
    bench.view_of(R0, Some(alone()));
    assert_eq!(bench.acts(), [], "r1 still needs it off");
    bench.obeyed_of(R1);
    bench.view_of(R1, Some(second_met(alone())));
    assert_eq!(bench.acts(), [Action::PowerOn(BETA)]);
}

#[test]
fn one_host_that_dies_is_one_failover_of_each_of_its_resources() {
    let mut bench = Bench::with(|config| {
        two(config);
        config.max_failovers = 2;
    });
    bench.said.resources[1].role = Role::Primary;
    lost(&mut bench, orphan(), second_met(orphan()));
    bench.pass(DEAD + DELAY);
    bench.fenced();
    bench.acts();
    for (resource, view) in [(R0, entitled()), (R1, second_met(entitled()))] {
        bench.obeyed_of(resource);
        bench.view_of(resource, Some(view));
        bench.acts();
        bench.obeyed_of(resource);
    }
    assert_eq!(bench.memory().failovers.len(), 2);
    assert!(!bench.memory().blocked);
    assert!(!bench.was_told(Level::Alarm, "failovers within"));
}

#[test]
fn a_block_does_not_strand_what_the_same_shot_was_fired_for() {
    let mut bench = Bench::with(|config| {
        two(config);
        config.max_failovers = 1;
    });
    lost(&mut bench, orphan(), second_met(orphan()));
    bench.pass(DEAD + DELAY);
    bench.fenced();
    bench.obeyed_of(R0);
    bench.view_of(R0, Some(entitled()));
    bench.obeyed_of(R0);
    bench.view_of(R0, Some(alone()));
    assert!(bench.memory().blocked);
    bench.acts();
    bench.obeyed_of(R1);
    bench.view_of(R1, Some(second_met(entitled())));
    assert_eq!(bench.acts(), [Action::Order(R1, Order::Promote)]);
}

#[test]
fn one_resource_that_is_connected_keeps_nobody_from_fencing_for_the_other() {
    let mut bench = as_node(1);
    bench.beat();
    bench.view_of(R0, Some(primary()));
    bench.view_of(R1, Some(frozen()));
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
}

#[test]
fn a_shot_ends_when_the_last_of_its_reasons_does() {
    let mut bench = as_node(1);
    lost(&mut bench, orphan(), orphan());
    bench.pass(DEAD);
    bench.view_of(R0, Some(standby()));
    assert!(!bench.was_told(Level::Info, "not to be fenced any more"));
    bench.view_of(R1, Some(standby()));
    assert!(bench.was_told(Level::Info, "not to be fenced any more"));
}

/// How long a node waits that is primary of one resource and standby of the other.
fn mixed_delay(node: u8, isolated: bool) -> u64 {
    let mut bench = as_node(node);
    let (first, second) = if node == 1 {
        (frozen(), orphan())
    } else {
        (orphan(), frozen())
    };
    if isolated {
        bench.pinged(false);
    }
    lost(&mut bench, first, second);
    bench.wait_for(&Action::Fence(BETA), DEAD + 10 * DELAY) - DEAD
}

#[test]
fn of_two_that_are_each_primary_of_something_the_lower_number_fires_first() {
    assert_eq!(mixed_delay(1, false), 0);
    assert_eq!(mixed_delay(2, false), DELAY);
    assert!(mixed_delay(1, true) >= mixed_delay(2, false) + DELAY);
    assert!(mixed_delay(2, true) >= mixed_delay(1, true) + DELAY);
}

#[test]
fn of_two_standbys_the_lower_number_fires_first_and_none_at_once() {
    let delay = |node| {
        let mut bench = as_node(node);
        bench.beat();
        bench.view_of(R0, Some(orphan()));
        bench.view_of(R1, Some(standby()));
        bench.wait_for(&Action::Fence(BETA), DEAD + 10 * DELAY) - DEAD
    };
    let (low, high) = (delay(1), delay(2));
    assert_eq!(low, DELAY);
    assert!(high >= low + DELAY, "{high}");
}

#[test]
fn a_primary_that_never_heard_its_peer_fires_at_once_whatever_its_number() {
    for node in [1, 2] {
        let mut bench = as_node(node);
        bench.view(frozen());
        bench.pass(DEAD);
        assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    }
}

#[test]
fn one_that_does_not_count_on_the_peer_takes_no_receipt_about_it() {
    let mut bench = as_node(1);
    bench.beat();
    bench.view_of(R0, Some(frozen()));
    let without = ReplicaView {
        peer_in_sync: false,
        ..frozen()
    };
    bench.view_of(R1, Some(without));
    bench.pass(DEAD);
    assert_eq!(bench.acts(), [Action::Fence(BETA)]);
    bench.fenced();
    let acts = bench.acts();
    assert!(
        matches!(
            acts.as_slice(),
            [Action::Order(R0, Order::ReceiptFenced { .. })]
        ),
        "{acts:?}"
    );
}
