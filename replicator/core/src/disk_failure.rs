//! The local disk fails: it is never trusted again without a resync. No retry, no downgrade.

use core::mem;

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::Slot,
    superblock::{Standing, StoredDisk},
};

use crate::{
    DiskState, Mark, OnDiskError, Role,
    mutants::Mutant,
    mutation::{Origin, Stage},
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// A write, a flush or the metadata failed.
    pub(crate) fn disk_failed(&mut self, why: &str) {
        if !self.disk_attached() {
            return;
        }
        self.set_disk(DiskState::Failed, why);
        self.store.change(|superblock| {
            superblock.disk = StoredDisk::Failed;
            superblock.suspect = true;
        });
        self.no_copy_here();
        self.stop_leading();
        if self.role == Role::Primary && self.was_only_copy_stored() {
            self.nobody_joins();
            self.tell_disk_failed(false, "the metadata of this node can't be written");
        } else if self.role == Role::Primary {
            // The in-sync peers store a generation without this disk before anything more is acknowledged (R1).
            self.detach_wanted = !self.mutant(Mutant::AckWithFailedDisk);
            if self.config.on_disk_error == OnDiskError::FailOver {
                self.fail_over_wanted = true;
            }
        } else if self.metadata_failed {
            self.tell_disk_failed(false, "the metadata of this node can't be written");
        } else {
            self.store.then(Then::DiskFailureStored);
        }
        // After peers take nothing more, or I/O waits for the set without this disk: the activity log names none of these,
        // and a process that is started anew from it would not know that they are elsewhere.
        self.give_up_heating();
        self.give_up_space();
        self.check_flushes();
    }

    /// Whoever was just being taken into the set is not in it: that can't be stored.
    fn nobody_joins(&mut self) {
        self.store.change(|superblock| {
            let peers = superblock.peers.iter_mut();
            peers.for_each(|peer| peer.standing = Standing::Out);
        });
    }

    /// The set was this node alone, which can't store that it has failed: no generation begins that nobody would count in.
    /// The next process here goes on from what is stored, and a copy that had followed into that generation would be
    /// taken for a fork.
    fn was_only_copy_stored(&self) -> bool {
        self.metadata_failed && self.store.is_alone_stored()
    }

    /// R16: a failed disk leads nobody. It may lack what was written last, so nothing of it leaves this node any more:
    /// who was being brought up from it meets this node again as one without a copy.
    fn stop_leading(&mut self) {
        if self.mutant(Mutant::FailedDiskLeads) {
            return;
        }
        self.stop_verify_of_all();
        for slot in self.slots() {
            if !matches!(self.peer(slot).phase, Phase::Leading { .. }) {
                continue;
            }
            let why = "the backing device of this node has failed: others have to bring it up";
            self.stop_sweep(slot);
            self.change_lost_peer(slot);
            self.peer_mut(slot).confirmed = None;
            self.set_phase(slot, Phase::Waiting, why);
            if self.peer(slot).link.is_some_and(|link| !link.closing) {
                self.drop_link(slot, Mark::SourceFailed, why);
            }
        }
    }

    /// R16: whether what was just read from the backing device may be used, or told to anybody.
    pub(crate) fn is_to_be_trusted(&self) -> bool {
        self.disk_attached() || self.mutant(Mutant::FailedDiskIsRead)
    }

    /// Tells every peer. Only what is stored is a receipt.
    pub(crate) fn tell_disk_failed(&mut self, stored: bool, why: &str) {
        for slot in self.slots() {
            self.send(slot, Frame::Control(ControlMessage::DiskFailed { stored }));
            if self.peer(slot).phase == Phase::Established {
                self.set_phase(slot, Phase::Waiting, why);
            }
        }
    }

    /// A peer says that its disk or its metadata has failed.
    pub(crate) fn peer_has_no_copy(&mut self, slot: Slot) {
        if let Some(said) = &mut self.peer_mut(slot).said {
            (said.disk, said.up_to_date) = (StoredDisk::Failed, false);
        }
    }

    /// Mutations that wait for the metadata go on without it: there is no disk that it could speak of.
    fn give_up_heating(&mut self) {
        let waiting: Vec<usize> = self
            .mutations
            .iter()
            .filter(|(_, mutation)| matches!(mutation.stage, Stage::Heating | Stage::Unrecorded))
            .map(|(index, _)| index)
            .collect();
        for index in waiting {
            let mutation = &mut self.mutations[index];
            if mem::take(&mut mutation.heated) {
                self.al.leave(mutation.range, index, mutation.seq);
            }
            if matches!(self.mutations[index].origin, Origin::Peer { .. }) {
                self.drop_unissued(index);
            } else {
                self.issue(index);
            }
        }
    }
}
