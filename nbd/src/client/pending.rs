//! A request in flight, as its reply comes in: what has arrived, and whether it adds up.

use crate::client::{ClientError, RequestError};
use crate::limits;
use crate::reply::{Chunk, Extent};
use crate::request::{Command, ContextId, Cookie, Request};

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// As returned by `submit`.
    pub cookie: Cookie,
    /// What was asked.
    pub request: Request,
    /// What came of it.
    pub result: Result<Answer, RequestError>,
}

/// The content of a successful reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success, nothing to tell.
    Done,
    /// The bytes of a read.
    Data(Vec<u8>),
    /// The extents of a block status request, from its offset on.
    Extents(Vec<Extent>),
}

/// Gathers the chunks of one structured reply.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: Request,
    data: Vec<u8>,
    /// Stretches of the read that arrived, as (offset, length); bounded by `MAX_CHUNKS`.
    arrived: Vec<(u64, u64)>,
    extents: Option<Vec<Extent>>,
    error: Option<RequestError>,
    chunks: u32,
}

impl Pending {
    pub(super) fn new(request: Request) -> Self {
        Self {
            request,
            data: Vec::new(),
            arrived: Vec::new(),
            extents: None,
            error: None,
            chunks: 0,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.request.command, Command::Read { .. })
    }

    /// Takes a chunk in.
    pub(super) fn take(
        &mut self,
        chunk: Chunk<'_>,
        base_allocation: Option<ContextId>,
    ) -> Result<(), ClientError> {
        self.chunks += 1;
        if self.chunks > limits::MAX_CHUNKS {
            return Err(broken("a reply of too many chunks"));
        }
        match chunk {
            Chunk::None => {}
            Chunk::Data { offset, data } => self.place(offset, data.len())?.copy_from_slice(data),
            Chunk::Hole { offset, length } => {
                let length = usize::try_from(length).map_err(|_| broken("a hole too long"))?;
                self.place(offset, length)?.fill(0);
            }
            Chunk::BlockStatus { context, extents } => {
                let asked = matches!(self.request.command, Command::BlockStatus { .. });
                if !asked || Some(context) != base_allocation || self.extents.is_some() {
                    return Err(broken("a block status nobody asked for"));
                }
                self.extents = Some(extents);
            }
            Chunk::Error {
                errno,
                message,
                offset,
            } => {
                let message = (!message.is_empty()).then_some(message);
                self.error.get_or_insert(RequestError {
                    errno,
                    message,
                    offset,
                });
            }
        }
        Ok(())
    }

    /// The buffer for a stretch of the read, checked against what was asked.
    fn place(&mut self, offset: u64, length: usize) -> Result<&mut [u8], ClientError> {
        const OUTSIDE: &str = "data outside of what was asked for";
        if !self.is_read() {
            return Err(broken("data for a request that is no read"));
        }
        let wanted = usize::try_from(self.request.length).map_err(|_| broken(OUTSIDE))?;
        self.data.resize(wanted, 0);
        let start = offset
            .checked_sub(self.request.offset)
            .and_then(|start| usize::try_from(start).ok())
            .ok_or_else(|| broken(OUTSIDE))?;
        let end = start.checked_add(length).ok_or_else(|| broken(OUTSIDE))?;
        self.arrived
            .push((offset, u64::try_from(length).unwrap_or(u64::MAX)));
        self.data.get_mut(start..end).ok_or_else(|| broken(OUTSIDE))
    }

    /// Ends a structured reply.
    pub(super) fn finish(mut self) -> Result<Completion, ClientError> {
        let complete = self.error.is_some() || self.arrived_whole();
        let result = match (self.error, self.request.command) {
            (Some(error), _) => Err(error),
            (None, Command::Read { .. }) if complete => Ok(Answer::Data(self.data)),
            (None, Command::Read { .. }) => {
                return Err(broken("a read whose pieces overlap or leave a gap"));
            }
            (None, Command::BlockStatus { .. }) => match self.extents.take() {
                Some(extents) => Ok(Answer::Extents(extents)),
                // Our own server answers an empty range with plain success.
                None if self.request.length == 0 => Ok(Answer::Extents(Vec::new())),
                None => return Err(broken("a block status without extents")),
            },
            (None, _) => Ok(Answer::Done),
        };
        Ok(Completion {
            cookie: self.request.cookie,
            request: self.request,
            result,
        })
    }

    /// Whether the pieces of a read cover it exactly once.
    fn arrived_whole(&mut self) -> bool {
        self.arrived.sort_unstable();
        let mut at = self.request.offset;
        for &(offset, length) in &self.arrived {
            if offset != at {
                return false;
            }
            at = at.saturating_add(length);
        }
        at == self
            .request
            .offset
            .saturating_add(u64::from(self.request.length))
    }
}

fn broken(what: &str) -> ClientError {
    ClientError::Protocol(what.to_owned())
}
