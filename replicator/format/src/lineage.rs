//! Generations: who has which data (DESIGN section 6).

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{GenerationId, NodeId, Term},
    limits::MAX_GENERATIONS,
};

/// A stretch of history written under one primary and one in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
pub struct Generation {
    /// The term it began in.
    pub term: Term,
    /// Random, so that a term granted twice by mistake is seen.
    pub id: GenerationId,
    /// The node that was primary.
    pub node: NodeId,
}

/// The generations whose writes a replica contains, newest last. Empty: no data yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(transparent)]
pub struct Lineage(Vec<Generation>);

/// How one lineage stands to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same newest generation (or both have no data).
    Same,
    /// The other one contains my newest generation and goes on: I am behind.
    Behind,
    /// I contain the other one's newest generation and go on.
    Ahead,
    /// Both went on after `last_common`: split brain.
    Forked {
        /// The newest generation that both contain.
        last_common: Generation,
    },
    /// Both have data, nothing in common.
    Unrelated,
}

impl Lineage {
    /// From generations in order, newest last; keeps the newest [`MAX_GENERATIONS`].
    #[must_use]
    pub fn new(mut generations: Vec<Generation>) -> Self {
        let excess = generations.len().saturating_sub(MAX_GENERATIONS);
        generations.drain(..excess);
        Self(generations)
    }

    /// The newest generation, or `None` when there is no data yet.
    #[must_use]
    pub fn newest(&self) -> Option<Generation> {
        self.0.last().copied()
    }

    /// Oldest first.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.0
    }

    /// Begins a new generation; the oldest one is forgotten when there are too many.
    pub fn begin(&mut self, generation: Generation) {
        if self.0.len() == MAX_GENERATIONS {
            self.0.remove(0);
        }
        self.0.push(generation);
    }

    /// Whether the data of `id` is contained.
    #[must_use]
    pub fn contains(&self, id: GenerationId) -> bool {
        self.0.iter().any(|generation| generation.id == id)
    }

    /// Forgets everything after the generation `id`: the start of discarding a fork.
    pub fn cut_after(&mut self, id: GenerationId) {
        if let Some(at) = self.0.iter().position(|generation| generation.id == id) {
            self.0.truncate(at + 1);
        }
    }

    /// Forgets the newest generation: nothing was written in it.
    pub fn forget_newest(&mut self) {
        self.0.pop();
    }

    /// How `self` stands to `other`. Symmetric: swapping the two swaps `Behind` and `Ahead` and nothing else.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        let (mine, theirs) = match (self.newest(), other.newest()) {
            (None, None) => return Relation::Same,
            (None, Some(_)) => return Relation::Behind,
            (Some(_), None) => return Relation::Ahead,
            (Some(mine), Some(theirs)) => (mine, theirs),
        };
        if mine.id == theirs.id {
            return Relation::Same;
        }
        if other.contains(mine.id) {
            return Relation::Behind;
        }
        if self.contains(theirs.id) {
            return Relation::Ahead;
        }
        self.0
            .iter()
            .rev()
            .find(|generation| other.contains(generation.id))
            .map_or(Relation::Unrelated, |&last_common| Relation::Forked {
                last_common,
            })
    }
}

#[cfg(test)]
mod tests;
