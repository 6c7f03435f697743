//! Numbers that must not be mistaken for one another: nodes, terms, sequence numbers, block ranges.

use core::fmt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::limits::{BLOCK_BYTES, EXTENT_BLOCKS, MAX_PEERS};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
            Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A node of the cluster, as numbered in the configuration (0 to 255).
    NodeId(u8)
}
number! {
    /// The fencing epoch: grows with each change of who may write. Terms travel in every message (R4).
    Term(u64)
}
number! {
    /// Number of an in-sync set: every change of it makes a new one (R14).
    Epoch(u64)
}
number! {
    /// Position of a mutation or flush in the primary's stream. Unique within a term; gaps are legal.
    Seq(u64)
}
number! {
    /// One run of the replica process. A peer that comes back with another one has restarted.
    BootId(u64)
}
number! {
    /// How often a replica's superblock was written: grows with each write, and goes back only with the metadata.
    Moment(u64)
}
number! {
    /// Hash of the cluster's name: peers of another cluster are refused.
    ClusterId(u128)
}
number! {
    /// Hash of the cluster's and the resource's name: peers of another resource are refused.
    ResourceId(u128)
}
number! {
    /// Random name of a generation: tells two generations of the same term apart.
    GenerationId(u64)
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Seq {
    /// The sequence number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Index of a peer in this node's tables (superblock, bitmaps): 0 to [`MAX_PEERS`]` - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(u8);

impl Slot {
    /// The slot numbered `index`, or `None` when there is no such slot.
    #[must_use]
    pub const fn new(index: usize) -> Option<Self> {
        if index < MAX_PEERS {
            Some(Self(index as u8))
        } else {
            None
        }
    }

    /// For indexing a table that has one entry per peer.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A run of blocks on the device. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct BlockRange {
    /// First block.
    pub start: u64,
    /// Number of blocks, at least 1.
    pub blocks: u32,
}

impl BlockRange {
    /// `blocks` blocks from `start` on.
    #[must_use]
    pub const fn new(start: u64, blocks: u32) -> Self {
        Self { start, blocks }
    }

    /// The block after the last one.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start + self.blocks as u64
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.blocks as u64 * BLOCK_BYTES as u64
    }

    /// Offset of the first byte on the device.
    #[must_use]
    pub const fn byte_offset(self) -> u64 {
        self.start * BLOCK_BYTES as u64
    }

    /// Whether both ranges share a block.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }

    /// The activity-log extents that the range touches.
    #[must_use]
    pub const fn extents(self) -> core::ops::RangeInclusive<u32> {
        (self.start / EXTENT_BLOCKS) as u32..=((self.end() - 1) / EXTENT_BLOCKS) as u32
    }
}

impl fmt::Display for BlockRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.start, self.blocks)
    }
}

/// A set of peer slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(u8);

impl SlotSet {
    /// No slot.
    pub const EMPTY: Self = Self(0);

    /// Adds `slot`.
    pub const fn insert(&mut self, slot: Slot) {
        self.0 |= 1 << slot.0;
    }

    /// Takes `slot` out and says whether it was in.
    pub const fn remove(&mut self, slot: Slot) -> bool {
        let had = self.contains(slot);
        self.0 &= !(1 << slot.0);
        had
    }

    /// Whether `slot` is in.
    #[must_use]
    pub const fn contains(self, slot: Slot) -> bool {
        self.0 & (1 << slot.0) != 0
    }

    /// Whether nothing is in.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The slots in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (0..MAX_PEERS)
            .filter_map(Slot::new)
            .filter(move |slot| self.contains(*slot))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<T: IntoIterator<Item = Slot>>(slots: T) -> Self {
        let mut set = Self::EMPTY;
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}
