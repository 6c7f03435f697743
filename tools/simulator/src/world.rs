//! The world: a clock, a heap of things that will happen, and everything they happen to.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use twindisk_core::{Command, Event, LinkId, OpId, Replica, Start};
use twindisk_format::ids::BootId;

use crate::{
    agents::{AgentEv, Agents},
    checker::{Violation, book::Book, heard::Heard, image, sector::Held, terms::Terms},
    client::Clients,
    content::SECTORS,
    coverage::Coverage,
    disk::Loss,
    nemesis::{Fault, Nemesis},
    net::Pair,
    node::{Clock, Node, Power, config, fresh_bufs, name},
    operator::Operator,
    rng::Rng,
    story,
    swarm::{MS, SEC, Swarm},
    trace::{Telling, Trace, tell},
};

/// The whole cluster.
#[derive(Debug)]
pub struct World {
    pub(crate) swarm: Swarm,
    pub(crate) now: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    ties: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pairs: BTreeMap<(usize, usize), Pair>,
    pub(crate) next_link: u32,
    pub(crate) clients: Clients,
    pub(crate) operator: Operator,
    /// They decide, and the operator only watches.
    pub(crate) agents: Option<Agents>,
    pub(crate) nemesis: Nemesis,
    pub(crate) book: Book,
    pub(crate) terms: Terms,
    pub(crate) heard: Heard,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<Violation>,
    /// Events handled.
    pub(crate) events: u64,
    /// Faults have ended.
    pub(crate) healed: bool,
}

/// A die for each part of the world.
#[derive(Debug)]
pub(crate) struct Dice {
    pub(crate) disk: Rng,
    pub(crate) net: Rng,
    pub(crate) client: Rng,
    pub(crate) operator: Rng,
    pub(crate) nemesis: Rng,
    pub(crate) boot: Rng,
    pub(crate) agent: Rng,
}

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Ev {
    /// A node's core hears something.
    Core {
        node: usize,
        run: u64,
        event: Box<Event>,
    },
    DiskDone {
        node: usize,
        run: u64,
        op: OpId,
    },
    MetaDone {
        node: usize,
        run: u64,
        op: OpId,
    },
    Tick {
        node: usize,
        run: u64,
    },
    /// A frame from `side` arrives.
    Arrive {
        pair: (usize, usize),
        link: LinkId,
        side: usize,
    },
    /// `side` hears that the connection stands.
    LinkUp {
        pair: (usize, usize),
        link: LinkId,
        side: usize,
    },
    /// `side` hears that it is gone.
    LinkDown {
        pair: (usize, usize),
        link: LinkId,
        side: usize,
        why: &'static str,
    },
    /// `side` waited long enough for its last frames to leave.
    DrainLimit {
        pair: (usize, usize),
        link: LinkId,
        side: usize,
    },
    Dial {
        pair: (usize, usize),
    },
    /// A blocked direction may be open again.
    Unblock {
        pair: (usize, usize),
        side: usize,
    },
    /// Client's turn.
    Client {
        client: usize,
    },
    Operator,
    /// The operator gives a command.
    Order {
        node: usize,
        command: Command,
    },
    Strike {
        fault: Fault,
    },
    /// Something happens to a node's agent.
    Agent {
        node: usize,
        event: AgentEv,
    },
    /// A node that went down comes up again.
    Restart {
        node: usize,
        run: u64,
    },
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    tie: u64,
    ev: Ev,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.tie) == (other.at, other.tie)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

impl World {
    /// A cluster that is switched off.
    #[must_use]
    pub fn new(swarm: Swarm, telling: Telling) -> Self {
        let mut seed = Rng::new(swarm.seed);
        let mut dice = Dice {
            disk: seed.fork(1),
            net: seed.fork(2),
            client: seed.fork(3),
            operator: seed.fork(4),
            nemesis: seed.fork(5),
            boot: seed.fork(6),
            agent: seed.fork(7),
        };
        let nodes: Vec<Node> = (0..swarm.nodes)
            .map(|number| {
                let drift = swarm.faults.drift_ppm;
                let clock = Clock {
                    offset: dice.boot.below(1000 * SEC),
                    ppm: dice.boot.between(0, 2 * drift) as i64 - drift as i64,
                };
                Node::new(number, &swarm, clock)
            })
            .collect();
        let pairs = (0..swarm.nodes)
            .flat_map(|high| (0..high).map(move |low| ((low, high), Pair::default())))
            .collect();
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            ties: 0,
            pairs,
            next_link: 1,
            clients: Clients::new(&swarm),
            operator: Operator::default(),
            agents: swarm.agents.map(Agents::new),
            nemesis: Nemesis::default(),
            book: Book::new(
                swarm.garbage.then_some(swarm.first),
                swarm.size_blocks * SECTORS,
                swarm.lossy,
            ),
            terms: Terms::default(),
            heard: Heard::new(swarm.nodes),
            trace: Trace::new(telling),
            coverage: Coverage::default(),
            violation: None,
            events: 0,
            healed: false,
            nodes,
            dice,
            swarm,
        }
    }

    /// Lets something happen after `delay`.
    pub(crate) fn after(&mut self, delay: u64, ev: Ev) {
        self.at(self.now.saturating_add(delay), ev);
    }

    /// Lets something happen at a moment.
    pub(crate) fn at(&mut self, at: u64, ev: Ev) {
        let tie = self.ties;
        self.ties += 1;
        self.queue.push(Reverse(Scheduled {
            at: at.max(self.now),
            tie,
            ev,
        }));
    }

    /// Runs up to a moment, or to the first violation.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= until => {}
                Some(_) | None => break,
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = next.at;
            if let Some(resume) = self.paused(&next.ev) {
                // Keeps its place in the order of what waits.
                self.queue.push(Reverse(Scheduled { at: resume, ..next }));
                continue;
            }
            self.events += 1;
            self.trace.mix(next.at);
            self.dispatch(next.ev);
        }
        if self.violation.is_none() {
            self.now = self.now.max(until);
        }
    }

    /// How long a disk takes.
    pub(crate) fn disk_latency(&mut self, typical: u64) -> u64 {
        let calm = self.healed;
        let die = &mut self.dice.disk;
        if calm {
            die.calm_latency(typical)
        } else {
            die.latency(typical)
        }
    }

    /// How long a frame travels.
    pub(crate) fn net_latency(&mut self) -> u64 {
        let (calm, typical) = (self.healed, self.swarm.net.delay);
        let die = &mut self.dice.net;
        if calm {
            die.calm_latency(typical)
        } else {
            die.latency(typical)
        }
    }

    /// Notes a broken rule; the first one counts.
    pub(crate) fn violate(&mut self, violation: Violation) {
        tell!(self, "!! {violation}");
        self.violation.get_or_insert(violation);
    }

    /// Notes a broken rule, if there is one.
    pub(crate) fn check(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.violate(violation);
        }
    }

    /// Notes a broken contract of core and driver, if there is one.
    pub(crate) fn contract<T>(&mut self, node: usize, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|why| {
                self.violate(Violation::new("driver", format!("{}: {why}", name(node))));
            })
            .ok()
    }

    /// Hands an event to a node's core and does what it asks for.
    pub(crate) fn deliver(&mut self, number: usize, event: Event) {
        let now = self.now;
        let node = &mut self.nodes[number];
        let Some(replica) = &mut node.replica else {
            return;
        };
        if self.trace.is_on() && !matches!(event, Event::Tick) {
            let text = format!("{} <- {}", name(number), story::event(&event));
            self.trace.line(now, &text);
        }
        self.coverage.reach("event", story::event_kind(&event));
        replica.handle(node.clock.local(now), event);
        self.settle(number);
    }

    /// Does everything that a node's core asks for.
    fn settle(&mut self, number: usize) {
        let mut actions = Vec::new();
        if let Some(replica) = &mut self.nodes[number].replica {
            while let Some(action) = replica.poll_action() {
                actions.push(action);
            }
            replica.check_invariants();
        }
        for action in actions {
            self.act(number, action);
        }
        self.set_timer(number);
    }

    fn set_timer(&mut self, number: usize) {
        let node = &self.nodes[number];
        let deadline = node
            .replica
            .as_ref()
            .and_then(Replica::next_deadline)
            .map_or(u64::MAX, |at| node.clock.global(at));
        let deadline = deadline.max(self.now);
        // A timer that is due earlier is left to fire for nothing: the core is told the time, not the reason.
        if deadline < node.tick_at || node.tick_at < self.now {
            let run = node.run;
            self.nodes[number].tick_at = deadline;
            if deadline < u64::MAX / 4 {
                self.at(deadline, Ev::Tick { node: number, run });
            }
        }
    }

    /// Starts a node's process.
    pub fn start(&mut self, number: usize) {
        let boot = BootId(self.dice.boot.draw() | 1);
        let seed = self.dice.boot.draw();
        let node = &mut self.nodes[number];
        if node.replica.is_some() || node.power == Power::Fenced {
            return;
        }
        let loaded = match node.meta.load() {
            Ok(loaded) => loaded,
            Err(why) => {
                let story = format!("{} can't load its metadata: {why}", name(number));
                self.violate(Violation::new("S6", story));
                return;
            }
        };
        node.power = Power::On;
        node.run += 1;
        node.bufs = fresh_bufs(&self.swarm);
        node.tick_at = u64::MAX;
        node.paused_until = 0;
        node.wants.fill(false);
        node.suspended = false;
        node.forgot = false;
        node.diskless = false;
        node.saved = false;
        node.in_sync.clear();
        node.crashed = loaded.superblock.active;
        self.heard.started(self.now, number);
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
                ", not stopped cleanly"
            } else {
                ""
            },
        );
        let dirty: Vec<u64> = loaded
            .bitmaps
            .iter()
            .map(|words| words.iter().map(|word| u64::from(word.count_ones())).sum())
            .collect();
        let node = &mut self.nodes[number];
        let now = node.clock.local(self.now);
        node.replica = Some(Replica::with_mutant(now, start, loaded, self.swarm.mutant));
        if let Some(status) = node.status(self.now) {
            node.disk_state = status.disk;
            node.connections = status.peers.iter().map(|peer| peer.connection).collect();
            let name = format!("{:?}", status.disk);
            self.coverage.reach("disk at the start", &name);
        }
        self.check_boot(number, &dirty);
        self.settle(number);
        self.start_agent(number);
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
        if self.agents.is_some() && self.dice.agent.chance(300) {
            self.stop_agent(number, false);
            let delay = self.dice.agent.between(MS, SEC);
            let event = AgentEv::Start;
            self.after(
                delay,
                Ev::Agent {
                    node: number,
                    event,
                },
            );
        }
        self.stop_process(number, "crashed");
        self.drop_in_flight(number);
    }

    /// A node loses power; what was not flushed is lost as `loss` says.
    pub(crate) fn lose_power(&mut self, number: usize, loss: Loss, power: Power) {
        tell!(self, "{} loses power ({loss:?})", name(number));
        self.stop_process(number, "lost power");
        self.stop_agent(number, true);
        // What no client's flush covered may be there still, by luck: nobody may count on it.
        self.book.lose(self.now, number, |_| Held::Nothing);
        let (node, rng) = (&mut self.nodes[number], &mut self.dice.disk);
        node.power = power;
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
        self.break_links_of(number, why);
    }

    /// Takes in what a core has decided so far.
    pub(crate) fn count_decisions(&mut self, number: usize) {
        if let Some(replica) = &self.nodes[number].replica {
            for (kind, name, count) in replica.decisions() {
                self.coverage.add(kind, name, count);
            }
        }
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
    }

    /// S4 for a node that is down, unless its metadata says that it holds nothing useful.
    fn check_image(&mut self, number: usize) {
        use twindisk_format::superblock::StoredDisk;
        let node = &self.nodes[number];
        let result = match node.meta.load().map(|loaded| loaded.superblock.disk) {
            Ok(StoredDisk::UpToDate | StoredDisk::Outdated) => {
                image::check(&self.book, number, |sector| node.disk.peek(sector))
            }
            Ok(StoredDisk::Failed | StoredDisk::Inconsistent) | Err(_) => Ok(()),
        };
        self.check(result);
    }

    /// When an event must wait, until when.
    fn paused(&self, ev: &Ev) -> Option<u64> {
        let number = match ev {
            Ev::Core { node, .. } | Ev::Tick { node, .. } | Ev::MetaDone { node, .. } => *node,
            Ev::DiskDone { node, .. } => *node,
            Ev::Arrive { pair, side, .. } => [pair.1, pair.0][*side],
            Ev::LinkUp { pair, side, .. } | Ev::LinkDown { pair, side, .. } => {
                [pair.0, pair.1][*side]
            }
            Ev::DrainLimit { .. }
            | Ev::Dial { .. }
            | Ev::Unblock { .. }
            | Ev::Client { .. }
            | Ev::Operator
            | Ev::Order { .. }
            | Ev::Strike { .. }
            | Ev::Restart { .. } => return None,
            // What a device has been told to do, and what it does, stands still for nobody.
            Ev::Agent {
                event: AgentEv::Shoot { .. } | AgentEv::PowerOn,
                ..
            } => return None,
            Ev::Agent { node, .. } => *node,
        };
        let until = self.nodes[number].paused_until;
        (until > self.now).then_some(until)
    }

    fn is_current(&self, node: usize, run: u64) -> bool {
        self.nodes[node].run == run && self.nodes[node].replica.is_some()
    }

    fn dispatch(&mut self, ev: Ev) {
        match ev {
            Ev::Core { node, run, event } => {
                if self.is_current(node, run) {
                    self.trace.mix(node as u64);
                    self.deliver(node, *event);
                }
            }
            Ev::DiskDone { node, run, op } => {
                if self.is_current(node, run) {
                    self.finish_disk(node, op);
                }
            }
            Ev::MetaDone { node, run, op } => {
                if self.is_current(node, run) {
                    self.finish_meta(node, op);
                }
            }
            Ev::Tick { node, run } => {
                if self.is_current(node, run) && self.nodes[node].tick_at <= self.now {
                    self.nodes[node].tick_at = u64::MAX;
                    self.deliver(node, Event::Tick);
                }
            }
            Ev::Arrive { pair, link, side } => self.arrive(pair, link, side),
            Ev::LinkUp { pair, link, side } => self.link_up(pair, link, side),
            Ev::LinkDown {
                pair,
                link,
                side,
                why,
            } => self.link_down(pair, link, side, why),
            Ev::DrainLimit { pair, link, side } => self.close_drained(pair, link, side, true),
            Ev::Dial { pair } => self.dial(pair),
            Ev::Unblock { pair, side } => self.unblock(pair, side),
            Ev::Client { client } => self.client_step(client),
            Ev::Operator => self.operator_step(),
            Ev::Order { node, command } => _ = self.command(node, command),
            Ev::Strike { fault } => self.strike(fault),
            Ev::Agent { node, event } => self.agent_event(node, event),
            Ev::Restart { node, run } => {
                if self.nodes[node].run == run {
                    self.start(node);
                }
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
