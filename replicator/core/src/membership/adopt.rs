//! What a follower makes of the in-sync set that its leader tells: checked, kept until everything before it is stable
//! here, then stored.

use twindisk_format::{
    control::{ControlMessage, Membership},
    frame::Frame,
    ids::Slot,
    lineage::Relation,
    superblock::{Lack, Standing, StoredDisk},
};

use crate::{
    DiskState, LinkId, Mark, Role,
    membership::Kind,
    mutants::Mutant,
    peer::{FollowStep, Phase},
    replica::{Replica, Then},
};

/// A follower's membership that waits until what came before it is stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingMembership {
    membership: Membership,
    /// The disk flush that must be done; `None`: writes that came before are not done yet.
    flush: Option<u64>,
    /// The leader has said since that it is primary no more.
    demoted: bool,
}

impl Replica {
    /// The leader tells the in-sync set that holds from now on.
    pub(crate) fn receive_membership(&mut self, slot: Slot, membership: Membership) {
        if self.is_parting() {
            // It has recorded itself as outdated, and said so: nothing may undo that before they meet again.
            let why = "this node is leaving in good order";
            return self.drop_link(slot, Mark::MembershipParting, why);
        }
        let late = membership.change == 0 && membership.term < self.store.get().term;
        if late {
            // A member told what had come of a change, while a term was being granted: whoever has that says who is in now.
            return self.marks.mark(Mark::MembershipLate);
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
            demoted: false,
        });
    }

    /// A peer is primary no more. What it told before that and is not stored yet does not make it one again.
    pub(crate) fn peer_demoted(&mut self, slot: Slot) {
        let peer = self.peer_mut(slot);
        if let Some(said) = &mut peer.said {
            said.primary = false;
        }
        if let Some(pending) = &mut peer.pending {
            pending.demoted = true;
        }
    }

    /// The term in which this node is primary is being stored.
    fn is_promoting(&self) -> bool {
        let change = self.change.as_ref();
        change.is_some_and(|change| change.kind == Kind::Promote)
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
        } else if membership.epoch < mine.epoch && relation == Relation::Same {
            // R14: what it says was so before this node was told a newer set.
            let why = format!(
                "it speaks for epoch {} of the in-sync set, this node is in epoch {}",
                membership.epoch, mine.epoch
            );
            Err((Mark::MembershipEpoch, why))
        } else if self.role == Role::Primary || self.is_promoting() || !follows {
            let why = "it sent an in-sync set although this node does not follow it";
            Err((Mark::MembershipUnfollowed, why.into()))
        } else if !matches!(relation, Relation::Same | Relation::Behind) {
            let why = "its lineage does not contain what this node has";
            Err((Mark::MembershipLineage, why.into()))
        } else if self.knows_better_than(membership) && !membership.in_sync.contains(&mine.node) {
            // It takes this node in when the two meet again, and hears then that it is in.
            let why = "it does not know that this node has the newest data";
            Err((Mark::MembershipUnaware, why.into()))
        } else if membership.size_blocks > self.capacity_blocks {
            let why = "its device is larger than this one can be";
            Err((Mark::MembershipSize, why.into()))
        } else {
            Ok(())
        }
    }

    /// This node knows that it has the newest data, and who tells it what it is does not: that one has been compared with
    /// fewer.
    fn knows_better_than(&self, membership: &Membership) -> bool {
        let less = !membership.primary && !membership.up_to_date;
        let lineage = &self.store.get().lineage;
        less && self.disk == DiskState::UpToDate
            && lineage.relation(&membership.lineage) == Relation::Same
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
        let epoch = self.store.get().epoch;
        let newer = self.peer(slot).pending.as_ref();
        let newer = newer.is_some_and(|p| !p.membership.primary && p.membership.epoch > epoch);
        if newer && self.follows().is_some() {
            // R14: what is not stored must not be taken for stored.
            self.peer_mut(slot).pending = None;
            let why = "whom the primary counts on is for it to say";
            self.drop_link(slot, Mark::MembershipUnfollowed, why);
            return true;
        }
        // R4: a term may have passed while it waited for what came before.
        let passed = self.peer(slot).pending.as_ref();
        if passed.is_some_and(|p| p.membership.term < self.store.get().term) {
            self.peer_mut(slot).pending = None;
            let why = "the term that it speaks for has passed";
            self.drop_link(slot, Mark::MembershipTerm, why);
            return true;
        }
        // A copy that becomes a member has everything stable first.
        let node = self.store.get().node;
        let pending = self.peer(slot).pending.as_ref();
        let member = pending.is_some_and(|p| p.membership.in_sync.contains(&node));
        let established =
            self.peer(slot).phase == Phase::Established && (!member || self.stored_up_to_date());
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
            if pending.demoted {
                self.peer_demoted(slot);
            }
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
        let host = self.host;
        let better = self.knows_better_than(membership);
        // What came from a leader that lacks something is no better than the leader.
        let said = self.peer(slot).said.as_ref();
        let lack = if membership.primary && !member {
            Lack::Anything
        } else if membership.up_to_date {
            Lack::Nothing
        } else {
            said.map_or(Lack::Anything, |said| said.lack)
        };
        let compared = self.compares_all_with(slot);
        let made_good = self.is_made_good_by(slot, membership);
        if made_good.is_some() {
            self.marks.mark(Mark::MadeGood);
        }
        self.adopt_size(membership.size_blocks);
        self.mark_leavers(slot, membership);
        self.store.change(|superblock| {
            superblock.term = membership.term;
            superblock.epoch = membership.epoch;
            superblock.lineage = membership.lineage.clone();
            superblock.unconfirmed =
                membership.unconfirmed && superblock.lineage.newest().is_some();
            if membership.primary {
                superblock.active = true;
                superblock.host = host;
            }
            if has_disk && !better {
                superblock.lack = lack;
                superblock.suspect = false;
                if compared {
                    superblock.rewound = false;
                    // What its bits lack of before nobody knows but those that are equal.
                    superblock
                        .peers
                        .iter_mut()
                        .for_each(|peer| peer.base = None);
                }
                if let Some(seen) = made_good {
                    superblock.runs.make_good(seen);
                }
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
                record.standing = if membership.joining.contains(&record.node) {
                    Standing::Joining
                } else if membership.in_sync.contains(&record.node) {
                    Standing::In
                } else {
                    Standing::Out
                };
                // Whoever has come over to the other side of a conflict is in none with it any more.
                record
                    .conflict
                    .take_if(|conflict| membership.lineage.contains(conflict.newest));
                if record.standing.is_counted() && !for_ever {
                    record.receipt = None;
                }
                if membership.equal.contains(&record.node)
                    || index == slot.index() && record.standing.is_counted()
                {
                    record.base = newest;
                } else if index == slot.index() {
                    // A leader without a disk: what that disk holds, should it ever come back, nobody knows.
                    record.base = None;
                }
            }
        });
        self.bound_by(&membership.lineage);
        self.adopt_told(slot, &membership.equal);
        if !self.store.peer(slot).standing.is_counted() {
            self.peer_mut(slot).bitmap.set_all();
        }
        for other in self.slots().filter(|other| *other != slot) {
            let peer = self.peer_mut(other);
            // A copy that no primary keeps equal has all that the others have.
            let equal = (member || !membership.primary) && membership.equal.contains(&peer.node);
            let in_sync =
                membership.in_sync.contains(&peer.node) && !membership.joining.contains(&peer.node);
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
        // What it tells as a standby says nothing of what came of the term.
        self.granted
            .take_if(|grantee| *grantee == slot && membership.primary);
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
            || self.has_withdrawn()
        {
            return self.adopted_in_vain();
        }
        if self.follows().is_none_or(|primary| primary == slot) {
            self.adopt_disk_state(slot);
        }
        self.set_phase(slot, Phase::Established, "equal, and kept equal");
        self.meet_again();
        // What a comparison found equal is remembered as well.
        self.moment_passes();
        self.write_all_bitmaps();
        self.send(
            slot,
            Frame::Control(ControlMessage::MembershipStored { change }),
        );
        // Who knew of a time that this node had forgotten need not remember it any more.
        let moment = self.store.moment();
        self.send_moment(slot, moment);
        self.handover_done(slot);
    }

    /// What this copy is, now that it is equal to the leader's.
    fn adopt_disk_state(&mut self, slot: Slot) {
        let leader = self.peer(slot).said.as_ref();
        let newest = leader.is_some_and(|said| said.up_to_date);
        let disk = match self.store.get().disk {
            StoredDisk::UpToDate if newest || self.disk == DiskState::UpToDate => {
                DiskState::UpToDate
            }
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
}
