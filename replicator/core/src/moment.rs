//! Rollbacks are noticed. A replica's *moment* is how often its superblock was written, and in which run of
//! its process. It is told to the peers when it is stored, and each keeps the newest that it has heard: who does not
//! remember having come so far when the two meet again was rolled back, with its disk (a snapshot of a virtual machine or
//! a volume, an old copy), or is another one (a clone).
//!
//! So that a moment is a measure of what was written, the superblock is written when the disk has something new: at the
//! first write, then at most once in `MOMENT_INTERVAL` while writes come, and once more after the last of them. No flush and
//! no answer ever waits for it. What a peer wrote that its moments do not tell of is kept in mind instead: see `fresh`.

use twindisk_format::{
    control::{ControlMessage, Membership, PeerState},
    frame::Frame,
    ids::{Moment, Seq, Slot},
    superblock::{Lack, Seen},
};

use crate::{
    LinkId, Mark, Report, Time,
    limits::{MAX_MOMENT_JUMP, MOMENT_INTERVAL},
    mutants::Mutant,
    peer::{FollowStep, LeadStep, Phase},
    replica::{Replica, Then},
};

/// When the superblock is to be written for its count alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// When it was last.
    last: Option<Time>,
    /// The disk has something that no moment, or only one, speaks of: when the next is due.
    due: Option<Time>,
    /// So many are to be told still.
    owed: u8,
    /// The newest that was told.
    told: Moment,
    /// A peer's moment is known, and not stored: when it is to be.
    heard: Option<Time>,
}

impl Moments {
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.into_iter().chain(self.heard).min()
    }
}

impl Replica {
    /// The local disk has something new.
    pub(crate) fn moment_passes(&mut self) {
        self.moments.owed = 2;
        if self.moments.due.is_none() && self.peers.iter().any(|peer| peer.link.is_some()) {
            let last = self.moments.last;
            let due = last.map_or(self.now, |last| last + MOMENT_INTERVAL);
            self.moments.due = Some(due.max(self.now));
            self.keep_moments();
        }
    }

    /// Writes what is due.
    pub(crate) fn keep_moments(&mut self) {
        let now = self.now;
        if self.moments.due.is_some_and(|due| due <= now) {
            self.moments.due = None;
            self.moments.last = Some(now);
            if self.peers.iter().any(|peer| peer.link.is_some()) && !self.metadata_failed {
                self.store.change(|_| {});
                self.store.then(Then::Moment);
            }
        }
        if self.moments.heard.is_some_and(|due| due <= now) {
            self.moments.heard = None;
            if self.store.has_notes() && !self.metadata_failed {
                self.store.change(|_| {});
            }
        }
    }

    /// The superblock is stored: the peers may know how often it was written. Not those who have just noticed that this node
    /// was rolled back, before that is stored here.
    pub(crate) fn tell_moment(&mut self) {
        let moment = self.store.moment();
        // Two that one write has stored are one to whoever hears of them.
        if moment > self.moments.told {
            self.moments.told = moment;
            self.moments.owed = self.moments.owed.saturating_sub(1);
        }
        if self.moments.owed > 0 {
            let due = self.now + MOMENT_INTERVAL;
            self.moments.due.get_or_insert(due);
        }
        for slot in self.slots() {
            let settled = match &self.peer(slot).phase {
                Phase::Established => true,
                Phase::Leading { step, .. } => match step {
                    LeadStep::Sweeping | LeadStep::Complete | LeadStep::Joining => true,
                    LeadStep::AwaitReady | LeadStep::Ready | LeadStep::AwaitBegun => false,
                },
                Phase::Following { step, .. } => match step {
                    FollowStep::Ready | FollowStep::Target | FollowStep::Joining => true,
                    FollowStep::Preparing => false,
                },
                Phase::Down
                | Phase::Comparing
                | Phase::Waiting
                | Phase::SplitBrain { .. }
                | Phase::Unrelated => false,
            };
            if settled {
                self.send_moment(slot, moment);
            }
        }
    }

    /// One peer is told, and may tell the others.
    pub(crate) fn send_moment(&mut self, slot: Slot, moment: Moment) {
        self.send(slot, Frame::Control(ControlMessage::Moment { moment }));
        for other in self.slots().filter(|other| *other != slot) {
            self.peer_mut(other).told_others = moment;
        }
    }

    /// How often a peer's superblock was written, in the run of its process that speaks.
    pub(crate) fn heard_moment(&mut self, slot: Slot, moment: Moment) {
        let seen = self.store.peer(slot).seen;
        if let Some(why) = impossible(moment, seen.moment) {
            return self.drop_link(slot, Mark::MomentJump, why);
        }
        let Some(run) = self.peer(slot).said.as_ref().map(|said| said.boot) else {
            return;
        };
        if self.is_being_made_good(slot, moment) {
            // Should the connection break meanwhile, it is to hear once more what it has forgotten.
            return;
        }
        if (run != seen.run || moment > seen.moment) && !self.mutant(Mutant::MomentUnheard) {
            self.store
                .note(|superblock| superblock.peers[slot.index()].seen = Seen { run, moment });
            self.note_later();
            let newest = self.newest_seq();
            let peer = self.peer_mut(slot);
            let unstable = peer.sent.unstable.front();
            let stable = unstable.map_or(newest, |first| Seq(first.seq.0 - 1));
            peer.fresh.moment_heard(stable);
            self.tell_seen(slot);
        }
    }

    /// The peer was rolled back, as this `moment` of it says still, and is not made equal yet.
    fn is_being_made_good(&self, slot: Slot, moment: Moment) -> bool {
        let (peer, seen) = (self.peer(slot), self.store.peer(slot).seen);
        let forgot = |said: &PeerState| !said.runs.remember(seen, moment);
        let Phase::Leading { step, .. } = peer.phase else {
            return false;
        };
        let whole = step == LeadStep::Joining && self.has_joined(slot);
        !whole && peer.said.as_ref().is_some_and(forgot)
    }

    /// This node was rolled back, and follows one that compares every block. A primary that it was equal to before it heard of
    /// that has compared nothing.
    pub(crate) fn compares_all_with(&self, leader: Slot) -> bool {
        let full =
            matches!(self.peer(leader).phase, Phase::Following { reason, .. } if reason.full);
        self.store.get().rewound && full
    }

    /// What this node has forgotten since it was rolled back, as the one knows that has compared every block of it: what that one
    /// had by then is here again. Not what it had in the run that goes on: what comes after it may be forgotten as well, by a
    /// process that is resumed from a snapshot of its memory.
    pub(crate) fn is_made_good_by(&self, leader: Slot, membership: &Membership) -> Option<Seen> {
        let said = self.peer(leader).said.as_ref()?;
        let whole = !said.rewound
            && !self.peer(leader).went_back
            && said.lack != Lack::Anything
            && (membership.up_to_date || membership.in_sync.contains(&self.peer(leader).node));
        let forgotten = self.compares_all_with(leader) && !self.remembers(said.seen);
        let over = said.seen.run != self.boot && !self.mutant(Mutant::MadeGoodForgotten);
        (whole && forgotten && over).then_some(said.seen)
    }

    /// What was noted is stored with the next write, or soon.
    pub(crate) fn note_later(&mut self) {
        self.moments.heard.get_or_insert(self.now + MOMENT_INTERVAL);
    }

    /// A peer is lost: what it may not remember, without anybody noticing, may be lacking when it comes back.
    pub(crate) fn fresh_becomes_dirty(&mut self, slot: Slot) {
        let (forgets, blocks) = (self.mutant(Mutant::ForgetFresh), self.size_blocks());
        let peer = self.peer_mut(slot);
        let fresh = std::mem::take(&mut peer.fresh);
        if !forgets {
            fresh.become_dirty(&mut peer.bitmap, blocks);
        }
    }

    /// Whether this node remembers having come so far.
    pub(crate) fn remembers(&self, seen: Seen) -> bool {
        self.store.get().runs.remember(seen, self.store.moment())
    }

    /// The two are related and compare: whether the peer was rolled back. `false`: what it says can't be, or is too old.
    pub(crate) fn look_at_moments(&mut self, slot: Slot, state: &PeerState) -> bool {
        let known = self.store.peer(slot).seen;
        if let Some(why) = impossible(state.moment, known.moment) {
            self.drop_link(slot, Mark::MomentJump, why);
            return false;
        }
        // What a third one told of it since may be newer than its statement.
        let told = self.peer(slot).told.as_ref();
        let seen = told.map_or(known, |told| told.seen);
        let went_back = |seen: Seen| !state.runs.remember(seen, state.moment);
        self.peer_mut(slot).went_back = went_back(seen);
        if went_back(seen) && state.lineage.newest().is_some() {
            let lost = self.peer(slot).seen_when_lost;
            if lost.is_some_and(|lost| !went_back(lost)) {
                // It may have said this before it had come as far as a third one has told meanwhile.
                let why = "how far it has come was told while the two connected: once more";
                self.drop_link(slot, Mark::Outrun, why);
                return false;
            }
            self.marks.mark(Mark::PeerRewound);
            let name = &self.peer(slot).name;
            let what = format!(
                "{name} was rolled back, or is a clone or an old copy of itself: it does not remember what it said when the \
                 two met last (its metadata was written {} times by now, and had been {} times in a run of its process that \
                 it should know of). Its disk is compared whole",
                state.moment, seen.moment
            );
            self.report(Report::Warning { what });
        }
        true
    }

    /// This node does not remember what the peer knows of it, and is about to be brought up, or to bring up as the only
    /// whole copy there is: stored, so that no bitmap is believed before every block was compared.
    pub(crate) fn was_rewound(&mut self, slot: Slot, leads: Leads) {
        if !self.is_rewound(slot) {
            return;
        }
        self.store.change(|superblock| match leads {
            Leads::No => superblock.rewound = true,
            // What it lacks nobody has. What the others lack its bitmaps have forgotten.
            Leads::Yes => superblock
                .peers
                .iter_mut()
                .for_each(|peer| peer.base = None),
        });
        self.marks.mark(Mark::Rewound);
        let name = &self.peer(slot).name;
        let what = format!(
            "this node was rolled back to an older state, or is a clone or an old copy: {name} knows more of it than it does \
             itself. What it lacks no bitmap knows: every block is compared"
        );
        self.report(Report::Warning { what });
    }

    /// Whether the peer knows more of this node than it does itself.
    pub(crate) fn is_rewound(&self, slot: Slot) -> bool {
        let said = self.peer(slot).said.as_ref();
        said.is_some_and(|said| !self.remembers(said.seen))
            && self.store.get().lineage.newest().is_some()
    }

    /// A standby knows that this one was rolled back, and the primary of both, which makes them equal, does not: it has to
    /// compare every block as well.
    pub(crate) fn rewound_under_a_primary(&mut self, slot: Slot) {
        if self.follows().is_some()
            && self.is_rewound(slot)
            && let Some(link) = self.peer(slot).link
        {
            self.was_rewound(slot, Leads::No);
            self.store.then(Then::Rewound {
                slot,
                link: link.id,
            });
        }
    }

    /// That is stored. The peer need not remember it any more, and the primary hears of it when the two meet.
    pub(crate) fn rewound_stored(&mut self, slot: Slot, link: LinkId) {
        let here = self.peer(slot).link.filter(|current| !current.closing);
        if here.is_some_and(|current| current.id == link) {
            let moment = self.store.moment();
            self.send_moment(slot, moment);
        }
        if let Some(primary) = self.follows().filter(|_| self.store.get().rewound) {
            let name = &self.peer(slot).name;
            let why =
                format!("{name} knows that this node was rolled back: every block is compared");
            self.drop_link(primary, Mark::MeetAgain, why);
        }
    }
}

/// Whether this node brings the other one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    Yes,
    No,
}

/// A number that would soon be at its end, and never pass.
pub(crate) fn impossible(moment: Moment, known: Moment) -> Option<String> {
    let jump = moment.0.saturating_sub(known.0);
    (jump > MAX_MOMENT_JUMP).then(|| {
        format!("it says that a superblock was written {moment} times, which was written {known} times before")
    })
}

/// A peer knows by a third one how far this node has come since it made that statement: others were told as much. Not what
/// a process has forgotten that was resumed from a snapshot of its memory, and reaches once more.
pub(crate) fn is_outrun(mine: &PeerState, seen: Seen, told_others: Moment) -> bool {
    !mine.runs.remember(seen, mine.moment) && seen.run == mine.boot && seen.moment <= told_others
}
