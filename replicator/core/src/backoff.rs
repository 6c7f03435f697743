//! How long the next connection to a peer waits after one that did not work. A disk that can't keep up makes each
//! connection fail like the one before: without a pause two nodes would compare, resync and lose each other in a circle.

use core::time::Duration;

use crate::{Timings, limits::GOOD_REQUEST_TIMEOUTS};

/// Connections in a row that did not work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A connection that had stood for so long was given up: how long the next one waits. The first one does not wait;
    /// after that twice as long each time, up to the request timeout.
    pub(crate) fn gave_up(&mut self, stood: Duration, timings: &Timings) -> Duration {
        if stood >= timings.request_timeout * GOOD_REQUEST_TIMEOUTS {
            self.failures = 0;
        }
        let before = self.failures;
        self.failures = before.saturating_add(1);
        let Some(doublings) = before.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let wait = timings.ping_interval.saturating_mul(factor);
        wait.min(timings.request_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_has_an_end_and_a_good_connection_begins_anew() {
        let timings = Timings::default();
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(31);
        let waits: Vec<u64> = (0..9)
            .map(|_| backoff.gave_up(short, &timings).as_secs())
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
        for _ in 0..100 {
            backoff.gave_up(short, &timings);
        }
        assert_eq!(backoff.gave_up(short, &timings), timings.request_timeout);
        let good = timings.request_timeout * GOOD_REQUEST_TIMEOUTS;
        assert_eq!(backoff.gave_up(good, &timings), Duration::ZERO);
        assert_eq!(backoff.gave_up(short, &timings).as_secs(), 1);
    }
}
