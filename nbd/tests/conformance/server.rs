//! A server in memory on a thread, put together from the crate's parts as an engine would.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use twindisk_nbd::protocol::{REQUEST_HEADER_BYTES, STATE_HOLE, STATE_ZERO};
use twindisk_nbd::reply::{self, Extent, More};
use twindisk_nbd::{
    Command, Errno, Export, Handshake, Negotiated, Outcome, ReplyStyle, Request, Verdict,
    decode_header, validate,
};

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One reply after another.
    Plain,
    /// Reads in pieces, last piece first, zeroes as holes.
    InPieces,
    /// Four requests are gathered and answered in reverse.
    Reversed,
}

/// Serves one connection; the thread gives the disk back.
pub(crate) fn serve(exports: Vec<Export>, manner: Manner) -> (UnixStream, JoinHandle<Vec<u8>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (
        theirs,
        std::thread::spawn(move || serve_stream(ours, &exports, manner)),
    )
}

/// Serves one connection; gives the disk back.
pub(crate) fn serve_stream(mut stream: UnixStream, exports: &[Export], manner: Manner) -> Vec<u8> {
    let mut handshake = Handshake::new();
    let mut input = Vec::new();
    let negotiated = loop {
        if let Some(output) = handshake.poll_output() {
            stream.write_all(&output).unwrap();
        }
        match handshake.outcome() {
            Some(Outcome::Transmission(negotiated)) => break negotiated.clone(),
            Some(Outcome::Aborted | Outcome::HardClose(_)) => return Vec::new(),
            None => {}
        }
        let mut buffer = [0; 100];
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return Vec::new();
        }
        let taken = handshake.handle_bytes(&buffer[..count], exports);
        input.extend_from_slice(&buffer[taken..count]);
    };
    let export = exports
        .iter()
        .find(|e| e.name() == negotiated.export)
        .unwrap()
        .clone();
    let disk = vec![0; usize::try_from(export.size_bytes).unwrap()];
    Disk {
        input,
        stream,
        export,
        negotiated,
        disk,
        manner,
    }
    .serve()
}

struct Disk {
    input: Vec<u8>,
    stream: UnixStream,
    export: Export,
    negotiated: Negotiated,
    disk: Vec<u8>,
    manner: Manner,
}

impl Disk {
    fn serve(mut self) -> Vec<u8> {
        let mut held = Vec::new();
        while let Some(bytes) = self.receive(REQUEST_HEADER_BYTES) {
            let header = decode_header(&bytes.try_into().unwrap()).unwrap();
            let style = self.negotiated.replies;
            let answer = match validate(&header, &self.export, &self.negotiated) {
                Verdict::Accept(Request {
                    command: Command::Disconnect,
                    ..
                }) => break,
                Verdict::Accept(request) => {
                    let payload = self.receive(request.payload_bytes() as usize).unwrap();
                    self.carry_out(&request, &payload)
                }
                Verdict::Empty(cookie) => reply::done(style, cookie).as_bytes().to_vec(),
                Verdict::Reject(no) => {
                    self.receive(no.payload_bytes_to_drain as usize).unwrap();
                    reply::error(style, no.cookie, no.errno, no.message)
                        .as_bytes()
                        .to_vec()
                }
                Verdict::Close(_) => break,
            };
            held.push(answer);
            if self.manner != Manner::Reversed || held.len() == 4 {
                for answer in held.drain(..).rev() {
                    self.stream.write_all(&answer).unwrap();
                }
            }
        }
        self.disk
    }

    fn receive(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.input.len() < count {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return None,
                read => self.input.extend_from_slice(&buffer[..read]),
            }
        }
        Some(self.input.drain(..count).collect())
    }

    fn carry_out(&mut self, request: &Request, payload: &[u8]) -> Vec<u8> {
        let Request {
            cookie,
            command,
            offset,
            length,
        } = *request;
        let style = self.negotiated.replies;
        let start = usize::try_from(offset).unwrap();
        let range = start..start + length as usize;
        let done = reply::done(style, cookie).as_bytes().to_vec();
        match command {
            Command::Read { dont_fragment } => {
                let data = self.disk[range].to_vec();
                if style == ReplyStyle::Structured
                    && self.manner == Manner::InPieces
                    && !dont_fragment
                {
                    return in_pieces(request, &data);
                }
                let mut out = reply::read_data(style, cookie, offset, length)
                    .as_bytes()
                    .to_vec();
                out.extend_from_slice(&data);
                out
            }
            Command::Write { .. } => {
                self.disk[range].copy_from_slice(payload);
                done
            }
            Command::WriteZeroes { fast: true, .. } => {
                reply::error(style, cookie, Errno::NotSupported, "not fast")
                    .as_bytes()
                    .to_vec()
            }
            Command::WriteZeroes { .. } | Command::Trim { .. } => {
                self.disk[range].fill(0);
                done
            }
            Command::BlockStatus { .. } => {
                let context = self.negotiated.base_allocation.unwrap();
                let zero = self.disk[range].iter().all(|b| *b == 0);
                let flags = if zero { STATE_HOLE | STATE_ZERO } else { 0 };
                let mut out = Vec::new();
                reply::block_status(&mut out, cookie, context, &[Extent { length, flags }]);
                out
            }
            Command::Flush | Command::Cache => done,
            Command::Disconnect => unreachable!("handled by the caller"),
        }
    }
}

/// Chunks of 512 bytes, the last one first, zeroes as holes, then a closing chunk.
fn in_pieces(request: &Request, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let pieces: Vec<_> = data.chunks(512).enumerate().collect();
    for (index, piece) in pieces.into_iter().rev() {
        let offset = request.offset + 512 * index as u64;
        let length = u32::try_from(piece.len()).unwrap();
        if piece.iter().all(|b| *b == 0) {
            let hole = reply::chunk_hole(request.cookie, offset, length, More::Follows);
            out.extend_from_slice(hole.as_bytes());
        } else {
            let head = reply::chunk_data(request.cookie, offset, length, More::Follows);
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(piece);
        }
    }
    out.extend_from_slice(reply::done(ReplyStyle::Structured, request.cookie).as_bytes());
    out
}
