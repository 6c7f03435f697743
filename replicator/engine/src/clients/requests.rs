//! The requests under way and their parts: tables of slots that are reused, so that a request costs no allocation.
//!
//! A request becomes parts one after the other, each when there is room for it ([`share`](super::share)): the larger the
//! more room there is.

use twindisk_core::{BufId, ClientOp, ClientRequest, ConnectionId, Failure, RequestId};
use twindisk_format::limits::MAX_DATA_BLOCKS;
use twindisk_nbd::{Command, Request};

use super::{
    share::Held,
    split::{self, PartKind, PartPlan},
};
use crate::{
    buffers::{Buffers, Class},
    limits::{MAX_CLIENTS, MAX_PARTS, MIN_STEP_BLOCKS},
    slab::Slab,
};

/// Requests and parts of all connections.
pub(super) struct Requests {
    requests: Slab<Active>,
    parts: Slab<Part>,
    /// By the connection's slot.
    held: [Held; MAX_CLIENTS],
}

/// A request under way.
pub(super) struct Active {
    /// Slot of its connection.
    pub(super) connection: u32,
    pub(super) request: Request,
    /// From which byte on it is not in parts yet; `None`: all of it is.
    rest: Option<u64>,
    /// Parts that are not over.
    left: u32,
    /// A read's parts that are not being sent yet, in order.
    first_part: u32,
    last_part: u32,
    /// A read that is among its connection's replies.
    pub(super) queued: bool,
    /// A read whose answer has begun: nothing but its data may follow.
    pub(super) headed: bool,
    failure: Option<Failure>,
    forgotten: bool,
}

impl Active {
    pub(super) const fn is_read(&self) -> bool {
        matches!(self.request.command, Command::Read { .. })
    }

    pub(super) const fn is_write(&self) -> bool {
        matches!(self.request.command, Command::Write { .. })
    }

    /// All of it is in parts.
    pub(super) const fn is_begun(&self) -> bool {
        self.rest.is_none()
    }

    /// No part of it is under way.
    pub(super) const fn is_still(&self) -> bool {
        self.left == 0
    }

    /// Bytes that are not in parts yet.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest.map_or(0, |at| (self.end() - at) as usize)
    }

    fn end(&self) -> u64 {
        self.request.offset + u64::from(self.request.length)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.failure {
            _ if self.forgotten => Outcome::Forgotten,
            Some(failure) => Outcome::Failed(failure),
            None => Outcome::Done,
        }
    }

    /// Its next part, of at most so many blocks of data.
    fn plan(&self, at: u64, most: u32) -> Option<PartPlan> {
        let end = self.end();
        match self.request.command {
            Command::Read { .. } | Command::Write { .. } => Some(split::data(at, end, most)),
            Command::WriteZeroes { .. } => Some(split::zero(at, end)),
            Command::Trim { .. } => split::trim(at, end),
            Command::Flush | Command::BlockStatus { .. } | Command::Cache | Command::Disconnect => {
                unreachable!("it has no parts with blocks")
            }
        }
    }
}

struct Part {
    request: u32,
    /// Slot of its connection.
    connection: u32,
    /// `None`: a flush.
    plan: Option<PartPlan>,
    /// A read's until it is sent; a write's until it is handed to the core.
    buf: Option<BufId>,
    /// A read's next one.
    next: u32,
    over: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed(Failure),
    /// Nobody waits for it any more.
    Forgotten,
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With this part.
    Part(u32),
    /// With nothing: all of it is in parts.
    Over,
    /// Once there is room for its next part.
    NoRoom,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            // Each but those that the connections are at has a part.
            requests: Slab::new(MAX_PARTS + MAX_CLIENTS),
            parts: Slab::new(MAX_PARTS),
            held: [Held::default(); MAX_CLIENTS],
        }
    }

    pub(super) fn get(&self, request: u32) -> &Active {
        self.requests.get(request).expect("a request in use")
    }

    pub(super) fn get_mut(&mut self, request: u32) -> &mut Active {
        self.requests.get_mut(request).expect("a request in use")
    }

    /// Notes a request. It takes nothing but its place.
    pub(super) fn begin(&mut self, connection: u32, request: Request) -> u32 {
        self.requests.insert(Active {
            connection,
            request,
            rest: Some(request.offset),
            left: 0,
            first_part: NONE,
            last_part: NONE,
            queued: false,
            headed: false,
            failure: None,
            forgotten: false,
        })
    }

    /// Sets aside what the next part of a request needs.
    pub(super) fn next_part(&mut self, request: u32, buffers: &mut Buffers) -> Next {
        let active = self.requests.get_mut(request).expect("a request in use");
        let Some(at) = active.rest else {
            return Next::Over;
        };
        if active.is_read() && active.outcome() != Outcome::Done {
            active.rest = None;
            return Next::Over;
        }
        let held = &mut self.held[active.connection as usize];
        if !held.may_take_part(self.parts.room() as u32) {
            return Next::NoRoom;
        }
        let mut most = MAX_DATA_BLOCKS;
        let (plan, buf) = loop {
            if matches!(active.request.command, Command::Flush) {
                break (None, None);
            }
            let Some(plan) = active.plan(at, most) else {
                active.rest = None;
                return Next::Over;
            };
            let blocks = plan.buffer_blocks();
            if blocks == 0 {
                break (Some(plan), None);
            }
            if held.may_take_blocks(blocks, buffers.free_blocks(Class::Client))
                && let Some(buf) = buffers.take(Class::Client, blocks)
            {
                break (Some(plan), Some(buf));
            }
            most = blocks.div_ceil(2);
            // Its share is free, but may be in pieces.
            let least = if held.blocks == 0 { 1 } else { MIN_STEP_BLOCKS };
            if blocks <= least {
                return Next::NoRoom;
            }
        };
        if let (Some(plan), Some(buf)) = (plan, buf)
            && matches!(plan.kind, PartKind::PartialZero { .. })
        {
            buffers
                .bytes_mut(buf, 0, plan.range.bytes() as usize)
                .fill(0);
        }
        held.parts += 1;
        held.blocks += plan.map_or(0, |plan| plan.buffer_blocks());
        active.rest = plan.map(|plan| plan.end()).filter(|&at| at < active.end());
        active.left += 1;
        let part = self.parts.insert(Part {
            request,
            connection: active.connection,
            plan,
            buf,
            next: NONE,
            over: false,
        });
        if active.is_read() {
            if active.first_part == NONE {
                active.first_part = part;
            } else {
                let last = self.parts.get_mut(active.last_part).expect("in use");
                last.next = part;
            }
            active.last_part = part;
        }
        Next::Part(part)
    }

    /// Where the client's bytes of a part are: buffer, first byte, number of bytes.
    pub(super) fn place(&self, part: u32) -> (BufId, usize, usize) {
        let part = self.parts.get(part).expect("in use");
        let plan = part.plan.expect("a part with data");
        let PartKind::Data { bytes: (from, to) } = plan.kind else {
            panic!("{plan:?} has no bytes of the client's");
        };
        let buf = part.buf.expect("not handed over yet");
        (buf, from as usize, (to - from) as usize)
    }

    /// The part as it goes to the core. A write's buffer goes with it.
    pub(super) fn submit(&mut self, part: u32, connection: ConnectionId) -> ClientRequest {
        let id = RequestId(u64::from(self.parts.generation(part)) << 32 | u64::from(part));
        let entry = self.parts.get_mut(part).expect("in use");
        let command = self
            .requests
            .get(entry.request)
            .expect("in use")
            .request
            .command;
        let op = match (entry.plan, command) {
            (None, _) => ClientOp::Flush,
            (Some(plan), Command::Read { .. }) => ClientOp::Read {
                range: plan.range,
                buf: entry.buf.expect("taken at the beginning"),
            },
            (Some(plan), command) => {
                let (fua, unmap) = match command {
                    Command::Write { fua } => (fua, false),
                    Command::WriteZeroes { fua, no_hole, .. } => (fua, !no_hole),
                    Command::Trim { fua } => (fua, true),
                    _ => unreachable!("a plan of nothing that changes data"),
                };
                match entry.buf.take() {
                    Some(buf) => ClientOp::Write {
                        range: plan.range,
                        buf,
                        fill: plan.fill(),
                        fua,
                    },
                    None => ClientOp::Zero {
                        range: plan.range,
                        unmap,
                        fua,
                    },
                }
            }
        };
        ClientRequest {
            request: id,
            connection,
            op,
        }
    }

    /// A part is done; of which request.
    pub(super) fn completed(&mut self, part: RequestId, result: Result<(), Failure>) -> u32 {
        let (slot, request) = self.part_of(part);
        let active = self.get_mut(request);
        if let Err(failure) = result {
            active.failure.get_or_insert(failure);
        }
        self.part_over(slot, request);
        request
    }

    /// A part will not be answered; of which request.
    pub(super) fn forgotten(&mut self, part: RequestId) -> u32 {
        let (slot, request) = self.part_of(part);
        self.get_mut(request).forgotten = true;
        self.part_over(slot, request);
        request
    }

    /// What is not in parts yet never will be, and `part` is never handed to the core.
    pub(super) fn abandon(&mut self, request: u32, part: Option<u32>, buffers: &mut Buffers) {
        let active = self.get_mut(request);
        active.rest = None;
        active.forgotten = true;
        if let Some(part) = part {
            active.left -= 1;
            self.free_part(part, buffers);
        }
    }

    fn part_over(&mut self, slot: u32, request: u32) {
        let active = self.get_mut(request);
        active.left = active.left.checked_sub(1).expect("a part ends once");
        if active.is_read() {
            self.parts.get_mut(slot).expect("in use").over = true;
        } else {
            // Its buffer went to the core.
            let part = self.remove_part(slot);
            assert_eq!(part.buf, None, "a part that was not handed over has ended");
        }
    }

    /// Takes the first part of a read that is not being sent yet, if it is there. Whoever takes it frees it.
    pub(super) fn take_ready(&mut self, request: u32) -> Option<u32> {
        let active = self.requests.get_mut(request).expect("a request in use");
        let first = self.parts.get(active.first_part)?;
        if !first.over {
            return None;
        }
        Some(std::mem::replace(&mut active.first_part, first.next))
    }

    /// Whether there is a part that `take_ready` would give.
    pub(super) fn has_ready(&self, request: u32) -> bool {
        let first = self.parts.get(self.get(request).first_part);
        first.is_some_and(|part| part.over)
    }

    /// Every part of a read has been taken.
    pub(super) fn is_taken(&self, request: u32) -> bool {
        let active = self.get(request);
        active.is_begun() && active.first_part == NONE
    }

    /// Frees a part and the buffer that it still has.
    pub(super) fn free_part(&mut self, part: u32, buffers: &mut Buffers) {
        if let Some(buf) = self.remove_part(part).buf {
            buffers.give_back(buf);
        }
    }

    fn remove_part(&mut self, slot: u32) -> Part {
        let part = self.parts.remove(slot);
        let held = &mut self.held[part.connection as usize];
        held.parts -= 1;
        held.blocks -= part.plan.map_or(0, |plan| plan.buffer_blocks());
        part
    }

    /// Frees a request and every part that it still has.
    pub(super) fn free(&mut self, request: u32, buffers: &mut Buffers) -> Active {
        let mut part = self.get(request).first_part;
        while part != NONE {
            let next = self.parts.get(part).expect("in use").next;
            self.free_part(part, buffers);
            part = next;
        }
        self.requests.remove(request)
    }

    fn part_of(&self, part: RequestId) -> (u32, u32) {
        let slot = part.0 as u32;
        assert_eq!(
            u64::from(self.parts.generation(slot)),
            part.0 >> 32,
            "{part:?} ended before"
        );
        (slot, self.parts.get(slot).expect("in use").request)
    }
}

const NONE: u32 = u32::MAX;
