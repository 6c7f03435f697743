//! Deliberate bugs of both cores under one name.

use twindisk_core::Mutant as OfReplica;
use twindisk_fencing_core::Mutant as OfAgent;

use crate::agents::OfWitness;

/// A deliberate bug, of every replica or of every agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// In `replicator/core`.
    Replica(OfReplica),
    /// In `fencing/core`: it is looked for in pairs with agents.
    Agent(OfAgent),
    /// Of the witness itself.
    Witness(OfWitness),
}

impl Mutant {
    /// All of them, those of replicas first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let replicas = OfReplica::ALL.iter().copied().map(Self::Replica);
        let agents = OfAgent::ALL.iter().copied().map(Self::Agent);
        let witness = OfWitness::ALL.iter().copied().map(Self::Witness);
        replicas.chain(agents).chain(witness).collect()
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.name(),
            Self::Agent(mutant) => mutant.name(),
            Self::Witness(mutant) => mutant.name(),
        }
    }

    /// The rule that it breaks.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.rule(),
            Self::Agent(mutant) => mutant.rule(),
            Self::Witness(mutant) => mutant.rule(),
        }
    }

    /// What it does, in a sentence.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Replica(mutant) => mutant.what(),
            Self::Agent(mutant) => mutant.what(),
            Self::Witness(mutant) => mutant.what(),
        }
    }

    /// Whether only a pair with agents and a witness brings it out.
    #[must_use]
    pub const fn needs_witness(self) -> bool {
        match self {
            Self::Replica(_) => false,
            Self::Agent(mutant) => matches!(
                mutant,
                OfAgent::ActBeforeGrant
                    | OfAgent::PublishEarly
                    | OfAgent::PublishPastTerm
                    | OfAgent::ClaimUnnamed
                    | OfAgent::KeepUnusedGrant
            ),
            Self::Witness(_) => true,
        }
    }

    /// Whether only three nodes with agents bring it out.
    #[must_use]
    pub const fn needs_three(self) -> bool {
        match self {
            Self::Replica(_) | Self::Witness(_) => false,
            Self::Agent(mutant) => matches!(
                mutant,
                OfAgent::ProofOfAny
                    | OfAgent::FreedOfAny
                    | OfAgent::WaitForEver
                    | OfAgent::IgnoreWhoFollows
            ),
        }
    }

    /// The one that the witness has.
    #[must_use]
    pub const fn of_witness(self) -> Option<OfWitness> {
        match self {
            Self::Witness(mutant) => Some(mutant),
            Self::Replica(_) | Self::Agent(_) => None,
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
            Self::Agent(_) | Self::Witness(_) => None,
        }
    }

    /// The one that agents have.
    #[must_use]
    pub const fn of_agents(self) -> Option<OfAgent> {
        match self {
            Self::Replica(_) | Self::Witness(_) => None,
            Self::Agent(mutant) => Some(mutant),
        }
    }
}
