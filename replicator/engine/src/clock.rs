//! The clock that the core is driven by: monotonic, counted from the thread's start.

use std::time::{Duration, Instant};

use twindisk_core::Time;

/// A monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// How long operations usually take: an exponentially weighted mean, for the budget of spinning.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsualTime {
    nanos: u64,
}

impl UsualTime {
    pub(crate) fn add(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos())
            .unwrap_or(u64::MAX)
            .min(SANE_NANOS);
        self.nanos = if self.nanos == 0 {
            took
        } else {
            self.nanos - self.nanos / 8 + took / 8
        };
    }

    pub(crate) const fn get(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// One operation that hung must not fill the mean for minutes.
const SANE_NANOS: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_and_one_outlier_does_not_rule_it() {
        let mut usual = UsualTime::default();
        for _ in 0..100 {
            usual.add(Duration::from_micros(80));
        }
        assert!((79..=81).contains(&usual.get().as_micros()), "{usual:?}");
        usual.add(Duration::from_secs(100));
        assert!(usual.get() < Duration::from_millis(2));
    }
}
