//! Which silence counts: that of a peer to which this side listens. A side that does not read, for want of buffers or since
//! it stood still itself, judges nobody by it, and goes on saying that it is there.

use core::time::Duration;

use twindisk_format::{frame::Frame, ids::Slot};

use crate::{
    LinkId, Mark, Reading, Time,
    breach::is_breach,
    limits::{MAX_UNANSWERED_PINGS, STOOD_STILL_PINGS},
    mutants::Mutant,
    replica::Replica,
};

impl Replica {
    /// The driver has stopped reading from a peer, or reads on.
    pub(crate) fn reading(&mut self, slot: Slot, link: LinkId, reading: Reading) {
        let now = self.now;
        let peer = self.peer_mut(slot);
        let Some(link) = peer.link.as_mut().filter(|current| current.id == link) else {
            return;
        };
        match reading {
            Reading::Paused => {
                link.paused.get_or_insert(now);
                self.marks.mark(Mark::Unread);
            }
            Reading::Resumed => {
                link.paused = None;
                // What it said meanwhile is still to be read.
                peer.heard = now;
            }
        }
    }

    /// Nothing was handled for `gap`. With a connection something is due at every ping interval: more than that, and this
    /// node itself stood still. What peers sent meanwhile waits to be read. The read lease is not forgiven (R9).
    pub(crate) fn forgive(&mut self, gap: Duration) {
        if gap < self.config.timings.ping_interval * STOOD_STILL_PINGS {
            return;
        }
        let mut forgiven = false;
        for peer in self.peers.iter_mut().filter(|peer| peer.link.is_some()) {
            peer.heard = peer.heard + gap;
            for since in [&mut peer.sent.waiting_since, &mut peer.sent.flush_since] {
                *since = since.map(|since| since + gap);
            }
            forgiven = true;
        }
        if forgiven {
            self.marks.mark(Mark::StoodStill);
        }
    }

    /// How long a peer was silent although this side listened.
    pub(crate) fn silent(&self, slot: Slot) -> Duration {
        let peer = self.peer(slot);
        let unread = peer.link.is_some_and(|link| link.paused.is_some());
        if unread && !self.mutant(Mutant::CountUnreadSilence) {
            Duration::ZERO
        } else {
            self.now.since(peer.heard)
        }
    }

    /// When a peer's silence will have been too long; never while this side does not read.
    pub(crate) fn silent_until(&self, slot: Slot) -> Option<Time> {
        let peer = self.peer(slot);
        let link = peer.link.filter(|link| !link.closing)?;
        let timings = &self.config.timings;
        match link.paused {
            Some(since) => Some(since + timings.request_timeout),
            None => Some(peer.heard + timings.peer_timeout),
        }
    }

    /// Asks a peer whether it is there, and says that this node is.
    pub(crate) fn ping(&mut self, slot: Slot) {
        let now = self.now;
        let peer = self.peer_mut(slot);
        if peer.pings.len() >= MAX_UNANSWERED_PINGS {
            return;
        }
        peer.pings.push_back(now);
        if let Some(link) = &mut peer.link {
            link.pinged = now;
        }
        self.send(slot, Frame::Ping);
    }

    /// A peer asks whether this node is there.
    pub(crate) fn pinged(&mut self, slot: Slot) {
        self.peer_mut(slot).vouched = self.now;
        self.send(slot, Frame::Pong);
    }

    /// It was there when that ping was sent (R9): an answer says nothing of any later moment.
    pub(crate) fn ponged(&mut self, slot: Slot) {
        let peer = self.peer_mut(slot);
        if let Some(sent) = peer.pings.pop_front() {
            peer.answered = Some(sent);
            self.answered_receipt(slot, sent);
        }
    }

    /// What does not move, here or at a peer that is connected, for longer than a peer may be silent. Nobody is lost by it
    /// before a request has waited for the request timeout.
    pub(crate) fn stalls(&self, now: Time) -> Vec<String> {
        let patience = self.config.timings.peer_timeout;
        let limit = self.config.timings.request_timeout.as_secs();
        let mut stalls = Vec::new();
        let own = self.oldest_op().map(|since| now.since(since));
        if let Some(stuck) = own.filter(|stuck| *stuck >= patience) {
            let seconds = stuck.as_secs();
            stalls.push(format!(
                "the disk or metadata device of this node has not finished an operation for {seconds} s: look for it in \
                 the kernel's log"
            ));
        }
        for peer in self.peers.iter().filter(|peer| peer.link.is_some()) {
            let oldest = peer.sent.oldest().map(|since| now.since(since));
            if let Some(stuck) = oldest.filter(|stuck| *stuck >= patience) {
                let (name, seconds) = (&peer.name, stuck.as_secs());
                stalls.push(format!(
                    "{name} is connected and has not finished a write or flush for {seconds} s: its disk is slow, hangs, or has \
                     no space; after {limit} s it is taken for lost"
                ));
            }
        }
        stalls
    }

    /// How long the connection after one that was dropped for this reason is to wait.
    pub(crate) fn wait_before_reconnect(&mut self, slot: Slot, why: Mark) -> Duration {
        let futile = matches!(
            why,
            Mark::Silent | Mark::Unanswered | Mark::NotRead | Mark::LeftForSpace | Mark::Outrun
        ) || is_breach(why);
        let (now, timings) = (self.now, self.config.timings);
        let peer = self.peer_mut(slot);
        if why == Mark::PrimaryInstead {
            // The primary connects first: two that came in turn, it second, would be given up in turn for ever.
            return timings.ping_interval;
        }
        let Some(link) = peer.link.filter(|_| futile) else {
            return Duration::ZERO;
        };
        let wait = peer.backoff.gave_up(now.since(link.up), &timings);
        if !wait.is_zero() {
            self.marks.mark(Mark::BackOff);
        }
        wait
    }
}
