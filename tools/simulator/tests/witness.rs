//! Pairs with agents and a witness (R8): whoever goes on has everything, and somebody does, whatever happens to them.

mod seeds;

use twindisk_simulator::run_with_witness;

/// Seeds that are run.
const SEEDS: u64 = 120;

#[test]
fn a_witness_brings_every_pair_through() {
    let counted = [("receipt", "arbiter")];
    let [granted] = seeds::all_hold(SEEDS, run_with_witness, counted);
    assert!(
        granted > SEEDS,
        "only {granted} terms were granted: the seeds try too little"
    );
}
