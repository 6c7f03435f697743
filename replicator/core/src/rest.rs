//! What this copy may lack, and when it can lose nothing more.
//!
//! Within a generation nothing is acknowledged that a member of the in-sync set has not got: members differ only in what
//! their own crashes took from them, so the one that lacks the least leads (`compare`). That must be known of a copy for as
//! long as it counts, and whatever becomes of its process:
//!
//! - It is stored with the copy, and goes with the data: who is made equal to another one lacks what that one lacks.
//! - A replica on which nothing is under way makes everything stable and stores that it is *at rest*. A crash takes
//!   nothing from it after that.
//! - A standby that leads another one is at rest before the first block there is overwritten, and before it takes that
//!   one out of the set: from then on its own copy stands for both. It could lose its power next; nobody else might
//!   know that it had outlived the primary.

use twindisk_format::superblock::Lack;

use crate::{
    Role,
    jobs::Step,
    mutants::Mutant,
    mutation::{Origin, Stage},
    peer::Phase,
    replica::Replica,
};

impl Replica {
    /// What this copy may lack.
    pub(crate) const fn lack(&self) -> Lack {
        self.store.get().lack
    }

    /// The process starts: what its predecessor's end took from the copy is stored with the start.
    pub(crate) fn lacks_by_crash(&mut self, crashed: bool) {
        let lost = match (crashed, self.store.get().host == self.host) {
            (false, _) => Lack::Nothing,
            (true, true) => Lack::UnderWay,
            (true, false) => Lack::Unflushed,
        };
        let host = self.host;
        self.store.change(|superblock| {
            superblock.lack = superblock.lack.max(lost);
            superblock.host = host;
        });
    }

    /// The copy is about to get what is not stable, or has it: to end now is to have crashed. Whatever depends on it waits
    /// until that is stored.
    pub(crate) fn take_part(&mut self) {
        let (stored, host) = (self.store.get(), self.host);
        if !stored.active || stored.host != host {
            self.store.change(|superblock| {
                superblock.active = true;
                superblock.host = host;
            });
        }
    }

    /// Whether this copy would still claim to have been at rest, or forget the generation of a write, were its process to
    /// end now. A primary opens when that is stored; what a peer sends may come before: to a copy that nobody counts on and
    /// so waits for, or as the first write of a promotion.
    pub(crate) fn waits_for_record(&self, index: usize) -> bool {
        let Origin::Peer { resync, .. } = self.mutations[index].origin else {
            return false;
        };
        let rests = self.store.may_be_at_rest() && !self.mutant(Mutant::ApplyAtRest);
        // What a resync brings was there before, and so was what came before the generation did.
        let confirms = !resync && !self.store.get().unconfirmed;
        let unconfirmed = confirms && self.store.may_be_unconfirmed();
        self.disk_attached() && (rests || unconfirmed)
    }

    /// A superblock is stored: what waited for it goes on.
    pub(crate) fn recorded(&mut self) {
        let waiting = self.mutations.iter();
        let waiting: Vec<usize> = waiting
            .filter(|(_, mutation)| mutation.stage == Stage::Unrecorded)
            .map(|(index, _)| index)
            .filter(|index| !self.waits_for_record(*index))
            .collect();
        for index in waiting {
            self.heat(index);
        }
    }

    /// A standby on which nothing is under way makes everything stable, then stores that it is at rest.
    pub(crate) fn rest(&mut self) -> bool {
        // What nearly always holds of a replica at work is asked first: this is asked after every event.
        if !self.mutations.is_empty() || self.role == Role::Primary || !self.store.get().active {
            return false;
        }
        let quiet = self.job_only_waits() && self.change.is_none() && self.follows_nobody();
        let quiet = quiet && self.repairs.is_empty();
        // What was sent and is not stable there is known to this process alone until it is, or until the bits are stored.
        let known = !self
            .peers
            .iter()
            .any(|peer| peer.sent.has_unstable_writes());
        let quiet = quiet && known;
        if !quiet || !self.disk_attached() || self.metadata_failed {
            return false;
        }
        if !self.stable_here() && !self.mutant(Mutant::RestBeforeStable) {
            return false;
        }
        if !self.all_bitmaps_stored() {
            self.write_all_bitmaps();
            return false;
        }
        let forgets = self.mutant(Mutant::RestForgetsCrash);
        self.store.change(|superblock| {
            superblock.active = false;
            if forgets {
                superblock.lack = Lack::Nothing;
            }
        });
        true
    }

    /// A handover may wait for a third one that has to be brought up first, and who does that rests before.
    fn job_only_waits(&self) -> bool {
        self.job.as_ref().is_none_or(|job| match job.step {
            Step::HandingOver { .. } => true,
            Step::Applying { handover, .. } => handover.is_some(),
            Step::Asking { .. }
            | Step::Promoting
            | Step::Draining { .. }
            | Step::Demoting { .. }
            | Step::Releasing { .. }
            | Step::Parting { .. }
            | Step::Stopping
            | Step::Halting => false,
        })
    }

    /// Nothing comes from anybody, and nobody is just about to send something.
    fn follows_nobody(&self) -> bool {
        let granted = self.granted.is_some_and(|slot| self.is_here(slot));
        !granted
            && self.peers.iter().all(|peer| match &peer.phase {
                Phase::Following { .. } => false,
                Phase::Established => {
                    peer.pending.is_none() && peer.said.as_ref().is_none_or(|said| !said.primary)
                }
                Phase::Down
                | Phase::Comparing
                | Phase::Leading { .. }
                | Phase::Waiting
                | Phase::SplitBrain { .. }
                | Phase::Unrelated => true,
            })
    }

    /// Everything here is stable, and so recorded, or about to be: whatever is stored next comes after it.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.store.get().active
    }
}
