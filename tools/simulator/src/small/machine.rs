//! A node of a small world: a replica or nothing, a disk with a volatile cache, metadata, and what is under way.

use std::{collections::BTreeMap, sync::Arc};

use twindisk_core::{
    BufId, Config, DiskDone, DiskIo, Event, Mutant, OnDiskError, OnNoQuorum, OnPeerLoss, OpId,
    PeerConfig, Protocol, Replica, Start, Time, Timings,
};
use twindisk_format::{
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Term},
    layout::Layout,
    lineage::{Generation, Lineage},
    meta_block::MetaBlock,
    metadata,
    superblock::{Device, Lack, PeerRecord, Runs, StoredDisk, Superblock},
};

/// What a block holds: the number of the write that put it there, 0 for none.
pub(super) type Stamp = u32;

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) number: usize,
    pub(super) replica: Option<Replica>,
    pub(super) powered: bool,
    /// Counts starts of the process.
    run: u64,
    /// Counts boots of the host.
    host: u64,
    /// What is read, and what outlives a loss of power; with the number of the disk's write that put it there.
    visible: Vec<(u32, Stamp)>,
    stable: Vec<(u32, Stamp)>,
    disk_writes: u32,
    meta: BTreeMap<u64, Page>,
    pub(super) ops: Vec<Op>,
    bufs: BTreeMap<u32, Vec<Stamp>>,
    next_buf: u32,
    pub(super) wants: bool,
    pub(super) export_open: bool,
    /// Counts times that the device was opened: names connections of clients.
    pub(super) openings: u32,
}

/// An operation of a disk that is under way.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Of the data, with what was readable when it began: what a flush makes stable.
    Data(OpId, DiskIo, Vec<(u32, Stamp)>),
    /// Of the metadata.
    Meta(OpId, u64, Page),
}

/// A block of metadata. Printed, and compared, by its checksum: it is printed for each state.
#[derive(Clone)]
pub(super) struct Page(Arc<MetaBlock>, u64);

impl Page {
    pub(super) fn new(data: Box<MetaBlock>) -> Self {
        let digest = xxhash_rust::xxh3::xxh3_64(&*data);
        Self(data.into(), digest)
    }
}

impl core::fmt::Debug for Page {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:x}", self.1)
    }
}

/// What all nodes are configured as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) blocks: u64,
    pub(super) protocol: Protocol,
    pub(super) mutant: Option<Mutant>,
}

impl Machine {
    /// Freshly initialised; node 0 has the first copy.
    pub(super) fn new(number: usize, settings: Settings) -> Self {
        let blocks = vec![(0, 0); settings.blocks as usize];
        Self {
            number,
            replica: None,
            powered: true,
            run: 0,
            host: 1,
            visible: blocks.clone(),
            stable: blocks,
            disk_writes: 0,
            meta: metadata::create(&superblock(number, settings.blocks))
                .map(|(block, data)| (block, Page::new(data)))
                .collect(),
            ops: Vec::new(),
            bufs: BTreeMap::new(),
            next_buf: 0,
            wants: false,
            export_open: false,
            openings: 0,
        }
    }

    /// Its process starts.
    pub(super) fn start(&mut self, now: Time, settings: Settings) -> Result<(), String> {
        let loaded = metadata::load(|block| {
            let data = self.meta.get(&block).ok_or("behind the end")?;
            Ok::<_, &str>(Box::new(*data.0))
        })
        .map_err(|error| error.to_string())?;
        self.powered = true;
        self.run += 1;
        self.bufs.clear();
        self.next_buf = RESYNC_BUFS;
        for number in 0..RESYNC_BUFS {
            self.bufs
                .insert(number, vec![0; settings.blocks as usize + 1]);
        }
        let start = Start {
            config: config(self.number, settings.protocol),
            boot: BootId(self.run << 8 | self.number as u64 | 1 << 60),
            host: BootId(self.host),
            seed: self.run << 16 | (self.number as u64) << 8,
            capacity_blocks: settings.blocks,
        };
        let replica = Replica::with_mutant(now, start, loaded, settings.mutant);
        self.replica = Some(replica);
        Ok(())
    }

    /// Its process is gone. What its disk had not finished is not done; what it had finished stays.
    pub(super) fn die(&mut self) {
        self.replica = None;
        self.ops.clear();
        self.wants = false;
        self.export_open = false;
    }

    /// It has no power: what was not flushed is lost.
    pub(super) fn lose_power(&mut self) {
        self.die();
        self.powered = false;
        self.host += 1;
        self.visible.clone_from(&self.stable);
    }

    /// This run of its process.
    pub(super) const fn run(&self) -> u64 {
        self.run
    }

    /// Its metadata is made to say Outdated by a program of its own.
    pub(super) fn outdate(&mut self) -> Result<(), String> {
        if self.replica.is_some() {
            return Err("its metadata is in use".to_owned());
        }
        let copies = [0, 1].map(|copy| Superblock::decode(copy, &self.meta[&u64::from(copy)].0));
        let newest = copies
            .into_iter()
            .flatten()
            .max_by_key(|(_, counter)| *counter);
        let (mut superblock, counter) = newest.ok_or("it has no metadata")?;
        superblock.disk = superblock.disk.min(StoredDisk::Outdated);
        let block = Layout::superblock_block(counter + 1);
        let data = Page::new(superblock.encode(counter + 1));
        self.meta.insert(block, data);
        Ok(())
    }

    /// Blocks of its device.
    pub(super) fn size(&self) -> usize {
        self.visible.len()
    }

    /// What is read from a block.
    pub(super) fn reads(&self, block: usize) -> Stamp {
        self.visible[block].1
    }

    /// A buffer with these contents.
    pub(super) fn allocate(&mut self, stamps: Vec<Stamp>) -> BufId {
        let id = self.next_buf;
        self.next_buf += 1;
        self.bufs.insert(id, stamps);
        BufId(id)
    }

    /// The core is done with a buffer.
    pub(super) fn release(&mut self, buf: BufId) {
        let known = self.bufs.remove(&buf.0);
        assert!(known.is_some(), "{buf:?} is released and was not there");
    }

    /// Blocks of a buffer.
    pub(super) fn blocks(&self, buf: BufId, at: u32, count: u32) -> Vec<Stamp> {
        let all = self
            .bufs
            .get(&buf.0)
            .unwrap_or_else(|| panic!("{buf:?} is used after its release"));
        all[at as usize..(at + count) as usize].to_vec()
    }

    /// Begins an operation of the data.
    pub(super) fn begin(&mut self, op: OpId, io: DiskIo) {
        self.ops.push(Op::Data(op, io, self.visible.clone()));
    }

    /// Ends the operation at `index`; what the core is told.
    pub(super) fn end(&mut self, index: usize) -> Event {
        match self.ops.remove(index) {
            Op::Meta(op, block, data) => {
                self.meta.insert(block, data);
                Event::MetaDone { op, result: Ok(()) }
            }
            Op::Data(op, io, before) => Event::DiskDone {
                op,
                result: Ok(self.perform(io, &before)),
            },
        }
    }

    fn perform(&mut self, io: DiskIo, before: &[(u32, Stamp)]) -> DiskDone {
        match io {
            DiskIo::Read { range, buf, at } => {
                let read: Vec<Stamp> = (range.start..range.end())
                    .map(|block| self.reads(block as usize))
                    .collect();
                let into = self.bufs.get_mut(&buf.0).expect("a buffer that is there");
                into[at as usize..][..read.len()].copy_from_slice(&read);
            }
            DiskIo::Write {
                range,
                buf,
                at,
                fua,
            } => {
                let stamps = self.blocks(buf, at, range.blocks);
                for (block, stamp) in (range.start..).zip(stamps) {
                    self.put(block as usize, stamp, fua);
                }
            }
            DiskIo::Zero { range, fua, .. } => {
                for block in range.start..range.end() {
                    self.put(block as usize, 0, fua);
                }
            }
            DiskIo::Flush => {
                for (stable, before) in self.stable.iter_mut().zip(before) {
                    *stable = (*stable).max(*before);
                }
            }
            DiskIo::Copy { blocks, from, to } => {
                let copied = self.blocks(from, 0, blocks);
                let into = self.bufs.get_mut(&to.0).expect("a buffer that is there");
                into[..copied.len()].copy_from_slice(&copied);
            }
            DiskIo::Hash { range } => {
                let hashes = (range.start..range.end())
                    .map(|block| u128::from(self.reads(block as usize)))
                    .collect();
                return DiskDone::Hashes(hashes);
            }
            // Clients of small worlds write whole blocks.
            DiskIo::FillEdges { .. } | DiskIo::FillFrom { .. } => {}
        }
        DiskDone::Done
    }

    fn put(&mut self, block: usize, stamp: Stamp, fua: bool) {
        self.disk_writes += 1;
        self.visible[block] = (self.disk_writes, stamp);
        if fua {
            self.stable[block] = self.visible[block];
        }
    }
}

fn config(number: usize, protocol: Protocol) -> Config {
    let hour = core::time::Duration::from_secs(3600);
    Config {
        name: name(number).into(),
        peers: vec![PeerConfig {
            node: NodeId(1 - number as u8),
            name: name(1 - number).into(),
            protocol,
        }],
        arbiter: twindisk_core::Arbiter::Fence,
        on_peer_loss: OnPeerLoss::Suspend,
        on_disk_error: OnDiskError::Detach,
        on_no_quorum: OnNoQuorum::Suspend,
        // A lost peer is a step of its own: nothing times out but the flush in the background.
        timings: Timings {
            ping_interval: hour,
            peer_timeout: hour,
            request_timeout: hour,
            read_lease: hour,
            stop_timeout: hour,
            ..Timings::default()
        },
        resync_bufs: RESYNC_BUFS,
        first_resync_buf: 0,
        al_extents: 4,
    }
}

/// A node's name in stories.
pub(super) const fn name(number: usize) -> &'static str {
    if number == 0 { "ann" } else { "bob" }
}

fn superblock(number: usize, blocks: u64) -> Superblock {
    let first = number == 0;
    let generation = Generation {
        term: Term(1),
        id: GenerationId(7),
        node: NodeId(0),
    };
    Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(number as u8),
        size_blocks: blocks,
        max_size_blocks: blocks,
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
        peers: vec![PeerRecord::new(NodeId(1 - number as u8))],
        spare_slots: 0,
    }
}

const RESYNC_BUFS: u32 = 2;
