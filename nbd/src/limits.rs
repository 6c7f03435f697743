//! Every bound of the protocol code in one place, each with its reason.

use std::time::Duration;

/// Longest name, description, query or message. "MUST be no longer than 4096 bytes" (proto.md, Conventions).
pub const MAX_STRING_BYTES: usize = 4096;

/// Longest option body kept in memory. A name plus 32 queries fits many times over; an
/// unauthenticated peer must not make us hold more.
pub const MAX_OPTION_BYTES: u32 = 64 * 1024;

/// Longest option body read and thrown away so that the client gets `ERR_TOO_BIG` and may go on.
/// Anything longer is a peer that lost its place in the stream: the connection is closed.
pub const MAX_DRAINED_OPTION_BYTES: u32 = 32 * 1024 * 1024;

/// Options in one handshake. Real clients send fewer than ten; it bounds the output an
/// unauthenticated peer can ask for.
pub const MAX_OPTIONS: u32 = 128;

/// Queries in one `LIST_META_CONTEXT` or `SET_META_CONTEXT`. We have one context; 32 is generous.
pub const MAX_META_QUERIES: u32 = 32;

/// How long a connection may stay in the handshake. A slow peer must not hold a connection slot
/// (for the driver: this crate has no clock).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest payload of a read or write: what every client may assume without asking
/// (proto.md, "Size constraints": 2^25).
pub const MAX_PAYLOAD_BYTES: u32 = 32 * 1024 * 1024;

/// Largest refused write whose payload is read and thrown away to keep the connection. Beyond it
/// the payload is "deemed a denial of service attack" (proto.md, "Size constraints").
pub const MAX_DRAINED_PAYLOAD_BYTES: u32 = 64 * 1024 * 1024;

/// Largest minimum block size ("MUST NOT be larger than 2^16").
pub const MAX_MINIMUM_BLOCK_BYTES: u32 = 64 * 1024;

/// Largest minimum block size that a client is expected to keep without having been told: a
/// client that wants to work everywhere uses 512 (proto.md, "Size constraints").
pub const MAX_UNSPOKEN_BLOCK_BYTES: u32 = 512;

/// Extents in one block status reply. The specification allows 2^20; 4096 keeps the answer below
/// 33 KiB, and a client asks on from where it ended.
pub const MAX_EXTENTS: usize = 4096;

/// Text in an error chunk. Long enough for a sentence, short enough for a fixed buffer.
pub const MAX_ERROR_TEXT_BYTES: usize = 120;

/// Client side: longest structured reply chunk accepted: a payload of the largest read plus the
/// offset in front of it.
pub const MAX_CHUNK_BYTES: u32 = MAX_PAYLOAD_BYTES + 8;

/// Client side: longest option reply accepted; a server's list entry is two strings of 4096.
pub const MAX_OPTION_REPLY_BYTES: u32 = 64 * 1024;

/// Client side: replies to one option (exports of a list, contexts, information items).
pub const MAX_OPTION_REPLIES: usize = 4096;

/// Client side: chunks in one structured reply: a 32 MiB read in pieces of 512 bytes.
pub const MAX_CHUNKS: u32 = 65_536;

/// Client side: requests in flight on one connection, so that a caller that never receives hears
/// of it instead of growing for ever.
pub const MAX_IN_FLIGHT: usize = 4096;

/// Longest netlink message accepted from the kernel. A status of 1,000 devices is 20 KiB.
pub const MAX_NETLINK_BYTES: usize = 256 * 1024;

/// Sockets of one kernel device. Beyond the CPUs of a host more connections gain nothing.
pub const MAX_SOCKETS: usize = 128;

/// How long the kernel may take to answer a netlink request (it waits for the block layer when a
/// device is being taken down).
pub const NETLINK_TIMEOUT: Duration = Duration::from_secs(30);
