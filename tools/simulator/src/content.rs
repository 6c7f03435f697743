//! What a block holds in the simulation: eight sectors of 512 bytes, each shrunk to one number, its stamp.
//!
//! A stamp names the write that put it there and the sector it was meant for, so that lost, torn, stale and misplaced
//! data are all told apart, and a device of thousands of blocks fits a cache.

use xxhash_rust::xxh3::xxh3_128;

/// Sectors of a block.
pub const SECTORS: u64 = 8;

/// Bytes of a sector: the unit in which a disk keeps or loses data.
pub const SECTOR_BYTES: u32 = 512;

/// The stamps of one block.
pub type Block = [u64; SECTORS as usize];

/// Zeros.
pub const ZERO_BLOCK: Block = [0; SECTORS as usize];

/// Numbers below this one name what was on a node's disk before the first write; clients' writes start here.
pub const FIRST_WRITE: u64 = 100;

/// In buffers, where nobody has put anything yet.
pub const POISON: u64 = u64::MAX;

/// The stamp of sector `sector` of write `write`.
#[must_use]
pub const fn stamp(write: u64, sector: u64) -> u64 {
    write << 24 | sector
}

/// The write that a stamp names; 0 for zeros.
#[must_use]
pub const fn write_of(stamp: u64) -> u64 {
    stamp >> 24
}

/// A stamp in words, for stories.
#[must_use]
pub fn describe(stamp: u64) -> String {
    match write_of(stamp) {
        _ if stamp == POISON => "a buffer's unset bytes".to_owned(),
        0 => "zeros".to_owned(),
        write if write < FIRST_WRITE => format!("what node {} began with", write - 1),
        write => format!("write {write} (sector {})", stamp & 0xff_ffff),
    }
}

/// The hash of a block. Zeros have the hash that 4096 zero bytes have in the real world.
#[must_use]
pub fn hash(block: &Block) -> u128 {
    if *block == ZERO_BLOCK {
        return xxh3_128(&[0; 4096]);
    }
    let mut bytes = [0; 64];
    for (chunk, stamp) in bytes.chunks_exact_mut(8).zip(block) {
        chunk.copy_from_slice(&stamp.to_le_bytes());
    }
    xxh3_128(&bytes)
}
