//! Who belongs to whom: the device that metadata is for, and peers that turned out not to be related.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{BootId, GenerationId, Moment};

/// The backing device that metadata belongs to. Under any other one it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What it is known by.
    pub tie: Tie,
    /// Its size when that was stored, in blocks.
    pub blocks: u64,
}

/// What a backing device is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tie {
    /// Nothing: there is nothing that would tell it from another one of its size.
    #[default]
    Size,
    /// The metadata lies on it, and goes wherever it goes.
    Inside,
    /// A random mark, stored on it outside of its data.
    Mark(u64),
    /// A hash of what the system says of it: its serial number or the like.
    Identity(u64),
}

/// A peer whose data can't be brought together with this node's by anybody but a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// How the two stand to each other.
    pub kind: ConflictKind,
    /// The newest generation of the peer. Whoever contains it is on the peer's side by now.
    pub newest: GenerationId,
}

/// How far a replica had come when a peer heard of it last. One that does not remember that was rolled back, or is another
/// one: a clone, or an old copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Seen {
    /// In which run of its process.
    pub run: BootId,
    /// How often its superblock had been written; 0: it was never heard.
    pub moment: Moment,
}

impl Seen {
    /// Nothing was heard.
    pub const NEVER: Self = Self {
        run: BootId(0),
        moment: Moment(0),
    };
}

/// How two replicas in conflict stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
pub enum ConflictKind {
    /// Both went on from a common generation.
    SplitBrain,
    /// They have no generation in common.
    Unrelated,
    /// One of them was rolled back to an older state, and went on from there.
    Rewound,
}
