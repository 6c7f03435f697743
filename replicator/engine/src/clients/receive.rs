//! From bytes to requests: headers out of the window, payloads straight into their buffers.

use io_uring::opcode;
use tracing::info;
use twindisk_core::Event;
use twindisk_nbd::{
    Command, Errno, Rejected, Request, Verdict, decode_header, protocol::REQUEST_HEADER_BYTES,
    reply, validate,
};

use super::{
    Clients, Context,
    connection::{Receiving, Reply, State, Target},
    requests::Next,
};
use crate::{
    limits::{CLIENT_READAHEAD_BYTES, LARGE_RECEIVE_BYTES, MAX_CLIENT_REQUESTS, MAX_QUICK_ANSWERS},
    ring::{Completion, Turn},
    tokens::{Kind, Token},
};

/// Whether a connection can go on at once.
enum Flow {
    /// There may be more in the window.
    On,
    /// It needs more bytes.
    Starved,
    /// It waits for memory, for replies to go out, or for its end.
    Paused,
}

impl Clients {
    /// Bytes came from a client.
    pub(crate) fn received(&mut self, completion: Completion, context: &mut Context<'_>) {
        let slot = self.slot_of(completion);
        let connection = self.connection(slot);
        let target = connection.receive.take().expect("a receive was under way");
        connection.moved = context.now;
        if connection.state != State::Open {
            // Bytes of a client that is gone are never executed.
            self.stop_receiving(slot, context);
            return self.mark(slot);
        }
        match completion.bytes() {
            Ok(0) => return self.drop_connection(slot, "the client closed its side", context),
            Err(libc::EINTR | libc::EAGAIN) => {}
            Err(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                info!(client = connection.id.0, %error, "receiving from a client");
                return self.drop_connection(slot, "receiving failed", context);
            }
            Ok(bytes) => match (target, &mut connection.receiving) {
                (Target::Window, _) => connection.window.received(bytes),
                (Target::Part, Receiving::Payload { done, .. }) => *done += bytes,
                (Target::Part, other) => panic!("payload while {other:?}"),
            },
        }
        self.pump(slot, context);
    }

    /// Takes what is in the window, then receives on.
    pub(super) fn pump(&mut self, slot: u32, context: &mut Context<'_>) {
        loop {
            let connection = self.connection(slot);
            if connection.state != State::Open || connection.receive.is_some() {
                return;
            }
            let flow = match connection.receiving {
                Receiving::Header => self.take_header(slot, context),
                Receiving::Step { request } => self.step(slot, request, context),
                Receiving::Payload { .. } => self.take_payload(slot, context),
                Receiving::Refused { .. } => self.skip_payload(slot),
                Receiving::Status(_) => Flow::Paused,
            };
            match flow {
                Flow::On => {}
                Flow::Starved => return self.receive(slot, context),
                Flow::Paused => return,
            }
        }
    }

    fn take_header(&mut self, slot: u32, context: &mut Context<'_>) -> Flow {
        let connection = self.connections.get_mut(slot).expect("in use");
        if connection.owed >= MAX_CLIENT_REQUESTS || connection.quick >= MAX_QUICK_ANSWERS {
            // Goes on when a reply has been sent.
            return Flow::Paused;
        }
        let Some(bytes) = connection
            .window
            .filled()
            .first_chunk::<REQUEST_HEADER_BYTES>()
        else {
            return Flow::Starved;
        };
        let header = match decode_header(bytes) {
            Ok(header) => header,
            Err(error) => {
                info!(client = connection.id.0, %error, "the client is cut off");
                self.drop_connection(slot, "it lost its place in the stream", context);
                return Flow::Paused;
            }
        };
        connection.window.consume(REQUEST_HEADER_BYTES);
        match validate(&header, &self.export, &connection.negotiated) {
            Verdict::Accept(request) => self.accept(slot, request, context),
            Verdict::Empty(cookie) => {
                let style = connection.negotiated.replies;
                connection.owed += 1;
                connection.quick += 1;
                self.reply(slot, Reply::Done(reply::done(style, cookie)));
                Flow::On
            }
            Verdict::Reject(rejected) => {
                connection.owed += 1;
                connection.quick += 1;
                connection.receiving = Receiving::Refused {
                    left: rejected.payload_bytes_to_drain as usize,
                    rejected,
                };
                Flow::On
            }
            Verdict::Close(reason) => {
                info!(client = connection.id.0, %reason, "the client is cut off");
                self.drop_connection(slot, "it sent what can't be", context);
                Flow::Paused
            }
        }
    }

    fn accept(&mut self, slot: u32, request: Request, context: &mut Context<'_>) -> Flow {
        let connection = self.connections.get_mut(slot).expect("in use");
        let style = connection.negotiated.replies;
        let reply = match request.command {
            Command::Disconnect => {
                connection.state = State::Leaving;
                connection.window.clear();
                self.mark(slot);
                return Flow::Paused;
            }
            // Nothing is cached here that could be read ahead.
            Command::Cache => Reply::Done(reply::done(style, request.cookie)),
            Command::BlockStatus { .. } => {
                connection.owed += 1;
                if self.begin_status(slot, request, context) {
                    return Flow::On;
                }
                self.connection(slot).receiving = Receiving::Status(request);
                return Flow::Paused;
            }
            Command::WriteZeroes { fast: true, .. } if !context.disk.zeroes_fast() => {
                Reply::Error {
                    cookie: request.cookie,
                    errno: Errno::NotSupported,
                    message: "the backing device can't zero without writing zeros",
                }
            }
            Command::Read { .. }
            | Command::Write { .. }
            | Command::Flush
            | Command::Trim { .. }
            | Command::WriteZeroes { .. } => {
                connection.owed += 1;
                connection.requests += 1;
                let request = self.requests.begin(slot, request);
                connection.receiving = Receiving::Step { request };
                return Flow::On;
            }
        };
        connection.owed += 1;
        connection.quick += 1;
        self.reply(slot, reply);
        Flow::On
    }

    /// Begins the next part of the request that a connection is at, if there is room for it.
    fn step(&mut self, slot: u32, request: u32, context: &mut Context<'_>) -> Flow {
        let connection = self.connections.get_mut(slot).expect("in use");
        if connection.waits.is_some() {
            return Flow::Paused;
        }
        let active = self.requests.get(request);
        let is_write = active.is_write();
        // A promise takes no memory: a small payload is there before it has any, a large one has begun to come.
        if is_write
            && connection.window.filled().len() < active.rest_bytes().min(SMALL_PAYLOAD_BYTES)
        {
            return Flow::Starved;
        }
        let id = connection.id;
        match self.requests.next_part(request, context.buffers) {
            Next::NoRoom => {
                connection.waits = Some(context.now);
                self.waiting.push_back(slot);
                // What of a read is there goes out first, and makes room.
                self.stream(request);
                return Flow::Paused;
            }
            Next::Part(part) if is_write => {
                connection.receiving = Receiving::Payload {
                    request,
                    part,
                    done: 0,
                };
                return Flow::On;
            }
            Next::Part(part) => {
                let part = self.requests.submit(part, id);
                context.events.push_back(Event::Client(part));
            }
            Next::Over => {}
        }
        if self.requests.get(request).is_begun() {
            self.connection(slot).receiving = Receiving::Header;
            self.went_on(request, context);
        }
        Flow::On
    }

    /// Moves what is in the window to where it belongs; hands a part that is whole to the core.
    fn take_payload(&mut self, slot: u32, context: &mut Context<'_>) -> Flow {
        let connection = self.connections.get_mut(slot).expect("in use");
        let Receiving::Payload {
            request,
            part,
            mut done,
        } = connection.receiving
        else {
            panic!("{:?} is no payload", connection.receiving);
        };
        let (buf, from, len) = self.requests.place(part);
        connection.large = len > SMALL_PAYLOAD_BYTES;
        let filled = connection.window.filled();
        let ready = filled.len().min(len - done);
        if ready > 0 {
            context.buffers.write(buf, from + done, &filled[..ready]);
            connection.window.consume(ready);
            done += ready;
        }
        connection.receiving = Receiving::Payload {
            request,
            part,
            done,
        };
        if done < len {
            return Flow::Starved;
        }
        connection.receiving = if self.requests.get(request).is_begun() {
            Receiving::Header
        } else {
            Receiving::Step { request }
        };
        let part = self.requests.submit(part, connection.id);
        context.events.push_back(Event::Client(part));
        Flow::On
    }

    fn skip_payload(&mut self, slot: u32) -> Flow {
        let connection = self.connection(slot);
        let Receiving::Refused { left, rejected } = connection.receiving else {
            panic!("{:?} is not refused", connection.receiving);
        };
        let ready = connection.window.filled().len().min(left);
        connection.window.consume(ready);
        if ready < left {
            connection.receiving = Receiving::Refused {
                left: left - ready,
                rejected,
            };
            return Flow::Starved;
        }
        connection.receiving = Receiving::Header;
        let Rejected {
            cookie,
            errno,
            message,
            ..
        } = rejected;
        self.reply(
            slot,
            Reply::Error {
                cookie,
                errno,
                message,
            },
        );
        Flow::On
    }

    /// Arms the next receive: a large payload goes to its place, everything else to the window.
    fn receive(&mut self, slot: u32, context: &mut Context<'_>) {
        let generation = self.connections.generation(slot);
        let connection = self.connections.get_mut(slot).expect("in use");
        let direct = match connection.receiving {
            Receiving::Payload { part, done, .. } => {
                let (buf, from, len) = self.requests.place(part);
                (len - done > SMALL_PAYLOAD_BYTES).then_some((buf, from + done, len - done))
            }
            Receiving::Header
            | Receiving::Step { .. }
            | Receiving::Status(_)
            | Receiving::Refused { .. } => None,
        };
        let (address, len, flags) = if let Some((buf, at, len)) = direct {
            assert!(connection.window.filled().is_empty(), "it comes first");
            context.buffers.changed(buf);
            connection.receive = Some(Target::Part);
            (
                context.buffers.address(buf, at, len),
                len,
                libc::MSG_WAITALL,
            )
        } else {
            connection.receive = Some(Target::Window);
            let most = if connection.large {
                LARGE_RECEIVE_BYTES
            } else {
                CLIENT_READAHEAD_BYTES
            };
            let (address, len) = connection.window.room(most);
            (address, len, 0)
        };
        let len = u32::try_from(len).expect("at most 1 MiB");
        let entry = opcode::Recv::new(connection.file.fd(), address.as_ptr(), len)
            .flags(flags)
            .build();
        let token = Token::new(Kind::ClientReceive, generation, slot);
        // SAFETY: the window is not touched and the part's buffer not given up while `receive` is set.
        unsafe {
            context
                .ring
                .stage(Turn::Receive, connection.file, entry, token)
        };
    }

    /// Gives up the request that is being received, unless the ring still writes to its buffer.
    pub(super) fn stop_receiving(&mut self, slot: u32, context: &mut Context<'_>) {
        let connection = self.connection(slot);
        if connection.receive.is_some() {
            return;
        }
        connection.window.clear();
        match std::mem::replace(&mut connection.receiving, Receiving::Header) {
            Receiving::Payload { request, part, .. } => {
                self.requests.abandon(request, Some(part), context.buffers);
                self.went_on(request, context);
            }
            Receiving::Step { request } => {
                connection.waits = None;
                self.waiting.retain(|&other| other != slot);
                self.requests.abandon(request, None, context.buffers);
                if self.requests.get(request).queued {
                    // The rest of what its answer promises will not come.
                    self.drop_connection(slot, "a read was given up in its middle", context);
                } else {
                    self.went_on(request, context);
                }
            }
            Receiving::Refused { .. } | Receiving::Status(_) => connection.owed -= 1,
            Receiving::Header => {}
        }
    }
}

/// Payloads (or rests of them) up to this length go through the window: one receive then brings several requests,
/// which is worth a copy of two pages.
const SMALL_PAYLOAD_BYTES: usize = 8 * 1024;
