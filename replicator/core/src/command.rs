//! What an operator can ask of a replica, and how it refuses.

use serde::{Deserialize, Serialize};
use twindisk_format::{ids::Slot, superblock::ReceiptKind};

/// A command of the operator, or of a cluster manager on its behalf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Become primary (R2).
    Promote {
        /// A person vouches for what no receipt shows; the reason is kept. It forks the generation when it was wrong.
        force: Option<String>,
    },
    /// Become standby once everything in flight is done and stable.
    Demote {
        /// Do not wait for suspended requests: drop them unacknowledged.
        abandon: bool,
    },
    /// Hand the primary role over: on the primary to `to`, on a standby to itself.
    Switchover {
        /// The peer that shall be primary; `None`: the only one there is, or this node if it is standby.
        to: Option<Slot>,
    },
    /// Connect to a peer, and keep connected.
    Connect {
        /// Which.
        peer: Slot,
    },
    /// Part from a peer in good order, and stay apart.
    Disconnect {
        /// Which.
        peer: Slot,
    },
    /// Store a right about a peer (R1, R2).
    Receipt {
        /// Which peer it is about.
        about: Slot,
        /// What proof.
        kind: ReceiptKind,
        /// For the event log: what was done, by whom.
        detail: String,
        /// Which meeting with the peer was the last one when that was done: void if they have met since.
        met: Option<u64>,
    },
    /// Record this standby as Outdated, so that the other side may be given a `Release` receipt.
    Outdate,
    /// A person says that no newer copy than this Consistent one will come back: it is UpToDate. Rights about the others
    /// are needed all the same.
    Trust {
        /// Their reason.
        reason: String,
    },
    /// Compare with every in-sync peer (as primary or leader).
    Verify {
        /// First block.
        first: u64,
        /// Number of blocks; `None`: to the end.
        blocks: Option<u64>,
        /// Rewrite differing blocks on the peer from here.
        repair: bool,
    },
    /// Stop a verify.
    VerifyStop,
    /// Send everything that may differ to a peer again.
    Resync {
        /// Which peer becomes the target.
        peer: Slot,
        /// Compare the whole device, not only dirty blocks.
        full: bool,
    },
    /// Grow the device on line, on every node.
    Resize {
        /// New size in blocks; `None`: as large as every backing device allows.
        size_blocks: Option<u64>,
    },
    /// Split brain: this side gives up its fork (`None`) or makes the peer give up its (`Some`).
    Discard {
        /// Whose fork is given up.
        peer: Option<Slot>,
        /// The peer that is kept when this side gives up: needed when there are several.
        keep: Option<Slot>,
    },
    /// Stop in good order: demote, tell the peers, store, halt. Always gets there, also when suspended.
    Stop,
}

/// A command's success, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandReply {
    /// What is true now.
    pub message: String,
}

/// A command's refusal: why, and what would make it possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// In a sentence.
    pub why: String,
    /// What to do next.
    pub next: String,
}

/// Why a command was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The role does not allow it.
    WrongRole,
    /// The disk state does not allow it.
    DiskNotUpToDate,
    /// A right about some node is missing.
    NoRight,
    /// In conflict with another replica: a person has to decide whose data counts.
    Conflict,
    /// A peer must be connected for it.
    PeerNotConnected,
    /// A peer is primary.
    PeerIsPrimary,
    /// A peer refused it.
    PeerRefused,
    /// A peer that is said to be gone is there.
    PeerAnswers,
    /// Something else is under way.
    Busy,
    /// There is nothing of the kind.
    NothingToDo,
    /// The argument can't be right.
    BadArgument,
    /// I/O is suspended.
    Suspended,
    /// The connection or the process ended before it was done.
    Interrupted,
    /// Metadata could not be stored.
    Metadata,
}
