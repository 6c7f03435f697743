//! What must hold, whoever crashes when: the rules S1 to S7 of `replicator/RULES.md`, each named where it is checked.

pub(crate) mod alone;
pub(crate) mod book;
pub(crate) mod bound;
pub(crate) mod differences;
pub(crate) mod heard;
pub(crate) mod image;
pub(crate) mod promises;
pub(crate) mod sector;
pub(crate) mod terms;

use std::fmt;

/// A broken rule. The run stops where it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `S1` to `S7`, `R1` to `R17`, or `driver` for a broken contract between core and driver.
    pub rule: &'static str,
    /// What happened.
    pub story: String,
}

impl Violation {
    pub(crate) fn new(rule: &'static str, story: impl Into<String>) -> Self {
        Self {
            rule,
            story: story.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.story)
    }
}
