//! No space beneath this node (R13): a write that finds none waits and is tried again. That is no failure of the disk. What
//! was flushed is there, and what waits was never called written.
//!
//! What waits keeps its range: whoever wants that comes after it, also reads. A primary's client waits. A standby waits for
//! half of the request timeout, then leaves the in-sync set in good order, and its primary goes on; it is brought up again
//! once there is room. A flush or the metadata that finds no space has failed like any other.

use core::time::Duration;
use std::collections::BTreeSet;

use twindisk_format::ids::{BlockRange, Slot};

use crate::{
    DiskError, Failure, Mark, NoSpace, Protocol, Report, Role, Time,
    jobs::{After, Step},
    limits::SPACE_RETRY,
    mutants::Mutant,
    mutation::{Origin, Stage},
    peer::{FollowStep, Phase},
    replica::Replica,
};

/// What waits for space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Space {
    /// Mutations that found none and are not written yet, those among them that are just being tried again.
    lacking: BTreeSet<usize>,
    since: Time,
    /// When they are tried again; `None` while the disk works on one.
    retry: Option<Time>,
    /// What the system said.
    why: String,
    /// A stop has waited long enough for what others may not have.
    stop_waited: bool,
    /// This node was promoted by force although not all is written that an earlier primary was told it has received.
    inherits: bool,
}

impl Space {
    /// Whether something waits.
    pub(crate) fn is_short(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// Whether the end of a mutation may change anything here.
    pub(crate) fn is_watching(&self) -> bool {
        self.is_short() || self.inherits
    }

    /// When something is to be done.
    pub(crate) const fn deadline(&self) -> Option<Time> {
        self.retry
    }
}

impl Replica {
    /// The backing device has no room for a mutation.
    pub(crate) fn found_no_space(&mut self, index: usize, error: &DiskError) {
        self.mutations[index].stage = Stage::NoSpace;
        if self.mutant(Mutant::NoSpaceUnlocks) {
            self.unlock_mutation(index);
        }
        let first = !self.space.is_short();
        self.space.lacking.insert(index);
        let retry = self.now + self.space_retry();
        if !self.mutant(Mutant::NoSpaceForEver) {
            self.space.retry.get_or_insert(retry);
        }
        if first {
            self.marks.mark(Mark::NoSpace);
            self.space.since = self.now;
            self.space.why.clone_from(&error.what);
            let NoSpace { why, release, .. } = self.no_space(self.now);
            self.report(Report::NoSpace { why, release });
        }
    }

    /// How long a mutation waits before it is tried again.
    fn space_retry(&self) -> Duration {
        SPACE_RETRY.min(self.config.timings.request_timeout / 8)
    }

    /// How long an in-sync standby waits before it leaves: the primary takes it for lost after twice as long, and would
    /// need a proof then.
    fn space_patience(&self) -> Duration {
        self.config.timings.request_timeout / 2
    }

    /// Tries again what is due.
    pub(crate) fn look_for_space(&mut self) {
        if self.space.retry.is_none_or(|retry| self.now < retry) {
            return;
        }
        self.space.retry = None;
        if let Some(job) = &self.job {
            self.space.stop_waited = matches!(job.step, Step::Stopping) && self.now >= job.deadline;
        }
        for index in self.space.lacking.clone() {
            if self.mutations[index].stage == Stage::NoSpace {
                self.ask_disk(index);
            }
        }
        if self.role == Role::Standby && self.now.since(self.space.since) >= self.space_patience() {
            self.leave_for_space();
        }
    }

    /// Nothing more happens to a mutation on the local disk.
    pub(crate) fn no_longer_lacks(&mut self, index: usize) {
        if self.space.inherits {
            self.inherits();
            self.flushes_begin_anew();
        }
        if !self.space.lacking.remove(&index) || self.space.is_short() {
            return;
        }
        self.space = Space {
            inherits: self.space.inherits,
            ..Space::default()
        };
        self.report(Report::SpaceAgain);
        for slot in self.slots() {
            let held = self.peer_mut(slot).begin_held.take();
            let ready = matches!(
                self.peer(slot).phase,
                Phase::Following {
                    step: FollowStep::Ready,
                    ..
                }
            );
            let there = self.peer(slot).link.is_some_and(|link| !link.closing);
            if let Some(size_blocks) = held.filter(|_| ready && there) {
                self.begin_resync(slot, size_blocks);
            }
        }
    }

    /// The disk has failed: nothing waits for it any more.
    pub(crate) fn give_up_space(&mut self) {
        for index in self.space.lacking.clone() {
            if self.mutations[index].stage == Stage::NoSpace {
                self.settle_mutation(index, false);
            }
        }
    }

    /// Clients that are given up are told so now: what they asked for goes on waiting here, and is finished silently.
    pub(crate) fn forget_clients_without_space(&mut self) {
        for index in self.space.lacking.clone() {
            let mutation = &self.mutations[index];
            if mutation.stage == Stage::NoSpace && mutation.cancelled && !mutation.answered {
                self.answer(index, Err(Failure::Shutdown));
            }
        }
    }

    /// This standby has kept somebody waiting for too long: who is in sync leaves in good order, another one for now.
    fn leave_for_space(&mut self) {
        let senders = self.space.lacking.iter().filter_map(|index| {
            let Origin::Peer { slot, link, .. } = self.mutations[*index].origin else {
                return None;
            };
            let current = self.peer(slot).link?;
            (current.id == link && !current.closing).then_some(slot)
        });
        let Some(slot) = senders.min() else { return };
        if self.peer(slot).phase != Phase::Established {
            return self.part_for_space(slot);
        }
        if self.job.is_none() {
            let after = After::NoSpace(slot);
            self.start_job(None, Step::Releasing { after });
            self.release_self(after);
        }
    }

    /// Ends a connection over which writes come that there is no room for.
    pub(crate) fn part_for_space(&mut self, slot: Slot) {
        let why = self.no_space(self.now).why;
        self.send_goodbye(slot, &why);
        self.drop_link(slot, Mark::LeftForSpace, why);
    }

    /// A resync begins once what came before it is written: this copy stays whole as long as there is no room for another
    /// one. Returns whether it is put off.
    pub(crate) fn puts_resync_off(&mut self, slot: Slot, size_blocks: u64) -> bool {
        if !self.space.is_short() || self.mutant(Mutant::ResyncWithoutSpace) {
            return false;
        }
        self.marks.mark(Mark::ResyncForSpace);
        let why = format!("{}: the resync begins then", self.no_space(self.now).why);
        let peer = self.peer_mut(slot);
        peer.begin_held = Some(size_blocks);
        peer.why = why;
        true
    }

    /// What came from a peer and was never called written or received: nobody counts on it, and it is in no one's way but
    /// of who wants its range.
    fn is_owed_to_nobody(&self, index: usize) -> bool {
        let mutation = &self.mutations[index];
        let waits = matches!(mutation.stage, Stage::NoSpace | Stage::Locking);
        let owed = match mutation.origin {
            Origin::Client { .. } | Origin::Resize => !mutation.cancelled,
            Origin::Peer { slot, .. } => {
                self.peer(slot).protocol != Protocol::C && !self.mutant(Mutant::PromoteUnwritten)
            }
        };
        waits && !owed
    }

    /// S2: whether something waits in this range that was asked of an earlier primary, which may have let its clients read
    /// it: a read comes after it.
    pub(crate) fn inherits_unwritten(&self, range: BlockRange) -> bool {
        self.space.is_short()
            && self.mutations.iter().any(|(index, mutation)| {
                mutation.range.overlaps(range) && self.is_owed_to_nobody(index)
            })
    }

    /// Whether a mutation need not be waited for: it can't be done before there is space, and nobody was told of it.
    pub(crate) fn may_stay_unwritten(&self, index: usize) -> bool {
        self.space.is_short() && self.is_owed_to_nobody(index)
    }

    /// Whether this node may be promoted with what is still to be written here: by force, with whatever there is no space
    /// for. It keeps its range, and is written when there is.
    pub(crate) fn is_applied(&self, forced: bool) -> bool {
        self.mutations.is_empty()
            || self.space.is_short()
                && self.mutations.iter().all(|(index, mutation)| {
                    let waits = matches!(mutation.stage, Stage::NoSpace | Stage::Locking);
                    forced && waits || self.is_owed_to_nobody(index)
                })
    }

    /// Whether everything that keeps a stop from being a clean one lacks space, and is with somebody else or was never
    /// acknowledged; or has been waited for.
    pub(crate) fn only_lacks_space(&self) -> bool {
        let lacks = |mutation: &crate::mutation::Mutation| {
            matches!(mutation.stage, Stage::NoSpace | Stage::Locking)
        };
        self.space.is_short()
            && self.mutations.iter().all(|(_, mutation)| lacks(mutation))
            && (self.received_is_written() || self.space.stop_waited)
    }

    /// This node has become primary, or has written something since: whether there are writes that an earlier primary may
    /// have acknowledged, and that this one has not written.
    pub(crate) fn inherits(&mut self) {
        self.space.inherits = self.role == Role::Primary
            && self.mutations.iter().any(|(_, mutation)| {
                let written = matches!(mutation.stage, Stage::Settled { .. });
                let Origin::Peer { slot, .. } = mutation.origin else {
                    return false;
                };
                !written && self.peer(slot).protocol != Protocol::C
            });
    }

    /// Whether a flush must wait for such a write: it may have been acknowledged before the flush was asked for.
    pub(crate) const fn flush_lacks_space(&self) -> bool {
        self.space.inherits
    }

    /// What an operator is told.
    pub(crate) fn no_space(&self, now: Time) -> NoSpace {
        let (name, space) = (&self.config.name, &self.space);
        let retry = self.space_retry().as_millis();
        let role = if self.role == Role::Primary {
            "; clients wait, and `twindisk demote --abandon` gives up what was never acknowledged"
                .to_owned()
        } else {
            let patience = self.space_patience().as_secs();
            format!(
                "; a standby that is in sync leaves the set after {patience} s, its primary goes on, and it is brought up \
                 again when there is room"
            )
        };
        NoSpace {
            why: format!("no space on {name}: {}", space.why),
            release: format!(
                "free room beneath the backing device of {name}: what waits is tried again every {retry} ms{role}"
            ),
            writes: space.lacking.len() as u64,
            for_ms: u64::try_from(now.since(space.since).as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// For the status.
    pub(crate) fn no_space_now(&self, now: Time) -> Option<NoSpace> {
        self.space.is_short().then(|| self.no_space(now))
    }
}
