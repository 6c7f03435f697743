//! How fast a resync or verify goes: as fast as it can while nobody else wants the disks, and a third of the time while
//! clients work.
//!
//! A share of time needs to know neither what the disks can do nor how long requests take without a resync. A step that
//! takes long, because the disk is slow or because clients keep it busy, is followed by a pause that is twice as long.

use core::time::Duration;

use crate::{Time, limits::SWEEP_BLOCKS};

/// When a sweep begins its next step, and how large that is.
#[derive(Debug)]
pub(crate) struct Pace {
    rests_until: Time,
    /// Blocks of a step beside clients.
    blocks: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rests_until: Time(0),
            blocks: SMALL_STEP_BLOCKS,
        }
    }
}

impl Pace {
    /// Blocks of a step that may begin now beside `steps` that are under way; `None` while it may not.
    pub(crate) fn next(&self, now: Time, clients_work: bool, steps: usize) -> Option<u32> {
        if !clients_work {
            return Some(SWEEP_BLOCKS);
        }
        (steps == 0 && now >= self.rests_until).then_some(self.blocks)
    }

    /// A step has taken so long.
    pub(crate) fn took(&mut self, now: Time, step: Duration) {
        self.rests_until = now + (2 * step).min(LONGEST_PAUSE);
        self.blocks = if step < LONG_STEP {
            SMALL_STEP_BLOCKS
        } else {
            SWEEP_BLOCKS
        };
    }

    /// When the pause ends, if there is one.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        (self.rests_until > now).then_some(self.rests_until)
    }
}

/// Clients count as working for so long after one of their requests was under way.
pub(crate) const CLIENTS_LINGER: Duration = Duration::from_secs(1);

/// After a step the next one comes at the latest after so long: whatever clients do, a sweep comes to its end.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// 256 KiB: a client's request behind it waits for a fraction of a millisecond, on disks that are fast.
const SMALL_STEP_BLOCKS: u32 = 64;

/// What takes so long consists of waiting for a slow disk's head or a distant peer: a larger step takes hardly longer.
const LONG_STEP: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nobody_is_waited_for_while_clients_are_silent() {
        let mut pace = Pace::default();
        pace.took(at(10), ms(3));
        assert_eq!(pace.next(at(10), false, 7), Some(SWEEP_BLOCKS));
    }

    #[test]
    fn beside_clients_one_small_step_at_a_time_takes_a_third_of_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(at(1), true, 0), Some(SMALL_STEP_BLOCKS));
        assert_eq!(pace.next(at(1), true, 1), None);
        pace.took(at(4), ms(3));
        assert_eq!(pace.deadline(at(4)), Some(at(10)));
        assert_eq!(pace.next(at(9), true, 0), None);
        assert_eq!(pace.next(at(10), true, 0), Some(SMALL_STEP_BLOCKS));
        assert_eq!(pace.deadline(at(10)), None, "nobody is woken for nothing");
    }

    #[test]
    fn slow_steps_are_large_and_a_stuck_one_is_not_paid_for_with_a_standstill() {
        let mut pace = Pace::default();
        pace.took(at(5), ms(5));
        assert_eq!(pace.next(at(15), true, 0), Some(SWEEP_BLOCKS));
        pace.took(at(60_000), ms(50_000));
        assert_eq!(pace.deadline(at(60_000)), Some(at(60_100)));
        pace.took(at(60_200), ms(1));
        assert_eq!(pace.next(at(60_202), true, 0), Some(SMALL_STEP_BLOCKS));
    }
}
