//! What a seed draws for a pair or three nodes with agents, beside what it draws for every cluster.

use std::time::Duration;

use twindisk_core::{Arbiter, OnPeerLoss, Protocol};
use twindisk_fencing_core::{Profile, Recovery};

use super::Readings;
use crate::{
    rng::Rng,
    swarm::{Faults, MS, SEC, Swarm, US, draw_load},
};

/// The surroundings of two agents.
#[derive(Clone, Debug)]
pub struct AgentWorld {
    /// How fast they judge.
    pub profile: Profile,
    /// What they fence with.
    pub device: FenceDevice,
    /// What follows the role.
    pub services: ServiceTimes,
    /// Of 1000 times that a memory is to be stored: it can't be.
    pub store_faults: u32,
    /// They ask targets whether the network of the clients is there.
    pub pings: bool,
    /// Times that all cables of a node are cut.
    pub isolations: u32,
    /// Times that a person tells an agent something.
    pub orders: u32,
    /// After so many failovers within the hour a person has to look first.
    pub max_failovers: u32,
    /// What they do about services that end by themselves.
    pub recovery: Option<Recovery>,
    /// Times that services do.
    pub ends: u32,
    /// Agents read the power of silent nodes before these count as dead, and how that goes.
    pub readings: Option<Readings>,
    /// A witness grants the next term, and nobody is fenced.
    pub witness: Option<WitnessWorld>,
    /// Each node has a watchdog with this timeout, in nanoseconds.
    pub watchdog: Option<u64>,
}

/// A witness and the ways to it; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct WitnessWorld {
    /// Most that a question or an answer takes.
    pub delay: u64,
    /// Of 1000 answers: one that is lost.
    pub lost: u32,
    /// Of 1000 questions: one that comes seconds late.
    pub late: u32,
    /// Nobody reaches it before.
    pub down_until: u64,
    /// Times that it dies, and comes back.
    pub restarts: u32,
    /// Times that a node does not reach it for a while.
    pub cuts: u32,
}

impl WitnessWorld {
    /// Where nothing goes wrong by itself.
    pub(crate) const fn calm() -> Self {
        Self {
            delay: MS,
            lost: 0,
            late: 0,
            down_until: 0,
            restarts: 0,
            cuts: 0,
        }
    }
}

/// A fence device; times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct FenceDevice {
    /// How long a shot takes, and to read the power.
    pub latency: u64,
    /// Of 1000 shots: it takes up to three times as long.
    pub slow: u32,
    /// It does not answer before.
    pub dead_until: u64,
    /// It does not answer this node at all.
    pub dead_for: Option<usize>,
    /// Both nodes hang on one, which does one thing at a time.
    pub shared: bool,
    /// Of 1000 shots: nothing happens although it says so; the power is read as on.
    pub lies: u32,
    /// Of 1000 shots: the node is off, and comes up again by itself, perhaps before its power is read.
    pub wakes: u32,
}

/// Services that start and stop, or do not.
#[derive(Clone, Copy, Debug)]
pub struct ServiceTimes {
    /// Most that it takes to bring them up or down, nanoseconds.
    pub takes: u64,
    /// Of 1000 starts: one that fails.
    pub fail_start: u32,
    /// Of 1000 stops: one that fails.
    pub fail_stop: u32,
    /// Stops have failed: some are tried again when faults have ended.
    pub stops_fail: bool,
}

impl Swarm {
    /// What `seed` draws for a pair with agents.
    #[must_use]
    pub fn draw_with_agents(seed: u64) -> Self {
        let mut swarm = Self::draw(seed);
        let mut rng = Rng::new(seed ^ 0x4147_454e_5453);
        swarm.nodes = 2;
        swarm.first %= 2;
        swarm.lossy = false;
        swarm.on_peer_loss = OnPeerLoss::Suspend;
        swarm.faults.commands = 0;
        // A disk that fails after the other copy was recorded as old takes a person.
        (swarm.faults.disk_errors, swarm.faults.meta_errors) = (0, 0);
        swarm.faults.any_disks = 0;
        swarm.faults.bad_blocks = 0;
        if swarm.protocol == Protocol::A {
            swarm.protocol = Protocol::C;
        }
        swarm.duration += rng.between(0, 15) * SEC;
        let mut world = AgentWorld::draw(&mut rng, swarm.duration);
        let hangs = rng.chance(250);
        if hangs {
            world.profile = Profile::Fast; // The times of hangs are made for it.
        }
        swarm.duration += 8 * (world.slowness() - 1) * SEC;
        // With a die of its own, so that other seeds stay what they were.
        let mut die = Rng::new(seed ^ 0x45_4e_44_53);
        if die.chance(200) {
            world.ends = die.between(1, 8) as u32;
            let window = die.pick(&[Duration::from_secs(8), Duration::from_secs(40)]);
            let restarts = die.index(3) as u32;
            world.recovery = Some(Recovery { restarts, window });
        }
        world.readings = Readings::draw(seed);
        swarm.agents = Some(world);
        if hangs {
            swarm.hang(&mut rng);
        }
        // With a die of its own, so that seeds with one resource stay what they were.
        let mut rng = Rng::new(seed ^ 0x5345_434f_4e44);
        if rng.chance(333) {
            swarm.second = Some(Box::new(swarm.another(&mut rng)));
        }
        swarm
    }

    /// What `seed` draws for a pair with agents and a witness.
    #[must_use]
    pub fn draw_with_witness(seed: u64) -> Self {
        let mut swarm = Self::draw_with_agents(seed);
        let mut rng = Rng::new(seed ^ 0x5749_544e_4553);
        let witness = swarm.draw_witness(&mut rng);
        swarm.have_witness(witness);
        if let Some(second) = &mut swarm.second {
            (second.arbiter, second.timings) = (swarm.arbiter, swarm.timings);
            second.agents.clone_from(&swarm.agents);
        }
        swarm
    }

    /// What `seed` draws for three nodes with agents.
    #[must_use]
    pub fn draw_with_three(seed: u64) -> Self {
        let mut swarm = Self::draw_with_agents(seed);
        let mut rng = Rng::new(seed ^ 0x54_4852_4545);
        swarm.nodes = 3;
        swarm.first = rng.index(3);
        if let Some(world) = &mut swarm.agents {
            world.device.dead_for = world.device.dead_for.map(|_| rng.index(3));
        }
        if let Some(second) = &mut swarm.second {
            second.nodes = 3;
            second.first = rng.index(3);
            second.agents.clone_from(&swarm.agents);
        }
        swarm
    }

    /// A witness takes the place of the fence device.
    pub(crate) fn have_witness(&mut self, witness: WitnessWorld) {
        let Some(world) = &mut self.agents else {
            return;
        };
        self.arbiter = Arbiter::Witness;
        world.witness = Some(witness);
        // As the configuration's defaults are to the agents' times.
        let dead = world.profile.dead();
        self.timings.ping_interval = dead * 15 / 100;
        self.timings.peer_timeout = dead * 75 / 100;
        self.timings.read_lease = dead * 45 / 100;
        self.timings.request_timeout = self.timings.request_timeout.max(dead * 2);
    }

    fn draw_witness(&mut self, rng: &mut Rng) -> WitnessWorld {
        let mut some = |share: u32, most: u64| {
            if rng.chance(share) {
                rng.between(1, most)
            } else {
                0
            }
        };
        let (lost, late) = (some(500, 300) as u32, some(500, 200) as u32);
        let (restarts, cuts) = (some(300, 3) as u32, some(400, 4) as u32);
        let down_until = some(100, self.duration);
        let isolations = some(300, 2) as u32;
        let delay = rng.pick(&[MS, 5 * MS, 100 * MS]);
        let watchdog = rng.pick(&[None, Some(10 * SEC), Some(60 * SEC)]);
        if let Some(world) = &mut self.agents {
            world.isolations += isolations;
            world.watchdog = watchdog;
        }
        WitnessWorld {
            delay,
            lost,
            late,
            down_until,
            restarts,
            cuts,
        }
    }

    /// Another resource on the same nodes: its first copy may be on either, and its disks and load are its own.
    fn another(&self, rng: &mut Rng) -> Self {
        let mut swarm = self.clone();
        swarm.first = rng.index(2);
        swarm.size_blocks = rng.between(1, 256);
        swarm.spare_blocks = 0;
        swarm.protocol = rng.pick(&[Protocol::B, Protocol::C, Protocol::C]);
        swarm.garbage = rng.coin();
        swarm.al_extents = rng.pick(&[1, 2, 4, 64]);
        let (think, operations) = (self.load.think, self.load.operations);
        swarm.load = draw_load(rng, swarm.size_blocks);
        if self.faults.hangs > 0 {
            (swarm.load.think, swarm.load.operations) = (think, operations);
        }
        swarm.disk.io = rng.pick(&[20 * US, 100 * US, MS]);
        swarm.disk.flush = rng.pick(&[50 * US, 500 * US, 5 * MS]);
        swarm
    }

    /// Disks and processes hang, in half of these seeds with nothing else going wrong: most faults end a hang.
    fn hang(&mut self, rng: &mut Rng) {
        if rng.coin() {
            let slow_disks = self.faults.slow_disks;
            self.faults = Faults {
                slow_disks,
                ..Faults::default()
            };
        }
        self.faults.hangs = rng.between(1, 3) as u32;
        self.duration += 30 * SEC;
        // There must be something to do until the end, or nothing hangs.
        self.load.think = self.load.think.max(rng.pick(&[100 * MS, 500 * MS]));
        self.load.operations = 400;
    }
}

impl AgentWorld {
    pub(crate) fn draw(rng: &mut Rng, duration: u64) -> Self {
        let latency = rng.pick(&[20 * MS, 200 * MS, SEC, 3 * SEC]);
        let dead_until = if rng.chance(250) {
            rng.between(SEC, duration)
        } else {
            0
        };
        let mut some = |share: u32, most: u32| {
            if rng.chance(share) {
                rng.between(1, u64::from(most)) as u32
            } else {
                0
            }
        };
        let device = FenceDevice {
            latency,
            slow: some(300, 500),
            dead_until,
            dead_for: None,
            shared: false,
            lies: some(150, 500),
            wakes: some(150, 500),
        };
        let mut world = Self {
            profile: Profile::Fast,
            device,
            services: ServiceTimes {
                takes: 50 * MS,
                fail_start: some(200, 400),
                fail_stop: some(200, 400),
                stops_fail: false,
            },
            store_faults: some(200, 600),
            pings: false,
            isolations: some(200, 2),
            orders: some(300, 4),
            max_failovers: 1000,
            recovery: None,
            ends: 0,
            readings: None,
            witness: None,
            watchdog: None,
        };
        world.services.stops_fail = world.services.fail_stop > 0;
        world.device.dead_for = rng.chance(80).then(|| rng.index(2));
        world.device.shared = rng.chance(200);
        world.services.takes = rng.pick(&[50 * MS, 50 * MS, SEC, 4 * SEC]);
        world.pings = rng.coin();
        world.max_failovers = rng.pick(&[1, 2, 1000, 1000, 1000]);
        world.profile = rng.pick(&[
            Profile::Fast,
            Profile::Fast,
            Profile::Fast,
            Profile::Fast,
            Profile::Default,
            Profile::Default,
            Profile::Wide,
        ]);
        world
    }

    /// Where nothing goes wrong by itself.
    pub(crate) const fn calm() -> Self {
        Self {
            profile: Profile::Fast,
            device: FenceDevice {
                latency: 200 * MS,
                slow: 0,
                dead_until: 0,
                dead_for: None,
                shared: false,
                lies: 0,
                wakes: 0,
            },
            services: ServiceTimes {
                takes: 50 * MS,
                fail_start: 0,
                fail_stop: 0,
                stops_fail: false,
            },
            store_faults: 0,
            pings: false,
            isolations: 0,
            orders: 0,
            max_failovers: 1000,
            recovery: None,
            ends: 0,
            readings: None,
            witness: None,
            watchdog: None,
        }
    }

    /// How much slower its times are than the fastest profile's.
    pub(crate) const fn slowness(&self) -> u64 {
        match self.profile {
            Profile::Fast => 1,
            Profile::Default => 2,
            Profile::Wide => 5,
        }
    }

    /// Faults end.
    pub(crate) fn heal(&mut self) {
        self.device.slow = 0;
        self.device.dead_until = 0;
        self.device.dead_for = None;
        self.device.lies = 0;
        self.device.wakes = 0;
        self.services.fail_start = 0;
        self.services.fail_stop = 0;
        self.store_faults = 0;
        if let Some(readings) = &mut self.readings {
            readings.heal();
        }
        // What is seconds late was asked while faults lasted.
        if let Some(witness) = &mut self.witness {
            (witness.lost, witness.late, witness.down_until) = (0, 0, 0);
        }
    }
}
