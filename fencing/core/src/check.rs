//! Whether a fence device can be believed when it reads the power of a peer: it must have read on while the peer was heard.
//!
//! A plug that belongs to another machine, or to one of two power supplies, a device that calls off what it does not know: each
//! reads off for ever, and one such reading more is no news when the peer falls silent. So what reads off of a node that
//! runs is an alarm, and nothing is read of that node's silence before the device has read on. What remains is a device
//! that begins to read off between the last check and the silence.

use std::time::Duration;

use crate::{Action, Agent, Level, PeerIndex, Power, Time, fence::RETRY, mutants::Mutant};

/// Between two checks of a device that is right.
const EVERY: Duration = Duration::from_secs(60);

/// What a peer's devices say while the peer is heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Check {
    /// The run of the peer that was heard when they were asked, if they have not answered.
    asked: Option<u64>,
    /// When they were asked last.
    at: Option<Time>,
    /// They have read on last.
    reads_on: bool,
    /// Checks in a row that did not read on.
    failed: usize,
    /// What was told of that.
    fault: Option<String>,
}

impl Check {
    /// The device has something else to do: nobody waits for an answer any more.
    pub(crate) fn break_off(&mut self) {
        self.asked = None;
    }

    /// What the power of the peer reads as while it is silent may be believed.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.reads_on
    }

    /// What is wrong with the devices, if they were found so.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

impl Agent {
    /// Has the devices of a peer that is heard read its power now and then; the first time at once.
    pub(crate) fn decide_check(&mut self, peer: PeerIndex) {
        let (now, early) = (self.now, self.early());
        let state = &self.peers[peer];
        let failed = state.check.failed.saturating_sub(1);
        let pause = if state.check.reads_on {
            EVERY
        } else {
            RETRY[failed.min(RETRY.len() - 1)]
        };
        let due = state.check.at.is_none_or(|at| now.since(at) >= pause);
        let heard = state.is_heard(now, early) && !state.has_left();
        let free = state.check.asked.is_none() && !state.is_aimed_at();
        if due && heard && free && self.config.peers[peer].reads_power && !self.leaving {
            let state = &mut self.peers[peer];
            (state.check.asked, state.check.at) = (Some(state.boot), Some(now));
            self.act(Action::CheckPower(peer));
        }
    }

    /// The power of a peer that was heard was read, or could not be.
    pub fn handle_checked(&mut self, now: Time, peer: PeerIndex, power: Power) {
        self.advance(now);
        let early = self.early();
        let state = &mut self.peers[peer];
        let run = state.check.asked.take();
        // Who fell silent, or was started anew, while the devices were asked may have been off.
        let heard = state.is_heard(now, early) && !state.has_left() && run == Some(state.boot);
        if run.is_some() && heard {
            let wrong = match power {
                Power::On => None,
                Power::Off(what) => Some(format!("off ({what})")),
                Power::Unknown => Some("neither on nor off".to_owned()),
            };
            self.judge_devices(peer, wrong);
        }
        self.decide();
    }

    fn judge_devices(&mut self, peer: PeerIndex, wrong: Option<String>) {
        let name = self.config.peers[peer].name.clone();
        let check = &mut self.peers[peer].check;
        check.reads_on = wrong.is_none();
        let Some(read) = wrong else {
            check.failed = 0;
            if check.fault.take().is_some() {
                let what = format!(
                    "the power of {name} reads as on again: it is read when {name} falls silent"
                );
                self.report(Level::Info, None, what);
            }
            return;
        };
        check.failed += 1;
        // A power switch may read off for an instant.
        if check.failed == 2 {
            let what = format!(
                "its power reads as {read} while it runs: the plug or the device is wrong. It is fenced in its time, and not by \
                 what its power reads as, until that reads on: twindisk fence test {name}, and see to `plug`, or set \
                 `read-power` to false"
            );
            check.fault = Some(what.clone());
            self.report(Level::Alarm, None, format!("{name}: {what}"));
        }
    }

    /// Whether what the power of a silent peer reads as may be believed.
    pub(crate) fn trusts_readings(&self, peer: PeerIndex) -> bool {
        self.peers[peer].check.is_trusted() || self.mutant(Mutant::NeverReadOn)
    }
}
