//! The register: one record, read and compared and set. It decides nothing of replicas; it only never forgets and never
//! lets two claims of one record succeed.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::{Record, Stamp, Version};

/// What is kept durably for one resource of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// The record; `None`: nobody has written one.
    pub record: Option<Record>,
    /// Why what it holds may be older than what it has answered: it answers no claim until a person has it adopted.
    pub doubt: Option<String>,
}

/// What a node asks of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// What it holds.
    Read,
    /// That `to` takes the place of what it holds, if that is `from`.
    Swap {
        /// What was read; `None`: that there was none.
        from: Option<Stamp>,
        /// What is to be held: the next number of the same epoch.
        to: Record,
    },
    /// The same, also while it is in doubt, with the number 1 of a later epoch: a person vouches for both replicas.
    Adopt {
        /// What it holds now, doubtful or not.
        from: Option<Stamp>,
        /// What is to be held.
        to: Record,
    },
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// That is what it holds; `None`: nothing yet.
    Held(Option<Record>),
    /// It is set, by this question or by an earlier one with the same nonce.
    Done(Record),
    /// It holds something else than was compared.
    Lost(Option<Record>),
    /// It answers no claim.
    Refused {
        /// Why, and what to do.
        why: String,
        /// What it holds all the same.
        record: Option<Record>,
    },
}

impl Register {
    /// One whose state can't be believed: only a person's word makes something of it.
    #[must_use]
    pub fn doubtful(why: impl Into<String>) -> Self {
        Self {
            record: None,
            doubt: Some(why.into()),
        }
    }

    /// Answers a question of a node that knows of a record of version `known`. The register is to be stored as it is
    /// returned, if that differs, before the answer leaves.
    #[must_use]
    pub fn ask(&self, known: Option<Version>, ask: &Ask) -> (Self, Answer) {
        let mut next = self.clone();
        let held = self.record.as_ref().map(|record| record.stamp.version);
        if known > held && self.doubt.is_none() {
            // A snapshot of its host was restored, or its disk is another one.
            next.doubt = Some(rolled_back(held, known));
        }
        if let Ask::Adopt { from, to } = ask {
            let answer = next.adopt(known, *from, to);
            return (next, answer);
        }
        if let Some(why) = next.doubt.clone() {
            let record = self.record.clone();
            return (next, Answer::Refused { why, record });
        }
        let answer = match ask {
            Ask::Read | Ask::Adopt { .. } => Answer::Held(next.record.clone()),
            Ask::Swap { from, to } => next.swap(*from, to),
        };
        (next, answer)
    }

    fn swap(&mut self, from: Option<Stamp>, to: &Record) -> Answer {
        if let Some(record) = self.wrote(to) {
            return Answer::Done(record);
        }
        let held = self.record.as_ref();
        if held.map(|record| record.stamp) != from {
            return Answer::Lost(self.record.clone());
        }
        let follows = held.map_or(Version { epoch: 1, seq: 1 }, |held| Version {
            epoch: held.stamp.version.epoch,
            seq: held.stamp.version.seq.saturating_add(1),
        });
        if to.stamp.version != follows || to.in_sync.is_empty() {
            return self.nonsense();
        }
        self.record = Some(to.clone());
        Answer::Done(to.clone())
    }

    fn adopt(&mut self, known: Option<Version>, from: Option<Stamp>, to: &Record) -> Answer {
        if let Some(record) = self.wrote(to).filter(|_| self.doubt.is_none()) {
            return Answer::Done(record);
        }
        let held = self.record.as_ref().map(|record| record.stamp);
        if held != from {
            return Answer::Lost(self.record.clone());
        }
        let epoch = held
            .map(|held| held.version)
            .max(known)
            .map_or(0, |version| version.epoch);
        let Version { epoch: next, seq } = to.stamp.version;
        if next <= epoch || seq != 1 || to.in_sync.is_empty() {
            return self.nonsense();
        }
        self.record = Some(to.clone());
        self.doubt = None;
        Answer::Done(to.clone())
    }

    /// The record, if this very question has written it: its first answer was lost.
    fn wrote(&self, to: &Record) -> Option<Record> {
        let record = self.record.as_ref()?;
        (record.stamp == to.stamp).then(|| record.clone())
    }

    fn nonsense(&self) -> Answer {
        Answer::Refused {
            why: "what it is asked to hold does not follow what it holds: the two are of different versions".to_owned(),
            record: self.record.clone(),
        }
    }
}

fn rolled_back(held: Option<Version>, known: Option<Version>) -> String {
    let words = |version: Option<Version>| {
        version.map_or_else(
            || "no record".to_owned(),
            |Version { epoch, seq }| format!("record {epoch}.{seq}"),
        )
    };
    format!(
        "it was rolled back: it holds {}, and a node has seen {} there. Was a snapshot of its host restored, or its \
         folder emptied? With both replicas connected: twindisk arbiter adopt",
        words(held),
        words(known)
    )
}
