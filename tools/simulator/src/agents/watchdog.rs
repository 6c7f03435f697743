//! A watchdog on each node: it resets a host whose agent does not feed it.

use twindisk_fencing_core::Agent;

use super::AgentEv;
use crate::{
    disk::Loss,
    node::{Power, name},
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// Between two meals.
const FEED: u64 = SEC;

/// A stop that failed is tried again after that.
const RETRY: u64 = 11 * SEC;

impl World {
    /// Whoever opens it has armed it. It stays so when the agent dies.
    pub(super) fn arm_watchdog(&mut self, number: usize) {
        let now = self.now;
        if self.agents().world.watchdog.is_some() {
            self.agents().nodes[number].fed = Some(now);
        }
    }

    /// The host is off, or the agent was stopped in good order.
    pub(super) fn disarm_watchdog(&mut self, number: usize) {
        self.agents().nodes[number].fed = None;
    }

    /// An agent that looks at the clock feeds its own; each that has waited for too long fires.
    pub(super) fn tend_watchdogs(&mut self, number: usize) {
        let (now, agents) = (self.now, self.agents());
        let Some(timeout) = agents.world.watchdog else {
            return;
        };
        let node = &mut agents.nodes[number];
        if let Some(fed) = &mut node.fed
            && now >= *fed + FEED
            && node.agent.as_ref().is_some_and(Agent::is_well)
        {
            *fed = now;
        }
        let starved = |fed: Option<u64>| fed.is_some_and(|fed| now > fed + timeout);
        let victims: Vec<_> = (0..agents.nodes.len())
            .filter(|at| starved(agents.nodes[*at].fed))
            .collect();
        for victim in victims {
            self.disarm_watchdog(victim);
            self.agent_later(0, victim, AgentEv::Reset);
        }
    }

    /// The host is reset, and boots.
    pub(super) fn reset(&mut self, number: usize) {
        if self.nodes[number].power != Power::On {
            return;
        }
        tell!(self, ">> the watchdog resets {}", name(number));
        self.lose_power(number, Loss::All, Power::Off);
        let run = self.nodes[number].run;
        self.after(500 * MS, Ev::Restart { node: number, run });
    }

    /// For how long services that have to be gone may stay at most, since they can't be stopped: `None`, for ever.
    pub(super) fn may_overstay(&self) -> Option<u64> {
        let agents = self.agents.as_ref().expect("agents");
        let services = agents.world.services;
        match agents.world.watchdog {
            _ if !services.stops_fail => Some(0),
            Some(timeout) => Some(RETRY.max(timeout + FEED + SEC)),
            None => self.healed.then_some(RETRY),
        }
    }
}
