//! Services: a third party that must never run twice. They start and stop slowly, fail to, and are left over.

use twindisk_core::{ConnectionState, PeerStatus, Role};
use twindisk_fencing_core::{Services as State, as_ms};

use super::{AgentEv, orders::Deed};
use crate::{
    checker::Violation,
    node::{Power, name},
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// The services of a node.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// Some may run, with what they remember of the device: since when.
    since: Option<u64>,
    /// What is being done to them, by number.
    work: u64,
}

impl Services {
    /// Some may run.
    pub(super) const fn run(&self) -> bool {
        self.since.is_some()
    }

    /// The host is gone.
    pub(super) fn lose_power(&mut self) {
        self.since = None;
        self.work += 1;
    }
}

/// Something is being done to services: the run of the agent, the number, whether they are brought up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    run: u64,
    number: u64,
    up: bool,
}

impl World {
    /// The agent brings its services up, or down.
    pub(super) fn work_on_services(&mut self, number: usize, up: bool) {
        if up {
            self.check_start(number);
        }
        let takes = self.agents().world.services.takes;
        let delay = self.dice.agent.between(MS, takes);
        let now = self.now;
        let run = self.agents().nodes[number].run;
        let services = &mut self.ward().sides[number].services;
        services.work += 1;
        if up {
            services.since.get_or_insert(now);
        }
        let work = Work {
            run,
            number: services.work,
            up,
        };
        self.agent_later(delay, number, AgentEv::Services { work });
    }

    /// They are up or down, or are not. An agent that died meanwhile hears nothing of it.
    pub(super) fn services_done(&mut self, number: usize, work: Work) {
        let times = self.agents().world.services;
        let share = if work.up {
            times.fail_start
        } else {
            times.fail_stop
        };
        let failed = self.dice.agent.chance(share);
        let some = self.dice.agent.coin();
        let now = self.agent_time(number);
        let services = &mut self.ward().sides[number].services;
        if services.work != work.number {
            return;
        }
        // Who fails to start may have started something; who fails to stop, something is left of.
        if !work.up && !failed || work.up && failed && !some {
            services.since = None;
        }
        let result = if failed {
            Err("the unit has failed".to_owned())
        } else {
            Ok(())
        };
        let words = match (work.up, failed) {
            (true, false) => "are up",
            (true, true) => "did not come up",
            (false, false) => "are down",
            (false, true) => "did not go down",
        };
        let index = self.its_index();
        let node = &mut self.agents().nodes[number];
        if let Some(agent) = &mut node.agent
            && node.run == work.run
        {
            agent.handle_services(now, index, result);
        }
        tell!(self, "{}: its services {words}", name(number));
    }

    /// From now on they stay, whatever is done to stop them.
    pub(crate) fn services_cannot_be_stopped(&mut self) {
        let services = &mut self.agents().world.services;
        (services.fail_stop, services.stops_fail) = (1000, true);
    }

    /// Services that are up end by themselves.
    pub(crate) fn end_services(&mut self, number: usize, all: bool) {
        let index = self.its_index().index();
        let agent = self.agents().nodes[number].agent.as_ref();
        if agent.is_some_and(|agent| agent.status().resources[index].services == State::Up) {
            if all {
                self.ward().sides[number].services.since = None;
            }
            self.look_at_services(number);
        }
    }

    /// The agent notices that they have ended, unless it is to leave them alone: then it looks again.
    pub(super) fn look_at_services(&mut self, number: usize) {
        let (now, index) = (self.agent_time(number), self.its_index());
        let Some(agent) = &mut self.agents().nodes[number].agent else {
            return;
        };
        let status = agent.status();
        if status.resources[index.index()].services != State::Up {
            return;
        }
        if status.maintenance {
            let deed = Deed::LookAtServices;
            return self.agent_later(SEC, number, AgentEv::Deed { deed });
        }
        agent.handle_services_ended(now, index, "the database");
    }

    /// Services of a node that lost its role while it stood still go down once it finds out.
    pub(super) fn check_services(&mut self) {
        let runs = |number: usize| {
            let agents = self.agents.as_ref().expect("agents");
            self.its_ward().sides[number].services.run()
                && agents.nodes[number].agent.is_some()
                && self.nodes[number].paused_until <= self.now
        };
        let both = (0..self.nodes.len()).filter(|at| runs(*at)).count() > 1;
        let both = both && !self.may_overlap();
        let now = self.now;
        // Beside a witness they are not fenced with their host, and take their time.
        let timed = self.has_witness();
        let takes = if timed {
            self.agents().world.services.takes
        } else {
            0
        };
        let overstay = self.may_overstay();
        let limit = 5 * SEC + takes + overstay.unwrap_or_default();
        let gone = as_ms(self.agents().world.profile.dead()) * MS + limit + takes;
        let ward = self.ward();
        ward.both_since = both.then(|| ward.both_since.unwrap_or(now));
        let cut_off: Vec<bool> = (0..self.nodes.len())
            .map(|number| self.is_cut_off(number))
            .collect();
        let ward = self.ward();
        for (since, cut_off) in ward.cut_off.iter_mut().zip(cut_off) {
            *since = cut_off.then(|| since.unwrap_or(now));
        }
        let late = |since: &Option<u64>| since.is_some_and(|since| now > since + gone);
        let stays = ward.cut_off.iter().position(late);
        if let Some(number) = stays {
            let story = format!(
                "{} has nobody to go on with, and its services stay",
                name(number)
            );
            return self.violate(Violation::new("R8", story));
        }
        let ward = self.ward();
        if ward.both_since.is_some_and(|since| now > since + limit) {
            let story = "services run on both nodes".to_owned();
            self.violate(Violation::new("R10", story));
        }
    }

    /// R8: whether a primary's services have to go, since another node may be granted the next term, or was.
    fn is_cut_off(&self, number: usize) -> bool {
        let lacks = self.nodes[number].status(self.now).is_some_and(|status| {
            let apart = |peer: &PeerStatus| peer.connection == ConnectionState::Connecting;
            let waits = status.suspended.is_some() || status.role == Role::Standby;
            waits && status.peers.iter().all(apart)
        });
        self.has_witness()
            && lacks
            && !self.reaches_witness(number)
            && (!self.is_named(number) || self.is_named(1 - number))
            && self.decides(number)
            && self.may_overstay().is_some()
            && self.its_ward().sides[number].services.run()
    }

    /// R12: they are not started while some run elsewhere.
    fn check_start(&mut self, number: usize) {
        // Beside a witness the other one may live and hear nothing: its services have a time in which they go.
        let timed = self.has_witness();
        let runs = |other: &usize| {
            let services = &self.its_ward().sides[*other].services;
            services.run() && self.nodes[*other].power == Power::On
        };
        if let Some(other) = self.others(number).find(runs).filter(|_| !timed) {
            let story = format!(
                "the services are started on {} while they run on {}",
                name(number),
                name(other)
            );
            self.violate(Violation::new("R12", story));
        }
    }

    /// R12: who releases its replica, or hands over, has no services any more.
    pub(super) fn check_release(&mut self, number: usize) {
        if self.ward().sides[number].services.run() {
            let story = format!(
                "{} gives the role away while its services run",
                name(number)
            );
            self.violate(Violation::new("R12", story));
        }
    }

    /// R17: a device that opens is not served to what was its client before the role was elsewhere.
    pub(crate) fn check_clients_of_role(&mut self, number: usize) {
        let now = self.now;
        if self.agents.is_none() {
            return;
        }
        let ward = self.ward();
        ward.opened[number] = now;
        let since = ward.sides[number].services.since;
        let opened = ward.opened.clone();
        let last = self.others(number).max_by_key(|other| opened[*other]);
        let before = last.map(|other| (other, opened[other]));
        if let Some((other, elsewhere)) = before
            && let Some(since) = since.filter(|since| *since < elsewhere)
        {
            let story = format!(
                "{} opens its device to services that run since {} ms, and {} was primary at {} ms",
                name(number),
                since / MS,
                name(other),
                elsewhere / MS
            );
            self.violate(Violation::new("R17", story));
        }
    }
}
