//! The in-sync set: who must have a write before it is acknowledged. It changes only here.
//!
//! Every change is stored by the leader first, then by every member, and only then counts. A change that takes
//! somebody out (or promotes) begins a new term and generation, and nothing is acknowledged until it is done. Until every
//! member has stored it, the generation is *unconfirmed*: if this node is lost before, the others may go on without it,
//! and then it is forgotten instead of being taken for a fork.

mod adopt;
mod confirm;
mod grow;
mod leave;
mod newest;

pub(crate) use adopt::PendingMembership;

use twindisk_format::{
    control::Membership,
    ids::{Epoch, Slot, SlotSet},
    lineage::Relation,
    superblock::{Lack, Standing, StoredDisk},
};

use crate::{
    DiskState, Mark, Protocol, Report, Role,
    mutants::Mutant,
    peer::{LeadStep, Phase},
    replica::{Replica, Then},
};

/// A change of the in-sync set that is being stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// It is stored here.
    stored: bool,
    /// Members that have not stored it yet.
    awaiting: SlotSet,
}

/// What changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// These peers leave: there is a right about each.
    Leave(SlotSet, String),
    /// This peer is equal, and is kept so.
    Join(Slot, Entry),
    /// This peer, which is kept equal, is taken into the set with this number.
    Grow(Slot, GrowStep, Epoch),
    /// This node's own disk leaves.
    Detach,
    /// This node becomes primary.
    Promote,
}

/// What a peer becomes that is equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is counted on.
    Member,
    /// A whole copy, counted on for nothing.
    Copy,
}

/// How far the set has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrowStep {
    /// The members store it.
    Members,
    /// Who joins stores it.
    Joiner,
}

impl Change {
    /// Nothing is acknowledged and no write begins until it is done.
    pub(crate) const fn freezes(&self) -> bool {
        !matches!(self.kind, Kind::Join(..) | Kind::Grow(..))
    }
}

impl Replica {
    /// Begins the change that is due, if any. One is under way at a time.
    pub(crate) fn begin_change(&mut self) -> bool {
        if self.change.is_some() {
            return false;
        }
        self.detach_wanted &= self.role == Role::Primary;
        if self.detach_wanted && self.data_is_elsewhere() {
            self.detach_wanted = false;
            self.start_change(Kind::Detach);
            return true;
        }
        if self.role == Role::Primary && self.begin_leave() {
            return true;
        }
        if self.role == Role::Standby && self.leave_as_standby() {
            return true;
        }
        // A member that has not stored the generation may go on without it: who joined would have it for certain.
        let confirmed = self.role == Role::Standby || self.is_confirmed();
        let ready = self.slots().find(|slot| {
            let complete = matches!(
                self.peer(*slot).phase,
                Phase::Leading {
                    step: LeadStep::Complete,
                    ..
                }
            );
            // One that is just being parted from has what it may have forgotten marked already.
            complete
                && self.peer(*slot).bitmap.dirty() == 0
                && (confirmed || self.store.peer(*slot).standing.is_counted())
        });
        if let Some(slot) = ready {
            if self.becomes_a_copy(slot) && !self.stable_alone() {
                return false;
            }
            let resynced =
                matches!(self.peer(slot).phase, Phase::Leading { reason, .. } if reason.resync);
            let entry = self.entry_of(slot, resynced);
            // R14: what the grantee says of the set comes first. To become equal again adds nobody.
            let waits = self.role == Role::Standby && self.granted.is_some();
            if waits && entry == Entry::Copy {
                return self.begin_growth();
            }
            if entry == Entry::Copy && !self.growth_waits_for(slot).is_empty() {
                self.marks.mark(Mark::GrowthWaits);
            }
            self.start_change(Kind::Join(slot, entry));
            return true;
        }
        self.begin_growth()
    }

    /// Changes the superblock and begins to store it.
    pub(crate) fn start_change(&mut self, kind: Kind) {
        self.changes += 1;
        let id = self.changes;
        if matches!(kind, Kind::Leave(..) | Kind::Detach | Kind::Promote) {
            let epoch = self.next_epoch();
            self.store.change(|superblock| superblock.epoch = epoch);
        }
        if matches!(kind, Kind::Leave(..) | Kind::Detach) && !self.mutant(Mutant::NoNewGeneration) {
            let term = self.store.get().term.next();
            let generation = self.new_generation(term);
            self.store.change(|superblock| {
                superblock.term = term;
                superblock.lineage.begin(generation);
            });
        }
        let members = !self.store.in_sync().is_empty();
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        match &kind {
            Kind::Leave(leaving, _) => self.store.change(|superblock| {
                for slot in leaving.iter() {
                    superblock.peers[slot.index()].standing = Standing::Out;
                    if !for_ever {
                        superblock.peers[slot.index()].receipt = None;
                    }
                }
                superblock.unconfirmed =
                    (superblock.peers.iter()).any(|peer| peer.standing.is_counted());
            }),
            Kind::Join(slot, entry) => self.store_join(*slot, *entry),
            Kind::Detach => {
                self.store.change(|superblock| {
                    superblock.disk = StoredDisk::Failed;
                    superblock.suspect = true;
                    superblock.unconfirmed = members;
                });
            }
            Kind::Promote | Kind::Grow(..) => {}
        }
        let promoting = kind == Kind::Promote;
        self.change = Some(Change {
            id,
            kind,
            stored: false,
            awaiting: SlotSet::EMPTY,
        });
        if self.metadata_failed || promoting && self.mutant(Mutant::OpenBeforeTermStored) {
            // The members' copies are what counts now.
            self.change_stored(id);
        } else {
            self.store.then(Then::Changed(id));
        }
    }

    fn store_join(&mut self, slot: Slot, entry: Entry) {
        assert_eq!(
            self.peer(slot).bitmap.dirty(),
            0,
            "a peer joins when nothing is dirty for it"
        );
        let again = self.says_it_is_in(slot);
        let said = self.peer(slot).said.as_ref().filter(|_| again);
        let epoch = said
            .map_or(Epoch(0), |said| said.epoch)
            .max(self.store.get().epoch);
        // R14: one that has stored a newer number takes none that is older from whom it follows now. Sets that this node has
        // not heard of are smaller ones: none grows without its word.
        let above = !self.mutant(Mutant::LeadInAnOlderEpoch)
            && self.peer(slot).said.as_ref().is_some_and(|said| {
                said.epoch > self.store.get().epoch
                    && said.lineage.relation(&self.store.get().lineage) == Relation::Same
            });
        let newer = (entry == Entry::Member || above) && !again && self.follows().is_none();
        let epoch = if newer { self.next_epoch() } else { epoch };
        let follows = self.follows().is_some();
        let waits = self.role == Role::Standby && self.peer(slot).protocol != Protocol::A;
        if newer {
            self.enter_epoch(epoch);
        }
        if !self.mutant(Mutant::WithdrawalIsForEver) {
            self.peer_mut(slot).withdrawn = None;
        }
        let newest = self.knows_it_has_the_newest(slot);
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        let others = match (self.role, self.follows()) {
            (Role::Standby, None) => self.known_members(slot),
            _ => SlotSet::EMPTY,
        };
        self.store.change(|superblock| {
            superblock.epoch = epoch;
            for other in others.iter().filter(|other| *other != slot) {
                let standing = &mut superblock.peers[other.index()].standing;
                *standing = (*standing).max(Standing::Joining);
            }
            let record = &mut superblock.peers[slot.index()];
            // It counts from now on; that it has everything it has yet to say.
            let counted = record.standing.is_counted() || entry == Entry::Member;
            if counted && !follows && !(again && record.standing == Standing::In) {
                record.standing = Standing::Joining;
            } else if !counted && !follows && waits {
                record.standing = Standing::Copy;
            }
            if !for_ever {
                record.receipt = None;
            }
            if newest {
                // A crash is made good only by comparing with everybody who may have outlived it.
                superblock.lack = Lack::Nothing;
                if superblock.disk == StoredDisk::Outdated {
                    superblock.disk = StoredDisk::UpToDate;
                }
            }
        });
        if newest && self.disk_attached() {
            self.set_disk(
                DiskState::UpToDate,
                "compared with every replica of the in-sync set",
            );
        }
        if let Phase::Leading { reason, .. } = self.peer(slot).phase {
            self.set_phase(
                slot,
                Phase::Leading {
                    step: LeadStep::Joining,
                    reason,
                },
                reason.why,
            );
        }
    }

    /// The change is stored here: the members store it next.
    pub(crate) fn change_stored(&mut self, id: u64) {
        if self.change.as_ref().is_none_or(|change| change.id != id) {
            return;
        }
        let joining = match self.change.as_ref().map(|change| &change.kind) {
            Some(Kind::Join(slot, _)) => Some(*slot),
            Some(Kind::Grow(slot, GrowStep::Joiner, _)) => {
                let slot = *slot;
                self.send_membership(id, slot);
                if let Some(change) = &mut self.change {
                    change.stored = true;
                    change.awaiting = [slot].into_iter().collect();
                }
                return;
            }
            _ => None,
        };
        // Who has the newest is not told what it is by a copy that it keeps.
        let leads = self.follows().is_none() && !self.is_kept_by_the_newest();
        let told: SlotSet = self
            .slots()
            .filter(|slot| {
                let equal = self.peer(*slot).phase == Phase::Established && leads;
                equal || Some(*slot) == joining
            })
            .collect();
        for slot in told.iter() {
            self.send_membership(id, slot);
        }
        let awaiting = told
            .iter()
            .filter(|_| !self.mutant(Mutant::OldConfirmationCounts))
            .filter(|slot| self.store.peer(*slot).standing.is_counted() || Some(*slot) == joining)
            .collect();
        if let Some(change) = &mut self.change {
            change.stored = true;
            change.awaiting = awaiting;
        }
    }

    /// Whether a member is here that stores what this node can't.
    pub(crate) fn is_stored_elsewhere(&self) -> bool {
        let in_sync = self.store.in_sync();
        in_sync
            .iter()
            .any(|slot| self.peer(slot).phase == Phase::Established)
    }

    /// A change of the set can't be stored by anybody.
    pub(crate) fn is_change_stuck(&self) -> bool {
        self.metadata_failed && self.change.as_ref().is_some_and(|change| !change.stored)
    }

    /// What `to` is told of the set.
    fn membership(&self, change: u64, to: Slot) -> Membership {
        let superblock = self.store.get();
        let node = |slot: Slot| self.peer(slot).node;
        let kind = self.change.as_ref().map(|change| &change.kind);
        // R14: the joiner is told last, and all others before.
        let (proposed, last) = match kind {
            Some(Kind::Grow(slot, GrowStep::Members, epoch)) => (Some((*slot, *epoch)), false),
            Some(Kind::Grow(slot, GrowStep::Joiner, _) | Kind::Join(slot, Entry::Member)) => {
                (None, *slot == to)
            }
            _ => (None, false),
        };
        let told = last || self.store.peer(to).standing == Standing::In;
        let mut in_sync = self.in_sync_nodes();
        in_sync.retain(|other| *other != node(to) || told);
        let mut joining: Vec<_> = self
            .slots()
            .filter(|slot| *slot != to && self.store.peer(*slot).standing == Standing::Joining)
            .map(node)
            .collect();
        if let Some((slot, _)) = proposed
            && !in_sync.contains(&node(slot))
        {
            in_sync.push(node(slot));
            in_sync.sort_unstable();
            joining.push(node(slot));
        }
        // A candidate becomes primary only once its change is done; for the others it is already.
        let promoting = self
            .change
            .as_ref()
            .is_some_and(|change| change.kind == Kind::Promote);
        Membership {
            change,
            term: superblock.term,
            lineage: superblock.lineage.clone(),
            epoch: proposed.map_or(superblock.epoch, |(_, epoch)| epoch),
            in_sync,
            joining,
            equal: self.equal_nodes(),
            newest: self.newest_seq(),
            primary: self.role == Role::Primary || promoting,
            up_to_date: self.disk == DiskState::UpToDate || !self.disk_attached() || promoting,
            unconfirmed: superblock.unconfirmed
                && self.role == Role::Standby
                && !(promoting && self.mutant(Mutant::PromotionIsConfirmed))
                && (promoting || !self.mutant(Mutant::JoinUnconfirmed)),
            size_blocks: superblock.size_blocks,
        }
    }

    /// A member has stored the change.
    pub(crate) fn membership_stored(&mut self, slot: Slot, id: u64) {
        let term = self.store.get().term;
        let counts = matches!(
            self.peer(slot).phase,
            Phase::Established
                | Phase::Leading {
                    step: LeadStep::Joining,
                    ..
                }
        );
        if let Some(change) = &mut self.change
            && change.id == id
            && counts
            && change.awaiting.remove(slot)
        {
            self.peer_mut(slot).confirmed = Some(term);
            // It has data by now.
            self.peer_mut(slot).authority = true;
        }
    }

    /// A member is lost: it can't be waited for. If it belongs to the set it is missed there.
    pub(crate) fn change_lost_peer(&mut self, slot: Slot) {
        let Some(change) = &mut self.change else {
            return;
        };
        match change.kind {
            Kind::Join(joining, _) if joining == slot => self.change = None,
            Kind::Grow(joiner, step, _) => self.growth_lost(joiner, step, slot),
            Kind::Join(..) | Kind::Leave(..) | Kind::Detach | Kind::Promote => {
                change.awaiting.remove(slot);
            }
        }
    }

    /// Ends the change once everybody has stored it.
    pub(crate) fn end_change(&mut self) -> bool {
        if self
            .change
            .as_ref()
            .is_none_or(|change| !change.stored || !change.awaiting.is_empty())
        {
            return false;
        }
        if let Some(Kind::Grow(slot, GrowStep::Members, epoch)) =
            self.change.as_ref().map(|change| change.kind.clone())
        {
            let id = self.changes;
            self.tell_joiner(id, slot, epoch);
            return true;
        }
        let change = self.change.take().expect("it was just looked at");
        let why = match change.kind {
            Kind::Leave(leaving, why) => {
                self.no_longer_wait_for(leaving);
                why
            }
            Kind::Grow(slot, ..) => {
                self.grown(slot);
                format!("{} is in sync, as every member knows", self.peer(slot).name)
            }
            Kind::Join(slot, entry) => {
                let newest = self.store.get().lineage.newest().map(|newest| newest.id);
                let joined = entry == Entry::Member && self.follows().is_none();
                self.store.change(|superblock| {
                    let record = &mut superblock.peers[slot.index()];
                    record.base = newest;
                    if joined {
                        record.standing = Standing::In;
                    }
                });
                if joined && self.is_news_to_members(slot) {
                    self.tell_members();
                }
                self.set_phase(slot, Phase::Established, "equal, and kept equal");
                self.store.then(Then::Moment);
                self.write_all_bitmaps();
                format!("{} is equal", self.peer(slot).name)
            }
            Kind::Detach => "going on without the disk of this node".into(),
            Kind::Promote if !self.disk_attached() => {
                self.lost_disk_in_promotion();
                return true;
            }
            Kind::Promote if self.is_parting() => {
                // Whoever has recorded that it leaves opens nothing.
                self.store.change(|superblock| superblock.primary = false);
                return true;
            }
            Kind::Promote => {
                self.promoted();
                "promoted".into()
            }
        };
        let joining = self.joining_nodes();
        let nodes = self.in_sync_nodes().into_iter();
        let nodes = nodes
            .filter(|node| !joining.contains(node))
            .map(|node| node.0);
        let (term, epoch) = (self.store.get().term.0, self.store.get().epoch.0);
        self.report(Report::InSync {
            nodes: nodes.collect(),
            joining: joining.iter().map(|node| node.0).collect(),
            epoch,
            term,
            why,
        });
        self.check_flushes();
        true
    }

    /// Peers that have left the in-sync set by a right are not waited for any more.
    pub(crate) fn no_longer_wait_for(&mut self, gone: SlotSet) {
        for (_, mutation) in &mut self.mutations {
            gone.iter()
                .for_each(|slot| _ = mutation.waiting.remove(slot));
        }
        for (_, flush) in &mut self.flushes {
            gone.iter().for_each(|slot| _ = flush.waiting.remove(slot));
        }
        // Some may have waited for nobody else.
        self.parked = true;
    }
}
