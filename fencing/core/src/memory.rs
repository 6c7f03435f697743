//! What an agent must not forget when it is restarted.

use serde::{Deserialize, Serialize};
use twindisk_arbiter::Version;

/// Durable state of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memory {
    /// Grows with every change.
    pub version: u64,
    /// A person has told the agent to decide nothing.
    pub maintenance: bool,
    /// Too many failovers: a person must look first.
    pub blocked: bool,
    /// The newest failovers, oldest first.
    pub failovers: Vec<Failover>,
    /// Shots that were decided and have no known end (R6).
    pub intents: Vec<Intent>,
    /// Resources whose primary this node was last, as far as it knows.
    pub holds: Vec<String>,
    /// Services that may run here, with the term of the role that they were started for (R17).
    #[serde(default)]
    pub services: Vec<Started>,
    /// Resources whose services were down on another node in this term of the role, whoever had it, or after it (R12, R17).
    #[serde(default)]
    pub freed: Vec<Freed>,
    /// The newest record that was read of each resource's arbiter: one that holds an older one has forgotten something.
    #[serde(default)]
    pub records: Vec<Seen>,
}

/// The services of a resource were down on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Freed {
    /// Which resource.
    pub resource: String,
    /// On which node; `None`: on the other one, as an agent of an earlier version knew them.
    #[serde(default)]
    pub node: Option<String>,
    /// In which term of the role, or after it.
    pub term: u64,
}

impl Memory {
    /// The newest term in which the services of a resource are known to have been down on a node, which `is_only` other one.
    pub(crate) fn freed_on(&self, resource: &str, node: &str, is_only: bool) -> Option<u64> {
        let about = |one: &&Freed| {
            one.resource == resource && one.node.as_deref().map_or(is_only, |name| name == node)
        };
        self.freed.iter().filter(about).map(|one| one.term).max()
    }

    /// Remembers such a term, in place of an earlier one.
    pub(crate) fn free(&mut self, resource: String, node: String, term: u64) {
        self.freed.retain(|one| {
            let same = one.node.as_ref().is_none_or(|name| *name == node);
            one.resource != resource || !same
        });
        self.freed.push(Freed {
            resource,
            node: Some(node),
            term,
        });
    }
}

/// A record that an arbiter held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    /// Of which resource.
    pub resource: String,
    /// Which one.
    pub version: Version,
}

/// The newest record that was read of a resource.
pub(crate) fn seen_of(records: &[Seen], resource: &str) -> Option<Version> {
    let found = records.iter().find(|one| one.resource == resource);
    found.map(|one| one.version)
}

/// Services of a resource that were started and are not known to be down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Started {
    /// Which resource.
    pub resource: String,
    /// For which term of its role.
    pub term: u64,
    /// In which boot of the host, as [`Config::host`](crate::Config): nothing runs on through another one.
    #[serde(default)]
    pub host: String,
}

/// What is remembered of a resource's services.
pub(crate) fn started_of<'a>(services: &'a [Started], resource: &str) -> Option<&'a Started> {
    services.iter().find(|one| one.resource == resource)
}

/// This node has taken a resource over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failover {
    /// Of which resource.
    pub resource: String,
    /// From which node.
    pub from: String,
    /// By the wall clock, seconds since 1970.
    pub at: u64,
    /// Milliseconds from the loss of the peer to the promotion.
    pub took_ms: u64,
    /// What gave the right.
    pub receipt: String,
}

/// A shot that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Intent {
    /// At which node.
    pub node: String,
    /// Why.
    pub why: String,
    /// By the wall clock, seconds since 1970.
    pub at: u64,
}
