//! Backing devices and metadata, opened and read by plain blocking calls: for the start of a resource, and for tools
//! that work on them while it is stopped (`twindisk init`, `twindisk metadata …`).

mod backing;
pub mod contents;
pub mod device;
mod metadata;

use std::{io, path::PathBuf};

use thiserror::Error;
use twindisk_format::{meta_block::Fault, metadata::LoadError};

pub use self::{
    backing::{Access, AlignedBlock, Backing, BackingKind, IoMode},
    metadata::Metadata,
};

/// Why a backing device or metadata can't be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is nothing there.
    #[error("{path} does not exist: is its volume or filesystem there?")]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// Someone else has it.
    #[error(
        "{path} is in use: another program (or another twindisk) has it open, mounted or locked; end that one first"
    )]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// It can't be written.
    #[error("{path} can't be written: {source}")]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is neither a file nor a block device.
    #[error("{path} is neither a regular file nor a block device")]
    WrongKind {
        /// Which.
        path: PathBuf,
    },
    /// Its sectors are larger than a block.
    #[error("{path} has sectors of {bytes} bytes; twindisk needs 4096 or less")]
    LargeSectors {
        /// Which.
        path: PathBuf,
        /// Size of a sector.
        bytes: u32,
    },
    /// It has no room.
    #[error(
        "{path} is too small: it has {has_blocks} blocks of 4 KiB, {needs_blocks} are needed; grow it"
    )]
    TooSmall {
        /// Which.
        path: PathBuf,
        /// What it has.
        has_blocks: u64,
        /// What is needed.
        needs_blocks: u64,
    },
    /// The same file for data and metadata.
    #[error(
        "{path} is named as the backing device and as its metadata: leave `metadata` out to keep it inside"
    )]
    Same {
        /// Which.
        path: PathBuf,
    },
    /// No internal metadata was found.
    #[error(
        "{path} has no metadata at its end ({why}): `twindisk init` makes it. If it had, the device has changed its \
         size since: give it the old size again, or if it has grown, say `twindisk metadata move --was OLD-SIZE`"
    )]
    NoInternalMetadata {
        /// Which.
        path: PathBuf,
        /// What was found.
        why: Fault,
    },
    /// The metadata belongs to another device.
    #[error(
        "{path} is not the device that its metadata belongs to: {why}. If its data was copied there, and nothing was \
         written since, `twindisk metadata tie` says so; if it is a new one, `twindisk init --force-overwrite` makes it \
         empty, and a resync fills it; if an older state of it or of the metadata came back, do the same"
    )]
    OtherDevice {
        /// Which.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The metadata can't be trusted.
    #[error("metadata in {path}: {source}")]
    Metadata {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: Box<LoadError>,
    },
    /// The system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
