//! Every order of events in small worlds: no rule is broken, and deliberate bugs break one.

use twindisk_core::Mutant;
use twindisk_simulator::small::{explore, worlds};

/// So many of each at most. Some of the short worlds have fewer, and end; `--small` goes further.
const STATES: usize = 100_000;

#[test]
fn no_order_of_a_small_world_breaks_a_rule() {
    for world in worlds::short() {
        let found = explore(&world.bounds, STATES);
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
            explore(&world.bounds, STATES).violation.is_some()
        });
        assert!(broken, "{bug:?} was not found");
    }
}
