//! What the agent's loop, and its looks at `twindisk serve`, leave for HTTP to read.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use twindisk_control::protocol::NodeStatus;
use twindisk_fencing_core::{Failover, Level, PeerIndex};

use crate::{
    ask::AgentReply,
    config::Settings,
    news::micros,
    replica::Look,
    run::{Driver, Input},
};

/// What is older tells nothing: `twindisk serve` has as long to answer, and the loop publishes many times meanwhile.
pub(crate) const FRESH: Duration = Duration::from_secs(2);

/// What the agent says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// When.
    pub(crate) at: Instant,
    /// The same that people are told.
    pub(crate) reply: AgentReply,
    pub(crate) tally: Tally,
}

/// What is known of `twindisk serve`.
#[derive(Clone, Debug, Default)]
pub(crate) enum Serve {
    /// It has not answered since this agent began.
    #[default]
    Unheard,
    /// Its last answer. It may have been silent since.
    Answered {
        at: Instant,
        status: Arc<NodeStatus>,
    },
    /// It has no process.
    Gone,
}

impl Serve {
    /// It was looked at.
    pub(crate) fn look(&mut self, look: Look) {
        match look {
            Look::Said(status) => {
                *self = Self::Answered {
                    at: Instant::now(),
                    status: status.into(),
                }
            }
            Look::Gone => *self = Self::Gone,
            Look::Silent => {}
        }
    }
}

/// Counts since this agent began, and what fence devices said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) infos: u64,
    pub(crate) warnings: u64,
    pub(crate) alarms: u64,
    /// Failovers to this node by resource: those that were remembered, and all since.
    pub(crate) failovers: BTreeMap<String, u64>,
    last_failover: Option<Failover>,
    pub(crate) monitors: BTreeMap<PeerIndex, Monitor>,
}

/// What the fence devices of a peer said when they were asked last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// All of them work.
    pub(crate) up: bool,
}

impl Tally {
    pub(crate) fn report(&mut self, level: Level) {
        match level {
            Level::Info => self.infos += 1,
            Level::Warning => self.warnings += 1,
            Level::Alarm => self.alarms += 1,
        }
    }

    pub(crate) fn input(&mut self, input: &Input) {
        if let Input::Monitored { peer, result } = input {
            let monitor = Monitor {
                at: micros() / 1_000_000,
                up: result.is_ok(),
            };
            self.monitors.insert(*peer, monitor);
        }
    }

    /// Counts those that are new. The agent forgets the oldest, and a counter must not go back.
    pub(crate) fn failovers(&mut self, remembered: &[Failover]) {
        let known = self.last_failover.as_ref();
        let counted = known.and_then(|last| remembered.iter().rposition(|one| one == last));
        for one in remembered.iter().skip(counted.map_or(0, |at| at + 1)) {
            *self.failovers.entry(one.resource.clone()).or_default() += 1;
        }
        self.last_failover = remembered.last().cloned();
    }
}

impl Driver {
    /// What it says of itself now.
    pub(crate) fn said(&mut self) -> Said {
        let reply = self.reply();
        self.tally.failovers(&reply.status.failovers);
        Said {
            at: Instant::now(),
            reply,
            tally: self.tally.clone(),
        }
    }
}

/// A resource that this node takes part in.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Services follow the primary role.
    pub(crate) has_services: bool,
}

impl Member {
    pub(crate) fn all(settings: &Settings) -> Vec<Self> {
        let looked_after = settings.resources.iter().map(|one| Self {
            name: one.name.clone(),
            has_services: one.services.is_some(),
        });
        let left_alone = settings.left_alone.iter().map(|name| Self {
            name: name.clone(),
            has_services: false,
        });
        let mut all: Vec<Self> = looked_after.chain(left_alone).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

/// Everything that an answer is made of, at one moment.
pub(crate) struct View<'v> {
    pub(crate) said: &'v Said,
    pub(crate) serve: &'v Serve,
    pub(crate) members: &'v [Member],
    pub(crate) now: Instant,
}

impl View<'_> {
    /// How old the newest word of the agent's loop is.
    pub(crate) fn loop_age(&self) -> Duration {
        self.now.saturating_duration_since(self.said.at)
    }

    /// What `twindisk serve` says now; else why nothing is known of it.
    pub(crate) fn serve(&self) -> Result<&NodeStatus, String> {
        match self.serve {
            Serve::Unheard => Err("twindisk serve has not answered yet".to_owned()),
            Serve::Gone => Err("twindisk serve does not run".to_owned()),
            Serve::Answered { at, status } => {
                let age = self.now.saturating_duration_since(*at);
                if age < FRESH {
                    Ok(status)
                } else {
                    Err(format!(
                        "twindisk serve has not answered for {} ms",
                        age.as_millis()
                    ))
                }
            }
        }
    }
}
