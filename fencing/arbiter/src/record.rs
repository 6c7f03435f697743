//! The record: which replicas have everything that was acknowledged, and the highest term that a claim was made for.

use serde::{Deserialize, Serialize};

/// A number that its writer drew at random: who finds its own has written the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub u64);

/// How new a record is. No two writes have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Grows when a person adopts a register whose past is not known.
    pub epoch: u64,
    /// Grows by one with each write.
    pub seq: u64,
}

/// What a compare-and-set compares: a register that was rolled back may use a version again, but not with the same nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// How new.
    pub version: Version,
    /// Whose write.
    pub nonce: Nonce,
}

/// What the arbiter keeps of one resource.
///
/// *Whoever it names, and who is not Outdated, Inconsistent or Failed by its own metadata, has every acknowledged write.* So
/// it shrinks before anybody acts on that, and grows after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Which write of the record this is.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// No claim was made for a later term.
    pub term: u64,
    /// The nodes that it names, by their numbers, in rising order. Only these decide.
    pub in_sync: Vec<u8>,
    /// Who was to be primary when it was written: for people.
    pub primary: u8,
}

impl Record {
    /// Whether a node may claim the next term.
    #[must_use]
    pub fn names(&self, node: u8) -> bool {
        self.in_sync.contains(&node)
    }

    /// The first record of a register that never had one.
    #[must_use]
    pub const fn first(nonce: Nonce, term: u64, in_sync: Vec<u8>, primary: u8) -> Self {
        let version = Version { epoch: 1, seq: 1 };
        Self {
            stamp: Stamp { version, nonce },
            term,
            in_sync,
            primary,
        }
    }

    /// The record that follows this one.
    #[must_use]
    pub fn next(&self, nonce: Nonce, term: u64, in_sync: Vec<u8>, primary: u8) -> Self {
        let Version { epoch, seq } = self.stamp.version;
        let seq = seq.saturating_add(1);
        let version = Version { epoch, seq };
        Self {
            stamp: Stamp { version, nonce },
            term,
            in_sync,
            primary,
        }
    }
}
