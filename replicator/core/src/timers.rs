//! What happens because time passes: pings, lost peers, background flushes, jobs that take too long.

use twindisk_format::ids::Slot;

use crate::{
    Mark, Time, limits::MAX_UNANSWERED_PINGS, receipt_command::ReceiptCheck, replica::Replica,
};

impl Replica {
    /// Does what is due.
    pub(crate) fn timers(&mut self) {
        for slot in self.slots() {
            self.watch_peer(slot);
            self.look_for_answer(slot);
        }
        self.flush_in_background();
        self.job_timers();
        self.keep_moments();
        self.look_for_space();
        self.give_up_after_suspension();
        if self.probe.is_due(self.now) {
            self.probe_metadata();
        }
    }

    /// A silent peer is asked; one that stays silent, or answers pings but no requests, is lost.
    fn watch_peer(&mut self, slot: Slot) {
        let (now, timings) = (self.now, self.config.timings);
        let peer = self.peer(slot);
        let Some(link) = peer.link.filter(|link| !link.closing) else {
            return;
        };
        let silent = self.silent(slot);
        let unread = link.paused.map(|since| now.since(since));
        let oldest = peer.sent.oldest();
        if silent >= timings.peer_timeout {
            let why = format!("it was silent for {} ms", silent.as_millis());
            self.drop_link(slot, Mark::Silent, why);
        } else if unread.is_some_and(|unread| unread >= timings.request_timeout) {
            let ms = timings.request_timeout.as_millis();
            let why = format!(
                "this node could not read from it for {ms} ms: its own disk takes nothing more"
            );
            self.drop_link(slot, Mark::NotRead, why);
        } else if oldest.is_some_and(|oldest| now.since(oldest) >= timings.request_timeout) {
            let ms = timings.request_timeout.as_millis();
            let why = format!("it left a request unanswered for {ms} ms");
            self.drop_link(slot, Mark::Unanswered, why);
        } else if peer.undecided() && now.since(peer.since) >= timings.undecided() {
            let why = "nothing has come of comparing: once more";
            self.drop_link(slot, Mark::Undecided, why);
        } else if now.since(link.pinged) >= timings.ping_interval {
            self.ping(slot);
        }
    }

    /// When `handle` is to be called at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let timings = self.config.timings;
        let peers = self.slots().filter_map(|slot| {
            let peer = self.peer(slot);
            let link = peer.link.filter(|link| !link.closing)?;
            let silent = self.silent_until(slot)?;
            let full = peer.pings.len() >= MAX_UNANSWERED_PINGS;
            let ping = (!full).then_some(link.pinged + timings.ping_interval);
            let oldest = peer.sent.oldest();
            let undecided = peer.undecided().then(|| peer.since + timings.undecided());
            let oldest = oldest.map(|since| since + timings.request_timeout);
            let probe = self.probe_for(slot);
            let check = peer.receipt_check.as_ref();
            let check = check.and_then(ReceiptCheck::deadline);
            [Some(silent), oldest, ping, undecided, probe, check]
                .into_iter()
                .flatten()
                .min()
        });
        let sweeps = self
            .peers
            .iter()
            .filter_map(|peer| peer.sweep.as_ref()?.pace.deadline(self.now));
        let job = self.job.as_ref().and_then(crate::jobs::Job::deadline);
        let moments = self.moments.deadline();
        let own = self.flusher.due.into_iter().chain(job).chain(moments);
        let own = own.chain(self.space.deadline()).chain(self.gives_up_at());
        let own = own.chain(self.slots().filter_map(|slot| self.reads_end(slot)));
        peers.chain(sweeps).chain(own).min()
    }
}
