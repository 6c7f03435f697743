//! What a replica knows of one peer while both run.

use std::collections::{BTreeSet, VecDeque};

use twindisk_format::{
    control::PeerState,
    ids::{BlockRange, Moment, NodeId, Seq, Slot, Term},
    lineage::Generation,
    superblock::Seen,
};

use crate::{
    ConnectionState, LinkId, PeerLatency, Protocol, Time, backoff::Backoff, bitmap::Bitmap,
    compare::Reason, fresh::Fresh, limits::MAX_UNSTABLE, membership::PendingMembership,
    probe::Withdrawn, receipt_command::ReceiptCheck, sweep::Sweep,
};

/// One peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    /// Names its last connection: never the same twice, and below 2^53, so that a number of JSON holds it.
    pub(crate) met: u64,
    /// The operator wants a connection.
    pub(crate) wanted: bool,
    pub(crate) link: Option<Link>,
    pub(crate) phase: Phase,
    /// When it came into that phase.
    pub(crate) since: Time,
    /// Why the connection is in that phase.
    pub(crate) why: String,
    /// What it was told on this connection, until it has said the same of itself.
    pub(crate) told: Option<PeerState>,
    /// On this connection it has shown that the two are related, and has data: what it says of terms counts.
    pub(crate) authority: bool,
    /// Nothing comes of the comparison before this node has written what it had received.
    pub(crate) waits_for_writes: bool,
    /// It has begun a resync to a device of so many blocks, which waits until there is space here.
    pub(crate) begin_held: Option<u64>,
    /// The newest moment of this node that others were told since the connection is up: it may hear of it from them.
    pub(crate) told_others: Moment,
    /// What was known of its moments when the connection was lost, if a third one has told more since.
    pub(crate) seen_when_lost: Option<Seen>,
    /// It was rolled back, as was seen when the two compared.
    pub(crate) went_back: bool,
    /// What it said when it connected last, kept up to date with what it said since.
    pub(crate) said: Option<PeerState>,
    /// When it was heard last, or silence began to count anew: when it was connected, when this side reads on.
    pub(crate) heard: Time,
    /// When that ping was sent which it answered last: it was there then (R9).
    pub(crate) answered: Option<Time>,
    /// When this node said last that it is there: it was connected, or answered a ping. What the peer reads on its word ends
    /// a lease later (R9).
    pub(crate) vouched: Time,
    /// When the pings of this link were sent that it has not answered.
    pub(crate) pings: VecDeque<Time>,
    /// A receipt about it that waits for whether it answers.
    pub(crate) receipt_check: Option<ReceiptCheck>,
    /// How long the next connection is to wait.
    pub(crate) backoff: Backoff,
    /// The term in which it last confirmed to be of the in-sync set.
    pub(crate) confirmed: Option<Term>,
    /// It has withdrawn from a set, and was not taken into one since.
    pub(crate) withdrawn: Option<Withdrawn>,
    /// When it was lost: everything up to here is stable there, or was never sent.
    pub(crate) stable_when_lost: Seq,
    /// An in-sync set that it told, and that waits until what came before is stable here.
    pub(crate) pending: Option<PendingMembership>,
    /// Blocks in which it may differ from here.
    pub(crate) bitmap: Bitmap,
    /// The leader of both keeps it equal: once everything up to here is stable everywhere, what was dirty by then is not.
    pub(crate) equal_at: Option<(Slot, Seq, u64)>,
    /// The mutations sent to it and not known to be stable there.
    pub(crate) sent: Sent,
    /// What is stable there, and may be lacking in a snapshot that nobody would notice.
    pub(crate) fresh: Fresh,
    /// The mutations received from it.
    pub(crate) received: Received,
    /// A resync or verify that is led from here.
    pub(crate) sweep: Option<Sweep>,
    /// How long its answers took.
    pub(crate) latency: PeerLatency,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Since when it stands.
    pub(crate) up: Time,
    /// When a ping was sent last.
    pub(crate) pinged: Time,
    /// Since when this side does not read from it.
    pub(crate) paused: Option<Time>,
    /// The driver was asked to drop it: nothing that it still brings counts.
    pub(crate) closing: bool,
}

/// How far the two have come since they connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not connected.
    Down,
    /// Its state is awaited.
    Comparing,
    /// This side leads.
    Leading { step: LeadStep, reason: Reason },
    /// The peer leads.
    Following { step: FollowStep, reason: Reason },
    /// Equal, and kept equal.
    Established,
    /// Connected, and nothing can be done yet.
    Waiting,
    /// Both went on from here.
    SplitBrain { last_common: Generation },
    /// Nothing in common.
    Unrelated,
}

/// Steps of the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeadStep {
    /// The follower stores what the comparison made of it and sends its bits.
    AwaitReady,
    /// It is ready. If it was in the in-sync set and needs a resync, it must leave the set first.
    Ready,
    /// It stores that it is Inconsistent.
    AwaitBegun,
    /// Blocks go over.
    Sweeping,
    /// It has everything; it is to be taken into the in-sync set.
    Complete,
    /// The new in-sync set is being stored on all sides.
    Joining,
}

/// Steps of the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowStep {
    /// Storing what the comparison made of this side.
    Preparing,
    /// Bits and `Ready` are sent.
    Ready,
    /// Inconsistent: takes blocks.
    Target,
    /// Everything received before is made stable before the new in-sync set is stored.
    Joining,
}

/// What was sent to a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// In order of their sequence numbers: written there perhaps, not known to be stable.
    pub(crate) unstable: VecDeque<Unstable>,
    pub(crate) unstable_blocks: u64,
    /// How many of them a resync sent.
    unstable_resynced: usize,
    /// Mutations not answered.
    pub(crate) in_flight: u64,
    /// When the oldest request was sent that has not been answered since.
    pub(crate) waiting_since: Option<Time>,
    /// The newest flush sent.
    pub(crate) flush: Option<Seq>,
    /// When the oldest flush was sent that has not been answered.
    pub(crate) flush_since: Option<Time>,
    /// Something was sent after it.
    pub(crate) dirty: bool,
    /// Everything up to here is stable there.
    pub(crate) stable: Seq,
    /// The newest flush of this link that a client has seen complete.
    pub(crate) flush_seen: Seq,
}

/// A range that was sent and is not known to be stable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unstable {
    pub(crate) seq: Seq,
    pub(crate) range: BlockRange,
    /// Its dirty bits are to be cleared once it is stable.
    pub(crate) resync: bool,
}

/// What was received from a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Mutations that are not done yet.
    pub(crate) applying: BTreeSet<Seq>,
    /// The newest mutation received.
    pub(crate) newest: Seq,
    /// Flushes that wait for mutations before them, or for the disk flush of that number.
    pub(crate) flushes: VecDeque<(Seq, Option<u64>)>,
    /// Everything up to here is stable here.
    pub(crate) stable: Seq,
    /// Received, and not known to be stable on every in-sync replica: what other standbys may lack.
    pub(crate) recent: VecDeque<(Seq, BlockRange)>,
    /// The device is about to grow from one size to another: zeros are taken up to there.
    pub(crate) growing: Option<(u64, u64)>,
    /// How far third ones had come that are equal to it, for when this node is so, too.
    pub(crate) told: Vec<(NodeId, Seen)>,
    /// Ranges that resync made equal; their bits are cleared here once they are stable here.
    pub(crate) equal: VecDeque<(Seq, BlockRange)>,
}

impl Peer {
    /// The connection as an operator sees it.
    pub(crate) const fn connection(&self) -> ConnectionState {
        match &self.phase {
            Phase::Down if self.wanted => ConnectionState::Connecting,
            Phase::Down => ConnectionState::Standalone,
            Phase::Comparing => ConnectionState::Negotiating,
            Phase::Leading { reason, step } => match step {
                LeadStep::Complete | LeadStep::Joining => ConnectionState::Negotiating,
                _ if reason.resync => ConnectionState::SyncSource,
                _ => ConnectionState::Negotiating,
            },
            Phase::Following { reason, .. } if reason.resync => ConnectionState::SyncTarget,
            Phase::Following { .. } => ConnectionState::Negotiating,
            Phase::Established => ConnectionState::Established,
            Phase::Waiting => ConnectionState::Waiting,
            Phase::SplitBrain { .. } => ConnectionState::SplitBrain,
            Phase::Unrelated => ConnectionState::Unrelated,
        }
    }

    /// Blocks differ from now on, whatever of them is on its way there: that confirmation no longer makes them equal.
    pub(crate) fn becomes_dirty(&mut self, range: BlockRange) {
        self.bitmap.set(range);
        self.sent.becomes_dirty(range);
    }

    /// Connected, and it is for the other side, or for others, to make something of it.
    pub(crate) const fn undecided(&self) -> bool {
        matches!(
            self.phase,
            Phase::Comparing
                | Phase::Waiting
                | Phase::Leading {
                    step: LeadStep::AwaitReady | LeadStep::AwaitBegun,
                    ..
                }
                | Phase::Following {
                    step: FollowStep::Preparing | FollowStep::Ready,
                    ..
                }
        )
    }

    /// It is equal, or has come so far that every mutation is sent to it.
    pub(crate) const fn takes_everything(&self) -> bool {
        matches!(
            self.phase,
            Phase::Established
                | Phase::Leading {
                    step: LeadStep::Complete | LeadStep::Joining,
                    ..
                }
        )
    }

    /// What becomes of a mutation of `range` for this peer: sent, or remembered as dirty.
    pub(crate) fn takes(&self, range: BlockRange) -> bool {
        match &self.phase {
            Phase::Established => true,
            Phase::Leading {
                step: LeadStep::Complete | LeadStep::Joining,
                ..
            } => true,
            Phase::Leading {
                step: LeadStep::Sweeping,
                ..
            } => {
                // Past the cursor everything is or will be read again, so the bit alone is enough. A block that is
                // clean is equal on both sides, and stays so.
                let swept = self
                    .sweep
                    .as_ref()
                    .is_some_and(|sweep| range.start < sweep.cursor());
                swept || !self.bitmap.any(range)
            }
            Phase::Down
            | Phase::Comparing
            | Phase::Leading { .. }
            | Phase::Following { .. }
            | Phase::Waiting
            | Phase::SplitBrain { .. }
            | Phase::Unrelated => false,
        }
    }
}

impl Sent {
    /// Since when the oldest request has no answer.
    pub(crate) fn oldest(&self) -> Option<Time> {
        [self.waiting_since, self.flush_since]
            .into_iter()
            .flatten()
            .min()
    }

    /// A mutation was sent that must be answered.
    pub(crate) fn asked(&mut self, now: Time) {
        self.in_flight += 1;
        self.waiting_since.get_or_insert(now);
    }

    /// One of the mutations sent was answered.
    pub(crate) fn answered(&mut self, now: Time) {
        self.in_flight -= 1;
        self.waiting_since = (self.in_flight > 0).then_some(now);
    }

    /// Remembers that `range` was sent as `seq`.
    pub(crate) fn push(&mut self, entry: Unstable) {
        assert!(
            self.unstable.back().is_none_or(|last| last.seq < entry.seq),
            "sent out of order"
        );
        self.unstable_blocks += u64::from(entry.range.blocks);
        self.unstable_resynced += usize::from(entry.resync);
        self.unstable.push_back(entry);
        self.dirty = true;
    }

    /// Everything up to `seq` is stable. Returns the next entry that is done with, until there is none.
    pub(crate) fn pop_stable(&mut self, seq: Seq) -> Option<Unstable> {
        if self.unstable.front()?.seq > seq {
            return None;
        }
        let entry = self.unstable.pop_front()?;
        self.unstable_blocks -= u64::from(entry.range.blocks);
        self.unstable_resynced -= usize::from(entry.resync);
        Some(entry)
    }

    /// Dirty again behind what a resync sent: that is not what makes it equal any more.
    fn becomes_dirty(&mut self, range: BlockRange) {
        let overlapping = self.unstable.iter_mut();
        let overlapping = overlapping.filter(|entry| entry.resync && entry.range.overlaps(range));
        for entry in overlapping {
            entry.resync = false;
            self.unstable_resynced -= 1;
        }
    }

    /// Whether something is not known to be stable that no dirty bit speaks of.
    pub(crate) fn has_unstable_writes(&self) -> bool {
        self.unstable.len() > self.unstable_resynced
    }

    /// Whether something that a resync sent is not known to be stable.
    pub(crate) const fn has_unstable_resync(&self) -> bool {
        self.unstable_resynced > 0
    }

    /// Whether there is so much that a flush should not wait for its time. While one is under way another one would
    /// only get in line behind it.
    pub(crate) fn is_crowded(&self) -> bool {
        self.unstable.len() > MAX_UNSTABLE / 2 && self.flush_since.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn entry(seq: u64, resync: bool) -> Unstable {
        Unstable {
            seq: Seq(seq),
            range: BlockRange::new(seq, 1),
            resync,
        }
    }

    #[test]
    fn a_crowd_asks_for_one_flush_at_a_time() {
        let mut sent = Sent::default();
        for seq in 1..=MAX_UNSTABLE as u64 / 2 {
            sent.push(entry(seq, false));
        }
        assert!(!sent.is_crowded());
        sent.push(entry(MAX_UNSTABLE as u64, false));
        assert!(sent.is_crowded());
        sent.flush_since = Some(Time(1));
        assert!(!sent.is_crowded(), "it was asked for");
        sent.flush_since = None;
        while sent.pop_stable(Seq(u64::MAX)).is_some() {}
        assert!(!sent.is_crowded());
        assert_eq!(sent.unstable_blocks, 0);
    }

    #[test]
    fn what_a_resync_sent_and_has_become_dirty_again_is_waited_for_no_more() {
        let mut sent = Sent::default();
        sent.push(entry(1, true));
        sent.push(entry(2, true));
        sent.becomes_dirty(BlockRange::new(1, 1));
        assert!(sent.has_unstable_resync(), "the other one is");
        sent.becomes_dirty(BlockRange::new(0, 9));
        sent.becomes_dirty(BlockRange::new(0, 9));
        assert!(!sent.has_unstable_resync());
        while sent.pop_stable(Seq(2)).is_some() {}
        sent.push(entry(3, true));
        assert!(sent.has_unstable_resync());
    }

    #[test]
    fn what_a_resync_sent_is_counted_until_it_is_stable() {
        let mut sent = Sent::default();
        sent.push(entry(1, false));
        sent.push(entry(2, true));
        sent.push(entry(3, false));
        assert!(sent.pop_stable(Seq(1)).is_some());
        assert!(sent.pop_stable(Seq(1)).is_none());
        assert!(sent.has_unstable_resync());
        assert!(sent.pop_stable(Seq(3)).is_some());
        assert!(!sent.has_unstable_resync());
        assert!(sent.pop_stable(Seq(3)).is_some());
    }
}
