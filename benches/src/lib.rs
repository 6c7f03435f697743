//! Measuring: the comparison with neighbours, interruptions, scale, and the hot paths one by one. The programs are in `bin/`;
//! figures of one machine compare with figures of the same machine only.

pub mod application;
pub mod build;
pub mod chart;
pub mod contestants;
pub mod control;
pub mod cpu;
pub mod failure;
pub mod fill;
pub mod fio;
pub mod house;
pub mod loads;
pub mod machine;
pub mod network;
pub mod pair;
pub mod power;
pub mod report;
pub mod results;
pub mod statistics;
pub mod table;

use std::{hint::black_box, time::Instant};
/// Runs `work` until it has taken long enough to be measured, several times over; returns the median of nanoseconds
/// per call.
pub fn median_nanos<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut calls = 1_u32;
    // Warms caches up, too.
    while timed(calls, &mut work) < ROUND_NANOS {
        calls *= 2;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| timed(calls, &mut work) / f64::from(calls))
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or(f64::NAN)
}

fn timed<T>(calls: u32, work: &mut impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(work());
    }
    start.elapsed().as_nanos() as f64
}

/// An odd number has a middle.
const ROUNDS: usize = 21;

/// Long enough that reading the clock does not count, short enough that most rounds are not interrupted.
const ROUND_NANOS: f64 = 5e6;
