//! A node that comes back as it once was, disk and metadata: its virtual machine was rolled back to a snapshot, or an old
//! copy was started. Taken while it runs, with what is in its caches, or not.

use twindisk_core::Role;

use crate::{
    disk::{DataDisk, Loss},
    metadisk::MetaDisk,
    nemesis::Fault,
    node::{Power, name},
    swarm::{MS, SEC},
    trace::tell,
    world::{Ev, World},
};

/// What a node had on its disks.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    disk: DataDisk,
    meta: MetaDisk,
}

impl World {
    /// A snapshot of a node, to come back to a little later.
    pub(crate) fn take_snapshot(&mut self, node: usize) {
        if !self.keep_snapshot(node) {
            return;
        }
        let die = &mut self.dice.rewind;
        let delay = match die.below(3) {
            0 => die.between(0, 5 * MS),
            1 => die.between(0, 300 * MS),
            _ => die.between(0, 2 * SEC),
        };
        self.after(
            delay,
            Ev::Strike {
                fault: Fault::Rewind { node },
            },
        );
    }

    /// A snapshot of a node, if it may ever come back to it.
    pub(crate) fn keep_snapshot(&mut self, node: usize) -> bool {
        if !self.may_rewind(node) || *self.nemesis.rewinds.get_or_insert(node) != node {
            return false;
        }
        tell!(self, "a snapshot of {} is taken", name(node));
        let it = &mut self.nodes[node];
        it.snapshot = Some(Snapshot {
            disk: it.disk.clone(),
            meta: it.meta.clone(),
        });
        true
    }

    /// The node goes down, and its disks are what they were.
    pub(crate) fn rewind(&mut self, node: usize) {
        let Some(snapshot) = self.nodes[node].snapshot.take() else {
            return;
        };
        if !self.may_rewind(node) {
            return;
        }
        let loss = self
            .dice
            .rewind
            .pick(&[Loss::All, Loss::Some, Loss::Nothing]);
        self.coverage.reach("fault", "node rolled back");
        self.lose_power(node, loss, Power::Off);
        tell!(self, "{} is what it was in its snapshot", name(node));
        let rng = &mut self.dice.rewind;
        let it = &mut self.nodes[node];
        (it.disk, it.meta) = (snapshot.disk, snapshot.meta);
        it.rewound = true;
        it.disk.lose_power(loss, rng);
        it.meta.crash(rng);
        self.check_differences();
        self.restart_later(node, SEC);
    }

    /// Whether nothing is lost if this node forgets something: another one serves, and both say that they are equal.
    fn may_rewind(&self, node: usize) -> bool {
        let role = |node: usize| self.status_of(node).map(|status| status.role);
        role(node) == Some(Role::Standby)
            && (0..self.nodes.len()).any(|other| role(other) == Some(Role::Primary))
            && self.is_copied(node)
    }
}
