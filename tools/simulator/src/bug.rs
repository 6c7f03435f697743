//! Deliberate bugs of both cores under one name.

use twindisk_core::Mutant as OfReplica;
use twindisk_fencing_core::Mutant as OfAgent;

/// A deliberate bug, of every replica or of every agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// In `replicator/core`.
    Replica(OfReplica),
    /// In `fencing/core`: it is looked for in pairs with agents.
    Agent(OfAgent),
}

impl Mutant {
    /// All of them, those of replicas first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let replicas = OfReplica::ALL.iter().copied().map(Self::Replica);
        let agents = OfAgent::ALL.iter().copied().map(Self::Agent);
        replicas.chain(agents).collect()
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.name(),
            Self::Agent(mutant) => mutant.name(),
        }
    }

    /// The rule that it breaks.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.rule(),
            Self::Agent(mutant) => mutant.rule(),
        }
    }

    /// What it does, in a sentence.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.what(),
            Self::Agent(mutant) => mutant.what(),
        }
    }

    /// Whether agents have it.
    #[must_use]
    pub const fn is_of_agents(self) -> bool {
        self.of_agents().is_some()
    }

    /// The one that replicas have.
    #[must_use]
    pub const fn of_replicas(self) -> Option<OfReplica> {
        match self {
            Self::Replica(mutant) => Some(mutant),
            Self::Agent(_) => None,
        }
    }

    /// The one that agents have.
    #[must_use]
    pub const fn of_agents(self) -> Option<OfAgent> {
        match self {
            Self::Replica(_) => None,
            Self::Agent(mutant) => Some(mutant),
        }
    }
}
