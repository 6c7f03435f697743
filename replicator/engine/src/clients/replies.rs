//! From outcomes to replies: queued per connection, sent in batches, a read's data straight from its buffer.

use twindisk_core::Failure;
use twindisk_nbd::{Errno, reply};

use super::{
    Clients, Context,
    connection::{Connection, Reply, State},
    requests::{Outcome, Requests},
};
use crate::{
    ring::{Completion, Turn},
    send::Sent,
    tokens::{Kind, Token},
};

impl Clients {
    /// A part of a request is over, or all of it is in parts: does what follows.
    pub(super) fn went_on(&mut self, request: u32, context: &mut Context<'_>) {
        let active = self.requests.get(request);
        if !active.is_still() {
            return;
        }
        if active.queued && active.outcome() != Outcome::Done {
            // It ends as a failure, or with its connection, and not with what lies in its buffers.
            let slot = active.connection;
            self.requests.get_mut(request).queued = false;
            let others =
                |reply: &Reply| !matches!(reply, Reply::Read { request: read } if *read == request);
            self.connection(slot).replies.retain(others);
        }
        let active = self.requests.get(request);
        if !active.is_begun() {
            return self.stream(request);
        }
        if !active.queued {
            self.answer(request, context);
        }
    }

    /// A read that found no room for all of its parts at once sends those that are there, to make room for the others.
    pub(super) fn stream(&mut self, request: u32) {
        let active = self.requests.get(request);
        let slot = active.connection;
        if !active.is_read() || !active.is_still() || active.queued {
            return;
        }
        if active.outcome() != Outcome::Done {
            // Nobody wants the rest of it: the next step will say so.
            return;
        }
        // What else is owed goes first: behind the rest of this one it would keep the memory that the rest needs.
        if !active.headed && self.connection(slot).requests > 1 {
            return;
        }
        if self.connection(slot).state == State::Open && self.requests.has_ready(request) {
            self.queue_read(slot, request);
        }
    }

    /// A read's data is next: before all others when they wait for its rest.
    fn queue_read(&mut self, slot: u32, request: u32) {
        self.requests.get_mut(request).queued = true;
        let connection = self.connection(slot);
        if connection.streaming == Some(request) {
            connection.replies.push_front(Reply::Read { request });
        } else {
            connection.replies.push_back(Reply::Read { request });
        }
        self.mark(slot);
    }

    /// Everything of a request is over: answers it, or frees it silently.
    fn answer(&mut self, request: u32, context: &mut Context<'_>) {
        let active = self.requests.get(request);
        let outcome = active.outcome();
        let (slot, cookie) = (active.connection, active.request.cookie);
        let (is_read, headed) = (active.is_read(), active.headed);
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
                return self.queue_read(slot, request);
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
            Some(reply) if answered && !headed => self.reply(slot, reply),
            _ => {
                self.connection(slot).owed -= 1;
                self.mark(slot);
            }
        }
        if headed {
            // Its answer has said that all of its data comes: nothing but the end can take that back.
            self.drop_connection(slot, "the rest of a read can't be had", context);
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
                // Between the pieces of a read nothing else may be sent.
                Reply::Read { request } if connection.streaming.is_none_or(|it| it == *request) => {
                    MAX_READ_PIECES
                }
                _ if connection.streaming.is_some() => break,
                Reply::Read { .. } | Reply::Done(_) | Reply::Error { .. } | Reply::Bytes(_) => 0,
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
                    if !send_read(connection, request, &mut self.requests) {
                        continue;
                    }
                }
            }
            connection.batch_replies += 1;
        }
        if connection.batch.is_empty() {
            return;
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
        connection.quick = 0;
        connection.owed -= std::mem::take(&mut connection.batch_replies);
        let mut parts = std::mem::take(&mut connection.batch_parts);
        let mut reads = std::mem::take(&mut connection.batch_reads);
        for part in parts.drain(..) {
            self.requests.free_part(part, context.buffers);
        }
        for request in reads.drain(..) {
            self.free_request(request, context);
        }
        let connection = self.connection(slot);
        connection.batch_parts = parts;
        connection.batch_reads = reads;
    }

    /// Throws away what a dead connection will never be sent.
    pub(super) fn drop_replies(&mut self, slot: u32, context: &mut Context<'_>) {
        while let Some(reply) = self.connection(slot).replies.pop_front() {
            match reply {
                Reply::Read { request } => {
                    self.requests.get_mut(request).queued = false;
                    self.went_on(request, context);
                }
                Reply::Done(_) | Reply::Error { .. } | Reply::Bytes(_) => {
                    self.connection(slot).owed -= 1;
                }
            }
        }
    }

    fn free_request(&mut self, request: u32, context: &mut Context<'_>) {
        let active = self.requests.free(request, context.buffers);
        let connection = self.connection(active.connection);
        connection.requests -= 1;
        if let Some(waiting) = connection.step() {
            self.stream(waiting);
        }
    }
}

/// Adds what is there of a read to the batch; says whether that was all.
fn send_read(connection: &mut Connection, request: u32, requests: &mut Requests) -> bool {
    let active = requests.get_mut(request);
    active.queued = false;
    if active.outcome() != Outcome::Done {
        return false;
    }
    if !active.headed {
        active.headed = true;
        let asked = active.request;
        let style = connection.negotiated.replies;
        let header = reply::read_data(style, asked.cookie, asked.offset, asked.length);
        connection.batch.push_small(header.as_bytes());
    }
    for _ in 0..MAX_READ_PIECES {
        let Some(part) = requests.take_ready(request) else {
            break;
        };
        let (buf, at, len) = requests.place(part);
        connection.batch.push_payload(buf, at, len);
        connection.batch_parts.push(part);
        if !connection.batch.has_room(1) {
            break;
        }
    }
    if requests.is_taken(request) {
        connection.streaming = None;
        connection.batch_reads.push(request);
        return true;
    }
    connection.streaming = Some(request);
    if requests.has_ready(request) {
        requests.get_mut(request).queued = true;
        connection.replies.push_front(Reply::Read { request });
    }
    false
}

/// Parts of a read that are added to a batch at a time: those of the largest one.
const MAX_READ_PIECES: usize = 64;

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
