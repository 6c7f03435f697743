//! How long something took, so often: counts in buckets whose bounds double.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Time;

/// Latencies, counted. To record one takes a few instructions and no memory, so every request can be.
///
/// In JSON `{"up-to-us":{"64":7,"128":2},"sum-ns":512000}`: seven took at most 64 µs, two more at most 128 µs, all
/// together 512 µs. Buckets without any are left out; `more` counts what took longer than the last bound.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Json", into = "Json")]
pub struct Histogram {
    /// By bucket; the last one has no bound.
    counts: [u64; BOUNDS + 1],
    sum_ns: u64,
}

impl core::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// Bounded buckets: up to 8 µs (below it is the loop's own time), 16 µs, … 16.8 s (above it is no latency but an outage).
const BOUNDS: usize = 22;

/// The first bound is so many times doubled.
const FIRST: u32 = 3;

impl Histogram {
    /// Something that began at `began` has ended.
    pub fn record(&mut self, began: Time, ended: Time) {
        let ns = ended.0.saturating_sub(began.0);
        self.counts[bucket(ns)] += 1;
        // It wraps after 584 years of latency, and Prometheus takes that for a restart.
        self.sum_ns = self.sum_ns.wrapping_add(ns);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// All together, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Each bound, and how many took no longer, in ascending order. Those that took longer than the last one are only
    /// in `count`.
    pub fn up_to(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let mut so_far = 0;
        self.counts
            .iter()
            .take(BOUNDS)
            .enumerate()
            .map(move |(at, count)| {
                so_far = count.saturating_add(so_far);
                (Duration::from_micros(bound_us(at)), so_far)
            })
    }

    /// What that part of them (0 to 1) did not exceed; `None` without any. Within a bucket they count as evenly spread,
    /// as in Prometheus' `histogram_quantile`, and like there nothing exceeds the last bound.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        let rank = part * count as f64;
        let (mut below, mut lower) = (0, Duration::ZERO);
        for (upper, so_far) in self.up_to() {
            if so_far > below && so_far as f64 >= rank {
                let share = (rank - below as f64) / (so_far - below) as f64;
                return Some(lower + (upper - lower).mul_f64(share.max(0.0)));
            }
            (below, lower) = (so_far, upper);
        }
        (count > 0).then_some(lower)
    }
}

/// A bucket ends with its bound.
const fn bucket(ns: u64) -> usize {
    let whole_us = ns.saturating_sub(1) / 1000;
    let doubled = (u64::BITS - whole_us.leading_zeros()).saturating_sub(FIRST) as usize;
    if doubled < BOUNDS { doubled } else { BOUNDS }
}

const fn bound_us(bucket: usize) -> u64 {
    1 << (FIRST as usize + bucket)
}

/// As it is written. A version with other bounds would still be understood.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Json {
    up_to_us: BTreeMap<u64, u64>,
    #[serde(skip_serializing_if = "is_none")]
    more: u64,
    sum_ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl From<Histogram> for Json {
    fn from(histogram: Histogram) -> Self {
        let counts = histogram.counts.iter().copied().enumerate();
        let bounded = counts.take(BOUNDS).filter(|&(_, count)| count > 0);
        Self {
            up_to_us: bounded.map(|(at, count)| (bound_us(at), count)).collect(),
            more: histogram.counts[BOUNDS],
            sum_ns: histogram.sum_ns,
        }
    }
}

impl From<Json> for Histogram {
    fn from(json: Json) -> Self {
        let mut histogram = Self::default();
        for (us, count) in json.up_to_us {
            let counted = &mut histogram.counts[bucket(us.saturating_mul(1000))];
            *counted = counted.saturating_add(count);
        }
        histogram.counts[BOUNDS] += json.more;
        histogram.sum_ns = json.sum_ns;
        histogram
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(latencies_ns: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for &ns in latencies_ns {
            histogram.record(Time(7), Time(7 + ns));
        }
        histogram
    }

    /// The bound of the only bucket that is filled.
    fn bound_of(ns: u64) -> Option<u64> {
        let (bound, _) = of(&[ns]).up_to().find(|&(_, count)| count == 1)?;
        Some(bound.as_micros() as u64)
    }

    #[test]
    fn a_bucket_ends_with_its_bound() {
        for (ns, bound) in [
            (0, Some(8)),
            (1, Some(8)),
            (8000, Some(8)),
            (8001, Some(16)),
            (16_000, Some(16)),
            (16_001, Some(32)),
            (1_024_000, Some(1024)),
            (1_024_001, Some(2048)),
            (16_777_216_000, Some(1 << 24)),
            (16_777_216_001, None),
            (u64::MAX - 7, None),
        ] {
            assert_eq!(bound_of(ns), bound, "{ns} ns");
        }
        let bounds: Vec<_> = of(&[])
            .up_to()
            .map(|(bound, _)| bound.as_micros())
            .collect();
        assert_eq!((bounds[0], bounds[21], bounds.len()), (8, 1 << 24, 22));
    }

    #[test]
    fn counts_and_sums_what_came_and_takes_time_that_went_back_for_none() {
        let mut histogram = of(&[5, 9000, u64::MAX - 8]);
        assert_eq!(histogram.count(), 3, "the one without a bound too");
        assert_eq!(histogram.sum_ns(), 8996, "it wraps");
        histogram.record(Time(10), Time(9));
        assert_eq!((histogram.count(), histogram.sum_ns()), (4, 8996));
        let so_far: Vec<_> = histogram.up_to().map(|(_, count)| count).collect();
        assert_eq!(so_far[..3], [2, 3, 3]);
        assert_eq!(so_far[21], 3);
    }

    #[test]
    fn quantiles_are_spread_over_their_bucket() {
        let us = Duration::from_micros;
        assert_eq!(of(&[]).quantile(0.5), None);
        let ten = of(&[100_000; 10]);
        assert_eq!(ten.quantile(0.0), Some(us(64)));
        assert_eq!(ten.quantile(0.5), Some(us(96)));
        assert_eq!(ten.quantile(1.0), Some(us(128)));
        let two = of(&[1000, 1000, 1000, 3_000_000]);
        assert_eq!(two.quantile(0.75), Some(us(8)));
        assert_eq!(two.quantile(0.99), Some(us(2048) + us(2048).mul_f64(0.96)));
        let outage = of(&[1000, 60_000_000_000]);
        assert_eq!(outage.quantile(0.5), Some(us(8)));
        assert_eq!(outage.quantile(0.99), Some(us(1 << 24)));
    }

    #[test]
    fn json_keeps_its_names_and_leaves_out_what_is_nought() {
        let histogram = of(&[50_000, 60_000, 100_000]);
        let text = r#"{"up-to-us":{"64":2,"128":1},"sum-ns":210000}"#;
        assert_eq!(serde_json::to_string(&histogram).unwrap(), text);
        let long = of(&[20_000_000_000]);
        let text = r#"{"up-to-us":{},"more":1,"sum-ns":20000000000}"#;
        assert_eq!(serde_json::to_string(&long).unwrap(), text);
        let other = r#"{"up-to-us":{"1":1,"100":2,"99999999999":3},"more":4,"sum-ns":5,"new":6}"#;
        let other: Histogram = serde_json::from_str(other).unwrap();
        assert_eq!(other.count(), 10, "bounds of another version");
        assert_eq!(other.counts[BOUNDS], 7);
    }

    proptest! {
        /// The true quantile lies in the same bucket, or beyond the last bound.
        #[test]
        fn a_quantile_is_never_in_another_bucket(
            mut latencies in prop::collection::vec(0_u64..1 << 34, 1..200),
            part in 0.01_f64..=1.0,
        ) {
            let histogram = of(&latencies);
            let estimate = histogram.quantile(part).expect("there are some");
            latencies.sort_unstable();
            let rank = (part * latencies.len() as f64).ceil() as usize;
            let exact = bucket(latencies[rank - 1]);
            let lower = if exact == 0 { 0 } else { bound_us(exact - 1) };
            let upper = bound_us(exact.min(BOUNDS - 1));
            let within = Duration::from_micros(lower)..=Duration::from_micros(upper);
            prop_assert!(within.contains(&estimate), "{estimate:?} is not within {within:?}");
            let json = serde_json::to_string(&histogram).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).expect("JSON"), histogram);
        }
    }
}
