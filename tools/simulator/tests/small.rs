//! Every order of events in small worlds: no rule is broken, and deliberate bugs break one.

use twindisk_core::Mutant;
use twindisk_simulator::small::{explore, worlds};

/// More than any of the short worlds has.
const STATES: usize = 200_000;

#[test]
fn no_order_of_a_small_world_breaks_a_rule() {
    for world in worlds::short() {
        let found = explore(&world.bounds, STATES);
        println!("{}: {} states", world.name, found.states);
        assert_eq!(found.violation, None, "{}", world.name);
        assert!(found.complete, "{}: {} states", world.name, found.states);
    }
}

#[test]
fn deliberate_bugs_break_one() {
    let bugs = [
        Mutant::AckWithoutPeers,
        Mutant::ForgetUnstable,
        Mutant::PromoteInconsistent,
        Mutant::PromoteOutdated,
        Mutant::BootUpToDate,
        Mutant::ReceiptIsForEver,
    ];
    for bug in bugs {
        let broken = worlds::short().into_iter().any(|mut world| {
            world.bounds.mutant = Some(bug);
            explore(&world.bounds, STATES).violation.is_some()
        });
        assert!(broken, "{bug:?} was not found");
    }
}
