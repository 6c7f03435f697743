//! Metadata that dies in silence: a device that can be read, and whose writes fail, or do not come back, from some moment on.
//! Somebody counts on that node, and nobody has anything to store.

use core::time::Duration;

use twindisk_core::{ConnectionState, DiskState, Role, Status};

use crate::{
    checker::Violation,
    node::{DeadMeta, name},
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// Clocks drift, disks and networks take their time, and somebody looks only now and then.
const SLACK: u64 = SEC;

/// Since when each node is as it should not stay.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    unnoticed: Option<u64>,
    untold: Option<u64>,
}

impl World {
    /// The metadata of a node dies: always of the same one in a run, so that one is left that can store what it decides.
    pub(crate) fn kill_metadata(&mut self, number: usize) {
        if *self.nemesis.dead_meta.get_or_insert(number) != number {
            return;
        }
        let dead = self.nodes[number].trouble.dead_meta;
        if dead.is_some_and(|dead| self.now < dead.until) {
            return; // What hangs must not be overtaken.
        }
        let limit = nanos(self.swarm.timings.request_timeout);
        let die = &mut self.dice.late;
        let hangs = die.coin();
        let until = self.now + die.between(limit / 2, 3 * limit);
        self.let_metadata_die(number, hangs, until);
    }

    /// Writes of a node's metadata fail, or do not come back, until then.
    pub(crate) fn let_metadata_die(&mut self, number: usize, hangs: bool, until: u64) {
        let how = if hangs { "hang" } else { "fail" };
        tell!(
            self,
            "from now on metadata writes of {} {how}",
            name(number)
        );
        self.nodes[number].trouble.dead_meta = Some(DeadMeta { hangs, until });
    }

    /// Dead metadata on which somebody counts is noticed in time, and both nodes say so.
    pub(crate) fn check_dead_metadata(&mut self) {
        for number in 0..self.nodes.len() {
            let (unnoticed, untold) = self.dead_metadata(number);
            let now = self.now;
            let watch = &mut self.nodes[number].watch;
            watch.unnoticed = unnoticed.then(|| watch.unnoticed.unwrap_or(now));
            watch.untold = untold.then(|| watch.untold.unwrap_or(now));
            let (unnoticed, untold) = (watch.unnoticed, watch.untold);
            let hangs = self.nodes[number]
                .trouble
                .dead_meta
                .is_some_and(|dead| dead.hangs);
            let limit = nanos(self.swarm.timings.request_timeout);
            let patience = limit / 3 + if hangs { limit } else { 0 } + SLACK;
            if unnoticed.is_some_and(|since| now - since > patience) {
                let story = format!(
                    "metadata writes of {} do not work, others count on it, and nobody has noticed for {} ms",
                    name(number),
                    patience / MS
                );
                self.violate(Violation::new("S6", story));
            }
            if untold.is_some_and(|since| now - since > 2 * SLACK) {
                let story = format!(
                    "{} has no copy any more, and it and its primary do not both say so",
                    name(number)
                );
                self.violate(Violation::new("S6", story));
            }
        }
    }

    /// Whether a node's metadata is dead, somebody counts on it, and it does not know; or does, and a primary to which it is
    /// connected, or it, does not say so.
    fn dead_metadata(&self, number: usize) -> (bool, bool) {
        let dead = self.nodes[number].trouble.dead_meta;
        let Some(dead) = dead.filter(|dead| self.now < dead.until) else {
            return (false, false);
        };
        let Some(status) = self.awake(number) else {
            return (false, false);
        };
        let others = (0..self.nodes.len()).filter(|other| *other != number);
        let others: Vec<(usize, Status)> = others
            .filter_map(|other| Some((other, self.awake(other)?)))
            .collect();
        // What cannot be taken away without taking the last copy along stays.
        let counted_on = others.iter().any(|(other, theirs)| {
            is_kept_equal(&status, *other) && is_kept_equal(theirs, number) && holds(theirs, *other)
        });
        // A hang is judged by a standby that has a primary, which can go on without it. Others say that something hangs.
        let led = others
            .iter()
            .any(|(_, theirs)| theirs.role == Role::Primary);
        let noticed = if dead.hangs && !led {
            !status.faults.is_empty()
        } else {
            status.disk != DiskState::UpToDate
        };
        let failed = status.disk == DiskState::Failed;
        let primaries = others.iter().filter(|(other, theirs)| {
            theirs.role == Role::Primary
                && connection(&status, *other) == Some(ConnectionState::Waiting)
                && connection(theirs, number) == Some(ConnectionState::Waiting)
        });
        let untold = failed
            && (status.faults.is_empty()
                || primaries
                    .into_iter()
                    .any(|(_, theirs)| theirs.faults.is_empty()));
        (counted_on && holds(&status, number) && !noticed, untold)
    }

    /// What a node says that does something, and whose disk does.
    fn awake(&self, number: usize) -> Option<Status> {
        let node = &self.nodes[number];
        let trouble = &node.trouble;
        let still = [
            node.paused_until,
            node.stopped_until,
            trouble.stuck_until,
            trouble.slow_until,
        ];
        if still.iter().any(|until| *until > self.now) {
            return None;
        }
        node.status(self.now)
    }
}

/// The set is said to be of this node among others.
fn holds(status: &Status, number: usize) -> bool {
    status.in_sync.contains(&(number as u8))
}

fn is_kept_equal(status: &Status, other: usize) -> bool {
    holds(status, other) && connection(status, other) == Some(ConnectionState::Established)
}

fn connection(status: &Status, other: usize) -> Option<ConnectionState> {
    let mut peers = status.peers.iter();
    let peer = peers.find(|peer| usize::from(peer.node) == other)?;
    Some(peer.connection)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
