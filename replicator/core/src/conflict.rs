//! Identity before authority: what a peer says of terms counts once the two are known to be related. A conflict between
//! two that are not, or that both went on, is remembered until a person ends it (R11).

use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::Frame,
    ids::{Slot, Term},
    lineage::Relation,
    superblock::{Conflict, ConflictKind},
};

use crate::{
    Cause, Mark, Report, Role, compare::forget_unconfirmed, mark::No, membership::Kind,
    mutants::Mutant, peer::Phase, replica::Replica,
};

impl Replica {
    /// The peer has said what it has: whether it may be believed in what it says of terms. Gives `false` when this node
    /// has just stepped down by it, and meets everybody afresh.
    pub(crate) fn look_at_authority(&mut self, slot: Slot, term: Term, state: &PeerState) -> bool {
        let blank = self.store.get().lineage.newest().is_none();
        if !self.is_related(slot, state) {
            return true;
        }
        if state.lineage.newest().is_none() {
            // It has no data: whatever life its term is from, nothing depends on it.
            return true;
        }
        if blank && term != self.store.get().term {
            // Nor does anything on the term of this node, which has promised nobody anything.
            self.store.change(|superblock| superblock.term = term);
        }
        if !self.look_at_moments(slot, state) {
            return false;
        }
        self.peer_mut(slot).authority = true;
        self.heard_term(slot, term, &Frame::Control(ControlMessage::ResyncBegun));
        self.peer(slot).link.is_some_and(|link| !link.closing)
    }

    /// Whether the two have one history, as far as anything was completed in it.
    fn is_related(&self, slot: Slot, state: &PeerState) -> bool {
        let (mut mine, mut theirs) = (self.my_state(slot), state.clone());
        let (me, it) = (self.store.get().node, self.peer(slot).node);
        forget_unconfirmed((me, &mut mine), (it, &mut theirs));
        match mine.lineage.relation(&theirs.lineage) {
            Relation::Same | Relation::Behind | Relation::Ahead => true,
            Relation::Forked { .. } | Relation::Unrelated => {
                self.mutant(Mutant::TermBeforeIdentity)
            }
        }
    }

    /// R4: a peer speaks in a term. Who hears a higher one is not primary any more.
    pub(crate) fn heard_term(&mut self, slot: Slot, term: Term, frame: &Frame) {
        if term < self.store.get().term && self.mutant(Mutant::AcceptLowerTerm) {
            self.store.change(|superblock| superblock.term = term);
        }
        if term <= self.store.get().term {
            return;
        }
        let name = self.peer(slot).name.clone();
        // A promotion that is being stored is for a term that has passed.
        let promoting = self
            .change
            .as_ref()
            .is_some_and(|change| change.kind == Kind::Promote);
        if self.mutant(Mutant::IgnoreHigherTerm) && self.role == Role::Primary {
            return;
        }
        if self.role == Role::Primary || promoting {
            self.marks.mark(Mark::HeardHigherTerm);
            self.step_down(term, &format!("{name} speaks in the higher term {term}"));
        } else if !matches!(frame, Frame::Control(ControlMessage::Membership(_))) {
            // A membership brings its term with everything that belongs to it.
            self.store.change(|superblock| superblock.term = term);
        }
    }

    /// Whether what a peer says may change anything here: one that is not related only says what it is.
    pub(crate) fn may_speak(&self, slot: Slot, message: &ControlMessage) -> bool {
        match self.peer(slot).phase {
            Phase::SplitBrain { .. } | Phase::Unrelated => match message {
                ControlMessage::State(_)
                | ControlMessage::Discard
                | ControlMessage::Refused { .. }
                | ControlMessage::Goodbye { .. } => true,
                // R11: a stranger that releases itself says nothing of whom it has the number of.
                ControlMessage::Released
                | ControlMessage::ReleaseStored
                | ControlMessage::DiskFailed { .. }
                | ControlMessage::TakeOver
                | ControlMessage::SwitchoverRequest
                | ControlMessage::TermRequest { .. }
                | ControlMessage::TermGranted { .. }
                | ControlMessage::TermRefused { .. }
                | ControlMessage::Ready { .. }
                | ControlMessage::BeginResync { .. }
                | ControlMessage::ResyncBegun
                | ControlMessage::Membership(_)
                | ControlMessage::MembershipStored { .. }
                | ControlMessage::Resize { .. }
                | ControlMessage::Resized { .. }
                | ControlMessage::Moment { .. }
                | ControlMessage::Seen { .. } => false,
            },
            Phase::Down
            | Phase::Comparing
            | Phase::Leading { .. }
            | Phase::Following { .. }
            | Phase::Established
            | Phase::Waiting => true,
        }
    }

    /// The two can't be brought together by anybody but a person: stored, so that nobody forgets it (R11).
    pub(crate) fn conflict_found(&mut self, slot: Slot, kind: ConflictKind) {
        let newest = self
            .peer(slot)
            .said
            .as_ref()
            .and_then(|said| said.lineage.newest());
        let Some(newest) = newest else { return };
        let conflict = Conflict {
            kind,
            newest: newest.id,
        };
        if self.store.peer(slot).conflict == Some(conflict)
            || self.mutant(Mutant::ConflictIsForgotten)
        {
            return;
        }
        self.marks.mark(Mark::ConflictStored);
        self.store
            .change(|superblock| superblock.peers[slot.index()].conflict = Some(conflict));
        let (peer, what) = (self.peer(slot).node.0, self.conflict_why(slot, kind));
        self.report(Report::Conflict { peer, what });
    }

    /// The two have met and are related: whoever gave up its data has followed, or was made anew.
    pub(crate) fn conflict_over(&mut self, slot: Slot) {
        if self.store.peer(slot).conflict.is_some() {
            self.marks.mark(Mark::ConflictOver);
            self.store
                .change(|superblock| superblock.peers[slot.index()].conflict = None);
            let what = format!("the conflict with {} is over", self.peer(slot).name);
            self.report(Report::Warning { what });
        }
    }

    /// A person takes this node's data: what is in conflict with it and not here is decided. Who is here has still to be
    /// told, and shows up as a conflict again.
    pub(crate) fn conflicts_decided(&mut self) {
        for slot in self.slots() {
            let here = matches!(
                self.peer(slot).phase,
                Phase::SplitBrain { .. } | Phase::Unrelated
            );
            if !here && self.store.peer(slot).conflict.is_some() {
                self.store
                    .change(|superblock| superblock.peers[slot.index()].conflict = None);
            }
        }
    }

    /// Why nobody but a person promotes this node.
    pub(crate) fn conflict_refusal(&self) -> Option<No> {
        let slot = self
            .slots()
            .find(|slot| self.store.peer(*slot).conflict.is_some())?;
        let kind = self.store.peer(slot).conflict?.kind;
        Some(No {
            cause: Cause::Conflict,
            why: self.conflict_why(slot, kind),
            next: self.conflict_next(slot, kind),
        })
    }

    /// Every conflict that no person has decided yet, in sentences.
    pub(crate) fn conflict_sentence(&self, slot: Slot) -> Option<String> {
        let kind = self.store.peer(slot).conflict?.kind;
        let (why, next) = (
            self.conflict_why(slot, kind),
            self.conflict_next(slot, kind),
        );
        Some(format!("{why}: {next}"))
    }

    fn conflict_why(&self, slot: Slot, kind: ConflictKind) -> String {
        let name = &self.peer(slot).name;
        match kind {
            ConflictKind::SplitBrain => format!(
                "{name} and this node are in split brain: both went on, and each has data that the other one lacks"
            ),
            ConflictKind::Unrelated => {
                format!("the data of {name} and of this node have no generation in common")
            }
            ConflictKind::Rewound => format!(
                "{name} or this node was rolled back to an older state and went on from there: each has data that the \
                 other one lacks"
            ),
        }
    }

    fn conflict_next(&self, slot: Slot, kind: ConflictKind) -> String {
        let name = &self.peer(slot).name;
        let give_up = match kind {
            ConflictKind::SplitBrain | ConflictKind::Rewound => {
                "demote and connect the two, and `twindisk resolve --discard NODE` names the one whose changes are given up"
            }
            ConflictKind::Unrelated => {
                "`twindisk init --force-overwrite` on the one whose data is not wanted"
            }
        };
        format!(
            "a person has to decide whose data counts: {give_up}; if {name} is gone for good, `twindisk promote --force`"
        )
    }
}
