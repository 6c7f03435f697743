//! I/O that stands still on a node whose host and agent live: a disk that answers nothing, or a process that does nothing.

use super::AgentEv;
use crate::{
    checker::Violation,
    node::name,
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// So long after its end an agent may still believe in a hang: it has stood still itself, or looks only now and then.
const LATE: u64 = 600 * MS;

impl World {
    /// A disk, or a process alone, stands still: briefly, or for so long that agents act.
    pub(crate) fn hang(&mut self, drawn: usize) {
        let primary = (0..self.nodes.len()).find(|number| self.nodes[*number].export.is_some());
        let die = &mut self.dice.nemesis;
        // A standby that hangs is left behind as one with a slow disk is: the primary is what this is about.
        let number = if die.chance(800) {
            primary.unwrap_or(drawn)
        } else {
            drawn
        };
        let long = die.chance(700);
        let ms = if long {
            die.between(21_000, 45_000)
        } else {
            die.between(2000, 15_000)
        };
        let until = self.now + ms * MS;
        if die.coin() {
            tell!(self, "the disk of {} hangs", name(number));
            let trouble = &mut self.nodes[number].trouble;
            trouble.stuck_until = trouble.stuck_until.max(until);
        } else {
            tell!(self, "the process of {} hangs", name(number));
            self.hang_process(number, until);
        }
    }

    /// An agent kills the process of its node. One that its disk does not answer does nothing any more, and is gone when
    /// that does.
    pub(super) fn kill_process(&mut self, number: usize, run: u64) {
        let node = &mut self.nodes[number];
        if node.run != run || node.replica.is_none() {
            return;
        }
        self.coverage.reach("agent", "kill");
        let stuck = node.trouble.stuck_until;
        let hangs = stuck.max(node.stopped_until) + LATE;
        if hangs < self.now && !self.healed {
            let story = format!("{} is killed though it does not hang", name(number));
            return self.violate(Violation::new("hang", story));
        }
        let mut stuck = 0;
        self.each_resource(|world| stuck = world.nodes[number].trouble.stuck_until.max(stuck));
        if stuck > self.now {
            tell!(self, "{} dies once its disk answers", name(number));
            self.hang_process(number, stuck);
            return self.agent_later(stuck - self.now, number, AgentEv::Dies { run });
        }
        self.crash(number);
        self.restart_later(number, 2 * SEC);
    }

    /// The disk of a process that was killed answers.
    pub(super) fn dies(&mut self, number: usize, run: u64) {
        if self.nodes[number].run == run {
            self.crash(number);
            self.restart_later(number, 2 * SEC);
        }
    }

    /// Faults end. A process that still hangs is ended by a person: what waits for the end of a hang must not be overtaken, so
    /// none is shortened.
    pub(crate) fn end_hang(&mut self, number: usize) {
        if self.nodes[number].stopped_until > self.now {
            self.crash(number);
        }
    }
}
