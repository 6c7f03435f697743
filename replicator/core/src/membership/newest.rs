//! Whose data counts: who may have the newest, who has everything that this node has, and what must be stable before
//! this node's copy stands for others.

use twindisk_format::{
    ids::{NodeId, Slot, SlotSet},
    lineage::Relation,
    superblock::{Lack, Standing, StoredDisk},
};

use crate::{DiskState, Role, mutants::Mutant, mutation::Stage, peer::Phase, replica::Replica};

impl Replica {
    /// R5: whether this node's data is the newest, now that `joining` is equal to it.
    pub(super) fn knows_it_has_the_newest(&self, joining: Slot) -> bool {
        if self.disk == DiskState::UpToDate || self.role == Role::Primary {
            return true;
        }
        // What a follower has is for its primary to say, which need not count on it.
        if self.disk < DiskState::Outdated || self.follows().is_some() {
            return false;
        }
        // Nor may a copy that an up-to-date standby keeps equal, and does not count on (R1: protocol A; R14: not yet),
        // take itself for one of the set: that node goes on without asking it.
        if self.is_kept_by_the_newest() {
            return false;
        }
        // Fencing is not enough here: a replica that is off now may have gone on alone before.
        let compared = self.known_members(joining).iter().all(|slot| {
            slot == joining
                || self.peer(slot).phase == Phase::Established
                // Who left has gone on nowhere, but may have what this node's disk has lost in a crash.
                || self.lack() == Lack::Nothing && self.has_released_itself(slot)
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

    /// This node's copy is recorded as outdated, although one of the set that has the newest is equal to it, and here: it
    /// has been told what it is.
    pub(super) fn is_kept_by_the_newest(&self) -> bool {
        let outdated = self.store.get().disk == StoredDisk::Outdated;
        let keeps = |slot: Slot| {
            let peer = self.peer(slot);
            peer.phase == Phase::Established
                && self.store.peer(slot).standing.is_counted()
                && peer.said.as_ref().is_some_and(|said| said.up_to_date)
        };
        outdated && self.slots().any(keeps)
    }

    /// The members of the in-sync set that this node or `joining` knows: whoever was away when a set grew has not heard of it.
    pub(super) fn known_members(&self, joining: Slot) -> SlotSet {
        let ours = self.store.get();
        let theirs = self.peer(joining).said.as_ref();
        let told = theirs.filter(|said| said.lineage.relation(&ours.lineage) == Relation::Same);
        self.slots()
            .filter(|slot| {
                let node = self.peer(*slot).node;
                self.store.peer(*slot).standing.is_counted()
                    || told.is_some_and(|said| said.in_sync.contains(&node))
            })
            .collect()
    }

    /// Before the in-sync set shrinks: what was acknowledged must not hang on a disk's cache here, since the replica that
    /// leaves may have it, and will be overwritten by this one.
    pub(crate) fn stable_alone(&mut self) -> bool {
        if self.mutant(Mutant::LeaveBeforeStable) {
            return true;
        }
        // What finds no space is acknowledged by nobody before it does.
        let settled = self.window.iter().all(|index| {
            matches!(
                self.mutations[index].stage,
                Stage::Settled { .. } | Stage::NoSpace
            )
        });
        settled && self.received_is_written() && self.stable_here()
    }

    /// Whether the data is in the in-sync set also without `leaving`. A primary that has lost its own disk and goes on
    /// without the last replica would begin a generation that nobody has: the replica could only be refused later. One that
    /// has not said that it has joined is none: lost now, it does not know that it is counted on, and can't lead.
    pub(crate) fn data_without(&self, leaving: SlotSet) -> bool {
        self.store.get().disk == StoredDisk::UpToDate
            || self
                .store
                .in_sync()
                .iter()
                .filter(|slot| {
                    let standing = self.store.peer(*slot).standing;
                    standing == Standing::In || self.mutant(Mutant::JoinerIsACopy)
                })
                .any(|slot| !leaving.contains(slot))
    }

    /// Whether somebody of the set is here to go on with when this node's own disk leaves it. One that is away, or has
    /// released itself, will never have the generation that would begin now: it is to lead when it comes back. If the set
    /// was this disk alone, nothing waits for anybody: requests fail.
    pub(super) fn data_is_elsewhere(&self) -> bool {
        let in_sync = self.store.in_sync();
        in_sync.is_empty()
            || in_sync
                .iter()
                .filter(|slot| self.store.peer(*slot).standing == Standing::In)
                .any(|slot| self.peer(slot).phase == Phase::Established)
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

    /// Nodes that are counted on, but have not said that they have everything.
    pub(crate) fn joining_nodes(&self) -> Vec<NodeId> {
        self.slots()
            .filter(|slot| self.store.peer(*slot).standing == Standing::Joining)
            .map(|slot| self.peer(slot).node)
            .collect()
    }

    /// The peers that have everything that this node has, but for what is on its way.
    pub(super) fn equal_nodes(&self) -> Vec<NodeId> {
        if self.follows().is_some() {
            return Vec::new(); // For the primary to say, which knows what is on its way.
        }
        self.peers
            .iter()
            .filter(|peer| peer.takes_everything() && peer.bitmap.dirty() == 0)
            .map(|peer| peer.node)
            .collect()
    }
}
