//! The superblock's contents: everything about a replica that must survive its process.

pub(crate) mod bytes;
mod identity;
mod runs;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use self::{
    identity::{Conflict, ConflictKind, Device, Seen, Tie},
    runs::{Run, Runs},
};
use crate::{
    binding::Binding,
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Term},
    lineage::Lineage,
};

/// The durable state of a replica, apart from activity log and bitmaps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// The resource it belongs to.
    pub resource: ResourceId,
    /// The node it belongs to.
    pub node: NodeId,
    /// Size of the replicated device in blocks.
    pub size_blocks: u64,
    /// Largest size the metadata has room for, in blocks.
    pub max_size_blocks: u64,
    /// The highest term this node has accepted or promised (R4).
    pub term: Term,
    /// Number of the in-sync set that `peers` say (R14). In the lineage's newest generation a higher one is newer.
    pub epoch: Epoch,
    /// Whose writes the backing device contains.
    pub lineage: Lineage,
    /// This node has begun the newest generation, and has completed no write in it: the members of its in-sync set may
    /// not know of it. Against a peer that does not know it either, it does not count.
    pub unconfirmed: bool,
    /// What the backing device is known to be.
    pub disk: StoredDisk,
    /// It has failed since every block of it was last written: what is read from it may be in a cache that no later
    /// flush will write, so that equal hashes prove nothing.
    pub suspect: bool,
    /// It was found to be older than a peer knows it to have been: no bitmap knows what it lacks, every block of it is
    /// compared before it counts again.
    pub rewound: bool,
    /// The backing device that this metadata belongs to.
    pub device: Device,
    /// This node was primary when this was written (a crash of a primary is told by it).
    pub primary: bool,
    /// What this copy may lack of its newest generation, beside what a crash takes from it while it is `active`.
    pub lack: Lack,
    /// The backing device may have what is not stable, and bits that are not stored: to end now is to have crashed.
    pub active: bool,
    /// The boot of the host on which it became active: what an earlier process wrote is in the disk's cache at least, as
    /// long as this is still the host's.
    pub host: BootId,
    /// The runs of the process that it knows of.
    pub runs: Runs,
    /// Since when nobody but this node has written to the backing device as primary, if that is known (R17): clients of
    /// that time may come back, whatever was promoted and demoted here in between.
    pub binding: Option<Binding>,
    /// One record per peer, in slot order.
    pub peers: Vec<PeerRecord>,
    /// Slots behind them that no peer has yet. Their number and that of the peers make a sum that `init` fixes.
    pub spare_slots: u8,
}

impl Superblock {
    /// Peer slots, used or spare: what the layout has bitmaps for.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.peers.len() + self.spare_slots as usize
    }

    /// This copy is the newest, and somebody who had one is not in its in-sync set any more.
    #[must_use]
    pub fn went_on_alone(&self) -> bool {
        let newest = self.disk == StoredDisk::UpToDate;
        let left = |peer: &PeerRecord| peer.base.is_some() && !peer.standing.is_counted();
        newest && self.peers.iter().any(left)
    }

    /// Gives a spare slot to `node`, of which nothing is known yet. `false`: there is none.
    #[must_use]
    pub fn add_peer(&mut self, node: NodeId) -> bool {
        let Some(left) = self.spare_slots.checked_sub(1) else {
            return false;
        };
        self.spare_slots = left;
        self.peers.push(PeerRecord::new(node));
        true
    }
}

/// What the superblock says of the backing device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
pub enum StoredDisk {
    /// A write or flush failed: never trusted again without a resync.
    Failed,
    /// A mixture of old and new: a resync into it has begun and not ended.
    Inconsistent,
    /// Consistent but known to be old. Sticky: only a resync ends it (R3).
    Outdated,
    /// Had every acknowledged write of its newest generation.
    UpToDate,
}

/// What a copy may lack of what was acknowledged in its newest generation. One that is made equal to another lacks what that
/// one lacks.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// Nothing.
    #[default]
    Nothing,
    /// What was under way when its process died.
    UnderWay,
    /// What was not flushed when its host went down.
    Unflushed,
    /// Anything: the primary that kept it equal did not count on it, and may have gone on without it in the same
    /// generation.
    Anything,
}

/// What is durably known of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// The peer's node number.
    pub node: NodeId,
    /// The generation that the slot's dirty bits count from: the newest one which the peer was known to have whole.
    /// `None`: never in sync, every block must be compared.
    pub base: Option<GenerationId>,
    /// Whether the peer belongs to the in-sync set of the newest generation (R1, R14).
    pub standing: Standing,
    /// A right about this peer that is in force.
    pub receipt: Option<Receipt>,
    /// Both have data that the other one lacks, and no person has decided yet whose counts (R11).
    pub conflict: Option<Conflict>,
    /// How far the peer was known to have come. If it ever does not remember that, it was rolled back.
    pub seen: Seen,
}

impl PeerRecord {
    /// A peer of which nothing is known.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self {
            node,
            base: None,
            standing: Standing::Out,
            receipt: None,
            conflict: None,
            seen: Seen::NEVER,
        }
    }
}

/// How a peer stands to the in-sync set.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It does not belong to it, and is counted on for nothing.
    #[default]
    Out,
    /// It was made equal by this standby, and is counted on for nothing until every member knows. Nothing was written
    /// since: should this node lose what it has, that copy still has it.
    Copy,
    /// It is being taken in and may have been told so, or may not: nobody is promoted, and no primary goes on, without a
    /// right about it; and that it has everything is not known.
    Joining,
    /// It belongs to it, and has said so.
    In,
}

impl Standing {
    /// Whether a right about the peer is needed to go on without it.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        match self {
            Self::Out | Self::Copy => false,
            Self::Joining | Self::In => true,
        }
    }
}

/// Proof that a node can acknowledge no more writes in `term` (the kinds: `RULES.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What kind of proof.
    pub kind: ReceiptKind,
    /// The node it is about.
    pub about: NodeId,
    /// The term in which it was granted; it is void in any other.
    pub term: Term,
    /// The epoch of the in-sync set in which it was granted; it is void in any other (R14).
    pub epoch: Epoch,
    /// The boot of the node that holds it: a `Fence` receipt dies with it, since the peer may have been started and
    /// may have fenced this node in between.
    pub boot: BootId,
}

/// The kinds of receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReceiptKind {
    /// The peer durably recorded itself Outdated or standby, and said so.
    Release,
    /// The peer was powered off and its power was read as off afterwards.
    Fence,
    /// The arbiter granted the term (R8).
    Arbiter,
    /// A person forced it.
    Operator,
}
