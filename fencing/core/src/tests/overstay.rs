//! Beside a witness (R8, R10): a watchdog is left to reset a node on which services stay that have to be gone, and fed where they
//! may stay.

use super::{
    bench::*,
    witness::{serving, witnessed},
};
use crate::{Led, Level, Memory, Operator, Role, Services, Started};

/// The role is the other node's.
fn overruled(bench: &mut Bench) {
    (bench.said.resources[0].role, bench.said.resources[0].term) = (Role::Primary, 6);
    bench.view(standby());
    bench.live(INTERVAL);
    bench.acts();
}

fn looks(bench: &mut Bench, view: &ReplicaView, ms: u64) {
    let end = bench.now + ms;
    while bench.now < end {
        bench.view(view.clone());
        bench.pass(TICK);
    }
    bench.acts();
}

/// A primary of which nobody hears, and whose stop has failed.
fn cut_off() -> Bench {
    let mut bench = serving();
    looks(&mut bench, &frozen(), 2 * DEAD);
    assert!(bench.agent.is_well(), "they have their time");
    bench.services(Err("busy"));
    bench
}

#[test]
fn a_watchdog_is_fed_again_once_they_are_gone() {
    let mut bench = cut_off();
    assert!(!bench.agent.is_well());
    let told = "did not go down: busy; the role may be another node's: a watchdog, if there is one, is fed no longer";
    assert!(bench.was_told(Level::Alarm, told));
    looks(&mut bench, &frozen(), 10_000);
    assert!(!bench.agent.is_well(), "while it is tried again");
    bench.services(Ok(()));
    assert!(bench.agent.is_well());
}

#[test]
fn a_restart_of_serve_does_not_have_it_fed() {
    let mut bench = cut_off();
    let back = ReplicaView {
        run: 2,
        led: primary().led,
        ..orphan()
    };
    looks(&mut bench, &back, 60_000);
    assert!(!bench.agent.is_well());
}

#[test]
fn it_is_fed_where_they_may_stay() {
    let mut bench = serving();
    bench.said.resources[0].ready = true;
    bench.said.resources[0].services = Services::Down;
    bench.live(INTERVAL);
    bench.ask(switchover(R0)).expect("possible");
    bench.services(Err("busy"));
    assert!(bench.agent.is_well(), "it is primary still");
    bench.live(10_000);
    bench.services(Err("no start"));
    overruled(&mut bench);
    assert!(bench.agent.is_well(), "that was another stop");
    bench.services(Err("busy"));
    assert!(!bench.agent.is_well());
    bench.ask(Operator::Maintenance(true)).expect("possible");
    assert!(bench.agent.is_well(), "a person looks after them");
}

#[test]
fn a_primary_of_a_later_term_is_not_reset_for_what_is_left_of_an_earlier_one() {
    let mut bench = serving();
    let later = Some(Led { node: 1, term: 7 });
    let later = ReplicaView {
        term: 7,
        led: later,
        ..primary()
    };
    looks(&mut bench, &later, INTERVAL);
    bench.services(Err("busy"));
    assert!(bench.agent.is_well());
}

#[test]
fn nobody_else_can_have_the_role_of_one_that_went_on_alone() {
    let mut bench = serving();
    looks(&mut bench, &alone(), 2 * DEAD);
    bench.gone();
    bench.services(Err("its server is gone"));
    assert!(bench.agent.is_well());
}

/// There the other node fences this one, and starts nothing before.
#[test]
fn beside_a_fence_device_it_is_fed() {
    let mut bench = Bench::serving(|_| ());
    bench.view(primary());
    bench.services(Ok(()));
    overruled(&mut bench);
    bench.services(Err("busy"));
    assert!(bench.agent.is_well());
}

/// A stop that fails for ever would reset its host for ever.
#[test]
fn it_is_fed_where_nothing_can_run_since_the_host_has_booted() {
    for (before, now, resets) in [
        (HOST, HOST, true),
        ("an earlier boot", HOST, false),
        // What an agent of an earlier version noted, and a kernel that does not tell.
        ("", HOST, false),
        ("", "", false),
    ] {
        let services = vec![Started {
            resource: "r0".into(),
            term: 5,
            host: before.into(),
        }];
        let memory = Memory {
            services,
            ..Memory::default()
        };
        let mut bench = Bench::remembering(memory, |config| {
            config.resources[R0].has_services = true;
            config.resources[R0].arbiter = true;
            config.host = now.into();
        });
        bench.said.resources[0].witness = true;
        overruled(&mut bench);
        bench.services(Err("no such unit"));
        assert_eq!(bench.agent.is_well(), !resets, "{before:?}, {now:?}");
    }
    let mut bench = witnessed();
    bench.services(Err("no such unit"));
    assert!(bench.agent.is_well(), "nothing was ever started");
}
