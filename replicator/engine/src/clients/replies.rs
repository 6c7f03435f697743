//! From outcomes to replies: queued per connection, sent in batches, a read's data straight from its buffer.

use twindisk_core::Failure;
use twindisk_nbd::{Errno, reply};

use super::{
    Clients, Context,
    connection::{Reply, State},
    requests::Outcome,
};
use crate::{
    ring::{Completion, Turn},
    send::Sent,
    tokens::{Kind, Token},
};

impl Clients {
    /// Everything of a request is over: answers it, or frees it silently.
    pub(super) fn answer(&mut self, request: u32, context: &mut Context<'_>) {
        let outcome = self.requests.outcome(request);
        let active = self.requests.get(request);
        let (slot, cookie) = (active.connection, active.request.cookie);
        let is_read = matches!(active.request.command, twindisk_nbd::Command::Read { .. });
        let connection = self.connections.get_mut(slot).expect("it has requests");
        let style = connection.negotiated.replies;
        let answered = match connection.state {
            State::Open | State::Leaving => outcome != Outcome::Forgotten,
            // What was in flight when the device closed is not completed, except for being told so.
            State::Closing { .. } => outcome == Outcome::Failed(Failure::Shutdown),
            State::Dead => false,
        };
        let reply = match outcome {
            Outcome::Done if is_read && answered => {
                // Its buffers and its place in the table are kept until the data is sent.
                self.reply(slot, Reply::Read { request });
                return;
            }
            Outcome::Done => Some(Reply::Done(reply::done(style, cookie))),
            Outcome::Failed(failure) => {
                let (errno, message) = in_words(failure);
                Some(Reply::Error {
                    cookie,
                    errno,
                    message,
                })
            }
            Outcome::Forgotten => None,
        };
        self.free_request(request, context);
        match reply {
            Some(reply) if answered => self.reply(slot, reply),
            _ => {
                self.connection(slot).owed -= 1;
                self.mark(slot);
            }
        }
    }

    pub(super) fn reply(&mut self, slot: u32, reply: Reply) {
        self.connection(slot).replies.push_back(reply);
        self.mark(slot);
    }

    /// Sends as many replies as fit in one call, unless one is under way.
    pub(super) fn send_replies(&mut self, slot: u32, context: &mut Context<'_>) {
        let generation = self.connections.generation(slot);
        let connection = self.connections.get_mut(slot).expect("in use");
        if connection.batch.is_under_way() || connection.replies.is_empty() {
            return;
        }
        let style = connection.negotiated.replies;
        while let Some(reply) = connection.replies.front() {
            let pieces = match reply {
                Reply::Read { request } => self.requests.read_parts(*request).count(),
                Reply::Done(_) | Reply::Error { .. } | Reply::Bytes(_) => 0,
            };
            if !connection.batch.has_room(pieces) {
                break;
            }
            match connection.replies.pop_front().expect("just seen") {
                Reply::Done(header) => connection.batch.push_small(header.as_bytes()),
                Reply::Error {
                    cookie,
                    errno,
                    message,
                } => connection
                    .batch
                    .push_small(reply::error(style, cookie, errno, message).as_bytes()),
                Reply::Bytes(bytes) => connection.batch.push_small(&bytes),
                Reply::Read { request } => {
                    let asked = self.requests.get(request).request;
                    let header = reply::read_data(style, asked.cookie, asked.offset, asked.length);
                    connection.batch.push_small(header.as_bytes());
                    for (buf, at, len) in self.requests.read_parts(request) {
                        connection.batch.push_payload(buf, at, len);
                    }
                    connection.batch_reads.push(request);
                }
            }
            connection.batch_replies += 1;
        }
        let token = Token::new(Kind::ClientSend, generation, slot);
        let to = (connection.file, Turn::Replies);
        connection
            .batch
            .stage(context.ring, context.buffers, to, token);
    }

    /// Replies went out, or could not.
    pub(crate) fn sent(&mut self, completion: Completion, context: &mut Context<'_>) {
        let slot = self.slot_of(completion);
        let generation = self.connections.generation(slot);
        let connection = self.connections.get_mut(slot).expect("in use");
        let sent = connection.batch.complete(completion);
        connection.moved = context.now;
        match sent {
            Sent::Part if connection.state != State::Dead => {
                let token = Token::new(Kind::ClientSend, generation, slot);
                let to = (connection.file, Turn::Replies);
                connection
                    .batch
                    .stage(context.ring, context.buffers, to, token);
                return;
            }
            Sent::Whole | Sent::Part | Sent::Failed(_) => {}
        }
        connection.batch.clear();
        self.batch_over(slot, context);
        if let Sent::Failed(_) = sent {
            self.drop_connection(slot, "it takes no replies", context);
        }
        self.mark(slot);
    }

    /// Frees what the last batch held.
    fn batch_over(&mut self, slot: u32, context: &mut Context<'_>) {
        let connection = self.connection(slot);
        connection.owed -= std::mem::take(&mut connection.batch_replies);
        let mut reads = std::mem::take(&mut connection.batch_reads);
        for request in reads.drain(..) {
            self.free_request(request, context);
        }
        self.connection(slot).batch_reads = reads;
    }

    /// Throws away what a dead connection will never be sent.
    pub(super) fn drop_replies(&mut self, slot: u32, context: &mut Context<'_>) {
        while let Some(reply) = self.connection(slot).replies.pop_front() {
            self.connection(slot).owed -= 1;
            match reply {
                Reply::Read { request } => self.free_request(request, context),
                Reply::Done(_) | Reply::Error { .. } | Reply::Bytes(_) => {}
            }
        }
    }

    fn free_request(&mut self, request: u32, context: &mut Context<'_>) {
        let active = self.requests.free(request, context.buffers);
        self.connection(active.connection).requests -= 1;
    }
}

const fn in_words(failure: Failure) -> (Errno, &'static str) {
    match failure {
        Failure::Io => (Errno::Io, "no replica could do it"),
        Failure::NotPrimary => (Errno::NotPermitted, "this node is not primary"),
        Failure::Shutdown => (
            Errno::Shutdown,
            "this node gives up its role: ask the next primary",
        ),
    }
}
