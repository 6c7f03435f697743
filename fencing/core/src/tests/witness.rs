//! Beside a witness (R8): nobody is fenced, and whoever is cut off lets go by itself.

use super::bench::*;
use crate::{Action, Role, Services};

pub(super) fn witnessed() -> Bench {
    let mut bench = Bench::with(|config| {
        config.resources[R0].arbiter = true;
        config.resources[R0].has_services = true;
    });
    bench.said.resources[0].witness = true;
    bench
}

/// A primary whose services are up.
pub(super) fn serving() -> Bench {
    let mut bench = witnessed();
    bench.services(Ok(()));
    bench.view(primary());
    bench.live(INTERVAL);
    assert!(bench.acts().contains(&start(5)));
    bench.services(Ok(()));
    bench.live(DEAD);
    bench.acts();
    assert_eq!(bench.agent.resources[R0].services, Services::Up);
    bench
}

fn stops_within(bench: &mut Bench, ms: u64) -> bool {
    let end = bench.now + ms;
    while bench.now < end {
        if bench.acts().contains(&Action::StopServices(R0)) {
            return true;
        }
        bench.pass(TICK);
    }
    false
}

/// Its replica answers, and says that I/O waits: nothing else tells that it is cut off.
#[test]
fn a_primary_with_neither_standby_nor_witness_takes_its_services_down() {
    let mut bench = serving();
    let mut waited = 0;
    loop {
        bench.view(frozen());
        if bench.acts().contains(&Action::StopServices(R0)) {
            break;
        }
        assert!(waited < 2 * DEAD, "its services stay up");
        bench.pass(TICK);
        waited += TICK;
    }
    assert_eq!(waited, DEAD);
}

/// Its process was started anew meanwhile: that it is no primary any more says nothing of the other node.
#[test]
fn one_that_comes_back_as_a_standby_and_meets_nobody_takes_its_services_down() {
    let mut bench = serving();
    let end = bench.now + 3 * DEAD;
    let back = ReplicaView {
        run: 2,
        led: primary().led,
        ..orphan()
    };
    while bench.now < end {
        bench.view(back.clone());
        bench.pass(TICK);
    }
    assert!(bench.acts().contains(&Action::StopServices(R0)));
}

/// An agent that was started anew does not know how long it has been cut off.
#[test]
fn nothing_is_started_on_a_primary_that_waits() {
    let mut bench = witnessed();
    bench.services(Ok(()));
    bench.view(frozen());
    bench.live(INTERVAL);
    assert!(!bench.acts().contains(&start(5)));
    bench.view(primary());
    assert!(bench.acts().contains(&start(5)));
}

#[test]
fn a_replica_that_says_nothing_while_the_peer_is_silent_takes_its_services_down() {
    let mut bench = serving();
    bench.gone();
    assert!(stops_within(&mut bench, 2 * DEAD));
}

#[test]
fn who_is_overruled_takes_its_services_down_at_once() {
    let mut bench = serving();
    (bench.said.resources[0].role, bench.said.resources[0].term) = (Role::Primary, 6);
    bench.beat();
    assert!(stops_within(&mut bench, TICK));
}

#[test]
fn nobody_is_fenced() {
    for lost in [frozen as fn() -> ReplicaView, orphan] {
        let mut bench = witnessed();
        bench.view(lost());
        bench.pass(10 * DEAD + 10 * DELAY);
        assert!(!bench.acts().contains(&Action::Fence(BETA)));
    }
}
