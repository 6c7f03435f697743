//! All metadata of a replica at once: making it, loading it after whatever happened, checking and repairing it.
//!
//! Reads and writes are the caller's. What the caller owes:
//!
//! - [`create`]'s blocks are written in order, with a flush of the device wherever [`create`] says so;
//! - a superblock or activity-log page is written only when the previous write of its other copy is durable, and
//!   before the first write after [`load`] the device is flushed once: what was read may have been in a cache only;
//! - nothing that depends on a write is done before it is durable.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod report;
mod survey;

use core::fmt;

use thiserror::Error;

pub use self::report::{AlPageSummary, Dump, check, dump, repair};
use crate::{
    activity_log::{AlPage, EXTENTS_PER_PAGE, WORDS_PER_PAGE},
    bitmap::encode_bitmap_page,
    layout::Layout,
    limits::BLOCK_BYTES,
    meta_block::{Fault, MetaBlock, Place},
    superblock::{StoredDisk, Superblock},
};

/// Everything that a replica starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The newest superblock that could be read.
    pub superblock: Superblock,
    /// Its counter: the next one is written with this plus one.
    pub counter: u64,
    /// The other copy is damaged (not torn), so this one may be one change older than what was promised to others:
    /// treat the disk and the term with the care of a restored backup.
    pub superblock_doubtful: bool,
    /// The activity log.
    pub al: LoadedAl,
    /// Dirty bits per slot, enough words for the largest size. Bits behind the current size are zero.
    pub bitmaps: Vec<Vec<u64>>,
    /// One sentence per block that was not as it should be, for the log.
    pub warnings: Vec<String>,
}

/// The activity log as it was when the replica stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedAl {
    /// Every page with the counter of its newest copy. To write a change, add one to the counter: it says which copy
    /// is next.
    pub pages: Vec<AlPage>,
    /// Active extents in order, none behind the current size.
    pub active: Vec<u32>,
}

/// Why metadata can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// Neither copy of the superblock is usable.
    #[error(
        "no usable superblock: block 0 {first}; block 1 {second}. If this place never held metadata, \
         `twindisk init` makes it; if it did, nothing can be told from what is left: initialise it \
         and let a peer resync the whole device"
    )]
    NoSuperblock {
        /// What is wrong with copy 0.
        first: Fault,
        /// What is wrong with copy 1.
        second: Fault,
    },
    /// A copy is whole but another program version's; it may be newer than the other copy, so neither is used.
    #[error("superblock at block {block} {fault}")]
    Version {
        /// Where.
        block: u64,
        /// [`Fault::OlderVersion`] or [`Fault::NewerVersion`].
        fault: Fault,
    },
    /// Both copies are whole but can't be of one history.
    #[error(
        "the two superblocks (blocks 0 and 1) have different {what}: the metadata was mixed up from two \
         places; initialise it and let a peer resync the whole device"
    )]
    Disagree {
        /// What differs.
        what: &'static str,
    },
}

/// A block that is not as it should be, and what is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Block number in the metadata.
    pub block: u64,
    /// What belongs there.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
    /// What is assumed instead.
    pub assumed: Assumed,
}

/// What stands in for a bad block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assumed {
    /// The other copy is the truth.
    OtherCopy,
    /// The other copy, though it may be one change too old.
    OtherCopyInDoubt,
    /// All extents of the page are active.
    AllActive,
    /// All blocks of the page are dirty.
    AllDirty,
    /// Nothing can: the metadata is unusable.
    Nothing,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            block,
            place,
            fault,
            assumed,
        } = self;
        write!(f, "block {block}, {place}, {fault}; {assumed}")
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherCopy => "the other copy is used",
            Self::OtherCopyInDoubt => "the other copy is used but may be older than what was lost",
            Self::AllActive => "every extent it covers counts as active",
            Self::AllDirty => "every block it covers counts as dirty",
            Self::Nothing => "the metadata can't be used",
        })
    }
}

/// Every block of fresh metadata with its number, in the order to write them: the superblock copies are wiped first
/// and written last, so that a cut leaves no metadata rather than half of it.
///
/// Flush after block 1 was wiped, before block 0 is written the second time, and at the end. Writing with `O_DSYNC`
/// does as well. The first change is written with counter 2.
pub fn create(superblock: &Superblock) -> impl Iterator<Item = (u64, Box<MetaBlock>)> + use<> {
    write_all(superblock.clone(), 0, Vec::new(), Vec::new())
}

/// The same with everything that `loaded` says, for a device that may grow to `max_size_blocks`: metadata that goes to
/// another place.
///
/// # Panics
/// When `max_size_blocks` is smaller than the largest size was.
pub fn recreate(
    loaded: Loaded,
    max_size_blocks: u64,
) -> impl Iterator<Item = (u64, Box<MetaBlock>)> + use<> {
    let mut superblock = loaded.superblock;
    assert!(
        max_size_blocks >= superblock.max_size_blocks,
        "metadata has room for no less than before"
    );
    superblock.max_size_blocks = max_size_blocks;
    if loaded.superblock_doubtful && superblock.disk == StoredDisk::UpToDate {
        // The copy in doubt is not there any more to say so.
        superblock.disk = StoredDisk::Outdated;
        superblock.active = true;
    }
    // Peers know how often it was written: it must not look like an older one.
    let first = loaded.counter.next_multiple_of(2);
    write_all(superblock, first, loaded.al.active, loaded.bitmaps)
}

fn write_all(
    superblock: Superblock,
    first: u64,
    active: Vec<u32>,
    bitmaps: Vec<Vec<u64>>,
) -> impl Iterator<Item = (u64, Box<MetaBlock>)> + use<> {
    let layout = Layout::of(&superblock);
    let superblocks = 0..2;
    let wiped = superblocks
        .clone()
        .map(|block| (block, Box::new([0; BLOCK_BYTES])));
    let rest = superblocks.end..layout.total_blocks();
    wiped.chain(rest.chain(superblocks).map(move |block| {
        let contents = match layout.place(block).expect("the range ends with the layout") {
            Place::Superblock { copy } => superblock.encode(first + u64::from(copy)),
            Place::ActivityLog { page, copy } => {
                let mut contents = AlPage::new(page, u64::from(copy));
                let of_page = |extent: &&u32| **extent / EXTENTS_PER_PAGE == page;
                for extent in active.iter().filter(of_page) {
                    contents.set(*extent);
                }
                contents.encode(superblock.resource)
            }
            Place::Bitmap { slot, page } => {
                let words = bitmaps.get(slot.index()).map_or(&[][..], |bitmap| {
                    let first = page as usize * WORDS_PER_PAGE;
                    let end = bitmap.len().min(first + WORDS_PER_PAGE);
                    bitmap.get(first..end).unwrap_or_default()
                });
                encode_bitmap_page(superblock.resource, slot, page, words)
            }
        };
        (block, contents)
    }))
}

/// Reads all metadata through `read`, which is called once for each block of the layout.
///
/// Bad blocks are replaced by the worst that they can have held, and named in [`Loaded::warnings`]; a block that
/// `read` fails on is as bad as a damaged one.
///
/// # Errors
/// When no superblock can be trusted.
pub fn load<E: fmt::Display>(
    read: impl FnMut(u64) -> Result<Box<MetaBlock>, E>,
) -> Result<Loaded, LoadError> {
    let survey = survey::survey(read)?;
    Ok(Loaded {
        superblock_doubtful: survey
            .findings
            .iter()
            .any(|finding| finding.assumed == Assumed::OtherCopyInDoubt),
        al: LoadedAl {
            active: survey.al.iter().flat_map(AlPage::extents).collect(),
            pages: survey.al,
        },
        superblock: survey.superblock,
        counter: survey.counter,
        bitmaps: survey.bitmaps,
        warnings: survey.findings.iter().map(ToString::to_string).collect(),
    })
}

#[cfg(test)]
mod tests;
