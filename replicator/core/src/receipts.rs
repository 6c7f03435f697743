//! Receipts: rights about peers (the kinds: `RULES.md`). How they are kept, how long they hold, and how a peer gives one itself.

use twindisk_format::{
    ids::{Epoch, Slot, Term},
    superblock::{Receipt, ReceiptKind},
};

use crate::{
    Mark, Report,
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

    /// A receipt about this peer is in force: of this term, and a fence or an operator's word of this boot.
    pub(crate) fn receipt_holds(&self, slot: Slot) -> bool {
        let receipt = self.store.peer(slot).receipt;
        receipt.is_some_and(|receipt| {
            self.mutant(Mutant::ReceiptIsForEver)
                || receipt.term == self.store.get().term
                    // R14: who was taken into a newer set is not spoken of by it.
                    && receipt.epoch == self.store.get().epoch
                    && (receipt.kind == ReceiptKind::Release || receipt.boot == self.boot)
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
