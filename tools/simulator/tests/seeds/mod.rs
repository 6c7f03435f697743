//! Seeds, one after the other, on two threads.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use twindisk_simulator::{Outcome, Telling};

/// Runs so many seeds, which must all hold. How often something was decided in all of them, for each pair of names of the
/// table.
pub(crate) fn all_hold<const N: usize>(
    seeds: u64,
    run: fn(u64, Telling) -> Outcome,
    counted: [(&str, &str); N],
) -> [u64; N] {
    let next = AtomicU64::new(0);
    let wrong = Mutex::new(Vec::new());
    let counts = counted.map(|_| AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let lived = std::panic::catch_unwind(|| run(seed, Telling::Silent));
                    let Ok(outcome) = lived else {
                        let mut wrong = wrong.lock().expect("panics are caught");
                        wrong.push(format!("seed {seed} panics"));
                        continue;
                    };
                    for ((kind, name), count) in counted.iter().zip(&counts) {
                        count.fetch_add(outcome.coverage.count(kind, name), Ordering::Relaxed);
                    }
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
    counts.map(AtomicU64::into_inner)
}
