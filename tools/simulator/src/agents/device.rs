//! Fence devices: slow, dead, shared, one-sided, lying. And what the agents' shots have to keep to (R6, R7).

use twindisk_fencing_core::{Agent, MemberIndex, ReplicaView, Role, as_ms};

use super::{AgentEv, peer_of, ward::Ward};
use crate::{
    checker::Violation,
    disk::Loss,
    node::{Power, name, slot_of},
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// A shot that has hit.
#[derive(Debug)]
pub(super) struct Shot {
    shooter: usize,
    fired: u64,
    hit: u64,
    victim: usize,
}

/// What a device was told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// The run of the agent that gave it.
    pub(super) run: u64,
    victim: usize,
    fired: u64,
    takes: u64,
}

impl World {
    /// How many nodes were shot.
    pub(crate) fn shots(&self) -> usize {
        self.agents.as_ref().map_or(0, |agents| agents.shots.len())
    }

    /// The agent wants a node off: the program that does it is started, and asks once more when it is ready.
    pub(super) fn aim(&mut self, number: usize, victim: usize) {
        let node = &mut self.agents().nodes[number];
        let run = node.run;
        if !node.aims.insert(victim) {
            let story = format!("{} fires twice at the same time", name(number));
            return self.violate(Violation::new("R6", story));
        }
        let die = &mut self.dice.agent;
        let most = if die.chance(400) { 600 } else { 50 };
        let delay = die.between(MS, most * MS);
        self.agent_later(delay, number, AgentEv::Fire { run, victim });
    }

    /// The program is ready: the shot is fired if it still is wanted.
    pub(super) fn fire(&mut self, number: usize, run: u64, victim: usize) {
        let agent = self.agents().nodes[number].agent.as_ref();
        if !agent.is_some_and(|agent| agent.still_wants(peer_of(number, victim))) {
            let result = Err("it is not wanted any more".to_owned());
            let event = AgentEv::Shot {
                run,
                victim,
                result,
            };
            return self.agent_later(0, number, event);
        }
        tell!(
            self,
            "{}: its agent fires at {}",
            name(number),
            name(victim)
        );
        self.check_reason(number, victim);
        let device = self.agents().world.device;
        let slow = self.dice.agent.chance(device.slow);
        let takes = if slow {
            self.dice
                .agent
                .between(device.latency, 3 * device.latency + MS)
        } else {
            device.latency
        };
        let (fired, now) = (self.now, self.now);
        let agents = self.agents();
        let begins = if device.shared {
            agents.device_busy_until.max(now)
        } else {
            now
        };
        agents.device_busy_until = begins + takes;
        let command = Command {
            run,
            victim,
            fired,
            takes,
        };
        let delay = begins + takes / 2 - now;
        self.agent_later(delay, number, AgentEv::Shoot { command });
    }

    /// R6: the intent is durable, and by what the agent was told last there is a reason.
    fn check_reason(&mut self, number: usize, at: usize) {
        let victim = name(at);
        let member = MemberIndex::new(slot_of(number, at).index());
        let intended = self.agents().nodes[number]
            .memory
            .intents
            .iter()
            .any(|one| one.node == victim);
        let wards = &self.agents.as_ref().expect("agents").wards;
        let reason = wards.iter().any(|ward| {
            let side = &ward.sides[number];
            // R12: the peer's services keep those of a primary from being started.
            let held_up = |view: &ReplicaView| view.role == Role::Primary && view.open;
            let reason = |view: &ReplicaView| {
                is_reason(view, member) || held_up(view) && !side.services.run()
            };
            side.seen.as_ref().is_some_and(reason) && !self.is_followed(ward, number, at)
        });
        let calm = !self.agents().nodes[number].memory.maintenance;
        let shooter = name(number);
        if !intended {
            let story = format!("{shooter} fires at {victim}, and has not stored that it would");
            self.violate(Violation::new("R6", story));
        }
        if !reason || !calm {
            let story = format!("{shooter} fires at {victim} without a reason");
            self.violate(Violation::new("R6", story));
        }
    }

    /// Whether a third node, which this standby hears and which is well, has long been connected to the primary that is to be
    /// off.
    fn is_followed(&self, ward: &Ward, number: usize, victim: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        let profile = agents.world.profile;
        let long = self.now.saturating_sub(as_ms(profile.dead()) * MS);
        let seen = |at: usize| ward.sides[at].seen.as_ref();
        let status = agents.nodes[number].agent.as_ref().map(Agent::status);
        let hears = |other: usize| {
            let peer = peer_of(number, other).index();
            let mut paths = status.iter().flat_map(|status| &status.peers[peer].paths);
            let fresh = 2 * as_ms(profile.interval());
            paths.any(|path| path.silent_ms.is_some_and(|ms| ms <= fresh))
        };
        let well = |other: usize| {
            let node = &self.nodes[other];
            let stuck = node.trouble.stuck_until.max(node.stopped_until);
            agents.nodes[other].agent.is_some() && node.paused_until.max(stuck) < long
        };
        seen(number).is_some_and(|view| view.role == Role::Standby)
            && self.others(number).any(|other| {
                let follows = ward.sides[other].follows;
                other != victim
                    && follows.is_some_and(|(node, since)| node == victim && since < long)
                    && seen(other).map(|view| view.term) >= seen(number).map(|view| view.term)
                    && hears(other)
                    && well(other)
            })
    }

    /// The command has left the shooter: whatever becomes of that, it is carried out.
    pub(super) fn shoot(&mut self, number: usize, command: Command) {
        let Command {
            run,
            victim,
            fired,
            takes,
        } = command;
        let now = self.now;
        let device = self.agents().world.device;
        let answer = |result: Result<(), &str>| AgentEv::Shot {
            run,
            victim,
            result: result.map_err(str::to_owned),
        };
        if now < device.dead_until || device.dead_for == Some(number) {
            let event = answer(Err("the device does not answer"));
            return self.agent_later(takes / 2, number, event);
        }
        if self.dice.agent.chance(device.lies) {
            tell!(self, ">> the power of {} stays on", name(victim));
            let event = answer(Err("its power was read as on"));
            return self.agent_later(takes / 2, number, event);
        }
        tell!(
            self,
            ">> the power of {} is switched off for {}",
            name(victim),
            name(number)
        );
        self.coverage.reach("operator", "fence");
        if self.nodes[victim].power == Power::On {
            let shots = &self.agents().shots;
            let hit = now;
            let meets = |shot: &Shot| shot.fired < hit && fired < shot.hit;
            if shots
                .iter()
                .any(|shot| shot.victim == number && shot.shooter == victim && meets(shot))
            {
                let story = "both nodes were shot in one race".to_owned();
                self.violate(Violation::new("R7", story));
            }
            self.agents().shots.push(Shot {
                shooter: number,
                fired,
                hit,
                victim,
            });
            self.lose_power(victim, Loss::All, Power::Fenced);
        } else {
            self.set_power(victim, Power::Fenced);
        }
        if self.dice.agent.chance(device.wakes) {
            tell!(self, ">> {} comes up again by itself", name(victim));
            self.set_power(victim, Power::Off);
            self.restart_later(victim, SEC);
            if self.dice.agent.coin() {
                let event = answer(Err("its power was read as on"));
                return self.agent_later(takes / 2, number, event);
            }
        }
        self.agent_later(takes / 2, number, answer(Ok(())));
    }

    /// The agent hears what came of a shot.
    pub(super) fn shot(&mut self, number: usize, victim: usize, result: Result<(), String>) {
        let now = self.agent_time(number);
        let node = &mut self.agents().nodes[number];
        node.aims.remove(&victim);
        if result.is_ok() {
            node.told_off.insert(victim);
        }
        let result = result.map(|()| "its power was read as off".to_owned());
        if let Some(agent) = &mut node.agent {
            agent.handle_fenced(now, peer_of(number, victim), result);
        }
    }

    /// A shot that came late has hit a node that nobody is there to switch on: faults have ended, so somebody is.
    pub(crate) fn switch_on_again(&mut self) {
        for number in 0..self.nodes.len() {
            if self.healed && self.nodes[number].power == Power::Fenced {
                let node = (number + 1) % self.nodes.len();
                self.agent_later(5 * SEC, node, AgentEv::PowerOn { node: number });
            }
        }
    }

    pub(super) fn power_on_again(&mut self, number: usize) {
        if self.nodes[number].power == Power::Fenced {
            tell!(
                self,
                ">> the power of {} is switched on again",
                name(number)
            );
            self.set_power(number, Power::Off);
            self.restart_later(number, 500 * MS);
        }
    }
}

/// Whether what an agent was told of its replica is a reason to want a member off.
fn is_reason(view: &ReplicaView, member: MemberIndex) -> bool {
    let peer = &view.peers[member];
    match view.role {
        // Connected or not: the standby may get nothing done.
        Role::Primary => peer.awaited && peer.in_sync,
        // It lacks a right, or the services of an earlier time are not known to be down there (R17).
        Role::Standby => view.up_to_date && (view.can_promote || peer.in_sync && !peer.linked),
    }
}
