//! When a primary's mutation is done, and its client is told.

use twindisk_format::ids::{Seq, Slot, SlotSet};

use super::{Origin, Stage};
use crate::{Action, Failure, Protocol, Role, mutants::Mutant, replica::Replica};

impl Replica {
    /// A peer has answered for a mutation: received it (protocol B) or written it.
    pub(crate) fn peer_answered(&mut self, slot: Slot, seq: Seq, written: bool) {
        let Some(index) = self.window.get(seq) else {
            return;
        };
        // R1: an answer over this connection, to what was sent over it.
        if !self.mutations[index].outstanding.contains(slot) {
            return;
        }
        self.saw_peer(slot, index, written);
        if written || self.is_received_enough(slot, index) {
            self.mutations[index].waiting.remove(slot);
        }
        let mutation = &mut self.mutations[index];
        if written && mutation.outstanding.remove(slot) {
            self.peers[slot.index()].sent.answered(self.now);
        }
        self.check_done(index);
    }

    /// Protocol B: this node has it on its disk, or will. Whoever has received it need not have written it yet.
    fn is_received_enough(&self, slot: Slot, index: usize) -> bool {
        let mutation = &self.mutations[index];
        let no_copy_here = matches!(mutation.stage, Stage::Settled { locally: false })
            && !self.mutant(Mutant::ReceivedIsACopy);
        self.peers[slot.index()].protocol == Protocol::B
            && !no_copy_here
            && (!mutation.fua || self.mutant(Mutant::ReceivedIsEnoughForFua))
    }

    /// R1: the disk of this node has failed. What it had written, and nobody was told of, counts as not written here.
    pub(crate) fn no_copy_here(&mut self) {
        let settled: Vec<usize> = self
            .mutations
            .iter()
            .filter(|(_, mutation)| {
                mutation.origin.peer().is_none()
                    && !mutation.answered
                    && matches!(mutation.stage, Stage::Settled { locally: true })
            })
            .map(|(index, _)| index)
            .collect();
        for index in settled {
            self.mutations[index].stage = Stage::Settled { locally: false };
            self.must_be_written_elsewhere(index);
        }
    }

    /// R1: this node has no copy of it, so that who has only received it must have written it, too.
    pub(super) fn must_be_written_elsewhere(&mut self, index: usize) {
        if self.mutant(Mutant::ReceivedIsACopy) {
            return;
        }
        let counted = self.mutations[index].outstanding.iter();
        let counted: SlotSet = counted
            .filter(|slot| self.store.peer(*slot).standing.is_counted())
            .collect();
        let mutation = &mut self.mutations[index];
        if !mutation.cancelled {
            counted
                .iter()
                .for_each(|slot| mutation.waiting.insert(slot));
        }
    }

    /// Completes a primary's mutation when it is done everywhere, and forgets it when nobody has its buffer any more.
    pub(crate) fn check_done(&mut self, index: usize) {
        let mutation = &self.mutations[index];
        let Stage::Settled { locally } = mutation.stage else {
            return;
        };
        if !mutation.answered && mutation.waiting.is_empty() {
            // R1: checked at completion, in the term of this moment.
            let withdrawn = mutation.cancelled;
            if self.role == Role::Primary && !withdrawn && !self.may_complete() {
                self.parked = true;
                return;
            }
            let result = if locally || self.done_elsewhere(index) {
                Ok(())
            } else {
                Err(Failure::Io)
            };
            self.answer(index, result);
        }
        let mutation = &self.mutations[index];
        if mutation.answered && mutation.outstanding.is_empty() {
            self.forget_mutation(index);
        }
    }

    /// Without a local disk at least one in-sync peer must have it.
    fn done_elsewhere(&self, index: usize) -> bool {
        let seq = self.mutations[index].seq;
        seq > Seq(0) && !self.store.in_sync().is_empty()
    }

    pub(crate) fn answer(&mut self, index: usize, result: Result<(), Failure>) {
        let mutation = &mut self.mutations[index];
        mutation.answered = true;
        self.counts.writes += 1;
        match mutation.origin {
            Origin::Client { request, .. } if mutation.cancelled => {
                self.act(Action::Forget { request });
            }
            Origin::Client {
                request, arrived, ..
            } => {
                self.latency.write.total.record(arrived, self.now);
                if result.is_ok() {
                    self.counts.written_bytes += mutation.range.bytes();
                }
                self.act(Action::Complete { request, result });
            }
            // What the next resize has begun is none of its business.
            Origin::Resize if mutation.cancelled => {}
            Origin::Resize => self.resize_zeroed(result),
            Origin::Peer { .. } => unreachable!("a standby answers in `applied`"),
        }
    }
}
