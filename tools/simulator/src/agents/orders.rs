//! What persons and cables do to agents: maintenance, switchovers, restarts, confirmations; a node without its network.

use twindisk_fencing_core::{Operator, as_ms};

use super::{AgentEv, peer_of};
use crate::{
    node::{Power, name},
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// Something that a person does, or that happens to cables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// The agent is to decide nothing, or to decide again.
    Maintenance(bool),
    /// Failovers may go on.
    Clear,
    /// The peer is switched off, if it is not on, and said to be.
    Confirm,
    /// The role is to go over.
    Switchover,
    /// The agent is stopped, and started again.
    Leave,
    /// The agent dies alone, and is started again.
    Kill,
    /// All cables of the node are cut for a while.
    Isolate,
    /// Its services end by themselves, all of them or some.
    EndServices,
    /// The agent looks at its services.
    LookAtServices,
}

impl Deed {
    /// Also once faults have ended.
    const fn goes_on(self) -> bool {
        matches!(
            self,
            Self::Maintenance(false) | Self::Clear | Self::LookAtServices
        )
    }
}

impl World {
    /// Plans what is done to agents.
    pub(crate) fn plan_deeds(&mut self) {
        let Some(world) = self.agents.as_ref().map(|agents| agents.world.clone()) else {
            return;
        };
        let end = self.swarm.duration;
        let deeds = [
            Deed::Maintenance(true),
            Deed::Clear,
            Deed::Confirm,
            Deed::Switchover,
            Deed::Switchover,
            Deed::Leave,
            Deed::Kill,
        ];
        for count in 0..world.orders + world.isolations {
            let die = &mut self.dice.agent;
            let at = die.between(self.now, end);
            let node = die.index(self.nodes.len());
            let deed = if count < world.orders {
                die.pick(&deeds)
            } else {
                Deed::Isolate
            };
            let event = AgentEv::Deed { deed };
            self.at_any(at, Ev::Agent { node, event });
        }
        self.plan_cycles();
        for _ in 0..world.ends {
            let die = &mut self.dice.agent;
            let at = die.between(self.now, end);
            let node = die.index(self.nodes.len());
            let deed = Deed::EndServices;
            let event = AgentEv::Deed { deed };
            self.at_any(at, Ev::Agent { node, event });
        }
    }

    /// Another node: of two the only one.
    fn other(&mut self, number: usize) -> usize {
        let others: Vec<usize> = self.others(number).collect();
        match others.as_slice() {
            [only] => *only,
            several => self.dice.agent.pick(several),
        }
    }

    /// Whether all cables of a node are cut.
    pub(super) fn is_isolated(&self, number: usize) -> bool {
        let agents = self.agents.as_ref();
        agents.is_some_and(|agents| agents.nodes[number].isolated_until > self.now)
    }

    pub(super) fn do_deed(&mut self, number: usize, deed: Deed) {
        if self.healed && !deed.goes_on() {
            return;
        }
        tell!(self, ">> {}: {deed:?}", name(number));
        let slow = self.agents().world.slowness();
        let while_ms = self.dice.agent.between(200, 5000 * slow);
        match deed {
            Deed::Maintenance(on) => {
                if self.tell_agent(number, Operator::Maintenance(on)) && on {
                    let deed = Deed::Maintenance(false);
                    self.agent_later(while_ms * MS, number, AgentEv::Deed { deed });
                }
            }
            Deed::Clear => _ = self.tell_agent(number, Operator::Clear),
            Deed::Confirm => {
                let peer = self.other(number);
                if self.nodes[peer].power == Power::On {
                    return; // Whoever says this has looked.
                }
                self.set_power(peer, Power::Fenced);
                let wish = Operator::Confirm(peer_of(number, peer));
                if self.tell_agent(number, wish) {
                    self.agents().nodes[number].told_off.insert(peer);
                }
                self.agent_later(while_ms * MS, number, AgentEv::PowerOn { node: peer });
            }
            Deed::Switchover => {
                let wish = Operator::Switchover {
                    resource: self.its_index(),
                    to: None,
                };
                self.tell_agent(number, wish);
            }
            Deed::Leave => {
                if self.tell_agent(number, Operator::Leave) {
                    self.agent_later(20 * MS, number, AgentEv::Stop);
                    self.agent_later(20 * MS + while_ms * MS, number, AgentEv::Start);
                }
            }
            Deed::Kill => {
                self.stop_agent(number, false);
                self.agent_later(while_ms * MS, number, AgentEv::Start);
            }
            Deed::Isolate => {
                self.isolate(number, self.now + while_ms * MS);
            }
            Deed::EndServices => {
                let all = self.dice.agent.coin();
                self.end_services(number, all);
            }
            Deed::LookAtServices => self.look_at_services(number),
        }
    }

    /// A node reaches nobody.
    pub(crate) fn isolate(&mut self, number: usize, until: u64) {
        self.cut_heartbeats(number, until);
        for other in self.others(number) {
            let pair = (number.min(other), number.max(other));
            for side in 0..2 {
                self.block(pair, side, until);
            }
        }
    }

    /// Its agent reaches nobody.
    pub(crate) fn cut_heartbeats(&mut self, number: usize, until: u64) {
        self.agents().nodes[number].isolated_until = until;
    }

    pub(crate) fn tell_agent(&mut self, number: usize, wish: Operator) -> bool {
        let now = self.agent_time(number);
        let agent = self.agents().nodes[number].agent.as_mut();
        agent.is_some_and(|agent| agent.handle_operator(now, wish).is_ok())
    }

    /// Ping targets have answered, or have not.
    pub(super) fn pinged(&mut self, number: usize, run: u64) {
        let reachable = !self.is_isolated(number);
        let now = self.agent_time(number);
        let every = as_ms(self.agents().world.profile.dead()) / 4 * MS;
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_ping(now, reachable);
        }
        self.agent_later(every, number, AgentEv::Ping { run });
    }

    /// Once faults have ended nobody leaves an agent in maintenance, or blocked.
    pub(crate) fn tend_agents(&mut self) {
        if !self.healed {
            return;
        }
        for number in 0..self.nodes.len() {
            let agent = self.agents().nodes[number].agent.as_ref();
            let Some(status) = agent.map(twindisk_fencing_core::Agent::status) else {
                continue;
            };
            let needed = [
                (status.maintenance, Deed::Maintenance(false)),
                (status.blocked, Deed::Clear),
            ];
            for (_, deed) in needed.into_iter().filter(|(so, _)| *so) {
                self.agent_later(SEC, number, AgentEv::Deed { deed });
            }
        }
    }
}
