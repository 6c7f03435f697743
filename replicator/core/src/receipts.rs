//! Receipts: rights about peers (the kinds: `RULES.md`). How they are kept, how long they hold, and how a peer gives one itself.

use twindisk_format::{
    ids::{Epoch, Slot, Term},
    superblock::{Receipt, ReceiptKind},
};

use crate::{
    Arbiter, Cause, Mark, Report, Role, Time,
    mark::No,
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// A right about a peer, kept until the term ends.
    pub(crate) fn store_receipt(&mut self, slot: Slot, kind: ReceiptKind, detail: &str) {
        let (about, boot) = (self.peer(slot).node, self.boot);
        let (term, epoch) = (self.store.get().term, self.store.get().epoch);
        self.store.change(|superblock| {
            superblock.peers[slot.index()].receipt = Some(Receipt {
                kind,
                about,
                term,
                epoch,
                boot,
            });
        });
        self.report(Report::Receipt {
            about: about.0,
            kind: format!("{kind:?}").to_lowercase(),
            term: term.0,
            detail: detail.to_owned(),
        });
    }

    /// R8: one source of rights to the next term. Whoever was granted it by the arbiter may have been fenced since, by one
    /// who would use the same term.
    pub(crate) fn may_grant_rights(&self, kind: ReceiptKind) -> Result<(), No> {
        let (why, next) = match (self.config.arbiter, kind) {
            (_, ReceiptKind::Release | ReceiptKind::Operator)
            | (Arbiter::Fence | Arbiter::External, ReceiptKind::Fence)
            | (Arbiter::Witness, ReceiptKind::Arbiter) => return Ok(()),
            (Arbiter::Witness, ReceiptKind::Fence) => (
                "the arbiter of this resource is a record: power that is off is no right beside it, since the node may have \
                 been granted the next term before",
                "the agent asks for the record; or at your own risk `twindisk receipt --force`",
            ),
            (Arbiter::Fence | Arbiter::External, ReceiptKind::Arbiter) => (
                "the arbiter of this resource is no record",
                "the nodes have different configurations: `arbiter` must be the same in all of them",
            ),
        };
        Err(No {
            cause: Cause::OtherArbiter,
            why: why.to_owned(),
            next: next.to_owned(),
        })
    }

    /// R9: who takes over by the arbiter's word, the other one being alive perhaps, waits until that one answers no read any
    /// more: its lease counts from before it asked what this node answered last. A hundredth more, since clocks drift.
    pub(crate) fn reads_end(&self, slot: Slot) -> Option<Time> {
        let receipt = self.store.peer(slot).receipt?;
        let waits = receipt.kind == ReceiptKind::Arbiter && self.role == Role::Standby;
        let lease = self.config.timings.read_lease;
        let end = self.peer(slot).vouched + lease + lease / 100;
        (waits && end > self.now && !self.mutant(Mutant::OpenWithinLease)).then_some(end)
    }

    /// A receipt about this peer is in force: of this term, and a fence or an operator's word of this boot.
    pub(crate) fn receipt_holds(&self, slot: Slot) -> bool {
        let receipt = self.store.peer(slot).receipt;
        receipt.is_some_and(|receipt| {
            self.mutant(Mutant::ReceiptIsForEver)
                || receipt.term == self.store.get().term
                    // R14: who was taken into a newer set is not spoken of by it.
                    && receipt.epoch == self.store.get().epoch
                    && (receipt.kind == ReceiptKind::Release || receipt.boot == self.boot)
                    && self.reads_end(slot).is_none()
        })
    }

    /// R15: a receipt about this peer holds since a right was asked for in that term and epoch, which may have passed by
    /// the asking itself.
    pub(crate) fn receipt_held(&self, slot: Slot, (term, epoch): (Term, Epoch)) -> bool {
        let receipt = self.store.peer(slot).receipt;
        receipt.is_some_and(|receipt| {
            self.mutant(Mutant::ReceiptIsForEver)
                || (receipt.term, receipt.epoch) == (term, epoch)
                    && self.store.get().epoch == epoch
                    && (receipt.kind == ReceiptKind::Release || receipt.boot == self.boot)
                    && self.reads_end(slot).is_none()
        })
    }

    /// A peer has recorded itself Outdated (or its disk as failed) and said so: a right about it.
    pub(crate) fn peer_released(&mut self, slot: Slot, why: &str) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        self.store_receipt(slot, ReceiptKind::Release, why);
        self.peer_left(slot, why);
        self.store.then(Then::ReleaseStored {
            slot,
            link: link.id,
        });
    }

    /// A peer is no longer to be counted on, though it is connected, or was when it said so.
    pub(crate) fn peer_left(&mut self, slot: Slot, why: &str) {
        self.peer_mut(slot).confirmed = None;
        if self.peer(slot).link.is_some() {
            self.set_phase(slot, Phase::Waiting, why);
        }
        self.change_lost_peer(slot);
        if self.peer(slot).sweep.is_some() {
            self.drop_link(slot, Mark::LeftDuringSweep, why);
        }
    }

    /// A peer has recorded that it does not count any more: it can't have gone on alone.
    pub(crate) fn has_released_itself(&self, slot: Slot) -> bool {
        self.store
            .peer(slot)
            .receipt
            .is_some_and(|receipt| receipt.kind == ReceiptKind::Release && self.receipt_holds(slot))
    }
}
