//! The transmission phase from the client's side: one request after another, or many in flight.

use std::collections::{HashMap, VecDeque};
use std::io::{BufReader, IoSlice, Read, Write};
use std::time::Duration;

use crate::client::negotiate::{ConnectOptions, ExportInfo, negotiate};
use crate::client::pending::{Answer, Completion, Pending};
use crate::client::{ClientError, RequestError, Stream, Uri};
use crate::limits;
use crate::protocol::{REQUEST_HEADER_BYTES, SIMPLE_REPLY_BYTES};
use crate::reply::{
    ChunkHeader, Extent, More, ReplyStart, SimpleReply, decode_chunk, decode_start,
};
use crate::request::{Command, Cookie, ReplyStyle, Request};

/// A connection in the transmission phase.
///
/// ```no_run
/// use twindisk_nbd::client::{Client, ConnectOptions, Fua};
///
/// let uri = "nbd+unix:///disk0?socket=/run/twindisk/disk0.sock".parse()?;
/// let mut client = Client::connect(&uri, &ConnectOptions::default())?;
/// client.write(0, &[7; 4096], Fua::No)?;
/// client.flush()?;
/// let mut block = [0; 4096];
/// client.read(0, &mut block)?;
/// client.disconnect()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client<S = Stream> {
    stream: BufReader<S>,
    info: ExportInfo,
    next_cookie: u64,
    in_flight: HashMap<Cookie, Pending>,
    /// Completed, but not yet asked for: bounded by `MAX_IN_FLIGHT` together with `in_flight`.
    completed: VecDeque<Completion>,
    scratch: Vec<u8>,
    broken: bool,
}

/// Whether a change must be stable before it is acknowledged ("force unit access").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fua {
    /// It may sit in a cache until the next flush.
    #[default]
    No,
    /// It must be stable.
    Yes,
}

/// How to write zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zeroing {
    /// Stable before it is acknowledged.
    pub fua: bool,
    /// Keep the range allocated.
    pub no_hole: bool,
    /// Fail with `NotSupported` rather than be slow.
    pub fast: bool,
}

impl Client<Stream> {
    /// Connects and negotiates.
    ///
    /// # Errors
    /// If the server cannot be reached, refuses, or is no NBD server.
    pub fn connect(uri: &Uri, options: &ConnectOptions) -> Result<Self, ClientError> {
        let stream = Stream::connect(&uri.address, options.timeout)?;
        Self::negotiate(stream, &uri.export, options)
    }

    /// How long one read or write of the socket may take from now on; `None` is for ever.
    ///
    /// # Errors
    /// If the system refuses, for instance a timeout of zero.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), ClientError> {
        self.stream.get_ref().set_timeout(timeout)
    }
}

impl<S: Read + Write> Client<S> {
    /// Negotiates over a connected stream.
    ///
    /// # Errors
    /// If the server refuses, or is no NBD server.
    pub fn negotiate(
        mut stream: S,
        export: &str,
        options: &ConnectOptions,
    ) -> Result<Self, ClientError> {
        let info = negotiate(&mut stream, export, options)?;
        Ok(Self {
            stream: BufReader::with_capacity(READ_BUFFER_BYTES, stream),
            info,
            next_cookie: 1,
            in_flight: HashMap::new(),
            completed: VecDeque::new(),
            scratch: Vec::new(),
            broken: false,
        })
    }

    /// What the server said about the export.
    pub fn info(&self) -> &ExportInfo {
        &self.info
    }

    /// Requests sent and not yet received.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Gives the stream back, for the kernel to go on with.
    ///
    /// # Errors
    /// If requests are in flight.
    pub fn into_stream(self) -> Result<S, ClientError> {
        if !self.in_flight.is_empty() || !self.stream.buffer().is_empty() {
            return Err(ClientError::Misuse(
                "requests are in flight on this connection",
            ));
        }
        Ok(self.stream.into_inner())
    }

    /// Sends a request without waiting. `payload` is the data of a write, of `length` bytes, and
    /// empty for everything else. With many large requests in flight call [`Self::receive`] in
    /// between: a server that cannot send its replies stops reading.
    ///
    /// # Errors
    /// If the request cannot be expressed, or the connection fails.
    pub fn submit(
        &mut self,
        command: Command,
        offset: u64,
        length: u32,
        payload: &[u8],
    ) -> Result<Cookie, ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        if self.in_flight.len() + self.completed.len() >= limits::MAX_IN_FLIGHT {
            return Err(ClientError::Misuse(
                "too many requests in flight: receive some first",
            ));
        }
        let request = Request {
            cookie: Cookie(self.next_cookie),
            command,
            offset,
            length,
        };
        if usize::try_from(request.payload_bytes()).ok() != Some(payload.len()) {
            return Err(ClientError::Misuse("the payload does not fit the request"));
        }
        let moves_data = matches!(command, Command::Read { .. } | Command::Write { .. });
        if moves_data && length > self.info.maximum_payload_bytes {
            return Err(ClientError::Misuse(
                "longer than the server's maximum: split the request",
            ));
        }
        self.next_cookie += 1;
        let header = request.to_header().encode();
        let sent = send(self.stream.get_mut(), &header, payload);
        self.broken |= sent.is_err();
        sent.map_err(|e| ClientError::from_io("sending a request", e))?;
        if command != Command::Disconnect {
            self.in_flight.insert(request.cookie, Pending::new(request));
        }
        Ok(request.cookie)
    }

    /// Waits for the next completed request, in whatever order the server answers.
    ///
    /// # Errors
    /// If nothing is in flight, or the connection fails. An error of the request itself is in
    /// the completion.
    pub fn receive(&mut self) -> Result<Completion, ClientError> {
        match self.completed.pop_front() {
            Some(completion) => Ok(completion),
            None => self.receive_next(),
        }
    }

    /// Waits for one request; others that complete meanwhile are kept for [`Self::receive`].
    ///
    /// # Errors
    /// If it is not in flight, or the connection fails.
    pub fn wait(&mut self, cookie: Cookie) -> Result<Completion, ClientError> {
        if let Some(at) = self.completed.iter().position(|c| c.cookie == cookie)
            && let Some(completion) = self.completed.remove(at)
        {
            return Ok(completion);
        }
        if !self.in_flight.contains_key(&cookie) {
            return Err(ClientError::Misuse("no such request is in flight"));
        }
        loop {
            let completion = self.receive_next()?;
            if completion.cookie == cookie {
                return Ok(completion);
            }
            self.completed.push_back(completion);
        }
    }

    /// Reads from `offset` on.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ClientError> {
        let length = length_of(buffer)?;
        let command = Command::Read {
            dont_fragment: false,
        };
        match self.run(command, offset, length, &[])? {
            Answer::Data(data) if data.len() == buffer.len() => buffer.copy_from_slice(&data),
            Answer::Data(_) | Answer::Done | Answer::Extents(_) => return Err(wrong_answer()),
        }
        Ok(())
    }

    /// Writes at `offset`.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn write(&mut self, offset: u64, data: &[u8], fua: Fua) -> Result<(), ClientError> {
        let command = Command::Write {
            fua: fua == Fua::Yes,
        };
        self.run(command, offset, length_of(data)?, data).map(drop)
    }

    /// Makes everything acknowledged so far stable.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.run(Command::Flush, 0, 0, &[]).map(drop)
    }

    /// Discards a range; its contents are undefined afterwards.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn trim(&mut self, offset: u64, length: u32, fua: Fua) -> Result<(), ClientError> {
        self.run(
            Command::Trim {
                fua: fua == Fua::Yes,
            },
            offset,
            length,
            &[],
        )
        .map(drop)
    }

    /// Makes a range read as zeroes.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn write_zeroes(
        &mut self,
        offset: u64,
        length: u32,
        how: Zeroing,
    ) -> Result<(), ClientError> {
        let Zeroing { fua, no_hole, fast } = how;
        self.run(
            Command::WriteZeroes { fua, no_hole, fast },
            offset,
            length,
            &[],
        )
        .map(drop)
    }

    /// Tells the server that a range will be read soon.
    ///
    /// # Errors
    /// If the server answers an error, or the connection fails.
    pub fn cache(&mut self, offset: u64, length: u32) -> Result<(), ClientError> {
        self.run(Command::Cache, offset, length, &[]).map(drop)
    }

    /// The extents of a range in `base:allocation`, from `offset` on; they may end earlier or
    /// later than the range.
    ///
    /// # Errors
    /// If the context was not selected, the server answers an error, or the connection fails.
    pub fn block_status(&mut self, offset: u64, length: u32) -> Result<Vec<Extent>, ClientError> {
        if self.info.base_allocation.is_none() {
            return Err(ClientError::Misuse(
                "base:allocation was not selected when connecting",
            ));
        }
        match self.run(
            Command::BlockStatus { one_extent: false },
            offset,
            length,
            &[],
        )? {
            Answer::Extents(extents) => Ok(extents),
            Answer::Done | Answer::Data(_) => Err(wrong_answer()),
        }
    }

    /// Says goodbye and closes.
    ///
    /// # Errors
    /// If the goodbye cannot be sent.
    pub fn disconnect(mut self) -> Result<(), ClientError> {
        self.submit(Command::Disconnect, 0, 0, &[]).map(drop)
    }

    fn run(
        &mut self,
        command: Command,
        offset: u64,
        length: u32,
        payload: &[u8],
    ) -> Result<Answer, ClientError> {
        let cookie = self.submit(command, offset, length, payload)?;
        Ok(self.wait(cookie)?.result?)
    }

    fn receive_next(&mut self) -> Result<Completion, ClientError> {
        if self.broken {
            return Err(ClientError::Broken);
        }
        if self.in_flight.is_empty() {
            return Err(ClientError::Misuse("no request is in flight"));
        }
        let received = self.receive_reply();
        self.broken |= received.is_err();
        received
    }

    /// Reads messages until one completes a request.
    fn receive_reply(&mut self) -> Result<Completion, ClientError> {
        loop {
            let mut start = [0; SIMPLE_REPLY_BYTES];
            self.stream.read_exact(&mut start).map_err(receiving)?;
            match decode_start(&start)? {
                ReplyStart::Simple(reply) => return self.receive_simple(reply),
                ReplyStart::Chunk(header) => {
                    if let Some(completion) = self.receive_chunk(header)? {
                        return Ok(completion);
                    }
                }
            }
        }
    }

    fn receive_simple(&mut self, reply: SimpleReply) -> Result<Completion, ClientError> {
        let SimpleReply { cookie, error } = reply;
        let pending = self
            .in_flight
            .remove(&cookie)
            .ok_or_else(|| unknown_cookie(cookie))?;
        let request = pending.request;
        let needs_chunks = match request.command {
            Command::Read { .. } => self.info.replies == ReplyStyle::Structured,
            Command::BlockStatus { .. } => error.is_none(),
            _ => false,
        };
        if needs_chunks {
            let text = "a simple reply where a structured one is due".to_owned();
            return Err(ClientError::Protocol(text));
        }
        let result = match error {
            Some(errno) => Err(RequestError {
                errno,
                message: None,
                offset: None,
            }),
            None if pending.is_read() => {
                let mut data = vec![0; usize::try_from(request.length).unwrap_or_default()];
                self.stream.read_exact(&mut data).map_err(receiving)?;
                Ok(Answer::Data(data))
            }
            None => Ok(Answer::Done),
        };
        Ok(Completion {
            cookie,
            request,
            result,
        })
    }

    fn receive_chunk(&mut self, start: ChunkHeader) -> Result<Option<Completion>, ClientError> {
        if self.info.replies == ReplyStyle::Simple {
            let text = "a structured reply that was not negotiated".to_owned();
            return Err(ClientError::Protocol(text));
        }
        let mut length = [0; ChunkHeader::REST_BYTES];
        self.stream.read_exact(&mut length).map_err(receiving)?;
        let header = start.with_length(length)?;
        let cookie = header.cookie;
        let pending = self
            .in_flight
            .get_mut(&cookie)
            .ok_or_else(|| unknown_cookie(cookie))?;
        self.scratch
            .resize(usize::try_from(header.length).unwrap_or_default(), 0);
        self.stream
            .read_exact(&mut self.scratch)
            .map_err(receiving)?;
        pending.take(
            decode_chunk(&header, &self.scratch)?,
            self.info.base_allocation,
        )?;
        match header.more {
            More::Follows => Ok(None),
            More::Done => match self.in_flight.remove(&cookie) {
                Some(pending) => pending.finish().map(Some),
                None => Ok(None),
            },
        }
    }
}

/// Replies of small requests are read many at a time.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Header and payload in one system call where possible.
fn send<S: Write>(
    stream: &mut S,
    header: &[u8; REQUEST_HEADER_BYTES],
    payload: &[u8],
) -> std::io::Result<()> {
    let mut slices = [IoSlice::new(header), IoSlice::new(payload)];
    let mut slices = slices.as_mut_slice();
    let mut left = header.len() + payload.len();
    while left > 0 {
        match stream.write_vectored(slices) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                left = left.saturating_sub(count);
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn length_of(bytes: &[u8]) -> Result<u32, ClientError> {
    u32::try_from(bytes.len()).map_err(|_| ClientError::Misuse("split requests of 4 GiB and more"))
}

fn receiving(error: std::io::Error) -> ClientError {
    ClientError::from_io("waiting for a reply", error)
}

fn unknown_cookie(cookie: Cookie) -> ClientError {
    ClientError::Protocol(format!(
        "a reply to a request that is not in flight ({:#x})",
        cookie.0
    ))
}

fn wrong_answer() -> ClientError {
    ClientError::Protocol("the wrong kind of answer".to_owned())
}
