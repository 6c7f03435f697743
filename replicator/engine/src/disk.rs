//! Operations on the backing device: each goes through one or more operations of the ring, one at a time.
//!
//! Checks only what would destroy data (ranges stay within the data area); what is done when, the core decides.

mod cached;
mod holes;
mod steps;

use std::collections::VecDeque;

use twindisk_core::{BufId, DiskDone, DiskError, DiskIo, Fill, OpId, Time};
use twindisk_format::{ids::BlockRange, limits::BLOCK_BYTES};

use self::{holes::Part, steps::Step};
use crate::{
    buffers::{Buffers, Class},
    limits::{EDGE_BUFFERS, HASH_BUFFERS},
    probe,
    ring::{Completion, Ring, RingFile},
    slab::Slab,
    store::Backing,
};

/// What an operation needs besides itself.
pub(crate) struct Context<'a> {
    pub(crate) ring: &'a mut Ring,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) backing: &'a Backing,
    pub(crate) now: Time,
}

/// The end of an operation that the core asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) op: OpId,
    pub(crate) result: Result<DiskDone, DiskError>,
}

/// The backing device.
pub(crate) struct Disk {
    file: RingFile,
    /// The same past the page cache.
    direct: RingFile,
    /// Blocks of the data area: internal metadata lies behind them.
    data_blocks: u64,
    ops: Slab<Op>,
    /// Operations that wait for a scratch buffer.
    waiting: VecDeque<(OpId, DiskIo)>,
    hash_bufs: Vec<BufId>,
    edge_bufs: Vec<BufId>,
    /// Where data goes through the page cache.
    cached: Option<cached::Queue>,
    zeroing: Zeroing,
    zeroes_fast: bool,
    failed: bool,
}

/// Ways of zeroing that have not been refused yet.
#[derive(Clone, Copy, Debug)]
struct Zeroing {
    punch: bool,
    zero_range: bool,
}

struct Op {
    id: OpId,
    io: DiskIo,
    step: Step,
    /// What the present step is about, of a write that is taken apart.
    part: Option<Part>,
    /// A part of it was punched: to be stable takes a flush.
    punched: bool,
    /// Bytes of the present step that are done.
    done: usize,
    scratch: Option<BufId>,
}

impl Disk {
    pub(crate) fn new(
        (file, direct): (RingFile, RingFile),
        backing: &Backing,
        data_blocks: u64,
        buffers: &mut Buffers,
    ) -> Self {
        let mut scratch = |count: u32, blocks: u32| -> Vec<BufId> {
            (0..count)
                .map(|_| buffers.take(Class::Scratch, blocks).expect("set aside"))
                .collect()
        };
        Self {
            file,
            direct,
            data_blocks,
            ops: Slab::new(MAX_OPS),
            waiting: VecDeque::new(),
            hash_bufs: scratch(HASH_BUFFERS, twindisk_format::limits::MAX_DATA_BLOCKS),
            edge_bufs: scratch(EDGE_BUFFERS, 2),
            cached: backing.is_cached().then(cached::Queue::default),
            zeroing: Zeroing {
                punch: true,
                zero_range: true,
            },
            zeroes_fast: probe::zeroes_fast(backing),
            failed: false,
        }
    }

    /// Operations under way or waiting.
    pub(crate) fn in_flight(&self) -> usize {
        self.ops.len() + self.waiting.len()
    }

    /// Whether a write or flush has failed: what the device holds means nothing any more.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether zeros can be had without writing them.
    pub(crate) const fn zeroes_fast(&self) -> bool {
        self.zeroes_fast && (self.zeroing.punch || self.zeroing.zero_range)
    }

    /// The device was found to have grown.
    pub(crate) fn grow(&mut self, blocks: u64) {
        self.data_blocks = self.data_blocks.max(blocks);
    }

    /// Begins an operation. What needs no disk ends at once.
    pub(crate) fn start(
        &mut self,
        id: OpId,
        io: DiskIo,
        context: &mut Context<'_>,
    ) -> Option<Ended> {
        self.check(&io);
        let scratch = match io {
            DiskIo::Copy { blocks, from, to } => {
                let bytes = blocks as usize * BLOCK_BYTES;
                context.buffers.copy((from, 0), (to, 0), bytes);
                return Some(done(id));
            }
            DiskIo::FillFrom {
                range,
                buf,
                fill,
                edges,
            } => {
                let last = (range.blocks as usize - 1) * BLOCK_BYTES;
                fill_edges(context.buffers, (range, buf, fill), (edges, last));
                return Some(done(id));
            }
            DiskIo::Hash { .. } => self.hash_bufs.pop().map(Some),
            DiskIo::FillEdges { .. } => self.edge_bufs.pop().map(Some),
            DiskIo::Read { buf, .. } => {
                context.buffers.changed(buf);
                Some(None)
            }
            DiskIo::Write { .. } | DiskIo::Zero { .. } | DiskIo::Flush => Some(None),
        };
        let Some(scratch) = scratch else {
            self.waiting.push_back((id, io));
            return None;
        };
        let slot = self.ops.insert(Op {
            id,
            io,
            step: steps::first(&io, self.zeroing),
            part: None,
            punched: false,
            done: 0,
            scratch,
        });
        if let DiskIo::Write { buf, .. } = io
            && context.buffers.is_thin(buf)
        {
            self.take_apart(slot, context);
        }
        self.issue(slot, context);
        None
    }

    /// Takes a completion of the ring; `None` while the operation goes on.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        context: &mut Context<'_>,
    ) -> Option<Ended> {
        let slot = completion.token.slot;
        assert!(
            completion.token.is_of(self.ops.generation(slot)),
            "a completion of an operation that has ended: {completion:?}"
        );
        let outcome = self.advance(slot, completion, context);
        let result = match outcome {
            steps::Outcome::Again => {
                self.issue(slot, context);
                return None;
            }
            steps::Outcome::Ended(result) => result,
        };
        let op = self.ops.remove(slot);
        let changes = matches!(
            op.io,
            DiskIo::Write { .. } | DiskIo::Zero { .. } | DiskIo::Flush
        );
        // A write that finds no space costs nothing that is there.
        if changes && result.as_ref().is_err_and(|error| !error.is_no_space()) {
            self.failed = true;
        }
        if let Some(scratch) = op.scratch {
            match op.io {
                DiskIo::Hash { .. } => self.hash_bufs.push(scratch),
                _ => self.edge_bufs.push(scratch),
            }
            self.start_waiting(context);
        }
        Some(Ended { op: op.id, result })
    }

    fn start_waiting(&mut self, context: &mut Context<'_>) {
        let ready = self.waiting.iter().position(|(_, io)| match io {
            DiskIo::Hash { .. } => !self.hash_bufs.is_empty(),
            _ => !self.edge_bufs.is_empty(),
        });
        if let Some((id, io)) = ready.and_then(|index| self.waiting.remove(index)) {
            let ended = self.start(id, io, context);
            assert_eq!(ended, None, "what waits for a buffer needs the disk");
        }
    }

    /// Internal metadata lies behind the data: a range that reaches it is a bug that must not get to the disk.
    fn check(&self, io: &DiskIo) {
        let range = match io {
            DiskIo::Read { range, .. }
            | DiskIo::Write { range, .. }
            | DiskIo::Zero { range, .. }
            | DiskIo::FillEdges { range, .. }
            | DiskIo::Hash { range } => range,
            DiskIo::Flush | DiskIo::FillFrom { .. } | DiskIo::Copy { .. } => return,
        };
        assert!(range.blocks > 0, "an operation on no blocks");
        assert!(
            range.end() <= self.data_blocks,
            "{range} ends behind the data area of {} blocks",
            self.data_blocks
        );
    }
}

const fn done(op: OpId) -> Ended {
    Ended {
        op,
        result: Ok(DiskDone::Done),
    }
}

/// Puts the bytes outside of `fill` into `buf`: from a buffer with the first block at its start and the last one at
/// byte `last`.
fn fill_edges(
    buffers: &mut Buffers,
    (range, buf, fill): (BlockRange, BufId, Fill),
    (edges, last): (BufId, usize),
) {
    let (from, to) = (fill.from as usize, fill.to as usize);
    let bytes = range.blocks as usize * BLOCK_BYTES;
    assert!(
        from < BLOCK_BYTES && from < to && to <= bytes,
        "{fill:?} of {range}"
    );
    if from > 0 {
        buffers.copy((edges, 0), (buf, 0), from);
    }
    if to < bytes {
        let within = to - (bytes - BLOCK_BYTES);
        buffers.copy((edges, last + within), (buf, to), bytes - to);
    }
}

/// More than the core may ever have under way; a sanity bound of the table.
const MAX_OPS: usize = 4 * twindisk_core::limits::MAX_MUTATIONS;

#[cfg(test)]
mod tests;
