//! Decoders for replies, for the client. A server's bytes are as foreign as a client's.

use thiserror::Error;

use crate::bytes::{Reader, printable};
use crate::errno::Errno;
use crate::limits;
use crate::protocol::{
    CHUNK_HEADER_BYTES, SIMPLE_REPLY_BYTES, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk,
};
use crate::reply::{Extent, More};
use crate::request::{ContextId, Cookie};

/// The first sixteen bytes of any reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyStart {
    /// The whole of a simple reply; after a successful read its data follow.
    Simple(SimpleReply),
    /// A structured chunk: four more bytes complete its header ([`ChunkHeader::with_length`]).
    Chunk(ChunkHeader),
}

/// A simple reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimpleReply {
    /// Of the request.
    pub cookie: Cookie,
    /// `None` is success.
    pub error: Option<Errno>,
}

/// The header of a structured reply chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// Of the request.
    pub cookie: Cookie,
    /// Whether the reply goes on.
    pub more: More,
    /// One of `protocol::chunk`, or anything else.
    pub kind: u16,
    /// Bytes of payload; zero until [`ChunkHeader::with_length`].
    pub length: u32,
}

/// What a chunk says. Data of a read are left in place: `data` borrows the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Nothing more.
    None,
    /// Data at an offset.
    Data {
        /// In the export.
        offset: u64,
        /// At least one byte.
        data: &'a [u8],
    },
    /// Zeroes at an offset.
    Hole {
        /// In the export.
        offset: u64,
        /// In bytes; at least one.
        length: u32,
    },
    /// Extents of a context.
    BlockStatus {
        /// Which.
        context: ContextId,
        /// At least one.
        extents: Vec<Extent>,
    },
    /// The request failed.
    Error {
        /// How.
        errno: Errno,
        /// The server's words, made printable.
        message: String,
        /// From which offset on, if told.
        offset: Option<u64>,
    },
}

/// The server's stream makes no sense: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadReply {
    /// Neither kind of reply begins here.
    #[error("{0:#010x} stands where a reply should begin: the stream is out of step")]
    Magic(u32),
    /// [`limits::MAX_CHUNK_BYTES`].
    #[error("a reply chunk of {0} bytes is longer than any request asked for")]
    TooLong(u32),
    /// "If the client receives an unknown or unexpected type […] it MUST initiate a hard
    /// disconnect."
    #[error("unknown reply chunk type {0}")]
    UnknownChunk(u16),
    /// The payload does not fit its type.
    #[error("malformed reply chunk of type {kind}: {problem}")]
    Malformed {
        /// Of the chunk.
        kind: u16,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Decodes the first sixteen bytes of a reply.
///
/// # Errors
/// If no reply begins with these bytes.
pub fn decode_start(bytes: &[u8; SIMPLE_REPLY_BYTES]) -> Result<ReplyStart, BadReply> {
    let mut reader = Reader::new(bytes);
    match reader.u32().unwrap_or_default() {
        SIMPLE_REPLY_MAGIC => {
            let error = Errno::from_wire(reader.u32().unwrap_or_default());
            let cookie = Cookie(reader.u64().unwrap_or_default());
            Ok(ReplyStart::Simple(SimpleReply { cookie, error }))
        }
        STRUCTURED_REPLY_MAGIC => {
            let flags = reader.u16().unwrap_or_default();
            let kind = reader.u16().unwrap_or_default();
            let cookie = Cookie(reader.u64().unwrap_or_default());
            let more = if flags & chunk::FLAG_DONE != 0 {
                More::Done
            } else {
                More::Follows
            };
            Ok(ReplyStart::Chunk(ChunkHeader {
                cookie,
                more,
                kind,
                length: 0,
            }))
        }
        magic => Err(BadReply::Magic(magic)),
    }
}

impl ChunkHeader {
    /// How many bytes of the header come after the first sixteen.
    pub const REST_BYTES: usize = CHUNK_HEADER_BYTES - SIMPLE_REPLY_BYTES;

    /// Completes the header with its last four bytes.
    ///
    /// # Errors
    /// If the chunk is longer than any we would ask for.
    pub fn with_length(self, bytes: [u8; Self::REST_BYTES]) -> Result<Self, BadReply> {
        let length = u32::from_be_bytes(bytes);
        if length > limits::MAX_CHUNK_BYTES {
            return Err(BadReply::TooLong(length));
        }
        Ok(Self { length, ..self })
    }
}

/// Decodes the payload of a chunk.
///
/// # Errors
/// If the payload does not fit the chunk's type.
pub fn decode_chunk<'a>(header: &ChunkHeader, payload: &'a [u8]) -> Result<Chunk<'a>, BadReply> {
    let kind = header.kind;
    let malformed = |problem| BadReply::Malformed { kind, problem };
    let mut reader = Reader::new(payload);
    match kind {
        chunk::NONE => {
            if header.more == More::Follows || !payload.is_empty() {
                return Err(malformed("it must be the last and empty"));
            }
            Ok(Chunk::None)
        }
        chunk::OFFSET_DATA => {
            let offset = reader.u64().ok_or(malformed("no offset"))?;
            if reader.is_empty() {
                return Err(malformed("no data"));
            }
            Ok(Chunk::Data {
                offset,
                data: reader.rest(),
            })
        }
        chunk::OFFSET_HOLE => {
            let offset = reader.u64().ok_or(malformed("no offset"))?;
            let length = reader.u32().ok_or(malformed("no length"))?;
            if length == 0 || !reader.is_empty() {
                return Err(malformed("an empty hole, or more than a hole"));
            }
            Ok(Chunk::Hole { offset, length })
        }
        chunk::BLOCK_STATUS => decode_block_status(reader, malformed),
        kind if kind & chunk::ERROR_BIT != 0 => decode_error(kind, reader, malformed),
        kind => Err(BadReply::UnknownChunk(kind)),
    }
}

fn decode_block_status<'a>(
    mut reader: Reader<'a>,
    malformed: impl Fn(&'static str) -> BadReply,
) -> Result<Chunk<'a>, BadReply> {
    let context = ContextId(reader.u32().ok_or_else(|| malformed("no context"))?);
    let mut extents = Vec::with_capacity(reader.rest().len() / 8);
    while !reader.is_empty() {
        let length = reader.u32().ok_or_else(|| malformed("half an extent"))?;
        let flags = reader.u32().ok_or_else(|| malformed("half an extent"))?;
        if length == 0 {
            return Err(malformed("an empty extent"));
        }
        extents.push(Extent { length, flags });
    }
    if extents.is_empty() {
        return Err(malformed("no extent"));
    }
    Ok(Chunk::BlockStatus { context, extents })
}

fn decode_error<'a>(
    kind: u16,
    mut reader: Reader<'a>,
    malformed: impl Fn(&'static str) -> BadReply,
) -> Result<Chunk<'a>, BadReply> {
    let value = reader.u32().ok_or_else(|| malformed("no error"))?;
    let errno = Errno::from_wire(value).ok_or_else(|| malformed("error zero"))?;
    let length = reader.u16().ok_or_else(|| malformed("no message length"))?;
    let text = reader
        .take(usize::from(length))
        .ok_or_else(|| malformed("message cut short"))?;
    // Error types we do not know count as a plain error: their beginning is the same.
    let offset = match kind {
        chunk::ERROR_OFFSET => Some(reader.u64().ok_or_else(|| malformed("no offset"))?),
        _ => None,
    };
    Ok(Chunk::Error {
        errno,
        message: printable(text, limits::MAX_STRING_BYTES),
        offset,
    })
}
