//! The replica: state, dispatch of events, and nothing else.

use twindisk_format::ids::BootId;

use crate::{Action, Config, Event, Status, Time};

/// One node's part of one resource.
#[derive(Debug)]
pub struct Replica {
    config: Config,
}

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Settings.
    pub config: Config,
    /// This run of the process: random, never 0.
    pub boot: BootId,
    /// Seed of the names of generations.
    pub seed: u64,
    /// Largest size that the backing device and the metadata can hold, in blocks.
    pub capacity_blocks: u64,
}

impl Replica {
    /// Takes something that happened. Follow it with `poll_action` until that is empty.
    pub fn handle(&mut self, _now: Time, _event: Event) {}

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        None
    }

    /// When to call `handle` with `Event::Tick`, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        None
    }

    /// Everything an operator may want to know. Not for the data path: it allocates.
    #[must_use]
    pub fn status(&self, _now: Time) -> Status {
        unreachable!("{:?}", self.config)
    }

    /// Panics when a rule is broken. The simulator calls it after every event.
    pub fn check_invariants(&self) {}
}
