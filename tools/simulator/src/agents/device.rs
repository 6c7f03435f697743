//! Fence devices: slow, dead, shared, one-sided, lying. And what the agents' shots have to keep to (R6, R7).

use twindisk_fencing_core::{ReplicaView, Role};

use super::{AgentEv, PEER};
use crate::{
    checker::Violation,
    disk::Loss,
    node::{Power, name},
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// A shot that has hit.
#[derive(Debug)]
pub(super) struct Shot {
    fired: u64,
    hit: u64,
    victim: usize,
}

/// What a device was told to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// The run of the agent that gave it.
    pub(super) run: u64,
    fired: u64,
    takes: u64,
}

impl World {
    /// The agent wants its peer off: the program that does it is started, and asks once more when it is ready.
    pub(super) fn aim(&mut self, number: usize) {
        let node = &mut self.agents().nodes[number];
        let run = node.run;
        if std::mem::replace(&mut node.aims, true) {
            let story = format!("{} fires twice at the same time", name(number));
            return self.violate(Violation::new("R6", story));
        }
        let die = &mut self.dice.agent;
        let most = if die.chance(400) { 600 } else { 50 };
        let delay = die.between(MS, most * MS);
        self.agent_later(delay, number, AgentEv::Fire { run });
    }

    /// The program is ready: the shot is fired if it still is wanted.
    pub(super) fn fire(&mut self, number: usize, run: u64) {
        let agent = self.agents().nodes[number].agent.as_ref();
        if !agent.is_some_and(|agent| agent.still_wants(PEER)) {
            let result = Err("it is not wanted any more".to_owned());
            return self.agent_later(0, number, AgentEv::Shot { run, result });
        }
        let victim = name(1 - number);
        tell!(self, "{}: its agent fires at {victim}", name(number));
        self.check_reason(number);
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
        let command = Command { run, fired, takes };
        let delay = begins + takes / 2 - now;
        self.agent_later(delay, number, AgentEv::Shoot { command });
    }

    /// R6: the intent is durable, and by what the agent was told last there is a reason.
    fn check_reason(&mut self, number: usize) {
        let victim = name(1 - number);
        let intended = self.agents().nodes[number]
            .memory
            .intents
            .iter()
            .any(|one| one.node == victim);
        let reason = self.agents().wards.iter().any(|ward| {
            let side = &ward.sides[number];
            // R12: the peer's services keep those of a primary from being started.
            let held_up = |view: &ReplicaView| view.role == Role::Primary && view.open;
            let reason =
                |view: &ReplicaView| is_reason(view) || held_up(view) && !side.services.run();
            side.seen.as_ref().is_some_and(reason)
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

    /// The command has left the shooter: whatever becomes of that, it is carried out.
    pub(super) fn shoot(&mut self, number: usize, command: Command) {
        let Command { run, fired, takes } = command;
        let (victim, now) = (1 - number, self.now);
        let device = self.agents().world.device;
        let answer = |result: Result<(), &str>| AgentEv::Shot {
            run,
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
            if shots
                .iter()
                .any(|shot| shot.victim == number && shot.fired < hit && fired < shot.hit)
            {
                let story = "both nodes were shot in one race".to_owned();
                self.violate(Violation::new("R7", story));
            }
            self.agents().shots.push(Shot { fired, hit, victim });
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
    pub(super) fn shot(&mut self, number: usize, result: Result<(), String>) {
        let now = self.agent_time(number);
        let node = &mut self.agents().nodes[number];
        node.aims = false;
        node.told_off |= result.is_ok();
        let result = result.map(|()| "its power was read as off".to_owned());
        if let Some(agent) = &mut node.agent {
            agent.handle_fenced(now, PEER, result);
        }
    }

    /// The agent hears whether the peer's power is on; `None`: that can't be read.
    pub(super) fn power_read(&mut self, number: usize) {
        let device = self.agents().world.device;
        let answers = self.now >= device.dead_until && device.dead_for != Some(number);
        let on = answers.then(|| self.nodes[1 - number].power == Power::On);
        let now = self.agent_time(number);
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_power(now, PEER, on);
        }
    }

    /// A shot that came late has hit a node that nobody is there to switch on: faults have ended, so somebody is.
    pub(crate) fn switch_on_again(&mut self) {
        for number in 0..self.nodes.len() {
            if self.healed && self.nodes[number].power == Power::Fenced {
                let node = 1 - number;
                self.agent_later(5 * SEC, node, AgentEv::PowerOn);
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

/// Whether what an agent was told of its replica is a reason to want the peer off.
const fn is_reason(view: &ReplicaView) -> bool {
    match view.role {
        // Connected or not: the standby may get nothing done.
        Role::Primary => view.suspended && view.peer_in_sync,
        // It lacks a right, or the peer's services of an earlier time are not known to be down (R17).
        Role::Standby => view.up_to_date && (view.can_promote || view.peer_in_sync && !view.linked),
    }
}
