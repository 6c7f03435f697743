//! Generations: who has which data (`RULES.md`, *Generations*).

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::{
    ids::{GenerationId, NodeId, Term},
    limits::{MAX_ANCESTORS, MAX_GENERATIONS},
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

impl Generation {
    /// One of which only the name is still known.
    pub(crate) const fn ancestor(id: GenerationId) -> Self {
        Self {
            term: Term(0),
            id,
            node: NodeId(0),
        }
    }
}

/// The generations whose writes a replica contains, newest last. Empty: no data yet. Of those before the newest
/// [`MAX_GENERATIONS`] only the names are kept, and of those the newest [`MAX_ANCESTORS`].
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
    /// From generations in order, newest last.
    #[must_use]
    pub fn new(mut generations: Vec<Generation>) -> Self {
        let excess = generations.len().saturating_sub(MAX_LINEAGE);
        generations.drain(..excess);
        let old = generations.len().saturating_sub(MAX_GENERATIONS);
        for generation in generations.iter_mut().take(old) {
            *generation = Generation::ancestor(generation.id);
        }
        Self(generations)
    }

    /// The newest generation, or `None` when there is no data yet.
    #[must_use]
    pub fn newest(&self) -> Option<Generation> {
        self.0.last().copied()
    }

    /// Oldest first. All but the newest [`MAX_GENERATIONS`] have neither term nor node.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.0
    }

    /// Those known by name alone, and those known whole, each oldest first.
    #[must_use]
    pub fn ancestors_and_generations(&self) -> (&[Generation], &[Generation]) {
        self.0
            .split_at(self.0.len().saturating_sub(MAX_GENERATIONS))
    }

    /// Begins a new generation; the oldest one is forgotten when there are too many.
    pub fn begin(&mut self, generation: Generation) {
        let mut generations = core::mem::take(&mut self.0);
        generations.push(generation);
        *self = Self::new(generations);
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

    /// Whether it can have come about beside `other`: its terms grow, and what both know is the same generation.
    #[must_use]
    pub fn is_sound(&self, other: &Self) -> bool {
        let (ancestors, generations) = self.ancestors_and_generations();
        let named = ancestors.iter().all(|one| one.term == Term(0));
        // Cut shorter, it ends with fewer generations than it could hold, and begins with ancestors of which the name is left.
        let whole = generations.iter().skip_while(|one| one.term == Term(0));
        let in_order = whole.is_sorted_by(|one, next| one.term < next.term);
        let known = |one: &Generation| {
            let mut others = other.0.iter().filter(|other| other.id == one.id);
            others.all(|other| other == one || other.term == Term(0) || one.term == Term(0))
        };
        named && in_order && self.0.iter().all(known)
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
        let common = |one: &Self, other: &Self| {
            let mut newest_first = one.0.iter().rev();
            newest_first
                .find(|generation| other.contains(generation.id))
                .copied()
        };
        // The side that has less behind the fork may know more of it.
        match (common(self, other), common(other, self)) {
            (Some(mine), Some(theirs)) => Relation::Forked {
                last_common: if mine.term < theirs.term {
                    theirs
                } else {
                    mine
                },
            },
            _ => Relation::Unrelated,
        }
    }
}

/// Most generations of one lineage.
pub(crate) const MAX_LINEAGE: usize = MAX_ANCESTORS + MAX_GENERATIONS;

#[cfg(test)]
mod tests;
