//! What replicas tell each other of a third one that is equal: how far it had come.
//!
//! A standby takes the word of whoever keeps it equal for what is stable on another standby, and forgets what it noted
//! itself. Should that one be rolled back, and the one whose word it was be gone, it must notice by itself: so it is told
//! how often the superblock of the other one had been written when that word was given, and nothing is called stable
//! before, of which a snapshot might lack something and remember that all the same (`fresh`).
//!
//! Whoever joins takes over as well what its leader knows of those that are not equal.
//!
//! The word also mends. Who remembers more of another one than that does itself has it compared whole; once a third one
//! has done that, and is equal to both, there is nothing left to be remembered of before.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{NodeId, Seq, Slot},
    superblock::Seen,
};

use crate::{Mark, Role, moment::impossible, mutants::Mutant, peer::Phase, replica::Replica};

impl Replica {
    /// The first write that a peer may lack though it said that it is stable there, should it be rolled back and nobody
    /// notice.
    pub(crate) fn unnoticed_from(&self, slot: Slot) -> Option<Seq> {
        let fresh = &self.peer(slot).fresh;
        fresh
            .first()
            .filter(|_| !self.mutant(Mutant::StableUnremembered))
    }

    /// More is known of a peer: those that are kept equal from here know it, too, before they hear what follows from it.
    pub(crate) fn tell_seen(&mut self, about: Slot) {
        if self.peers.len() < 2 {
            return;
        }
        for slot in self.slots() {
            if self.is_here(slot) {
                self.send_seen(slot, about);
            }
        }
    }

    /// All that a peer is to know before it hears who is equal.
    pub(crate) fn tell_all_seen(&mut self, to: Slot) {
        for about in self.slots() {
            self.send_seen(to, about);
        }
    }

    fn send_seen(&mut self, to: Slot, about: Slot) {
        let peer = self.peer(about);
        let equal = peer.takes_everything() && peer.bitmap.dirty() == 0;
        let joins = matches!(self.peer(to).phase, Phase::Leading { .. });
        // Those who follow one primary hear from that. But of one that was rolled back who joins has to hear before it meets it.
        let said = peer.said.as_ref();
        let made_good = said.is_some_and(|said| !said.runs.made_good.is_empty());
        let urgent = joins && (made_good || peer.went_back);
        let silent = self.follows().is_some() && !urgent || self.mutant(Mutant::SeenUntold);
        let seen = self.store.peer(about).seen;
        if to == about || !(equal || joins) || silent || seen == Seen::NEVER {
            return;
        }
        let node = peer.node;
        self.send(to, Frame::Control(ControlMessage::Seen { node, seen }));
    }

    /// A peer says how far a third one had come, which is equal to it.
    pub(crate) fn told_seen(&mut self, slot: Slot, node: NodeId, seen: Seen) {
        if self.role == Role::Primary || self.follows().is_some_and(|primary| primary != slot) {
            return;
        }
        let known = self.slots().find(|slot| self.peer(*slot).node == node);
        let known = known.map_or(Seen::NEVER, |slot| self.store.peer(slot).seen);
        if let Some(why) = impossible(seen.moment, known.moment) {
            return self.drop_link(slot, Mark::MomentJump, why);
        }
        match self.peer(slot).phase {
            Phase::Established => self.adopt_seen(node, seen),
            Phase::Following { .. } => {
                let told = &mut self.peer_mut(slot).received.told;
                told.retain(|(other, _)| *other != node);
                told.push((node, seen));
            }
            Phase::Down
            | Phase::Comparing
            | Phase::Leading { .. }
            | Phase::Waiting
            | Phase::SplitBrain { .. }
            | Phase::Unrelated => {}
        }
    }

    /// This node is equal to who told it, as those are that are named.
    pub(crate) fn adopt_told(&mut self, slot: Slot, equal: &[NodeId]) {
        let told = core::mem::take(&mut self.peer_mut(slot).received.told);
        for (node, seen) in told {
            if equal.contains(&node) {
                self.adopt_seen(node, seen);
            } else {
                self.take_over_seen(node, seen);
            }
        }
    }

    /// This node has become what its leader is, and that knows something else of a third one, which is not equal: what was known
    /// here is of a time that is over for that one, perhaps, since it was rolled back and made whole again. Whether it is older
    /// nobody can say: the leader's holds, and no bit that counted from before.
    fn take_over_seen(&mut self, node: NodeId, seen: Seen) {
        let Some(slot) = self.slots().find(|slot| self.peer(*slot).node == node) else {
            return;
        };
        let (peer, mine) = (self.peer(slot), self.store.peer(slot).seen);
        if mine.run == seen.run {
            return self.adopt_seen(node, seen);
        }
        // What it has said itself in the run that is connected here is no matter of an earlier time.
        let said = peer.said.as_ref().filter(|_| peer.link.is_some());
        let fresh = said.is_some_and(|said| said.boot == mine.run);
        if fresh || self.mutant(Mutant::SeenKept) {
            return;
        }
        self.marks.mark(Mark::SeenTakenOver);
        self.store.change(|superblock| {
            let record = &mut superblock.peers[slot.index()];
            record.seen = seen;
            record.base = None;
        });
    }

    fn adopt_seen(&mut self, node: NodeId, seen: Seen) {
        let Some(slot) = self.slots().find(|slot| self.peer(*slot).node == node) else {
            return;
        };
        let (peer, mine) = (self.peer(slot), self.store.peer(slot).seen);
        // What it says itself, in a run of its process that the other one has not heard of yet, is newer.
        let says = peer.said.as_ref().filter(|_| peer.link.is_some());
        let passed = says.is_some_and(|said| said.boot != seen.run);
        let newer = if mine.run == seen.run {
            seen.moment > mine.moment
        } else {
            !passed
        };
        if newer {
            self.peer_mut(slot).seen_when_lost.get_or_insert(mine);
            self.store
                .note(|superblock| superblock.peers[slot.index()].seen = seen);
            self.note_later();
        }
    }
}
