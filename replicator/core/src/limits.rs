//! Every bound of the core, each with its reason.

use core::time::Duration;

/// Client requests (parts) that may wait while I/O is suspended: the driver's buffers bound them too, this bounds
/// flushes and zeros, which have none.
pub const MAX_HELD_REQUESTS: usize = 4096;

/// Mutations in flight or waiting at one replica. A driver stops reading from clients long before, for want of buffers.
pub const MAX_MUTATIONS: usize = 8192;

/// Mutations from the oldest in flight to the newest: clients wait beyond that. Only a write that waits for space is ever
/// overtaken by so many, for hours; what is remembered of them takes 24 MiB.
pub const MAX_WINDOW: usize = 1 << 20;

/// Ranges sent to a peer and not yet known to be stable there; a flush is asked for at half of it, 512 MiB of the
/// smallest writes: so much is sent again at most when the peer is lost. They take 8 MiB of memory.
pub const MAX_UNSTABLE: usize = 262_144;

/// Ranges kept one by one that a peer has stable and may not remember: those of half a second at 100,000 writes a second.
/// Older ones are kept as extents.
pub const MAX_FRESH: usize = 65_536;

/// Blocks of one resync or verify step: one frame.
pub const SWEEP_BLOCKS: u32 = twindisk_format::limits::MAX_DATA_BLOCKS;

/// A resync of more blocks than this compares hashes before it sends (256 MiB).
pub const HASH_FIRST_BLOCKS: u64 = 65_536;

/// A connection over which neither side leads for so many request timeouts is made anew: what one of them decided may
/// rest on something that is no longer so.
pub const UNDECIDED_REQUEST_TIMEOUTS: u32 = 8;

/// Terms that a peer may be ahead by: one a second for a century. More is a broken peer or a broken frame; a term that
/// can never be passed again must not be stored.
pub const MAX_TERM_JUMP: u64 = 1 << 32;

/// In-sync sets that a peer may be ahead by: as with terms, every change of them takes seconds.
pub const MAX_EPOCH_JUMP: u64 = 1 << 32;

/// Writes and flushes that a peer may be ahead by: a million a second for eight years. Numbers are not stored and begin
/// anew with a process, so that whoever joins an old primary has a long way to go at once.
pub const MAX_SEQ_JUMP: u64 = 1 << 48;

/// Writes, flushes, or reads of one peer that may wait here: far more than a primary has under way in all, since a resync comes
/// on top, of as many runs as its buffers hold (these, of 256 MiB). More is a broken peer, and would cost memory without end where
/// no buffer is asked for.
pub const MAX_UNANSWERED: usize = 4 * MAX_MUTATIONS;

/// Comparisons of one peer that may wait here, of 4 KiB of hashes each: far more than the buffers of its resync.
pub const MAX_COMPARES: usize = 4096;

/// What one peer has said, or asked for, that may wait to be stored: a handful while a metadata device hangs. More is a
/// peer that repeats itself.
pub const MAX_UNSTORED: usize = 1024;

/// Sizes that one peer may ask for at the same time: a resize asks for room, then for it to be stored, and then perhaps
/// for the former size; a person may give it up and ask again while a disk is slow.
pub const MAX_RESIZES: usize = 64;

/// While writes come, a superblock is written once in such a time, so that its count tells how old a replica is. A replica
/// that was rolled back by less may not be noticed; five writes of 4 KiB a second cost little.
pub const MOMENT_INTERVAL: Duration = Duration::from_millis(200);

/// Superblock writes that may lie between what is known of a replica and what is said of it: a thousand a second for 34
/// years. More is a broken peer, and a count at its end could never grow again.
pub const MAX_MOMENT_JUMP: u64 = 1 << 40;

/// The metadata of a node that is counted on is written at least so often in a request timeout: ten seconds apart by default,
/// which costs little, and finds dead metadata long before most failovers need it.
pub const PROBES_PER_REQUEST_TIMEOUT: u32 = 3;

/// A connection that stood for so many request timeouts was a good one: the next one need not wait.
pub const GOOD_REQUEST_TIMEOUTS: u32 = 4;

/// Nothing was handled for so many ping intervals: this node stood still, since pings fall due at each.
pub const STOOD_STILL_PINGS: u32 = 2;

/// Pings that a peer may leave unanswered before no more are sent: one that goes on speaking and answers none of a
/// thousand breaks the protocol, and must not cost memory.
pub const MAX_UNANSWERED_PINGS: usize = 1024;

/// A mutation that found no space is tried again after so long, or after an eighth of the request timeout if that is less:
/// soon enough that nobody waits long once there is room.
pub const SPACE_RETRY: Duration = Duration::from_secs(1);

/// Differences that a verify reports one by one; after that it only counts.
pub const MAX_REPORTED_DIFFERENCES: usize = 1000;

/// How often a peer that is said to be off, and is linked, is looked at before its link is given up.
pub const RECEIPT_LOOKS: u32 = 10;

/// Time between two of these looks. All of them together, 300 ms, are far more than a living process needs to answer a ping,
/// and far less than an outage that anybody notices.
pub const RECEIPT_LOOK: Duration = Duration::from_millis(30);

/// Promotion score of a primary: far above that of every standby, so that the role stays where it is.
pub const SCORE_OF_PRIMARY: u32 = 10_000;

/// Promotion score of a standby whose copy is the newest. The same for all of them.
pub const SCORE_OF_STANDBY: u32 = 1000;
