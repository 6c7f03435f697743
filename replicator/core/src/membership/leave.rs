//! R1: who leaves the in-sync set leaves by a right.

use twindisk_format::{
    ids::SlotSet,
    superblock::{ReceiptKind, Standing},
};

use super::Kind;
use crate::{
    OnPeerLoss,
    mutants::Mutant,
    peer::{LeadStep, Phase},
    replica::Replica,
};

impl Replica {
    /// R1: a peer leaves the in-sync set of a primary only by a right.
    pub(super) fn begin_leave(&mut self) -> bool {
        let missing = self.missing();
        if missing.is_empty() {
            return false;
        }
        if self.config.on_peer_loss == OnPeerLoss::Continue {
            for slot in missing.iter() {
                if self.peer(slot).phase == Phase::Down && !self.receipt_holds(slot) {
                    let detail = "UNSAFE: on-peer-loss = \"continue\" went on without any proof";
                    self.store_receipt(slot, ReceiptKind::Operator, detail);
                }
            }
        }
        let leaving: SlotSet = missing
            .iter()
            .filter(|slot| {
                self.receipt_holds(*slot)
                    || self.withdrawal_holds(*slot)
                    || self.mutant(Mutant::SilenceIsReceipt)
            })
            .collect();
        if leaving.is_empty() || !self.data_without(leaving) || !self.stable_alone() {
            return false;
        }
        let names: Vec<&str> = leaving.iter().map(|slot| &*self.peer(slot).name).collect();
        let why = format!("going on without {}", names.join(", "));
        self.start_change(Kind::Leave(leaving, why));
        true
    }

    /// A standby that leads a resync of a node which released itself: no new writes, so no new generation.
    pub(super) fn leave_as_standby(&mut self) -> bool {
        if self.granted.is_some() {
            return false;
        }
        let leaving = self.slots().find(|slot| {
            let ready = matches!(
                &self.peer(*slot).phase,
                Phase::Leading { step: LeadStep::Ready, reason } if reason.resync
            );
            ready && self.store.peer(*slot).standing.is_counted() && self.receipt_holds(*slot)
        });
        // From now on this copy stands for both: see `rest`.
        let unrested = self.mutant(Mutant::LeadUnrested) && self.stable_alone();
        let Some(slot) = leaving.filter(|_| self.is_at_rest() || unrested) else {
            return false;
        };
        let epoch = self.next_epoch();
        self.enter_epoch(epoch);
        self.store
            .change(|superblock| superblock.peers[slot.index()].standing = Standing::Out);
        true
    }
}
