//! Every bound of the engine, each with its reason.

use std::time::Duration;

/// Entries of the submission queue. More than fit are pushed in several calls, so this bounds a batch, not the load.
pub(crate) const RING_ENTRIES: u32 = 1024;

/// Completions that the queue holds, per submission entry: a batch of sends, writes and receives may end at once.
pub(crate) const COMPLETIONS_PER_ENTRY: u32 = 4;

/// Messages of the control plane that wait for the resource's thread. More means that the thread is stuck.
pub(crate) const MAILBOX_MESSAGES: usize = 256;

/// Clients' connections to one export: the Linux kernel opens at most one per CPU, QEMU up to 16.
pub(crate) const MAX_CLIENTS: usize = 256;

/// Those of them that come over a network: the others are kept for this host's own.
pub(crate) const MAX_NETWORK_CLIENTS: usize = 192;

/// Clients that are turned away are told of once in so long: whoever knocks in a loop must not fill the log.
pub(crate) const TURNED_AWAY_INTERVAL: Duration = Duration::from_secs(10);

/// Requests of one client connection that may be under way. The Linux kernel keeps 128 (`nbds_max` queue depth).
pub(crate) const MAX_CLIENT_REQUESTS: usize = 256;

/// Requests of one connection that are answered at once, without the core, before its answers are sent: a client that asks
/// for nothing very often must not keep the thread to itself.
pub(crate) const MAX_QUICK_ANSWERS: u32 = 16;

/// Block status requests that are looked at between two pauses of so long: what a flood of them may cost the resource's
/// thread, and little enough for a lone client not to notice.
pub(crate) const STATUS_BURST: usize = 8;
/// See [`STATUS_BURST`].
pub(crate) const STATUS_PAUSE: Duration = Duration::from_millis(1);

/// Parts of clients' requests that may be under way in all: what the core holds while I/O is suspended is bounded by
/// it (`twindisk_core::limits::MAX_HELD_REQUESTS`).
pub(crate) const MAX_PARTS: usize = twindisk_core::limits::MAX_HELD_REQUESTS;

/// Blocks for payloads that are kept for each connection: a request of 64 KiB, and the blocks at its edges.
pub(crate) const SHARE_BLOCKS: u32 = 18;

/// Parts of requests that are kept for each connection: half of all, and some at a time keep a disk busy.
pub(crate) const SHARE_PARTS: u32 = 8;

/// A large request goes on in parts of no less than this (64 KiB), unless nothing larger can be had at all.
pub(crate) const MIN_STEP_BLOCKS: u32 = 16;

/// Bytes read ahead of a client's requests: a batch of 16 small writes comes in one receive.
pub(crate) const CLIENT_READAHEAD_BYTES: usize = 128 * 1024;

/// Bytes read ahead of a peer's frames: large enough for a header and the largest inline body.
pub(crate) const LINK_READAHEAD_BYTES: usize = 256 * 1024;

/// Bytes that one receive between frames asks for: as for clients.
pub(crate) const LINK_RECEIVE_BYTES: usize = 128 * 1024;

/// Bytes that one receive asks for after a large payload: of the next one at most this much is copied instead of being
/// received in place.
pub(crate) const LARGE_RECEIVE_BYTES: usize = 16 * 1024;

/// Ciphertext that one receive on a link with TLS asks for: several records, and little enough to be decrypted while the
/// next one comes.
pub(crate) const TLS_RECEIVE_BYTES: usize = 128 * 1024;

/// Bytes that are encrypted for one send: whole records (16 KiB), and the peer decrypts them while the next ones are
/// encrypted.
pub(crate) const TLS_SEND_BYTES: usize = 128 * 1024;

/// Pieces that are encrypted for one send.
pub(crate) const TLS_SEND_PIECES: usize = 64;

/// Frames or replies in one `sendmsg`: each has at most two pieces, and the kernel takes 1024 (`UIO_MAXIOV`).
pub(crate) const MAX_SEND_BATCH: usize = 256;

/// Pieces of one `sendmsg`.
pub(crate) const MAX_SEND_PIECES: usize = 1024;

/// Bytes of one `sendmsg`: a batch that is larger gains nothing and makes the others wait.
pub(crate) const MAX_SEND_BYTES: usize = 4 * 1024 * 1024;

/// Frames that wait to be sent to a peer, but for dirty bits: four times the writes of it that may wait here
/// (`twindisk_core::limits::MAX_UNANSWERED`), each of which is answered twice at most. More is a peer that asks and does not
/// read; they take 30 MiB.
pub(crate) const MAX_QUEUED_FRAMES: usize = 4 * twindisk_core::limits::MAX_UNANSWERED;

/// Bytes of one write into the page cache.
pub(crate) const CACHED_WRITE_BYTES: usize = 64 * 1024;

/// A write into the page cache that took longer had to wait for the disk.
pub(crate) const CACHED_WRITE_PATIENCE: Duration = Duration::from_millis(2);

/// After such a one the next ones are done by the ring's workers for so long.
pub(crate) const CACHED_WRITE_REST: Duration = Duration::from_millis(100);

/// Hashes computed at the same time; each needs a buffer of the largest frame.
pub(crate) const HASH_BUFFERS: u32 = 4;

/// Unaligned writes whose edges are read at the same time; each needs two blocks.
pub(crate) const EDGE_BUFFERS: u32 = 64;

/// Metadata blocks written at the same time; the others wait.
pub(crate) const META_BUFFERS: u32 = 64;

/// Metadata blocks that are waiting from which on they are written together with one flush instead of one each.
pub(crate) const META_GROUP: usize = 4;

/// Zeros written by one request when the device can't zero by itself.
pub(crate) const ZERO_BUFFER_BLOCKS: u32 = 256;

/// Fewer zeros of a resync than this are written to a block device: the smallest piece that thin pools give back (64 KiB),
/// and a request to zero costs about as much as a write.
pub(crate) const DEVICE_HOLE_BLOCKS: u32 = 16;

/// Extents in one block status reply: each costs two system calls, and others wait for their turn meanwhile.
pub(crate) const MAX_STATUS_EXTENTS: usize = 128;

/// Spinning never takes longer than this without a completion (`BusyPoll::Auto`): as long as a batch of small requests
/// takes on a fast disk. With 200 us reads at depth 32 reached 0.56 of a bare file's rate, with this 0.79.
pub(crate) const MAX_SPIN: Duration = Duration::from_micros(500);

/// A link or client that is being closed in good order gets this long to take what is queued for it.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A client that neither sends the rest of a payload nor takes its replies for so long is cut off, if others wait for
/// the memory that it holds.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// At the end the thread waits this long for operations that are still under way, then leaves their memory behind.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Socket buffers of a link, where the process may set them beyond the system's limit.
pub(crate) const LINK_SOCKET_BYTES: i32 = 8 * 1024 * 1024;

/// A TCP client that is silent for so long is asked whether its host is there, three times.
pub(crate) const CLIENT_KEEPALIVE: Duration = Duration::from_secs(20);

/// Smallest pool for clients: two requests of the largest payload with unaligned edges.
pub(crate) const MIN_CLIENT_BYTES: usize = 2 * (32 + 1) * 1024 * 1024;

/// Smallest pool for peers: several of the largest frames.
pub(crate) const MIN_PEER_BYTES: usize = 8 * 1024 * 1024;

/// Smallest pool for resync: one step under way while another one is answered.
pub(crate) const MIN_RESYNC_BYTES: usize = 4 * 1024 * 1024;

/// Files that are registered with the ring: clients, links, devices, mailbox.
pub(crate) const RING_FILES: u32 =
    MAX_CLIENTS as u32 + 2 * twindisk_format::limits::MAX_PEERS as u32 + 8;

/// How long a file or device that is in use is waited for: a killed predecessor's requests take as long as its disk does,
/// and the kernel cleans up after it when it has time.
pub(crate) const IN_USE_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is tried.
pub(crate) const IN_USE_RETRY: Duration = Duration::from_millis(10);

const _: () = {
    // What is kept for connections is there, and leaves room for more.
    assert!(2 * SHARE_BLOCKS as usize * MAX_CLIENTS * 4096 < MIN_CLIENT_BYTES);
    assert!(2 * SHARE_PARTS as usize * MAX_CLIENTS <= MAX_PARTS);
    assert!(MIN_STEP_BLOCKS < SHARE_BLOCKS);
};
