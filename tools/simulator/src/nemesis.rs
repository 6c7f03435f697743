//! What goes wrong, when: at random moments, and right when something interesting happens.

use twindisk_core::{ConnectionState, DiskState};

use crate::{
    disk::Loss,
    node::{Power, name},
    swarm::{MS, SEC, US},
    trace::tell,
    world::{Ev, World},
};

/// Faults in the wake of interesting moments, at most so many a run: a cluster that is hit all the time gets nowhere.
const MAX_TARGETED: u32 = 12;

/// What the nemesis remembers.
#[derive(Debug, Default)]
pub(crate) struct Nemesis {
    armed: bool,
    targeted: u32,
    /// Nodes whose disk was made to fail: one at most, so that a good copy is left.
    failing_disk: Option<usize>,
    /// The one that comes back as it was: what its snapshot remembers of another one must not have been undone.
    pub(crate) rewinds: Option<usize>,
    /// The node whose metadata has died in silence: one a run.
    pub(crate) dead_meta: Option<usize>,
    /// A block was made unreadable.
    pub(crate) spoiled: bool,
    /// A copy of a superblock has rotted: one a run, or both copies of a node might.
    forgetful: bool,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash { node: usize },
    PowerLoss { node: usize },
    Blackout,
    Cut { pair: (usize, usize) },
    Partition { pair: (usize, usize) },
    OneWay { pair: (usize, usize), side: usize },
    Flap { pair: (usize, usize), left: u32 },
    Pause { node: usize },
    SlowDisk { node: usize },
    BadBlock { node: usize },
    DiskError { node: usize },
    MetaError { node: usize },
    MetaRot { node: usize },
    Command,
    Hang { node: usize },
    AnyDisk { node: usize },
    ReadErrors { node: usize },
    MetaMisplaced { node: usize },
    NoSpace { node: Option<usize> },
    Snapshot { node: usize },
    Rewind { node: usize },
    DeadMeta { node: usize },
}

impl World {
    /// Plans the faults of the run.
    pub(crate) fn plan_faults(&mut self) {
        self.nemesis.armed = true;
        let faults = self.swarm.faults.clone();
        let kinds = [
            (faults.crashes, 0),
            (faults.power, 1),
            (faults.blackouts, 2),
            (faults.cuts, 3),
            (faults.partitions, 4),
            (faults.one_way, 5),
            (faults.flaps, 6),
            (faults.pauses, 7),
            (faults.slow_disks, 8),
            (faults.bad_blocks, 9),
            (faults.disk_errors, 10),
            (faults.meta_errors, 11),
            (faults.meta_rot, 12),
            (faults.commands, 13),
            (faults.hangs, 14),
        ];
        let kinds = kinds
            .into_iter()
            .flat_map(|(count, kind)| (0..count).map(move |_| kind));
        for (number, kind) in (0..).zip(kinds) {
            let mut at = self.dice.nemesis.between(self.now, self.swarm.duration);
            let fault = self.draw_fault(kind);
            if matches!(fault, Fault::Hang { .. }) {
                at = self.now + (at - self.now) / 3; // What agents do about it takes its time.
            }
            // Drawn all the same, so that the others stay what they were.
            if !self.swarm.skip.contains(&number) {
                self.at_any(at, Ev::Strike { fault });
            }
        }
        self.plan_late_faults(faults.planned() - faults.late());
    }

    /// Faults that came to the simulator later: they have a die of their own, so that older seeds stay what they were.
    fn plan_late_faults(&mut self, first: u32) {
        let faults = &self.swarm.faults;
        let kinds = [
            (faults.any_disks, 0),
            (faults.read_errors, 1),
            (faults.meta_misplaced, 2),
            (faults.no_space, 3),
            (faults.rewinds, 4),
            (faults.dead_meta, 5),
        ];
        let kinds = kinds
            .into_iter()
            .flat_map(|(count, kind)| (0..count).map(move |_| kind));
        for (number, kind) in (first..).zip(kinds) {
            let die = match kind {
                0..=3 => &mut self.dice.late,
                _ => &mut self.dice.rewind,
            };
            let at = die.between(self.now, self.swarm.duration);
            let node = die.index(self.swarm.nodes);
            let fault = match kind {
                0 => Fault::AnyDisk { node },
                1 => Fault::ReadErrors { node },
                2 => Fault::MetaMisplaced { node },
                // One after the other may be full, or all at once, in the same write.
                3 => Fault::NoSpace {
                    node: self.dice.late.chance(600).then_some(node),
                },
                4 => Fault::Snapshot { node },
                _ => Fault::DeadMeta { node },
            };
            if !self.swarm.skip.contains(&number) {
                self.at_any(at, Ev::Strike { fault });
            }
        }
    }

    fn draw_fault(&mut self, kind: u32) -> Fault {
        let die = &mut self.dice.nemesis;
        let node = die.index(self.swarm.nodes);
        let other = (node + 1 + die.index(self.swarm.nodes - 1)) % self.swarm.nodes;
        let pair = (node.min(other), node.max(other));
        match kind {
            0 => Fault::Crash { node },
            1 => Fault::PowerLoss { node },
            2 => Fault::Blackout,
            3 => Fault::Cut { pair },
            4 => Fault::Partition { pair },
            5 => Fault::OneWay {
                pair,
                side: die.index(2),
            },
            6 => Fault::Flap {
                pair,
                left: die.between(2, 10) as u32,
            },
            7 => Fault::Pause { node },
            8 => Fault::SlowDisk { node },
            9 => Fault::BadBlock { node },
            10 => Fault::DiskError { node },
            11 => Fault::MetaError { node },
            12 => Fault::MetaRot { node },
            13 => Fault::Command,
            _ => Fault::Hang { node },
        }
    }

    /// Something interesting happened at a node: now would be a bad moment for a fault.
    pub(crate) fn interesting(&mut self, number: usize) {
        let share = self.swarm.faults.targeted;
        if share == 0 || !self.nemesis.armed || self.healed || self.nemesis.targeted >= MAX_TARGETED
        {
            return;
        }
        if !self.dice.nemesis.chance(share) {
            return;
        }
        self.nemesis.targeted += 1;
        let die = &mut self.dice.nemesis;
        let delay = match die.below(3) {
            0 => 0,
            1 => die.between(0, 500 * US),
            _ => die.between(0, 20 * MS),
        };
        let victim = if die.chance(700) {
            number
        } else {
            die.index(self.swarm.nodes)
        };
        let other = (victim + 1) % self.swarm.nodes;
        let pair = (victim.min(other), victim.max(other));
        let fault = match die.below(10) {
            0..4 => Fault::Crash { node: victim },
            4..6 => Fault::PowerLoss { node: victim },
            6 => Fault::Blackout,
            7 => Fault::Partition { pair },
            8 => Fault::Pause { node: victim },
            _ => Fault::Cut { pair },
        };
        self.after(delay, Ev::Strike { fault });
    }

    /// A fault strikes.
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.healed {
            return;
        }
        tell!(self, "## {fault:?}");
        self.coverage.reach("fault", kind_name(fault));
        match fault {
            Fault::Crash { node } => {
                self.crash(node);
                self.restart_later(node, 2 * SEC);
            }
            Fault::PowerLoss { node } => self.cut_power(node),
            Fault::Blackout => {
                for node in 0..self.nodes.len() {
                    self.cut_power(node);
                }
            }
            Fault::Cut { pair } => self.break_link(pair, "cut"),
            Fault::Partition { pair } => {
                let until = self.now + self.dice.nemesis.between(10 * MS, 3 * SEC);
                self.block(pair, 0, until);
                self.block(pair, 1, until);
            }
            Fault::OneWay { pair, side } => {
                let until = self.now + self.dice.nemesis.between(10 * MS, 3 * SEC);
                self.block(pair, side, until);
            }
            Fault::Flap { pair, left } => {
                self.break_link(pair, "flaps");
                if left > 0 {
                    let delay = self.dice.nemesis.between(MS, 300 * MS);
                    let fault = Fault::Flap {
                        pair,
                        left: left - 1,
                    };
                    self.after(delay, Ev::Strike { fault });
                }
            }
            Fault::Pause { node } => {
                let until = self.now + self.dice.nemesis.between(MS, 3 * SEC);
                tell!(self, "{} stands still", name(node));
                self.pause_host(node, until);
            }
            Fault::SlowDisk { node } => self.slow_disk(node),
            Fault::BadBlock { node } => self.spoil_block(node),
            Fault::DiskError { node } => self.fail_disk(node),
            Fault::MetaError { node } => {
                if self.may_fail(node) && self.is_copied(node) {
                    self.nodes[node].trouble.fail_meta = 1;
                }
            }
            Fault::MetaRot { node } => {
                // Found at the next start: what a running process has in memory does not rot.
                let ran = self.nodes[node].replica.is_some();
                if ran {
                    self.crash(node);
                    self.restart_later(node, 2 * SEC);
                }
                // The node forgets that it was up to date: somebody else must know better.
                let known = (0..self.nodes.len()).any(|other| {
                    self.status_of(other)
                        .is_some_and(|status| status.disk == DiskState::UpToDate)
                });
                let superblock = known && !ran && !self.nemesis.forgetful;
                self.nemesis.forgetful |= superblock;
                let (node, die) = (&mut self.nodes[node], &mut self.dice.nemesis);
                node.meta.rot(superblock, die);
            }
            Fault::Command => self.random_command(),
            Fault::Hang { node } => self.hang(node),
            Fault::AnyDisk { node } => self.fail_any_disk(node),
            Fault::NoSpace { node } => {
                let until = self.now + self.dice.late.between(50 * MS, 6 * SEC);
                let share = self.dice.late.pick(&[300, 800, 1000]);
                for number in 0..self.nodes.len() {
                    if node.is_none_or(|node| node == number) {
                        let trouble = &mut self.nodes[number].trouble;
                        (trouble.full_until, trouble.full) = (until, share);
                    }
                }
            }
            Fault::ReadErrors { node } => {
                let count = self.dice.late.between(1, 6) as u32;
                self.nodes[node].trouble.fail_reads = count;
                self.nemesis.spoiled = true;
            }
            Fault::Snapshot { node } => self.take_snapshot(node),
            Fault::Rewind { node } => self.rewind(node),
            Fault::MetaMisplaced { node } => {
                if self.nodes[node].replica.is_some() {
                    self.crash(node);
                    self.restart_later(node, 2 * SEC);
                }
                self.nodes[node].meta.misplace(&mut self.dice.late);
            }
            Fault::DeadMeta { node } => self.kill_metadata(node),
        }
    }

    /// A write or a flush fails, whichever disks have failed before: one good copy of the set is left at that moment.
    fn fail_any_disk(&mut self, node: usize) {
        if !self.is_copied(node) {
            return;
        }
        let die = &mut self.dice.late;
        let trouble = &mut self.nodes[node].trouble;
        if die.chance(600) {
            trouble.fail_flushes = 1;
        } else {
            trouble.fail_writes = die.between(1, 3) as u32;
        }
    }

    fn cut_power(&mut self, node: usize) {
        if self.nodes[node].power == Power::On {
            let loss = self
                .dice
                .nemesis
                .pick(&[Loss::All, Loss::Some, Loss::Some, Loss::Nothing]);
            self.lose_power(node, loss, Power::Off);
            self.restart_later(node, 3 * SEC);
        }
    }

    fn slow_disk(&mut self, node: usize) {
        let die = &mut self.dice.nemesis;
        let until = self.now + die.between(10 * MS, 2 * SEC);
        let stuck = die.chance(400);
        let slowness = die.pick(&[5, 30, 200]);
        let trouble = &mut self.nodes[node].trouble;
        if stuck {
            trouble.stuck_until = trouble.stuck_until.max(until);
        } else {
            trouble.slow_until = until;
            trouble.slowness = slowness;
        }
    }

    /// A block turns unreadable, if another node in sync can read it.
    fn spoil_block(&mut self, node: usize) {
        if !self.may_fail(node) || !self.is_copied(node) {
            return;
        }
        // Where clients will find it soon.
        let load = self.swarm.load.clone();
        for _ in 0..self.dice.nemesis.between(1, 8) {
            let block = self.dice.nemesis.below(load.hot_blocks) * load.stride;
            tell!(self, "block {block} of {} turns unreadable", name(node));
            self.nodes[node].disk.spoil(block);
        }
        self.nemesis.spoiled = true;
    }

    fn fail_disk(&mut self, node: usize) {
        if !self.may_fail(node) || !self.is_copied(node) {
            return;
        }
        let die = &mut self.dice.nemesis;
        let trouble = &mut self.nodes[node].trouble;
        if die.coin() {
            trouble.fail_flushes = 1;
        } else {
            trouble.fail_writes = die.between(1, 3) as u32;
        }
    }

    /// Whether another node has all data: what a fault takes away must be left somewhere.
    pub(crate) fn has_other_copy(&self, node: usize) -> bool {
        let trouble = self.nodes[node].trouble;
        if trouble.is_quiet() || trouble.spares_nobody {
            return true; // Nothing is about to fail: not worth asking.
        }
        self.is_copied(node)
    }

    pub(crate) fn is_copied(&self, node: usize) -> bool {
        // Both must say so: one that stands still does not know yet that it was left behind.
        let equal = |one: usize, to: usize| {
            self.status_of(one).is_some_and(|status| {
                status.in_sync.contains(&(to as u8))
                    && status.peers.iter().any(|peer| {
                        usize::from(peer.node) == to
                            && peer.connection == ConnectionState::Established
                    })
            })
        };
        (0..self.nodes.len()).any(|other| {
            other != node
                && !self.is_failing(other)
                && equal(node, other)
                && equal(other, node)
                && self.status_of(other).is_some_and(|status| {
                    status.disk == DiskState::UpToDate && status.in_sync.contains(&(other as u8))
                })
        })
    }

    /// Whether something that a node's disks work on will fail, and its core does not know it yet.
    fn is_failing(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.ops.values().any(|op| op.fails) || node.meta_ops.values().any(|fails| *fails)
    }

    /// Whether a disk may fail without taking the last good copy along: one node a run.
    fn may_fail(&mut self, node: usize) -> bool {
        *self.nemesis.failing_disk.get_or_insert(node) == node
    }

    /// Faults end: everything works from now on.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        tell!(self, "## faults end");
        self.heal_agents();
        self.each_resource(Self::heal_resource);
    }

    fn heal_resource(&mut self) {
        for pair in self.pairs.keys().copied().collect::<Vec<_>>() {
            for side in 0..2 {
                self.pair_mut(pair).blocked[side] = 0;
                self.unblock(pair, side);
            }
        }
        for number in 0..self.nodes.len() {
            self.end_hang(number);
            let node = &mut self.nodes[number];
            node.trouble = crate::node::Trouble::default();
            // A resync from a copy with unreadable blocks can't end: see the crate's documentation.
            node.disk.recover();
            if self.agents.is_some() && node.power == Power::Fenced {
                // Who shot it may not be there to switch it on.
                let event = crate::agents::AgentEv::PowerOn { node: number };
                let node = (number + 1) % self.nodes.len();
                self.after(5 * SEC, Ev::Agent { node, event });
                continue;
            }
            if node.power == Power::Fenced && !self.operator.keeps_off(number) {
                node.power = Power::Off;
            }
            self.restart_later(number, 200 * MS);
        }
    }
}

const fn kind_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Crash { .. } => "process crash",
        Fault::PowerLoss { .. } => "power loss",
        Fault::Blackout => "blackout",
        Fault::Cut { .. } => "connection cut",
        Fault::Partition { .. } => "partition",
        Fault::OneWay { .. } => "one-way block",
        Fault::Flap { .. } => "flapping",
        Fault::Pause { .. } => "pause",
        Fault::SlowDisk { .. } => "slow or stuck disk",
        Fault::BadBlock { .. } => "unreadable block",
        Fault::DiskError { .. } => "disk error",
        Fault::MetaError { .. } => "metadata error",
        Fault::MetaRot { .. } => "metadata rot",
        Fault::Command => "foolish command",
        Fault::Hang { .. } => "hung I/O",
        Fault::AnyDisk { .. } => "error of any disk",
        Fault::ReadErrors { .. } => "failing reads",
        Fault::MetaMisplaced { .. } => "misplaced metadata write",
        Fault::NoSpace { node: Some(_) } => "no space on a node",
        Fault::NoSpace { node: None } => "no space on any node",
        Fault::Snapshot { .. } => "snapshot",
        Fault::Rewind { .. } => "return to a snapshot",
        Fault::DeadMeta { .. } => "metadata that dies in silence",
    }
}
