//! Foreign bytes into frames. Everything is checked before anything of the announced length is allocated.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use super::{
    FLAG_FUA, FLAG_RESYNC, FLAG_UNMAP, HASH_BYTES, HEADER_BYTES, Kind, MAGIC, MASK_BYTES,
    RawHeader, WORD_BYTES, WireError,
};
use crate::{
    codec,
    frame::{BITS_WORDS, BlockMask, Envelope, Frame, How},
    ids::{BlockRange, Seq, Term},
    limits::{BLOCK_BYTES, MAX_CONTROL_BYTES, MAX_DATA_BLOCKS, MAX_DEVICE_BLOCKS, MAX_ZERO_BLOCKS},
};

/// The receiving end of one direction of a connection.
#[derive(Clone, Debug)]
pub struct ChainDecoder {
    /// `None` once a header was refused.
    previous: Option<u32>,
}

/// A header that is in its place in the chain and within all limits.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    raw: RawHeader,
    kind: Kind,
}

/// What follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Nothing.
    None,
    /// So many bytes for [`Header::finish`].
    Inline(usize),
    /// So many bytes of block data, for a buffer of the caller; compare them with [`Header::payload_crc`].
    Blocks(usize),
}

impl ChainDecoder {
    /// With the seed that authentication gave this direction.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self {
            previous: Some(seed),
        }
    }

    /// Checks the next header of the stream.
    ///
    /// # Errors
    /// When it is not the header that follows the one before, or breaks a rule. The decoder refuses everything after
    /// that: the connection must be dropped.
    pub fn header(&mut self, bytes: &[u8; HEADER_BYTES]) -> Result<Header, WireError> {
        let previous = self.previous.take().ok_or(WireError::Broken)?;
        let raw: RawHeader = zerocopy::transmute!(*bytes);
        if raw.magic.get() != MAGIC {
            return Err(WireError::Magic {
                found: raw.magic.get(),
            });
        }
        let expected = raw.chain_after(previous);
        let found = raw.chain.get();
        if found != expected {
            return Err(WireError::Chain { expected, found });
        }
        let kind = validate(&raw)?;
        self.previous = Some(found);
        Ok(Header { raw, kind })
    }
}

impl Header {
    /// What follows, and how long it is.
    #[must_use]
    pub const fn payload(&self) -> PayloadKind {
        let bytes = self.raw.payload_len.get() as usize;
        match self.kind {
            Kind::Write | Kind::ReadReply => PayloadKind::Blocks(bytes),
            Kind::Hash | Kind::Differ | Kind::Bits | Kind::Control if bytes > 0 => {
                PayloadKind::Inline(bytes)
            }
            Kind::Hash | Kind::Differ | Kind::Bits | Kind::Control => PayloadKind::None,
            Kind::Zero | Kind::Flush | Kind::Received | Kind::Written | Kind::Stable => {
                PayloadKind::None
            }
            Kind::Read | Kind::ReadFailed | Kind::Ping | Kind::Pong => PayloadKind::None,
        }
    }

    /// The CRC-32 of what follows.
    #[must_use]
    pub const fn payload_crc(&self) -> u32 {
        self.raw.payload_crc.get()
    }

    /// The kind of frame.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The frame. `inline` is what [`PayloadKind::Inline`] announced, and empty for all other frames, block data too.
    ///
    /// # Errors
    /// When the inline bytes are altered or make no sense. The connection must be dropped.
    pub fn finish(&self, inline: &[u8]) -> Result<Envelope, WireError> {
        let expected = match self.payload() {
            PayloadKind::Inline(bytes) => bytes,
            PayloadKind::None | PayloadKind::Blocks(_) => 0,
        };
        if inline.len() != expected {
            return Err(WireError::Length {
                kind: self.kind,
                expected,
                found: inline.len(),
            });
        }
        if !matches!(self.payload(), PayloadKind::Blocks(_)) {
            let (expected, found) = (self.payload_crc(), crc32fast::hash(inline));
            if expected != found {
                return Err(WireError::Payload {
                    kind: self.kind,
                    expected,
                    found,
                });
            }
        }
        Ok(Envelope {
            term: Term(self.raw.term.get()),
            stable: Seq(self.raw.stable.get()),
            frame: self.frame(inline)?,
        })
    }

    fn frame(&self, inline: &[u8]) -> Result<Frame, WireError> {
        let raw = &self.raw;
        let (seq, tag) = (Seq(raw.seq.get()), raw.seq.get());
        let depends_on = Seq(raw.depends_on.get());
        let range = BlockRange::new(raw.start.get(), raw.count.get());
        let how = How {
            fua: raw.flags & FLAG_FUA != 0,
            resync: raw.flags & FLAG_RESYNC != 0,
        };
        Ok(match self.kind {
            Kind::Write => Frame::Write {
                seq,
                depends_on,
                range,
                how,
            },
            Kind::Zero => Frame::Zero {
                seq,
                depends_on,
                range,
                how,
                unmap: raw.flags & FLAG_UNMAP != 0,
            },
            Kind::Flush => Frame::Flush { seq },
            Kind::Received => Frame::Received { seq },
            Kind::Written => Frame::Written { seq },
            Kind::Stable => Frame::Stable { seq },
            Kind::Read => Frame::Read { tag, range },
            Kind::ReadReply => Frame::ReadReply { tag, range },
            Kind::ReadFailed => Frame::ReadFailed { tag },
            Kind::Hash => Frame::Hash {
                tag,
                range,
                hashes: hashes(inline),
            },
            Kind::Differ => Frame::Differ {
                tag,
                mask: self.mask(inline)?,
            },
            Kind::Bits => Frame::Bits {
                first: raw.start.get(),
                words: words(inline).collect(),
            },
            Kind::Ping => Frame::Ping,
            Kind::Pong => Frame::Pong,
            Kind::Control => Frame::Control(codec::decode(inline)?),
        })
    }

    fn mask(&self, inline: &[u8]) -> Result<BlockMask, WireError> {
        let mut mask = BlockMask::default();
        if inline.len() != MASK_BYTES {
            return Err(WireError::Length {
                kind: self.kind,
                expected: MASK_BYTES,
                found: inline.len(),
            });
        }
        mask.0
            .iter_mut()
            .zip(words(inline))
            .for_each(|(to, from)| *to = from);
        Ok(mask)
    }
}

/// Checks everything but magic and chain.
pub(super) fn validate(raw: &RawHeader) -> Result<Kind, WireError> {
    let kind = Kind::from_number(raw.kind).ok_or(WireError::Kind { found: raw.kind })?;
    let rules = Rules::of(kind);
    let refuse = |field, value, rule| {
        Err(WireError::Field {
            kind,
            field,
            value,
            rule,
        })
    };
    let unused = "it is not used and must be 0";
    if raw.flags & !rules.flags != 0 {
        return refuse("flags", raw.flags.into(), "a flag is unknown for this kind");
    }
    if raw.reserved.get() != 0 {
        return refuse("reserved", raw.reserved.get().into(), unused);
    }
    if !rules.seq && raw.seq.get() != 0 {
        return refuse("seq", raw.seq.get(), unused);
    }
    if !rules.depends_on && raw.depends_on.get() != 0 {
        return refuse("depends_on", raw.depends_on.get(), unused);
    }
    let (start, count) = (raw.start.get(), raw.count.get());
    let end_blocks = match rules.place {
        Place::None => {
            if start != 0 {
                return refuse("start", start, unused);
            }
            if count != 0 {
                return refuse("count", count.into(), unused);
            }
            0
        }
        Place::Range { most_blocks } => {
            if count == 0 || count > most_blocks {
                return refuse(
                    "count",
                    count.into(),
                    "a range has 1 block to the limit of its kind",
                );
            }
            start.saturating_add(count.into())
        }
        Place::Words => {
            if !start.is_multiple_of(64) {
                return refuse("start", start, "bits start at a multiple of 64");
            }
            if count as usize > BITS_WORDS {
                return refuse("count", count.into(), "there are at most 512 words");
            }
            start.saturating_add(u64::from(count) * 64)
        }
    };
    if end_blocks > MAX_DEVICE_BLOCKS {
        return refuse("start", start, "the range ends behind the largest device");
    }
    let len = raw.payload_len.get() as usize;
    let fits = match rules.payload {
        Payload::None => len == 0,
        Payload::PerCount(bytes) => len == bytes * count as usize,
        Payload::Fixed(bytes) => len == bytes,
        Payload::UpTo(most) => (1..=most).contains(&len),
    };
    if !fits {
        return refuse(
            "payload_len",
            len as u64,
            "kind and count ask for another length",
        );
    }
    if len == 0 && raw.payload_crc.get() != 0 {
        return refuse("payload_crc", raw.payload_crc.get().into(), unused);
    }
    Ok(kind)
}

/// What the fields of a header may hold.
pub(crate) struct Rules {
    pub(crate) flags: u8,
    pub(crate) seq: bool,
    pub(crate) depends_on: bool,
    pub(crate) place: Place,
    pub(crate) payload: Payload,
}

pub(crate) enum Place {
    None,
    Range { most_blocks: u32 },
    Words,
}

pub(crate) enum Payload {
    None,
    PerCount(usize),
    Fixed(usize),
    UpTo(usize),
}

impl Rules {
    pub(crate) const fn of(kind: Kind) -> Self {
        const BARE: Rules = Rules {
            flags: 0,
            seq: false,
            depends_on: false,
            place: Place::None,
            payload: Payload::None,
        };
        const NUMBERED: Rules = Rules { seq: true, ..BARE };
        const RANGE: Rules = Rules {
            place: Place::Range {
                most_blocks: MAX_DATA_BLOCKS,
            },
            ..NUMBERED
        };
        match kind {
            Kind::Write => Self {
                flags: FLAG_FUA | FLAG_RESYNC,
                depends_on: true,
                payload: Payload::PerCount(BLOCK_BYTES),
                ..RANGE
            },
            Kind::Zero => Self {
                flags: FLAG_FUA | FLAG_RESYNC | FLAG_UNMAP,
                depends_on: true,
                place: Place::Range {
                    most_blocks: MAX_ZERO_BLOCKS,
                },
                ..NUMBERED
            },
            Kind::Flush | Kind::Received | Kind::Written | Kind::Stable | Kind::ReadFailed => {
                NUMBERED
            }
            Kind::Read => RANGE,
            Kind::ReadReply => Self {
                payload: Payload::PerCount(BLOCK_BYTES),
                ..RANGE
            },
            Kind::Hash => Self {
                payload: Payload::PerCount(HASH_BYTES),
                ..RANGE
            },
            Kind::Differ => Self {
                payload: Payload::Fixed(MASK_BYTES),
                ..NUMBERED
            },
            Kind::Bits => Self {
                place: Place::Words,
                payload: Payload::PerCount(WORD_BYTES),
                ..BARE
            },
            Kind::Ping | Kind::Pong => BARE,
            Kind::Control => Self {
                payload: Payload::UpTo(MAX_CONTROL_BYTES),
                ..BARE
            },
        }
    }
}

#[cfg(test)]
impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Range { most_blocks } => write!(f, "1 to {most_blocks} blocks"),
            Self::Words => write!(f, "up to {BITS_WORDS} words"),
        }
    }
}

#[cfg(test)]
impl core::fmt::Display for Payload {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::PerCount(bytes) => write!(f, "{bytes} per count"),
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::UpTo(most) => write!(f, "up to {most}"),
        }
    }
}

fn hashes(inline: &[u8]) -> Vec<u128> {
    let (chunks, _) = inline.as_chunks::<HASH_BYTES>();
    chunks
        .iter()
        .map(|bytes| u128::from_le_bytes(*bytes))
        .collect()
}

fn words(inline: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let (chunks, _) = inline.as_chunks::<WORD_BYTES>();
    chunks.iter().map(|bytes| u64::from_le_bytes(*bytes))
}
