//! Encoders for replies. No allocation on the way of a read or write: a header is a small array
//! that the caller sends in front of its own payload buffer.

use crate::bytes::truncated;
use crate::errno::Errno;
use crate::limits;
use crate::protocol::{SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk};
use crate::request::{ContextId, Cookie, ReplyStyle};

/// A reply, or the part of it in front of the payload.
pub type ReplyHeader = Encoded<32>;

/// An error reply with its text.
pub type ErrorReply = Encoded<{ 20 + 6 + limits::MAX_ERROR_TEXT_BYTES + 8 }>;

/// Up to `N` bytes on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Encoded<N> {
    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    fn from_parts(parts: &[&[u8]]) -> Self {
        let mut bytes = [0; N];
        let mut rest = bytes.as_mut_slice();
        let mut length = 0;
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            length += part.len();
            rest = tail;
        }
        let length = u8::try_from(length).expect("both lengths are below 256");
        Self { bytes, length }
    }
}

/// Whether more chunks follow in the same reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// This is the last one.
    Done,
    /// Others follow.
    Follows,
}

impl More {
    fn flags(self) -> u16 {
        match self {
            Self::Done => chunk::FLAG_DONE,
            Self::Follows => 0,
        }
    }
}

/// Success without data, for every command but a read of at least one byte. In a structured
/// conversation a `NONE` chunk, which also ends a reply begun with other chunks.
#[must_use]
pub fn done(style: ReplyStyle, cookie: Cookie) -> ReplyHeader {
    match style {
        ReplyStyle::Simple => simple(cookie, 0),
        ReplyStyle::Structured => {
            ReplyHeader::from_parts(&[&chunk_header(chunk::FLAG_DONE, chunk::NONE, cookie, 0)])
        }
    }
}

/// What stands in front of the data of a read answered whole. `length` bytes follow; they must be
/// at hand, since an error can no longer be told.
#[must_use]
pub fn read_data(style: ReplyStyle, cookie: Cookie, offset: u64, length: u32) -> ReplyHeader {
    match style {
        ReplyStyle::Simple => simple(cookie, 0),
        ReplyStyle::Structured => chunk_data(cookie, offset, length, More::Done),
    }
}

/// What stands in front of one piece of the data of a read, in a structured reply. `length` is at
/// least 1 and at most the maximum payload.
#[must_use]
pub fn chunk_data(cookie: Cookie, offset: u64, length: u32, more: More) -> ReplyHeader {
    let header = chunk_header(
        more.flags(),
        chunk::OFFSET_DATA,
        cookie,
        length.saturating_add(8),
    );
    ReplyHeader::from_parts(&[&header, &offset.to_be_bytes()])
}

/// A piece of a read that is all zeroes, in a structured reply.
#[must_use]
pub fn chunk_hole(cookie: Cookie, offset: u64, length: u32, more: More) -> ReplyHeader {
    let header = chunk_header(more.flags(), chunk::OFFSET_HOLE, cookie, 12);
    ReplyHeader::from_parts(&[&header, &offset.to_be_bytes(), &length.to_be_bytes()])
}

/// An error. A structured reply carries `message` too, cut to 120 bytes.
#[must_use]
pub fn error(style: ReplyStyle, cookie: Cookie, errno: Errno, message: &str) -> ErrorReply {
    match style {
        ReplyStyle::Simple => simple(cookie, errno.to_wire()),
        ReplyStyle::Structured => {
            let text = ErrorText::new(message);
            let header = chunk_header(chunk::FLAG_DONE, chunk::ERROR, cookie, 6 + text.length());
            ErrorReply::from_parts(&[
                &header,
                &errno.to_wire().to_be_bytes(),
                &text.wire_length(),
                text.bytes(),
            ])
        }
    }
}

/// An error at an offset, in a structured reply: what came before it may be used.
#[must_use]
pub fn error_at(
    cookie: Cookie,
    errno: Errno,
    message: &str,
    offset: u64,
    more: More,
) -> ErrorReply {
    let text = ErrorText::new(message);
    let length = 14 + text.length();
    let header = chunk_header(more.flags(), chunk::ERROR_OFFSET, cookie, length);
    ErrorReply::from_parts(&[
        &header,
        &errno.to_wire().to_be_bytes(),
        &text.wire_length(),
        text.bytes(),
        &offset.to_be_bytes(),
    ])
}

/// A stretch of an export and its flags in a metadata context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// In bytes; never zero.
    pub length: u32,
    /// For `base:allocation`: `protocol::STATE_HOLE` and `protocol::STATE_ZERO`.
    pub flags: u32,
}

/// Appends the answer to a block status request: one chunk with at most
/// [`limits::MAX_EXTENTS`] of `extents`, the last of the reply. The caller has checked that there
/// is at least one, and exactly one within the range if the client asked for one.
pub fn block_status(out: &mut Vec<u8>, cookie: Cookie, context: ContextId, extents: &[Extent]) {
    let extents = extents.get(..limits::MAX_EXTENTS).unwrap_or(extents);
    let length = u32::try_from(4 + 8 * extents.len()).expect("at most 4 + 8 * 4096");
    out.reserve(24 + 8 * extents.len());
    out.extend_from_slice(&chunk_header(
        chunk::FLAG_DONE,
        chunk::BLOCK_STATUS,
        cookie,
        length,
    ));
    out.extend_from_slice(&context.0.to_be_bytes());
    for extent in extents {
        out.extend_from_slice(&extent.length.to_be_bytes());
        out.extend_from_slice(&extent.flags.to_be_bytes());
    }
}

fn simple<const N: usize>(cookie: Cookie, error: u32) -> Encoded<N> {
    Encoded::from_parts(&[
        &SIMPLE_REPLY_MAGIC.to_be_bytes(),
        &error.to_be_bytes(),
        &cookie.0.to_be_bytes(),
    ])
}

fn chunk_header(flags: u16, kind: u16, cookie: Cookie, length: u32) -> [u8; 20] {
    let header = Encoded::<20>::from_parts(&[
        &STRUCTURED_REPLY_MAGIC.to_be_bytes(),
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &cookie.0.to_be_bytes(),
        &length.to_be_bytes(),
    ]);
    header.bytes
}

struct ErrorText<'a>(&'a str);

impl<'a> ErrorText<'a> {
    fn new(message: &'a str) -> Self {
        Self(truncated(message, limits::MAX_ERROR_TEXT_BYTES))
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn length(&self) -> u32 {
        u32::from(self.short_length())
    }

    fn wire_length(&self) -> [u8; 2] {
        self.short_length().to_be_bytes()
    }

    fn short_length(&self) -> u16 {
        u16::try_from(self.0.len()).expect("cut to 120 bytes")
    }
}
