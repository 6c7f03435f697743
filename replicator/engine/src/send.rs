//! What is sent in one call: small pieces (headers) beside payload buffers, in order, resumed when it was cut short.
//!
//! Payload bytes are never copied. Each socket has one batch, and at most one send under way.

use std::io::IoSlice;

use io_uring::opcode;
use twindisk_core::BufId;

use crate::{
    buffers::Buffers,
    limits::{MAX_SEND_BATCH, MAX_SEND_BYTES, MAX_SEND_PIECES},
    ring::{Completion, Ring, RingFile, Turn},
    tokens::Token,
};

/// One `sendmsg` in the making or under way.
pub(crate) struct SendBatch {
    small: Vec<u8>,
    pieces: Vec<Piece>,
    iovecs: Vec<libc::iovec>,
    message: Box<libc::msghdr>,
    units: usize,
    bytes: usize,
    sent: usize,
    under_way: bool,
}

#[derive(Clone, Copy)]
enum Piece {
    Small { at: usize, len: usize },
    Payload { buf: BufId, at: usize, len: usize },
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All of it.
    Whole,
    /// There is more: stage it again.
    Part,
    /// The socket is of no use any more.
    Failed(i32),
}

impl SendBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: all zeros is a valid, empty message header.
        let message = unsafe { std::mem::zeroed() };
        Self {
            small: Vec::new(),
            pieces: Vec::new(),
            iovecs: Vec::new(),
            message: Box::new(message),
            units: 0,
            bytes: 0,
            sent: 0,
            under_way: false,
        }
    }

    pub(crate) const fn is_under_way(&self) -> bool {
        self.under_way
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Bytes of the whole batch.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether another frame or reply with `pieces` payloads may be added.
    pub(crate) const fn has_room(&self, pieces: usize) -> bool {
        self.units < MAX_SEND_BATCH
            && self.bytes < MAX_SEND_BYTES
            && (self.pieces.len() + pieces + 1 < MAX_SEND_PIECES || self.pieces.is_empty())
    }

    /// Adds bytes, which are copied. Each frame or reply begins with one.
    pub(crate) fn push_small(&mut self, bytes: &[u8]) {
        self.begin_small().extend_from_slice(bytes);
        self.end_small();
    }

    /// The vector that small bytes are appended to; `end_small` must follow.
    pub(crate) fn begin_small(&mut self) -> &mut Vec<u8> {
        assert!(!self.under_way, "the kernel is reading this batch");
        &mut self.small
    }

    pub(crate) fn end_small(&mut self) {
        self.units += 1;
        let small_before: usize = match self.pieces.last() {
            Some(Piece::Small { at, len }) => at + len,
            _ => self
                .pieces
                .iter()
                .rev()
                .find_map(|piece| match piece {
                    Piece::Small { at, len } => Some(at + len),
                    Piece::Payload { .. } => None,
                })
                .unwrap_or(0),
        };
        let added = self.small.len() - small_before;
        self.bytes += added;
        if let Some(Piece::Small { len, .. }) = self.pieces.last_mut() {
            *len += added;
        } else {
            self.pieces.push(Piece::Small {
                at: small_before,
                len: added,
            });
        }
    }

    /// Adds bytes of a buffer, which stays where it is until the batch is sent.
    pub(crate) fn push_payload(&mut self, buf: BufId, at: usize, len: usize) {
        assert!(!self.under_way, "the kernel is reading this batch");
        self.bytes += len;
        self.pieces.push(Piece::Payload { buf, at, len });
    }

    /// Where the bytes behind the first `skip` are, `most` of them at most and as many pieces as fit; says how many there
    /// are.
    pub(crate) fn slices<'a>(
        &'a self,
        buffers: &'a Buffers,
        (mut skip, mut most): (usize, usize),
        into: &mut [IoSlice<'a>],
    ) -> usize {
        let mut count = 0;
        for piece in &self.pieces {
            let bytes = match *piece {
                Piece::Small { at, len } => &self.small[at..at + len],
                Piece::Payload { buf, at, len } => buffers.bytes(buf, at, len),
            };
            if skip >= bytes.len() {
                skip -= bytes.len();
                continue;
            }
            let bytes = &bytes[skip..];
            let bytes = &bytes[..bytes.len().min(most)];
            if bytes.is_empty() || count == into.len() {
                break;
            }
            into[count] = IoSlice::new(bytes);
            (count, skip, most) = (count + 1, 0, most - bytes.len());
        }
        count
    }

    /// Sends what is in the batch, or what is left of it.
    pub(crate) fn stage(
        &mut self,
        ring: &mut Ring,
        buffers: &Buffers,
        to: (RingFile, Turn),
        token: Token,
    ) {
        assert!(self.sent < self.bytes, "nothing to send");
        self.iovecs.clear();
        let mut skip = self.sent;
        for piece in &self.pieces {
            let (base, len) = match *piece {
                Piece::Small { at, len } => (self.small[at..at + len].as_ptr(), len),
                Piece::Payload { buf, at, len } => {
                    (buffers.address(buf, at, len).as_ptr().cast_const(), len)
                }
            };
            if skip >= len {
                skip -= len;
                continue;
            }
            self.iovecs.push(libc::iovec {
                iov_base: base.wrapping_add(skip).cast_mut().cast(),
                iov_len: len - skip,
            });
            skip = 0;
        }
        self.message.msg_iov = self.iovecs.as_mut_ptr();
        self.message.msg_iovlen = self.iovecs.len() as _;
        self.under_way = true;
        let (file, turn) = to;
        let flags = (libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32;
        let entry = opcode::SendMsg::new(file.fd(), &raw const *self.message)
            .flags(flags)
            .build();
        // SAFETY: header, vectors and small bytes are this batch's own and not touched while `under_way`; payload
        // buffers are pinned or held by whoever added them until the batch has been sent.
        unsafe { ring.stage(turn, file, entry, token) };
    }

    /// Takes the completion of `stage`.
    pub(crate) fn complete(&mut self, completion: Completion) -> Sent {
        assert!(self.under_way, "{completion:?} of no send");
        self.under_way = false;
        match completion.bytes() {
            Err(libc::EINTR | libc::EAGAIN) => Sent::Part,
            Err(errno) => Sent::Failed(errno),
            Ok(0) => Sent::Failed(libc::EPIPE),
            Ok(sent) => {
                self.sent += sent;
                assert!(self.sent <= self.bytes, "more was sent than there was");
                if self.sent < self.bytes {
                    return Sent::Part;
                }
                self.clear();
                Sent::Whole
            }
        }
    }

    /// Empties the batch.
    pub(crate) fn clear(&mut self) {
        assert!(!self.under_way, "the kernel is reading this batch");
        self.small.clear();
        self.pieces.clear();
        self.units = 0;
        self.bytes = 0;
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        os::{fd::AsRawFd, unix::net::UnixStream},
        time::Duration,
    };

    use super::*;
    use crate::{
        buffers::{Class, tests::small},
        tokens::Kind,
    };

    #[test]
    fn pieces_arrive_in_order_through_a_narrow_socket() {
        let mut ring = Ring::new(4).expect("ring");
        let mut buffers = Buffers::new(small(), &mut ring).expect("buffers");
        let (mut theirs, ours) = UnixStream::pair().expect("pair");
        let file = ring.add_file(ours.as_raw_fd());
        let mut batch = SendBatch::new();
        let mut expected = Vec::new();
        for round in 0..20u8 {
            let buf = buffers.take(Class::Client, 32).expect("room");
            buffers.bytes_mut(buf, 0, 32 * 4096).fill(round);
            for small in [[round; 3], [0xaa; 3]] {
                batch.push_small(&small);
                expected.extend_from_slice(&small);
            }
            batch.push_payload(buf, 5, 100_000);
            expected.resize(expected.len() + 100_000, round);
        }
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).expect("read");
            bytes
        });
        let token = Token::new(Kind::Disk, 0, 0);
        let mut completions = Vec::new();
        batch.stage(&mut ring, &buffers, (file, Turn::Peers), token);
        loop {
            ring.turn(None, Duration::ZERO, &mut completions)
                .expect("turn");
            let Some(completion) = completions.pop() else {
                continue;
            };
            match batch.complete(completion) {
                Sent::Whole => break,
                Sent::Part => batch.stage(&mut ring, &buffers, (file, Turn::Peers), token),
                Sent::Failed(errno) => panic!("{errno}"),
            }
        }
        assert!(batch.is_empty());
        ring.forget_file(file);
        drop(ours);
        assert!(reader.join().expect("reader") == expected);
    }
}
