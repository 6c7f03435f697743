//! R16: what a replica has received and not written yet is part of what it says of itself.

use twindisk_format::ids::Slot;

use crate::{Mark, compare::Verdict, mutants::Mutant, peer::Phase, replica::Replica};

impl Replica {
    /// R16: nobody is set aside before the one that leads has written what it received. With protocol B that may be
    /// acknowledged, and be nowhere else should its process die now. Both see it in the same two statements, and meet
    /// again when it is written.
    pub(super) fn leader_still_writes(
        &mut self,
        slot: Slot,
        unwritten: bool,
        verdict: &Verdict,
    ) -> bool {
        let theirs = self.peer(slot).said.as_ref();
        let (writes, why) = match verdict {
            Verdict::Lead(_) => (
                unwritten,
                "this node is still writing what it received before the connection broke",
            ),
            Verdict::Follow(_) => (
                theirs.is_some_and(|said| said.unwritten),
                "it is still writing what it received before the connection broke",
            ),
            Verdict::Wait(..)
            | Verdict::SplitBrain { .. }
            | Verdict::Rewound { .. }
            | Verdict::Unrelated => (false, ""),
        };
        if !writes || self.mutant(Mutant::LeadUnwritten) {
            return false;
        }
        self.marks.mark(Mark::StillWriting);
        self.peer_mut(slot).waits_for_writes = matches!(verdict, Verdict::Lead(_));
        self.set_phase(slot, Phase::Waiting, why);
        true
    }

    /// Everything received is written: peers that waited for that compare once more.
    pub(crate) fn meet_when_written(&mut self) -> bool {
        let waiting = self
            .slots()
            .find(|slot| self.peer(*slot).waits_for_writes)
            .filter(|_| self.received_is_written());
        let Some(slot) = waiting else {
            return false;
        };
        let peer = self.peer_mut(slot);
        peer.waits_for_writes = false;
        if peer.link.is_some_and(|link| !link.closing) {
            let why = "what was received is written now";
            self.drop_link(slot, Mark::MeetAgain, why);
        }
        true
    }
}
