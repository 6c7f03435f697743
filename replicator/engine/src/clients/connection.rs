//! One client's connection: its socket, what was read ahead, what is owed to it.

use std::{collections::VecDeque, os::fd::OwnedFd};

use twindisk_core::{ConnectionId, Time};
use twindisk_nbd::{Errno, Negotiated, Request, reply};

use crate::{
    NbdConnection, Origin, limits::CLIENT_READAHEAD_BYTES, ring::RingFile, send::SendBatch,
    socket::shut_down, window::Window,
};

/// One client's connection.
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) file: RingFile,
    /// Its name towards the core; unique for as long as anything refers to it.
    pub(super) id: ConnectionId,
    pub(super) negotiated: Negotiated,
    pub(super) origin: Origin,
    pub(super) state: State,
    pub(super) window: Window,
    pub(super) receiving: Receiving,
    /// A receive is under way.
    pub(super) receive: Option<Target>,
    /// The last payload was large.
    pub(super) large: bool,
    /// The poll for hang-ups is under way.
    pub(super) polling: bool,
    pub(super) replies: VecDeque<Reply>,
    pub(super) batch: SendBatch,
    /// Replies in the batch.
    pub(super) batch_replies: usize,
    /// Parts of reads whose buffers the batch refers to.
    pub(super) batch_parts: Vec<u32>,
    /// Reads that are answered with the batch.
    pub(super) batch_reads: Vec<u32>,
    /// The read whose answer has begun and not ended: nothing else may be sent.
    pub(super) streaming: Option<u32>,
    /// Requests answered at once since replies were last sent.
    pub(super) quick: u32,
    /// Requests taken and not answered yet.
    pub(super) owed: usize,
    /// Requests of it in the table.
    pub(super) requests: usize,
    /// When bytes last went either way.
    pub(super) moved: Time,
    /// Since when the request that it is at waits for room: it is on the list of those that do.
    pub(super) waits: Option<Time>,
    /// The extents of a block status request are looked for.
    pub(super) looking: bool,
    /// It is on the list of connections to be looked at.
    pub(super) dirty: bool,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are taken.
    Open,
    /// The client said good-bye: what is in flight is finished and answered, then the connection is closed.
    Leaving,
    /// The device was closed: what is queued is sent, nothing else is taken. The core knows.
    Closing { deadline: Time },
    /// Shut down; the slot is free once nothing refers to it.
    Dead,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receiving {
    /// The header of a request.
    Header,
    /// A request that is not in parts yet, or not all of it.
    Step { request: u32 },
    /// A block status request that waits for the one before it.
    Status(Request),
    /// The payload of a request.
    Payload {
        /// Which.
        request: u32,
        /// The part that they go to.
        part: u32,
        /// Bytes of the part that are there.
        done: usize,
    },
    /// The payload of a refused write, to be thrown away.
    Refused {
        /// Bytes of it to come.
        left: usize,
        /// The answer afterwards.
        rejected: twindisk_nbd::Rejected,
    },
}

/// Where a receive puts its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Into the window.
    Window,
    /// Into the part's buffer.
    Part,
}

/// An answer to be sent.
pub(super) enum Reply {
    /// Success without data.
    Done(reply::ReplyHeader),
    /// The data of a read, or as much of it as is there; it is freed once it is sent.
    Read { request: u32 },
    /// A failure.
    Error {
        cookie: twindisk_nbd::Cookie,
        errno: Errno,
        message: &'static str,
    },
    /// Extents.
    Bytes(Vec<u8>),
}

impl Connection {
    pub(super) fn new(client: NbdConnection, file: RingFile, now: Time) -> Self {
        Self {
            socket: client.socket,
            file,
            id: ConnectionId(0),
            negotiated: client.negotiated,
            origin: client.origin,
            state: State::Open,
            window: Window::new(CLIENT_READAHEAD_BYTES, &client.leftover),
            receiving: Receiving::Header,
            receive: None,
            large: false,
            polling: false,
            replies: VecDeque::new(),
            batch: SendBatch::new(),
            batch_replies: 0,
            batch_parts: Vec::new(),
            batch_reads: Vec::new(),
            streaming: None,
            quick: 0,
            owed: 0,
            requests: 0,
            moved: now,
            waits: None,
            looking: false,
            dirty: false,
        }
    }

    /// Names it after its slot's life.
    pub(super) const fn name(&mut self, slot: u32, generation: u32) {
        self.id = ConnectionId(generation << 8 | slot);
    }

    pub(super) fn shut_down(&self) {
        shut_down(&self.socket, libc::SHUT_RDWR);
    }

    /// Something is on its way to the client, or should be.
    pub(super) fn is_sending(&self) -> bool {
        self.batch.is_under_way() || !self.replies.is_empty()
    }

    /// It holds memory for as long as the client likes.
    pub(super) const fn holds_memory(&self) -> bool {
        matches!(self.receiving, Receiving::Payload { .. }) || self.batch.is_under_way()
    }

    /// The request that is not all in parts.
    pub(super) const fn step(&self) -> Option<u32> {
        match self.receiving {
            Receiving::Step { request } => Some(request),
            Receiving::Header
            | Receiving::Status(_)
            | Receiving::Payload { .. }
            | Receiving::Refused { .. } => None,
        }
    }

    /// Neither the ring nor the core refers to it.
    pub(super) fn is_quiet(&self) -> bool {
        self.receive.is_none() && !self.polling && !self.batch.is_under_way() && self.requests == 0
    }
}

const _: () = assert!(crate::limits::MAX_CLIENTS <= 1 << 8);
