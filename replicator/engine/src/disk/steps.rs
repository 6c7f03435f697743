//! The steps of an operation: what to ask of the ring next, and what its answer means.

use io_uring::{opcode, squeue, types};
use twindisk_core::{BufId, DiskDone, DiskError, DiskIo};
use twindisk_format::{ids::BlockRange, limits::BLOCK_BYTES};
use xxhash_rust::xxh3::xxh3_128;

use super::{Context, Disk, Op, Zeroing, fill_edges, holes::Part};
use crate::{
    limits::ZERO_BUFFER_BLOCKS,
    ring::{Completion, RingFile, Turn},
    tokens::{Kind, Token},
};

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read or write the blocks.
    Transfer,
    /// Read the first block into the scratch buffer.
    FirstEdge,
    /// Read the last block behind it.
    LastEdge,
    /// Zero and unmap.
    Punch,
    /// Zero and keep allocated.
    ZeroRange,
    /// Zero by writing.
    WriteZeros,
    /// Make stable.
    Sync,
    /// A write through the page cache that was to be stable at once found no space, or a write-back found none for something
    /// written before, which is lost then. The other opening of the device knows: it is told of each failed write-back too.
    Witness(i32),
}

/// What a completion made of an operation.
pub(super) enum Outcome {
    /// There is more to ask of the ring.
    Again,
    /// It is over.
    Ended(Result<DiskDone, DiskError>),
}

pub(super) fn first(io: &DiskIo, zeroing: Zeroing) -> Step {
    match io {
        DiskIo::Read { .. } | DiskIo::Write { .. } | DiskIo::Hash { .. } => Step::Transfer,
        DiskIo::FillEdges { fill, .. } if fill.from > 0 => Step::FirstEdge,
        DiskIo::FillEdges { .. } => Step::LastEdge,
        DiskIo::Zero { unmap: true, .. } if zeroing.punch => Step::Punch,
        DiskIo::Zero { .. } if zeroing.zero_range => Step::ZeroRange,
        DiskIo::Zero { .. } => Step::WriteZeros,
        DiskIo::Flush => Step::Sync,
        DiskIo::Copy { .. } | DiskIo::FillFrom { .. } => unreachable!("these need no disk"),
    }
}

impl Disk {
    /// Goes on with the rest of the present step.
    pub(super) fn issue(&mut self, slot: u32, context: &mut Context<'_>) {
        let op = self.ops.get(slot).expect("in use");
        let queue = self.cached.as_mut().filter(|_| op.is_plain_write());
        if !queue.is_some_and(|queue| queue.take(slot, context.now)) {
            self.stage(slot, context);
        }
    }

    /// Goes to the next part of a write; whether there is one.
    pub(super) fn take_apart(&mut self, slot: u32, context: &Context<'_>) -> bool {
        let op = self.ops.get(slot).expect("in use");
        let Some(part) = self.next_part(op, context) else {
            return false;
        };
        let op = self.ops.get_mut(slot).expect("in use");
        op.part = Some(part);
        op.step = part.step();
        true
    }

    /// Asks the ring for it.
    pub(super) fn stage(&mut self, slot: u32, context: &mut Context<'_>) {
        let op = self.ops.get(slot).expect("in use");
        let entry = self.entry(op, context);
        let token = Token::new(Kind::Disk, self.ops.generation(slot), slot);
        // SAFETY: the memory belongs to a buffer of `op`, which its owner gives up only after the operation has ended
        // (the core's contract for its buffers, this table's for scratch).
        unsafe {
            context
                .ring
                .stage(Turn::Disk, self.file_for(op), entry, token)
        };
    }

    /// Which opening of the backing device a step goes to.
    fn file_for(&self, op: &Op) -> RingFile {
        match (op.step, op.io) {
            // What is compared is what the disk has, and it is not worth the room that it would take in the page cache.
            (_, DiskIo::Hash { .. }) => self.direct,
            // To throw away what is in the page cache of a block device takes the opening that has it for itself: any
            // other one is told EBUSY (`truncate_bdev_range`).
            (Step::Punch | Step::ZeroRange | Step::Witness(_), _) => self.direct,
            _ => self.file,
        }
    }

    fn entry(&self, op: &Op, context: &Context<'_>) -> squeue::Entry {
        let fd = self.file_for(op).fd();
        match op.step {
            Step::Sync | Step::Witness(_) => {
                return opcode::Fsync::new(fd)
                    .flags(types::FsyncFlags::DATASYNC)
                    .build();
            }
            Step::Punch | Step::ZeroRange => {
                let range = op.range();
                let mode = if op.step == Step::Punch {
                    libc::FALLOC_FL_PUNCH_HOLE
                } else {
                    libc::FALLOC_FL_ZERO_RANGE
                };
                return opcode::Fallocate::new(fd, range.bytes())
                    .offset(range.byte_offset())
                    .mode(mode | libc::FALLOC_FL_KEEP_SIZE)
                    .build();
            }
            Step::Transfer | Step::FirstEdge | Step::LastEdge | Step::WriteZeros => {}
        }
        let (buf, at) = op.memory(context);
        let len = op.step_bytes() - op.done;
        let len = match op.step {
            Step::WriteZeros => len.min(ZERO_BUFFER_BLOCKS as usize * BLOCK_BYTES),
            _ => len,
        };
        let address = context.buffers.address(buf, at, len);
        let piece = context.buffers.piece(buf, address, len);
        let pointer = address.as_ptr();
        let len = u32::try_from(len).expect("at most 64 MiB");
        let offset = op.step_offset() + op.done as u64;
        if op.writes() {
            let flags = if op.step == Step::Transfer && op.fua() {
                libc::RWF_DSYNC
            } else {
                0
            };
            match piece {
                Some(piece) => opcode::WriteFixed::new(fd, pointer, len, piece)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
                None => opcode::Write::new(fd, pointer, len)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
            }
        } else {
            match piece {
                Some(piece) => opcode::ReadFixed::new(fd, pointer, len, piece)
                    .offset(offset)
                    .build(),
                None => opcode::Read::new(fd, pointer, len).offset(offset).build(),
            }
        }
    }

    /// What a completion means.
    pub(super) fn advance(
        &mut self,
        slot: u32,
        completion: Completion,
        context: &mut Context<'_>,
    ) -> Outcome {
        let op = self.ops.get_mut(slot).expect("in use");
        let moved = match completion.bytes() {
            Ok(moved) => moved,
            // Interrupted before anything was done: the same again.
            Err(libc::EINTR | libc::EAGAIN) => return Outcome::Again,
            Err(libc::EOPNOTSUPP | libc::ENOSYS) if op.step == Step::Punch => {
                self.zeroing.punch = false;
                op.part = op.part.map(Part::written);
                op.step = first(&op.io, self.zeroing);
                return Outcome::Again;
            }
            Err(libc::EOPNOTSUPP | libc::ENOSYS) if op.step == Step::ZeroRange => {
                self.zeroing.zero_range = false;
                op.step = first(&op.io, self.zeroing);
                return Outcome::Again;
            }
            Err(errno) if op.is_doubtful(errno, context) => {
                op.step = Step::Witness(errno);
                return if context.backing.has_second_opening() {
                    Outcome::Again
                } else {
                    Outcome::Ended(Err(op.error(errno)))
                };
            }
            Err(errno) => return Outcome::Ended(Err(op.error(errno))),
        };
        if let Step::Witness(errno) = op.step {
            // No write-back has failed: it was the write itself.
            return Outcome::Ended(Err(op.told(errno, errno)));
        }
        if op.step.transfers() {
            op.done += moved;
            assert!(op.done <= op.step_bytes(), "more bytes than asked for");
            if op.done < op.step_bytes() {
                if moved == 0 {
                    return Outcome::Ended(Err(op.ended_early()));
                }
                return Outcome::Again;
            }
        }
        op.done = 0;
        if op.part.is_some() && op.step != Step::Sync {
            op.punched |= op.step == Step::Punch;
            if self.take_apart(slot, context) {
                return Outcome::Again;
            }
        }
        self.ops.get_mut(slot).expect("in use").next(context)
    }
}

impl Step {
    const fn transfers(self) -> bool {
        match self {
            Self::Transfer | Self::FirstEdge | Self::LastEdge | Self::WriteZeros => true,
            Self::Punch | Self::ZeroRange | Self::Sync | Self::Witness(_) => false,
        }
    }
}

impl Op {
    /// The present step is done: to the next one.
    fn next(&mut self, context: &mut Context<'_>) -> Outcome {
        match (self.step, self.io) {
            (Step::FirstEdge, DiskIo::FillEdges { range, fill, .. })
                if u64::from(fill.to) < range.bytes() && range.blocks > 1 =>
            {
                self.step = Step::LastEdge;
                Outcome::Again
            }
            (
                Step::FirstEdge | Step::LastEdge,
                DiskIo::FillEdges {
                    range, buf, fill, ..
                },
            ) => {
                let edges = self.scratch.expect("taken at the start");
                let last = if range.blocks > 1 { BLOCK_BYTES } else { 0 };
                fill_edges(context.buffers, (range, buf, fill), (edges, last));
                Outcome::Ended(Ok(DiskDone::Done))
            }
            (Step::Transfer, DiskIo::Hash { range }) => {
                let buf = self.scratch.expect("taken at the start");
                let bytes = context
                    .buffers
                    .bytes(buf, 0, range.blocks as usize * BLOCK_BYTES);
                let hashes = bytes.chunks_exact(BLOCK_BYTES).map(xxh3_128).collect();
                Outcome::Ended(Ok(DiskDone::Hashes(hashes)))
            }
            (Step::Punch | Step::ZeroRange | Step::WriteZeros, _) if self.fua() => {
                self.step = Step::Sync;
                Outcome::Again
            }
            // The data of a write that was taken apart is stable by itself, its holes are not.
            (Step::Transfer, DiskIo::Write { fua: true, .. }) if self.punched => {
                self.step = Step::Sync;
                Outcome::Again
            }
            _ => Outcome::Ended(Ok(DiskDone::Done)),
        }
    }

    /// Where the bytes of a write are, and how many blocks.
    pub(super) const fn payload(&self) -> Option<(BufId, u32, u32)> {
        match self.io {
            DiskIo::Write { range, buf, at, .. } => Some((buf, at, range.blocks)),
            DiskIo::Read { .. }
            | DiskIo::Zero { .. }
            | DiskIo::Flush
            | DiskIo::FillEdges { .. }
            | DiskIo::FillFrom { .. }
            | DiskIo::Copy { .. }
            | DiskIo::Hash { .. } => None,
        }
    }

    /// What the present step is about.
    fn range(&self) -> BlockRange {
        let range = self.whole();
        match self.part {
            None => range,
            Some(part) => BlockRange {
                start: range.start + u64::from(part.first),
                blocks: part.blocks,
            },
        }
    }

    fn whole(&self) -> BlockRange {
        match self.io {
            DiskIo::Read { range, .. }
            | DiskIo::Write { range, .. }
            | DiskIo::Zero { range, .. }
            | DiskIo::FillEdges { range, .. }
            | DiskIo::FillFrom { range, .. }
            | DiskIo::Hash { range } => range,
            DiskIo::Flush | DiskIo::Copy { .. } => unreachable!("no range"),
        }
    }

    fn fua(&self) -> bool {
        match self.io {
            DiskIo::Write { fua, .. } | DiskIo::Zero { fua, .. } => fua,
            DiskIo::Read { .. }
            | DiskIo::Flush
            | DiskIo::FillEdges { .. }
            | DiskIo::FillFrom { .. }
            | DiskIo::Copy { .. }
            | DiskIo::Hash { .. } => false,
        }
    }

    /// A client's or peer's data, and it need not be stable.
    fn is_plain_write(&self) -> bool {
        self.step == Step::Transfer && self.writes() && !self.fua()
    }

    fn writes(&self) -> bool {
        match self.step {
            Step::WriteZeros => true,
            Step::Transfer => matches!(self.io, DiskIo::Write { .. }),
            Step::FirstEdge
            | Step::LastEdge
            | Step::Punch
            | Step::ZeroRange
            | Step::Sync
            | Step::Witness(_) => false,
        }
    }

    /// Bytes that the present step moves.
    pub(super) fn step_bytes(&self) -> usize {
        match self.step {
            Step::FirstEdge | Step::LastEdge => BLOCK_BYTES,
            Step::Transfer | Step::WriteZeros => self.range().blocks as usize * BLOCK_BYTES,
            Step::Punch | Step::ZeroRange | Step::Sync | Step::Witness(_) => 0,
        }
    }

    /// Where on the device the present step begins.
    pub(super) fn step_offset(&self) -> u64 {
        let range = self.range();
        match self.step {
            Step::LastEdge => (range.end() - 1) * BLOCK_BYTES as u64,
            _ => range.byte_offset(),
        }
    }

    /// The buffer that the present step goes on with, and the byte in it.
    pub(super) fn memory(&self, context: &Context<'_>) -> (BufId, usize) {
        match (self.step, self.io) {
            (Step::WriteZeros, _) => (context.buffers.zeros(), 0),
            (_, DiskIo::Read { buf, at, .. } | DiskIo::Write { buf, at, .. }) => {
                let part = self.part.map_or(0, |part| part.first);
                (buf, (at + part) as usize * BLOCK_BYTES + self.done)
            }
            // A single block stands first, whichever edge it is.
            (Step::LastEdge, DiskIo::FillEdges { range, .. }) if range.blocks > 1 => (
                self.scratch.expect("taken at the start"),
                BLOCK_BYTES + self.done,
            ),
            _ => (self.scratch.expect("taken at the start"), self.done),
        }
    }

    /// Whether nobody knows yet if it was this write that found no space.
    fn is_doubtful(&self, errno: i32, context: &Context<'_>) -> bool {
        self.step == Step::Transfer
            && self.fua()
            && context.backing.is_cached()
            && matches!(errno, libc::ENOSPC | libc::EDQUOT)
    }

    /// What an error means. What could not be made stable has failed, for want of space or whatever: a later attempt would
    /// find nothing left to write. The same through a page cache of which nobody can be asked what else it has lost.
    pub(super) fn error(&self, errno: i32) -> DiskError {
        let lost = matches!(self.step, Step::Sync | Step::Witness(_));
        self.told(errno, if lost { libc::EIO } else { errno })
    }

    /// In words, and as what it counts.
    fn told(&self, errno: i32, counts_as: i32) -> DiskError {
        DiskError {
            errno: counts_as,
            what: format!(
                "{} failed: {}",
                self.words(),
                std::io::Error::from_raw_os_error(errno)
            ),
        }
    }

    fn ended_early(&self) -> DiskError {
        DiskError {
            errno: libc::EIO,
            what: format!(
                "{} met the end of the backing device: it is smaller than it was at the start",
                self.words()
            ),
        }
    }

    fn words(&self) -> String {
        match self.io {
            DiskIo::Read { range, .. }
            | DiskIo::FillEdges { range, .. }
            | DiskIo::Hash { range } => format!("reading blocks {range}"),
            DiskIo::Write { range, .. } => format!("writing blocks {range}"),
            DiskIo::Zero { range, .. } => format!("zeroing blocks {range}"),
            DiskIo::Flush => "the flush".to_owned(),
            DiskIo::FillFrom { .. } | DiskIo::Copy { .. } => unreachable!("these need no disk"),
        }
    }
}
