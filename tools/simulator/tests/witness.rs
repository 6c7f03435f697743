//! Pairs with agents and a witness (R8): whoever goes on has everything, and somebody does, whatever happens to them.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use twindisk_simulator::{Telling, run_with_witness};

/// Seeds that are run.
const SEEDS: u64 = 120;

#[test]
fn a_witness_brings_every_pair_through() {
    let next = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let granted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    let lived =
                        std::panic::catch_unwind(|| run_with_witness(seed, Telling::Silent));
                    let Ok(outcome) = lived else {
                        let mut wrong = wrong.lock().expect("panics are caught");
                        wrong.push(format!("seed {seed} panics"));
                        continue;
                    };
                    let count = outcome.coverage.count("receipt", "arbiter");
                    granted.fetch_add(count, Ordering::Relaxed);
                    if let Some(violation) = outcome.violation {
                        let mut wrong = wrong.lock().expect("panics are caught");
                        wrong.push(format!("seed {seed}: {violation}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("panics are caught");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let granted = granted.into_inner();
    assert!(
        granted > SEEDS,
        "only {granted} terms were granted: the seeds try too little"
    );
}
