//! Two cores that replicate to each other with nothing beneath: disks, metadata and wires answer at once. What is
//! left is the cost of the state machine itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use twindisk_core::{
    Action, BufId, ClientOp, ClientRequest, Command, CommandId, Config, ConnectionId, DiskDone,
    Event, ExportState, LinkId, LinkIntent, OnDiskError, OnNoQuorum, OnPeerLoss, PeerConfig,
    Protocol, Replica, RequestId, Start, Status, Time, Timings,
};
use twindisk_format::{
    ids::{BlockRange, BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Slot, Term},
    lineage::{Generation, Lineage},
    metadata,
    superblock::{Device, Lack, PeerRecord, Runs, Seen, Standing, StoredDisk, Superblock},
};

/// What passes with a flush: more than on an ordinary disk, so that an extent is remembered by the peer before its turn to
/// leave the activity log comes.
const FLUSH: Duration = Duration::from_millis(50);

/// A primary and its standby, in sync.
pub struct Pair {
    nodes: [Replica; 2],
    events: VecDeque<(usize, Event)>,
    /// Writes on the primary's disk, in order; they end when the caller says so.
    held: VecDeque<Event>,
    holding: bool,
    requests: u64,
    done: u64,
    exported: bool,
    now: Time,
}

impl Pair {
    /// Two nodes of `blocks` blocks with equal data, connected, the first one promoted.
    ///
    /// # Panics
    /// When the cores do not come to that: then there is nothing to measure.
    #[must_use]
    pub fn new(blocks: u64) -> Self {
        Self::with_hot_extents(blocks, 1024)
    }

    /// The same with so many hot extents at most.
    ///
    /// # Panics
    /// When the cores do not come to that.
    #[must_use]
    pub fn with_hot_extents(blocks: u64, al_extents: usize) -> Self {
        let now = Time(1);
        let mut pair = Self {
            nodes: [0, 1].map(|number| replica(number, blocks, al_extents, now)),
            events: VecDeque::new(),
            held: VecDeque::new(),
            holding: false,
            requests: 0,
            done: 0,
            exported: false,
            now,
        };
        for node in 0..2 {
            pair.take_actions(node);
            let (peer, link) = (peer_slot(), LinkId(1));
            pair.events.push_back((node, Event::LinkUp { peer, link }));
        }
        pair.settle();
        let command = Command::Promote { force: None };
        let id = CommandId(1);
        pair.events.push_back((0, Event::Command { id, command }));
        pair.settle();
        assert!(
            pair.exported,
            "not promoted: {:#?}",
            pair.nodes.each_ref().map(|node| node.status(now))
        );
        pair
    }

    /// What the primary says of itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let [primary, _] = &self.nodes;
        primary.status(self.now)
    }

    /// The standby leaves in good order.
    ///
    /// # Panics
    /// When it does not.
    pub fn leave(&mut self) {
        let command = Command::Disconnect { peer: peer_slot() };
        let id = CommandId(2);
        self.events.push_back((0, Event::Command { id, command }));
        self.settle();
        let status = self.status();
        let alone = status.peers.iter().all(|peer| !peer.in_sync);
        assert!(alone && status.suspended.is_none(), "{status:#?}");
    }

    /// A write of one block, from the request to its completion.
    ///
    /// # Panics
    /// When it is not completed.
    pub fn write(&mut self, block: u64) {
        self.begin(block);
        self.settle();
        assert_eq!(self.done, self.requests, "a write was not completed");
    }

    /// From now on writes stay under way on the primary's disk until `end_oldest`.
    pub const fn hold(&mut self) {
        self.holding = true;
    }

    /// Begins a write of one block and lets the standby do it.
    pub fn begin_held(&mut self, block: u64) {
        self.begin(block);
        self.settle();
    }

    /// Ends the oldest write that is held.
    pub fn end_oldest(&mut self) {
        if let Some(event) = self.held.pop_front() {
            self.events.push_back((0, event));
            self.settle();
        }
    }

    /// A flush, from the request to its completion, which takes a while: without time nothing counts as remembered by a peer.
    ///
    /// # Panics
    /// When it is not completed.
    pub fn flush(&mut self) {
        self.now = self.now + FLUSH;
        self.ask(ClientOp::Flush);
        self.settle();
        assert_eq!(self.done, self.requests, "a flush was not completed");
    }

    fn begin(&mut self, block: u64) {
        self.ask(ClientOp::Write {
            range: BlockRange::new(block, 1),
            buf: BufId(7),
            fill: None,
            fua: false,
        });
    }

    fn ask(&mut self, op: ClientOp) {
        self.requests += 1;
        let request = ClientRequest {
            request: RequestId(self.requests),
            connection: ConnectionId(1),
            op,
        };
        self.events.push_back((0, Event::Client(request)));
    }

    fn settle(&mut self) {
        while let Some((node, event)) = self.events.pop_front() {
            self.now = Time(self.now.0 + 1);
            if let Some(replica) = self.nodes.get_mut(node) {
                replica.handle(self.now, event);
            }
            self.take_actions(node);
        }
    }

    fn take_actions(&mut self, node: usize) {
        while let Some(action) = self.nodes.get_mut(node).and_then(Replica::poll_action) {
            let answer = match action {
                Action::Disk { op, io: _ } => {
                    let result = Ok(DiskDone::Done);
                    let event = Event::DiskDone { op, result };
                    if node == 0 && self.holding {
                        self.held.push_back(event);
                        continue;
                    }
                    (node, event)
                }
                Action::MetaWrite { op, .. } => (node, Event::MetaDone { op, result: Ok(()) }),
                Action::Send {
                    link,
                    envelope,
                    payload,
                    ..
                } => {
                    let event = Event::Frame {
                        peer: peer_slot(),
                        link,
                        envelope,
                        payload: payload.map(|(buf, _)| buf),
                    };
                    (1 - node, event)
                }
                Action::Complete { .. } => {
                    self.done += 1;
                    continue;
                }
                Action::Export(state) => {
                    self.exported |= node == 0 && matches!(state, ExportState::Open { .. });
                    continue;
                }
                Action::Halt { why } => panic!("node {node} halts: {why}"),
                Action::Link {
                    peer,
                    intent: LinkIntent::Disconnect { why },
                } => {
                    let link = LinkId(1);
                    // Behind what was sent before.
                    for node in 0..2 {
                        let why = why.clone();
                        let gone = Event::LinkDown { peer, link, why };
                        self.events.push_back((node, gone));
                    }
                    continue;
                }
                Action::Forget { .. }
                | Action::Release { .. }
                | Action::Link { .. }
                | Action::Reply { .. }
                | Action::ProbeCapacity { .. }
                | Action::SaveBlocks { .. }
                | Action::Bound(_)
                | Action::Report(_) => continue,
            };
            self.events.push_back(answer);
        }
    }
}

fn replica(number: u8, blocks: u64, al_extents: usize, now: Time) -> Replica {
    let peer = NodeId(1 - number);
    let generation = Generation {
        term: Term(1),
        id: GenerationId(77),
        node: NodeId(0),
    };
    let superblock = Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(number),
        size_blocks: blocks,
        max_size_blocks: blocks,
        term: Term(1),
        epoch: Epoch(1),
        lineage: Lineage::new(vec![generation]),
        disk: StoredDisk::UpToDate,
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
        peers: vec![PeerRecord {
            node: peer,
            base: Some(generation.id),
            standing: Standing::In,
            receipt: None,
            conflict: None,
            seen: Seen::NEVER,
        }],
        spare_slots: 0,
    };
    // Some blocks are written twice: the later one counts.
    let fresh: BTreeMap<_, _> = metadata::create(&superblock).collect();
    let loaded = metadata::load(|block| fresh.get(&block).cloned().ok_or("behind the end"))
        .unwrap_or_else(|error| panic!("fresh metadata does not load: {error}"));
    let start = Start {
        host: BootId(1),
        config: Config {
            name: format!("node{number}"),
            peers: vec![PeerConfig {
                node: peer,
                name: format!("node{}", peer.0),
                protocol: Protocol::C,
            }],
            arbiter: twindisk_core::Arbiter::Fence,
            on_peer_loss: OnPeerLoss::Suspend,
            on_disk_error: OnDiskError::Detach,
            on_no_quorum: OnNoQuorum::Suspend,
            timings: Timings::default(),
            resync_bufs: 4,
            first_resync_buf: 0,
            al_extents,
        },
        boot: BootId(u64::from(number) + 1),
        seed: u64::from(number) + 1,
        capacity_blocks: blocks,
    };
    Replica::new(now, start, loaded)
}

/// Each node has one peer.
fn peer_slot() -> Slot {
    Slot::new(0).unwrap_or_else(|| unreachable!("there is a first slot"))
}
