//! Clients' connections in their transmission phase: bytes to parts of requests, outcomes to replies.
//!
//! **No ghost writes**: the engine hands in hang-ups before received bytes, and a connection that has hung up executes
//! nothing more; what of it has begun is the core's to order. Over a Unix socket (the default) a hang-up is seen even
//! with unread bytes before it.

mod connection;
mod receive;
mod replies;
mod requests;
mod share;
mod split;
pub(crate) mod status;

use std::{collections::VecDeque, os::fd::AsRawFd, sync::Arc};

use io_uring::opcode;
use tracing::{debug, info};
use twindisk_core::{Activity, Event, ExportState, Failure, RequestId, Time};
use twindisk_format::{binding::Binding, limits::BLOCK_BYTES};
use twindisk_nbd::Export;

use self::{
    connection::{Connection, State},
    requests::Requests,
    status::Looker,
};
use crate::{
    NbdConnection, Origin,
    buffers::Buffers,
    disk::Disk,
    limits::{
        DRAIN_TIMEOUT, MAX_CLIENTS, MAX_NETWORK_CLIENTS, STALL_TIMEOUT, TURNED_AWAY_INTERVAL,
    },
    mailbox::Sender,
    ring::{Completion, Ring, Turn},
    slab::Slab,
    socket::{set_blocking, tune_client},
    store::Backing,
    tokens::{Kind, Token},
};

/// What a client's request needs besides itself.
pub(crate) struct Context<'a> {
    pub(crate) ring: &'a mut Ring,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) disk: &'a Disk,
    pub(crate) backing: &'a Arc<Backing>,
    pub(crate) now: Time,
}

/// All connections to one export.
pub(crate) struct Clients {
    connections: Slab<Connection>,
    requests: Requests,
    looker: Looker,
    /// Connections whose next request waits for memory, in the order in which they asked.
    waiting: VecDeque<u32>,
    export: Export,
    open: bool,
    binding: Option<Binding>,
    /// Connections to be looked at before the thread sleeps.
    dirty: Vec<u32>,
    /// Some connection may be closing.
    closing: bool,
    /// For want of a place, since that was told last, and when it was.
    turned_away: u64,
    told: Option<Time>,
}

impl Clients {
    /// What is found by other threads comes back by `sender`.
    pub(crate) fn new(sender: Sender) -> Self {
        Self {
            looker: Looker::new(sender),
            connections: Slab::new(MAX_CLIENTS),
            requests: Requests::new(),
            waiting: VecDeque::new(),
            export: Export::new("", 0).expect("an empty name is legal"),
            open: false,
            binding: None,
            dirty: Vec::new(),
            closing: false,
            turned_away: 0,
            told: None,
        }
    }

    /// Nothing of a client is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Takes over a client that has finished its negotiation.
    pub(crate) fn add(&mut self, client: NbdConnection, context: &mut Context<'_>) {
        if !self.open {
            info!("a client came after the device was closed: sent away");
            return;
        }
        if client.bound.is_some() && client.bound != self.binding {
            // R17: the role went and came back between its negotiation and now.
            info!("a client came that is bound to a role that is over: sent away");
            return;
        }
        if !self.has_place(client.origin) {
            return self.turn_away(context.now);
        }
        if let Err(error) = set_blocking(&client.socket) {
            info!(%error, "a client's socket can't be used");
            return;
        }
        tune_client(&client.socket);
        let file = context.ring.add_file(client.socket.as_raw_fd());
        let slot = self
            .connections
            .insert(Connection::new(client, file, context.now));
        let generation = self.connections.generation(slot);
        let connection = self.connection(slot);
        connection.name(slot, generation);
        let entry = opcode::PollAdd::new(file.fd(), HANG_UP).build();
        let token = Token::new(Kind::ClientHangUp, generation, slot);
        // SAFETY: a poll points to no memory.
        unsafe { context.ring.stage(Turn::Receive, file, entry, token) };
        self.connection(slot).polling = true;
        self.pump(slot, context);
    }

    fn has_place(&self, origin: Origin) -> bool {
        let slots = self.connections.indexes();
        let of_network = slots.filter_map(|slot| self.connections.get(slot));
        let of_network = of_network.filter(|other| other.origin == Origin::Network);
        self.connections.room() > 0
            && (origin == Origin::Local || of_network.count() < MAX_NETWORK_CLIENTS)
    }

    fn turn_away(&mut self, now: Time) {
        self.turned_away += 1;
        if (self.told).is_some_and(|told| now.since(told) < TURNED_AWAY_INTERVAL) {
            return;
        }
        self.told = Some(now);
        let count = std::mem::take(&mut self.turned_away);
        info!(
            count,
            "too many clients: some were sent away (at most {MAX_CLIENTS}, {MAX_NETWORK_CLIENTS} of them by TCP)"
        );
    }

    /// A client hung up. To be called before anything that was received in the same batch is handed in.
    pub(crate) fn hung_up(&mut self, completion: Completion, context: &mut Context<'_>) {
        let slot = self.slot_of(completion);
        self.connection(slot).polling = false;
        self.drop_connection(slot, "the client hung up", context);
    }

    /// A request's part is done.
    pub(crate) fn completed(
        &mut self,
        part: RequestId,
        result: Result<(), Failure>,
        context: &mut Context<'_>,
    ) {
        let request = self.requests.completed(part, result);
        self.went_on(request, context);
    }

    /// A request's part will not be answered.
    pub(crate) fn forgotten(&mut self, part: RequestId, context: &mut Context<'_>) {
        let request = self.requests.forgotten(part);
        self.went_on(request, context);
    }

    /// To which role clients may be bound from now on. It changes only while the device is closed.
    pub(crate) const fn set_binding(&mut self, binding: Option<Binding>) {
        self.binding = binding;
    }

    /// Opens or closes the device.
    pub(crate) fn set_export(&mut self, state: &ExportState, context: &mut Context<'_>) {
        match state {
            ExportState::Open { size_blocks } => {
                self.open = true;
                self.export.size_bytes = size_blocks * BLOCK_BYTES as u64;
            }
            ExportState::Closed { why } => {
                self.open = false;
                self.close_all(why, context);
            }
        }
    }

    /// Sends every client away. What was answered before still goes out.
    pub(crate) fn close_all(&mut self, why: &str, context: &mut Context<'_>) {
        self.open = false;
        self.closing = true;
        let slots: Vec<u32> = self.connections.indexes().collect();
        for slot in slots {
            let deadline = context.now + DRAIN_TIMEOUT;
            let connection = self.connection(slot);
            match connection.state {
                State::Open | State::Leaving => {
                    debug!(client = connection.id.0, why, "the client is sent away");
                    connection.state = State::Closing { deadline };
                    let id = connection.id;
                    context
                        .events
                        .push_back(Event::ConnectionClosed { connection: id });
                    self.stop_receiving(slot, context);
                    self.mark(slot);
                }
                State::Closing { .. } | State::Dead => {}
            }
        }
    }

    /// When `flush` must be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        if !self.closing && self.waiting.is_empty() {
            return None;
        }
        self.connections
            .indexes()
            .filter_map(|slot| self.deadline_of(self.connections.get(slot)?))
            .min()
    }

    /// When a connection must have come to an end or moved on.
    fn deadline_of(&self, connection: &Connection) -> Option<Time> {
        match connection.state {
            State::Closing { deadline } => Some(deadline),
            State::Open | State::Leaving
                if self.others_wait(connection) && connection.holds_memory() =>
            {
                Some(connection.moved + STALL_TIMEOUT)
            }
            State::Open | State::Leaving | State::Dead => None,
        }
    }

    fn others_wait(&self, connection: &Connection) -> bool {
        self.waiting.len() > usize::from(connection.waits.is_some())
    }

    /// Counts what waits for room. Whoever leaves its answers unread waits for itself, and makes nobody's device slow.
    pub(crate) fn tell_waiting(&self, activity: &mut Activity, now: Time) {
        activity.waiting = self.waiting.len() as u64;
        let waiting = (self.waiting.iter()).filter_map(|&slot| self.connections.get(slot));
        let blameless = waiting.filter(|connection| !connection.holds_memory());
        if let Some(since) = blameless.filter_map(|connection| connection.waits).min() {
            activity.oldest_ms = activity.oldest_ms.max(now.since(since).as_millis() as u64);
        }
    }

    /// Sends what there is to send, goes on with what waited for memory, closes what is done. To be called before
    /// the thread sleeps.
    pub(crate) fn flush(&mut self, context: &mut Context<'_>) {
        if self
            .next_deadline()
            .is_some_and(|deadline| deadline <= context.now)
        {
            self.cut_off_late(context);
        }
        self.serve_waiting(context);
        // Looking at a connection may mark others.
        let mut index = 0;
        while index < self.dirty.len() {
            let slot = self.dirty[index];
            index += 1;
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.dirty = false;
                self.look_at(slot, context);
            }
        }
        self.dirty.clear();
    }

    fn look_at(&mut self, slot: u32, context: &mut Context<'_>) {
        self.send_replies(slot, context);
        let connection = self.connection(slot);
        match connection.state {
            State::Open => self.pump(slot, context),
            State::Leaving if connection.owed == 0 => {
                self.drop_connection(slot, "the client disconnected", context);
            }
            State::Closing { .. } if !connection.is_sending() => {
                self.drop_connection(slot, "the device was closed", context);
            }
            State::Leaving | State::Closing { .. } => {}
            State::Dead => self.remove_if_quiet(slot, context),
        }
    }

    fn cut_off_late(&mut self, context: &mut Context<'_>) {
        let slots: Vec<u32> = self.connections.indexes().collect();
        self.closing = false;
        for slot in slots {
            let connection = self.connections.get(slot).expect("in use");
            let deadline = self.deadline_of(connection);
            if deadline.is_some_and(|deadline| deadline <= context.now) {
                info!(
                    client = connection.id.0,
                    "a client is cut off: for {} s it has taken no reply or sent no payload, and others wait for the \
                     memory that it holds",
                    STALL_TIMEOUT.as_secs()
                );
                self.drop_connection(slot, "it moved nothing while others waited", context);
            } else if matches!(connection.state, State::Closing { .. }) {
                self.closing = true;
            }
        }
    }

    /// Those that wait for room try again, in the order in which they came. None waits for another one's turn: what each
    /// may have is its own affair (`share`).
    fn serve_waiting(&mut self, context: &mut Context<'_>) {
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else {
                return;
            };
            let connection = self.connection(slot);
            let (since, before) = (connection.waits.take(), connection.step());
            self.pump(slot, context);
            let connection = self.connection(slot);
            if connection.waits.is_some() && connection.step() == before {
                connection.waits = since;
            }
        }
    }

    /// Ends a connection: nothing more is executed or sent. The core is told, once.
    fn drop_connection(&mut self, slot: u32, why: &str, context: &mut Context<'_>) {
        let connection = self.connection(slot);
        let id = connection.id;
        match connection.state {
            State::Dead => return self.mark(slot),
            State::Open | State::Leaving => {
                context
                    .events
                    .push_back(Event::ConnectionClosed { connection: id });
            }
            State::Closing { .. } => {}
        }
        debug!(client = id.0, why, "a client is gone");
        connection.state = State::Dead;
        connection.shut_down();
        self.waiting.retain(|&other| other != slot);
        self.stop_receiving(slot, context);
        self.drop_replies(slot, context);
        self.mark(slot);
    }

    /// A slot belongs to the driver until every operation on it has ended.
    fn remove_if_quiet(&mut self, slot: u32, context: &mut Context<'_>) {
        let connection = self.connection(slot);
        if connection.is_quiet() {
            let connection = self.connections.remove(slot);
            context.ring.forget_file(connection.file);
        }
    }

    fn mark(&mut self, slot: u32) {
        let connection = self.connection(slot);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn connection(&mut self, slot: u32) -> &mut Connection {
        self.connections.get_mut(slot).expect("a connection in use")
    }

    fn slot_of(&self, completion: Completion) -> u32 {
        let slot = completion.token.slot;
        assert!(
            completion.token.is_of(self.connections.generation(slot)),
            "{completion:?} belongs to a connection that is gone"
        );
        slot
    }
}

/// Errors are always polled for.
const HANG_UP: u32 = (libc::POLLRDHUP | libc::POLLHUP) as u32;
