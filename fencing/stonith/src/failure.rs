//! Why a node is not proved off.

use std::{fmt::Write, time::Duration};

use crate::{AgentError, MetadataError, OptionFault};

/// The node is not proved off. It may be off all the same: only a [`crate::Proof`] says so.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The caller's reason was gone before the next shot was fired.
    #[error("{node} is no longer to be fenced: stopped after {shots} shots")]
    NoLongerWanted {
        /// The node.
        node: String,
        /// How many `off` had been fired by then. Above zero the node may be off.
        shots: u32,
    },
    /// There is no device.
    #[error("{node} has no fence device: configure one, or power it off by hand and say so")]
    NoDevice {
        /// The node.
        node: String,
    },
    /// Every level failed.
    #[error("{node} is not proved off: {}", each(levels))]
    Unproven {
        /// The node.
        node: String,
        /// The device of each level at which it ended.
        levels: Vec<LevelFailure>,
    },
}

/// Where a level ended.
#[derive(Debug)]
pub struct LevelFailure {
    /// Which level, from 1.
    pub level: usize,
    /// Which of its devices.
    pub device: String,
    /// Why.
    pub error: DeviceError,
}

/// Why one device does not do what it is for.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Its agent does not run.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// Its agent does not say what it can.
    #[error("{agent}: {source}")]
    Metadata {
        /// The agent.
        agent: String,
        /// Why.
        source: MetadataError,
    },
    /// Its configuration does not fit its agent.
    #[error("{agent}: {}", sentences(faults))]
    Options {
        /// The agent.
        agent: String,
        /// All that is wrong.
        faults: Vec<OptionFault>,
    },
    /// No shot succeeded.
    #[error("`off` failed {shots} times, at last: {last}")]
    Off {
        /// How many were fired.
        shots: u32,
        /// Why the last one failed.
        last: AgentError,
    },
    /// `off` succeeded, and the device still says on.
    #[error(
        "the device lies: `off` succeeded, and `status` still reads on after {waited:?}: \
         check `plug` and the device's log; do not trust it before it passes a test"
    )]
    Lies {
        /// How long its status was read.
        waited: Duration,
    },
    /// `off` succeeded, and the device does not say what came of it.
    #[error("`off` succeeded, but `status` could not be read for {waited:?}, at last: {last}")]
    Unverified {
        /// How long it was tried.
        waited: Duration,
        /// Why the last reading failed.
        last: AgentError,
    },
}

fn each(levels: &[LevelFailure]) -> String {
    let mut text = String::new();
    for failure in levels {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{separator}level {}, {}: {}",
            failure.level, failure.device, failure.error
        );
    }
    text
}

fn sentences(faults: &[OptionFault]) -> String {
    let sentences: Vec<String> = faults.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}
