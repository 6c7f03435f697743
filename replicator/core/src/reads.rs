//! Reads: from the local disk, from a peer when there is none or it fails, and the repair of what could not be read.

mod repair;
mod served;

pub(crate) use repair::Repair;

use repair::REPAIR_TAG;
use twindisk_format::{
    frame::Frame,
    ids::{BlockRange, Seq, Slot, SlotSet},
};

use crate::{
    Action, Arbiter, BufId, ClientRequest, ConnectionId, DiskError, DiskIo, Failure, Fill, LinkId,
    Mark, Report, Time,
    locks::LockId,
    mutants::Mutant,
    peer::Phase,
    replica::{LockOwner, Op, Replica},
};

/// A read of this node's own: for a client, or of the edges of an unaligned write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    purpose: Purpose,
    range: BlockRange,
    /// Peers that were asked in vain.
    tried: SlotSet,
    /// The peer that is being asked.
    asked: Option<Slot>,
    /// The local disk could not read it.
    broken_here: bool,
    /// A client's read that goes elsewhere has its range first.
    lock: Option<LockId>,
}

#[derive(Clone, Copy, Debug)]
enum Purpose {
    Client {
        asked: ClientRequest,
        arrived: Time,
        issued: Time,
        buf: BufId,
        abandoned: bool,
    },
    Edges {
        mutation: usize,
        buf: BufId,
        fill: Fill,
    },
}

/// A peer's read that is served from here.
#[derive(Clone, Debug)]
pub(crate) struct ServedRead {
    slot: Slot,
    link: LinkId,
    tag: u64,
    range: BlockRange,
    lock: LockId,
    buf: Option<BufId>,
}

impl Read {
    pub(crate) fn abandon(&mut self, of: impl Fn(ConnectionId) -> bool) {
        if let Purpose::Client {
            asked, abandoned, ..
        } = &mut self.purpose
        {
            *abandoned |= of(asked.connection);
        }
    }
}

impl Replica {
    pub(crate) fn begin_read(
        &mut self,
        asked: ClientRequest,
        arrived: Time,
        range: BlockRange,
        buf: BufId,
    ) {
        let purpose = Purpose::Client {
            asked,
            arrived,
            issued: self.now,
            buf,
            abandoned: false,
        };
        let index = self.add_read(purpose, range);
        if self.inherits_unwritten(range) {
            self.reads[index].lock = Some(self.locks.acquire(range, LockOwner::Read(index)));
        } else if self.disk_attached() {
            self.disk(Op::Read(index), DiskIo::Read { range, buf, at: 0 });
        } else {
            self.ask_elsewhere(index);
        }
    }

    /// S2: a client's read gets in line behind the writes under way here. A peer may have them already, and the next
    /// read, of this disk again, must not go back behind what this one has seen. Edges have their range: it is their write's.
    fn ask_elsewhere(&mut self, index: usize) {
        let Read {
            purpose,
            range,
            lock,
            ..
        } = self.reads[index];
        let has_range = lock.is_some() || matches!(purpose, Purpose::Edges { .. });
        if has_range {
            return self.read_elsewhere(index);
        }
        let lock = self.locks.acquire(range, LockOwner::Read(index));
        self.reads[index].lock = Some(lock);
    }

    /// Its range is its own: no write of it is under way here.
    pub(crate) fn read_locked(&mut self, index: usize) {
        let Read { purpose, range, .. } = self.reads[index];
        match purpose {
            Purpose::Client { buf, .. }
                if self.disk_attached() && !self.reads[index].broken_here =>
            {
                self.disk(Op::Read(index), DiskIo::Read { range, buf, at: 0 });
            }
            Purpose::Client { .. } | Purpose::Edges { .. } => self.read_elsewhere(index),
        }
    }

    fn end_read(&mut self, index: usize) -> Read {
        let read = self.reads.remove(index);
        if let Some(lock) = read.lock {
            self.locks.release(lock);
        }
        read
    }

    fn add_read(&mut self, purpose: Purpose, range: BlockRange) -> usize {
        self.reads.insert(Read {
            purpose,
            range,
            tried: SlotSet::EMPTY,
            asked: None,
            broken_here: false,
            lock: None,
        })
    }

    /// The bytes around an unaligned write are needed.
    pub(crate) fn fill_edges(&mut self, mutation: usize, buf: BufId, fill: Fill) {
        let range = self.mutations[mutation].range;
        if self.disk_attached() {
            self.disk(Op::Edges(mutation), DiskIo::FillEdges { range, buf, fill });
        } else {
            let index = self.add_read(
                Purpose::Edges {
                    mutation,
                    buf,
                    fill,
                },
                range,
            );
            self.read_elsewhere(index);
        }
    }

    /// The local disk was asked for them.
    pub(crate) fn edges_read(&mut self, mutation: usize, result: Result<(), DiskError>) {
        // R16: the rest of the block goes to the peers with the write.
        let good = result.is_ok() && self.is_to_be_trusted();
        if good || self.mutations[mutation].cancelled {
            return self.edges_filled(mutation);
        }
        let crate::mutation::Body::Write {
            buf,
            fill: Some(fill),
        } = self.mutations[mutation].body
        else {
            unreachable!("only unaligned writes have edges")
        };
        let range = self.mutations[mutation].range;
        let index = self.add_read(
            Purpose::Edges {
                mutation,
                buf,
                fill,
            },
            range,
        );
        self.read_elsewhere(index);
    }

    pub(crate) fn edges_filled(&mut self, mutation: usize) {
        if self.mutations[mutation].cancelled {
            return self.drop_unissued(mutation);
        }
        self.heat(mutation);
    }

    pub(crate) fn read_done(&mut self, index: usize, result: Result<(), DiskError>) {
        match result {
            // What a disk that has failed meanwhile holds is not to be trusted: it may never have become stable.
            Ok(()) if !self.disk_attached() => self.ask_elsewhere(index),
            Ok(()) if self.shows_what_may_go(index) => {
                self.marks.mark(Mark::ReadBehindWrite);
                self.reads_behind.push_back(index);
            }
            Ok(()) => self.finish_read(index, true),
            Err(error) => {
                let range = self.reads[index].range;
                let what = format!("blocks {range} can't be read from the backing device: {error}");
                self.report(Report::Warning { what });
                self.reads[index].broken_here = true;
                self.ask_elsewhere(index);
            }
        }
    }

    /// S2, R8: beside a witness another node may go on without what is acknowledged to nobody, while this one's clients live
    /// and remember what they have read.
    fn shows_what_may_go(&self, index: usize) -> bool {
        self.config.arbiter == Arbiter::Witness && self.would_show_too_much(&self.reads[index])
    }

    /// S2: a peer may already have a write that is acknowledged to nobody. Whoever follows this node as primary need not have
    /// it: no client reads it before it is acknowledged. (What the local disk shows is kept by this node's own copy.)
    fn would_show_too_much(&self, read: &Read) -> bool {
        matches!(read.purpose, Purpose::Client { .. })
            && !self.mutant(Mutant::ReadUnacknowledged)
            && self.mutations.iter().any(|(_, mutation)| {
                mutation.seq > Seq(0)
                    && mutation.origin.peer().is_none()
                    && !mutation.answered
                    && mutation.range.overlaps(read.range)
            })
    }

    /// A read that waited for a write to be acknowledged goes on.
    pub(crate) fn read_after_writes(&mut self) -> bool {
        let next = self
            .reads_behind
            .iter()
            .position(|&index| !self.would_show_too_much(&self.reads[index]));
        let Some(index) = next.and_then(|at| self.reads_behind.remove(at)) else {
            return false;
        };
        let read = &self.reads[index];
        if !self.disk_attached() || read.broken_here {
            self.read_elsewhere(index);
        } else if read.lock.is_some() {
            self.read_locked(index);
        } else {
            // Once more, with its range to itself: no later write can put it off again.
            let lock = self.locks.acquire(read.range, LockOwner::Read(index));
            self.reads[index].lock = Some(lock);
        }
        true
    }

    /// Asks the next in-sync peer, or gives up.
    fn read_elsewhere(&mut self, index: usize) {
        let read = &self.reads[index];
        if self.would_show_too_much(read) {
            self.marks.mark(Mark::ReadBehindWrite);
            return self.reads_behind.push_back(index);
        }
        let tried = read.tried;
        let range = read.range;
        let next = self.slots().find(|slot| {
            !tried.contains(*slot)
                && self.peer(*slot).phase == Phase::Established
                && self.store.peer(*slot).standing.is_counted()
        });
        let Some(slot) = next else {
            return self.nobody_to_read_from(index);
        };
        self.reads[index].tried.insert(slot);
        self.reads[index].asked = Some(slot);
        self.send(
            slot,
            Frame::Read {
                tag: index as u64,
                range,
            },
        );
    }

    /// A replica that is only lost for now may still have it: the read waits with the writes. Otherwise it fails.
    fn nobody_to_read_from(&mut self, index: usize) {
        match self.reads[index].purpose {
            Purpose::Client {
                asked,
                arrived,
                abandoned: false,
                ..
            } if self.frozen() && !self.missing().is_empty() => {
                self.end_read(index);
                self.held.push_back((asked, arrived));
            }
            _ => self.finish_read(index, false),
        }
    }

    /// The blocks that a peer was asked for, and has not answered yet.
    fn asked_to_read(&self, slot: Slot, tag: u64) -> Option<BlockRange> {
        if tag & REPAIR_TAG != 0 {
            return self.asked_to_repair(slot, (tag & !REPAIR_TAG) as usize);
        }
        let read = self.reads.get(tag as usize)?;
        (read.asked == Some(slot)).then_some(read.range)
    }

    /// A peer has answered one of our reads.
    pub(crate) fn read_replied(&mut self, slot: Slot, tag: u64, got: Option<(BlockRange, BufId)>) {
        let buf = got.map(|(_, buf)| buf);
        let wanted = self.asked_to_read(slot, tag);
        if wanted.is_none_or(|wanted| got.is_some_and(|(range, _)| range != wanted)) {
            if let Some(buf) = buf {
                self.act(Action::Release { buf });
            }
            let why = "it answered a read with blocks that it was not asked for";
            return self.drop_link(slot, Mark::AnsweredUnasked, why);
        }
        if tag & REPAIR_TAG != 0 {
            return self.repair_replied((tag & !REPAIR_TAG) as usize, buf);
        }
        let index = tag as usize;
        self.reads[index].asked = None;
        let Some(from) = buf else {
            return self.read_elsewhere(index);
        };
        let read = &self.reads[index];
        let (range, broken) = (read.range, read.broken_here);
        match read.purpose {
            Purpose::Client { buf: to, .. } => {
                let io = DiskIo::Copy {
                    blocks: range.blocks,
                    from,
                    to,
                };
                self.disk(Op::ReadCopy { read: index, from }, io);
            }
            Purpose::Edges {
                mutation,
                buf,
                fill,
            } => {
                self.reads.remove(index);
                let io = DiskIo::FillFrom {
                    range,
                    buf,
                    fill,
                    edges: from,
                };
                self.disk(
                    Op::EdgesFrom {
                        mutation,
                        edges: from,
                    },
                    io,
                );
            }
        }
        if broken && self.disk_attached() {
            self.begin_repair(slot, range);
        }
    }

    pub(crate) fn read_copied(&mut self, index: usize) {
        self.finish_read(index, true);
    }

    fn finish_read(&mut self, index: usize, done: bool) {
        let read = self.end_read(index);
        match read.purpose {
            Purpose::Client {
                asked,
                abandoned: true,
                ..
            } => {
                let request = asked.request;
                self.act(Action::Forget { request });
            }
            Purpose::Client {
                asked,
                arrived,
                issued,
                ..
            } => {
                self.counts.reads += 1;
                self.latency.read.wait.record(arrived, issued);
                self.latency.read.total.record(arrived, self.now);
                if done {
                    self.counts.read_bytes += read.range.bytes();
                }
                let request = asked.request;
                let result = if done { Ok(()) } else { Err(Failure::Io) };
                self.act(Action::Complete { request, result });
            }
            Purpose::Edges { mutation, .. } => self.fail_unissued(mutation),
        }
    }

    /// The edges of an unaligned write can't be had: it fails before anything was written.
    fn fail_unissued(&mut self, mutation: usize) {
        if let crate::mutation::Origin::Client { request, .. } = self.mutations[mutation].origin
            && !self.mutations[mutation].cancelled
        {
            self.mutations[mutation].answered = true;
            self.unlock_mutation(mutation);
            self.act(Action::Complete {
                request,
                result: Err(Failure::Io),
            });
            return self.forget_mutation(mutation);
        }
        self.drop_unissued(mutation);
    }

    /// A link is gone: whoever waits for an answer over it asks elsewhere.
    pub(crate) fn abandon_remote_reads(&mut self, slot: Slot) {
        let waiting: Vec<usize> = self
            .reads
            .iter()
            .filter(|(_, read)| read.asked == Some(slot))
            .map(|(index, _)| index)
            .collect();
        for index in waiting {
            self.reads[index].asked = None;
            self.read_elsewhere(index);
        }
        self.abandon_repairs(slot);
    }
}
