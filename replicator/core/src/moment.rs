//! Time travel is noticed (DESIGN section 6). A replica's *moment* is how often its superblock was written. It is told to the
//! peers when it is stored, and each keeps the newest that it has heard: who says less when the two meet again was rolled
//! back, with its disk (a snapshot of a virtual machine or a volume, an old copy, a clone).
//!
//! So that a moment is a measure of what was written, the superblock is written when the disk has something new: at the
//! first write, then at most once in `MOMENT_INTERVAL` while writes come. No flush and no answer ever waits for it.

use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::Frame,
    ids::{Moment, Slot},
};

use crate::{
    Mark, Report, Time,
    limits::{MAX_MOMENT_JUMP, MOMENT_INTERVAL},
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

/// When the superblock is to be written for its count alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// When it was last.
    last: Option<Time>,
    /// The disk has something that no moment speaks of: when that is due.
    due: Option<Time>,
    /// A peer's moment is known, and not stored: when it is to be.
    heard: Option<Time>,
}

impl Moments {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.into_iter().chain(self.heard).min()
    }
}

impl Replica {
    /// The local disk has something new.
    pub(crate) fn moment_passes(&mut self) {
        if self.moments.due.is_none() && self.peers.iter().any(|peer| peer.link.is_some()) {
            let last = self.moments.last;
            self.moments.due = Some(
                last.map_or(self.now, |last| last + MOMENT_INTERVAL)
                    .max(self.now),
            );
            self.keep_moments();
        }
    }

    /// Writes what is due.
    pub(crate) fn keep_moments(&mut self) {
        let now = self.now;
        if self.moments.due.is_some_and(|due| due <= now) {
            self.moments.due = None;
            self.moments.last = Some(now);
            if self.peers.iter().any(|peer| peer.link.is_some()) && !self.metadata_failed {
                self.store.change(|_| {});
                self.store.then(Then::Moment);
            }
        }
        if self.moments.heard.is_some_and(|due| due <= now) {
            self.moments.heard = None;
            if self.store.has_notes() && !self.metadata_failed {
                self.store.change(|_| {});
            }
        }
    }

    /// The superblock is stored: the peers may know how often it was written.
    pub(crate) fn tell_moment(&mut self) {
        let moment = self.store.moment();
        for slot in self.slots() {
            let at_it = matches!(
                self.peer(slot).phase,
                Phase::Established | Phase::Leading { .. } | Phase::Following { .. }
            );
            if at_it {
                self.send(slot, Frame::Control(ControlMessage::Moment { moment }));
            }
        }
    }

    /// How often a peer's superblock was written.
    pub(crate) fn heard_moment(&mut self, slot: Slot, moment: Moment) {
        if let Some(why) = impossible(moment, self.store.peer(slot).seen) {
            return self.drop_link(slot, Mark::MomentJump, why);
        }
        if moment > self.store.peer(slot).seen && !self.mutant(Mutant::MomentUnheard) {
            self.store
                .note(|superblock| superblock.peers[slot.index()].seen = moment);
            self.moments.heard.get_or_insert(self.now + MOMENT_INTERVAL);
        }
    }

    /// The two are related and compare: whether one of them was rolled back. `false`: what it says can't be.
    pub(crate) fn look_at_moments(&mut self, slot: Slot, state: &PeerState) -> bool {
        let (mine, seen) = (self.store.moment(), self.store.peer(slot).seen);
        let fault = impossible(state.moment, seen).or_else(|| impossible(state.seen, mine));
        if let Some(why) = fault {
            self.drop_link(slot, Mark::MomentJump, why);
            return false;
        }
        if state.moment >= seen {
            self.heard_moment(slot, state.moment);
        } else if state.lineage.newest().is_some() {
            self.marks.mark(Mark::PeerRewound);
            let name = &self.peer(slot).name;
            let what = format!(
                "{name} was rolled back: its metadata was written {} times, and had been {seen} times when the two met \
                 last. Its disk is compared whole",
                state.moment
            );
            self.report(Report::Warning { what });
        }
        true
    }

    /// This node remembers less than the peer knows of it, and is about to be brought up, or to bring up as the only whole
    /// copy there is: stored, so that no bitmap is believed before every block was compared.
    pub(crate) fn was_rewound(&mut self, slot: Slot) {
        let Some(seen) = self.peer(slot).said.as_ref().map(|said| said.seen) else {
            return;
        };
        if seen <= self.store.moment() {
            return;
        }
        let has_data = self.store.get().lineage.newest().is_some();
        self.store.skip_to(seen);
        self.store
            .change(|superblock| superblock.rewound |= has_data);
        if has_data {
            self.marks.mark(Mark::Rewound);
            let name = &self.peer(slot).name;
            let what = format!(
                "this node was rolled back to an older state (a snapshot, an old disk, a clone?): {name} knows more of it \
                 than it does itself. What it lacks no bitmap knows: every block is compared"
            );
            self.report(Report::Warning { what });
        }
    }
}

/// A number that would soon be at its end, and never pass.
fn impossible(moment: Moment, known: Moment) -> Option<String> {
    let jump = moment.0.saturating_sub(known.0);
    (jump > MAX_MOMENT_JUMP).then(|| {
        format!("it says that a superblock was written {moment} times, which was written {known} times before")
    })
}
