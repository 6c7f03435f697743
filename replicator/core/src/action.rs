//! Everything a replica asks its driver for.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use twindisk_format::{
    binding::Binding,
    frame::Envelope,
    ids::{BlockRange, Slot},
    meta_block::MetaBlock,
};

use crate::{
    BufId, CommandId, CommandReply, DiskState, Failure, Fill, LinkId, OpId, Refusal, RequestId,
    Role,
};

/// Something to do. Actions are to be begun in the order given; sends on one link keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do this to the backing device, answer with `Event::DiskDone`.
    Disk {
        /// To be named in the answer.
        op: OpId,
        /// What.
        io: DiskIo,
    },
    /// Store this metadata block durably (FUA), answer with `Event::MetaDone`. The core never has two writes of the
    /// same block under way.
    MetaWrite {
        /// To be named in the answer.
        op: OpId,
        /// Block number within the metadata area.
        block: u64,
        /// The contents.
        data: Box<MetaBlock>,
    },
    /// Send this. The buffer of a `Write` stays the core's; it is not used for anything else before the peer has
    /// answered or the link was reported down. The buffer of a `ReadReply` is the driver's until it gives it back
    /// with `Event::Sent`.
    Send {
        /// To whom.
        peer: Slot,
        /// On which connection; dropped silently if that one is gone.
        link: LinkId,
        /// What.
        envelope: Envelope,
        /// The block data of `Write` and `ReadReply`: `range.bytes()` bytes from block `at` of the buffer on.
        payload: Option<(BufId, u32)>,
    },
    /// The client's request is done. A read's buffer goes back with it.
    Complete {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<(), Failure>,
    },
    /// The client's request will not be answered, since its connection is gone. A read's buffer goes back with it.
    Forget {
        /// Which.
        request: RequestId,
    },
    /// The core no longer needs this buffer (a write's, or a received payload's).
    Release {
        /// Which.
        buf: BufId,
    },
    /// What to do about connections to this peer.
    Link {
        /// Which peer.
        peer: Slot,
        /// What.
        intent: LinkIntent,
    },
    /// Open or close the device to clients. When it closes, connections to it are shut down; nothing in flight on
    /// them is completed any more.
    Export(ExportState),
    /// Clients that are bound to this, and no others, may have the device when it is open, besides those that are bound
    /// to nothing (R17). Told at the start and whenever it changes, always before the device opens.
    Bound(Option<Binding>),
    /// The answer to a command.
    Reply {
        /// Which.
        id: CommandId,
        /// How it went.
        result: Result<CommandReply, Refusal>,
    },
    /// Look how large the backing device is now; answer with `Event::Capacity`.
    ProbeCapacity {
        /// To be named in the answer.
        op: OpId,
    },
    /// Copy these blocks of the backing device into a file of its own and keep it; answer with `Event::Saved`.
    SaveBlocks {
        /// To be named in the answer.
        op: OpId,
        /// The blocks, in order.
        ranges: Vec<BlockRange>,
    },
    /// Something for the event log.
    Report(Report),
    /// Stop this replica: nothing more will be asked for.
    Halt {
        /// Why.
        why: String,
    },
}

/// An operation on the backing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskIo {
    /// Read blocks to block `at` of the buffer.
    Read {
        /// Which.
        range: BlockRange,
        /// Where to.
        buf: BufId,
        /// Block of the buffer that the first one goes to.
        at: u32,
    },
    /// Write blocks from block `at` of the buffer.
    Write {
        /// Which.
        range: BlockRange,
        /// Where from.
        buf: BufId,
        /// Block of the buffer that the first one comes from.
        at: u32,
        /// Stable before it is done.
        fua: bool,
    },
    /// Make blocks read as zeros.
    Zero {
        /// Which.
        range: BlockRange,
        /// They may be unmapped.
        unmap: bool,
        /// Stable before it is done.
        fua: bool,
    },
    /// Make everything done before stable. A failure is final.
    Flush,
    /// Read the first and the last block of `range` and put their bytes outside `fill` into `buf`, which holds all of
    /// `range`.
    FillEdges {
        /// The range of the buffer.
        range: BlockRange,
        /// Whose edges are filled.
        buf: BufId,
        /// The part to keep.
        fill: Fill,
    },
    /// The same from another buffer that holds all of `range`. No disk is touched.
    FillFrom {
        /// The range of the buffer.
        range: BlockRange,
        /// Whose edges are filled.
        buf: BufId,
        /// The part to keep.
        fill: Fill,
        /// Where from.
        edges: BufId,
    },
    /// Copy a received payload into a read's buffer. No disk is touched.
    Copy {
        /// Length in blocks.
        blocks: u32,
        /// Where from.
        from: BufId,
        /// Where to.
        to: BufId,
    },
    /// Read blocks and hash each (xxh3-128).
    Hash {
        /// Which.
        range: BlockRange,
    },
}

/// What a driver shall do about connections to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkIntent {
    /// Have one, and keep trying.
    Connect,
    /// Drop the one there is, and try again at your pace, but neither dial nor accept before `wait` is over.
    Reconnect {
        /// For the log.
        why: String,
        /// Zero, unless connections to this peer have come to nothing lately.
        wait: Duration,
    },
    /// Drop the one there is once everything queued on it is sent, and have none until `Connect`.
    Disconnect {
        /// For the log.
        why: String,
    },
}

/// What clients see of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportState {
    /// Closed: clients are told why.
    Closed {
        /// In a sentence.
        why: String,
    },
    /// Open for reading and writing.
    Open {
        /// Size of the device in blocks.
        size_blocks: u64,
    },
}

/// A state change with its reason, for the event log and the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Report {
    /// This node's role changed.
    Role {
        /// To what.
        role: Role,
        /// In this term.
        term: u64,
        /// Why.
        why: String,
    },
    /// This node's disk state changed.
    Disk {
        /// To what.
        disk: DiskState,
        /// Why.
        why: String,
    },
    /// The connection to a peer changed.
    Connection {
        /// Node number.
        peer: u8,
        /// To what.
        state: crate::ConnectionState,
        /// Why.
        why: String,
    },
    /// I/O is suspended.
    Suspended {
        /// Why.
        why: String,
        /// What would release it.
        release: String,
    },
    /// I/O goes on.
    Resumed {
        /// What released it.
        why: String,
    },
    /// A write waits since there is no space beneath this node.
    NoSpace {
        /// Why.
        why: String,
        /// What would release it.
        release: String,
    },
    /// Everything that had waited for space is written.
    SpaceAgain,
    /// The in-sync set changed; stored.
    InSync {
        /// Node numbers, this node's among them unless its disk failed.
        nodes: Vec<u8>,
        /// Nodes that are being taken in: counted on already, and not known to have everything.
        joining: Vec<u8>,
        /// Number of the set.
        epoch: u64,
        /// In this term.
        term: u64,
        /// Why.
        why: String,
    },
    /// A receipt was stored.
    Receipt {
        /// Node number it is about.
        about: u8,
        /// Its kind.
        kind: String,
        /// In this term.
        term: u64,
        /// What was said about it.
        detail: String,
    },
    /// In conflict with a peer: a person has to decide whose data counts. Stored.
    Conflict {
        /// Node number.
        peer: u8,
        /// In a sentence.
        what: String,
    },
    /// A resync began.
    ResyncStarted {
        /// Node number.
        peer: u8,
        /// Blocks to compare or send.
        blocks: u64,
        /// Why, and why in this direction.
        why: String,
    },
    /// A resync ended.
    ResyncEnded {
        /// Node number.
        peer: u8,
        /// Blocks sent.
        sent_blocks: u64,
        /// Blocks that were equal already.
        equal_blocks: u64,
        /// Whether the peer is in sync.
        complete: bool,
    },
    /// An online verify ended.
    VerifyEnded {
        /// Node number.
        peer: u8,
        /// Blocks compared.
        compared_blocks: u64,
        /// Blocks that differed.
        different_blocks: u64,
        /// Blocks repaired.
        repaired_blocks: u64,
        /// Whether it got to its end.
        complete: bool,
    },
    /// Online verify found a difference.
    Difference {
        /// Node number.
        peer: u8,
        /// First block.
        block: u64,
        /// Number of blocks.
        blocks: u32,
    },
    /// Both nodes went on from a common generation.
    SplitBrain {
        /// Node number.
        peer: u8,
        /// The last term that both contain.
        last_common_term: u64,
        /// Blocks changed here since.
        changed_here: u64,
        /// Blocks changed there since.
        changed_there: u64,
    },
    /// A block could not be read here, was read from a peer and written back.
    ReadRepaired {
        /// First block.
        block: u64,
        /// Number of blocks.
        blocks: u32,
    },
    /// The size changed.
    Resized {
        /// In blocks.
        size_blocks: u64,
    },
    /// Something to look at.
    Warning {
        /// In a sentence.
        what: String,
    },
}
