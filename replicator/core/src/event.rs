//! Everything that can happen to a replica.

use twindisk_format::{
    frame::Envelope,
    ids::{BlockRange, Slot},
};

use crate::Command;

/// A buffer of the driver's, at least as long as the range it is used with. Whoever holds the handle owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// One part of a client's request; the driver splits requests (see [`ClientOp`]) and joins the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// An operation that the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// One connection to a peer; a new connection has a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// An operator's command, answered once by `Action::Reply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A client asks for something.
    Client(ClientRequest),
    /// A client's connection is gone. Its requests that have not begun are dropped and never completed; those that
    /// have begun are finished. Later requests that overlap them wait for them: no ghost writes.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// A disk operation ended.
    DiskDone {
        /// Which.
        op: OpId,
        /// How.
        result: Result<DiskDone, DiskError>,
    },
    /// A metadata block is durable, or failed.
    MetaDone {
        /// Which.
        op: OpId,
        /// How.
        result: Result<(), DiskError>,
    },
    /// An authenticated connection to the peer stands.
    LinkUp {
        /// Which peer.
        peer: Slot,
        /// The connection.
        link: LinkId,
    },
    /// The connection is gone. The driver says so only when no send of this link is under way any more, so that its
    /// buffers are free.
    LinkDown {
        /// Which peer.
        peer: Slot,
        /// The connection.
        link: LinkId,
        /// For the log: what ended it.
        why: String,
    },
    /// The driver has stopped reading from a connection for want of buffers, or reads on. A new one
    /// is read from.
    Reading {
        /// Which peer.
        peer: Slot,
        /// The connection.
        link: LinkId,
        /// Whether it reads.
        reading: Reading,
    },
    /// A frame arrived; its checksums and the chain are verified. `payload` holds the block data of `Write` and
    /// `ReadReply`.
    Frame {
        /// From whom.
        peer: Slot,
        /// On which connection.
        link: LinkId,
        /// What.
        envelope: Envelope,
        /// The block data, handed over.
        payload: Option<BufId>,
    },
    /// The buffer of a `ReadReply` that was sent, or dropped with its link, is free again.
    Sent {
        /// Which.
        buf: BufId,
    },
    /// The operator (or a cluster manager) wants something.
    Command {
        /// To be named in the answer.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// The answer to `Action::ProbeCapacity`: how many blocks the backing device has room for now.
    Capacity {
        /// Of the action.
        op: OpId,
        /// In blocks, without internal metadata.
        blocks: u64,
    },
    /// The answer to `Action::SaveBlocks`.
    Saved {
        /// Of the action.
        op: OpId,
        /// Where they are kept, or why not.
        result: Result<String, String>,
    },
    /// The moment named by `next_deadline` has come.
    Tick,
}

/// Whether a driver takes what a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not now: there is no buffer for what comes next, since the disk has not taken what came before.
    Paused,
    /// It goes on.
    Resumed,
}

/// A part of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRequest {
    /// Echoed in `Action::Complete`.
    pub request: RequestId,
    /// Where it came from.
    pub connection: ConnectionId,
    /// What is wanted.
    pub op: ClientOp,
}

/// What a client wants, in whole blocks. Reads and writes have at most `MAX_DATA_BLOCKS`, zeros at most
/// `MAX_ZERO_BLOCKS`: the driver splits what is longer. A trim is a `Zero` that may unmap, so that replicas stay equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOp {
    /// Read blocks into `buf`; the buffer comes back with the completion.
    Read {
        /// Which.
        range: BlockRange,
        /// Where to.
        buf: BufId,
    },
    /// Write `buf`. The core keeps the buffer until it says `Action::Release`.
    Write {
        /// Which.
        range: BlockRange,
        /// Where from.
        buf: BufId,
        /// The part of the buffer that the client wrote, when it is not all: the core has the rest filled first.
        fill: Option<Fill>,
        /// Stable on every in-sync replica before it is completed.
        fua: bool,
    },
    /// Make blocks read as zeros.
    Zero {
        /// Which.
        range: BlockRange,
        /// They may be unmapped.
        unmap: bool,
        /// As for writes.
        fua: bool,
    },
    /// Everything completed before becomes stable on every in-sync replica.
    Flush,
}

/// The bytes of a buffer that a client's unaligned write covers; the others must be read from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// First byte written, counted from the buffer's start; less than one block.
    pub from: u32,
    /// The byte after the last one written; within the last block.
    pub to: u32,
}

/// Why a client's request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No replica could do it.
    Io,
    /// This node is not primary.
    NotPrimary,
    /// This node is giving up its role; ask the next primary.
    Shutdown,
}

/// What a disk operation brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskDone {
    /// It is done.
    Done,
    /// The hashes of a `DiskIo::Hash`, one xxh3-128 per block.
    Hashes(Vec<u128>),
}

/// Why a disk operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (errno {errno})")]
pub struct DiskError {
    /// The system's error number.
    pub errno: i32,
    /// For the log.
    pub what: String,
}

impl DiskError {
    /// Whether there was no room for it: on the device, its filesystem or pool, or in the quota of whom it belongs to.
    #[must_use]
    pub const fn is_no_space(&self) -> bool {
        const ENOSPC: i32 = 28;
        const EDQUOT: i32 = 122;
        matches!(self.errno, ENOSPC | EDQUOT)
    }
}
