//! Every order of events in small worlds: no rule is broken, and deliberate bugs break one.

use twindisk_core::Mutant;
use twindisk_fencing_core::Mutant as OfAgent;
use twindisk_simulator::small::{Failover, World, walk, worlds};

/// So many of each at most. Some of the short worlds have fewer, and end; `--small` goes further.
const STATES: usize = 100_000;

#[test]
fn no_order_of_a_small_world_breaks_a_rule() {
    for world in worlds::short() {
        let found = walk(World::new(&world.bounds), STATES);
        let all = if found.complete { "all" } else { "the first" };
        println!("{}: {all} {} states", world.name, found.states);
        assert_eq!(found.violation, None, "{}", world.name);
    }
}

#[test]
fn deliberate_bugs_break_one() {
    let bugs = [
        Mutant::AckWithoutPeers,
        Mutant::PromoteInconsistent,
        Mutant::PromoteOutdated,
        Mutant::ReceiptIsForEver,
    ];
    for bug in bugs {
        let broken = worlds::short().into_iter().any(|mut world| {
            world.bounds.mutant = Some(bug);
            walk(World::new(&world.bounds), STATES).violation.is_some()
        });
        assert!(broken, "{bug:?} was not found");
    }
}

#[test]
fn no_order_of_a_small_failover_breaks_a_rule() {
    for (name, bounds) in worlds::short_failovers() {
        let found = walk(Failover::new(bounds), STATES);
        println!("{name}: {} states", found.states);
        assert!(found.complete, "{name} has more states than are visited");
        assert_eq!(found.violation, None, "{name}");
    }
}

#[test]
fn deliberate_bugs_of_agents_break_one() {
    let bugs = [
        OfAgent::FireBeforeIntentStored,
        OfAgent::ForgetIntentEarly,
        OfAgent::HandOverWithServices,
        OfAgent::ReleaseWithServices,
    ];
    for bug in bugs {
        let broken = worlds::short_failovers()
            .into_iter()
            .any(|(_, mut bounds)| {
                bounds.mutant = Some(bug);
                walk(Failover::new(bounds), STATES).violation.is_some()
            });
        assert!(broken, "{bug:?} was not found");
    }
}
