//! Every bound of the formats, each with its reason.

/// Bytes of one block: the unit of the dirty bitmap, of checksums and of metadata.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks of one activity-log extent (4 MiB): small enough to resync in a blink, large enough that a hot set fits.
pub const EXTENT_BLOCKS: u64 = 1024;

/// Most peers of one node. Each costs 32 MiB of bitmap per TiB.
pub const MAX_PEERS: usize = 7;

/// Most blocks of one write, read or resync frame (1 MiB): bounds a buffer and the time a range is locked.
pub const MAX_DATA_BLOCKS: u32 = 256;

/// Most blocks of one zero frame (64 MiB): it carries no payload, but locks its range and heats its extents.
pub const MAX_ZERO_BLOCKS: u32 = 16_384;

/// Most generations remembered with their term and node.
pub const MAX_GENERATIONS: usize = 64;

/// Most generations remembered before those, by their name alone: a node that was away for so many changes of the
/// in-sync set is still known to be behind. They fill what a superblock has left, but for a reserve.
pub const MAX_ANCESTORS: usize = 192;

/// Runs of a replica's process that it remembers: a peer that has not met it for so many of them can't tell an older state
/// of it from an old acquaintance.
pub const MAX_RUNS: usize = 8;

/// Of runs that it has forgotten something of, so many are known to have been made good.
pub const MAX_MADE_GOOD: usize = 4;

/// Most bytes of one encoded control message.
pub const MAX_CONTROL_BYTES: usize = 64 * 1024;

/// Most bytes of a reason given to a peer's operator: a few lines of a log.
pub const MAX_WHY_BYTES: usize = 1024;

/// Largest device: 1 PiB in blocks.
pub const MAX_DEVICE_BLOCKS: u64 = 1 << 38;
