//! One block of metadata.

use crate::limits::BLOCK_BYTES;

/// The bytes of a metadata block.
pub type MetaBlock = [u8; BLOCK_BYTES];
