//! The standby's half of a write: checked, put in line, applied, answered.

use twindisk_format::{
    frame::{Frame, How},
    ids::{BlockRange, Seq, Slot, SlotSet, Term},
    superblock::Standing,
};

use crate::{
    Action, LinkId, Mark, Protocol, Role,
    mutants::Mutant,
    mutation::{Body, Mutation, Origin, Stage},
    peer::{FollowStep, Phase},
    replica::Replica,
};

impl Replica {
    /// A mutation arrived from a peer.
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the fields of one frame"
    )]
    pub(crate) fn receive(
        &mut self,
        slot: Slot,
        term: Term,
        seq: Seq,
        depends_on: Seq,
        range: BlockRange,
        how: How,
        body: Body,
    ) {
        if let Err((mark, why)) = self.may_receive(slot, term, seq, range) {
            if let Body::Write { buf, .. } = body {
                self.act(Action::Release { buf });
            }
            // Sent before it was heard that this node can't store anything: its word must arrive on this connection.
            if self.has_nothing_to_store_on() && self.peer(slot).phase == Phase::Waiting {
                return;
            }
            return self.drop_link(slot, mark, why);
        }
        let Some(link) = self.peer(slot).link else {
            return;
        };
        self.seen_seq(seq);
        self.take_part();
        if !how.resync {
            self.hear_that_it_is_confirmed();
        }
        let peer = self.peer_mut(slot);
        peer.received.newest = seq;
        peer.received.applying.insert(seq);
        if how.resync {
            peer.received.equal.push_back((seq, range));
        }
        if peer.protocol == Protocol::B {
            self.send(slot, Frame::Received { seq });
        }
        if self.mutant(Mutant::AnswerBeforeWritten) {
            self.send(slot, Frame::Written { seq });
        }
        let began = self.now;
        self.begin_mutation(Mutation {
            origin: Origin::Peer {
                slot,
                link: link.id,
                resync: how.resync,
            },
            body,
            range,
            fua: how.fua,
            seq,
            depends_on,
            lock: None,
            heated: false,
            stage: Stage::Locking,
            waiting: SlotSet::EMPTY,
            outstanding: SlotSet::EMPTY,
            answered: true,
            cancelled: false,
            began,
            issued: began,
        });
        self.remember_for_others(slot, seq, range);
    }

    /// Why a mutation of this peer must not be applied.
    fn may_receive(
        &self,
        slot: Slot,
        term: Term,
        seq: Seq,
        range: BlockRange,
    ) -> Result<(), (Mark, String)> {
        let mine = self.store.get().term;
        let peer = self.peer(slot);
        let follows = matches!(
            peer.phase,
            Phase::Established
                | Phase::Following {
                    step: FollowStep::Target | FollowStep::Joining,
                    ..
                }
        ) || self.equal_and_joining(slot);
        if term != mine {
            // R4.
            let why = format!("it sent a write of term {term}, this node is in term {mine}");
            Err((Mark::MutationTerm, why))
        } else if self.is_halting() {
            Err((
                Mark::MutationUnfollowed,
                "this node is being stopped".into(),
            ))
        } else if self.role == Role::Primary || !follows {
            let why = "it sent a write although this node does not follow it";
            Err((Mark::MutationUnfollowed, why.into()))
        } else if seq <= peer.received.newest {
            let why = format!("its write {seq} came after {}", peer.received.newest);
            Err((Mark::MutationOrder, why))
        } else if !self.within(range, self.grown_size(slot)) {
            let why = format!("its write of blocks {range} lies beyond the device");
            Err((Mark::MutationBeyond, why))
        } else {
            Ok(())
        }
    }

    /// How large the device is, or is about to become by the word of its primary.
    fn grown_size(&self, slot: Slot) -> u64 {
        let growing = self.peer(slot).received.growing;
        growing.map_or(0, |(_, to)| to).max(self.size_blocks())
    }

    /// Nothing had to be resynced: writes may come before the in-sync set with this node in it does.
    fn equal_and_joining(&self, slot: Slot) -> bool {
        let phase = &self.peer(slot).phase;
        matches!(phase, Phase::Following { step: FollowStep::Ready, reason } if !reason.resync)
    }

    /// Replicas that are not kept equal lack it; other standbys may lack it, should the primary be lost now.
    fn remember_for_others(&mut self, from: Slot, seq: Seq, range: BlockRange) {
        // A resync brings also what the primary itself has not acknowledged yet, for want of another replica.
        if self.peers.len() > 1 {
            self.peer_mut(from).received.recent.push_back((seq, range));
        }
        self.dirty_for_others(from, range);
    }

    /// Replicas that `from` does not keep equal lack what it sends here. Said when it comes, so that no crash forgets it,
    /// and again when it has its range: a resync that is led from here may have sent the old blocks in between.
    pub(crate) fn dirty_for_others(&mut self, from: Slot, range: BlockRange) {
        for slot in self.slots() {
            if self.lacks_what_comes(slot, from) {
                self.peer_mut(slot).becomes_dirty(range);
            }
        }
    }

    /// Whether `slot` misses what `from` sends here: it is not in the set, or it is the sender and has no disk. Before
    /// this node has joined, it does not know who is in the set, and takes nobody for equal.
    fn lacks_what_comes(&self, slot: Slot, from: Slot) -> bool {
        let joined = match self.peer(from).phase {
            Phase::Established => true,
            // Its in-sync set is in force here as soon as it is on its way to the disk.
            Phase::Following {
                step: FollowStep::Joining,
                ..
            } => self.peer(from).pending.is_none(),
            _ => false,
        };
        // One that is joining has yet to say that it has everything.
        let in_sync = self.store.peer(slot).standing == Standing::In;
        if joined { !in_sync } else { slot != from }
    }

    /// A standby needs the activity log only where another replica may have to be brought up from it.
    pub(crate) fn logs_what_comes(&self, from: Slot) -> bool {
        self.peers.len() > 1 || self.lacks_what_comes(from, from)
    }

    /// Everything up to `stable` is stable on every in-sync replica, says the primary.
    pub(crate) fn heard_stable(&mut self, slot: Slot, stable: Seq) {
        let recent = &mut self.peer_mut(slot).received.recent;
        while recent.front().is_some_and(|&(seq, _)| seq <= stable) {
            recent.pop_front();
        }
        if self.peer(slot).phase != Phase::Established {
            return;
        }
        let mut known = false;
        for other in self.slots() {
            let peer = self.peer_mut(other);
            let Some((_, _, marked)) = peer
                .equal_at
                .take_if(|(leader, seq, _)| *leader == slot && *seq <= stable)
            else {
                continue;
            };
            known |= peer.bitmap.dirty() > 0;
            if peer.bitmap.marked() == marked {
                peer.bitmap.clear_all();
            }
        }
        if known {
            self.meet_again();
        }
    }

    /// Another standby is lost here. If the primary of both counts on it, whatever has become dirty by that is equal once the
    /// primary says that everything up to now is stable everywhere: nobody else would ever make the two equal.
    pub(crate) fn is_kept_equal_elsewhere(&mut self, slot: Slot) {
        let primary = self.follows().filter(|primary| *primary != slot);
        let member = self.stored_up_to_date() && self.store.peer(slot).standing == Standing::In;
        let Some(primary) = primary.filter(|_| member) else {
            return;
        };
        let newest = self.peer(primary).received.newest;
        let peer = self.peer_mut(slot);
        if peer.bitmap.dirty() > 0 {
            let before = peer.equal_at.take();
            let seq = before.map_or(newest, |(_, seq, _)| seq.max(newest));
            peer.equal_at = Some((primary, seq, peer.bitmap.marked()));
        }
    }

    /// The primary is lost: other standbys may lack what it sent last, and it may lack it itself.
    pub(crate) fn recent_becomes_dirty(&mut self, slot: Slot) {
        let mut recent = std::mem::take(&mut self.peer_mut(slot).received.recent);
        if self.mutant(Mutant::ForgetRecent) {
            recent.clear();
        }
        for other in self.slots().filter(|other| *other != slot) {
            for &(_, range) in &recent {
                self.peer_mut(other).bitmap.set(range);
            }
            let stays = !self.is_halting();
            if stays && !recent.is_empty() && self.peer(other).phase == Phase::Established {
                let why = "the primary is lost: the two may differ in what came last";
                self.drop_link(other, Mark::RecentLost, why);
            }
        }
    }

    /// A mutation of a peer has ended on the local disk.
    pub(crate) fn applied(&mut self, index: usize, slot: Slot, link: LinkId, locally: bool) {
        let seq = self.mutations[index].seq;
        let current = self
            .peer(slot)
            .link
            .is_some_and(|current| current.id == link);
        self.saw_applied(index);
        self.forget_mutation(index);
        if !current {
            return;
        }
        self.peer_mut(slot).received.applying.remove(&seq);
        if locally {
            self.send(slot, Frame::Written { seq });
            self.pump_flushes(slot);
        }
    }

    /// The link is gone: mutations that wait for a flush which will not come are dropped. They were never
    /// acknowledged as written, and the peer remembers them as dirty.
    pub(crate) fn drop_held_mutations(&mut self, slot: Slot) {
        let held: Vec<usize> = self
            .mutations
            .iter()
            .filter(|(_, mutation)| {
                mutation.origin.peer() == Some(slot)
                    && mutation.depends_on > self.peers[slot.index()].received.stable
                    && matches!(mutation.stage, Stage::Held | Stage::Locking)
            })
            .map(|(index, _)| index)
            .collect();
        for index in held {
            self.drop_unissued(index);
        }
        for (_, mutation) in &mut self.mutations {
            if mutation.origin.peer() == Some(slot) {
                // Its flush is stable, but what was is forgotten with the link.
                mutation.depends_on = Seq(0);
            }
        }
    }

    /// Whether everything is written that came over connections which have ended. It may be acknowledged (with protocol
    /// B because it was received), and be nowhere else once the other side is set aside or overwritten. What comes over
    /// one that is there, the peer has.
    pub(crate) fn received_is_written(&self) -> bool {
        !self.mutations.iter().any(|(index, mutation)| {
            let Origin::Peer { slot, link, .. } = mutation.origin else {
                return false;
            };
            let current = self.peer(slot).link;
            current.is_none_or(|current| current.id != link) && !self.may_stay_unwritten(index)
        })
    }

    /// R16: that something is not written yet, as others may be told, who would set the other side aside for this copy.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.received_is_written() && !self.mutant(Mutant::OfferUnwritten)
    }

    /// Whether everything that this peer sent is applied.
    pub(crate) fn all_applied(&self, slot: Slot) -> bool {
        self.peer(slot).received.applying.is_empty()
    }
}
