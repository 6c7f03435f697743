//! Frames as bytes: a fixed header of 64 bytes, chained to the one before it, then the payload.
//!
//! [`ChainEncoder`] and [`ChainDecoder`] are the two ends of one direction of a connection. A header that is lost,
//! repeated, out of order or altered breaks the chain; nothing that follows is believed. Block
//! data is never seen here: it travels beside the header, and [`crate::checksum`] checks it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub(crate) mod decode;
mod encode;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, LE, U16, U32, U64, Unaligned};

pub use self::{
    decode::{ChainDecoder, Header, PayloadKind},
    encode::ChainEncoder,
};
use crate::codec::CodecError;

/// Bytes of a frame header.
pub const HEADER_BYTES: usize = 64;

/// Why the bytes of a peer are not a frame. The connection is to be dropped on each of these.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// It is not a frame header.
    #[error(
        "frame header starts with {found:08x} instead of {MAGIC:08x}: the stream is out of step or not ours"
    )]
    Magic {
        /// What is there.
        found: u32,
    },
    /// The chain is broken.
    #[error(
        "frame header has chain value {found:08x} instead of {expected:08x}: it was altered, or a frame \
         before it was lost, repeated or reordered"
    )]
    Chain {
        /// Computed here.
        expected: u32,
        /// In the header.
        found: u32,
    },
    /// An earlier header was refused already.
    #[error(
        "a frame header was refused before; nothing that follows it on this connection is believed"
    )]
    Broken,
    /// A kind of frame that this version does not have.
    #[error("frame of unknown kind {found}: the peer speaks another protocol version")]
    Kind {
        /// Its number.
        found: u8,
    },
    /// A field holds what it must not.
    #[error("{kind:?} frame has {field} = {value}: {rule}")]
    Field {
        /// The kind of frame.
        kind: Kind,
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        rule: &'static str,
    },
    /// The caller gave another number of inline bytes than the header announced.
    #[error("{kind:?} frame came with {found} bytes of contents instead of {expected}")]
    Length {
        /// The kind of frame.
        kind: Kind,
        /// From the header.
        expected: usize,
        /// Given.
        found: usize,
    },
    /// The inline payload was altered.
    #[error(
        "contents of a {kind:?} frame have CRC {found:08x} instead of {expected:08x}: altered on the way"
    )]
    Payload {
        /// The kind of frame.
        kind: Kind,
        /// From the header.
        expected: u32,
        /// Of the bytes.
        found: u32,
    },
    /// The control message in it is bad.
    #[error(transparent)]
    Control(#[from] CodecError),
}

/// The kinds of frames, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(
    missing_docs,
    reason = "each is the variant of `Frame` of the same name"
)]
pub enum Kind {
    Write = 1,
    Zero = 2,
    Flush = 3,
    Received = 4,
    Written = 5,
    Stable = 6,
    Read = 7,
    ReadReply = 8,
    ReadFailed = 9,
    Hash = 10,
    Differ = 11,
    Bits = 12,
    Ping = 13,
    Pong = 14,
    Control = 15,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Write,
        Self::Zero,
        Self::Flush,
        Self::Received,
        Self::Written,
        Self::Stable,
        Self::Read,
        Self::ReadReply,
        Self::ReadFailed,
        Self::Hash,
        Self::Differ,
        Self::Bits,
        Self::Ping,
        Self::Pong,
        Self::Control,
    ];

    fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).copied()
    }
}

/// The header as it is on the wire. `FORMAT.md` says which kind uses which field; the others are zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawHeader {
    pub(crate) magic: U32<LE>,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) reserved: U16<LE>,
    pub(crate) payload_len: U32<LE>,
    pub(crate) payload_crc: U32<LE>,
    pub(crate) seq: U64<LE>,
    pub(crate) depends_on: U64<LE>,
    pub(crate) term: U64<LE>,
    pub(crate) stable: U64<LE>,
    pub(crate) start: U64<LE>,
    pub(crate) count: U32<LE>,
    pub(crate) chain: U32<LE>,
}

impl RawHeader {
    /// The value that belongs into `chain` when the header before this one had `previous`.
    pub(crate) fn chain_after(&self, previous: u32) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(previous);
        let (chained, _) = self.as_bytes().split_at(HEADER_BYTES - size_of::<u32>());
        hasher.update(chained);
        hasher.finalize()
    }
}

/// "TWDK" on the wire.
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"TWDK");
const FLAG_FUA: u8 = 1;
const FLAG_RESYNC: u8 = 2;
const FLAG_UNMAP: u8 = 4;
const HASH_BYTES: usize = size_of::<u128>();
const MASK_BYTES: usize = 32;
const WORD_BYTES: usize = 8;

const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);

#[cfg(test)]
mod tests;
