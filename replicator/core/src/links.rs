//! Connections to peers: made, dropped, lost.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Moment, Seq, Slot},
    superblock::ReceiptKind,
};

use crate::{
    Action, Arbiter, LinkId, LinkIntent, Mark,
    mutants::Mutant,
    peer::{Link, Phase, Received},
    replica::Replica,
};

impl Replica {
    /// A peer is connected: tell it who we are.
    pub(crate) fn link_up(&mut self, slot: Slot, link: LinkId) {
        if !self.peer(slot).wanted {
            let why = "disconnected by the operator".to_owned();
            self.marks.mark(Mark::NotWanted);
            return self.act(Action::Link {
                peer: slot,
                intent: LinkIntent::Disconnect { why },
            });
        }
        if self.peer(slot).link.is_some() {
            self.marks.mark(Mark::Replaced);
            self.came_back_before_receipt(slot);
            self.lose_link(slot, "a new connection has taken its place");
        }
        let now = self.now;
        let receipt = self.store.peer(slot).receipt;
        if receipt.is_some_and(|receipt| receipt.kind != ReceiptKind::Release)
            && !self.mutant(Mutant::ReceiptIsForEver)
        {
            // Whoever connects is neither off nor gone.
            self.store
                .change(|superblock| superblock.peers[slot.index()].receipt = None);
        }
        let peer = self.peer_mut(slot);
        peer.link = Some(Link {
            id: link,
            up: now,
            pinged: now,
            paused: None,
            closing: false,
        });
        // Silence counts from now. A connection alone answers nothing: the read lease is not renewed (R9).
        (peer.heard, peer.vouched) = (now, now);
        peer.met = peer.met.wrapping_add(1);
        peer.said = None;
        peer.told_others = Moment(0);
        peer.authority = false;
        peer.waits_for_writes = false;
        peer.begin_held = None;
        self.set_phase(slot, Phase::Comparing, "comparing what both have");
        let state = self.my_state(slot);
        self.peer_mut(slot).told = Some(state.clone());
        self.send(slot, Frame::Control(ControlMessage::State(state)));
        if self.config.arbiter == Arbiter::Witness {
            self.ping(slot); // Reads wait for the answer.
        }
    }

    /// The driver reports a connection as gone.
    pub(crate) fn link_down(&mut self, slot: Slot, link: LinkId, why: &str) {
        if self
            .peer(slot)
            .link
            .is_some_and(|current| current.id == link)
        {
            // A reason of our own says more than the broken socket that follows from it.
            let closing = self.peer(slot).link.is_some_and(|current| current.closing);
            let why = if closing {
                self.peer(slot).why.clone()
            } else {
                why.to_owned()
            };
            self.lose_link(slot, &why);
        }
    }

    /// Nothing more will come over this link: whatever is not known to be stable on the peer is dirty.
    fn lose_link(&mut self, slot: Slot, why: &str) {
        // Others waited for what this peer was doing.
        let followed = self.follows() == Some(slot)
            || matches!(&self.peer(slot).phase, Phase::Following { reason, .. } if reason.resync);
        self.drop_held_mutations(slot);
        self.stop_sweep(slot);
        self.recent_becomes_dirty(slot);
        for peer in &mut self.peers {
            peer.equal_at.take_if(|(leader, ..)| *leader == slot);
        }
        let newest = self.newest_seq();
        let glimpse = self.mutant(Mutant::GlimpseMakesEqual);
        let unnoticed = self.unnoticed_from(slot);
        let peer = self.peer_mut(slot);
        let first = peer.sent.unstable.front().map(|entry| entry.seq);
        let first = first.into_iter().chain(unnoticed).min();
        let stable = first.map_or(newest, |first| Seq(first.0 - 1));
        // One that showed up without becoming equal still lacks what it lacked before.
        peer.stable_when_lost = match peer.phase {
            Phase::Established => stable,
            _ if glimpse => stable,
            _ => stable.min(peer.stable_when_lost),
        };
        peer.link = None;
        peer.seen_when_lost = None;
        peer.pings.clear();
        peer.pending = None;
        peer.confirmed = None;
        let mut sent = std::mem::take(&mut peer.sent);
        if self.mutant(Mutant::ForgetUnstable) {
            sent.unstable.clear();
        }
        if !sent.unstable.is_empty() {
            self.take_part(); // Until these bits are stored.
        }
        let peer = self.peer_mut(slot);
        for entry in &sent.unstable {
            peer.bitmap.set(entry.range);
        }
        peer.received = Received::default();
        if peer.bitmap.dirty() == 0 && !self.mutant(Mutant::FlushWaitsForTheLost) {
            // It was asked for a flush with nothing left to make stable: no answer is missing.
            for (_, flush) in &mut self.flushes {
                flush.waiting.remove(slot);
            }
            self.parked = true;
        }
        self.fresh_becomes_dirty(slot);
        self.is_kept_equal_elsewhere(slot);
        self.set_phase(slot, Phase::Down, why);
        let outstanding: Vec<usize> = self.window.iter().collect();
        for index in outstanding {
            // `waiting` stays: only a right takes a peer out of the in-sync set (R1).
            if self.mutations[index].outstanding.remove(slot) {
                self.check_done(index);
            }
        }
        self.abandon_remote_reads(slot);
        self.job_lost_peer(slot, why);
        self.resize_lost_peer(slot, why);
        self.change_lost_peer(slot);
        self.take_checked_receipt(slot);
        if followed {
            self.meet_again();
        }
    }

    /// Asks the driver for a new connection; nothing that the present one still brings counts.
    pub(crate) fn drop_link(&mut self, slot: Slot, mark: Mark, why: impl Into<String>) {
        let why = why.into();
        self.marks.mark(mark);
        let peer = self.peer_mut(slot);
        peer.why.clone_from(&why);
        if let Some(link) = &mut peer.link {
            link.closing = true;
        }
        let wait = self.wait_before_reconnect(slot, mark);
        self.act(Action::Link {
            peer: slot,
            intent: LinkIntent::Reconnect { why, wait },
        });
    }

    /// Peers that had nothing to offer to each other, or that this node was about to follow, compare once more: this
    /// node's data, or what it knows of theirs, has changed.
    pub(crate) fn meet_again(&mut self) {
        for slot in self.slots() {
            let undecided = matches!(
                self.peer(slot).phase,
                Phase::Waiting
                    | Phase::Following { .. }
                    | Phase::SplitBrain { .. }
                    | Phase::Unrelated
            );
            // What is dirty for one that is kept equal will be clean in a moment: compared now, it would be resynced.
            let peer = self.peer(slot);
            let soon = peer.equal_at.is_some() && peer.bitmap.dirty() > 0;
            if undecided && !soon && peer.link.is_some() {
                let why = "more is known than when the two compared";
                self.drop_link(slot, Mark::MeetAgain, why);
            }
        }
    }

    pub(crate) fn disconnect_now(&mut self, slot: Slot, why: &str) {
        let peer = self.peer_mut(slot);
        let before = peer.connection();
        peer.wanted = false;
        why.clone_into(&mut peer.why);
        if let Some(link) = &mut peer.link {
            link.closing = true;
        }
        self.send_goodbye(slot, why);
        let intent = LinkIntent::Disconnect {
            why: why.to_owned(),
        };
        self.act(Action::Link { peer: slot, intent });
        if self.peer(slot).link.is_none() {
            self.set_phase(slot, Phase::Down, why);
            self.report_connection(slot, before);
        }
    }

    pub(crate) fn send_goodbye(&mut self, slot: Slot, why: &str) {
        self.send(
            slot,
            Frame::Control(ControlMessage::Goodbye {
                why: why.to_owned(),
            }),
        );
    }
}
