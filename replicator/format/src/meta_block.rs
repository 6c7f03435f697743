//! The 4 KiB block that all metadata consists of: who it belongs to, and how damage is told from a torn write.
//!
//! A block is eight sectors of 512 bytes. Each sector carries the CRC of the whole block and a CRC of itself, so that
//! two kinds of bad blocks can be told apart:
//!
//! - **torn**: every sector is whole, but they are not of the same write. The write was cut, nobody was told that it
//!   is durable, and the older copy is the truth;
//! - **damaged**: a sector is not what any write of ours put there. Nobody knows what the block held, so whoever reads
//!   it must assume the worst, also when an older copy is readable.
//!
//! Header, magic and seals stay as they are in every later format version, so that each version can name the other.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::fmt;

use thiserror::Error;
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, LE, U16, U32, U64, U128, Unaligned,
};

use crate::{
    ids::{ResourceId, Slot},
    limits::BLOCK_BYTES,
};

/// One block of metadata as it is on the disk.
pub type MetaBlock = [u8; BLOCK_BYTES];

/// The contents of a metadata block without header and seals.
pub type Body = [u8; BODY_BYTES];

/// The version of the metadata format that this crate writes.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes of a [`Body`].
pub const BODY_BYTES: usize = SECTORS * SECTOR_DATA_BYTES - size_of::<Header>();

/// What a metadata block is for. It is written into the block: a block read from another place is refused.
///
/// The place is kept rather than the block number, which follows from it (see [`crate::layout::Layout`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// One of the two superblock copies.
    Superblock {
        /// 0 or 1: the lowest bit of the counter.
        copy: u8,
    },
    /// One of the two copies of an activity-log page.
    ActivityLog {
        /// The page.
        page: u32,
        /// 0 or 1: the lowest bit of the counter.
        copy: u8,
    },
    /// A page of a peer's dirty bitmap.
    Bitmap {
        /// The peer.
        slot: Slot,
        /// The page.
        page: u32,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock { copy } => write!(f, "superblock copy {copy}"),
            Self::ActivityLog { page, copy } => write!(f, "activity log page {page} copy {copy}"),
            Self::Bitmap { slot, page } => write!(f, "bitmap of peer slot {slot} page {page}"),
        }
    }
}

/// Why a metadata block can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Every byte is zero.
    #[error("is empty: nothing was ever written here, or it was wiped")]
    Empty,
    /// The magic is missing though the rest may be anything.
    #[error("is not Twindisk metadata: the device holds something else, or is damaged")]
    Foreign,
    /// The write was cut; the previous state is the truth.
    #[error("is torn: power or process was lost while it was written")]
    Torn,
    /// Something changed it after it was written.
    #[error("is damaged in sector {sector}: its checksum does not match its contents")]
    Damaged {
        /// The first bad sector, 0 to 7.
        sector: u8,
    },
    /// It belongs elsewhere: a misdirected write or a wrong copy by hand.
    #[error("belongs elsewhere: it is the {found}")]
    Misplaced {
        /// What it is.
        found: FoundPlace,
    },
    /// It is another resource's.
    #[error("belongs to resource {:032x}, not to {:032x}", found.0, expected.0)]
    OtherResource {
        /// Whose it is.
        found: ResourceId,
        /// Whose it should be.
        expected: ResourceId,
    },
    /// An older Twindisk wrote it.
    #[error(
        "has format version {found}, this program needs {FORMAT_VERSION}: upgrade the metadata with \
         a version of Twindisk that knows both"
    )]
    OlderVersion {
        /// Its version.
        found: u16,
    },
    /// A newer Twindisk wrote it.
    #[error(
        "has format version {found}, this program knows up to {FORMAT_VERSION}: run the Twindisk \
         version that wrote it, or a newer one"
    )]
    NewerVersion {
        /// Its version.
        found: u16,
    },
    /// The checksum is right but the contents make no sense: a program error, here or in the writer.
    #[error("is sealed correctly but holds an impossible value: {what}")]
    Impossible {
        /// Which field, and why.
        what: &'static str,
    },
    /// It contradicts the other copy.
    #[error("has other {what} than the other copy: the metadata was mixed up from two places")]
    Disagrees {
        /// What differs.
        what: &'static str,
    },
    /// The storage below could not read it.
    #[error("can't be read: {why}")]
    Unreadable {
        /// In the words of the reader.
        why: String,
    },
}

/// The place that a misplaced block says it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundPlace {
    /// A known one.
    Known(Place),
    /// A kind of block that this version does not have.
    Unknown {
        /// The number of the kind.
        kind: u8,
    },
}

impl fmt::Display for FoundPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(place) => place.fmt(f),
            Self::Unknown { kind } => write!(f, "block of unknown kind {kind}"),
        }
    }
}

/// A metadata block that is whole and where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) resource: ResourceId,
    pub(crate) counter: u64,
    pub(crate) body: Box<Body>,
}

/// Makes the block that belongs to `place`.
pub(crate) fn seal(
    place: Place,
    resource: ResourceId,
    counter: u64,
    body: &Body,
) -> Box<MetaBlock> {
    let (kind, lane, index) = encode_place(place);
    let header = Header {
        magic: MAGIC,
        version: U16::new(FORMAT_VERSION),
        kind,
        lane,
        index: U32::new(index),
        counter: U64::new(counter),
        resource: U128::new(resource.0),
        reserved: [0; 24],
    };
    seal_content(&Content {
        header,
        body: *body,
    })
}

/// Checks everything about `block` that does not depend on what its body means.
///
/// `resource` is `None` for a superblock, which says itself whose it is.
pub(crate) fn open(
    block: &MetaBlock,
    place: Place,
    resource: Option<ResourceId>,
) -> Result<Opened, Fault> {
    let content = unseal(block).map_err(|fault| match fault {
        Fault::Torn => torn(block, place, resource),
        whole => whole,
    })?;
    let header = &content.header;
    let version = header.version.get();
    if version < FORMAT_VERSION {
        return Err(Fault::OlderVersion { found: version });
    }
    if version > FORMAT_VERSION {
        return Err(Fault::NewerVersion { found: version });
    }
    belongs(header, place)?;
    if header.reserved != [0; 24] {
        return Err(Fault::Impossible {
            what: "the header's reserved bytes are not zero",
        });
    }
    let counter = header.counter.get();
    let copy = match place {
        Place::Superblock { copy } | Place::ActivityLog { copy, .. } => Some(copy),
        Place::Bitmap { .. } => None,
    };
    if copy.is_some_and(|copy| counter & 1 != u64::from(copy)) {
        return Err(Fault::Impossible {
            what: "the counter belongs to the other copy",
        });
    }
    let found = ResourceId(header.resource.get());
    if let Some(expected) = resource.filter(|expected| *expected != found) {
        return Err(Fault::OtherResource { found, expected });
    }
    Ok(Opened {
        resource: found,
        counter,
        body: Box::new(content.body),
    })
}

fn belongs(header: &Header, place: Place) -> Result<(), Fault> {
    let found = decode_place(header);
    if found == Some(place) {
        return Ok(());
    }
    let found = found.map_or(FoundPlace::Unknown { kind: header.kind }, FoundPlace::Known);
    Err(Fault::Misplaced { found })
}

/// What a torn block is taken for. Its sectors are of two writes of ours; when its header is of one that was meant for
/// another place or resource, that one is here by mistake, and what it has overwritten may have been whole.
fn torn(block: &MetaBlock, place: Place, resource: Option<ResourceId>) -> Fault {
    let Some(header) = first_header(block) else {
        return Fault::Damaged { sector: 0 };
    };
    let found = ResourceId(header.resource.get());
    match (belongs(header, place), resource) {
        (Err(misplaced), _) => misplaced,
        (Ok(()), Some(expected)) if expected != found => Fault::OtherResource { found, expected },
        (Ok(()), _) => Fault::Torn,
    }
}

/// The header, when the sector that holds it is whole and ours.
fn first_header(block: &MetaBlock) -> Option<&Header> {
    let sectors = Sectors::ref_from_bytes(block).ok()?;
    let first = sectors.0.first()?;
    if first.crc.get() != sector_crc(0, first) {
        return None;
    }
    let (header, _) = Header::ref_from_prefix(&first.data).ok()?;
    (header.magic == MAGIC).then_some(header)
}

/// The counter of a bad block, when the sector that holds it is whole: tells whether it was the newer copy.
pub(crate) fn salvage_counter(block: &MetaBlock) -> Option<u64> {
    first_header(block).map(|header| header.counter.get())
}

pub(crate) fn seal_content(content: &Content) -> Box<MetaBlock> {
    let block_crc = crc32fast::hash(content.as_bytes());
    let mut block = Box::new([0; BLOCK_BYTES]);
    let sectors =
        Sectors::mut_from_bytes(block.as_mut_slice()).expect("a block is exactly eight sectors");
    let chunks = content.as_bytes().chunks_exact(SECTOR_DATA_BYTES);
    for (index, (sector, chunk)) in (0u8..).zip(sectors.0.iter_mut().zip(chunks)) {
        sector.data.copy_from_slice(chunk);
        sector.block_crc = U32::new(block_crc);
        sector.crc = U32::new(sector_crc(index, sector));
    }
    block
}

fn unseal(block: &MetaBlock) -> Result<Box<Content>, Fault> {
    if block.iter().all(|byte| *byte == 0) {
        return Err(Fault::Empty);
    }
    let sectors = Sectors::ref_from_bytes(block).map_err(|_| Fault::Foreign)?;
    let mut content = Box::new(Content::new_zeroed());
    let mut bad = None;
    let mut good = 0;
    let mut crcs = [0; SECTORS];
    let chunks = content
        .as_mut_bytes()
        .chunks_exact_mut(SECTOR_DATA_BYTES)
        .zip(&mut crcs);
    for (index, (sector, (chunk, crc))) in (0u8..).zip(sectors.0.iter().zip(chunks)) {
        if sector.crc.get() == sector_crc(index, sector) {
            good += 1;
        } else {
            bad = bad.or(Some(index));
        }
        chunk.copy_from_slice(&sector.data);
        *crc = sector.block_crc.get();
    }
    if content.header.magic != MAGIC && good == 0 {
        return Err(Fault::Foreign);
    }
    if let Some(sector) = bad {
        return Err(Fault::Damaged { sector });
    }
    let block_crc = crc32fast::hash(content.as_bytes());
    if crcs.iter().any(|crc| *crc != block_crc) {
        return Err(Fault::Torn);
    }
    if content.header.magic != MAGIC {
        return Err(Fault::Foreign);
    }
    Ok(content)
}

/// Seeded with the sector's position, so that swapped sectors are damage.
fn sector_crc(index: u8, sector: &Sector) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[index]);
    hasher.update(&sector.data);
    hasher.update(sector.block_crc.as_bytes());
    hasher.finalize()
}

fn encode_place(place: Place) -> (u8, u8, u32) {
    match place {
        Place::Superblock { copy } => (KIND_SUPERBLOCK, copy, 0),
        Place::ActivityLog { page, copy } => (KIND_ACTIVITY_LOG, copy, page),
        Place::Bitmap { slot, page } => (KIND_BITMAP, slot.index() as u8, page),
    }
}

fn decode_place(header: &Header) -> Option<Place> {
    let (copy, index) = (header.lane, header.index.get());
    match header.kind {
        KIND_SUPERBLOCK if copy < 2 && index == 0 => Some(Place::Superblock { copy }),
        KIND_ACTIVITY_LOG if copy < 2 => Some(Place::ActivityLog { page: index, copy }),
        KIND_BITMAP => {
            let slot = Slot::new(usize::from(header.lane))?;
            Some(Place::Bitmap { slot, page: index })
        }
        _ => None,
    }
}

/// Starts every metadata block.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U16<LE>,
    pub(crate) kind: u8,
    pub(crate) lane: u8,
    pub(crate) index: U32<LE>,
    pub(crate) counter: U64<LE>,
    pub(crate) resource: U128<LE>,
    pub(crate) reserved: [u8; 24],
}

/// What the sectors carry, put together.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) body: Body,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Sectors([Sector; SECTORS]);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct Sector {
    pub(crate) data: [u8; SECTOR_DATA_BYTES],
    pub(crate) block_crc: U32<LE>,
    pub(crate) crc: U32<LE>,
}

const MAGIC: [u8; 8] = *b"TWINDISK";
const KIND_SUPERBLOCK: u8 = 1;
const KIND_ACTIVITY_LOG: u8 = 2;
const KIND_BITMAP: u8 = 3;
const SECTORS: usize = 8;
const SECTOR_DATA_BYTES: usize = 504;

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<Sector>() == 512);
const _: () = assert!(size_of::<Sectors>() == BLOCK_BYTES);
const _: () = assert!(size_of::<Content>() == SECTORS * SECTOR_DATA_BYTES);
const _: () = assert!(BODY_BYTES == 3968);

#[cfg(test)]
mod tests;
