//! The world: a clock, a heap of things that will happen, and everything they happen to.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use twindisk_core::{Command, Event, LinkId, OpId, Replica};

use crate::{
    agents::{AgentEv, Agents, Deed},
    checker::{Violation, alone::Alone, book::Book, bound::Bindings, heard::Heard, terms::Terms},
    client::Clients,
    coverage::Coverage,
    nemesis::{Fault, Nemesis},
    net::Pair,
    node::{Clock, Node, name},
    operator::Operator,
    resources::Aside,
    rng::Rng,
    story,
    swarm::{SEC, Swarm},
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
    /// The resource that it holds, and the other one, if there is one.
    pub(crate) resource: usize,
    pub(crate) aside: Option<Box<Aside>>,
    pub(crate) nemesis: Nemesis,
    pub(crate) book: Book,
    pub(crate) terms: Terms,
    pub(crate) bindings: Bindings,
    pub(crate) heard: Heard,
    pub(crate) alone: Alone,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) violation: Option<Violation>,
    /// Events handled.
    pub(crate) events: u64,
    /// Faults have ended.
    pub(crate) healed: bool,
    /// Blocks change by themselves at the end of the run.
    pub(crate) rots: bool,
    /// Blocks in which verifies have found replicas to differ.
    pub(crate) found_different: u64,
    /// The in-sync sets that were reported, by their epoch.
    pub(crate) told_sets: BTreeMap<u64, Vec<u8>>,
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
    /// Faults that came to the simulator later than the others.
    pub(crate) late: Rng,
    /// Snapshots that nodes come back to.
    pub(crate) rewind: Rng,
    /// Which of two resources something happens to.
    pub(crate) resource: Rng,
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
    /// The resource that it happens to.
    resource: usize,
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
            late: seed.fork(8),
            rewind: seed.fork(9),
            resource: seed.fork(10),
        };
        let clocks: Vec<Clock> = (0..swarm.nodes)
            .map(|_| {
                let drift = swarm.faults.drift_ppm;
                Clock {
                    offset: dice.boot.below(1000 * SEC),
                    ppm: dice.boot.between(0, 2 * drift) as i64 - drift as i64,
                }
            })
            .collect();
        let resources = 1 + usize::from(swarm.second.is_some());
        let agents = swarm.agents.clone();
        let agents = agents.map(|agents| Agents::new(agents, swarm.nodes, resources));
        let second = swarm.second.clone().map(|mut second| {
            (second.mutant, second.alone) = (swarm.mutant, swarm.alone);
            Box::new(Aside::new(*second, &clocks))
        });
        let first = Aside::new(swarm, &clocks);
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            ties: 0,
            nodes: first.nodes,
            pairs: first.pairs,
            next_link: 1,
            clients: first.clients,
            operator: first.operator,
            agents,
            resource: 0,
            nemesis: Nemesis::default(),
            book: first.book,
            terms: first.terms,
            bindings: first.bindings,
            heard: first.heard,
            alone: first.alone,
            trace: Trace::new(telling, second.is_some()),
            aside: second,
            coverage: Coverage::default(),
            violation: None,
            events: 0,
            healed: false,
            rots: first.rots,
            found_different: first.found_different,
            told_sets: first.told_sets,
            dice,
            swarm: first.swarm,
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
            resource: self.resource,
            ev,
        }));
    }

    /// Runs up to a moment, or to the first violation.
    pub fn run_until(&mut self, until: u64) {
        let before = self.resource;
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at <= until => {}
                Some(_) | None => break,
            }
            let Some(Reverse(next)) = self.queue.pop() else {
                break;
            };
            self.now = next.at;
            self.turn_to(next.resource);
            if let Some(resume) = self.paused(&next.ev) {
                // Keeps its place in the order of what waits.
                self.queue.push(Reverse(Scheduled { at: resume, ..next }));
                continue;
            }
            self.events += 1;
            self.check_pace();
            self.trace.mix(next.at);
            self.dispatch(next.ev);
            self.check_hosts();
        }
        self.turn_to(before);
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
    pub(crate) fn violate(&mut self, mut violation: Violation) {
        if self.aside.is_some() {
            violation.story = format!("r{}: {}", self.resource, violation.story);
        }
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
    pub(crate) fn settle(&mut self, number: usize) {
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
        self.ask_alone(number);
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
                event:
                    AgentEv::Shoot { .. }
                    | AgentEv::PowerOn { .. }
                    | AgentEv::Dies { .. }
                    | AgentEv::Deed {
                        deed: Deed::Isolate,
                    },
                ..
            } => return None,
            // An agent goes on beside a process that hangs.
            Ev::Agent { node, .. } => {
                let until = self.nodes[*node].paused_until;
                return (until > self.now).then_some(until);
            }
        };
        let until = self.nodes[number].awake_at();
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
}
