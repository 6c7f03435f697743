//! Who belongs to whom: the device that metadata is for, and peers that turned out not to be related.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{BootId, GenerationId, Moment},
    limits::MAX_RUNS,
};

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

/// A run of a replica's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Run {
    /// Its name. Never 0.
    pub boot: BootId,
    /// How often the superblock was written when it began.
    pub began: Moment,
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

    /// Whether a replica with these runs (oldest first, the newest [`MAX_RUNS`] of them) that was written `moment` times
    /// by now remembers having come so far.
    #[must_use]
    pub fn is_remembered(self, runs: &[Run], moment: Moment) -> bool {
        if self.moment == Moment(0) {
            return true;
        }
        let Some(at) = runs.iter().position(|run| run.boot == self.run) else {
            // Of runs before the oldest one nothing is known any more.
            let full = runs.len() >= MAX_RUNS;
            return full
                && runs
                    .first()
                    .is_some_and(|oldest| self.moment <= oldest.began);
        };
        let end = runs.get(at + 1).map_or(moment, |next| next.began);
        self.moment <= end
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn run(boot: u64, began: u64) -> Run {
        Run {
            boot: BootId(boot),
            began: Moment(began),
        }
    }

    #[test]
    fn what_was_rolled_back_does_not_remember_what_it_said() {
        let remembers = |run: u64, said: u64, runs: &[Run], moment: u64| {
            let seen = Seen {
                run: BootId(run),
                moment: Moment(said),
            };
            seen.is_remembered(runs, Moment(moment))
        };
        let runs = [run(1, 1), run(2, 10), run(3, 20)];
        assert!(remembers(0, 0, &[], 0), "never heard");
        assert!(remembers(3, 25, &runs, 25));
        assert!(
            !remembers(3, 26, &runs, 25),
            "the run that goes on has forgotten"
        );
        assert!(remembers(2, 20, &runs, 25));
        assert!(!remembers(2, 21, &runs, 99), "it has gone on since");
        assert!(!remembers(4, 21, &runs, 99), "a clone was running");
        assert!(!remembers(4, 5, &[run(5, 1)], 99), "initialised anew");
        let old: Vec<Run> = (1..=8).map(|at| run(at + 10, at * 10)).collect();
        assert!(remembers(2, 10, &old, 99), "too old to know");
        assert!(!remembers(2, 11, &old, 99));
    }
}
