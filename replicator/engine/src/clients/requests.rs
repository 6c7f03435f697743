//! The requests under way and their parts: tables of slots that are reused, so that a request costs no allocation.

use twindisk_core::{BufId, ClientOp, ClientRequest, ConnectionId, Failure, RequestId};
use twindisk_nbd::{Command, Request};

use super::split::{self, PartKind, PartPlan};
use crate::{
    buffers::{Buffers, Class},
    limits::MAX_PARTS,
    slab::Slab,
};

/// Requests and parts of all connections.
pub(super) struct Requests {
    requests: Slab<Active>,
    parts: Slab<Part>,
    /// The parts of the request that is being planned; kept for its memory.
    plan: Vec<PartPlan>,
    taken: Vec<Option<BufId>>,
}

/// A request under way.
pub(super) struct Active {
    /// Slot of its connection.
    pub(super) connection: u32,
    pub(super) request: Request,
    first_part: u32,
    /// Parts that are not over.
    left: u32,
    failure: Option<Failure>,
    forgotten: bool,
}

struct Part {
    request: u32,
    /// `None`: a flush.
    plan: Option<PartPlan>,
    /// A read's until it is answered; a write's until it is handed to the core.
    buf: Option<BufId>,
    next: u32,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed(Failure),
    /// Nobody waits for it any more.
    Forgotten,
}

/// A begun request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) request: u32,
    /// None for a request without effect (a trim of less than a block).
    pub(super) first_part: Option<u32>,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            requests: Slab::new(MAX_PARTS),
            parts: Slab::new(MAX_PARTS),
            plan: Vec::new(),
            taken: Vec::new(),
        }
    }

    pub(super) fn get(&self, request: u32) -> &Active {
        self.requests.get(request).expect("a request in use")
    }

    /// Sets aside everything that a request needs, or nothing. `None`: there is no room now.
    pub(super) fn begin(
        &mut self,
        connection: u32,
        request: Request,
        buffers: &mut Buffers,
    ) -> Option<Begun> {
        self.plan(&request);
        let parts = match request.command {
            Command::Flush => 1,
            _ => self.plan.len(),
        };
        if self.requests.room() == 0 || self.parts.room() < parts {
            return None;
        }
        self.take_buffers(buffers)?;
        let index = self.requests.insert(Active {
            connection,
            request,
            first_part: NONE,
            left: u32::try_from(parts).expect("below a limit"),
            failure: None,
            forgotten: false,
        });
        let mut next = NONE;
        for part in (0..parts).rev() {
            next = self.parts.insert(Part {
                request: index,
                plan: self.plan.get(part).copied(),
                buf: self.taken.get(part).copied().flatten(),
                next,
            });
        }
        self.requests.get_mut(index).expect("just made").first_part = next;
        Some(Begun {
            request: index,
            first_part: (next != NONE).then_some(next),
        })
    }

    fn plan(&mut self, request: &Request) {
        self.plan.clear();
        let (offset, length) = (request.offset, request.length);
        match request.command {
            Command::Read { .. } | Command::Write { .. } => {
                self.plan.extend(split::data(offset, length));
            }
            Command::WriteZeroes { .. } => self.plan.extend(split::zero(offset, length)),
            Command::Trim { .. } => self.plan.extend(split::trim(offset, length)),
            Command::Flush => {}
            Command::BlockStatus { .. } | Command::Cache | Command::Disconnect => {
                unreachable!("answered without the core")
            }
        }
    }

    /// All or nothing: a request that holds a part of what it needs could wait for another that does the same.
    fn take_buffers(&mut self, buffers: &mut Buffers) -> Option<()> {
        self.taken.clear();
        let needed: u32 = self.plan.iter().filter_map(PartPlan::buffer_blocks).sum();
        if needed > buffers.free_blocks(Class::Client) {
            return None;
        }
        for part in &self.plan {
            let Some(blocks) = part.buffer_blocks() else {
                self.taken.push(None);
                continue;
            };
            let Some(buf) = buffers.take(Class::Client, blocks) else {
                for buf in self.taken.drain(..).flatten() {
                    buffers.give_back(buf);
                }
                return None;
            };
            if matches!(part.kind, PartKind::PartialZero { .. }) {
                buffers
                    .bytes_mut(buf, 0, part.range.bytes() as usize)
                    .fill(0);
            }
            self.taken.push(Some(buf));
        }
        Some(())
    }

    /// The part behind `part`.
    pub(super) fn next_part(&self, part: u32) -> Option<u32> {
        let next = self.parts.get(part).expect("in use").next;
        (next != NONE).then_some(next)
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

    /// A part is done; gives the request when it was the last one.
    pub(super) fn completed(
        &mut self,
        part: RequestId,
        result: Result<(), Failure>,
    ) -> Option<u32> {
        let request = self.request_of(part);
        if let Err(failure) = result {
            self.active(request).failure.get_or_insert(failure);
        }
        self.part_over(request, 1)
    }

    /// A part will not be answered; gives the request when it was the last one.
    pub(super) fn forgotten(&mut self, part: RequestId) -> Option<u32> {
        let request = self.request_of(part);
        self.active(request).forgotten = true;
        self.part_over(request, 1)
    }

    /// `part` and those behind it were never handed to the core and never will be; gives the request when nothing
    /// else of it is under way.
    pub(super) fn abandon_from(&mut self, part: u32) -> Option<u32> {
        let request = self.parts.get(part).expect("in use").request;
        let mut count = 1;
        let mut at = part;
        while let Some(next) = self.next_part(at) {
            count += 1;
            at = next;
        }
        self.active(request).forgotten = true;
        self.part_over(request, count)
    }

    fn part_over(&mut self, request: u32, count: u32) -> Option<u32> {
        let active = self.active(request);
        active.left = active.left.checked_sub(count).expect("a part ends once");
        (active.left == 0).then_some(request)
    }

    pub(super) fn outcome(&self, request: u32) -> Outcome {
        let active = self.get(request);
        match active.failure {
            _ if active.forgotten => Outcome::Forgotten,
            Some(failure) => Outcome::Failed(failure),
            None => Outcome::Done,
        }
    }

    /// The parts of a read that is done: what to send of each.
    pub(super) fn read_parts(
        &self,
        request: u32,
    ) -> impl Iterator<Item = (BufId, usize, usize)> + '_ {
        let first = self.get(request).first_part;
        std::iter::successors((first != NONE).then_some(first), |&part| {
            self.next_part(part)
        })
        .map(|part| self.place(part))
    }

    /// Frees a request and every buffer that it still has.
    pub(super) fn free(&mut self, request: u32, buffers: &mut Buffers) -> Active {
        let active = self.requests.remove(request);
        let mut part = active.first_part;
        while part != NONE {
            let over = self.parts.remove(part);
            if let Some(buf) = over.buf {
                buffers.give_back(buf);
            }
            part = over.next;
        }
        active
    }

    fn request_of(&self, part: RequestId) -> u32 {
        let slot = part.0 as u32;
        assert_eq!(
            u64::from(self.parts.generation(slot)),
            part.0 >> 32,
            "{part:?} ended before"
        );
        self.parts.get(slot).expect("in use").request
    }

    fn active(&mut self, request: u32) -> &mut Active {
        self.requests.get_mut(request).expect("a request in use")
    }
}

const NONE: u32 = u32::MAX;
