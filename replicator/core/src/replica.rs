//! The replica: its state, the dispatch of events, and nothing else.

use std::collections::{BTreeSet, VecDeque};

use slab::Slab;
use twindisk_format::{
    control::PeerState,
    frame::{Envelope, Frame},
    ids::{BlockRange, BootId, Epoch, GenerationId, Moment, Seq, Slot, SlotSet, Term},
    layout::Layout,
    lineage::Generation,
    metadata::Loaded,
    superblock::{Standing, StoredDisk, Superblock},
};

use crate::{
    Action, BufId, ClientRequest, CommandId, Config, DiskDone, DiskIo, DiskState, Event,
    ExportState, Latency, LinkId, OpId, PeerLatency, Report, Role, Time,
    activity::ActivityLog,
    backoff::Backoff,
    bitmap::Bitmap,
    flush::{ClientFlush, Flusher},
    jobs::Job,
    locks::RangeLocks,
    membership::Change,
    mutants::{Mutant, Mutated},
    mutation::Mutation,
    peer::{Peer, Phase, Received, Sent},
    reads::{Read, Repair, ServedRead},
    store::Store,
    sweep::{Compare, StepId},
    window::Window,
};

/// One node's part of one resource.
#[derive(Clone, Debug)]
pub struct Replica {
    pub(crate) config: Config,
    pub(crate) boot: BootId,
    pub(crate) capacity_blocks: u64,
    ids: u64,
    pub(crate) mutated: Mutated,
    pub(crate) now: Time,
    pub(crate) role: Role,
    pub(crate) disk: DiskState,
    pub(crate) disk_why: String,
    pub(crate) export_open: bool,
    /// This boot of the host.
    pub(crate) host: BootId,
    pub(crate) store: Store<Then>,
    /// The metadata can no longer be written: nothing new can be promised.
    pub(crate) metadata_failed: bool,
    pub(crate) al: ActivityLog,
    pub(crate) peers: Vec<Peer>,
    pub(crate) locks: RangeLocks<LockOwner>,
    pub(crate) mutations: Slab<Mutation>,
    pub(crate) window: Window,
    /// Mutations that are ready but for a suspension.
    pub(crate) frozen: VecDeque<usize>,
    /// Requests that arrived while I/O was suspended, and when.
    pub(crate) held: VecDeque<(ClientRequest, Time)>,
    pub(crate) reads: Slab<Read>,
    /// Reads that wait for a write to be acknowledged.
    pub(crate) reads_behind: VecDeque<usize>,
    pub(crate) repairs: Slab<Repair>,
    pub(crate) served_reads: Slab<ServedRead>,
    /// Served reads that have their range and wait for a buffer.
    pub(crate) served_waiting: VecDeque<usize>,
    pub(crate) compares: Slab<Compare>,
    pub(crate) flushes: Slab<ClientFlush>,
    pub(crate) flusher: Flusher,
    /// What each operation of the disk and the metadata is for, and since when it is under way.
    ops: Slab<(Op, Time)>,
    seq: Seq,
    /// The change of the in-sync set that is being stored.
    pub(crate) change: Option<Change>,
    pub(crate) changes: u64,
    /// The newest number of an in-sync set that this node has given.
    pub(crate) proposed: Epoch,
    /// The peer that was granted a term, until it says what came of that.
    pub(crate) granted: Option<Slot>,
    /// The generation whose confirmation is being stored.
    pub(crate) confirming: Option<GenerationId>,
    pub(crate) suspended: Option<Suspended>,
    pub(crate) job: Option<Job>,
    pub(crate) resize: Option<crate::resize::Resize>,
    pub(crate) saving: Option<crate::split_brain::Saving>,
    pub(crate) sweep_bufs: Vec<BufId>,
    /// When a request was under way last that a sweep has to make room for.
    pub(crate) clients_worked: Time,
    pub(crate) sweeps: u32,
    /// Steps of stopped sweeps that the disk still works for, with their buffers.
    pub(crate) abandoned_steps: Vec<(StepId, Option<BufId>)>,
    /// This node's disk has failed, and the in-sync set must go on without it.
    pub(crate) detach_wanted: bool,
    /// Something is done everywhere, and its completion waits until `may_complete`.
    pub(crate) parked: bool,
    pub(crate) fail_over_wanted: bool,
    /// What waits for room on this node's disk.
    pub(crate) space: crate::no_space::Space,
    /// When the superblock is written for its count.
    pub(crate) moments: crate::moment::Moments,
    /// When the metadata is looked at.
    pub(crate) probe: crate::probe::Probe,
    /// What a promotion that can't be stored goes back to.
    pub(crate) before_promotion: Option<Superblock>,
    /// Sizes that peers asked for, while the backing device is being looked at.
    pub(crate) peer_resizes: VecDeque<crate::resize::PeerResize>,
    pub(crate) bitmap_writes: BTreeSet<(Slot, u32)>,
    pub(crate) counts: Counts,
    pub(crate) latency: Latency,
    pub(crate) marks: crate::mark::Marks,
    pub(crate) halted: bool,
    actions: VecDeque<Action>,
}

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Settings.
    pub config: Config,
    /// This run of the process: random, never 0.
    pub boot: BootId,
    /// This boot of the host: the same for every process until the host goes down.
    pub host: BootId,
    /// Seed of the names of generations.
    pub seed: u64,
    /// Largest size that the backing device and the metadata can hold, in blocks.
    pub capacity_blocks: u64,
}

/// What a disk or metadata operation was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Mutation(usize),
    Edges(usize),
    EdgesFrom { mutation: usize, edges: BufId },
    Read(usize),
    ReadCopy { read: usize, from: BufId },
    Repair(usize),
    ServedRead(usize),
    Flush,
    SweepHash(StepId),
    SweepRead(StepId),
    Compare(usize),
    Superblock,
    AlPage(u32),
    BitmapPage(Slot, u32),
    Capacity,
    Save,
}

/// What is to be done once the superblock is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The change of the in-sync set numbered so is stored here.
    Changed(u64),
    /// The superblock was written for its count.
    Moment,
    /// That every member knows this generation is stored.
    Confirmed(GenerationId),
    /// A follower has recorded what the comparison made of it.
    Prepared {
        slot: Slot,
        link: LinkId,
        released: bool,
    },
    /// That this node was rolled back is recorded; the peer knows it.
    Rewound { slot: Slot, link: LinkId },
    /// A leader may send `BeginResync`.
    BeginResync { slot: Slot, link: LinkId },
    /// A follower is durably Inconsistent.
    Inconsistent { slot: Slot, link: LinkId },
    /// A follower has stored a membership.
    MembershipStored {
        slot: Slot,
        link: LinkId,
        change: u64,
    },
    /// A granted term is stored.
    Granted {
        slot: Slot,
        link: LinkId,
        term: Term,
        released: bool,
        member: bool,
    },
    /// A candidate's own state is stored.
    Demoted,
    /// A leaver is recorded as Outdated.
    LeaveStored,
    /// A primary without a copy counts on this one, which is recorded as none.
    NoCopyStored { slot: Slot, link: LinkId },
    /// A receipt of a leaver is stored.
    ReleaseStored { slot: Slot, link: LinkId },
    /// A failed disk is recorded.
    DiskFailureStored,
    /// That this standby has withdrawn is recorded.
    Withdrawn,
    /// A receipt by the operator is stored.
    ReceiptStored { command: CommandId, slot: Slot },
    /// This standby is recorded as Outdated.
    Outdated { command: CommandId },
    /// A new size is stored (follower).
    Resized {
        slot: Slot,
        link: LinkId,
        size_blocks: u64,
    },
    /// A new size is stored (primary).
    ResizeDone,
    /// A fork is given up.
    Discarded { slot: Slot },
    /// The clean stop is stored.
    Stopped,
}

/// Who holds or waits for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockOwner {
    Mutation(usize),
    Read(usize),
    Repair(usize),
    ServedRead(usize),
    Compare(usize),
    Sweep { slot: Slot, step: usize },
}

/// I/O waits.
#[derive(Clone, Debug)]
pub(crate) struct Suspended {
    pub(crate) since: Time,
    pub(crate) why: String,
    pub(crate) release: String,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) flushes: u64,
    pub(crate) disk_flushes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) read_bytes: u64,
}

impl Replica {
    /// A replica that starts with `metadata` as it was found. It is standby, its disk at most Consistent (R5).
    #[must_use]
    pub fn new(now: Time, start: Start, metadata: Loaded) -> Self {
        Self::build(now, start, metadata, Mutated::default())
    }

    pub(crate) fn build(now: Time, start: Start, metadata: Loaded, mutated: Mutated) -> Self {
        let Start {
            config,
            boot,
            host,
            seed,
            capacity_blocks,
        } = start;
        let mut superblock = metadata.superblock;
        for peer in config.peers.iter().skip(superblock.peers.len()) {
            // Stored with the next change; until then nothing is said of it that a slot without a peer would not say.
            assert!(superblock.add_peer(peer.node), "a slot for each peer");
        }
        assert_eq!(
            config.peers.len(),
            superblock.peers.len(),
            "one peer for each record"
        );
        let crashed = superblock.active || metadata.superblock_doubtful;
        let layout = Layout::of(&superblock);
        let size = superblock.size_blocks;
        let mut store = Store::new(superblock, metadata.counter);
        if metadata.superblock_doubtful && store.get().disk == StoredDisk::UpToDate {
            // It may lack a promise that this node has given. Peers are told that this is stored, so it must be.
            store.change(|superblock| superblock.disk = StoredDisk::Outdated);
        }
        if metadata.superblock_doubtful && store.get().binding.is_some() {
            // The newer copy may have said that it is over.
            store.change(|superblock| superblock.binding = None);
        }
        let superblock = store.get();
        let al = ActivityLog::new(layout, superblock.resource, metadata.al.pages);
        let mut bitmaps = metadata.bitmaps.into_iter();
        let broken = |warning: &String| warning.contains("counts as dirty");
        if mutated.is(Mutant::TrustBrokenBitmap) && metadata.warnings.iter().any(broken) {
            bitmaps = Vec::new().into_iter();
        }
        let peers = config
            .peers
            .iter()
            .map(|peer| Peer {
                node: peer.node,
                name: peer.name.clone(),
                protocol: peer.protocol,
                met: boot.0 >> 12,
                wanted: true,
                link: None,
                phase: Phase::Down,
                since: now,
                why: "not connected since the start".into(),
                told: None,
                told_others: Moment(0),
                seen_when_lost: None,
                went_back: false,
                authority: false,
                waits_for_writes: false,
                begin_held: None,
                said: None,
                heard: now,
                vouched: now,
                answered: None,
                pings: VecDeque::new(),
                receipt_check: None,
                backoff: Backoff::default(),
                confirmed: None,
                withdrawn: None,
                pending: None,
                stable_when_lost: Seq(0),
                bitmap: Bitmap::new(bitmaps.next().unwrap_or_default(), size),
                equal_at: None,
                sent: Sent::default(),
                fresh: crate::fresh::Fresh::default(),
                received: Received::default(),
                sweep: None,
                latency: PeerLatency::default(),
            })
            .collect();
        let sweep_bufs = (0..config.resync_bufs)
            .rev()
            .map(|number| BufId(config.first_resync_buf + number))
            .collect();
        let probe = crate::probe::Probe::new(now, config.timings.request_timeout);
        let mut replica = Self {
            config,
            boot,
            capacity_blocks,
            ids: seed,
            mutated,
            now,
            role: Role::Standby,
            disk: DiskState::Consistent,
            disk_why: String::new(),
            export_open: false,
            host,
            store,
            metadata_failed: false,
            al,
            peers,
            locks: RangeLocks::new(),
            mutations: Slab::new(),
            window: Window::default(),
            frozen: VecDeque::new(),
            held: VecDeque::new(),
            reads: Slab::new(),
            reads_behind: VecDeque::new(),
            repairs: Slab::new(),
            served_reads: Slab::new(),
            served_waiting: VecDeque::new(),
            compares: Slab::new(),
            flushes: Slab::new(),
            flusher: Flusher::at_start(),
            ops: Slab::new(),
            seq: Seq(0),
            change: None,
            changes: 0,
            proposed: Epoch(0),
            granted: None,
            confirming: None,
            suspended: None,
            job: None,
            resize: None,
            saving: None,
            sweep_bufs,
            clients_worked: Time(0),
            sweeps: 0,
            abandoned_steps: Vec::new(),
            detach_wanted: false,
            parked: false,
            fail_over_wanted: false,
            space: crate::no_space::Space::default(),
            before_promotion: None,
            moments: crate::moment::Moments::default(),
            probe,
            peer_resizes: VecDeque::new(),
            bitmap_writes: BTreeSet::new(),
            counts: Counts::default(),
            latency: Latency::default(),
            marks: crate::mark::Marks::default(),
            halted: false,
            actions: VecDeque::new(),
        };
        replica.boot(crashed);
        replica
    }

    /// Takes something that happened. Follow it with `poll_action` until that is empty.
    pub fn handle(&mut self, now: Time, event: Event) {
        let gap = now.since(self.now);
        self.now = self.now.max(now);
        if self.halted {
            return;
        }
        self.forgive(gap);
        match event {
            Event::Client(request) => self.client_request(request, self.now),
            Event::ConnectionClosed { connection } => self.connection_closed(connection),
            Event::DiskDone { op, result } => self.disk_done(op, result),
            Event::MetaDone { op, result } => self.meta_done(op, result.map_err(|e| e.to_string())),
            Event::LinkUp { peer, link } => self.link_up(peer, link),
            Event::LinkDown { peer, link, why } => self.link_down(peer, link, &why),
            Event::Reading {
                peer,
                link,
                reading,
            } => self.reading(peer, link, reading),
            Event::Frame {
                peer,
                link,
                envelope,
                payload,
            } => {
                self.frame(peer, link, envelope, payload);
            }
            Event::Sent { buf } => self.sweep_buf_free(buf),
            Event::Command { id, command } => self.command(id, command),
            Event::Capacity { op, blocks } => self.capacity_known(op, blocks),
            Event::Saved { op, result } => self.saved(op, result),
            Event::Tick => {}
        }
        self.timers();
        self.settle();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Goes on with everything that the event has made possible, until nothing more is.
    fn settle(&mut self) {
        loop {
            while let Some(owner) = self.locks.next_granted() {
                match owner {
                    LockOwner::Mutation(index) => self.mutation_locked(index),
                    LockOwner::Read(index) => self.read_locked(index),
                    LockOwner::Repair(index) => self.repair_locked(index),
                    LockOwner::ServedRead(index) => self.served_read_locked(index),
                    LockOwner::Compare(index) => self.compare_locked(index),
                    LockOwner::Sweep { slot, step } => self.sweep_locked(slot, step),
                }
            }
            self.write_metadata();
            if let Some(then) = self.store.next_then() {
                self.stored(then);
                continue;
            }
            if !self.decide() && !self.locks.has_granted() && !self.metadata_due() {
                break;
            }
        }
    }

    /// Begins every metadata write that is due.
    pub(crate) fn write_metadata(&mut self) {
        if self.metadata_failed {
            return;
        }
        while let Some((page, block, data)) = self.al.next_write() {
            let op = self.op(Op::AlPage(page));
            self.act(Action::MetaWrite { op, block, data });
        }
        if let Some((block, data)) = self.store.next_write() {
            let op = self.op(Op::Superblock);
            self.act(Action::MetaWrite { op, block, data });
        }
    }

    /// Whether a metadata write can be begun.
    fn metadata_due(&self) -> bool {
        !self.metadata_failed && (self.al.is_due() || self.store.is_due())
    }

    fn disk_done(&mut self, op: OpId, result: Result<DiskDone, crate::DiskError>) {
        let (op, since) = self.ops.remove(op.0 as usize);
        self.saw_disk(op, since);
        let done = result.clone().map(|_| ());
        match op {
            Op::Mutation(index) => self.mutation_written(index, done),
            Op::Edges(index) => self.edges_read(index, done),
            Op::EdgesFrom { mutation, edges } => {
                self.act(Action::Release { buf: edges });
                self.edges_filled(mutation);
            }
            Op::Read(index) => self.read_done(index, done),
            Op::ReadCopy { read, from } => {
                self.act(Action::Release { buf: from });
                self.read_copied(read);
            }
            Op::Repair(index) => self.repair_written(index, done),
            Op::ServedRead(index) => self.served_read_done(index, done),
            Op::Flush => self.disk_flushed(done),
            Op::SweepHash(id) => self.sweep_hashed(id, result),
            Op::SweepRead(id) => self.sweep_read(id, done),
            Op::Compare(index) => self.compare_hashed(index, result),
            Op::Superblock | Op::AlPage(_) | Op::BitmapPage(..) | Op::Capacity | Op::Save => {
                unreachable!("{op:?} is no disk operation")
            }
        }
    }

    fn meta_done(&mut self, op: OpId, result: Result<(), String>) {
        let op = self.take_op(op);
        if let Err(error) = &result {
            self.metadata_write_failed(op, error);
            return;
        }
        match op {
            Op::Superblock => self.superblock_written(),
            Op::AlPage(page) => {
                for mutation in self.al.page_written(page) {
                    self.issue(mutation);
                }
            }
            Op::BitmapPage(slot, page) => self.bitmap_page_written(slot, page),
            other => unreachable!("{other:?} is no metadata write"),
        }
    }

    fn frame(&mut self, slot: Slot, link: LinkId, envelope: Envelope, payload: Option<BufId>) {
        let current = self.peers[slot.index()].link;
        if current.is_none_or(|current| current.id != link || current.closing) {
            return self.release_payload(payload);
        }
        let now = self.now;
        let peer = &mut self.peers[slot.index()];
        peer.heard = now;
        if let Err((mark, why)) = self.breach(slot, &envelope) {
            self.drop_link(slot, mark, why);
            return self.release_payload(payload);
        }
        if self.peer(slot).authority {
            self.heard_term(slot, envelope.term, &envelope.frame);
        }
        if self.peer(slot).link.is_none_or(|link| link.closing) {
            // This node has just stepped down, and meets everybody afresh.
            return self.release_payload(payload);
        }
        self.heard_stable(slot, envelope.stable);
        let term = envelope.term;
        match envelope.frame {
            Frame::Write {
                seq,
                depends_on,
                range,
                how,
            } => {
                let buf = payload.expect("the driver hands the payload over");
                let body = crate::mutation::Body::Write { buf, fill: None };
                self.receive(slot, term, seq, depends_on, range, how, body);
            }
            Frame::Zero {
                seq,
                depends_on,
                range,
                how,
                unmap,
            } => {
                let body = crate::mutation::Body::Zero { unmap };
                self.receive(slot, term, seq, depends_on, range, how, body);
            }
            Frame::Flush { seq } => self.receive_flush(slot, seq),
            Frame::Received { seq } => self.peer_answered(slot, seq, false),
            Frame::Written { seq } => {
                self.sweep_written(slot, seq);
                self.peer_answered(slot, seq, true);
            }
            Frame::Stable { seq } => self.peer_stable(slot, seq),
            Frame::Read { tag, range } => self.serve_read(slot, tag, range),
            Frame::ReadReply { tag, range } => {
                let buf = payload.expect("the driver hands the payload over");
                self.read_replied(slot, tag, Some((range, buf)));
            }
            Frame::ReadFailed { tag } => self.read_replied(slot, tag, None),
            Frame::Hash { tag, range, hashes } => self.compare(slot, tag, range, hashes),
            Frame::Differ { tag, mask } => self.sweep_compared(slot, tag, mask),
            Frame::Bits { first, words } => self.receive_bits(slot, first, &words),
            Frame::Ping => self.pinged(slot),
            Frame::Pong => self.ponged(slot),
            Frame::Control(message) => self.control(slot, term, message),
        }
    }

    fn release_payload(&mut self, payload: Option<BufId>) {
        if let Some(buf) = payload {
            self.act(Action::Release { buf });
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.act(Action::Report(report));
    }

    pub(crate) fn op(&mut self, op: Op) -> OpId {
        OpId(self.ops.insert((op, self.now)) as u64)
    }

    pub(crate) fn take_op(&mut self, op: OpId) -> Op {
        self.ops.remove(op.0 as usize).0
    }

    /// Since when the oldest operation of the disk or the metadata is under way.
    pub(crate) fn oldest_op(&self) -> Option<Time> {
        self.oldest_of(|_| true)
    }

    /// The same of those that `which` names.
    pub(crate) fn oldest_of(&self, which: impl Fn(Op) -> bool) -> Option<Time> {
        let ops = self.ops.iter().map(|(_, op)| *op);
        ops.filter(|(op, _)| which(*op))
            .map(|(_, since)| since)
            .min()
    }

    pub(crate) fn disk(&mut self, op: Op, io: DiskIo) {
        let op = self.op(op);
        self.act(Action::Disk { op, io });
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.peers.len()).filter_map(Slot::new)
    }

    pub(crate) fn peer(&self, slot: Slot) -> &Peer {
        &self.peers[slot.index()]
    }

    pub(crate) fn peer_mut(&mut self, slot: Slot) -> &mut Peer {
        &mut self.peers[slot.index()]
    }

    /// The next sequence number: above everything this node has sent or received.
    pub(crate) const fn next_seq(&mut self) -> Seq {
        self.seq = self.seq.next();
        self.seq
    }

    pub(crate) const fn newest_seq(&self) -> Seq {
        self.seq
    }

    pub(crate) fn seen_seq(&mut self, seq: Seq) {
        self.seq = self.seq.max(seq);
    }

    /// A generation of this node in `term`.
    pub(crate) fn new_generation(&mut self, term: Term) -> Generation {
        // splitmix64: a fresh name each time, from the seed alone.
        self.ids = self.ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut id = self.ids;
        id = (id ^ (id >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        id = (id ^ (id >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Generation {
            term,
            id: GenerationId(id ^ (id >> 31)),
            node: self.store.get().node,
        }
    }

    /// The whole device.
    pub(crate) fn size_blocks(&self) -> u64 {
        self.store.get().size_blocks
    }

    /// There is a backing device that may be read and written.
    pub(crate) const fn disk_attached(&self) -> bool {
        !matches!(self.disk, DiskState::Failed | DiskState::Diskless)
    }

    pub(crate) fn set_disk(&mut self, disk: DiskState, why: &str) {
        if self.disk != disk {
            self.disk = disk;
            self.report(Report::Disk {
                disk,
                why: why.to_owned(),
            });
        }
        self.disk_why = why.to_owned();
    }

    pub(crate) fn set_phase(&mut self, slot: Slot, phase: Phase, why: impl Into<String>) {
        let now = self.now;
        let peer = self.peer_mut(slot);
        let before = peer.connection();
        peer.phase = phase;
        peer.since = now;
        peer.why = why.into();
        self.report_connection(slot, before);
    }

    /// Reports what has become of a connection that was `before`.
    pub(crate) fn report_connection(&mut self, slot: Slot, before: crate::ConnectionState) {
        let peer = self.peer(slot);
        let (node, state, why) = (peer.node.0, peer.connection(), peer.why.clone());
        if before != state {
            self.report(Report::Connection {
                peer: node,
                state,
                why,
            });
        }
    }

    pub(crate) fn set_export(&mut self, state: ExportState) {
        self.export_open = matches!(state, ExportState::Open { .. });
        self.act(Action::Export(state));
    }

    /// What this node says of itself to a peer.
    pub(crate) fn my_state(&self, slot: Slot) -> PeerState {
        let superblock = self.store.get();
        let mut in_sync: Vec<_> = superblock
            .peers
            .iter()
            .filter(|peer| peer.standing.is_counted())
            .map(|peer| peer.node)
            .collect();
        if superblock.disk != StoredDisk::Failed {
            in_sync.push(superblock.node);
        }
        let joining = superblock.peers.iter();
        let joining = joining.filter(|peer| peer.standing == Standing::Joining);
        let copies = superblock.peers.iter();
        let copies = copies.filter(|peer| peer.standing == Standing::Copy);
        PeerState {
            copies: copies.map(|peer| peer.node).collect(),
            boot: self.boot,
            primary: self.role == Role::Primary,
            follows: self.follows().map(|slot| self.peer(slot).node),
            disk: if self.disk_attached() {
                superblock.disk
            } else {
                StoredDisk::Failed
            },
            up_to_date: self.disk == DiskState::UpToDate,
            lack: superblock.lack,
            unwritten: !self.received_is_written(),
            lineage: superblock.lineage.clone(),
            unconfirmed: superblock.unconfirmed,
            suspect: superblock.suspect,
            rewound: superblock.rewound,
            moment: self.store.moment(),
            runs: Box::new(superblock.runs.clone()),
            seen: self.store.peer(slot).seen,
            in_sync,
            joining: joining.map(|peer| peer.node).collect(),
            epoch: superblock.epoch,
            dirty_blocks: self.peer(slot).bitmap.dirty(),
            base: self.store.peer(slot).base,
            size_blocks: superblock.size_blocks,
            capacity_blocks: self.capacity_blocks,
        }
    }

    /// The peers of the in-sync set that are not here to answer in this term.
    pub(crate) fn missing(&self) -> SlotSet {
        self.slots().filter(|slot| self.is_missing(*slot)).collect()
    }

    fn is_missing(&self, slot: Slot) -> bool {
        let confirmed = self.peer(slot).confirmed;
        let here = confirmed == Some(self.store.get().term)
            || confirmed.is_some() && self.mutant(Mutant::OldConfirmationCounts);
        !here && self.store.peer(slot).standing.is_counted()
    }

    /// The same as `!missing().is_empty()`.
    pub(crate) fn is_anyone_missing(&self) -> bool {
        self.slots().any(|slot| self.is_missing(slot))
    }

    /// The range of the whole device, in pieces that fit a `BlockRange`.
    pub(crate) const fn within(&self, range: BlockRange, size_blocks: u64) -> bool {
        range.blocks > 0 && range.end() <= size_blocks
    }
}
