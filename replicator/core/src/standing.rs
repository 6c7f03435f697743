//! What decides whether a replica would serve, in a form that is cheap to compare: the simulator asks its question of
//! each node whenever this has changed.

use core::mem::Discriminant;

use twindisk_format::{
    ids::{Slot, SlotSet},
    limits::MAX_PEERS,
    superblock::Superblock,
};

use crate::{ConnectionState, DiskState, LinkId, Role, jobs::Step, replica::Replica};

/// A replica's standing: two that are equal, of one run, answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    peers: usize,
    role: Role,
    disk: DiskState,
    export_open: bool,
    /// Changes of the superblock, and how many of them are stored.
    superblock: (u64, u64),
    job: Option<Discriminant<Step>>,
    change: Option<u64>,
    saving: bool,
    metadata_failed: bool,
    halted: bool,
    connections: [Option<ConnectionState>; MAX_PEERS],
    pending: SlotSet,
}

impl Standing {
    /// How many peers it is configured with.
    #[must_use]
    pub const fn peers(&self) -> usize {
        self.peers
    }
}

impl Replica {
    /// What it would be asked about again once this has changed.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            peers: self.peers.len(),
            role: self.role,
            disk: self.disk,
            export_open: self.export_open,
            superblock: self.store.progress(),
            job: self
                .job
                .as_ref()
                .map(|job| core::mem::discriminant(&job.step)),
            change: self.change.as_ref().map(|change| change.id),
            saving: self.saving.is_some(),
            metadata_failed: self.metadata_failed,
            halted: self.halted,
            connections: core::array::from_fn(|at| Some(self.peers.get(at)?.connection())),
            pending: (self.slots())
                .filter(|slot| self.peer(*slot).pending.is_some())
                .collect(),
        }
    }

    /// What this replica holds for true, stored or not.
    #[must_use]
    pub const fn superblock(&self) -> &Superblock {
        self.store.get()
    }

    /// The connection to a peer that this replica takes for the present one.
    #[must_use]
    pub fn link_to(&self, slot: Slot) -> Option<LinkId> {
        self.peer(slot).link.map(|link| link.id)
    }
}
