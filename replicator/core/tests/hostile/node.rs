//! One node: its core, its disk, its metadata, and the buffers of its driver.

use std::collections::BTreeMap;

use twindisk_core::{
    Arbiter, BufId, ClientOp, Config, DiskDone, DiskIo, Event, LinkId, OnDiskError, OnNoQuorum,
    OnPeerLoss, PeerConfig, Protocol, Replica, RequestId, Start, Time, Timings,
};
use twindisk_format::{
    ids::{BlockRange, BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Slot, Term},
    lineage::{Generation, Lineage},
    meta_block::MetaBlock,
    metadata,
    superblock::{Device, Lack, PeerRecord, Runs, Seen, Standing, StoredDisk, Superblock},
};

/// The contents of a block, as one number.
pub(crate) type Stamp = u64;

/// Blocks of each device, and how far it can grow.
pub(crate) const BLOCKS: u64 = 512;
pub(crate) const MOST_BLOCKS: u64 = 640;

const RESYNC_BUFS: u32 = 4;
pub(crate) const FIRST_DRIVER_BUF: u32 = 1000;
/// Memory that a driver has for what peers send and clients write.
pub(crate) const DRIVER_BUFS: usize = 400;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) replica: Replica,
    pub(crate) meta: BTreeMap<u64, Box<MetaBlock>>,
    pub(crate) disk: Vec<Stamp>,
    /// What each buffer holds. Those of resync are always there.
    pub(crate) bufs: BTreeMap<BufId, Vec<Stamp>>,
    pub(crate) pending: Vec<Event>,
    pub(crate) links: Vec<Option<LinkId>>,
    pub(crate) wanted: Vec<bool>,
    pub(crate) open: bool,
    /// Requests of clients that have no answer: what they wrote.
    pub(crate) asked: BTreeMap<RequestId, (ClientOp, Vec<Stamp>)>,
    pub(crate) why: Vec<String>,
    pub(crate) halted: bool,
    /// Its disk can be written and not read.
    pub(crate) unreadable: bool,
    pub(crate) runs: u64,
}

impl Node {
    /// A process that starts with what its disk and metadata hold.
    pub(crate) fn start(
        (now, protocol): (Time, Protocol),
        number: usize,
        nodes: usize,
        meta: BTreeMap<u64, Box<MetaBlock>>,
        disk: Vec<Stamp>,
        runs: u64,
    ) -> Self {
        let loaded = metadata::load(|block| meta.get(&block).cloned().ok_or("no such block"))
            .expect("metadata can be loaded");
        let start = Start {
            config: config(number, nodes, protocol),
            boot: BootId(((number as u64 + 1) << 32) + (runs << 12)),
            host: BootId(number as u64 + 1),
            seed: (number as u64) << 40 | runs,
            capacity_blocks: MOST_BLOCKS,
        };
        let resync = (0..RESYNC_BUFS).map(|buf| (BufId(buf), vec![0; 256]));
        Self {
            replica: Replica::new(now, start, loaded),
            meta,
            disk,
            bufs: resync.collect(),
            pending: Vec::new(),
            links: vec![None; nodes - 1],
            wanted: vec![true; nodes - 1],
            open: false,
            asked: BTreeMap::new(),
            why: Vec::new(),
            halted: false,
            unreadable: false,
            runs,
        }
    }

    pub(crate) fn disk_io(&mut self, io: DiskIo) -> DiskDone {
        let blocks = |range: BlockRange| range.start as usize..range.end() as usize;
        match io {
            DiskIo::Read { range, buf, at } => {
                let data = self.disk[blocks(range)].to_vec();
                let held = self.bufs.get_mut(&buf).expect("a buffer of ours");
                held[at as usize..][..data.len()].copy_from_slice(&data);
            }
            DiskIo::Write { range, buf, at, .. } => {
                let held = &self.bufs[&buf][at as usize..][..range.blocks as usize];
                self.disk[blocks(range)].copy_from_slice(held);
            }
            DiskIo::Zero { range, .. } => self.disk[blocks(range)].fill(0),
            DiskIo::Copy { blocks, from, to } => {
                let data = self.bufs[&from][..blocks as usize].to_vec();
                let held = self.bufs.get_mut(&to).expect("a buffer of ours");
                held[..data.len()].copy_from_slice(&data);
            }
            DiskIo::Hash { range } => {
                let hashes = self.disk[blocks(range)].iter();
                return DiskDone::Hashes(hashes.map(|stamp| u128::from(*stamp)).collect());
            }
            DiskIo::Flush => {}
            DiskIo::FillEdges { .. } | DiskIo::FillFrom { .. } => {
                unreachable!("these clients write whole blocks")
            }
        }
        DiskDone::Done
    }
}

/// The slot that `number` has for `peer`.
pub(crate) fn slot_of(number: usize, peer: usize) -> Slot {
    let index = if peer < number { peer } else { peer - 1 };
    Slot::new(index).expect("few nodes")
}

/// Who is in a slot of `number`.
pub(crate) fn node_at(number: usize, slot: Slot) -> usize {
    if slot.index() < number {
        slot.index()
    } else {
        slot.index() + 1
    }
}

fn config(number: usize, nodes: usize, protocol: Protocol) -> Config {
    let peers = (0..nodes).filter(|peer| *peer != number);
    let peer = |peer: usize| PeerConfig {
        node: NodeId(peer as u8),
        name: format!("node{peer}"),
        protocol,
    };
    Config {
        name: format!("node{number}"),
        peers: peers.map(peer).collect(),
        arbiter: Arbiter::Fence,
        on_peer_loss: OnPeerLoss::Suspend,
        on_disk_error: OnDiskError::Detach,
        on_no_quorum: OnNoQuorum::Suspend,
        timings: Timings::default(),
        resync_bufs: RESYNC_BUFS,
        first_resync_buf: 0,
        al_extents: 64,
    }
}

pub(crate) fn superblock(number: usize, nodes: usize) -> Superblock {
    let generation = Generation {
        term: Term(1),
        id: GenerationId(77),
        node: NodeId(0),
    };
    let peers = (0..nodes).filter(|peer| *peer != number);
    let record = |peer: usize| PeerRecord {
        node: NodeId(peer as u8),
        base: Some(generation.id),
        standing: Standing::In,
        receipt: None,
        conflict: None,
        seen: Seen::NEVER,
    };
    Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(number as u8),
        size_blocks: BLOCKS,
        max_size_blocks: MOST_BLOCKS,
        term: generation.term,
        epoch: Epoch(1),
        lineage: Lineage::new(vec![generation]),
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        disk: StoredDisk::UpToDate,
        primary: false,
        lack: Lack::Nothing,
        active: false,
        host: BootId(0),
        binding: None,
        peers: peers.map(record).collect(),
        spare_slots: 0,
    }
}
