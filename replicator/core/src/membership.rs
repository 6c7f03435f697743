//! The in-sync set: who must have a write before it is acknowledged. It changes only here.
//!
//! Every change is stored by the leader first, then by every member, and only then counts. A change that takes
//! somebody out (or promotes) begins a new term and generation, and nothing is acknowledged until it is done. Until every
//! member has stored it, the generation is *unconfirmed*: if this node is lost before, the others may go on without it,
//! and then it is forgotten instead of being taken for a fork.

use twindisk_format::{
    control::{ControlMessage, Membership},
    frame::Frame,
    ids::{GenerationId, NodeId, Slot, SlotSet},
    lineage::Relation,
    superblock::{ReceiptKind, StoredDisk},
};

use crate::{
    DiskState, LinkId, Mark, OnPeerLoss, Protocol, Report, Role,
    mutants::Mutant,
    mutation::Stage,
    peer::{FollowStep, LeadStep, Phase},
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
    /// This peer is equal and joins.
    Join(Slot),
    /// This node's own disk leaves.
    Detach,
    /// This node becomes primary.
    Promote,
}

/// A follower's membership that waits until what came before it is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingMembership {
    membership: Membership,
    /// The disk flush that must be done; `None`: writes that came before are not done yet.
    flush: Option<u64>,
}

impl Change {
    /// Nothing is acknowledged and no write begins until it is done.
    pub(crate) const fn freezes(&self) -> bool {
        !matches!(self.kind, Kind::Join(_))
    }
}

impl Replica {
    /// Begins the change that is due, if any. One is under way at a time.
    pub(crate) fn begin_change(&mut self) -> bool {
        if self.change.is_some() {
            return false;
        }
        if self.detach_wanted {
            self.detach_wanted = false;
            if self.role == Role::Primary {
                self.start_change(Kind::Detach);
                return true;
            }
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
            complete && (confirmed || self.store.peer(*slot).in_sync)
        });
        ready.is_some_and(|slot| {
            self.start_change(Kind::Join(slot));
            true
        })
    }

    /// R1: a peer leaves the in-sync set of a primary only by a right.
    fn begin_leave(&mut self) -> bool {
        let missing = self.missing();
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
            .filter(|slot| self.receipt_holds(*slot) || self.mutant(Mutant::SilenceIsReceipt))
            .collect();
        if leaving.is_empty() || !self.data_without(leaving) || !self.stable_alone() {
            return false;
        }
        let names: Vec<&str> = leaving.iter().map(|slot| &*self.peer(slot).name).collect();
        let why = format!("going on without {}", names.join(", "));
        self.start_change(Kind::Leave(leaving, why));
        true
    }

    /// Whether the data is in the in-sync set also without `leaving`. A primary that has lost its own disk and goes on
    /// without the last replica would begin a generation that nobody has: the replica could only be refused later.
    pub(crate) fn data_without(&self, leaving: SlotSet) -> bool {
        self.store.get().disk == StoredDisk::UpToDate
            || self
                .store
                .in_sync()
                .iter()
                .any(|slot| !leaving.contains(slot))
    }

    /// A standby that leads a resync of a node which released itself: no new writes, so no new generation.
    fn leave_as_standby(&mut self) -> bool {
        let leaving = self.slots().find(|slot| {
            let ready = matches!(
                &self.peer(*slot).phase,
                Phase::Leading { step: LeadStep::Ready, reason } if reason.resync
            );
            ready && self.store.peer(*slot).in_sync && self.receipt_holds(*slot)
        });
        let Some(slot) = leaving.filter(|_| self.stable_alone()) else {
            return false;
        };
        self.store
            .change(|superblock| superblock.peers[slot.index()].in_sync = false);
        true
    }

    /// Before the in-sync set shrinks: what was acknowledged must not hang on a disk's cache here, since the replica that
    /// leaves may have it, and will be overwritten by this one.
    pub(crate) fn stable_alone(&mut self) -> bool {
        if self.mutant(Mutant::LeaveBeforeStable) {
            return true;
        }
        let settled = self
            .window
            .iter()
            .all(|index| matches!(self.mutations[index].stage, Stage::Settled { .. }));
        settled && self.stable_here()
    }

    /// Changes the superblock and begins to store it.
    pub(crate) fn start_change(&mut self, kind: Kind) {
        self.changes += 1;
        let id = self.changes;
        if !matches!(kind, Kind::Join(_) | Kind::Promote) && !self.mutant(Mutant::NoNewGeneration) {
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
                    superblock.peers[slot.index()].in_sync = false;
                    if !for_ever {
                        superblock.peers[slot.index()].receipt = None;
                    }
                }
                superblock.unconfirmed = superblock.peers.iter().any(|peer| peer.in_sync);
            }),
            Kind::Join(slot) => self.store_join(*slot),
            Kind::Detach => {
                self.store.change(|superblock| {
                    superblock.disk = StoredDisk::Failed;
                    superblock.suspect = true;
                    superblock.unconfirmed = members;
                });
            }
            Kind::Promote => {}
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

    fn store_join(&mut self, slot: Slot) {
        assert_eq!(
            self.peer(slot).bitmap.dirty(),
            0,
            "a peer joins when nothing is dirty for it"
        );
        // Protocol A peers are kept equal, but never counted on (R1). Whom a primary counts on is for it to say. One that
        // is counted on since it handed over in good order leaves only by a right, like everybody: it may be promoted.
        let counted = self.store.peer(slot).in_sync;
        let in_sync = match self.follows() {
            Some(_) => counted,
            None => counted || self.peer(slot).protocol != Protocol::A,
        };
        let newest = self.knows_it_has_the_newest(slot);
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        let others = match (self.role, self.follows()) {
            (Role::Standby, None) => self.known_members(slot),
            _ => SlotSet::EMPTY,
        };
        self.store.change(|superblock| {
            for other in others.iter() {
                superblock.peers[other.index()].in_sync = true;
            }
            let record = &mut superblock.peers[slot.index()];
            record.in_sync = in_sync;
            if !for_ever {
                record.receipt = None;
            }
            if newest && superblock.disk == StoredDisk::Outdated {
                superblock.disk = StoredDisk::UpToDate;
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

    /// R5: whether this node's data is the newest, now that `joining` is equal to it.
    fn knows_it_has_the_newest(&self, joining: Slot) -> bool {
        if self.disk == DiskState::UpToDate || self.role == Role::Primary {
            return true;
        }
        // What a follower has is for its primary to say, which need not count on it.
        if self.disk < DiskState::Outdated || self.follows().is_some() {
            return false;
        }
        // Fencing is not enough here: a replica that is off now may have gone on alone before.
        let compared = self.known_members(joining).iter().all(|slot| {
            slot == joining
                || self.peer(slot).phase == Phase::Established
                // Who left has gone on nowhere, but may have what this node's disk has lost in a crash.
                || !self.crashed && self.has_released_itself(slot)
        });
        let outdated = self.store.get().disk == StoredDisk::Outdated;
        // Two that both released themselves, with nobody else to know better, are the newest there is.
        let peer_of_same_set = self.peer(joining).said.as_ref().is_some_and(|said| {
            said.disk >= StoredDisk::Outdated
                && said.lineage.relation(&self.store.get().lineage) == Relation::Same
        });
        // So is whoever all others follow: there is nobody left who could know of anything newer.
        let everybody = self
            .slots()
            .all(|slot| slot == joining || self.peer(slot).phase == Phase::Established);
        compared && (!outdated || peer_of_same_set || everybody)
    }

    /// The members of the in-sync set that this node or `joining` knows: whoever was away when a set grew has not heard of it.
    fn known_members(&self, joining: Slot) -> SlotSet {
        let ours = self.store.get();
        let theirs = self.peer(joining).said.as_ref();
        let told = theirs.filter(|said| said.lineage.relation(&ours.lineage) == Relation::Same);
        self.slots()
            .filter(|slot| {
                let node = self.peer(*slot).node;
                self.store.peer(*slot).in_sync
                    || told.is_some_and(|said| said.in_sync.contains(&node))
            })
            .collect()
    }

    /// The change is stored here: the members store it next.
    pub(crate) fn change_stored(&mut self, id: u64) {
        if self.change.as_ref().is_none_or(|change| change.id != id) {
            return;
        }
        let joining = match self.change.as_ref().map(|change| &change.kind) {
            Some(Kind::Join(slot)) => Some(*slot),
            _ => None,
        };
        let membership = self.membership(id);
        let told: SlotSet = self
            .slots()
            .filter(|slot| {
                let equal =
                    self.peer(*slot).phase == Phase::Established && self.follows().is_none();
                equal || Some(*slot) == joining
            })
            .collect();
        for slot in told.iter() {
            self.send(
                slot,
                Frame::Control(ControlMessage::Membership(membership.clone())),
            );
        }
        let awaiting = told
            .iter()
            .filter(|_| !self.mutant(Mutant::OldConfirmationCounts))
            .filter(|slot| self.store.peer(*slot).in_sync || Some(*slot) == joining)
            .collect();
        if let Some(change) = &mut self.change {
            change.stored = true;
            change.awaiting = awaiting;
        }
    }

    fn membership(&self, change: u64) -> Membership {
        let superblock = self.store.get();
        // A candidate becomes primary only once its change is done; for the others it is already.
        let promoting = self
            .change
            .as_ref()
            .is_some_and(|change| change.kind == Kind::Promote);
        Membership {
            change,
            term: superblock.term,
            lineage: superblock.lineage.clone(),
            in_sync: self.in_sync_nodes(),
            equal: self.equal_nodes(),
            newest: self.newest_seq(),
            primary: self.role == Role::Primary || promoting,
            up_to_date: self.disk == DiskState::UpToDate || !self.disk_attached() || promoting,
            size_blocks: superblock.size_blocks,
        }
    }

    /// The peers that have everything that this node has, but for what is on its way.
    fn equal_nodes(&self) -> Vec<NodeId> {
        if self.follows().is_some() {
            return Vec::new(); // For the primary to say, which knows what is on its way.
        }
        self.peers
            .iter()
            .filter(|peer| peer.takes_everything() && peer.bitmap.dirty() == 0)
            .map(|peer| peer.node)
            .collect()
    }

    /// The nodes of the in-sync set.
    pub(crate) fn in_sync_nodes(&self) -> Vec<NodeId> {
        let superblock = self.store.get();
        let mut nodes: Vec<NodeId> = self
            .store
            .in_sync()
            .iter()
            .map(|s| self.peer(s).node)
            .collect();
        if superblock.disk == StoredDisk::UpToDate {
            nodes.push(superblock.node);
        }
        nodes.sort_unstable();
        nodes
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
        {
            change.awaiting.remove(slot);
            self.peer_mut(slot).confirmed = Some(term);
        }
    }

    /// A member is lost: it can't be waited for. If it belongs to the set it is missed there.
    pub(crate) fn change_lost_peer(&mut self, slot: Slot) {
        let Some(change) = &mut self.change else {
            return;
        };
        change.awaiting.remove(slot);
        if change.kind == Kind::Join(slot) {
            self.change = None;
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
        let change = self.change.take().expect("it was just looked at");
        let why = match change.kind {
            Kind::Leave(leaving, why) => {
                self.no_longer_wait_for(leaving);
                why
            }
            Kind::Join(slot) => {
                let newest = self.store.get().lineage.newest().map(|newest| newest.id);
                self.store
                    .change(|superblock| superblock.peers[slot.index()].base = newest);
                // A crash is made good only by comparing with everybody who may have outlived it.
                self.crashed &= !self.disk_is_up_to_date();
                self.take_part();
                self.set_phase(slot, Phase::Established, "equal, and kept equal");
                self.write_all_bitmaps();
                format!("{} is equal", self.peer(slot).name)
            }
            Kind::Detach => "going on without the disk of this node".into(),
            Kind::Promote if !self.disk_attached() => {
                self.lost_disk_in_promotion();
                return true;
            }
            Kind::Promote => {
                self.promoted();
                "promoted".into()
            }
        };
        let nodes = self.in_sync_nodes().iter().map(|node| node.0).collect();
        let term = self.store.get().term.0;
        self.report(Report::InSync { nodes, term, why });
        self.check_flushes();
        true
    }

    /// Every member knows the newest generation: from now on it counts, also against those who do not know it.
    pub(crate) fn confirm_generation(&mut self) -> bool {
        let due = self.role == Role::Primary
            && self.store.get().unconfirmed
            && self.change.is_none()
            && self.missing().is_empty();
        let newest = self.store.get().lineage.newest();
        let Some(newest) = newest.filter(|_| due) else {
            return false;
        };
        self.store
            .change(|superblock| superblock.unconfirmed = false);
        // Without metadata of its own, the members' copies are what counts.
        if !self.metadata_failed {
            self.confirming = Some(newest.id);
            self.store.then(Then::Confirmed(newest.id));
        }
        true
    }

    /// That is stored: writes may be completed in it.
    pub(crate) fn generation_confirmed(&mut self, generation: GenerationId) {
        if self.confirming == Some(generation) {
            self.confirming = None;
        }
    }

    /// Whether what is completed in the newest generation can't be forgotten with it.
    pub(crate) fn is_confirmed(&self) -> bool {
        !self.store.get().unconfirmed && self.confirming.is_none()
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

    /// The leader tells the in-sync set that holds from now on.
    pub(crate) fn receive_membership(&mut self, slot: Slot, membership: Membership) {
        if self.is_parting() {
            // It has recorded itself as outdated, and said so: nothing may undo that before they meet again.
            let why = "this node is leaving in good order";
            return self.drop_link(slot, Mark::MembershipParting, why);
        }
        if let Err((mark, why)) = self.may_follow(slot, &membership) {
            return self.drop_link(slot, mark, why);
        }
        if let Phase::Following { reason, .. } = self.peer(slot).phase {
            self.peer_mut(slot).phase = Phase::Following {
                step: FollowStep::Joining,
                reason,
            };
        }
        self.peer_mut(slot).pending = Some(PendingMembership {
            membership,
            flush: None,
        });
    }

    fn may_follow(&self, slot: Slot, membership: &Membership) -> Result<(), (Mark, String)> {
        let mine = self.store.get();
        let follows = match &self.peer(slot).phase {
            Phase::Established => true,
            Phase::Following {
                step: FollowStep::Ready,
                reason,
            } => !reason.resync,
            Phase::Following {
                step: FollowStep::Target,
                ..
            } => true,
            _ => false,
        };
        let relation = mine.lineage.relation(&membership.lineage);
        let stranger = membership
            .in_sync
            .iter()
            .find(|&&node| node != mine.node && mine.peers.iter().all(|peer| peer.node != node));
        if let Some(stranger) = stranger {
            // Without a slot for it this node would take the set for smaller than it is, and promote without its word.
            let why = format!(
                "node {stranger} is in sync, and this node does not know it: add it to the configuration here too, and restart"
            );
            Err((Mark::MembershipStranger, why))
        } else if membership.term < mine.term {
            let why = format!(
                "it speaks for term {}, this node is in term {}",
                membership.term, mine.term
            );
            Err((Mark::MembershipTerm, why))
        } else if self.role == Role::Primary || !follows {
            let why = "it sent an in-sync set although this node does not follow it";
            Err((Mark::MembershipUnfollowed, why.into()))
        } else if !matches!(relation, Relation::Same | Relation::Behind) {
            let why = "its lineage does not contain what this node has";
            Err((Mark::MembershipLineage, why.into()))
        } else if membership.size_blocks > self.capacity_blocks {
            let why = "its device is larger than this one can be";
            Err((Mark::MembershipSize, why.into()))
        } else {
            Ok(())
        }
    }

    /// Stores a membership once everything that came before it is stable here.
    pub(crate) fn store_membership(&mut self) -> bool {
        let mut progress = false;
        for slot in self.slots() {
            progress |= self.peer(slot).pending.is_some() && self.store_membership_of(slot);
        }
        progress
    }

    fn store_membership_of(&mut self, slot: Slot) -> bool {
        let Some(link) = self.peer(slot).link.filter(|link| !link.closing) else {
            self.peer_mut(slot).pending = None;
            return true;
        };
        if self.is_parting() {
            self.peer_mut(slot).pending = None;
            let why = "this node is leaving in good order";
            self.drop_link(slot, Mark::MembershipParting, why);
            return true;
        }
        let established = self.peer(slot).phase == Phase::Established;
        let early = self.mutant(Mutant::JoinBeforeStable);
        if !established && !early && !self.stable_before_joining(slot) {
            return false;
        }
        if !established && self.peer(slot).bitmap.dirty() > 0 {
            self.peer_mut(slot).pending = None;
            let why = "it took this node for equal although blocks here are dirty";
            self.drop_link(slot, Mark::MembershipDirty, why);
            return true;
        }
        if let Some(pending) = self.peer_mut(slot).pending.take() {
            self.adopt_membership(slot, &pending.membership);
            let change = pending.membership.change;
            self.store.then(Then::MembershipStored {
                slot,
                link: link.id,
                change,
            });
        }
        true
    }

    fn stable_before_joining(&mut self, slot: Slot) -> bool {
        if !self.all_applied(slot) {
            return false;
        }
        let flush = self
            .peer(slot)
            .pending
            .as_ref()
            .and_then(|pending| pending.flush);
        let needed = flush.unwrap_or_else(|| self.flusher.need());
        if let Some(pending) = &mut self.peer_mut(slot).pending {
            pending.flush = Some(needed);
        }
        self.begin_disk_flush();
        self.flusher.is_done(needed)
    }

    fn adopt_membership(&mut self, slot: Slot, membership: &Membership) {
        if !membership.primary && self.follows().is_some() {
            return; // Two standbys of one primary are equal: all else is for the primary to say.
        }
        let newest = membership.lineage.newest().map(|newest| newest.id);
        let leader = self.peer(slot).node;
        let node = self.store.get().node;
        let member = membership.in_sync.contains(&node);
        let has_disk = self.disk_attached();
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        self.adopt_size(membership.size_blocks);
        self.mark_leavers(slot, membership);
        self.store.change(|superblock| {
            superblock.term = membership.term;
            superblock.lineage = membership.lineage.clone();
            superblock.unconfirmed = false;
            if has_disk {
                superblock.suspect = false;
                // A protocol A standby may lack what was acknowledged last: it is not to be promoted as it is.
                // Whether a leader that is no better than Consistent has the newest is not known yet.
                let newest =
                    member && (membership.up_to_date || membership.in_sync.contains(&leader));
                superblock.disk = if newest {
                    StoredDisk::UpToDate
                } else {
                    StoredDisk::Outdated
                };
            }
            for (index, record) in superblock.peers.iter_mut().enumerate() {
                record.in_sync = membership.in_sync.contains(&record.node);
                if record.in_sync && !for_ever {
                    record.receipt = None;
                }
                if membership.equal.contains(&record.node)
                    || index == slot.index() && record.in_sync
                {
                    record.base = newest;
                } else if index == slot.index() {
                    // A leader without a disk: what that disk holds, should it ever come back, nobody knows.
                    record.base = None;
                }
            }
        });
        if !self.store.peer(slot).in_sync {
            self.peer_mut(slot).bitmap.set_all();
        }
        for other in self.slots().filter(|other| *other != slot) {
            let peer = self.peer_mut(other);
            let equal = member && membership.equal.contains(&peer.node);
            let in_sync = membership.in_sync.contains(&peer.node);
            // What a primary has on its way may be missing there still; without one nothing is on its way.
            peer.equal_at = (equal && in_sync && membership.primary)
                .then(|| (slot, membership.newest, peer.bitmap.marked()));
            if equal && !membership.primary {
                peer.bitmap.clear_all();
            }
            if membership.primary
                && let Some(said) = &mut peer.said
            {
                said.primary = false;
            }
        }
        if let Some(said) = &mut self.peer_mut(slot).said {
            said.primary = membership.primary;
            said.up_to_date = membership.up_to_date;
        }
    }

    /// Who leaves the set may lack whatever the leader does not know to be stable everywhere.
    fn mark_leavers(&mut self, leader: Slot, membership: &Membership) {
        let recent: Vec<_> = self
            .peer(leader)
            .received
            .recent
            .iter()
            .map(|&(_, range)| range)
            .collect();
        let leaving: Vec<Slot> = self
            .store
            .in_sync()
            .iter()
            .filter(|slot| !membership.in_sync.contains(&self.peer(*slot).node))
            .collect();
        for slot in leaving {
            recent
                .iter()
                .for_each(|&range| self.peer_mut(slot).bitmap.set(range));
        }
    }

    /// A membership is stored here.
    pub(crate) fn membership_adopted(&mut self, slot: Slot, link: LinkId, change: u64) {
        if self
            .peer(slot)
            .link
            .is_none_or(|current| current.id != link)
        {
            return self.adopted_in_vain();
        }
        if self.follows().is_none_or(|primary| primary == slot) {
            self.adopt_disk_state(slot);
        }
        self.set_phase(slot, Phase::Established, "equal, and kept equal");
        self.meet_again();
        self.write_all_bitmaps();
        self.send(
            slot,
            Frame::Control(ControlMessage::MembershipStored { change }),
        );
        self.handover_done(slot);
    }

    /// What this copy is, now that it is equal to the leader's.
    fn adopt_disk_state(&mut self, slot: Slot) {
        // What came from a crashed leader is no better than the leader.
        let leader = self.peer(slot).said.as_ref();
        let newest = leader.is_some_and(|said| said.up_to_date);
        let (crashed, lost_power) =
            leader.map_or((false, false), |said| (said.crashed, said.lost_power));
        self.crashed = crashed && !newest;
        self.lost_power = lost_power;
        self.take_part();
        let disk = match self.store.get().disk {
            StoredDisk::UpToDate if newest => DiskState::UpToDate,
            StoredDisk::UpToDate | StoredDisk::Outdated => DiskState::Consistent,
            StoredDisk::Inconsistent => DiskState::Inconsistent,
            StoredDisk::Failed => DiskState::Failed,
        };
        let name = self.peer(slot).name.clone();
        if self.disk_attached() {
            self.set_disk(disk, &format!("kept equal by {name}"));
        }
    }

    /// The leader was lost before it could hear that its membership is stored. The copy is whole all the same.
    fn adopted_in_vain(&mut self) {
        if self.disk != DiskState::Inconsistent {
            return;
        }
        let why = "made equal, just before the connection was lost";
        match self.store.get().disk {
            StoredDisk::UpToDate => self.set_disk(DiskState::Consistent, why),
            StoredDisk::Outdated => self.set_disk(DiskState::Outdated, why),
            StoredDisk::Inconsistent | StoredDisk::Failed => {}
        }
    }

    /// The connected primary that this standby is kept equal by.
    pub(crate) fn follows(&self) -> Option<Slot> {
        if self.role == Role::Primary {
            return None;
        }
        self.slots().find(|slot| {
            let peer = self.peer(*slot);
            peer.phase == Phase::Established && peer.said.as_ref().is_some_and(|said| said.primary)
        })
    }

    /// Peers that had nothing to offer to each other, or that this node was about to follow, compare once more: this
    /// node's data, or what it knows of theirs, has changed.
    pub(crate) fn meet_again(&mut self) {
        for slot in self.slots() {
            let undecided = matches!(
                self.peer(slot).phase,
                Phase::Waiting
                    | Phase::Following { .. }
                    | Phase::SplitBrain { .. }
                    | Phase::Unrelated
            );
            // What is dirty for one that is kept equal will be clean in a moment: compared now, it would be resynced.
            let peer = self.peer(slot);
            let soon = peer.equal_at.is_some() && peer.bitmap.dirty() > 0;
            if undecided && !soon && peer.link.is_some() {
                let why = "more is known than when the two compared";
                self.drop_link(slot, Mark::MeetAgain, why);
            }
        }
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

    /// A peer is no longer to be counted on, though it is connected.
    pub(crate) fn peer_left(&mut self, slot: Slot, why: &str) {
        self.peer_mut(slot).confirmed = None;
        self.set_phase(slot, Phase::Waiting, why);
        self.change_lost_peer(slot);
        if self.peer(slot).sweep.is_some() {
            self.drop_link(slot, Mark::LeftDuringSweep, why);
        }
    }
}
