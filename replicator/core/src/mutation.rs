//! A mutation on its way through a replica: a client's on the primary, a frame's on a standby. Both go the same way:
//! range lock, activity log, disk; only what precedes and follows differs.

mod answer;

use twindisk_format::{
    frame::{Envelope, Frame, How},
    ids::{BlockRange, Seq, Slot, SlotSet},
};

use crate::{
    Action, BufId, ConnectionId, DiskError, DiskIo, Fill, LinkId, RequestId, Time,
    locks::LockId,
    mutants::Mutant,
    peer::Unstable,
    replica::{LockOwner, Op, Replica},
};

/// One mutation.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    pub(crate) origin: Origin,
    pub(crate) body: Body,
    pub(crate) range: BlockRange,
    pub(crate) fua: bool,
    /// Its place in the stream; 0 on the primary until it is issued.
    pub(crate) seq: Seq,
    /// On a standby: the flush that must be stable here first.
    pub(crate) depends_on: Seq,
    pub(crate) lock: Option<LockId>,
    /// It uses its extents of the activity log.
    pub(crate) heated: bool,
    pub(crate) stage: Stage,
    /// In-sync peers whose answer is needed before it is done.
    pub(crate) waiting: SlotSet,
    /// Peers that have it and have not answered: the buffer is still theirs.
    pub(crate) outstanding: SlotSet,
    /// The client was told, or is gone.
    pub(crate) answered: bool,
    /// Given up before it was issued.
    pub(crate) cancelled: bool,
    pub(crate) began: Time,
    /// When it went to the disk and the peers.
    pub(crate) issued: Time,
}

/// Who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Client {
        request: RequestId,
        connection: ConnectionId,
        /// When it came here; `began` is later if it was held.
        arrived: Time,
    },
    Peer {
        slot: Slot,
        link: LinkId,
        resync: bool,
    },
    /// Zeroing what a resize added.
    Resize,
}

impl Origin {
    /// The peer that sent it.
    pub(crate) const fn peer(self) -> Option<Slot> {
        match self {
            Self::Peer { slot, .. } => Some(slot),
            Self::Client { .. } | Self::Resize => None,
        }
    }
}

/// What it does to the blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Write { buf: BufId, fill: Option<Fill> },
    Zero { unmap: bool },
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits for its range.
    Locking,
    /// The rest of its edge blocks is being read.
    Edges,
    /// Waits for a flush that it depends on (standby).
    Held,
    /// Waits for the superblock that says that this copy is at work (standby).
    Unrecorded,
    /// Waits for the activity log.
    Heating,
    /// Ready, but I/O is suspended (primary).
    Frozen,
    /// On the local disk and, from a primary, on its way to the peers.
    Running,
    /// The local disk has no room for it: it is tried again. Peers have it.
    NoSpace,
    /// Done here, or there is no local disk.
    Settled { locally: bool },
}

impl Replica {
    /// A mutation begins: it gets in line for its range.
    pub(crate) fn begin_mutation(&mut self, mutation: Mutation) {
        let mut range = mutation.range;
        if self.mutant(Mutant::NoRangeLocks) {
            range.blocks = 0;
        }
        let index = self.mutations.insert(mutation);
        let lock = self.locks.acquire(range, LockOwner::Mutation(index));
        self.mutations[index].lock = Some(lock);
    }

    /// Its range is its own.
    pub(crate) fn mutation_locked(&mut self, index: usize) {
        let mutation = &self.mutations[index];
        let (origin, range) = (mutation.origin, mutation.range);
        if let Origin::Peer { slot, .. } = origin {
            self.dirty_for_others(slot, range);
        }
        let mutation = &self.mutations[index];
        match (origin, mutation.body) {
            (
                Origin::Client { .. },
                Body::Write {
                    buf,
                    fill: Some(fill),
                },
            ) => {
                self.mutations[index].stage = Stage::Edges;
                self.fill_edges(index, buf, fill);
            }
            (Origin::Peer { slot, .. }, _)
                if mutation.depends_on > self.peer(slot).received.stable
                    && !self.mutant(Mutant::IgnoreDependency) =>
            {
                self.mutations[index].stage = Stage::Held;
            }
            _ => self.heat(index),
        }
    }

    /// The extents of the mutation must be active before it is issued.
    pub(crate) fn heat(&mut self, index: usize) {
        if self.mutations[index].cancelled {
            return self.drop_unissued(index);
        }
        if self.waits_for_record(index) {
            self.mutations[index].stage = Stage::Unrecorded;
            return;
        }
        let logs = self.logs_activity(index);
        let mutation = &mut self.mutations[index];
        mutation.stage = Stage::Heating;
        mutation.heated = logs;
        if !logs || self.al.enter(mutation.range, index) {
            self.issue(index);
        } else if self.mutant(Mutant::WriteBeforeActivityLog) {
            self.al.leave(self.mutations[index].range, index, Seq(0));
            self.mutations[index].heated = false;
            self.issue(index);
        }
    }

    fn logs_activity(&self, index: usize) -> bool {
        self.disk_attached()
            && match self.mutations[index].origin {
                Origin::Client { .. } | Origin::Resize => true,
                Origin::Peer { slot, .. } => self.logs_what_comes(slot),
            }
    }

    /// Everything is ready for it.
    pub(crate) fn issue(&mut self, index: usize) {
        let mutation = &self.mutations[index];
        if mutation.cancelled {
            return self.drop_unissued(index);
        }
        match mutation.origin {
            Origin::Resize if self.resize.is_none() => self.drop_unissued(index),
            Origin::Peer { .. } => self.issue_locally(index),
            Origin::Client { .. } | Origin::Resize => {
                // R1, R4: no write leaves here while this node may not be the one primary.
                if self.frozen() {
                    self.mutations[index].stage = Stage::Frozen;
                    self.frozen.push_back(index);
                } else {
                    self.issue_everywhere(index);
                }
            }
        }
    }

    /// Forwards first, then the local disk: the wire takes longer.
    fn issue_everywhere(&mut self, index: usize) {
        let seq = self.next_seq();
        let mutation = &mut self.mutations[index];
        mutation.seq = seq;
        self.window.push(seq, index);
        let (range, fua, body) = (mutation.range, mutation.fua, mutation.body);
        for slot in self.slots() {
            let lost = self.peers[slot.index()].link.is_none();
            let sweeping = self.peers[slot.index()].sweep.is_some();
            let marked = self.mutant(Mutant::MarkBehindCursor) && sweeping;
            if !self.peers[slot.index()].takes(range) || marked {
                if !(self.mutant(Mutant::NoBitsForLost) && lost) {
                    self.peers[slot.index()].bitmap.set(range);
                }
                continue;
            }
            self.send_mutation(slot, seq, range, How { fua, resync: false }, body);
            self.mutations[index].outstanding.insert(slot);
            if self.store.peer(slot).standing.is_counted() && !self.mutant(Mutant::AckWithoutPeers)
            {
                self.mutations[index].waiting.insert(slot);
            }
        }
        self.issue_locally(index);
    }

    /// Sends a mutation and remembers that it is not stable there yet.
    pub(crate) fn send_mutation(
        &mut self,
        slot: Slot,
        seq: Seq,
        range: BlockRange,
        how: How,
        body: Body,
    ) {
        let now = self.now;
        let cleared = how.resync && self.mutant(Mutant::ClearBitsAtSend);
        let sent = &mut self.peers[slot.index()].sent;
        if cleared {
            self.peers[slot.index()].bitmap.clear(range);
        } else {
            sent.push(Unstable {
                seq,
                range,
                resync: how.resync,
            });
        }
        let sent = &mut self.peers[slot.index()].sent;
        sent.asked(now);
        let depends_on = sent.flush_seen;
        let (frame, payload) = match body {
            Body::Write { buf, .. } => (
                Frame::Write {
                    seq,
                    depends_on,
                    range,
                    how,
                },
                Some((buf, 0)),
            ),
            Body::Zero { unmap } => (
                Frame::Zero {
                    seq,
                    depends_on,
                    range,
                    how,
                    unmap,
                },
                None,
            ),
        };
        self.send_with(slot, frame, payload);
    }

    fn issue_locally(&mut self, index: usize) {
        self.saw_issue(index);
        self.ask_disk(index);
    }

    /// The local disk is asked for it.
    pub(crate) fn ask_disk(&mut self, index: usize) {
        if !self.disk_attached() {
            return self.settle_mutation(index, false);
        }
        let mutation = &mut self.mutations[index];
        mutation.stage = Stage::Running;
        let (range, fua) = (mutation.range, mutation.fua);
        let io = match mutation.body {
            Body::Write { buf, .. } => DiskIo::Write {
                range,
                buf,
                at: 0,
                fua,
            },
            Body::Zero { unmap } => DiskIo::Zero { range, unmap, fua },
        };
        self.disk(Op::Mutation(index), io);
    }

    /// The local disk has answered.
    pub(crate) fn mutation_written(&mut self, index: usize, result: Result<(), DiskError>) {
        match result {
            // What comes back after the disk has failed is as good as lost.
            Ok(()) if !self.disk_attached() => self.settle_mutation(index, false),
            Ok(()) => {
                self.flusher.dirty = true;
                self.settle_mutation(index, true);
                self.moment_passes();
            }
            // R13: no room is not death.
            Err(error)
                if error.is_no_space()
                    && self.disk_attached()
                    && !self.mutant(Mutant::NoSpaceIsDeath) =>
            {
                if self.mutant(Mutant::NoSpaceIsWritten) {
                    return self.settle_mutation(index, true);
                }
                self.found_no_space(index, &error);
            }
            Err(error) => {
                self.disk_failed(&format!("a write failed: {error}"));
                self.settle_mutation(index, false);
            }
        }
    }

    /// Nothing more happens to it on the local disk: the next one may have the range.
    pub(crate) fn settle_mutation(&mut self, index: usize, locally: bool) {
        self.mutations[index].stage = Stage::Settled { locally };
        self.unlock_mutation(index);
        if self.space.is_watching() {
            self.no_longer_lacks(index);
        }
        match self.mutations[index].origin {
            Origin::Peer { slot, link, .. } => self.applied(index, slot, link, locally),
            Origin::Client { .. } | Origin::Resize => {
                if !locally {
                    self.must_be_written_elsewhere(index);
                }
                self.check_done(index);
            }
        }
    }

    pub(crate) fn unlock_mutation(&mut self, index: usize) {
        if let Some(lock) = self.mutations[index].lock.take() {
            self.locks.release(lock);
        }
    }

    /// It was given up before it was issued.
    pub(crate) fn drop_unissued(&mut self, index: usize) {
        self.unlock_mutation(index);
        if let Origin::Client { request, .. } = self.mutations[index].origin {
            self.act(Action::Forget { request });
        }
        self.forget_mutation(index);
    }

    /// The end of a mutation: nobody needs its buffer.
    pub(crate) fn forget_mutation(&mut self, index: usize) {
        let mutation = self.mutations.remove(index);
        assert!(mutation.lock.is_none(), "a mutation ends without its lock");
        if mutation.seq > Seq(0) && !matches!(mutation.origin, Origin::Peer { .. }) {
            self.window.remove(mutation.seq);
        }
        if mutation.heated {
            self.al.leave(mutation.range, index, mutation.seq);
        }
        if let Body::Write { buf, .. } = mutation.body {
            self.act(Action::Release { buf });
        }
    }

    /// Sends a frame without payload.
    pub(crate) fn send(&mut self, slot: Slot, frame: Frame) {
        self.send_with(slot, frame, None);
    }

    /// Sends a frame on the peer's present link; without one it is dropped.
    pub(crate) fn send_with(&mut self, slot: Slot, frame: Frame, payload: Option<(BufId, u32)>) {
        let Some(link) = self.peers[slot.index()].link else {
            return;
        };
        let envelope = Envelope {
            term: self.store.get().term,
            stable: self.stable_everywhere(),
            frame,
        };
        self.act(Action::Send {
            peer: slot,
            link: link.id,
            envelope,
            payload,
        });
    }
}
