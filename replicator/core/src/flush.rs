//! Flushes: making things stable here and on every in-sync peer, sharing disk flushes wherever that is the same.

use twindisk_format::{
    frame::Frame,
    ids::{Seq, Slot, SlotSet},
    limits::MAX_PEERS,
};

use crate::{
    Action, ConnectionId, DiskError, DiskIo, Failure, RequestId, Role, Time,
    membership::Kind,
    mutants::Mutant,
    mutation::Stage,
    peer::Phase,
    replica::{Op, Replica},
};

/// A client's flush under way.
#[derive(Clone, Debug)]
pub(crate) struct ClientFlush {
    pub(crate) request: RequestId,
    pub(crate) connection: ConnectionId,
    pub(crate) abandoned: bool,
    arrived: Time,
    began: Time,
    /// The disk flush that makes it stable here.
    local: u64,
    /// In-sync peers whose answer is missing.
    pub(crate) waiting: SlotSet,
    /// The flush that each peer must have stable.
    targets: [Seq; MAX_PEERS],
}

/// Flushes of the local disk. They are numbered; whoever needs one names the number and waits until it is done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flusher {
    /// Something was written since the last flush began.
    pub(crate) dirty: bool,
    begun: u64,
    done: u64,
    /// The newest flush that somebody needs.
    needed: u64,
    /// What the flush under way makes stable.
    covers: Seq,
    /// Every mutation up to here is stable here.
    stable: Seq,
    /// When the next background flush is due.
    pub(crate) due: Option<Time>,
}

impl Flusher {
    /// The process before this one may have left writes in the disk's cache.
    pub(crate) fn at_start() -> Self {
        Self {
            dirty: true,
            ..Self::default()
        }
    }

    /// The number of the first flush that makes everything written so far stable.
    pub(crate) const fn need(&mut self) -> u64 {
        let need = if self.dirty {
            self.begun + 1
        } else {
            self.begun
        };
        if need > self.needed {
            self.needed = need;
        }
        need
    }

    /// Whether the flush of that number is done.
    pub(crate) const fn is_done(&self, number: u64) -> bool {
        number <= self.done
    }

    /// Whether nothing written is unstable.
    pub(crate) const fn is_clean(&self) -> bool {
        !self.dirty && self.begun == self.done
    }
}

impl Replica {
    /// A client wants everything that it saw completed to be stable.
    pub(crate) fn client_flush(
        &mut self,
        request: RequestId,
        connection: ConnectionId,
        arrived: Time,
    ) {
        self.latency.flush.wait.record(arrived, self.now);
        let mut flush = ClientFlush {
            request,
            connection,
            abandoned: false,
            arrived,
            began: self.now,
            local: 0,
            waiting: SlotSet::EMPTY,
            targets: [Seq(0); MAX_PEERS],
        };
        for slot in self.slots() {
            let target = self.flush_peer(slot);
            flush.targets[slot.index()] = target;
            let waits = !self.mutant(Mutant::FlushWithoutPeers);
            if self.peer(slot).sent.stable < target
                && self.store.peer(slot).standing.is_counted()
                && waits
            {
                flush.waiting.insert(slot);
            }
        }
        if self.disk_attached() {
            let begun = self.flusher.begun;
            flush.local = self.flusher.need();
            if self.mutant(Mutant::FlushWithoutOwnDisk) {
                flush.local = 0;
            }
            if self.mutant(Mutant::ShareEarlierFlush) && begun > self.flusher.done {
                flush.local = begun;
            }
            self.begin_disk_flush();
        }
        let index = self.flushes.insert(flush);
        self.check_flush(index);
    }

    /// Asks a peer for a flush if anything was sent since the last one. Returns the newest flush it was asked for.
    pub(crate) fn flush_peer(&mut self, slot: Slot) -> Seq {
        if self.peer(slot).sent.dirty {
            let seq = self.next_seq();
            let now = self.now;
            let sent = &mut self.peer_mut(slot).sent;
            sent.dirty = false;
            sent.flush = Some(seq);
            sent.flush_since.get_or_insert(now);
            self.send(slot, Frame::Flush { seq });
        }
        self.peer(slot).sent.flush.unwrap_or_default()
    }

    /// Begins a disk flush if one is needed and none is under way: whoever comes meanwhile shares the next one.
    pub(crate) fn begin_disk_flush(&mut self) {
        let flusher = &mut self.flusher;
        if flusher.needed <= flusher.begun || flusher.begun > flusher.done || !self.disk_attached()
        {
            return;
        }
        self.flusher.begun += 1;
        self.flusher.dirty = false;
        self.flusher.covers = self.written_up_to();
        self.counts.disk_flushes += 1;
        self.disk(Op::Flush, DiskIo::Flush);
    }

    /// Every mutation up to here is done on the local disk.
    fn written_up_to(&self) -> Seq {
        self.mutations
            .iter()
            .filter(|(_, mutation)| mutation.seq > Seq(0))
            .filter(|(_, mutation)| !matches!(mutation.stage, Stage::Settled { .. }))
            .map(|(_, mutation)| mutation.seq)
            .min()
            .map_or(self.newest_seq(), |first| Seq(first.0 - 1))
    }

    /// The disk has flushed, or failed to: that is final.
    pub(crate) fn disk_flushed(&mut self, result: Result<(), DiskError>) {
        self.flusher.done = self.flusher.begun;
        if let Err(error) = result {
            if self.mutant(Mutant::RetryFailedFlush) {
                self.flusher.begun -= 1;
                self.flusher.done = self.flusher.begun;
                return self.begin_disk_flush();
            }
            self.disk_failed(&format!("a flush failed: {error}"));
            return;
        }
        self.flusher.stable = self.flusher.stable.max(self.flusher.covers);
        for slot in self.slots() {
            self.answer_flushes(slot);
        }
        // A snapshot of before may lack what was written then: that nobody need take this for forgotten, moments follow.
        self.moment_passes();
        self.check_flushes();
        self.begin_disk_flush();
        self.cool();
    }

    /// Whether everything written here is stable; begins the flush that makes it so.
    pub(crate) fn stable_here(&mut self) -> bool {
        if !self.disk_attached() || self.flusher.is_clean() {
            return true;
        }
        self.flusher.need();
        self.begin_disk_flush();
        false
    }

    /// Completes every flush that is done.
    pub(crate) fn check_flushes(&mut self) {
        let indices: Vec<usize> = self.flushes.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.check_flush(index);
        }
    }

    /// Something was written that every flush under way has to cover.
    pub(crate) fn flushes_begin_anew(&mut self) {
        let need = self.flusher.need();
        for (_, flush) in &mut self.flushes {
            flush.local = need;
        }
        self.begin_disk_flush();
    }

    fn check_flush(&mut self, index: usize) {
        let attached = self.disk_attached();
        let flush = &self.flushes[index];
        let here = !attached || flush.local <= self.flusher.done && !self.flush_lacks_space();
        if flush.abandoned {
            let request = flush.request;
            self.flushes.remove(index);
            return self.act(Action::Forget { request });
        }
        // R1: checked at completion, in the term of this moment.
        if !here || !flush.waiting.is_empty() {
            return;
        }
        if !self.may_complete() {
            self.parked = true;
            return;
        }
        let flush = self.flushes.remove(index);
        let anywhere = attached || !self.store.in_sync().is_empty();
        let result = if anywhere { Ok(()) } else { Err(Failure::Io) };
        for (peer, target) in self.peers.iter_mut().zip(flush.targets) {
            if peer.sent.flush.is_some() {
                peer.sent.flush_seen = peer.sent.flush_seen.max(target);
            }
        }
        self.counts.flushes += 1;
        self.latency.flush.total.record(flush.arrived, self.now);
        self.act(Action::Complete {
            request: flush.request,
            result,
        });
    }

    /// A peer reports everything up to `seq` stable.
    pub(crate) fn peer_stable(&mut self, slot: Slot, seq: Seq) {
        let now = self.now;
        let peer = self.peer_mut(slot);
        let answers = seq > peer.sent.stable;
        peer.sent.stable = peer.sent.stable.max(seq);
        if peer.sent.flush.is_some_and(|flush| flush <= seq) {
            peer.sent.flush_since = None;
        } else if answers && peer.sent.flush_since.is_some() {
            // Another one was asked for before this was answered, again and again perhaps: it moves.
            peer.sent.flush_since = Some(now);
        }
        while let Some(entry) = peer.sent.pop_stable(seq) {
            if entry.resync {
                // The one place where a dirty bit is cleared by the side that sent the block.
                peer.bitmap.clear(entry.range);
            }
            peer.fresh.push(entry.seq, entry.range);
        }
        for (_, flush) in &mut self.flushes {
            if flush.targets[slot.index()] <= seq && flush.waiting.remove(slot) {
                let latency = &mut self.peers[slot.index()].latency;
                latency.flush.record(flush.began, self.now);
            }
        }
        self.check_flushes();
        self.cool();
    }

    /// A peer asks for a flush.
    pub(crate) fn receive_flush(&mut self, slot: Slot, seq: Seq) {
        self.seen_seq(seq);
        self.peer_mut(slot).received.flushes.push_back((seq, None));
        self.pump_flushes(slot);
    }

    /// Asks the disk for the flushes of a peer whose mutations before them are done.
    pub(crate) fn pump_flushes(&mut self, slot: Slot) {
        if !self.disk_attached() {
            return;
        }
        let overtakes = self.mutant(Mutant::FlushOvertakesWrites);
        let received = &mut self.peers[slot.index()].received;
        let first = received.applying.first().copied().filter(|_| !overtakes);
        for (seq, need) in &mut received.flushes {
            if first.is_some_and(|first| first < *seq) {
                break;
            }
            if need.is_none() {
                *need = Some(self.flusher.need());
            }
        }
        self.begin_disk_flush();
        self.answer_flushes(slot);
    }

    /// Reports to a peer what is stable here.
    fn answer_flushes(&mut self, slot: Slot) {
        let done = self.flusher.done;
        let peer = &mut self.peers[slot.index()];
        let mut newest = None;
        while let Some(&(seq, Some(need))) = peer.received.flushes.front() {
            if need > done {
                break;
            }
            peer.received.flushes.pop_front();
            newest = Some(seq);
        }
        let Some(seq) = newest else { return };
        peer.received.stable = peer.received.stable.max(seq);
        while let Some(&(equal, range)) = peer.received.equal.front() {
            if equal > seq {
                break;
            }
            peer.received.equal.pop_front();
            // The one place where a dirty bit is cleared by the side that received the block.
            peer.bitmap.clear(range);
        }
        self.send(slot, Frame::Stable { seq });
        // What the peer knows to be stable from now on it takes for remembered when two moments have followed: also where a
        // flush of before had made it stable, with moments that came too early.
        self.moment_passes();
        self.release_held(slot);
    }

    /// Mutations that waited for the flush they depend on may go on.
    fn release_held(&mut self, slot: Slot) {
        let stable = self.peer(slot).received.stable;
        let ready: Vec<usize> = self
            .mutations
            .iter()
            .filter(|(_, mutation)| {
                mutation.stage == Stage::Held
                    && mutation.origin.peer() == Some(slot)
                    && mutation.depends_on <= stable
            })
            .map(|(index, _)| index)
            .collect();
        for index in ready {
            self.heat(index);
        }
    }

    /// Flushes in the background, so that what would have to be sent again to a lost peer stays little.
    pub(crate) fn flush_in_background(&mut self) {
        let unstable = self.peers.iter().any(|peer| peer.sent.dirty) || self.flusher.dirty;
        let crowded = self.peers.iter().any(|peer| peer.sent.is_crowded());
        if !unstable {
            self.flusher.due = None;
            return;
        }
        let due = *self
            .flusher
            .due
            .get_or_insert(self.now + self.config.timings.flush_interval);
        if self.now < due && !crowded {
            return;
        }
        self.flusher.due = None;
        for slot in self.slots() {
            self.flush_peer(slot);
        }
        if self.flusher.dirty && self.disk_attached() {
            self.flusher.need();
            self.begin_disk_flush();
        }
    }

    /// Whether nothing written here or sent is unstable. Of a disk that has failed nothing is expected any more.
    pub(crate) fn all_stable(&self) -> bool {
        (!self.disk_attached() || self.flusher.is_clean())
            && self
                .peers
                .iter()
                .all(|peer| peer.link.is_none() || peer.sent.unstable.is_empty())
    }

    /// Every mutation up to here is stable here and on every peer that it was sent to or received with.
    pub(crate) fn stable_up_to(&self) -> Seq {
        let unstable = self
            .peers
            .iter()
            .filter_map(|peer| Some(peer.sent.unstable.front()?.seq));
        let recent = self
            .peers
            .iter()
            .filter_map(|peer| Some(peer.received.recent.front()?.0));
        let settled =
            |mutation: &crate::mutation::Mutation| matches!(mutation.stage, Stage::Settled { .. });
        let here = if self.flusher.is_clean() && self.mutations.iter().all(|(_, m)| settled(m)) {
            self.newest_seq()
        } else {
            self.flusher.stable
        };
        let first = unstable.chain(recent).min();
        first.map_or(here, |first| here.min(Seq(first.0 - 1)))
    }

    /// For the envelope: everything up to here is stable on every replica of the in-sync set, lost ones among them.
    /// Only other standbys need it.
    pub(crate) fn stable_everywhere(&self) -> Seq {
        if self.peers.len() < 2 {
            return Seq(0);
        }
        // Who is leaving the set counts until every member has stored that: they look back at what is not stable there.
        let leaving = match self.change.as_ref().map(|change| &change.kind) {
            Some(Kind::Leave(leaving, _)) => *leaving,
            _ => SlotSet::EMPTY,
        };
        let mut counted = self.store.in_sync();
        leaving.iter().for_each(|slot| counted.insert(slot));
        if self.role == Role::Standby {
            // Whom this node takes out of its set as a standby, the others have not heard of.
            self.slots().for_each(|slot| counted.insert(slot));
        }
        let lost = counted.iter().filter_map(|slot| {
            let peer = self.peer(slot);
            (peer.phase != Phase::Established).then_some(peer.stable_when_lost)
        });
        // What one might lack that was rolled back, and nobody would notice, counts as missing there: see `seen`.
        let unnoticed = counted.iter().filter_map(|slot| self.unnoticed_from(slot));
        lost.chain(unnoticed.map(|first| Seq(first.0 - 1)))
            .chain([self.stable_up_to()])
            .min()
            .unwrap_or_default()
    }
}
