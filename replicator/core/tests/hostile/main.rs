//! A peer that knows the secret and keeps to nothing: valid frames, of every kind, in every state of two or three living
//! cores. A broken peer loses its link, and nothing else.
//!
//! For a longer hunt, and to see what was said in one story (`TWINDISK_HOSTILE_TRACE` with one seed):
//!
//! ```sh
//! just hostile 100000   # or
//! TWINDISK_HOSTILE_SEEDS=100000 TWINDISK_HOSTILE_START=1 cargo test --release -p twindisk-core --test hostile
//! ```
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]

mod altered;
mod breaches;
mod dice;
mod driver;
mod frames;
mod node;
mod story;
mod world;

use std::{env, panic, time::Instant};

use dice::Dice;

/// How many stories a test run tells: fifteen to thirty seconds.
const SEEDS: u64 = 150;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    let value = env::var(name).ok().map(|value| value.parse());
    value.map_or(otherwise, |value| value.expect("a number"))
}

/// Nobody stops working, and nothing grows without bound, whatever a peer says.
#[test]
fn whatever_a_peer_says_stops_nobody() {
    let seeds = from_environment("TWINDISK_HOSTILE_SEEDS", SEEDS);
    let start = from_environment("TWINDISK_HOSTILE_START", 1);
    let began = Instant::now();
    let mut failed = Vec::new();
    for seed in start..start + seeds {
        if panic::catch_unwind(|| story::tell(seed, &mut Dice::new(seed))).is_err() {
            failed.push(seed);
        }
    }
    println!("{seeds} stories in {:?}", began.elapsed());
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}
