//! Pairs with agents instead of an operator hold, whatever happens to them: nobody has to get up.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use twindisk_simulator::{Telling, run_with_agents};

/// Seeds that are run.
const SEEDS: u64 = 120;

#[test]
fn agents_bring_every_pair_through() {
    let next = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let (shots, kills) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    let lived = std::panic::catch_unwind(|| run_with_agents(seed, Telling::Silent));
                    let Ok(outcome) = lived else {
                        let mut wrong = wrong.lock().expect("panics are caught");
                        wrong.push(format!("seed {seed} panics"));
                        continue;
                    };
                    let coverage = &outcome.coverage;
                    shots.fetch_add(coverage.count("operator", "fence"), Ordering::Relaxed);
                    kills.fetch_add(coverage.count("agent", "kill"), Ordering::Relaxed);
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
    let shots = shots.into_inner();
    assert!(
        shots > SEEDS / 4,
        "only {shots} nodes were shot: the seeds try too little"
    );
    let kills = kills.into_inner();
    assert!(
        kills > SEEDS / 40,
        "only {kills} processes that hang were killed"
    );
}
