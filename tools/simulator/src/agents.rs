//! Agents in place of the operator: the failover decisions of `fencing/core`, unchanged, beside the replicas that they
//! look after, with two heartbeat paths and a fence device that is fast, slow, or out of order.

mod device;
mod draw;
mod event;
mod hang;
mod idle;
mod meter;
mod mutants;
mod orders;
mod register;
mod replica;
mod services;
mod ward;
mod watchdog;

use std::{collections::BTreeSet, time::Duration};

use twindisk_core::Time as CoreTime;
use twindisk_fencing_core::{
    Action, Agent, Beat, Config, HungIo, Level, MemberConfig, Memory, PathIndex, PeerConfig,
    PeerIndex, ResourceConfig, ResourceIndex, Time, as_ms,
};

pub use draw::{AgentWorld, FenceDevice, ServiceTimes, WitnessWorld};
pub(crate) use event::AgentEv;
pub use meter::{Readings, Wrong};
pub(crate) use mutants::OfWitness;
pub(crate) use orders::Deed;
use ward::Ward;

use crate::{
    bug::Mutant,
    node::{Power as Powered, name, slot_of},
    rng::Rng,
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// Paths between two agents. Cuts of the replication network take the first one, and every other cut takes both.
const PATHS: usize = 2;

/// What the agent of a node calls another one.
pub(crate) fn peer_of(number: usize, other: usize) -> PeerIndex {
    PeerIndex::new(slot_of(number, other).index())
}

/// The node that the agent of `number` calls so.
const fn node_of(number: usize, peer: PeerIndex) -> usize {
    let index = peer.index();
    if index < number { index } else { index + 1 }
}

/// The agents of a cluster of two or three.
#[derive(Debug)]
pub(crate) struct Agents {
    nodes: Vec<Node>,
    /// Between two looks at a replica, at least.
    look_every: u64,
    /// Orders that were given.
    errands: u64,
    /// Of each resource.
    wards: Vec<Ward>,
    /// What they have to do with; faults in it end.
    world: AgentWorld,
    /// A device that both share does something until then.
    device_busy_until: u64,
    shots: Vec<device::Shot>,
    /// Of each agent and each other node: how its power was read.
    watches: meter::Watches,
    /// The die of readings.
    meter: Rng,
    /// A witness, if there is one.
    pub(crate) witness: Option<register::Witness>,
}

#[derive(Debug)]
struct Node {
    agent: Option<Agent>,
    /// Grows with each start and end.
    run: u64,
    memory: Memory,
    /// When it looks at the clock next.
    tick_at: u64,
    /// Whom a shot is under way at.
    aims: BTreeSet<usize>,
    /// Of whom it was told that they are off.
    told_off: BTreeSet<usize>,
    /// All its cables are cut until then.
    isolated_until: u64,
    /// When its watchdog was fed last, while that is armed.
    fed: Option<u64>,
}

impl Agents {
    pub(crate) fn new(world: AgentWorld, nodes: usize, resources: usize) -> Self {
        let node = |_| Node {
            agent: None,
            run: 0,
            memory: Memory::default(),
            tick_at: u64::MAX,
            aims: BTreeSet::new(),
            told_off: BTreeSet::new(),
            isolated_until: 0,
            fed: None,
        };
        Self {
            nodes: (0..nodes).map(node).collect(),
            look_every: as_ms(world.profile.interval()) / 4 * MS,
            errands: 0,
            wards: (0..resources).map(|_| Ward::new(nodes)).collect(),
            device_busy_until: 0,
            shots: Vec::new(),
            watches: meter::Watches::new(),
            meter: Rng::new(world.readings.map_or(0, |readings| readings.seed)),
            witness: world
                .witness
                .map(|world| register::Witness::new(world, resources)),
            world,
        }
    }
}

impl World {
    fn agents(&mut self) -> &mut Agents {
        self.agents.as_mut().expect("this cluster has agents")
    }

    /// All nodes but this one.
    fn others(&self, number: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.nodes.len()).filter(move |other| *other != number)
    }

    fn agent_time(&self, number: usize) -> Time {
        Time(self.nodes[number].clock.local(self.now).0 / MS)
    }

    /// A node is switched on, or its agent comes back.
    pub(crate) fn start_agent(&mut self, number: usize) {
        let Some(agents) = &self.agents else {
            return;
        };
        if agents.nodes[number].agent.is_some() || self.nodes[number].power != Powered::On {
            return;
        }
        let world = agents.world.clone();
        let boot = self.dice.boot.draw() | 1;
        let (now, wall) = (self.agent_time(number), self.now / 1000);
        let others: Vec<usize> = self.others(number).collect();
        let config = Config {
            name: name(number),
            node: number as u8,
            profile: world.profile,
            hung_io: HungIo::Act,
            host: self.nodes[number].host.0.to_string(),
            peers: others
                .iter()
                .map(|other| PeerConfig {
                    name: name(*other),
                    node: *other as u8,
                    paths: (0..PATHS).map(|path| format!("path {path}")).collect(),
                    can_fence: true,
                    reads_power: world.readings.is_some(),
                })
                .collect(),
            resources: (0..self.resources())
                .map(|resource| ResourceConfig {
                    name: format!("r{resource}"),
                    members: others
                        .iter()
                        .map(|other| MemberConfig {
                            peer: peer_of(number, *other),
                            preferred: *other < number,
                        })
                        .collect(),
                    has_services: true,
                    after_promote: true,
                    arbiter: world.witness.is_some(),
                    arbiter_id: String::new(),
                })
                .collect(),
            max_failovers: world.max_failovers,
            failover_window: Duration::from_secs(3600),
            recovery: world.recovery,
        };
        let mutant = self.swarm.mutant.and_then(Mutant::of_agents);
        let latency = Duration::from_nanos(world.device.latency);
        let node = &mut self.agents().nodes[number];
        let agent = Agent::new(now, config, node.memory.clone(), boot, wall);
        let mut agent = agent.with_mutant(mutant);
        for other in others {
            agent.handle_monitor(now, peer_of(number, other), Ok(latency));
        }
        node.agent = Some(agent);
        node.run += 1;
        node.tick_at = u64::MAX;
        node.aims.clear();
        node.told_off.clear();
        let run = node.run;
        self.agents()
            .watches
            .retain(|(agent, _), _| *agent != number);
        for ward in &mut self.agents().wards {
            ward.sides[number].seen = None;
            ward.sides[number].follows = None;
        }
        tell!(self, "{}: its agent starts", name(number));
        self.arm_watchdog(number);
        if world.pings {
            self.agent_later(0, number, AgentEv::Ping { run });
        }
        self.each_resource(|world| world.agent_later(0, number, AgentEv::Look { run }));
        self.set_agent_timer(number);
    }

    /// A node has lost its power, or its agent dies.
    pub(crate) fn stop_agent(&mut self, number: usize, with_power: bool) {
        let Some(agents) = &mut self.agents else {
            return;
        };
        let node = &mut agents.nodes[number];
        node.agent = None;
        node.run += 1;
        node.fed = node.fed.filter(|_| !with_power);
        for ward in &mut agents.wards {
            let side = &mut ward.sides[number];
            side.order = None;
            side.asking = None;
            if with_power {
                side.services.lose_power();
            }
        }
    }

    /// A process of a node dies, and sometimes its agent with it.
    pub(crate) fn crash_agent_too(&mut self, number: usize) {
        if self.agents.is_some() && self.dice.agent.chance(300) {
            self.stop_agent(number, false);
            let delay = self.dice.agent.between(MS, SEC);
            self.agent_later(delay, number, AgentEv::Start);
        }
    }

    fn agent_later(&mut self, delay: u64, node: usize, event: AgentEv) {
        self.after(delay, Ev::Agent { node, event });
    }

    /// Something happens to the agent of a node.
    pub(crate) fn agent_event(&mut self, number: usize, event: AgentEv) {
        let now = self.agent_time(number);
        let (at, wall) = (self.now, self.now / SEC);
        let current = self.agents().nodes[number].run;
        match event {
            AgentEv::Start => return self.start_agent(number),
            AgentEv::PowerOn { node } => return self.power_on_again(node),
            AgentEv::Shoot { command } => return self.shoot(number, command),
            AgentEv::Stop => {
                self.disarm_watchdog(number);
                return self.stop_agent(number, false);
            }
            AgentEv::Reset => return self.reset(number),
            AgentEv::Cycle => return self.power_cycle(number),
            AgentEv::Dies { run } => return self.dies(number, run),
            AgentEv::Asked { question } => return self.witness_asked(number, *question),
            AgentEv::Answered {
                run,
                serial,
                result,
            } if run == current => self.witness_answered(number, serial, result),
            AgentEv::Stored { run, memory } if run == current => {
                let share = self.agents().world.store_faults;
                let failed = self.dice.agent.chance(share);
                let version = memory.version;
                let node = &mut self.agents().nodes[number];
                let result = if failed {
                    Err("no space left on the device".to_owned())
                } else {
                    node.memory = *memory;
                    Ok(())
                };
                if let Some(agent) = &mut node.agent {
                    agent.handle_stored(now, version, result);
                }
            }
            AgentEv::Tick { run } if run == current => {
                if self.agents().nodes[number].tick_at > at {
                    return;
                }
                self.tend_watchdogs(number);
                self.each_resource(|world| {
                    world.check_services();
                    world.check_liveness();
                });
                let node = &mut self.agents().nodes[number];
                node.tick_at = u64::MAX;
                if let Some(agent) = &mut node.agent {
                    agent.handle_time(now, wall);
                }
            }
            AgentEv::Look { run } if run == current => return self.ask_status(number),
            AgentEv::Read { question } if question.run == current => {
                return self.read_status(number, question);
            }
            AgentEv::Seen { question, view } if question.run == current => {
                self.see_status(number, question, view);
            }
            AgentEv::Obey { errand } => return self.obey(number, *errand),
            AgentEv::Ordered {
                run,
                serial,
                result,
            } if run == current => self.ordered(number, serial, result),
            AgentEv::Beat {
                from,
                path,
                beat,
                host,
            } => {
                let believed = self.agents().nodes[number].agent.as_mut();
                let believed = believed.is_some_and(|agent| {
                    let peer = peer_of(number, from);
                    agent.handle_beat(now, peer, path, &beat).is_ok()
                });
                if believed {
                    self.heard_life(number, from, host);
                }
            }
            AgentEv::Fire { run, victim } if run == current => self.fire(number, run, victim),
            AgentEv::Shot {
                run,
                victim,
                result,
            } if run == current => self.shot(number, victim, result),
            AgentEv::ReadPower { run, asked, of } if run == current => {
                return self.read_power(number, run, asked, of);
            }
            AgentEv::Power {
                run,
                asked,
                of,
                power,
            } if run == current => self.power_read(number, asked, of, power),
            AgentEv::Services { work } => self.services_done(number, work),
            AgentEv::Ping { run } if run == current => self.pinged(number, run),
            AgentEv::Deed { deed } => self.do_deed(number, deed),
            _ => return,
        }
        self.settle_agent(number);
    }

    fn settle_agent(&mut self, number: usize) {
        let mut actions = Vec::new();
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            while let Some(action) = agent.poll_action() {
                actions.push(action);
            }
        }
        for action in actions {
            self.agent_acts(number, action);
        }
        self.set_agent_timer(number);
    }

    fn set_agent_timer(&mut self, number: usize) {
        let clock = self.nodes[number].clock;
        let now = self.now;
        let node = &mut self.agents().nodes[number];
        let Some(agent) = &node.agent else {
            return;
        };
        let deadline = CoreTime(agent.next_deadline().0 * MS);
        let at = clock.global(deadline).max(now);
        if at < node.tick_at || node.tick_at < now {
            node.tick_at = at;
            let run = node.run;
            self.agent_later(at - now, number, AgentEv::Tick { run });
        }
    }

    fn agent_acts(&mut self, number: usize, action: Action) {
        let run = self.agents().nodes[number].run;
        match action {
            Action::Send { peer, beat } => self.send_beat(number, node_of(number, peer), &beat),
            Action::Store(memory) => {
                let delay = self.dice.agent.between(MS, 10 * MS);
                let memory = Box::new(memory);
                self.agent_later(delay, number, AgentEv::Stored { run, memory });
            }
            Action::ReadPower(peer) => self.begin_reading(number, node_of(number, peer), false),
            Action::CheckPower(peer) => self.begin_reading(number, node_of(number, peer), true),
            Action::Fence(peer) => {
                self.break_reading_off(number, node_of(number, peer));
                self.aim(number, node_of(number, peer));
            }
            Action::PowerOn(peer) => {
                let delay = self.dice.agent.between(200 * MS, 2 * SEC);
                let node = node_of(number, peer);
                self.agent_later(delay, number, AgentEv::PowerOn { node });
            }
            Action::Order(resource, order) => {
                self.of(resource.index(), |world| world.agent_orders(number, order));
            }
            Action::Arbiter {
                resource,
                known,
                ask,
            } => {
                self.of(resource.index(), |world| {
                    world.ask_witness(number, known, ask)
                });
            }
            Action::Kill { resource, run } => {
                self.of(resource.index(), |world| world.kill_process(number, run));
            }
            Action::StartServices { resource, .. } => {
                let at = resource.index();
                self.of(at, |world| world.work_on_services(number, true));
            }
            Action::StopServices(resource) => {
                let at = resource.index();
                self.of(at, |world| world.work_on_services(number, false));
            }
            // It ends with the services.
            Action::AfterPromote { .. } => {}
            Action::Report {
                level,
                resource,
                what,
            } => {
                let mark = if level == Level::Info { "--" } else { "**" };
                let about = resource.map_or(self.resource, ResourceIndex::index);
                self.of(about, |world| {
                    tell!(world, "{}: agent {mark} {what}", name(number))
                });
            }
        }
    }

    fn send_beat(&mut self, number: usize, to: usize, beat: &Beat) {
        let pair = (number.min(to), number.max(to));
        let side = usize::from(number > to);
        for path in 0..PATHS {
            let until = self.pairs[&pair].blocked[side];
            let cut = until > self.now && (path == 0 || until % 2 == 1);
            let lost = !self.healed && self.dice.agent.chance(10);
            if cut || lost || self.is_isolated(number) || self.is_isolated(to) {
                continue;
            }
            let delay = self.dice.agent.between(MS / 10, 3 * MS);
            let (path, beat) = (PathIndex::new(path), Box::new(beat.clone()));
            let from = number;
            let host = self.nodes[number].host;
            let event = AgentEv::Beat {
                from,
                path,
                beat,
                host,
            };
            self.agent_later(delay, to, event);
        }
    }

    /// Faults end.
    pub(crate) fn heal_agents(&mut self) {
        if let Some(agents) = &mut self.agents {
            agents.world.heal();
            if let Some(witness) = &mut agents.witness {
                witness.heal();
            }
            for node in &mut agents.nodes {
                node.isolated_until = 0;
            }
        }
    }

    /// How much longer a healed cluster takes than one of the fastest agents.
    pub(crate) fn patience(&self) -> u64 {
        let agents = self.agents.as_ref();
        agents.map_or(1, |agents| agents.world.slowness())
    }
}
