//! Whether to spin before sleeping, and for how long.
//!
//! A completion that arrives while the thread spins saves it a sleep and a wake-up, most of the time of a small write
//! at low depth. A completion that does not arrive has cost a CPU for nothing, on a machine where others may want it.

use std::time::Duration;

use crate::{BusyPoll, clock::UsualTime, limits::MAX_SPIN};

/// Decides about spinning from how it went before.
#[derive(Debug)]
pub(crate) struct Spinner {
    policy: BusyPoll,
    /// Grows with each spin that paid, shrinks with each that did not; below zero it is a pause.
    credit: i32,
}

impl Spinner {
    pub(crate) const fn new(policy: BusyPoll) -> Self {
        Self { policy, credit: 0 }
    }

    /// The budget of the next wait. `usual` is how long the operations in flight usually take; `None`: there are
    /// none, and an idle thread never spins.
    pub(crate) fn budget(&mut self, usual: Option<UsualTime>) -> Duration {
        let Some(usual) = usual.map(UsualTime::get) else {
            return Duration::ZERO;
        };
        match self.policy {
            BusyPoll::Off => Duration::ZERO,
            BusyPoll::For(most) => most,
            // What usually takes much longer than the budget would be spun for in vain.
            BusyPoll::Auto if usual > 2 * MAX_SPIN => Duration::ZERO,
            BusyPoll::Auto if self.credit < 0 => {
                self.credit += 1;
                Duration::ZERO
            }
            BusyPoll::Auto => MAX_SPIN.min(2 * usual),
        }
    }

    /// How a spin went.
    pub(crate) fn learn(&mut self, outcome: Spun) {
        match outcome {
            Spun::Not => {}
            Spun::Paid => self.credit = (self.credit + 1).min(MOST_CREDIT),
            Spun::InVain if self.credit >= MISS_COST => self.credit -= MISS_COST,
            Spun::InVain => self.credit = -PAUSE_WAITS,
        }
    }
}

/// What became of a spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spun {
    /// There was none.
    Not,
    /// A completion arrived.
    Paid,
    /// None arrived within the budget.
    InVain,
}

/// A miss takes what three hits gave: spinning pays when three of four pay.
const MISS_COST: i32 = 3;

/// Old merits are forgotten after a few misses.
const MOST_CREDIT: i32 = 12;

/// Waits without spinning before it is tried again.
const PAUSE_WAITS: i32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(micros: u64) -> Option<UsualTime> {
        let mut usual = UsualTime::default();
        usual.add(Duration::from_micros(micros));
        Some(usual)
    }

    #[test]
    fn the_budget_follows_the_usual_time_and_idle_threads_sleep() {
        let mut spinner = Spinner::new(BusyPoll::Auto);
        assert_eq!(spinner.budget(None), Duration::ZERO);
        assert_eq!(spinner.budget(usual(50)), Duration::from_micros(100));
        assert_eq!(spinner.budget(usual(150)), MAX_SPIN);
        assert_eq!(spinner.budget(usual(5000)), Duration::ZERO);
        assert_eq!(
            Spinner::new(BusyPoll::Off).budget(usual(50)),
            Duration::ZERO
        );
    }

    #[test]
    fn what_does_not_pay_is_left_alone_for_a_while() {
        let mut spinner = Spinner::new(BusyPoll::Auto);
        for _ in 0..100 {
            spinner.learn(Spun::Paid);
        }
        let mut spins = 0;
        for _ in 0..1000 {
            if spinner.budget(usual(50)) > Duration::ZERO {
                spins += 1;
                spinner.learn(Spun::InVain);
            }
        }
        assert!((20..60).contains(&spins), "{spins} of 1000");
        // It comes back when it pays again.
        let mut spins = 0;
        for _ in 0..1000 {
            if spinner.budget(usual(50)) > Duration::ZERO {
                spins += 1;
                spinner.learn(Spun::Paid);
            }
        }
        assert!(spins > 900, "{spins} of 1000");
    }
}
