//! A node's process starts, crashes, and goes down with its host; what it leaves is looked at.

use twindisk_core::{Replica, Start};
use twindisk_format::{ids::BootId, superblock::StoredDisk};

use crate::{
    bug::Mutant,
    checker::{Violation, image, sector::Held},
    disk::Loss,
    node::{Power, config, fresh_bufs, name},
    swarm::MS,
    trace::tell,
    world::{Ev, World},
};

impl World {
    /// Starts a node's process, or what has halted of it, and the agent beside it.
    pub fn start(&mut self, number: usize) {
        if self.nodes[number].power != Power::Fenced && !self.has_process(number) {
            self.each_resource(|world| {
                let node = &mut world.nodes[number];
                node.power = Power::On;
                (node.paused_until, node.stopped_until) = (0, 0);
            });
        }
        let mut begun = false;
        self.each_resource(|world| begun |= world.start_replica(number));
        if begun {
            self.start_agent(number);
        }
    }

    /// Starts the replica, if that is to be done.
    fn start_replica(&mut self, number: usize) -> bool {
        let boot = BootId(self.dice.boot.draw() | 1);
        let seed = self.dice.boot.draw();
        let node = &mut self.nodes[number];
        if node.replica.is_some() || node.power == Power::Fenced {
            return false;
        }
        let loaded = match node.meta.load() {
            Ok(loaded) => loaded,
            Err(why) => {
                let story = format!("{} can't load its metadata: {why}", name(number));
                self.violate(Violation::new("S6", story));
                return false;
            }
        };
        node.disk.open();
        node.run += 1;
        node.bufs = fresh_bufs(&self.swarm);
        node.tick_at = u64::MAX;
        node.wants.fill(false);
        node.suspended = false;
        node.forgot = false;
        node.diskless = false;
        node.saved = false;
        node.in_sync.clear();
        node.joining.clear();
        node.crashed = loaded.superblock.active;
        self.heard.started(number);
        let start = Start {
            config: config(number, &self.swarm),
            boot,
            host: node.host,
            seed,
            capacity_blocks: node.disk.blocks().min(loaded.superblock.max_size_blocks),
        };
        tell!(
            self,
            "{} starts (boot {boot}): term {}, {:?}, lineage {:?}{}{}",
            name(number),
            loaded.superblock.term,
            loaded.superblock.disk,
            loaded.superblock.lineage.newest(),
            if loaded.superblock.primary {
                ", was primary"
            } else {
                ""
            },
            if loaded.superblock.active {
                ", not at rest"
            } else {
                ""
            },
        );
        let dirty: Vec<u64> = loaded
            .bitmaps
            .iter()
            .map(|words| words.iter().map(|word| u64::from(word.count_ones())).sum())
            .collect();
        let mutant = self.swarm.mutant.and_then(Mutant::of_replicas);
        let node = &mut self.nodes[number];
        let now = node.clock.local(self.now);
        node.replica = Some(Replica::with_mutant(now, start, loaded, mutant));
        if let Some(status) = node.status(self.now) {
            node.disk_state = status.disk;
            node.connections = status.peers.iter().map(|peer| peer.connection).collect();
            node.parted = vec![0; status.peers.len()];
            let name = format!("{:?}", status.disk);
            self.coverage.reach("disk at the start", &name);
        }
        self.check_boot(number, &dirty);
        self.settle(number);
        true
    }

    /// S5: at boot every stored dirty bit is one in memory, and so is every one that can't be read.
    fn check_boot(&mut self, number: usize, stored: &[u64]) {
        let Some(status) = self.nodes[number].status(self.now) else {
            return;
        };
        for (peer, stored) in status.peers.iter().zip(stored) {
            let dirty = peer.dirty_bytes / 4096;
            if dirty < *stored {
                let story = format!(
                    "{} starts with {dirty} dirty blocks for {}, of {stored} that are stored or can't be read",
                    name(number),
                    peer.name
                );
                self.violate(Violation::new("S5", story));
            }
        }
    }

    /// The process of a node dies; nothing completed is lost.
    pub fn crash(&mut self, number: usize) {
        if self.nodes[number].replica.is_none() {
            return;
        }
        tell!(self, "{} crashes", name(number));
        self.crash_agent_too(number);
        self.each_resource(|world| {
            if world.nodes[number].replica.is_some() {
                world.stop_process(number, "crashed");
                world.drop_in_flight(number);
            }
        });
    }

    /// A node loses power; what was not flushed is lost as `loss` says.
    pub(crate) fn lose_power(&mut self, number: usize, loss: Loss, power: Power) {
        tell!(self, "{} loses power ({loss:?})", name(number));
        self.each_resource(|world| world.stop_process(number, "lost power"));
        self.stop_agent(number, true);
        self.each_resource(|world| world.lose_writes(number, loss, power));
    }

    fn lose_writes(&mut self, number: usize, loss: Loss, power: Power) {
        // What no client's flush covered may be there still, by luck: nobody may count on it.
        self.book.lose(self.now, number, |_| Held::Nothing);
        let (node, rng) = (&mut self.nodes[number], &mut self.dice.disk);
        node.power = power;
        node.last_drop = self.now;
        node.host = BootId(node.host.0 + 1);
        node.disk.lose_power(loss, rng);
        node.meta.crash(rng);
        self.take_stock(number);
    }

    /// The process is gone, in whatever way.
    pub(crate) fn stop_process(&mut self, number: usize, why: &'static str) {
        self.count_decisions(number);
        let node = &mut self.nodes[number];
        node.replica = None;
        node.run += 1;
        node.export = None;
        node.ops.clear();
        node.meta_ops.clear();
        node.last_loss = self.now;
        self.lose_clients(number);
        self.operator.forget_node(number);
        self.break_orders(number);
        self.break_links_of(number, why);
    }

    /// What a process that ended had under way happened in any part; what it had done stays.
    pub(crate) fn drop_in_flight(&mut self, number: usize) {
        let (node, rng) = (&mut self.nodes[number], &mut self.dice.disk);
        node.disk.crash(rng);
        node.meta.crash(rng);
        self.book.lose(self.now, number, |sector| {
            Held::Still(node.disk.peek(sector))
        });
        self.take_stock(number);
    }

    /// Looks at a node that has just gone down.
    fn take_stock(&mut self, number: usize) {
        self.check_image(number);
        self.check_differences();
        self.ask_alone(number);
    }

    /// S4 for a node that is down, unless its metadata says that it holds nothing useful.
    fn check_image(&mut self, number: usize) {
        let node = &self.nodes[number];
        let result = match node.meta.load().map(|loaded| loaded.superblock.disk) {
            Ok(StoredDisk::UpToDate | StoredDisk::Outdated) => {
                image::check(&self.book, number, |sector| node.disk.peek(sector))
            }
            Ok(StoredDisk::Failed | StoredDisk::Inconsistent) | Err(_) => Ok(()),
        };
        self.check(result);
    }

    /// Takes in what a core has decided so far.
    pub(crate) fn count_decisions(&mut self, number: usize) {
        if let Some(replica) = &self.nodes[number].replica {
            for (kind, name, count) in replica.decisions() {
                self.coverage.add(kind, name, count);
            }
        }
    }

    /// Brings a node back some time later, unless somebody else does something to it before.
    pub(crate) fn restart_later(&mut self, number: usize, at_most: u64) {
        let delay = self.dice.nemesis.between(MS, at_most);
        let run = self.nodes[number].run;
        self.after(delay, Ev::Restart { node: number, run });
    }
}
