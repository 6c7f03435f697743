//! Readings of power: late, of a moment ago, failing, now and then off for an instant though the node is on, and by a device
//! that never knew the node. Somebody
//! else switches nodes off and on again. What two readings of off have to mean (R2, R6).

use std::collections::BTreeMap;

use twindisk_fencing_core::{Power as Read, as_ms};
use twindisk_format::ids::BootId;

use super::{AgentEv, peer_of};
use crate::{
    disk::Loss,
    node::{Power, name},
    rng::Rng,
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// Least between two readings that are believed.
const APART: u64 = 200 * MS;

/// What a seed draws for readings of power.
#[derive(Clone, Copy, Debug)]
pub struct Readings {
    /// Of a die of its own.
    pub seed: u64,
    /// Of 1000 readings of a node that is on: it reads as off for an instant. Never two in a row.
    pub glitches: u32,
    /// Of 1000 readings: one that fails.
    pub faults: u32,
    /// Times that somebody switches a node off and on again.
    pub cycles: u32,
    /// The device does not know this node: it reads off, or nothing, while faults last.
    pub wrong: Option<Wrong>,
}

/// A plug that is not the node's.
#[derive(Clone, Copy, Debug)]
pub struct Wrong {
    /// Whose.
    pub of: usize,
    /// It reads off; else it can't be read.
    pub off: bool,
}

/// A question to a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Later ones have larger numbers.
    serial: u64,
    /// The node is heard: does the device say that it runs?
    check: bool,
}

/// What an agent has done about the power of another node.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The reading that it waits for: later ones have larger numbers.
    serial: u64,
    begun: u64,
    /// Another one was broken off, or the other node was heard since.
    void: bool,
    /// When it read off, with nothing heard since before it began.
    off_at: Option<u64>,
    /// So many have found it off.
    found_off: u32,
    /// The one before said off of a node that was on.
    glitched: bool,
    /// The life of the host that it has heard last.
    heard: Option<BootId>,
}

/// Of each node's agent.
pub(super) type Watches = BTreeMap<(usize, usize), Watch>;

impl Readings {
    pub(crate) fn draw(seed: u64) -> Option<Self> {
        let mut die = Rng::new(seed ^ 0x52_4541_4453);
        if !die.chance(750) {
            return None; // Nobody reads, but a standby that waits to fire.
        }
        let mut some = |share: u32, most: u32| {
            if die.chance(share) {
                die.between(1, u64::from(most)) as u32
            } else {
                0
            }
        };
        let (glitches, faults, cycles) = (some(500, 500), some(300, 500), some(300, 3));
        Some(Self {
            seed: die.draw(),
            glitches,
            faults,
            cycles,
            // With what is left of the die, so that seeds stay what they were.
            wrong: die.chance(150).then(|| Wrong {
                of: die.index(3),
                off: die.chance(750),
            }),
        })
    }

    pub(crate) const fn heal(&mut self) {
        (self.glitches, self.faults, self.wrong) = (0, 0, None);
    }
}

impl World {
    /// An agent reads the power of another node.
    pub(super) fn begin_reading(&mut self, number: usize, of: usize, check: bool) {
        let (now, agents) = (self.now, self.agents());
        let (run, latency) = (agents.nodes[number].run, agents.world.device.latency);
        let watch = agents.watches.entry((number, of)).or_default();
        watch.serial += 1;
        (watch.begun, watch.void) = (now, false);
        let asked = Asked {
            serial: watch.serial,
            check,
        };
        let event = AgentEv::ReadPower { run, asked, of };
        self.agent_later(latency / 2, number, event);
    }

    /// A shot is about to use the device: what is being read is broken off.
    pub(super) fn break_reading_off(&mut self, number: usize, of: usize) {
        self.agents()
            .watches
            .entry((number, of))
            .or_default()
            .serial += 1;
    }

    /// The device looks, and the agent hears a while later what it saw.
    pub(super) fn read_power(&mut self, number: usize, run: u64, asked: Asked, of: usize) {
        let is_on = self.nodes[of].power == Power::On;
        let now = self.now;
        let agents = self.agents();
        let device = agents.world.device;
        let mut power = if now < device.dead_until || device.dead_for == Some(number) {
            Read::Unknown
        } else if is_on {
            Read::On
        } else {
            Read::Off("the switch".into())
        };
        if let Some(readings) = agents.world.readings {
            let (fails, glitches) = (
                agents.meter.chance(readings.faults),
                agents.meter.chance(readings.glitches),
            );
            let watch = agents.watches.entry((number, of)).or_default();
            let glitch = glitches && is_on && power == Read::On && !watch.glitched;
            watch.glitched = glitch;
            let wrong = readings.wrong.filter(|wrong| wrong.of == of);
            if let Some(wrong) = wrong {
                power = if wrong.off {
                    Read::Off("the switch, by another plug".into())
                } else {
                    Read::Unknown
                };
            } else if fails {
                power = Read::Unknown;
            } else if glitch {
                power = Read::Off("the switch, for an instant".into());
            }
        }
        if matches!(power, Read::Off(_)) && !asked.check {
            agents.watches.entry((number, of)).or_default().found_off += 1;
        }
        tell!(
            self,
            ">> {} reads the power of {}: {power:?}",
            name(number),
            name(of)
        );
        let event = AgentEv::Power {
            run,
            asked,
            of,
            power,
        };
        self.agent_later(device.latency.div_ceil(2), number, event);
    }

    /// The agent hears what the power of a node has read as.
    pub(super) fn power_read(&mut self, number: usize, asked: Asked, of: usize, power: Read) {
        let at = self.now;
        let proves = self.agents().world.readings.is_some();
        let watch = self.agents().watches.entry((number, of)).or_default();
        if watch.serial != asked.serial {
            return;
        }
        if asked.check {
            let now = self.agent_time(number);
            if let Some(agent) = &mut self.agents().nodes[number].agent {
                agent.handle_checked(now, peer_of(number, of), power);
            }
            return;
        }
        let off = matches!(power, Read::Off(_)) && !watch.void;
        let apart = watch
            .off_at
            .map(|before| watch.begun.saturating_sub(before));
        // The clocks of agents drift.
        let twice = off && apart.is_some_and(|apart| apart + APART / 20 >= APART);
        watch.off_at = off.then_some(at);
        if twice && proves {
            self.agents().nodes[number].told_off.insert(of);
        }
        let now = self.agent_time(number);
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_power(now, peer_of(number, of), power);
        }
    }

    /// How often an agent's readings have found another node off.
    pub(crate) fn found_off(&self, number: usize, of: usize) -> u32 {
        let watches = &self.agents.as_ref().expect("agents").watches;
        watches
            .get(&(number, of))
            .map_or(0, |watch| watch.found_off)
    }

    /// A beat of another node has arrived, which a life of its host has sent.
    pub(super) fn heard_life(&mut self, number: usize, from: usize, host: BootId) {
        let watch = self.agents().watches.entry((number, from)).or_default();
        (watch.off_at, watch.void) = (None, true);
        watch.heard = watch.heard.max(Some(host));
    }

    /// R2: whether the life of a host that an agent has heard last has ended.
    pub(super) fn has_died(&self, number: usize, of: usize) -> bool {
        let watches = &self.agents.as_ref().expect("agents").watches;
        let heard = watches.get(&(number, of)).and_then(|watch| watch.heard);
        self.nodes[of].power != Power::On || heard.is_none_or(|life| life < self.nodes[of].host)
    }

    /// Plans when somebody switches nodes off and on again.
    pub(super) fn plan_cycles(&mut self) {
        let Some(readings) = self.agents().world.readings else {
            return;
        };
        let (from, end, nodes) = (self.now, self.swarm.duration, self.nodes.len());
        for _ in 0..readings.cycles {
            let die = &mut self.agents().meter;
            let (at, node) = (die.between(from, end), die.index(nodes));
            let event = AgentEv::Cycle;
            self.at_any(at, Ev::Agent { node, event });
        }
    }

    /// Somebody switches a node off, and on again.
    pub(super) fn power_cycle(&mut self, number: usize) {
        if self.healed || self.nodes[number].power != Power::On {
            return;
        }
        let slow = self.agents().world.device.latency;
        let profile = self.agents().world.profile;
        let most = as_ms(profile.dead()) * MS + 2 * slow;
        let delay = self.agents().meter.between(100 * MS, most.max(SEC));
        tell!(
            self,
            ">> somebody switches {} off and on again",
            name(number)
        );
        self.lose_power(number, Loss::All, Power::Off);
        let run = self.nodes[number].run;
        self.after(delay, Ev::Restart { node: number, run });
    }
}
