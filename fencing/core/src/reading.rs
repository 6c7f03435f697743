//! Proof of death without a shot: the power of a silent node is read while everybody still waits to judge it. What reads off
//! twice, and says nothing from before the first reading until after the second one, is off (R6).
//!
//! A reading fires at nobody, keeps nobody waiting, and is broken off by a shot. Power that reads as on, or can't be read,
//! changes nothing: what comes then comes when it would have come anyway. Whether somebody else has switched the node off, or
//! on again since, does not matter: what it was before has ended, as after a shot that another person's *on* follows. But a
//! node that others have taken in again since does count, whether it is heard here or not: off is off for a short time only,
//! and is read again when it is needed later.

use std::time::Duration;

use crate::{
    Action, Agent, Level, MemberIndex, PeerIndex, Power, ResourceIndex, Role, Table, Time, as_ms,
    fence::{Fencing, RETRY},
    mutants::Mutant,
};

/// Of the time after which a silent peer is dead: after so much silence its power is read.
const EARLY: u32 = 4;

/// Between the end of the first reading of off and the begin of the second one: a power switch may read off for an instant.
/// As long as between the two that follow a shot.
const GAP: Duration = Duration::from_millis(200);

/// What the power of a peer has read as since it fell silent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    step: Step,
    /// Readings of this silence that did not read off, or of an off that nobody needed.
    in_vain: usize,
    /// When the device was asked last, but for the second one of two.
    asked: Option<Time>,
    /// The last connection of the two replicas of each resource when the first one of two began.
    met: Table<ResourceIndex, u64>,
}

#[derive(Clone, Debug, Default)]
enum Step {
    /// Nothing is known.
    #[default]
    Idle,
    /// The device is asked.
    Asked {
        /// When it read off before, if it has.
        before: Option<Time>,
        /// The peer was heard since: whatever the answer is, it is none.
        void: bool,
    },
    /// It read off.
    OffOnce {
        /// When that was known.
        at: Time,
    },
    /// It read off twice.
    Off {
        /// When that was known.
        at: Time,
        /// What was read, in words.
        detail: String,
    },
}

impl Reading {
    /// The peer was heard, or nothing can be said of its silence: what was read so far means nothing.
    pub(crate) fn interrupt(&mut self) {
        self.in_vain = 0;
        match &mut self.step {
            Step::Asked { void, .. } => *void = true,
            Step::Idle | Step::OffOnce { .. } | Step::Off { .. } => self.step = Step::Idle,
        }
    }

    /// Nobody asks any more whether it is off.
    fn forget(&mut self) {
        if let Step::OffOnce { .. } | Step::Off { .. } = self.step {
            self.step = Step::Idle;
        }
    }

    /// Of a partition many readings tell no more than a few.
    fn next(&self, from: Time) -> Time {
        let pause = RETRY[self.in_vain.saturating_sub(1).min(RETRY.len() - 1)];
        let again = self.asked.map(|asked| asked.after(pause));
        again.map_or(from, |again| again.max(from))
    }

    /// A shot begins: its device has one thing to do at a time.
    pub(crate) fn break_off(&mut self) {
        self.step = Step::Idle;
    }
}

impl Agent {
    /// The power of a peer was read, or could not be.
    pub fn handle_power(&mut self, now: Time, peer: PeerIndex, power: Power) {
        self.advance(now);
        let one_is_enough = self.mutant(Mutant::OneReadingIsEnough);
        let proves = self.config.peers[peer].reads_power;
        let reading = &mut self.peers[peer].reading;
        if let Step::Asked { before, void } = reading.step {
            reading.step = Step::Idle;
            match power {
                _ if void => {}
                Power::Off(what) if proves => {
                    reading.step = match before {
                        None if !one_is_enough => Step::OffOnce { at: now },
                        before => Step::Off {
                            at: now,
                            detail: in_words(now.since(before.unwrap_or(now)), &what),
                        },
                    };
                }
                Power::Off(_) => self.end_wait(peer),
                Power::On | Power::Unknown => reading.in_vain += 1,
            }
        }
        self.decide();
    }

    /// Reads the power of whoever is silent, and takes for off what is.
    pub(crate) fn decide_readings(&mut self) {
        for peer in self.peers.keys() {
            if self.reads_from(peer).is_none() && !self.keeps_old_news() {
                self.peers[peer].reading.forget();
            }
            if self.reading_due(peer).is_some_and(|due| due <= self.now) {
                self.read_power(peer);
            }
            self.take_for_off(peer);
            self.decide_check(peer);
        }
    }

    /// When the power of a peer is to be read next, if it is.
    pub(crate) fn reading_due(&self, peer: PeerIndex) -> Option<Time> {
        let reading = &self.peers[peer].reading;
        let from = self.reads_from(peer)?;
        match reading.step {
            Step::Idle => Some(reading.next(from)),
            Step::Off { at, .. } if !self.mutant(Mutant::OffIsForEver) => {
                Some(reading.next(at.after(self.config.profile.dead())))
            }
            Step::OffOnce { at } => Some(at.after(GAP)),
            Step::Asked { .. } | Step::Off { .. } => None,
        }
    }

    pub(crate) fn read_power(&mut self, peer: PeerIndex) {
        let reading = &mut self.peers[peer].reading;
        let before = match reading.step {
            Step::OffOnce { at } => Some(at),
            Step::Off { .. } => {
                reading.in_vain += 1;
                None
            }
            Step::Idle | Step::Asked { .. } => None,
        };
        if before.is_none() {
            let met = self.meetings(peer);
            let (now, reading) = (self.now, &mut self.peers[peer].reading);
            (reading.met, reading.asked) = (met, Some(now));
        }
        let void = false;
        self.peers[peer].reading.step = Step::Asked { before, void };
        self.peers[peer].check.break_off();
        self.act(Action::ReadPower(peer));
    }

    /// From when on the power of a peer is worth a look; `None`: it is not. Its replicas may still count as connected: that the
    /// other end has no power is noticed late.
    fn reads_from(&self, peer: PeerIndex) -> Option<Time> {
        let state = &self.peers[peer];
        let decides = !self.memory.maintenance && !self.leaving && !state.has_left();
        let believed = self.config.peers[peer].reads_power && self.trusts_readings(peer);
        if !believed || !decides || state.proof.is_some() {
            return None;
        }
        match state.fencing {
            Fencing::Idle
            | Fencing::Storing { failed: 0, .. }
            | Fencing::Waiting { failed: 0, .. } => {}
            // A device that has failed once is not believed for less than a whole shot.
            Fencing::Storing { .. } | Fencing::Waiting { .. } | Fencing::Firing { .. } => {
                return None;
            }
        }
        let from = self.shared_in_sync(peer).filter_map(|(resource, member)| {
            let lost = self.member(resource, member).lost;
            let Some(heard) = state.heard() else {
                return lost.map(|lost| lost.after(self.early()));
            };
            // Two standbys at one switch would be in each other's way.
            if self.is_standby(resource) && self.another_comes_first(resource, member) {
                return Some(heard.after(self.config.profile.dead()));
            }
            // A connection that breaks after the last beat says more than so much silence.
            let broke = lost.filter(|lost| *lost > heard);
            let silent = heard.after(self.early());
            Some(broke.map_or(silent, |broke| broke.min(silent)))
        });
        from.min()
    }

    /// The resources in which the other node has a copy that counts, and that fencing decides about.
    fn shared_in_sync(
        &self,
        peer: PeerIndex,
    ) -> impl Iterator<Item = (ResourceIndex, MemberIndex)> {
        self.config
            .resources
            .entries()
            .filter_map(move |(at, config)| {
                let member = config.member(peer)?;
                let view = self.resources[at].view.as_ref()?;
                let counts = view.peers[member].in_sync
                    && !config.arbiter
                    && !self.in_conflict(at)
                    && self.member(at, member).right.is_none();
                counts.then_some((at, member))
            })
    }

    /// With these bugs nothing that happens to a node makes void what was known of its power.
    pub(crate) fn keeps_old_news(&self) -> bool {
        self.mutant(Mutant::OffIsForEver) || self.mutant(Mutant::MeetingsAfterReading)
    }

    fn is_standby(&self, resource: ResourceIndex) -> bool {
        let view = self.resources[resource].view.as_ref();
        view.is_some_and(|view| view.role == Role::Standby)
    }

    pub(crate) fn early(&self) -> Duration {
        self.config.profile.dead() / EARLY
    }

    /// What read off twice is off: the same receipt that a shot gives, as soon as there is a reason for one.
    fn take_for_off(&mut self, peer: PeerIndex) {
        let state = &self.peers[peer];
        let Step::Off { at, detail } = &state.reading.step else {
            return;
        };
        let early = self.early();
        let silent = !state.is_heard(self.now, early) || self.mutant(Mutant::ReadBesideBeats);
        // R14: who was off then may be in the set again.
        let old =
            self.now.since(*at) >= self.config.profile.dead() && !self.mutant(Mutant::OffIsForEver);
        if self.reads_from(peer).is_none() || !silent || old {
            return;
        }
        let detail = detail.clone();
        if self.reasons_after(peer, early).is_empty() {
            return;
        }
        let name = self.config.peers[peer].name.clone();
        let what = format!("{name} is off, and need not be fenced: {detail}");
        self.report(Level::Info, None, what);
        let met = if self.mutant(Mutant::MeetingsAfterReading) {
            self.meetings(peer)
        } else {
            std::mem::take(&mut self.peers[peer].reading.met)
        };
        self.set_meetings(peer, &met);
        self.peers[peer].reading = Reading::default();
        self.prove(peer, detail);
    }
}

fn in_words(apart: Duration, what: &str) -> String {
    format!(
        "it was silent, and its power read as off twice, {} ms apart: {what}",
        as_ms(apart)
    )
}
