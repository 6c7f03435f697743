//! The end of a resource's thread: in good order, in bounded time.

use twindisk_core::RefusalCode;

use super::{Engine, Notice, Refusal, Time};
use crate::limits::STOP_TIMEOUT;

impl Engine {
    /// Sends what is queued, closes every connection, waits for the disk, tells the host.
    pub(super) fn stop(mut self) {
        let why = self.halted.clone().unwrap_or_default();
        let (clients, mut context) = self.clients();
        clients.close_all(&why, &mut context);
        let (links, mut context) = self.links();
        links.close_all(&why, &mut context);
        let deadline = self.now + STOP_TIMEOUT;
        self.sender.wake();
        while !self.is_over() && self.now < deadline {
            self.finish_turn(deadline);
        }
        for (_, done) in self.commands.drain() {
            done(Err(Refusal {
                code: RefusalCode::Interrupted,
                why: format!("the replica stopped: {why}"),
                next: "start it again".to_owned(),
            }));
        }
        let Self {
            mut ring,
            buffers,
            clients,
            links,
            wakes,
            backing,
            metadata,
            mailbox,
            sender,
            mut host,
            ..
        } = self;
        let left = ring.in_flight();
        ring.forget_files();
        drop(ring);
        if left > 0 {
            tracing::error!(
                left,
                "operations are stuck in the kernel: their memory is left behind"
            );
            std::mem::forget((buffers, clients, links, wakes));
        }
        // Whoever starts it again needs the files, and must not find a mailbox that nobody reads.
        drop((backing, metadata, mailbox, sender));
        host.notice(Notice::Halted { why });
    }

    fn is_over(&self) -> bool {
        self.clients.is_empty()
            && self.links.is_empty()
            && self.disk.in_flight() == 0
            && self.meta.in_flight() == 0
            && !self.listening
    }

    /// As in the loop, but the core has halted: nothing is handed to it.
    fn finish_turn(&mut self, deadline: Time) {
        let (links, mut context) = self.links();
        links.flush(&mut context);
        let (clients, mut context) = self.clients();
        clients.flush(&mut context);
        self.meta.flush(&mut self.ring, &mut self.buffers);
        self.write_cached();
        self.broken.clear();
        self.events.clear();
        if self.is_over() {
            return;
        }
        let next = self.timeout().unwrap_or(STOP_TIMEOUT);
        self.turn(Some(next.min(deadline.since(self.now))));
    }
}
