//! R17: which clients of a former time may be served again. A client that lost its connection and makes another one (a
//! mounted `/dev/nbdN` above all) keeps what it has read and what it was told is written: it may have the device again
//! only if nobody else has written to it meanwhile.

use twindisk_format::{
    binding::Binding,
    ids::{NodeId, Slot},
    lineage::{Generation, Lineage},
    superblock::Lack,
};

use crate::{Action, Mark, mutants::Mutant, replica::Replica};

/// The binding in which a promotion that begins `begun` opens the device: the former one if it still holds. So a restart
/// of this process, and a demotion that nobody used, is a pause for who is bound.
pub(crate) const fn at_promotion(held: Option<Binding>, begun: Generation) -> Binding {
    match held {
        Some(held) => held,
        None => Binding {
            term: begun.term,
            id: begun.id,
        },
    }
}

/// Whether data of this lineage may come to the disk of `node` without any client of `node` being told an untruth: the
/// newest generation is its own. Who has begun a generation after another node's has that node's in its lineage, and
/// lost its binding when it took that over: so the newest one speaks for all since.
pub(crate) fn written_by(node: NodeId, lineage: &Lineage) -> bool {
    lineage.newest().is_some_and(|newest| newest.node == node)
}

impl Replica {
    /// Data of this lineage is about to come to this node's disk: before it does, the end of the binding is stored.
    pub(crate) fn bound_by(&mut self, lineage: &Lineage) {
        if !written_by(self.store.get().node, lineage) {
            self.end_binding(Mark::BindingElsewhere);
        }
    }

    /// A leader's data is about to come. What this node's clients wrote may have been nowhere else (its own disk had failed),
    /// and lost with the leader's power.
    pub(crate) fn bound_by_leader(&mut self, slot: Slot) {
        if let Some(said) = &self.peer(slot).said {
            let (lineage, lost_power) = (said.lineage.clone(), said.lack >= Lack::Unflushed);
            self.bound_by(&lineage);
            if lost_power && !self.mutant(Mutant::ServeClientsOfBeforePowerLoss) {
                self.end_binding(Mark::BindingLostPower);
            }
        }
    }

    /// What a client had written and not flushed may be gone with the power, and its next flush would be answered.
    pub(crate) fn bound_after_crash(&mut self) {
        if self.lack() >= Lack::Unflushed && !self.mutant(Mutant::ServeClientsOfBeforePowerLoss) {
            self.end_binding(Mark::BindingLostPower);
        }
    }

    /// What clients were told since the fork is given up, and with it the terms of the fork.
    pub(crate) fn bound_to_a_fork(&mut self) {
        self.end_binding(Mark::BindingGivenUp);
    }

    fn end_binding(&mut self, mark: Mark) {
        if self.store.get().binding.is_none() || self.mutant(Mutant::ServeClientsOfTheRoleBefore) {
            return;
        }
        self.marks.mark(mark);
        self.store.change(|superblock| superblock.binding = None);
        self.tell_binding();
    }

    /// The binding that a promotion may go on with. By force a copy is taken as it is, whatever clients were told before.
    pub(crate) fn binding_held(&mut self, forced: bool) -> Option<Binding> {
        let held = self.store.get().binding?;
        if forced && !self.mutant(Mutant::ServeClientsOfTheRoleBefore) {
            self.marks.mark(Mark::BindingForced);
            return None;
        }
        self.marks.mark(Mark::BindingKept);
        Some(held)
    }

    /// Tells the driver which name of the export is the right one from now on.
    pub(crate) fn tell_binding(&mut self) {
        let binding = self.store.get().binding;
        self.act(Action::Bound(binding));
    }
}

#[cfg(test)]
mod tests {
    use twindisk_format::ids::{GenerationId, Term};

    use super::*;

    const fn generation(term: u64, node: u8) -> Generation {
        Generation {
            term: Term(term),
            id: GenerationId(term * 100 + node as u64),
            node: NodeId(node),
        }
    }

    #[test]
    fn a_binding_that_holds_is_kept_through_a_promotion() {
        let first = at_promotion(None, generation(4, 1));
        assert_eq!((first.term, first.id), (Term(4), GenerationId(401)));
        assert_eq!(at_promotion(Some(first), generation(7, 1)), first);
    }

    #[test]
    fn only_data_of_this_nodes_own_newest_generation_is_its_clients() {
        let me = NodeId(1);
        let lineage = |generations: &[Generation]| Lineage::new(generations.to_vec());
        let mine = lineage(&[generation(1, 2), generation(3, 1), generation(4, 1)]);
        assert!(written_by(me, &mine));
        let elsewhere = lineage(&[generation(3, 1), generation(5, 2)]);
        assert!(!written_by(me, &elsewhere));
        assert!(!written_by(me, &Lineage::default()));
    }
}
