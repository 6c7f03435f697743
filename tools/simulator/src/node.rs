//! One node: its process (a replica, or nothing), its disks, its clock, what it has under way.

use std::collections::BTreeMap;

use twindisk_core::{
    BufId, Config, ConnectionState, DiskIo, DiskState, OpId, PeerConfig, Replica, Status, Time,
};
use twindisk_format::{
    binding::Binding,
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Slot, Term},
    limits::MAX_DATA_BLOCKS,
    lineage::{Generation, Lineage},
    superblock::{Device, Lack, PeerRecord, Runs, StoredDisk, Superblock},
};

use crate::{
    bufs::Bufs, checker::book::initial, disk::DataDisk, metadisk::MetaDisk, rewind::Snapshot,
    swarm::Swarm, write_log::WriteLog,
};

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) replica: Option<Replica>,
    /// Counts the starts of the process: what belongs to an earlier run is stale.
    pub(crate) run: u64,
    pub(crate) power: Power,
    /// This boot of the machine.
    pub(crate) host: BootId,
    pub(crate) disk: DataDisk,
    /// What reaches the disk, while it is recorded.
    pub(crate) log: Option<WriteLog>,
    pub(crate) meta: MetaDisk,
    pub(crate) bufs: Bufs,
    pub(crate) ops: BTreeMap<OpId, Op>,
    pub(crate) meta_ops: BTreeMap<OpId, bool>,
    pub(crate) clock: Clock,
    /// Set while clients may connect: size in blocks.
    pub(crate) export: Option<u64>,
    /// The role that its clients are bound to.
    pub(crate) binding: Option<Binding>,
    /// Which peers (by node) the core wants to be connected to.
    pub(crate) wants: Vec<bool>,
    /// Until when it stands still, its agent with it.
    pub(crate) paused_until: u64,
    /// The same of its process alone.
    pub(crate) stopped_until: u64,
    pub(crate) tick_at: u64,
    pub(crate) trouble: Trouble,
    /// Something failed that is a failure of its disk or metadata: to find no space is none (R13).
    pub(crate) failed: bool,
    /// What it will come back as.
    pub(crate) snapshot: Option<Snapshot>,
    /// It came back as it was, and was made equal with nobody since.
    pub(crate) rewound: bool,
    /// The term that it last reported.
    pub(crate) term: u64,
    /// The in-sync set that it last reported.
    pub(crate) in_sync: Vec<u8>,
    /// Who is counted on besides, by the same report, and has yet to say that it has everything.
    pub(crate) joining: Vec<u8>,
    /// It has reported that I/O waits.
    pub(crate) suspended: bool,
    /// It has reported its disk as failed.
    pub(crate) diskless: bool,
    /// It was not at rest when this run began, and has not stored anything since.
    pub(crate) crashed: bool,
    /// When it last reported that I/O waits.
    pub(crate) suspended_at: u64,
    /// It has put its changes into a file, to give them up.
    pub(crate) saved: bool,
    /// It has forgotten a request whose connection stands, and must close its device.
    pub(crate) forgot: bool,
    /// The state of its disk that it last reported.
    pub(crate) disk_state: DiskState,
    /// The same of its connections, by slot.
    pub(crate) connections: Vec<ConnectionState>,
    /// How long its dead metadata has gone unnoticed.
    pub(crate) watch: crate::dead_meta::Watch,
    /// When each connection was last equal no more, by slot.
    pub(crate) parted: Vec<u64>,
    /// When it last lost contents or memory.
    pub(crate) last_loss: u64,
    /// When it last lost what its disk's cache held.
    pub(crate) last_drop: u64,
}

/// Whether a node has power, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    /// Off; comes back by itself.
    Off,
    /// Switched off by the operator, who must switch it on.
    Fenced,
}

/// A disk operation under way.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) io: DiskIo,
    /// For a flush: what it covers.
    pub(crate) issued: u64,
    /// It will fail.
    pub(crate) fails: bool,
    /// It will find no space.
    pub(crate) full: bool,
    pub(crate) bufs: [Option<BufId>; 2],
}

/// Faults of a node's disks that are in force.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// So many of the next writes fail.
    pub(crate) fail_writes: u32,
    /// So many of the next flushes fail.
    pub(crate) fail_flushes: u32,
    /// So many of the next reads fail; the blocks can be read again after that.
    pub(crate) fail_reads: u32,
    /// So many of the next metadata writes fail.
    pub(crate) fail_meta: u32,
    /// So many of the next attempts to save blocks fail: the directory is full.
    pub(crate) fail_saves: u32,
    /// It fails even if nobody else has the data.
    pub(crate) spares_nobody: bool,
    /// The metadata device has died in silence, and how: reads of it work.
    pub(crate) dead_meta: Option<DeadMeta>,
    /// Until when everything takes `slowness` times as long.
    pub(crate) slow_until: u64,
    pub(crate) slowness: u64,
    /// Until when nothing completes.
    pub(crate) stuck_until: u64,
    /// Until when `full` of 1000 writes find no space: what they overwrite is not all allocated.
    pub(crate) full_until: u64,
    pub(crate) full: u32,
}

/// A metadata device that nobody has noticed to be dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadMeta {
    /// Writes do not come back before it works again, instead of failing at once.
    pub(crate) hangs: bool,
    /// When it works again.
    pub(crate) until: u64,
}

impl Trouble {
    /// Nothing is to fail.
    pub(crate) const fn is_quiet(self) -> bool {
        self.fail_writes == 0 && self.fail_flushes == 0 && self.fail_meta == 0
    }
}

/// A monotonic clock that runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) offset: u64,
    pub(crate) ppm: i64,
}

impl Clock {
    /// What the node reads when the world's time is `now`.
    pub(crate) fn local(self, now: u64) -> Time {
        let drift = i128::from(now) * i128::from(self.ppm) / 1_000_000;
        Time((i128::from(self.offset) + i128::from(now) + drift) as u64)
    }

    /// The first moment at which the node reads `local` or more.
    pub(crate) fn global(self, local: Time) -> u64 {
        let since = i128::from(local.0) - i128::from(self.offset);
        if since <= 0 {
            return 0;
        }
        let rate = 1_000_000 + i128::from(self.ppm);
        let mut now = u64::try_from(since * 1_000_000 / rate).unwrap_or(u64::MAX / 2);
        while self.local(now) < local {
            now += 1;
        }
        now
    }
}

impl Node {
    pub(crate) fn new(number: usize, swarm: &Swarm, clock: Clock) -> Self {
        let capacity = swarm.size_blocks + swarm.spare_blocks;
        let garbage = swarm.garbage;
        Self {
            number,
            replica: None,
            run: 0,
            power: Power::On,
            disk: DataDisk::new(
                capacity,
                |sector| {
                    if garbage { initial(number, sector) } else { 0 }
                },
            ),
            log: None,
            meta: MetaDisk::new(&superblock(number, swarm)),
            bufs: Bufs::default(),
            ops: BTreeMap::new(),
            meta_ops: BTreeMap::new(),
            clock,
            export: None,
            binding: None,
            wants: vec![false; swarm.nodes],
            paused_until: 0,
            stopped_until: 0,
            tick_at: u64::MAX,
            trouble: Trouble::default(),
            failed: false,
            snapshot: None,
            rewound: false,
            term: 0,
            suspended: false,
            forgot: false,
            diskless: false,
            crashed: false,
            in_sync: Vec::new(),
            joining: Vec::new(),
            suspended_at: 0,
            saved: false,
            disk_state: DiskState::Consistent,
            connections: Vec::new(),
            watch: crate::dead_meta::Watch::default(),
            parted: Vec::new(),
            last_loss: 0,
            last_drop: 0,
            host: BootId(1),
        }
    }

    /// When its process does something again.
    pub(crate) fn awake_at(&self) -> u64 {
        self.paused_until.max(self.stopped_until)
    }

    /// What the replica says of itself.
    pub(crate) fn status(&self, now: u64) -> Option<Status> {
        Some(self.replica.as_ref()?.status(self.clock.local(now)))
    }
}

/// The settings of a node's replica.
pub(crate) fn config(number: usize, swarm: &Swarm) -> Config {
    Config {
        name: name(number),
        peers: peers(number, swarm.nodes)
            .map(|peer| PeerConfig {
                node: NodeId(peer as u8),
                name: name(peer),
                protocol: swarm.protocol,
            })
            .collect(),
        arbiter: swarm.arbiter,
        on_peer_loss: swarm.on_peer_loss,
        on_disk_error: swarm.on_disk_error,
        on_no_quorum: swarm.on_no_quorum,
        timings: swarm.timings,
        resync_bufs: swarm.resync_bufs,
        first_resync_buf: 0,
        al_extents: swarm.al_extents,
    }
}

/// Buffers of a starting process.
pub(crate) fn fresh_bufs(swarm: &Swarm) -> Bufs {
    Bufs::new(swarm.resync_bufs, MAX_DATA_BLOCKS as usize)
}

/// The peers of a node in slot order.
pub(crate) fn peers(number: usize, nodes: usize) -> impl Iterator<Item = usize> {
    (0..nodes).filter(move |peer| *peer != number)
}

/// The slot of `peer` in the tables of `number`.
pub(crate) fn slot_of(number: usize, peer: usize) -> Slot {
    let index = if peer < number { peer } else { peer - 1 };
    Slot::new(index).expect("clusters are smaller than the table of slots")
}

/// The node in slot `slot` of `number`.
pub(crate) const fn node_in(number: usize, slot: Slot) -> usize {
    let index = slot.index();
    if index < number { index } else { index + 1 }
}

/// A node's name in stories.
pub(crate) fn name(number: usize) -> String {
    ["ann", "bob", "cid", "dan"][number].to_owned()
}

/// As `twindisk init` makes it; with `--first` on the node that has the first copy.
pub(crate) fn superblock(number: usize, swarm: &Swarm) -> Superblock {
    let first = number == swarm.first;
    let generation = Generation {
        term: Term(1),
        id: GenerationId(swarm.seed | 1),
        node: NodeId(number as u8),
    };
    Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(number as u8),
        size_blocks: swarm.size_blocks,
        max_size_blocks: swarm.size_blocks + swarm.spare_blocks,
        term: Term(u64::from(first)),
        epoch: Epoch(0),
        lineage: Lineage::new(first.then_some(generation).into_iter().collect()),
        disk: if first {
            StoredDisk::UpToDate
        } else {
            StoredDisk::Inconsistent
        },
        primary: false,
        lack: Lack::Nothing,
        active: false,
        host: BootId(0),
        binding: None,
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        peers: peers(number, swarm.nodes)
            .map(|peer| PeerRecord::new(NodeId(peer as u8)))
            .collect(),
        spare_slots: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_has_an_inverse() {
        for ppm in [-5000, -3, 0, 7, 5000] {
            let clock = Clock {
                offset: 12_345,
                ppm,
            };
            for now in [0, 1, 999, 1_000_000_007, 55_000_000_000] {
                let local = clock.local(now);
                let back = clock.global(local);
                assert!(clock.local(back) >= local && back <= now + 1);
            }
        }
    }

    #[test]
    fn slots_and_nodes_are_inverse() {
        for (number, peer) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            assert_eq!(node_in(number, slot_of(number, peer)), peer);
        }
    }
}
