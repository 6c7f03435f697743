//! What a seed draws: cluster, timings, load and the mix of faults. Every probability is itself drawn, so that some
//! seeds are nothing but crashes and others nothing but slow disks.

use core::time::Duration;

use twindisk_core::{Arbiter, OnDiskError, OnNoQuorum, OnPeerLoss, Protocol, Timings};

pub use crate::agents::{AgentWorld, FenceDevice, Readings, ServiceTimes, WitnessWorld, Wrong};
use crate::{bug::Mutant, rng::Rng};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

/// Nanoseconds of a microsecond.
pub const US: u64 = 1_000;

/// Nanoseconds of a second.
pub const SEC: u64 = 1_000_000_000;

/// Everything that makes one run differ from another, apart from the dice thrown on the way.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Seed of all dice.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// The one that has the first copy.
    pub first: usize,
    /// Size of the device in blocks.
    pub size_blocks: u64,
    /// Blocks that the backing devices have beyond it.
    pub spare_blocks: u64,
    /// The same towards every peer.
    pub protocol: Protocol,
    /// As configured.
    pub arbiter: Arbiter,
    /// As configured.
    pub on_peer_loss: OnPeerLoss,
    /// As configured.
    pub on_disk_error: OnDiskError,
    /// As configured.
    pub on_no_quorum: OnNoQuorum,
    /// As configured.
    pub timings: Timings,
    /// Buffers for resync.
    pub resync_bufs: u32,
    /// Blocks that a process takes from peers before the disk has taken those before; 0: no limit.
    pub receive_blocks: u64,
    /// Extents before cold ones leave the activity log.
    pub al_extents: usize,
    /// The disks begin with different contents instead of zeros.
    pub garbage: bool,
    /// The operator may force, lie and use unsafe settings: only convergence and the core's own rules are checked.
    pub lossy: bool,
    /// The load.
    pub load: Load,
    /// Disk latencies.
    pub disk: DiskTimes,
    /// Network latencies.
    pub net: NetTimes,
    /// The faults.
    pub faults: Faults,
    /// When faults and load end.
    pub duration: u64,
    /// Planned faults that are left out, by their number: what a shorter story does without.
    pub skip: Vec<u32>,
    /// Agents decide instead of an operator, in these surroundings.
    pub agents: Option<AgentWorld>,
    /// Another resource on the same nodes, under the same agents.
    pub second: Option<Box<Self>>,
    /// The deliberate bug that the cores have.
    pub mutant: Option<Mutant>,
    /// Every node is asked all the time what it would do if all others were fenced.
    pub alone: bool,
}

/// What clients do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Clients, each with its connection.
    pub clients: usize,
    /// Operations in all.
    pub operations: u64,
    /// Between a client's steps, typically.
    pub think: u64,
    /// Most operations of a step.
    pub burst: u64,
    /// Most operations of a connection that are under way.
    pub depth: usize,
    /// Most blocks of an operation.
    pub max_blocks: u32,
    /// Blocks that most operations go to.
    pub hot_blocks: u64,
    /// From one of those to the next: more than one spreads them over the extents of the activity log.
    pub stride: u64,
    /// Shares of 1000 of operations; the rest are writes.
    pub reads: u32,
    /// See `reads`.
    pub zeros: u32,
    /// See `reads`.
    pub flushes: u32,
    /// Of 1000 mutations.
    pub fua: u32,
    /// Of 1000 writes.
    pub unaligned: u32,
    /// Of 1000 steps: the connection is dropped with what is under way.
    pub drops: u32,
}

/// Disk latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct DiskTimes {
    /// A read or write, typically.
    pub io: u64,
    /// A flush or a metadata write, typically.
    pub flush: u64,
}

/// Network latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct NetTimes {
    /// One way, typically.
    pub delay: u64,
    /// Until a node hears that a connection broke, at most.
    pub notice: u64,
    /// Between two attempts to connect, typically.
    pub dial: u64,
    /// How many times as long it takes from the lower node of a pair to the higher one, and back.
    pub uneven: [u64; 2],
    /// How long a block takes on the wire: what is sent behind it waits.
    pub block: u64,
    /// Frames travel as bytes.
    pub bytes: bool,
    /// Of 100,000 frames, when they travel as bytes: one bit is flipped.
    pub flips: u32,
}

/// Faults: how many of each kind in the run, on average.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A process dies.
    pub crashes: u32,
    /// A node loses power.
    pub power: u32,
    /// All nodes lose power.
    pub blackouts: u32,
    /// A connection breaks.
    pub cuts: u32,
    /// Two nodes can't talk for a while, both ways.
    pub partitions: u32,
    /// One direction is blocked for a while.
    pub one_way: u32,
    /// A connection breaks again and again.
    pub flaps: u32,
    /// A process stands still for a while.
    pub pauses: u32,
    /// A disk is slow or stuck for a while.
    pub slow_disks: u32,
    /// A block can't be read.
    pub bad_blocks: u32,
    /// Writes or flushes fail.
    pub disk_errors: u32,
    /// Metadata writes fail.
    pub meta_errors: u32,
    /// A metadata block rots while its node is down.
    pub meta_rot: u32,
    /// The operator does something, foolish or not.
    pub commands: u32,
    /// A disk, or a process alone, stands still, some of them for so long that agents act.
    pub hangs: u32,
    /// Of 1000 interesting moments: a fault right then.
    pub targeted: u32,
    /// Clocks run fast or slow by up to so many millionths.
    pub drift_ppm: u64,
    /// The operator fences, and gives receipts, when it thinks a node is lost.
    pub fencing: bool,
    /// Of 1000 fencings: the device is dead, or switches off and can't say so. No receipt comes of either.
    pub bad_fences: u32,
    /// Of 1000 times that blocks are to be kept in a file: there is no room.
    pub full: u32,
    /// Writes or flushes of any disk fail, as long as one good copy of the set is left.
    pub any_disks: u32,
    /// A few reads of a disk fail.
    pub read_errors: u32,
    /// A metadata write goes to the wrong place while its node is down.
    pub meta_misplaced: u32,
    /// A disk, or all of them at once, have no space for a while.
    pub no_space: u32,
    /// A standby comes back as it was a little earlier.
    pub rewinds: u32,
    /// A metadata device dies in silence: its writes fail from now on, or do not come back.
    pub dead_meta: u32,
    /// Once everything is equal, so many blocks of standbys change by themselves: a verify must find them.
    pub rotten: u32,
}

impl Faults {
    /// How many are planned ahead.
    #[must_use]
    pub const fn planned(&self) -> u32 {
        self.crashes
            + self.power
            + self.blackouts
            + self.cuts
            + self.partitions
            + self.one_way
            + self.flaps
            + self.pauses
            + self.slow_disks
            + self.bad_blocks
            + self.disk_errors
            + self.meta_errors
            + self.meta_rot
            + self.commands
            + self.hangs
            + self.late()
    }

    /// Those of them that came to the simulator later than the others.
    #[must_use]
    pub const fn late(&self) -> u32 {
        self.any_disks
            + self.read_errors
            + self.meta_misplaced
            + self.no_space
            + self.rewinds
            + self.dead_meta
    }
}

/// Whether nodes are asked what they would do alone, unless somebody says otherwise.
pub const ASK_ALONE: bool = true;

/// What a scenario is given: its dice, and the deliberate bug of its cores.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// The dice.
    pub number: u64,
    /// The bug, if any.
    pub mutant: Option<Mutant>,
    /// See [`Swarm::alone`].
    pub alone: bool,
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        Self {
            number,
            mutant: None,
            alone: ASK_ALONE,
        }
    }
}

impl Swarm {
    /// What `seed` draws.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5157_4152_4d00_0000);
        let rng = &mut rng;
        let nodes = if rng.chance(400) { 3 } else { 2 };
        let protocol = match rng.below(10) {
            0 => Protocol::A,
            1 | 2 => Protocol::B,
            _ => Protocol::C,
        };
        let size_blocks = match rng.below(6) {
            0 => rng.between(1, 16),
            1..4 => rng.between(16, 256),
            4 => rng.between(256, 2048),
            _ => rng.between(2048, 12_288),
        };
        let lossy = rng.chance(100);
        let unit = rng.pick(&[50, 100, 300]);
        let timings = Timings {
            ping_interval: Duration::from_millis(unit),
            peer_timeout: Duration::from_millis(unit * rng.between(3, 6)),
            request_timeout: Duration::from_millis(unit * rng.between(8, 30)),
            read_lease: Duration::from_millis(unit * 2),
            flush_interval: Duration::from_millis(rng.pick(&[20, 100, 1000])),
            stop_timeout: Duration::from_millis(unit * 20),
        };
        let mut load = draw_load(rng, size_blocks);
        let wires = draw_wires(seed);
        let spread = (size_blocks / load.hot_blocks).max(1);
        load.stride = Rng::new(seed ^ 0x5354_5249_4445).pick(&[1, 1, spread]);
        Self {
            seed,
            nodes,
            first: rng.index(nodes),
            size_blocks,
            spare_blocks: if rng.chance(200) {
                rng.between(1, 2000)
            } else {
                0
            },
            protocol,
            arbiter: Arbiter::Fence,
            on_peer_loss: if lossy && rng.coin() {
                OnPeerLoss::Continue
            } else {
                OnPeerLoss::Suspend
            },
            on_disk_error: if rng.chance(250) {
                OnDiskError::FailOver
            } else {
                OnDiskError::Detach
            },
            on_no_quorum: OnNoQuorum::Suspend,
            timings,
            resync_bufs: rng.pick(&[1, 2, 4, 8]),
            receive_blocks: Rng::new(seed ^ 0x5041_5553_4553).pick(&[0, 0, 8, 64, 300]),
            al_extents: rng.pick(&[1, 2, 4, 64]),
            garbage: rng.chance(300),
            lossy,
            duration: rng.between(3, 8) * SEC,
            skip: Vec::new(),
            agents: None,
            second: None,
            mutant: None,
            alone: ASK_ALONE,
            load,
            disk: DiskTimes {
                io: rng.pick(&[20 * US, 100 * US, MS]),
                flush: rng.pick(&[50 * US, 500 * US, 5 * MS]),
            },
            net: NetTimes {
                delay: rng.pick(&[20 * US, 100 * US, 2 * MS]),
                notice: rng.pick(&[MS, 50 * MS, 2 * SEC]),
                dial: rng.pick(&[5 * MS, 100 * MS, 500 * MS]),
                uneven: wires.0,
                block: wires.1,
                bytes: rng.chance(150),
                flips: rng.pick(&[0, 0, 50, 300]),
            },
            faults: draw_late_faults(seed, draw_faults(rng, lossy)),
        }
    }

    /// A calm cluster of two for hand-written scenarios.
    #[must_use]
    pub fn calm(seed: Seed) -> Self {
        let mut swarm = Self::draw(seed.number);
        swarm.mutant = seed.mutant;
        swarm.alone = seed.alone;
        swarm.nodes = 2;
        swarm.first = 0;
        swarm.size_blocks = 64;
        swarm.spare_blocks = 0;
        swarm.protocol = Protocol::C;
        swarm.receive_blocks = 0;
        swarm.on_peer_loss = OnPeerLoss::Suspend;
        swarm.on_disk_error = OnDiskError::Detach;
        swarm.lossy = false;
        swarm.garbage = false;
        swarm.faults = Faults::default();
        swarm.load = draw_load(&mut Rng::new(seed.number), 64);
        swarm.load.drops = 0;
        swarm.load.operations = 0;
        (swarm.net.uneven, swarm.net.block) = ([1, 1], 0);
        swarm
    }
}

/// Ways that are slower in one direction, and narrow ones: drawn apart, so that seeds stay what they were.
fn draw_wires(seed: u64) -> ([u64; 2], u64) {
    let mut rng = Rng::new(seed ^ 0x5749_5245_5300);
    let mut uneven = [1, 1];
    if rng.chance(150) {
        uneven[rng.index(2)] = rng.pick(&[3, 10, 30]);
    }
    let block = if rng.chance(150) {
        rng.pick(&[10 * US, 50 * US, 200 * US])
    } else {
        0
    };
    (uneven, block)
}

pub(crate) fn draw_load(rng: &mut Rng, size_blocks: u64) -> Load {
    Load {
        clients: rng.pick(&[1, 1, 2, 4]),
        operations: rng.pick(&[60, 200, 400]),
        think: rng.pick(&[MS, 5 * MS, 30 * MS]),
        burst: rng.pick(&[1, 4, 16]),
        depth: rng.pick(&[1, 8, 32]),
        max_blocks: rng.pick(&[1, 4, 32, 256]),
        hot_blocks: rng.between(1, size_blocks.min(32)),
        stride: 1,
        reads: rng.pick(&[50, 300, 600]),
        zeros: rng.pick(&[0, 30, 200]),
        flushes: rng.pick(&[0, 30, 200]),
        fua: rng.pick(&[0, 50, 500]),
        unaligned: rng.pick(&[0, 100, 500]),
        drops: rng.pick(&[0, 5, 50]),
    }
}

fn draw_faults(rng: &mut Rng, lossy: bool) -> Faults {
    let calm = rng.chance(80);
    let mut some = |share: u32, most: u32| {
        if !calm && rng.chance(share) {
            rng.between(1, u64::from(most)) as u32
        } else {
            0
        }
    };
    Faults {
        crashes: some(500, 6),
        power: some(400, 4),
        blackouts: some(250, 2),
        cuts: some(400, 6),
        // Where somebody forces things, two parts that both go on are the point.
        partitions: some(350, 3) + if lossy { 2 } else { 0 },
        one_way: some(200, 3),
        flaps: some(150, 2),
        pauses: some(250, 3),
        slow_disks: some(250, 3),
        bad_blocks: some(150, 4),
        disk_errors: some(150, 2),
        meta_errors: some(50, 1),
        meta_rot: some(100, 2),
        commands: some(500, 8) + if lossy { 4 } else { 0 },
        hangs: 0,
        targeted: some(300, 60),
        drift_ppm: u64::from(some(300, 500)),
        fencing: some(700, 1) == 1,
        bad_fences: some(300, 600),
        full: some(300, 600),
        any_disks: 0,
        read_errors: 0,
        meta_misplaced: 0,
        no_space: 0,
        rewinds: 0,
        dead_meta: 0,
        rotten: 0,
    }
}

/// With dice of their own, so that what was drawn before stays.
fn draw_late_faults(seed: u64, mut faults: Faults) -> Faults {
    let rng = &mut Rng::new(seed ^ 0x4c41_5445_4661_756c);
    let mut some = |share: u32, most: u64| {
        if rng.chance(share) {
            rng.between(1, most) as u32
        } else {
            0
        }
    };
    faults.any_disks = some(120, 4);
    faults.read_errors = some(120, 4);
    faults.meta_misplaced = some(60, 2);
    faults.rotten = some(100, 4);
    faults.no_space = some(200, 4);
    faults.rewinds = some(200, 8);
    faults.dead_meta = some(120, 2);
    faults
}
