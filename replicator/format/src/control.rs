//! Control messages: everything peers say that is rare and of variable length.

use bincode::{Decode, Encode};

use crate::{
    ids::{BootId, Epoch, GenerationId, Moment, NodeId, Seq, Term},
    lineage::Lineage,
    superblock::{Lack, Runs, Seen, StoredDisk},
};

/// A control message. `RULES.md` has the rules behind each.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ControlMessage {
    /// The first frame of each side: who has which data.
    State(PeerState),
    /// The follower has stored what the comparison made of it and sent its bits; the leader may go on.
    Ready {
        /// The follower recorded itself Outdated or worse in this term: a `release` receipt for the leader.
        released: bool,
    },
    /// Leader to follower: become Inconsistent, a resync begins.
    BeginResync {
        /// Size that the follower must have when it ends, in blocks.
        size_blocks: u64,
    },
    /// The follower is durably Inconsistent and takes blocks.
    ResyncBegun,
    /// Leader to followers: the in-sync set and lineage that hold from now on.
    Membership(Membership),
    /// The follower has stored it.
    MembershipStored {
        /// Echo of [`Membership::change`].
        change: u64,
    },
    /// May I have this term?
    TermRequest {
        /// The term asked for.
        term: Term,
        /// The candidate's lineage.
        lineage: Lineage,
        /// The candidate has dirty bits for the receiver: it cannot stay in sync without a resync.
        dirty: bool,
    },
    /// Yes: stored, and no lower term will be followed from here.
    TermGranted {
        /// The term granted.
        term: Term,
        /// The granter recorded itself Outdated: it needs a resync.
        released: bool,
        /// The granter has stored that it belongs to the in-sync set. One that has not can't be promoted by a right about
        /// the candidate, whatever the candidate's set says of it (R14).
        member: bool,
    },
    /// No.
    TermRefused {
        /// The refuser's term.
        term: Term,
        /// For the operator.
        why: String,
    },
    /// Standby to primary: please hand over to me.
    SwitchoverRequest,
    /// The primary that was has demoted itself, everything is stable on the receiver: promote now.
    TakeOver,
    /// I refuse to follow a request of yours (switchover, resize, resolve).
    Refused {
        /// For the operator.
        why: String,
    },
    /// I have recorded myself Outdated and leave: a `release` receipt.
    Released,
    /// The receiver of `Released` (or `DiskFailed`) has stored the receipt: the sender may go.
    ReleaseStored,
    /// My backing device failed.
    DiskFailed {
        /// It is stored in my metadata: a `release` receipt.
        stored: bool,
    },
    /// Primary to standby: a new size of the device.
    Resize {
        /// In blocks.
        size_blocks: u64,
        /// False: can you hold it? Zeros beyond the present end follow. True: store it.
        store: bool,
    },
    /// Yes, or stored, whichever was asked.
    Resized {
        /// In blocks.
        size_blocks: u64,
    },
    /// Split brain: the receiver shall save its changed blocks and give up its fork.
    Discard,
    /// The link is being closed on purpose.
    Goodbye {
        /// For the log.
        why: String,
    },
    /// The sender's metadata was written so often: it will never say less again.
    Moment {
        /// What is stored.
        moment: Moment,
    },
    /// How far a third replica had come that is equal to the sender, as far as that knows: whatever the sender says to be
    /// stable there is in each state of it that remembers this.
    Seen {
        /// Of whom.
        node: NodeId,
        /// What it said last.
        seen: Seen,
    },
}

/// What a replica tells a peer when they meet.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PeerState {
    /// This run of the process.
    pub boot: BootId,
    /// It is primary now.
    pub primary: bool,
    /// The primary that it is connected to and kept equal by, if it is a standby of one.
    pub follows: Option<NodeId>,
    /// Its disk, as stored; `Failed` also when there is none.
    pub disk: StoredDisk,
    /// Equal hashes of it prove nothing: see [`Superblock::suspect`](crate::superblock::Superblock::suspect).
    pub suspect: bool,
    /// It was rolled back, and not every block of it was compared since: see
    /// [`Superblock::rewound`](crate::superblock::Superblock::rewound).
    pub rewound: bool,
    /// How often its metadata was written.
    pub moment: Moment,
    /// The runs of its process that it knows of.
    pub runs: Box<Runs>,
    /// How far the receiver had come, as far as the sender knows.
    pub seen: Seen,
    /// Its disk may be given to clients now (UpToDate, not only Consistent).
    pub up_to_date: bool,
    /// What its copy may lack.
    pub lack: Lack,
    /// It has received what it has not written yet, over connections that have ended (protocol B: acknowledged).
    pub unwritten: bool,
    /// Its lineage.
    pub lineage: Lineage,
    /// It has begun the newest generation of it and completed no write in it.
    pub unconfirmed: bool,
    /// Its in-sync set, itself among them, and those that are joining it.
    pub in_sync: Vec<NodeId>,
    /// Of those, nodes that have not said yet that they have everything (R14).
    pub joining: Vec<NodeId>,
    /// The number of that set.
    pub epoch: Epoch,
    /// Nodes that it has made equal, counted on for nothing: should it lose what it has, they still have it.
    pub copies: Vec<NodeId>,
    /// Blocks it holds dirty for the receiver.
    pub dirty_blocks: u64,
    /// What those bits count from.
    pub base: Option<GenerationId>,
    /// Size of the device in blocks.
    pub size_blocks: u64,
    /// Largest size its backing device and metadata can hold, in blocks.
    pub capacity_blocks: u64,
}

/// An in-sync set with the lineage it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Membership {
    /// Number of the change, echoed in the answer.
    pub change: u64,
    /// Term from now on.
    pub term: Term,
    /// Lineage from now on.
    pub lineage: Lineage,
    /// Number of the in-sync set from now on.
    pub epoch: Epoch,
    /// Nodes in sync, the leader among them unless its disk has failed, and those that are joining.
    pub in_sync: Vec<NodeId>,
    /// Of those, nodes that have not said yet that they have everything: each is told only when all others have stored it
    /// (R14). The receiver is never among them.
    pub joining: Vec<NodeId>,
    /// Nodes that are equal to the leader but for what is on its way to them. A node of the in-sync set that is lost just
    /// now is not among them.
    pub equal: Vec<NodeId>,
    /// The newest mutation that the leader has numbered or seen: what is on its way to them goes no further.
    pub newest: Seq,
    /// The leader is primary (else it is the standby that both agreed to start from).
    pub primary: bool,
    /// The leader knows that its data is the newest.
    pub up_to_date: bool,
    /// The newest generation was begun by a primary that is none any more, and that never knew every member to have stored
    /// it: nothing was acknowledged in it, and a member that does not know it may have gone on.
    pub unconfirmed: bool,
    /// Size of the device in blocks.
    pub size_blocks: u64,
}
