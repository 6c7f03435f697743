//! Nodes with agents instead of an operator hold, whatever happens to them: nobody has to get up.

mod seeds;

use twindisk_simulator::{run_with_agents, run_with_three};

/// Seeds of pairs that are run.
const PAIRS: u64 = 120;

/// Seeds of three nodes that are run.
const THREES: u64 = 40;

#[test]
fn agents_bring_every_pair_through() {
    let counted = [("operator", "fence"), ("agent", "kill")];
    let [shots, kills] = seeds::all_hold(PAIRS, run_with_agents, counted);
    assert!(
        shots > PAIRS / 4,
        "only {shots} nodes were shot: the seeds try too little"
    );
    assert!(
        kills > PAIRS / 40,
        "only {kills} processes that hang were killed"
    );
}

#[test]
fn agents_bring_three_nodes_through() {
    let counted = [("operator", "fence"), ("receipt", "fence")];
    let [shots, receipts] = seeds::all_hold(THREES, run_with_three, counted);
    assert!(
        shots > THREES / 4,
        "only {shots} nodes were shot: the seeds try too little"
    );
    assert!(
        receipts > THREES / 4,
        "only {receipts} times a power switch's word was used"
    );
}
