//! The frames that peers exchange once they have authenticated each other.

use crate::{
    control::ControlMessage,
    ids::{BlockRange, Seq, Term},
};

/// A frame with what every frame carries. In memory; `wire` holds the byte layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's term (R4).
    pub term: Term,
    /// From a primary: every mutation up to here is stable on every in-sync replica.
    pub stable: Seq,
    /// What is said.
    pub frame: Frame,
}

/// What peers say to each other. Frames marked *payload* are followed by `range.bytes()` bytes of block data, which
/// travel beside the frame as a buffer handle and never inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// *Payload.* Write these blocks.
    Write {
        /// Position in the stream.
        seq: Seq,
        /// Newest flush that the client had seen complete: hold the write back until that one is stable here.
        depends_on: Seq,
        /// Where.
        range: BlockRange,
        /// Why and how.
        how: How,
    },
    /// Make these blocks read as zeros.
    Zero {
        /// Position in the stream.
        seq: Seq,
        /// As in `Write`.
        depends_on: Seq,
        /// Where.
        range: BlockRange,
        /// Why and how.
        how: How,
        /// The blocks may be unmapped.
        unmap: bool,
    },
    /// Make everything before `seq` stable, then say `Stable`.
    Flush {
        /// Position in the stream.
        seq: Seq,
    },
    /// The mutation `seq` was received and verified (protocol B).
    Received {
        /// Which.
        seq: Seq,
    },
    /// The mutation `seq` is on the disk (and stable there, if it was FUA).
    Written {
        /// Which.
        seq: Seq,
    },
    /// Every mutation and flush up to `seq` is stable here.
    Stable {
        /// Up to and with.
        seq: Seq,
    },
    /// Send me these blocks.
    Read {
        /// Echoed in the reply.
        tag: u64,
        /// Which.
        range: BlockRange,
    },
    /// *Payload.* Here they are.
    ReadReply {
        /// Of the request.
        tag: u64,
        /// Which.
        range: BlockRange,
    },
    /// They can't be read here.
    ReadFailed {
        /// Of the request.
        tag: u64,
    },
    /// Compare these blocks with yours: one xxh3-128 per block.
    Hash {
        /// Echoed in the reply.
        tag: u64,
        /// Which; at most [`crate::limits::MAX_DATA_BLOCKS`].
        range: BlockRange,
        /// One hash per block, in order.
        hashes: Vec<u128>,
    },
    /// The answer: bit `i` is set when block `range.start + i` differs.
    Differ {
        /// Of the request.
        tag: u64,
        /// The blocks that differ.
        mask: BlockMask,
    },
    /// Blocks in which the sender may differ from the receiver: one bit each, block `first` is bit 0 of word 0.
    Bits {
        /// First block; a multiple of 64.
        first: u64,
        /// The bits; at most [`BITS_WORDS`] words.
        words: Vec<u64>,
    },
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
    /// Anything rare.
    Control(ControlMessage),
}

/// Why a mutation is sent and how it must be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Stable before it is acknowledged.
    pub fua: bool,
    /// Part of a resync or repair: not a client's write.
    pub resync: bool,
}

/// Most words of a `Bits` frame: 32 Ki bits, 128 MiB of device.
pub const BITS_WORDS: usize = 512;

/// One bit per block of a frame of at most [`crate::limits::MAX_DATA_BLOCKS`] blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockMask(pub [u64; 4]);

impl BlockMask {
    /// So many blocks it can speak of.
    pub const BLOCKS: usize = 256;

    /// Marks block `index` of the range.
    pub const fn set(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Whether block `index` of the range is marked.
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    /// Number of marked blocks.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}
