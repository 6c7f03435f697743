//! What the record of a resource's arbiter says, for people and for programs.

use serde::{Deserialize, Serialize};
use twindisk_arbiter::{Record, Version};

use super::{Arbiter, OTHER};
use crate::{Agent, ResourceIndex, WhyNot, conflict::Named};

/// Who keeps the record of a resource, as this node has heard it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeeperSummary {
    /// It has answered what it was asked last, and refuses no claim.
    pub answers: bool,
    /// What it held when it answered last; `None`: nothing, or it has not answered yet.
    pub record: Option<RecordSummary>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RecordSummary {
    /// Grows when a person adopts a record whose past is not known.
    pub epoch: u64,
    /// Grows by one with each write of an epoch.
    pub seq: u64,
    /// No claim was made for a later term.
    pub term: u64,
    /// The nodes that could go on alone by it.
    pub names: Vec<String>,
}

impl Agent {
    /// What is known of the arbiter of a resource, if it has one.
    pub(crate) fn keeper(&self, resource: ResourceIndex) -> Option<KeeperSummary> {
        if !self.config.resources[resource].arbiter {
            return None;
        }
        let arbiter = &self.resources[resource].arbiter;
        Some(KeeperSummary {
            answers: !arbiter.is_unheard() && arbiter.refused.is_none(),
            record: arbiter.record.as_ref().map(|record| RecordSummary {
                epoch: record.stamp.version.epoch,
                seq: record.stamp.version.seq,
                term: record.term,
                names: self.named(resource, record),
            }),
        })
    }

    /// In a sentence: what the record says, or why nothing is known of it.
    pub(crate) fn arbiter_in_words(&self, resource: ResourceIndex) -> Option<String> {
        if !self.config.resources[resource].arbiter {
            return None;
        }
        let record = self.resources[resource].arbiter.record.as_ref();
        let record = match (self.arbiter_fault(resource), record) {
            (Some((_, why)), _) => return Some(why),
            (None, record) => record?,
        };
        let could = match &*self.named(resource, record) {
            [] => "nobody could go on alone".to_owned(),
            [one] => format!("only {one} could go on alone"),
            both => format!("{} could go on alone", both.join(" or ")),
        };
        let which = self.record_in_words(resource, record);
        Some(format!("{could}, by {which} of term {}", record.term))
    }

    /// Why it would not grant a node the next term, if there is one, as far as this node knows.
    pub(crate) fn arbiter_against(
        &self,
        resource: ResourceIndex,
        (node, name): (u8, &str),
    ) -> Option<(WhyNot, String)> {
        if !self.config.resources[resource].arbiter {
            return None;
        }
        self.arbiter_fault(resource).or_else(|| {
            let record = self.resources[resource].arbiter.record.as_ref();
            let record = record.filter(|record| !record.names(node))?;
            let which = self.record_in_words(resource, record);
            Some((WhyNot::NotNamed, format!("{which} does not name {name}")))
        })
    }

    /// Why it would grant nobody anything.
    fn arbiter_fault(&self, resource: ResourceIndex) -> Option<(WhyNot, String)> {
        let keeper = self.keeper_of(resource);
        let arbiter = &self.resources[resource].arbiter;
        if arbiter.is_unheard() {
            let why = arbiter.missed.map_or_else(
                || format!("{keeper} has not answered yet"),
                |since| {
                    let seconds = self.now.since(since).as_secs();
                    format!("{keeper} has not answered for {seconds} s")
                },
            );
            return Some((WhyNot::ArbiterSilent, why));
        }
        if let Some(why) = &arbiter.refused {
            let why = format!("{keeper} answers no claim: {why}");
            return Some((WhyNot::ArbiterRefuses, why));
        }
        let none = || (WhyNot::NoRecord, format!("{keeper} holds no record yet"));
        arbiter.record.is_none().then(none)
    }

    /// Those of the two nodes that a record names.
    fn named(&self, resource: ResourceIndex, record: &Record) -> Vec<String> {
        let peer = &self.config.peers[self.peer_of(resource, OTHER)];
        let both = [
            (self.config.node, &self.config.name),
            (peer.node, &peer.name),
        ];
        let named = both.into_iter().filter(|(node, _)| record.names(*node));
        named.map(|(_, name)| name.clone()).collect()
    }

    fn record_in_words(&self, resource: ResourceIndex, record: &Record) -> String {
        let Version { epoch, seq } = record.stamp.version;
        format!("{}'s record {epoch}.{seq}", self.keeper_of(resource))
    }

    /// Who keeps the record, in a sentence.
    pub(super) fn keeper_of(&self, resource: ResourceIndex) -> &str {
        let config = &self.config.resources[resource];
        Named::new(&config.arbiter_id, config.arbiter).word()
    }
}

impl Arbiter {
    /// It has not answered what it was asked last, or was asked nothing yet.
    fn is_unheard(&self) -> bool {
        self.missed.is_some() || self.answered.is_none() && self.record.is_none()
    }
}
