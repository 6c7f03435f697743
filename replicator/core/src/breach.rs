//! What no replica says that keeps to the protocol. A peer that says it loses its link, before anything of that is believed,
//! stored, or put in a line.
//!
//! A frame is looked at once, here, when it is taken; what only the receiver of an answer can tell (whether it had asked) is
//! told there.

use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::{Envelope, Frame},
    ids::{Epoch, Seq, Slot, Term},
    limits::MAX_DEVICE_BLOCKS,
};

use crate::{
    Mark,
    limits::{
        MAX_COMPARES, MAX_EPOCH_JUMP, MAX_RESIZES, MAX_SEQ_JUMP, MAX_TERM_JUMP, MAX_UNANSWERED,
        MAX_UNSTORED,
    },
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

/// What is wrong with a frame.
pub(crate) type Breach = (Mark, String);

/// Whether a link ended by what its peer must not say: the next one will hardly be better.
pub(crate) const fn is_breach(why: Mark) -> bool {
    matches!(
        why,
        Mark::TermJump
            | Mark::EpochJump
            | Mark::SeqJump
            | Mark::MomentJump
            | Mark::LineageImpossible
            | Mark::SizeImpossible
            | Mark::SpokeEarly
            | Mark::AnsweredUnasked
            | Mark::ComparedUnasked
            | Mark::TakeOverUnasked
            | Mark::ResizeUnasked
            | Mark::AskedTooMuch
            | Mark::MutationOrder
            | Mark::MutationBeyond
    )
}

impl Replica {
    /// Why a frame can't be, if it can't.
    pub(crate) fn breach(&self, slot: Slot, envelope: &Envelope) -> Result<(), Breach> {
        self.may_be_term(envelope.term)?;
        self.may_be_said_now(slot, &envelope.frame)?;
        match &envelope.frame {
            Frame::Write {
                seq, depends_on, ..
            }
            | Frame::Zero {
                seq, depends_on, ..
            } => {
                self.may_be_seq(*seq)?;
                if depends_on >= seq {
                    let why = format!(
                        "its write {seq} waits for the flush {depends_on}, which comes later"
                    );
                    return Err((Mark::MutationOrder, why));
                }
                let waiting = self.peer(slot).received.applying.len();
                has_room(waiting, MAX_UNANSWERED, "writes")
            }
            Frame::Flush { seq } => {
                self.may_be_seq(*seq)?;
                let waiting = self.peer(slot).received.flushes.len();
                has_room(waiting, MAX_UNANSWERED, "flushes")
            }
            Frame::Read { .. } => has_room(self.reads_served_for(slot), MAX_UNANSWERED, "reads"),
            Frame::Hash { .. } => has_room(self.compares_for(slot), MAX_COMPARES, "comparisons"),
            Frame::Control(message) => self.may_be_message(slot, message),
            Frame::Received { seq } | Frame::Written { seq } if *seq > self.newest_seq() => {
                let why = format!("it answers a write {seq} that was never sent");
                Err((Mark::AnsweredUnasked, why))
            }
            Frame::Stable { seq } if self.peer(slot).sent.flush < Some(*seq) => {
                let why = format!("it answers a flush {seq} that was never asked for");
                Err((Mark::AnsweredUnasked, why))
            }
            Frame::Received { .. }
            | Frame::Written { .. }
            | Frame::Stable { .. }
            | Frame::ReadReply { .. }
            | Frame::ReadFailed { .. }
            | Frame::Differ { .. }
            | Frame::Bits { .. }
            | Frame::Ping
            | Frame::Pong => Ok(()),
        }
    }

    /// Identity before authority: who has not said what it has, or is not related, has nothing else to say.
    fn may_be_said_now(&self, slot: Slot, frame: &Frame) -> Result<(), Breach> {
        let introduces = match frame {
            Frame::Ping | Frame::Pong => true,
            Frame::Control(message) => matches!(
                message,
                ControlMessage::State(_) | ControlMessage::Goodbye { .. }
            ),
            Frame::Write { .. }
            | Frame::Zero { .. }
            | Frame::Flush { .. }
            | Frame::Received { .. }
            | Frame::Written { .. }
            | Frame::Stable { .. }
            | Frame::Read { .. }
            | Frame::ReadReply { .. }
            | Frame::ReadFailed { .. }
            | Frame::Hash { .. }
            | Frame::Differ { .. }
            | Frame::Bits { .. } => false,
        };
        if introduces || self.peer(slot).phase != Phase::Comparing {
            return Ok(());
        }
        let why = "it did not begin with what it has";
        Err((Mark::SpokeEarly, why.to_owned()))
    }

    fn may_be_message(&self, slot: Slot, message: &ControlMessage) -> Result<(), Breach> {
        self.may_be_terms(message)?;
        let waiting = self.store.waiting();
        let waiting = match waiting.len() {
            0..MAX_UNSTORED => 0, // Not counted for each message.
            _ => waiting.filter(|then| then.of_peer() == Some(slot)).count(),
        };
        has_room(waiting, MAX_UNSTORED, "promises")?;
        match message {
            ControlMessage::State(state) => self.may_be_state(state),
            ControlMessage::Membership(membership) => {
                self.may_be_epoch(membership.epoch)?;
                self.may_be_seq(membership.newest)?;
                may_be_size(membership.size_blocks)?;
                let newest = membership.lineage.newest();
                match newest.filter(|newest| newest.term > membership.term) {
                    None => Ok(()),
                    Some(newest) => {
                        let why = format!(
                            "it speaks for term {} of a generation that began in term {}",
                            membership.term, newest.term
                        );
                        Err((Mark::TermJump, why))
                    }
                }
            }
            ControlMessage::BeginResync { size_blocks }
            | ControlMessage::Resized { size_blocks } => may_be_size(*size_blocks),
            ControlMessage::Resize { size_blocks, .. } => {
                may_be_size(*size_blocks)?;
                has_room(self.resizes_for(slot), MAX_RESIZES, "changes of the size")
            }
            ControlMessage::Ready { .. }
            | ControlMessage::ResyncBegun
            | ControlMessage::MembershipStored { .. }
            | ControlMessage::TermRequest { .. }
            | ControlMessage::TermGranted { .. }
            | ControlMessage::TermRefused { .. }
            | ControlMessage::SwitchoverRequest
            | ControlMessage::TakeOver
            | ControlMessage::Refused { .. }
            | ControlMessage::Released
            | ControlMessage::ReleaseStored
            | ControlMessage::DiskFailed { .. }
            | ControlMessage::Discard
            | ControlMessage::Goodbye { .. }
            | ControlMessage::Moment { .. }
            | ControlMessage::Seen { .. } => Ok(()),
        }
    }

    fn may_be_state(&self, state: &PeerState) -> Result<(), Breach> {
        self.may_be_epoch(state.epoch)?;
        if state.seen.run.0 == 0 && state.seen.moment.0 != 0 {
            let why = "it remembers this node of a run that never was";
            return Err((Mark::MomentJump, why.to_owned()));
        }
        Ok(())
    }

    /// The terms that a message names beside the one that it was sent in.
    fn may_be_terms(&self, message: &ControlMessage) -> Result<(), Breach> {
        let (term, lineage) = match message {
            ControlMessage::State(state) => (None, Some(&state.lineage)),
            ControlMessage::Membership(membership) => {
                (Some(membership.term), Some(&membership.lineage))
            }
            ControlMessage::TermRequest { term, lineage, .. } => (Some(*term), Some(lineage)),
            ControlMessage::TermGranted { term, .. } | ControlMessage::TermRefused { term, .. } => {
                (Some(*term), None)
            }
            ControlMessage::Ready { .. }
            | ControlMessage::BeginResync { .. }
            | ControlMessage::ResyncBegun
            | ControlMessage::MembershipStored { .. }
            | ControlMessage::SwitchoverRequest
            | ControlMessage::TakeOver
            | ControlMessage::Refused { .. }
            | ControlMessage::Released
            | ControlMessage::ReleaseStored
            | ControlMessage::DiskFailed { .. }
            | ControlMessage::Resize { .. }
            | ControlMessage::Resized { .. }
            | ControlMessage::Discard
            | ControlMessage::Goodbye { .. }
            | ControlMessage::Moment { .. }
            | ControlMessage::Seen { .. } => (None, None),
        };
        if lineage.is_some_and(|lineage| !lineage.is_sound(&self.store.get().lineage)) {
            let why = "the generations that it names can't have followed each other";
            return Err((Mark::LineageImpossible, why.to_owned()));
        }
        let generations = lineage
            .into_iter()
            .flat_map(|lineage| lineage.generations());
        let highest = generations
            .map(|generation| generation.term)
            .chain(term)
            .max();
        highest.map_or(Ok(()), |highest| self.may_be_term(highest))
    }

    /// R4: so many changes of roles there never were.
    fn may_be_term(&self, term: Term) -> Result<(), Breach> {
        let mine = self.store.get().term;
        if term.0.saturating_sub(mine.0) <= MAX_TERM_JUMP || self.mutant(Mutant::AnyTermGoes) {
            return Ok(());
        }
        let why = format!(
            "it speaks of term {term}, this node is in term {mine}: that many there never were"
        );
        Err((Mark::TermJump, why))
    }

    /// R14: nor so many in-sync sets.
    fn may_be_epoch(&self, epoch: Epoch) -> Result<(), Breach> {
        let mine = self.store.get().epoch;
        if epoch.0.saturating_sub(mine.0) <= MAX_EPOCH_JUMP {
            return Ok(());
        }
        let why = format!(
            "it speaks of epoch {epoch} of the in-sync set, this node is in epoch {mine}: that many there never were"
        );
        Err((Mark::EpochJump, why))
    }

    /// Nor so many writes.
    fn may_be_seq(&self, seq: Seq) -> Result<(), Breach> {
        let mine = self.newest_seq();
        if seq.0.saturating_sub(mine.0) <= MAX_SEQ_JUMP {
            return Ok(());
        }
        let why = format!(
            "it numbers a write or flush {seq}, and the newest known here is {mine}: that many there never were"
        );
        Err((Mark::SeqJump, why))
    }
}

impl Then {
    /// The peer that has said, or asked for, what is being stored.
    const fn of_peer(&self) -> Option<Slot> {
        match self {
            Self::Prepared { slot, .. }
            | Self::Rewound { slot, .. }
            | Self::BeginResync { slot, .. }
            | Self::Inconsistent { slot, .. }
            | Self::MembershipStored { slot, .. }
            | Self::Granted { slot, .. }
            | Self::NoCopyStored { slot, .. }
            | Self::ReleaseStored { slot, .. }
            | Self::ReceiptStored { slot, .. }
            | Self::Resized { slot, .. }
            | Self::Discarded { slot } => Some(*slot),
            Self::Changed(_)
            | Self::Moment
            | Self::Confirmed(_)
            | Self::Demoted
            | Self::LeaveStored
            | Self::DiskFailureStored
            | Self::Withdrawn
            | Self::Outdated { .. }
            | Self::ResizeDone
            | Self::Stopped => None,
        }
    }
}

fn may_be_size(size_blocks: u64) -> Result<(), Breach> {
    if (1..=MAX_DEVICE_BLOCKS).contains(&size_blocks) {
        return Ok(());
    }
    let why = format!("it speaks of a device of {size_blocks} blocks, which can't be");
    Err((Mark::SizeImpossible, why))
}

fn has_room(waiting: usize, most: usize, what: &str) -> Result<(), Breach> {
    if waiting < most {
        return Ok(());
    }
    let why = format!("it has asked for more {what} than the {most} that may wait here");
    Err((Mark::AskedTooMuch, why))
}
