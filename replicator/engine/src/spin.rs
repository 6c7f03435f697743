//! Whether to spin before sleeping, and for how long.
//!
//! A completion that arrives while the thread spins saves it a sleep and a wake-up, most of the time of a small write
//! at low depth. A completion that does not arrive has cost a CPU for nothing, on a machine where others may want it.
//!
//! How long to spin follows the waits themselves, as halt polling in a hypervisor does (Linux,
//! Documentation/virt/kvm/halt-polling.rst): a wait that spinning a little longer would have spared makes the next
//! spin longer, waits that no spin could spare make it shorter and end it. So a thread spins in the gaps between the
//! requests of a busy client and between the frames of a busy peer, and an idle one sleeps. To spin only while I/O is in
//! flight would leave out just these gaps: a sleeping CPU takes longer to wake than all the rest of a small write.

use std::time::Duration;

use crate::{BusyPoll, limits::MAX_SPIN};

/// Decides about spinning from how it went before.
#[derive(Debug)]
pub(crate) struct Spinner {
    policy: BusyPoll,
    /// How long to spin next with `BusyPoll::Auto`.
    budget: Duration,
}

/// How a wait for a completion went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There was one already, or nothing to wait for.
    Not,
    /// One arrived during the spin.
    Spinning,
    /// The thread slept; spin and sleep took so long.
    Sleeping(Duration),
    /// None arrived for so long, then the time was up.
    InVain(Duration),
}

impl Spinner {
    pub(crate) const fn new(policy: BusyPoll) -> Self {
        Self {
            policy,
            budget: Duration::ZERO,
        }
    }

    /// How long the next wait may spin.
    pub(crate) const fn budget(&self) -> Duration {
        match self.policy {
            BusyPoll::Off => Duration::ZERO,
            BusyPoll::For(most) => most,
            BusyPoll::Auto => self.budget,
        }
    }

    /// How the last wait went.
    pub(crate) fn learn(&mut self, waited: Waited) {
        match waited {
            Waited::Not | Waited::Spinning => {}
            // Nobody knows how long it would have been.
            Waited::InVain(time) if time <= MAX_SPIN => {}
            Waited::Sleeping(time) if time <= MAX_SPIN => {
                self.budget = (2 * self.budget).clamp(FIRST_SPIN, MAX_SPIN);
            }
            // Once may be chance. After a few in a row the thread sleeps at once.
            Waited::Sleeping(_) | Waited::InVain(_) if self.budget > FIRST_SPIN => {
                self.budget /= 2;
            }
            Waited::Sleeping(_) | Waited::InVain(_) => self.budget = Duration::ZERO,
        }
    }
}

/// Where spinning begins again.
const FIRST_SPIN: Duration = Duration::from_micros(25);

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Waited = Waited::Sleeping(Duration::from_micros(120));
    const LONG: Waited = Waited::Sleeping(Duration::from_millis(3));

    #[test]
    fn short_waits_are_spun_for_and_long_ones_slept_through() {
        let mut spinner = Spinner::new(BusyPoll::Auto);
        assert_eq!(spinner.budget(), Duration::ZERO, "an idle thread sleeps");
        spinner.learn(SHORT);
        assert_eq!(spinner.budget(), FIRST_SPIN);
        for _ in 0..10 {
            spinner.learn(SHORT);
        }
        assert_eq!(spinner.budget(), MAX_SPIN);
        for good in [Waited::Not, Waited::Spinning, Waited::InVain(MAX_SPIN)] {
            spinner.learn(good);
            assert_eq!(spinner.budget(), MAX_SPIN);
        }
        spinner.learn(LONG);
        assert_eq!(spinner.budget(), MAX_SPIN / 2, "it may have been chance");
        for _ in 0..5 {
            spinner.learn(Waited::InVain(Duration::from_secs(1)));
        }
        assert_eq!(spinner.budget(), Duration::ZERO, "it was not");
    }

    #[test]
    fn what_was_configured_is_kept_to() {
        for (policy, budget) in [
            (BusyPoll::Off, Duration::ZERO),
            (
                BusyPoll::For(Duration::from_millis(2)),
                Duration::from_millis(2),
            ),
        ] {
            let mut spinner = Spinner::new(policy);
            for waited in [SHORT, SHORT, LONG, Waited::Spinning] {
                assert_eq!(spinner.budget(), budget);
                spinner.learn(waited);
            }
        }
    }
}
