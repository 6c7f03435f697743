//! What agents tell each other, several times a second, over every path.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use crate::event::{Role, Services};

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// The sender's node.
    pub from: u8,
    /// The node it is meant for.
    pub to: u8,
    /// This run of the sender's agent: random.
    pub boot: u64,
    /// When that began by the sender's clock, microseconds: a later run has a later one unless the clock was set back.
    pub started: u64,
    /// Grows with every beat of a run.
    pub seq: u64,
    /// The receiver's run that the sender has heard last; 0 for none.
    pub echo: u64,
    /// The newest beat of that run that the sender has heard; 0 for none. What was recorded earlier knows of none that the
    /// receiver has sent lately.
    pub echo_seq: u64,
    /// Paths on which the sender hears the receiver, one bit each.
    pub hears: u8,
    /// The sender's agent is being stopped by a person.
    pub leaving: bool,
    /// How long the sender's way of powering the receiver off takes, milliseconds, as measured.
    pub fence_latency: u64,
    /// Of the resources that both share.
    pub resources: Vec<BeatResource>,
}

/// What a heartbeat says of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatResource {
    /// Its name.
    pub name: String,
    /// Whether its replica runs.
    pub serving: Serving,
    /// Its role.
    pub role: Role,
    /// The term it has accepted.
    pub term: u64,
    /// It could be promoted as it is.
    pub can_promote: bool,
    /// Requests done since it started: a number that stands while `oldest_ms` grows is an I/O path that hangs.
    pub progress: u64,
    /// For how long its I/O has stood still though there is something to do, or its process has said nothing, milliseconds.
    pub oldest_ms: u64,
    /// It would take over if the receiver's replica were gone. (An agent of an earlier version does not say so.)
    #[serde(default)]
    pub ready: bool,
    /// Its I/O stands still, it was killed for that, and its process is there all the same.
    #[serde(default)]
    pub hung: bool,
    /// Its services on the sender's node. (An agent of an earlier version does not say so.)
    #[serde(default)]
    pub services: Services,
    /// The term that they belong to; if they are down: the newest in which the sender has seen its replica (R17).
    #[serde(default)]
    pub services_term: u64,
    /// A record is its arbiter, by the sender's configuration. (An agent of an earlier version knows power switches alone.)
    #[serde(default)]
    pub witness: bool,
    /// Which arbiter, as [`ResourceConfig::arbiter_id`](crate::ResourceConfig). (An earlier version does not say so.)
    #[serde(default)]
    pub arbiter: String,
    /// The node of the primary that its replica is connected to, if it is. (An agent of an earlier version does not say so.)
    #[serde(default)]
    pub follows: Option<u8>,
    /// Its services have ended too often on the sender's node: it is not to have them back for now. (An agent of an earlier
    /// version does not say so.)
    #[serde(default)]
    pub gave_up: bool,
    /// Whether the sender asks the receiver's replica to record itself as Outdated.
    pub ask: Question,
    /// The question for which the sender's replica has done so.
    pub released: Question,
}

/// A question to the peer's agent: on the wire a random number, or 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub enum Question {
    /// Nothing is asked.
    #[default]
    None,
    /// It bears this number, as nobody's earlier one does.
    Asked(NonZeroU64),
}

impl Question {
    /// It is one.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        matches!(self, Self::Asked(_))
    }
}

impl From<u64> for Question {
    fn from(number: u64) -> Self {
        NonZeroU64::new(number).map_or(Self::None, Self::Asked)
    }
}

impl From<Question> for u64 {
    fn from(question: Question) -> Self {
        match question {
            Question::None => 0,
            Question::Asked(number) => number.get(),
        }
    }
}

/// Whether a replica runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Serving {
    /// Its process answers.
    Yes,
    /// Its process does not answer, and was not seen to be gone.
    Silent,
    /// There is no process.
    No,
}
