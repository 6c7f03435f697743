//! Two replicas connect: they say what they have, compare, and one follows the other until both are equal.
//!
//! ```text
//! both      State ──────────────► compare
//! follower  stores Outdated if blocks may differ, sends its dirty bits, Ready
//! leader    if the follower was in sync: goes on without it first (it has released itself)
//! leader    BeginResync ─► follower stores Inconsistent ─► ResyncBegun ─► blocks (see `sweep`)
//! leader    Membership with the follower in it (see `membership`) ─► both Established
//! ```

mod in_vain;
mod unwritten;
mod waits;

use twindisk_format::{
    control::{ControlMessage, PeerState},
    frame::{BITS_WORDS, Frame},
    ids::{Slot, Term},
    limits::{MAX_ANCESTORS, MAX_GENERATIONS},
    superblock::{ConflictKind, ReceiptKind, StoredDisk},
};

use crate::{
    DiskState, LinkId, Mark, Role,
    compare::{Reason, Side, Verdict, compare, forget_unconfirmed},
    membership::Kind,
    moment::{Leads, is_outrun},
    mutants::Mutant,
    peer::{FollowStep, LeadStep, Phase},
    replica::{Replica, Then},
};

impl Replica {
    /// The peer has said what it has.
    pub(crate) fn peer_state(&mut self, slot: Slot, term: Term, mut state: PeerState) {
        if !self.look_at_authority(slot, term, &state) {
            return;
        }
        // Both compare the same two statements, or they would come to different answers.
        let Some(mut mine) = self.peer_mut(slot).told.take() else {
            return self.drop_link(slot, Mark::SaidTwice, "it said twice what it has");
        };
        if is_outrun(&mine, state.seen, self.peer(slot).told_others) {
            let why = "how far this node has come was told while the two connected: once more";
            return self.drop_link(slot, Mark::Outrun, why);
        }
        if !self.still_true(slot, &mine) {
            let why = "what this node has changed while the two compared";
            return self.drop_link(slot, Mark::ChangedMeanwhile, why);
        }
        let promoting = self
            .change
            .as_ref()
            .is_some_and(|change| change.kind == Kind::Promote);
        if promoting && mine.unconfirmed {
            // Its generation is just being confirmed: not the moment to forget it.
            let why = "this node is being promoted: once more when it is";
            return self.drop_link(slot, Mark::ChangedMeanwhile, why);
        }
        let (me, it) = (self.store.get().node, self.peer(slot).node);
        let forgotten = forget_unconfirmed((me, &mut mine), (it, &mut state));
        // A primary is one in its newest generation: it goes with the role, and the role only for somebody who leads.
        if forgotten && (self.role != Role::Primary || self.mutant(Mutant::PrimaryForgets)) {
            let (lineage, unconfirmed) = (mine.lineage.clone(), mine.unconfirmed);
            self.bound_by(&lineage);
            self.store.change(|superblock| {
                superblock.lineage = lineage;
                superblock.unconfirmed = unconfirmed;
            });
        }
        self.mutate_statements(slot, &mut mine, &mut state);
        let me = Side {
            node: me,
            state: &mine,
        };
        let it = Side {
            node: it,
            state: &state,
        };
        let verdict = self.mutate_verdict(me, it, compare(me, it));
        self.marks.mark(verdict.row());
        match verdict {
            Verdict::Lead(_) | Verdict::Follow(_) | Verdict::Wait(..) => self.conflict_over(slot),
            Verdict::SplitBrain { .. } | Verdict::Rewound { .. } | Verdict::Unrelated => {}
        }
        let too_small =
            state.size_blocks > self.capacity_blocks || mine.size_blocks > state.capacity_blocks;
        // Who it is comes first: two that are in conflict do not become one by growing.
        let may_fit = match verdict {
            Verdict::Lead(_) | Verdict::Follow(_) | Verdict::Wait(..) => true,
            Verdict::SplitBrain { .. } | Verdict::Rewound { .. } | Verdict::Unrelated => {
                self.mutant(Mutant::SizeBeforeIdentity)
            }
        };
        let sizes = (mine.size_blocks, state.size_blocks, state.capacity_blocks);
        self.peer_mut(slot).said = Some(state);
        if too_small && may_fit {
            let why = format!(
                "its device has {} blocks (room for {}), this one {} (room for {}): grow the smaller \
                 backing device",
                sizes.1, sizes.2, sizes.0, self.capacity_blocks
            );
            self.marks.mark(Mark::TooSmall);
            return self.set_phase(slot, Phase::Waiting, why);
        }
        if self.leader_still_writes(slot, mine.unwritten, &verdict) {
            return;
        }
        if let Verdict::Lead(reason) | Verdict::Follow(reason) = verdict
            && let Some(why) = self.must_wait(slot, reason, matches!(verdict, Verdict::Lead(_)))
        {
            self.rewound_under_a_primary(slot);
            return self.set_phase(slot, Phase::Waiting, why);
        }
        if let Verdict::Lead(reason) | Verdict::Follow(reason) = verdict
            && let Some(why) = self.peer_must_wait(slot, reason, &mine)
        {
            return self.set_phase(slot, Phase::Waiting, why);
        }
        match verdict {
            Verdict::Lead(reason) if reason.adopt && self.role == Role::Primary => {
                let term = self.store.get().term;
                self.marks.mark(Mark::HasNewerData);
                let why = format!("{} began a newer generation", self.peer(slot).name);
                self.step_down(term, &why);
            }
            Verdict::Lead(reason) => {
                self.was_rewound(slot, Leads::Yes);
                if reason.adopt {
                    self.adopt_lineage(slot);
                }
                let phase = Phase::Leading {
                    step: LeadStep::AwaitReady,
                    reason,
                };
                self.set_phase(slot, phase, reason.why);
            }
            Verdict::Follow(reason) => self.prepare_to_follow(slot, reason),
            Verdict::Wait(_, why) => {
                self.set_phase(slot, Phase::Waiting, why);
                self.counted_on_in_vain(slot);
            }
            Verdict::Unrelated => {
                let why = format!(
                    "the two have no generation in common, or one was away for more than {} of them: `twindisk init \
                     --force-overwrite` on the one whose data is not wanted",
                    MAX_GENERATIONS + MAX_ANCESTORS
                );
                self.set_phase(slot, Phase::Unrelated, why);
                self.conflict_found(slot, ConflictKind::Unrelated);
            }
            Verdict::SplitBrain { last_common } => {
                self.split_brain(slot, last_common);
                self.conflict_found(slot, ConflictKind::SplitBrain);
            }
            Verdict::Rewound { last_common } => {
                self.rewound_and_gone_on(slot, last_common);
                self.conflict_found(slot, ConflictKind::Rewound);
            }
        }
    }

    /// Takes over the lineage of a follower whose newest generation has its only copy here.
    fn adopt_lineage(&mut self, slot: Slot) {
        if let Some(said) = &self.peer(slot).said {
            let lineage = said.lineage.clone();
            self.bound_by(&lineage);
            self.store.change(|superblock| {
                superblock.lineage = lineage;
                superblock.unconfirmed = false;
            });
        }
    }

    /// Whether what was told to a peer is still so. Dirty bits may have come since: the leader looks at them again. Should
    /// all be gone, by the word of the primary of both, nobody would.
    fn still_true(&self, slot: Slot, told: &PeerState) -> bool {
        let now = self.my_state(slot);
        if told.dirty_blocks > 0 && now.dirty_blocks == 0 {
            return false;
        }
        (now.primary, now.disk, now.lack) == (told.primary, told.disk, told.lack)
            && (now.follows, now.unconfirmed) == (told.follows, told.unconfirmed)
            && (now.lineage, now.base) == (told.lineage.clone(), told.base)
    }

    /// This side follows: whatever it can't vouch for is stored before the leader is told.
    fn prepare_to_follow(&mut self, slot: Slot, reason: Reason) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        if self.role == Role::Primary {
            let term = self.store.get().term;
            let name = self.peer(slot).name.clone();
            self.marks.mark(Mark::HasNewerData);
            return self.step_down(term, &format!("{name} has newer data"));
        }
        if self.metadata_failed {
            // Nothing can be stored, so nothing is said that would be taken for stored.
            let message = ControlMessage::DiskFailed { stored: false };
            self.send(slot, Frame::Control(message));
            return self.set_phase(
                slot,
                Phase::Waiting,
                "the metadata of this node can't be written",
            );
        }
        self.set_phase(
            slot,
            Phase::Following {
                step: FollowStep::Preparing,
                reason,
            },
            reason.why,
        );
        self.was_rewound(slot, Leads::No);
        self.take_part();
        // R17: stored before the leader hears that it may begin.
        self.bound_by_leader(slot);
        if reason.resync {
            self.part_from_others(slot);
            self.outdate(&format!("{} has newer data", self.peer(slot).name.clone()));
        }
        self.store.then(Then::Prepared {
            slot,
            link: link.id,
            released: reason.resync,
        });
    }

    /// Records that this disk is not the newest. Sticky: only a resync ends it (R3).
    pub(crate) fn outdate(&mut self, why: &str) {
        if self.store.get().disk == StoredDisk::UpToDate {
            self.store
                .change(|superblock| superblock.disk = StoredDisk::Outdated);
        }
        if self.disk_attached() && self.disk > DiskState::Outdated {
            self.set_disk(DiskState::Outdated, why);
        }
    }

    /// What the comparison made of this side is stored: the leader gets our bits and may begin.
    pub(crate) fn prepared(&mut self, slot: Slot, link: LinkId, released: bool) {
        let Phase::Following {
            step: FollowStep::Preparing,
            reason,
        } = self.peer(slot).phase
        else {
            return;
        };
        if self
            .peer(slot)
            .link
            .is_none_or(|current| current.id != link)
        {
            return;
        }
        if released && self.stored_up_to_date() {
            // Somebody has promoted it by force meanwhile: it releases nothing.
            return self.drop_link(slot, Mark::MeetAsPrimary, "it has become primary instead");
        }
        if reason.resync && !reason.full {
            self.send_bits(slot);
        }
        let phase = Phase::Following {
            step: FollowStep::Ready,
            reason,
        };
        self.set_phase(slot, phase, reason.why);
        self.send(slot, Frame::Control(ControlMessage::Ready { released }));
        self.store.then(Then::Moment);
    }

    fn send_bits(&mut self, slot: Slot) {
        let words = self.peer(slot).bitmap.words();
        let frames: Vec<Frame> = words
            .chunks(BITS_WORDS)
            .enumerate()
            .filter(|(_, chunk)| chunk.iter().any(|word| *word != 0))
            .map(|(at, chunk)| Frame::Bits {
                first: (at * BITS_WORDS * 64) as u64,
                words: chunk.to_vec(),
            })
            .collect();
        for frame in frames {
            self.send(slot, frame);
        }
    }

    /// Blocks in which the follower may differ join ours: the union is what must move.
    pub(crate) fn receive_bits(&mut self, slot: Slot, first: u64, words: &[u64]) {
        if matches!(
            self.peer(slot).phase,
            Phase::Leading {
                step: LeadStep::AwaitReady,
                ..
            }
        ) {
            self.peer_mut(slot).bitmap.merge(first, words);
        }
    }

    /// The follower is ready.
    pub(crate) fn follower_ready(&mut self, slot: Slot, released: bool) {
        let Phase::Leading {
            step: LeadStep::AwaitReady,
            reason,
        } = self.peer(slot).phase
        else {
            if self.peer(slot).phase == Phase::Waiting {
                // This node keeps to another leader: the two compare again when that changes.
                return;
            }
            let why = "it was ready although nobody had asked";
            return self.drop_link(slot, Mark::ReadyUnasked, why);
        };
        let beyond = self.peer(slot).said.as_ref().map(|said| said.size_blocks);
        if let Some(beyond) = beyond {
            self.peer_mut(slot).bitmap.set_from(beyond);
        }
        // Blocks may have become dirty since both said what they had.
        let resync = reason.resync || self.peer(slot).bitmap.dirty() > 0;
        if resync && !released {
            return self.blocks_became_dirty(slot);
        }
        if released {
            self.store_receipt(slot, ReceiptKind::Release, "it recorded itself as outdated");
        }
        let reason = Reason { resync, ..reason };
        self.set_phase(
            slot,
            Phase::Leading {
                step: LeadStep::Ready,
                reason,
            },
            reason.why,
        );
    }

    fn blocks_became_dirty(&mut self, slot: Slot) {
        let why = "blocks became dirty while the two compared: once more";
        self.drop_link(slot, Mark::BecameDirty, why);
    }

    /// Goes on with a follower that is ready, as far as the in-sync set allows.
    pub(crate) fn lead(&mut self, slot: Slot) -> bool {
        let Phase::Leading { step, reason } = self.peer(slot).phase else {
            return false;
        };
        match step {
            // What a process that crashed had written here may be in a cache: no bit that says so goes before that is stable.
            LeadStep::Ready if self.role == Role::Standby && !self.ready_to_lead(reason) => false,
            LeadStep::Ready if !reason.resync && self.peer(slot).bitmap.dirty() > 0 => {
                self.blocks_became_dirty(slot);
                false
            }
            LeadStep::Ready if !reason.resync => {
                self.set_phase(
                    slot,
                    Phase::Leading {
                        step: LeadStep::Complete,
                        reason,
                    },
                    reason.why,
                );
                true
            }
            // Its release is of a set that somebody else has told this node to be over: it has to give another one.
            LeadStep::Ready if self.is_released_in_vain(slot) => {
                let why = "the in-sync set has changed since it released itself: once more";
                self.drop_link(slot, Mark::MeetAgain, why);
                false
            }
            // Its release takes it out of the set first: see `membership`.
            LeadStep::Ready
                if self.store.peer(slot).standing.is_counted() || self.change.is_some() =>
            {
                false
            }
            LeadStep::Ready => {
                let Some(link) = self.peer(slot).link else {
                    return false;
                };
                let phase = Phase::Leading {
                    step: LeadStep::AwaitBegun,
                    reason,
                };
                self.set_phase(slot, phase, reason.why);
                if reason.full {
                    // Bits that only this process knows must not be missed by the next one.
                    self.store
                        .change(|superblock| superblock.peers[slot.index()].base = None);
                    self.peer_mut(slot).bitmap.set_all();
                }
                self.store.then(Then::BeginResync {
                    slot,
                    link: link.id,
                });
                true
            }
            LeadStep::Sweeping => self.sweep_ended(slot),
            LeadStep::AwaitReady
            | LeadStep::AwaitBegun
            | LeadStep::Complete
            | LeadStep::Joining => false,
        }
    }

    /// A standby counts on a peer that it leads, whose release does not hold any more.
    fn is_released_in_vain(&self, slot: Slot) -> bool {
        self.role == Role::Standby
            && self.granted.is_none()
            && self.store.peer(slot).standing.is_counted()
            && !self.receipt_holds(slot)
            && self.peer(slot).link.is_some_and(|link| !link.closing)
    }

    fn ready_to_lead(&mut self, reason: Reason) -> bool {
        let stable = self.received_is_written() && self.stable_here();
        // Whom it overwrites might have had to lead if this node's power went before it is known to have everything.
        stable && (!reason.resync || self.is_at_rest() || self.mutant(Mutant::LeadUnrested))
    }

    pub(crate) fn send_begin_resync(&mut self, slot: Slot, link: LinkId) {
        if self
            .peer(slot)
            .link
            .is_some_and(|current| current.id == link && !current.closing)
        {
            let size_blocks = self.size_blocks();
            self.send(
                slot,
                Frame::Control(ControlMessage::BeginResync { size_blocks }),
            );
        }
    }

    /// The leader begins a resync: this side is Inconsistent before the first block is overwritten.
    pub(crate) fn begin_resync(&mut self, slot: Slot, size_blocks: u64) {
        let Phase::Following {
            step: FollowStep::Ready,
            reason,
        } = self.peer(slot).phase
        else {
            let why = "it began a resync although this node was not ready";
            return self.drop_link(slot, Mark::BegunUnready, why);
        };
        let Some(link) = self.peer(slot).link else {
            return;
        };
        if self.stored_up_to_date() {
            // Somebody has promoted it by force meanwhile.
            return self.drop_link(slot, Mark::MeetAsPrimary, "it has become primary instead");
        }
        if size_blocks > self.capacity_blocks {
            let why = "its device is larger than this one can be";
            return self.drop_link(slot, Mark::ResyncTooLarge, why);
        }
        if self.store.get().disk == StoredDisk::Failed && self.metadata_failed {
            let why = "this node's metadata can't be written";
            return self.drop_link(slot, Mark::ResyncNoMetadata, why);
        }
        if self.puts_resync_off(slot, size_blocks) {
            return;
        }
        self.peer_mut(slot).phase = Phase::Following {
            step: FollowStep::Target,
            reason,
        };
        self.adopt_size(size_blocks);
        let was = self.store.get().disk;
        if !self.mutant(Mutant::ResyncOntoOutdated) {
            self.store
                .change(|superblock| superblock.disk = StoredDisk::Inconsistent);
        }
        let why = format!("a resync into it is under way; it was {was:?} before");
        self.set_disk(DiskState::Inconsistent, &why);
        self.store.then(Then::Inconsistent {
            slot,
            link: link.id,
        });
    }

    pub(crate) fn send_resync_begun(&mut self, slot: Slot, link: LinkId) {
        if self
            .peer(slot)
            .link
            .is_some_and(|current| current.id == link)
        {
            self.send(slot, Frame::Control(ControlMessage::ResyncBegun));
        }
    }
}
