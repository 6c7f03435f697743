//! A replica in conflict with another one: a person decides, and nobody is promoted, released or shot for it (R11).

use super::bench::*;
use crate::{Action, Level, Order, Role};

fn in_conflict(view: ReplicaView) -> ReplicaView {
    ReplicaView {
        conflict: Some("beta and this node are in split brain".into()),
        can_promote: false,
        ..view
    }
}

#[test]
fn a_fork_takes_over_from_nobody_and_shoots_nobody() {
    let mut bench = Bench::standby();
    bench.view(in_conflict(standby()));
    assert!(bench.was_told(Level::Alarm, "a person has to"));
    bench.view(in_conflict(orphan()));
    bench.pass(10 * DEAD + 10 * DELAY);
    assert_eq!(bench.acts(), []);
    // Even one whose replica believes that nothing is missing.
    bench.view(ReplicaView {
        conflict: in_conflict(orphan()).conflict,
        ..entitled()
    });
    bench.pass(10 * DEAD);
    assert_eq!(bench.acts(), []);
    let state = &bench.agent.status().resources[0];
    assert!(state.state.contains("CONFLICT") && state.conflict.is_some());
}

#[test]
fn a_fork_whose_process_is_gone_releases_nobody() {
    let mut bench = Bench::standby();
    bench.view(in_conflict(orphan()));
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    assert_eq!(bench.acts(), []);
    bench.gone();
    bench.live(5 * DEAD);
    assert_eq!(bench.acts(), [], "what it said last holds");
}

#[test]
fn a_primary_in_conflict_goes_on_and_fences_nobody() {
    let mut bench = Bench::primary();
    bench.view(in_conflict(primary()));
    bench.view(in_conflict(frozen()));
    bench.pass(10 * DEAD + 10 * DELAY);
    assert_eq!(bench.acts(), []);
    // A person may still hand the role over within the fork.
    bench.view(in_conflict(primary()));
    bench.live(DEAD);
    bench.acts();
    assert_eq!(bench.ask(switchover(R0)), Ok(()));
    bench.settle();
    assert_eq!(bench.order(), Some(Order::HandOver { to: BETA }));
}

#[test]
fn an_alarm_is_told_once_and_all_is_as_before_when_a_person_has_decided() {
    let mut bench = Bench::standby();
    bench.view(in_conflict(standby()));
    assert!(bench.was_told(Level::Alarm, "split brain"));
    bench.told.clear();
    bench.view(in_conflict(standby()));
    assert_eq!(bench.told, []);
    bench.view(standby());
    assert!(bench.was_told(Level::Info, "is over"));
    bench.view(ReplicaView {
        role: Role::Standby,
        ..orphan()
    });
    bench.said.resources[0].ask = Question::from(77);
    bench.beat();
    assert_eq!(bench.order(), Some(Order::Outdate { offline: false }));
}

#[test]
fn who_asks_another_arbiter_than_the_peer_decides_nothing() {
    let mut bench = Bench::standby();
    bench.said.resources[0].witness = true;
    bench.beat();
    assert!(bench.was_told(Level::Alarm, "\"witness\" in the configuration of beta"));
    bench.beat();
    bench.view(orphan());
    bench.pass(10 * DEAD + 10 * DELAY);
    assert_eq!(
        bench.acts(),
        [],
        "the peer may have gone on by the word of its witness"
    );
    bench.said.resources[0].witness = false;
    bench.beat();
    bench.wait_for(&Action::Fence(BETA), 3 * DEAD + 3 * DELAY);
}

/// Two that ask arbiters of one kind, and not the same one, could both be granted a term.
#[test]
fn who_asks_another_one_of_the_same_kind_decides_nothing() {
    for (here, there, differ) in [
        ("etcd 1a", "etcd 2b", true),
        ("etcd 1a", "etcd 1a", false),
        ("witness 1a", "witness 2b", true),
        ("witness 1a", "etcd 1a", true),
        // An earlier version says neither: it knows a witness.
        ("witness 1a", "", false),
        ("etcd 1a", "", true),
    ] {
        let mut bench = Bench::with(|config| {
            config.resources[R0].arbiter = true;
            config.resources[R0].arbiter_id = here.to_owned();
        });
        let said = &mut bench.said.resources[0];
        (said.witness, said.arbiter) = (true, there.to_owned());
        bench.beat();
        assert_eq!(bench.says().arbiter, here);
        let told = bench.was_told(Level::Alarm, "decides nothing any more");
        assert_eq!(told, differ, "{here:?} and {there:?}");
    }
}
