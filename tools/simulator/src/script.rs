//! What a hand-written scenario is written in: a calm cluster, and somebody who does things to it one after the other.

use twindisk_core::{
    Command, ConnectionState, DiskState, Mark, PeerStatus, Protocol, RefusalCode, Role, Status,
};
use twindisk_format::superblock::{ReceiptKind, Standing};

use crate::{
    checker::Violation,
    coverage::Coverage,
    disk::Loss,
    node::{Power, name, slot_of},
    run::Outcome,
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::{Telling, tell},
    world::{Ev, World},
};

/// Without force.
pub(crate) const PROMOTE: Command = Command::Promote { force: None };

/// In good order.
pub(crate) const DEMOTE: Command = Command::Demote { abandon: false };

/// A cluster and its puppeteer. After the first broken rule or unmet expectation nothing more is done.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) world: World,
}

impl Script {
    /// A cluster in sync, node 0 primary, clients and operator at rest.
    pub(crate) fn new(swarm: Swarm, telling: Telling) -> Self {
        let mut script = Self {
            world: World::new(swarm, telling),
        };
        script.world.power_on();
        script.wait_all_equal();
        script
    }

    /// A cluster that is as `prepare` makes it; its nodes run, and nobody is primary.
    pub(crate) fn bare(swarm: Swarm, telling: Telling, prepare: impl FnOnce(&mut World)) -> Self {
        let mut world = World::new(swarm, telling);
        prepare(&mut world);
        for number in 0..world.nodes.len() {
            world.start(number);
        }
        Self { world }
    }

    /// The calm cluster of two.
    pub(crate) fn calm(seed: Seed, telling: Telling) -> Self {
        Self::new(Swarm::calm(seed), telling)
    }

    /// The same with another protocol.
    pub(crate) fn with_protocol(seed: Seed, protocol: Protocol, telling: Telling) -> Self {
        let mut swarm = Swarm::calm(seed);
        swarm.protocol = protocol;
        Self::new(swarm, telling)
    }

    /// Clients do `operations` more operations from now on.
    pub(crate) fn load(&mut self, operations: u64) {
        let begun = self.world.clients.budget > 0;
        self.world.clients.budget = self.world.clients.issued + operations;
        if !begun {
            for client in 0..self.world.clients.count() {
                self.world.after(0, Ev::Client { client });
            }
        }
    }

    /// What follows is about this resource of two.
    pub(crate) fn turn_to(&mut self, resource: usize) {
        self.world.turn_to(resource);
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.world.run_until(self.world.now + ms * MS);
        self.world.check_differences();
    }

    /// Lets a very short time pass.
    pub(crate) fn pass_us(&mut self, us: u64) {
        self.world.run_until(self.world.now + us * US);
    }

    /// Goes on in steps of a few microseconds until something is so, to act on it at once.
    pub(crate) fn step_until(&mut self, until: impl Fn(&mut Self) -> bool) {
        let limit = self.world.now + 30 * SEC;
        while !until(self) && self.world.violation.is_none() {
            self.expect(self.world.now < limit, "30 s are not enough");
            self.pass_us(5);
        }
    }

    /// Waits until clients have done what they were to do.
    pub(crate) fn load_done(&mut self) {
        self.wait("clients are done", |world| {
            world.clients.issued >= world.clients.budget && world.clients.waiting() == 0
        });
    }

    /// Waits, for 30 seconds at most.
    pub(crate) fn wait(&mut self, what: &str, until: impl Fn(&World) -> bool) {
        let limit = self.world.now + 30 * SEC;
        while !until(&self.world) && self.world.violation.is_none() {
            if self.world.now > limit {
                let mut story = format!("30 s are not enough: {what}");
                if let Err(why) = self.world.has_converged() {
                    story = format!("{story}; {why}");
                }
                self.world.violate(Violation::new("scenario", story));
            }
            self.world.run_until(self.world.now + 5 * MS);
        }
    }

    /// Waits until everybody is connected to everybody and equal.
    pub(crate) fn wait_all_equal(&mut self) {
        self.wait("all in sync", |world| {
            (0..world.nodes.len()).all(|number| {
                world.status_of(number).is_some_and(|status| {
                    let counts = |peer: &PeerStatus| {
                        peer.protocol == Protocol::A
                            || peer.standing == Standing::In
                            || status.role == Role::Standby && peer.standing == Standing::Out
                    };
                    status
                        .peers
                        .iter()
                        .all(|peer| peer.connection == ConnectionState::Established && counts(peer))
                })
            })
        });
    }

    /// Waits until a node has a role.
    pub(crate) fn wait_role(&mut self, number: usize, role: Role) {
        self.wait("a role", |world| {
            world
                .status_of(number)
                .is_some_and(|status| status.role == role)
        });
    }

    /// Waits until I/O of a primary is suspended.
    pub(crate) fn wait_suspended(&mut self, number: usize) {
        self.wait("I/O is suspended", |world| {
            world
                .status_of(number)
                .is_some_and(|status| status.suspended.is_some())
        });
    }

    /// Waits until a node's connection to another is in a state.
    pub(crate) fn wait_link(&mut self, number: usize, peer: usize, state: ConnectionState) {
        let slot = slot_of(number, peer).index();
        self.wait("a state of the connection", |world| {
            world
                .status_of(number)
                .is_some_and(|status| status.peers[slot].connection == state)
        });
    }

    /// Waits until something has been reported so often.
    pub(crate) fn wait_report(&mut self, kind: &str, times: u64) {
        self.wait("a report", |world| {
            world.coverage.count("report", kind) >= times
        });
    }

    /// What a running node says of itself.
    pub(crate) fn status(&self, number: usize) -> Status {
        self.world
            .status_of(number)
            .expect("the scenario asks a node that it runs")
    }

    /// The node that is primary.
    pub(crate) fn primary(&self) -> Option<usize> {
        (0..self.world.nodes.len()).find(|number| {
            self.world
                .status_of(*number)
                .is_some_and(|status| status.role == Role::Primary)
        })
    }

    /// How often the cores have decided so.
    pub(crate) fn decided(&self, mark: Mark) -> u64 {
        let mut seen: Coverage = self.world.coverage.clone();
        for replica in self.world.nodes.iter().filter_map(|n| n.replica.as_ref()) {
            for (kind, name, count) in replica.decisions() {
                seen.add(kind, name, count);
            }
        }
        seen.count(mark.group(), mark.text())
    }

    /// The cores must have decided so.
    pub(crate) fn expect_decided(&mut self, mark: Mark) {
        let so = self.decided(mark) > 0;
        self.expect(so, &format!("somebody decides: {}", mark.text()));
    }

    /// Gives a command and waits for the answer: whether it was obeyed.
    pub(crate) fn command(&mut self, number: usize, command: Command) -> bool {
        let id = self.world.command(number, command);
        self.wait("a command is answered", |world| world.answer(id).is_some());
        self.world.answer(id) == Some(true)
    }

    /// Gives a command that must be obeyed, at once or when the node is done with what it is about.
    pub(crate) fn must(&mut self, number: usize, command: Command) {
        let story = format!("{} must obey {command:?}", name(number));
        let limit = self.world.now + 10 * SEC;
        while self.world.violation.is_none() && !self.command(number, command.clone()) {
            if self.world.now > limit {
                self.expect(false, &story);
            }
            self.pass(50);
        }
    }

    /// Gives a command that must be refused, with this code.
    pub(crate) fn must_refuse(&mut self, number: usize, command: Command, code: RefusalCode) {
        let story = format!("{} must refuse {command:?}", name(number));
        let id = self.world.command(number, command);
        self.wait("a command is answered", |world| world.answer(id).is_some());
        let found = self.world.refusal(id).map(|refusal| refusal.code);
        let story = format!("{story} with {code:?}, and answers {found:?}");
        self.expect(found == Some(code), &story);
    }

    /// A standby asks for the role until it has it: a primary that is just busy says no.
    pub(crate) fn take_over(&mut self, number: usize) {
        let limit = self.world.now + 20 * SEC;
        while self.world.violation.is_none() && self.primary() != Some(number) {
            match self.primary() {
                Some(_) => _ = self.command(number, Command::Switchover { to: None }),
                // The handover went wrong half way.
                None => _ = self.promote(number),
            }
            self.pass(300);
            let so = self.world.now < limit;
            self.expect(so, &format!("{} takes over", name(number)));
        }
    }

    /// Gives a receipt that must be taken.
    pub(crate) fn receipt(&mut self, number: usize, about: usize, kind: ReceiptKind) {
        if kind == ReceiptKind::Arbiter {
            self.world.operator.arbiter = Some(number);
        }
        self.must(
            number,
            Command::Receipt {
                met: None,
                about: slot_of(number, about),
                kind,
                detail: "the scenario says so".to_owned(),
            },
        );
    }

    /// Load, to its end: the service goes on.
    pub(crate) fn serve(&mut self, operations: u64) {
        self.load(operations);
        self.load_done();
    }

    /// The connection between the first two nodes breaks.
    pub(crate) fn cut(&mut self) {
        self.world.break_link((0, 1), "the scenario wants it");
    }

    /// The process of a node stands still.
    pub(crate) fn pause(&mut self, number: usize, ms: u64) {
        self.world.nodes[number].paused_until = self.world.now + ms * MS;
    }

    /// Promotes a node; whether it obeyed.
    pub(crate) fn promote(&mut self, number: usize) -> bool {
        self.command(number, PROMOTE)
    }

    /// Promotes a node, whichever can be.
    pub(crate) fn somebody_primary(&mut self) {
        let limit = self.world.now + 20 * SEC;
        while self.world.violation.is_none() {
            let mut nodes = 0..self.world.nodes.len();
            if self.primary().is_some() || nodes.any(|number| self.promote(number)) {
                return;
            }
            self.pass(50);
            self.expect(
                self.world.now < limit,
                "one of the connected nodes can be promoted",
            );
        }
    }

    /// Says truthfully that a node was switched off.
    pub(crate) fn fenced(&mut self, survivor: usize, victim: usize) {
        let off = self.world.nodes[victim].power == Power::Fenced;
        self.expect(off, "only a node that is off counts as fenced");
        self.receipt(survivor, victim, ReceiptKind::Fence);
    }

    /// Waits until a node has noticed that it lost another.
    pub(crate) fn wait_lost(&mut self, number: usize, peer: usize) {
        let slot = slot_of(number, peer).index();
        self.wait("the loss is noticed", |world| {
            world
                .status_of(number)
                .is_some_and(|status| status.peers[slot].connection == ConnectionState::Connecting)
        });
    }

    /// Waits until a node's disk is in a state.
    pub(crate) fn wait_disk(&mut self, number: usize, disk: DiskState) {
        self.wait("a disk state", |world| {
            world
                .status_of(number)
                .is_some_and(|status| status.disk == disk)
        });
    }

    /// The process of a node dies.
    pub(crate) fn crash(&mut self, number: usize) {
        self.world.crash(number);
    }

    /// A node is switched off and stays off.
    pub(crate) fn power_off(&mut self, number: usize, loss: Loss) {
        self.world.lose_power(number, loss, Power::Fenced);
    }

    /// A node comes up.
    pub(crate) fn start(&mut self, number: usize) {
        if self.world.nodes[number].power == Power::Fenced {
            self.world.nodes[number].power = Power::Off;
        }
        self.world.start(number);
    }

    /// Nothing passes between two nodes, until `join`.
    pub(crate) fn part(&mut self) {
        for pair in self.world.pairs.keys().copied().collect::<Vec<_>>() {
            for side in 0..2 {
                self.world.block(pair, side, u64::MAX);
            }
        }
    }

    /// Everything passes again.
    pub(crate) fn join(&mut self) {
        for pair in self.world.pairs.keys().copied().collect::<Vec<_>>() {
            for side in 0..2 {
                self.world.pair_mut(pair).blocked[side] = 0;
                self.world.unblock(pair, side);
            }
        }
    }

    /// Something must be so.
    pub(crate) fn expect(&mut self, so: bool, story: &str) {
        if !so {
            self.world.violate(Violation::new("scenario", story));
        }
    }

    /// A node's role must be so.
    pub(crate) fn expect_role(&mut self, number: usize, role: Role) {
        let found = self.world.status_of(number).map(|status| status.role);
        let story = format!("{} is {found:?}, expected {role:?}", name(number));
        self.expect(found == Some(role), &story);
    }

    /// A node's disk must be so.
    pub(crate) fn expect_disk(&mut self, number: usize, disk: DiskState) {
        let found = self.world.status_of(number).map(|status| status.disk);
        let story = format!("{}'s disk is {found:?}, expected {disk:?}", name(number));
        self.expect(found == Some(disk), &story);
    }

    /// Everything heals, and must converge.
    pub(crate) fn finish(mut self) -> Outcome {
        tell!(
            self.world,
            "the scenario is over: everything must come right"
        );
        for resource in 0..self.world.resources() {
            self.turn_to(resource);
            self.load(0);
            self.world.after(0, Ev::Operator);
        }
        self.world.converge();
        self.world.outcome()
    }
}

impl World {
    /// Whether a connection stands that neither side has seen broken.
    pub(crate) fn is_linked(&self, pair: (usize, usize)) -> bool {
        let link = self.pairs.get(&pair).and_then(|pair| pair.link.as_ref());
        link.is_some_and(|link| !link.broken)
    }

    /// What a node's replica says of itself.
    #[must_use]
    pub fn status_of(&self, number: usize) -> Option<Status> {
        self.nodes[number].status(self.now)
    }
}
