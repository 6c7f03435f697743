//! What a person can ask an agent: one JSON object a line on `agent.sock`, and its answer.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use twindisk_fencing_core::{AgentStatus, Level};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum AgentAsk {
    /// Everything about the agent.
    Status,
    /// Decide nothing until told otherwise, or decide again.
    Maintenance {
        /// Which.
        on: bool,
    },
    /// Let automatic failover go on.
    Clear,
    /// A person has switched a node off.
    Confirm {
        /// Which.
        node: String,
        /// Who says so.
        by: String,
    },
    /// Prove the fence devices of a node without a shot.
    Test {
        /// Which.
        node: String,
    },
    /// `twindisk serve` is about to be stopped: answer when all services of this node are down.
    Yield,
    /// The record of a resource begins anew: its two replicas have everything.
    Adopt {
        /// Which; may be left out when there is only one.
        resource: Option<String>,
    },
    /// Give the role of a resource to another node, services first.
    Switchover {
        /// Which; may be left out when there is only one.
        resource: Option<String>,
        /// To which node; may be left out: the first one that could have it. (A program of an earlier version does not say.)
        #[serde(default)]
        to: Option<String>,
    },
}

/// What an agent has reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Seconds since 1970.
    pub at: u64,
    /// How much it matters.
    pub level: Level,
    /// The resource it is about.
    pub resource: Option<String>,
    /// What.
    pub what: String,
}

/// A service that starts or stops at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtWork {
    /// The resource that it belongs to.
    pub resource: String,
    /// Which, for how long, and what it waits for.
    pub what: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentAnswer {
    /// It is so now.
    Done(String),
    /// It is not possible: why, and what to do.
    Refused(String),
    /// Everything about the agent.
    Status(Box<AgentReply>),
}

/// The status with what happened last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReply {
    /// The core's.
    #[serde(flatten)]
    pub status: AgentStatus,
    /// Services that start or stop. (An agent of an earlier version does not say.)
    #[serde(default, rename = "at-work", skip_serializing_if = "Vec::is_empty")]
    pub at_work: Vec<AtWork>,
    /// Why automatic failover is not to be relied on, if it is not.
    pub warnings: Vec<String>,
    /// The newest reports, oldest first.
    pub told: Vec<Told>,
}

/// A connection to an agent, for the command line.
#[derive(Debug)]
pub struct Client(BufReader<UnixStream>);

impl Client {
    /// Connects; an answer that takes longer than `patience` is an error.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(socket: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn ask(&mut self, ask: &AgentAsk) -> io::Result<AgentAnswer> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.0.get_mut().write_all(&line)?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}
