//! A whole run: start, load under faults, heal, converge, compare.

use std::{collections::BTreeSet, fmt::Write as _};

use twindisk_core::{Command, ConnectionState, DiskState, Protocol, Role, Status};
use twindisk_fencing_core::Operator;

use crate::{
    checker::{
        Violation,
        differences::{self, Half},
    },
    content::{SECTORS, describe},
    coverage::Coverage,
    node::name,
    swarm::{MS, SEC, Swarm},
    trace::{Telling, tell},
    world::{Ev, World},
};

/// How long a healed cluster may take to converge.
const CONVERGE_LIMIT: u64 = 120 * SEC;

/// A run that handles more events than this goes round in circles.
const MAX_EVENTS: u64 = 3_000_000;

/// Operations that clients add once faults have ended: the service goes on.
const LAST_OPERATIONS: u64 = 20;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The same for every run of the seed.
    pub fingerprint: u64,
    /// Events handled.
    pub events: u64,
    /// Client writes acknowledged.
    pub writes: u64,
    /// What it reached.
    pub coverage: Coverage,
    /// The rule it broke.
    pub violation: Option<Violation>,
    /// The last lines of its story, if they were kept.
    pub story: Vec<String>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, telling: Telling) -> Outcome {
    run_swarm(Swarm::draw(seed), telling)
}

/// The same for a pair with agents instead of an operator.
#[must_use]
pub fn run_with_agents(seed: u64, telling: Telling) -> Outcome {
    run_swarm(Swarm::draw_with_agents(seed), telling)
}

/// The same for a pair with agents and a witness in place of the fence device.
#[must_use]
pub fn run_with_witness(seed: u64, telling: Telling) -> Outcome {
    run_swarm(Swarm::draw_with_witness(seed), telling)
}

/// The same for three nodes with agents.
#[must_use]
pub fn run_with_three(seed: u64, telling: Telling) -> Outcome {
    run_swarm(Swarm::draw_with_three(seed), telling)
}

/// Runs what a seed drew, or something made by hand.
#[must_use]
pub fn run_swarm(swarm: Swarm, telling: Telling) -> Outcome {
    let mut world = World::new(swarm, telling);
    world.begin();
    world.live();
    world.converge();
    world.outcome()
}

impl World {
    /// Switches everything on, lets clients and operator begin, and plans what goes wrong.
    pub fn begin(&mut self) {
        self.power_on();
        self.each_resource(|world| {
            for client in 0..world.clients.count() {
                world.after(0, Ev::Client { client });
            }
            world.after(100 * MS, Ev::Operator);
        });
        self.plan_faults();
        self.plan_deeds();
        self.plan_witness();
    }

    /// Switches everything on; the node with the first copy becomes primary.
    pub(crate) fn power_on(&mut self) {
        for number in 0..self.nodes.len() {
            let delay = self.dice.boot.between(0, 300 * MS);
            self.after(
                delay,
                Ev::Restart {
                    node: number,
                    run: 0,
                },
            );
        }
        self.run_until(self.now + 300 * MS);
        let first = self.swarm.first;
        let limit = self.now + 20 * SEC * self.patience();
        if self.agents.is_some() {
            self.each_resource(|world| world.wait_for_primary(limit));
            let begun = self.now;
            return self.each_resource(|world| world.swarm.duration += begun);
        }
        let mut command = self.command(first, Command::Promote { force: None });
        while self.violation.is_none() && self.answer(command) != Some(true) && self.now < limit {
            if self.answer(command) == Some(false) {
                command = self.command(first, Command::Promote { force: None });
            }
            self.run_until(self.now + 10 * MS);
        }
        if self.violation.is_none() && self.answer(command) != Some(true) {
            let story = format!("{}, who has the first copy, can't be primary", name(first));
            self.violate(Violation::new("S6", story));
        }
        self.swarm.duration += self.now;
    }

    /// Agents promote somebody, of two equal replicas that with the lower number. Where there are two resources, so that
    /// each begins where it is drawn to, a person has it go over then.
    fn wait_for_primary(&mut self, limit: u64) {
        let first = self.swarm.first;
        while self.violation.is_none() && self.nodes[first].export.is_none() && self.now < limit {
            let other = (0..self.nodes.len())
                .find(|other| *other != first && self.nodes[*other].export.is_some());
            if let Some(other) = other.filter(|_| self.aside.is_some()) {
                let wish = Operator::Switchover {
                    resource: self.its_index(),
                    to: Some(crate::agents::peer_of(other, first)),
                };
                self.tell_agent(other, wish);
                self.run_until(self.now + 500 * MS);
            }
            self.run_until(self.now + 10 * MS);
        }
    }

    /// Load under faults.
    pub fn live(&mut self) {
        let end = self.swarm.duration;
        while self.now < end && self.violation.is_none() {
            let next = (self.now + 200 * MS).min(end);
            self.run_until(next);
            self.each_resource(|world| {
                world.check_differences();
                world.check_dead_metadata();
                world.check_all_alone();
            });
        }
    }

    /// Faults end; everything must come right by itself, apart from an honest operator.
    pub fn converge(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.heal();
        self.each_resource(|world| world.clients.budget = world.clients.issued + LAST_OPERATIONS);
        let limit = CONVERGE_LIMIT * self.patience();
        let end = self.now + limit;
        let mut calm = 0;
        while self.violation.is_none() {
            self.run_until(self.now + 250 * MS);
            let Err(why) = self.all_converged() else {
                // Twice in a row: the first time may be just before a last change.
                calm += 1;
                if calm == 2 {
                    break;
                }
                continue;
            };
            calm = 0;
            if self.now > end {
                let story = format!("not converged {} s after faults ended: {why}", limit / SEC);
                self.violate(Violation::new("S6", story));
            }
        }
        self.each_resource(|world| {
            if world.violation.is_none() {
                world.compare();
            }
            if world.violation.is_none() && world.swarm.faults.rotten > 0 {
                world.verify_finds_rot();
            }
        });
    }

    /// Whether every resource is as it should be, or what is not.
    fn all_converged(&mut self) -> Result<(), String> {
        let mut result = Ok(());
        self.each_resource(|world| {
            if result.is_ok() {
                result = world.has_converged();
            }
        });
        result
    }

    /// Bits rot on standbys that are equal and at rest: a verify finds these blocks, no others, and repairs them.
    fn verify_finds_rot(&mut self) {
        let serves = |number: &usize| {
            self.status_of(*number)
                .is_some_and(|status| status.role == Role::Primary)
        };
        let Some(primary) = (0..self.nodes.len()).find(serves) else {
            return;
        };
        let blocks = self.nodes[primary].export.unwrap_or(0);
        let mut rotten = BTreeSet::new();
        for _ in 0..self.swarm.faults.rotten {
            let die = &mut self.dice.late;
            let standby = (primary + 1 + die.index(self.swarm.nodes - 1)) % self.swarm.nodes;
            let block = die.below(blocks);
            if rotten.insert((standby, block)) {
                tell!(self, "block {block} of {} rots", name(standby));
                self.nodes[standby].disk.rot(block);
            }
        }
        self.coverage.reach("fault", "rot found by a verify");
        (self.rots, self.found_different) = (true, 0);
        let verify = Command::Verify {
            first: 0,
            blocks: None,
            repair: true,
        };
        let mut command = self.command(primary, verify.clone());
        let limit = self.now + 60 * SEC;
        while self.violation.is_none() && (self.answer(command) != Some(true) || self.sweeps()) {
            if self.answer(command) == Some(false) {
                command = self.command(primary, verify.clone());
            }
            self.run_until(self.now + 10 * MS);
            if self.now > limit {
                let story = "a verify of equal nodes does not end within 60 s";
                self.violate(Violation::new("S6", story));
            }
        }
        let found = self.found_different;
        if self.violation.is_none() && found != rotten.len() as u64 {
            let story = format!(
                "{} blocks have rotted, a verify finds {found}",
                rotten.len()
            );
            self.violate(Violation::new("S6", story));
        }
        if self.violation.is_none() {
            self.compare();
        }
    }

    /// Whether a resync or verify is under way.
    fn sweeps(&self) -> bool {
        (0..self.nodes.len()).any(|number| {
            self.status_of(number)
                .is_some_and(|status| status.peers.iter().any(|peer| peer.progress.is_some()))
        })
    }

    /// What came of it.
    #[must_use]
    pub fn outcome(&mut self) -> Outcome {
        let mut writes = 0;
        self.each_resource(|world| {
            writes += world.book.acked;
            for number in 0..world.nodes.len() {
                world.count_decisions(number);
            }
        });
        Outcome {
            fingerprint: self.trace.fingerprint(),
            events: self.events,
            writes,
            coverage: core::mem::take(&mut self.coverage),
            violation: self.violation.clone(),
            story: self.trace.tail(400),
        }
    }

    pub(crate) fn check_pace(&mut self) {
        if self.events > MAX_EVENTS {
            let story = format!(
                "{MAX_EVENTS} events in {} ms: it goes round in circles",
                self.now / MS
            );
            self.violate(Violation::new("S6", story));
        }
    }

    /// Whether everything is as it should be, or what is not.
    pub(crate) fn has_converged(&self) -> Result<(), String> {
        let mut primaries = 0;
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(status) = node.status(self.now) else {
                return Err(format!("{} is down", name(number)));
            };
            primaries += usize::from(status.role == Role::Primary);
            settled(number, &status, self.swarm.protocol)?;
            if !node.ops.is_empty() {
                return Err(format!("{} waits for its disk", name(number)));
            }
            if node.forgot {
                return Err(format!(
                    "{} has forgotten a request and stays open",
                    name(number)
                ));
            }
        }
        if primaries != 1 {
            return Err(format!("{primaries} nodes are primary: {}", self.needs()));
        }
        self.agents_settled()?;
        if self.clients.waiting() > 0 {
            return Err(format!(
                "{} requests have no answer, first {}",
                self.clients.waiting(),
                self.clients.oldest()
            ));
        }
        if self.clients.issued < self.clients.budget {
            return Err("clients can't go on".to_owned());
        }
        if self.unanswered() > 0 {
            return Err("a command has no answer".to_owned());
        }
        Ok(())
    }

    fn needs(&self) -> String {
        let mut text = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if let Some(status) = node.status(self.now) {
                let _ = write!(text, "{} needs {:?}; ", name(number), status.promote_needs);
            }
        }
        text
    }

    /// S6: equal bytes, nothing left over. S1 once more, for what nobody has read.
    fn compare(&mut self) {
        let size = self.nodes[0]
            .status(self.now)
            .map_or(0, |status| status.size_bytes / 4096);
        let first = &self.nodes[0].disk;
        let mut found = None;
        for node in &self.nodes[1..] {
            let differs =
                (0..size * SECTORS).find(|sector| first.peek(*sector) != node.disk.peek(*sector));
            if let Some(sector) = differs {
                found = Some(format!(
                    "converged, but sector {sector} holds {} on {} and {} on {}",
                    describe(first.peek(sector)),
                    name(0),
                    describe(node.disk.peek(sector)),
                    name(node.number)
                ));
            }
        }
        if let Some(story) = found {
            self.violate(Violation::new("S6", story));
        }
        for number in 0..self.nodes.len() {
            let result = self.book.check_served(number, &self.nodes[number].disk);
            self.check(result);
            let leaked = self.nodes[number].bufs.leaked();
            if !leaked.is_empty() {
                let story = format!("{} has leaked buffers: {}", name(number), leaked.join(", "));
                self.violate(Violation::new("driver", story));
            }
        }
    }

    /// S5 for each two nodes.
    pub(crate) fn check_differences(&mut self) {
        if self.swarm.lossy || self.violation.is_some() {
            return;
        }
        let loaded: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.meta.load().ok())
            .collect();
        let under_way = self.book.busy_blocks();
        let mut results = Vec::new();
        for (high, second) in loaded.iter().enumerate() {
            for (low, first) in loaded[..high].iter().enumerate() {
                let (Some(first), Some(second)) = (first, second) else {
                    continue;
                };
                let (a, b) = (&self.nodes[low].disk, &self.nodes[high].disk);
                let half = |node, metadata, disk| Half {
                    node,
                    metadata,
                    disk,
                };
                results.push(differences::check(
                    &half(low, first, a),
                    &half(high, second, b),
                    |block| under_way.contains(&block) || a.is_busy(block) || b.is_busy(block),
                ));
            }
        }
        for result in results {
            self.check(result);
        }
    }
}

fn settled(number: usize, status: &Status, protocol: Protocol) -> Result<(), String> {
    let name = name(number);
    if let Some(suspension) = &status.suspended {
        return Err(format!("{name} is suspended: {suspension:?}"));
    }
    // A protocol A standby may lack what was acknowledged last: it never calls itself up to date.
    let behind = protocol == Protocol::A && status.role == Role::Standby;
    if status.disk != DiskState::UpToDate && !(behind && status.disk == DiskState::Consistent) {
        return Err(format!(
            "{name}'s disk is {:?}: {:?}",
            status.disk, status.disk_why
        ));
    }
    for peer in &status.peers {
        // Nobody tells two protocol A standbys that they are equal: a resync between them is dear, not wrong.
        let unknown = behind && peer.role == Some(Role::Standby);
        let apart = unknown && peer.connection == ConnectionState::Waiting;
        if peer.connection != ConnectionState::Established && !apart {
            return Err(format!(
                "{name} to {}: {:?} ({})",
                peer.name, peer.connection, peer.connection_why
            ));
        }
        if (peer.dirty_bytes > 0 && !unknown) || peer.in_flight > 0 || peer.progress.is_some() {
            return Err(format!(
                "{name} to {}: {} dirty bytes, {} in flight",
                peer.name, peer.dirty_bytes, peer.in_flight
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_is_the_same_run() {
        for seed in [1, 7, 42, 1234] {
            let (one, two) = (run(seed, Telling::Silent), run(seed, Telling::Keep));
            assert_eq!(one.fingerprint, two.fingerprint, "seed {seed}");
            assert_eq!(one.events, two.events, "seed {seed}");
            assert_eq!(one.coverage, two.coverage, "seed {seed}");
        }
        let fingerprints: BTreeSet<u64> = (0..20)
            .map(|seed| run(seed, Telling::Silent).fingerprint)
            .collect();
        assert_eq!(fingerprints.len(), 20, "each seed is a run of its own");
    }

    #[test]
    fn fifty_seeds_hold() {
        let mut writes = 0;
        for seed in 0..50 {
            let outcome = run(seed, Telling::Silent);
            if let Some(violation) = outcome.violation {
                panic!("seed {seed}: {violation}");
            }
            writes += outcome.writes;
        }
        assert!(writes > 1000, "{writes} writes were acknowledged");
    }
}
