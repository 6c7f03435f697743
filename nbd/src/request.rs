//! Requests of the transmission phase: decoding the fixed header, and judging it against the
//! export. Payload bytes never pass through here: the caller receives them where it wants them.

use thiserror::Error;

use crate::bytes::Reader;
use crate::errno::Errno;
use crate::export::Export;
use crate::limits;
use crate::protocol::{REQUEST_HEADER_BYTES, REQUEST_MAGIC, command, command_flag};

/// The client's name for a request, given back in the reply. Opaque; a client may reuse one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub u64);

/// The number under which a metadata context appears in replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContextId(pub u32);

impl ContextId {
    /// Ours for `base:allocation`. Not zero, so that it cannot pass for the reserved id of a list.
    pub const BASE_ALLOCATION: Self = Self(1);
}

/// Which form replies take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReplyStyle {
    /// Sixteen bytes and the data. What the Linux kernel speaks.
    #[default]
    Simple,
    /// Chunks: holes, messages with errors, errors after the data began.
    Structured,
}

/// What the handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Canonical name of the export.
    pub export: String,
    /// The form of replies.
    pub replies: ReplyStyle,
    /// The id of `base:allocation` if the client selected it.
    pub base_allocation: Option<ContextId>,
}

/// The 28 bytes in front of a request, decoded but not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `protocol::command_flag` bits.
    pub flags: u16,
    /// One of `protocol::command`, or anything else.
    pub command: u16,
    /// To be given back.
    pub cookie: Cookie,
    /// In bytes.
    pub offset: u64,
    /// In bytes.
    pub length: u32,
}

impl Header {
    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; REQUEST_HEADER_BYTES] {
        let mut bytes = [0; REQUEST_HEADER_BYTES];
        let parts: [&[u8]; 6] = [
            &REQUEST_MAGIC.to_be_bytes(),
            &self.flags.to_be_bytes(),
            &self.command.to_be_bytes(),
            &self.cookie.0.to_be_bytes(),
            &self.offset.to_be_bytes(),
            &self.length.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }
}

/// The stream is not at a request: nothing after it can be trusted, close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0:#010x} stands where a request should begin: the client lost its place")]
pub struct BadMagic(pub u32);

/// Decodes a request header.
///
/// # Errors
/// If the magic number is wrong. Everything else is for [`validate`].
pub fn decode_header(bytes: &[u8; REQUEST_HEADER_BYTES]) -> Result<Header, BadMagic> {
    let mut reader = Reader::new(bytes);
    let magic = reader.u32().unwrap_or_default();
    if magic != REQUEST_MAGIC {
        return Err(BadMagic(magic));
    }
    Ok(Header {
        flags: reader.u16().unwrap_or_default(),
        command: reader.u16().unwrap_or_default(),
        cookie: Cookie(reader.u64().unwrap_or_default()),
        offset: reader.u64().unwrap_or_default(),
        length: reader.u32().unwrap_or_default(),
    })
}

/// A request that may be carried out. `offset + length` does not overflow and, for commands that
/// have a range, ends within the export; both are multiples of the minimum block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// To be given back.
    pub cookie: Cookie,
    /// What to do.
    pub command: Command,
    /// In bytes; meaningless for `Flush` and `Disconnect`.
    pub offset: u64,
    /// In bytes. Never zero for a command with a range (see [`Verdict::Empty`]). At most the
    /// export's maximum payload for `Read` and `Write`, up to 4 GiB for the others.
    pub length: u32,
}

impl Request {
    /// How many bytes follow the header on the wire.
    #[must_use]
    pub fn payload_bytes(&self) -> u32 {
        match self.command {
            Command::Write { .. } => self.length,
            Command::Read { .. }
            | Command::Flush
            | Command::Trim { .. }
            | Command::WriteZeroes { .. }
            | Command::BlockStatus { .. }
            | Command::Cache
            | Command::Disconnect => 0,
        }
    }

    /// The header that a client sends for this request.
    #[must_use]
    pub fn to_header(&self) -> Header {
        let bit = |on: bool, flag: u16| if on { flag } else { 0 };
        let (command, flags) = match self.command {
            Command::Read { dont_fragment } => {
                (command::READ, bit(dont_fragment, command_flag::DF))
            }
            Command::Write { fua } => (command::WRITE, bit(fua, command_flag::FUA)),
            Command::Flush => (command::FLUSH, 0),
            Command::Trim { fua } => (command::TRIM, bit(fua, command_flag::FUA)),
            Command::WriteZeroes { fua, no_hole, fast } => (
                command::WRITE_ZEROES,
                bit(fua, command_flag::FUA)
                    | bit(no_hole, command_flag::NO_HOLE)
                    | bit(fast, command_flag::FAST_ZERO),
            ),
            Command::BlockStatus { one_extent } => (
                command::BLOCK_STATUS,
                bit(one_extent, command_flag::REQ_ONE),
            ),
            Command::Cache => (command::CACHE, 0),
            Command::Disconnect => (command::DISC, 0),
        };
        Header {
            flags,
            command,
            cookie: self.cookie,
            offset: self.offset,
            length: self.length,
        }
    }
}

/// What a request asks for. `FUA` is accepted on every command, as the specification demands, and
/// means something for those that carry it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Read the range.
    Read {
        /// The reply must have one content chunk.
        dont_fragment: bool,
    },
    /// Write the payload.
    Write {
        /// Acknowledge only once stable.
        fua: bool,
    },
    /// Make everything acknowledged stable.
    Flush,
    /// Discard the range. Its contents are undefined afterwards, for the client.
    Trim {
        /// Acknowledge only once stable.
        fua: bool,
    },
    /// Make the range read as zeroes.
    WriteZeroes {
        /// Acknowledge only once stable.
        fua: bool,
        /// Keep the range allocated.
        no_hole: bool,
        /// Answer `NotSupported` at once rather than be slow.
        fast: bool,
    },
    /// Describe the extents of the range.
    BlockStatus {
        /// Exactly one extent, not beyond the range.
        one_extent: bool,
    },
    /// Read ahead.
    Cache,
    /// Finish what is in flight, then close. No reply.
    Disconnect,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out (after receiving [`Request::payload_bytes`]).
    Accept(Request),
    /// A range of no bytes: nothing to do, answer success ([`crate::reply::done`]). The
    /// specification leaves the behaviour open but says not to disconnect.
    Empty(Cookie),
    /// Answer an error and keep the connection.
    Reject(Rejected),
    /// Close the connection: its payload is not worth skipping.
    Close(CloseReason),
}

/// A request to be answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// To be given back.
    pub cookie: Cookie,
    /// The error.
    pub errno: Errno,
    /// Receive and throw away so many bytes first; they follow the header.
    pub payload_bytes_to_drain: u32,
    /// For people; fits an error chunk.
    pub message: &'static str,
}

/// Why a connection cannot go on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// [`limits::MAX_DRAINED_PAYLOAD_BYTES`].
    #[error("a write of {length} bytes was announced; the largest accepted is {maximum}")]
    AbsurdPayload {
        /// As announced, in bytes.
        length: u32,
        /// The export's maximum, in bytes.
        maximum: u32,
    },
}

/// Judges a request against the export as it is now and what was negotiated. Pure.
///
/// The order of the checks is part of the behaviour: unknown command or flag (`EINVAL`),
/// read-only (`EPERM`), too long (`EINVAL`, or `EOVERFLOW` for a read with `DF`), misaligned
/// (`EINVAL`), past the end (`ENOSPC` for what writes, else `EINVAL`), and only then empty.
#[must_use]
pub fn validate(header: &Header, export: &Export, negotiated: &Negotiated) -> Verdict {
    let payload = if header.command == command::WRITE {
        header.length
    } else {
        0
    };
    if payload > limits::MAX_DRAINED_PAYLOAD_BYTES {
        let maximum = export.block_sizes.maximum();
        return Verdict::Close(CloseReason::AbsurdPayload {
            length: payload,
            maximum,
        });
    }
    let cookie = header.cookie;
    let judged = decode_command(header, export, negotiated)
        .and_then(|command| check_range(header, command, export).map(|range| (command, range)));
    match judged {
        Ok((command, Range::Used)) => {
            let Header { offset, length, .. } = *header;
            Verdict::Accept(Request {
                cookie,
                command,
                offset,
                length,
            })
        }
        Ok((_, Range::Empty)) => Verdict::Empty(cookie),
        Err((errno, message)) => Verdict::Reject(Rejected {
            cookie,
            errno,
            payload_bytes_to_drain: payload,
            message,
        }),
    }
}

type Refusal = (Errno, &'static str);

enum Range {
    Used,
    Empty,
}

fn decode_command(
    header: &Header,
    export: &Export,
    negotiated: &Negotiated,
) -> Result<Command, Refusal> {
    let can = export.capabilities;
    let has = |flag: u16| header.flags & flag != 0;
    let fua = has(command_flag::FUA);
    let (known, command) = match header.command {
        command::READ => {
            // DF is advertised with structured replies only.
            let known = match negotiated.replies {
                ReplyStyle::Simple => 0,
                ReplyStyle::Structured => command_flag::DF,
            };
            (
                known,
                Command::Read {
                    dont_fragment: has(command_flag::DF),
                },
            )
        }
        command::WRITE => (0, Command::Write { fua }),
        command::DISC => (0, Command::Disconnect),
        command::FLUSH => (0, Command::Flush),
        command::TRIM if can.trim => (0, Command::Trim { fua }),
        command::CACHE if can.cache => (0, Command::Cache),
        command::WRITE_ZEROES if can.write_zeroes => {
            let fast = if export.takes_fast_zero() {
                command_flag::FAST_ZERO
            } else {
                0
            };
            let command = Command::WriteZeroes {
                fua,
                no_hole: has(command_flag::NO_HOLE),
                fast: has(command_flag::FAST_ZERO),
            };
            // On a read-only export the flag is not advertised, but EPERM says more than EINVAL.
            let fast = if export.read_only {
                command_flag::FAST_ZERO
            } else {
                fast
            };
            (command_flag::NO_HOLE | fast, command)
        }
        command::BLOCK_STATUS if negotiated.base_allocation.is_some() => {
            let one_extent = has(command_flag::REQ_ONE);
            (command_flag::REQ_ONE, Command::BlockStatus { one_extent })
        }
        command::BLOCK_STATUS => {
            return Err((
                Errno::Invalid,
                "no metadata context was selected in the handshake",
            ));
        }
        command::TRIM | command::CACHE | command::WRITE_ZEROES => {
            return Err((Errno::Invalid, "the export does not offer this command"));
        }
        _ => return Err((Errno::Invalid, "unknown command")),
    };
    // FUA "is valid for all commands […] the server MUST accept all commands with this bit set".
    if header.flags & !(known | command_flag::FUA) != 0 && command != Command::Disconnect {
        return Err((
            Errno::Invalid,
            "a flag that is unknown, not offered or not for this command",
        ));
    }
    Ok(command)
}

fn check_range(header: &Header, command: Command, export: &Export) -> Result<Range, Refusal> {
    let sizes = export.block_sizes;
    let changes_data = match command {
        // Offset and length are reserved. A flush of everything covers whatever was meant.
        Command::Flush | Command::Disconnect => return Ok(Range::Used),
        Command::Write { .. } | Command::Trim { .. } | Command::WriteZeroes { .. } => true,
        Command::Read { .. } | Command::BlockStatus { .. } | Command::Cache => false,
    };
    if changes_data && export.read_only {
        return Err((Errno::NotPermitted, "the export is read-only"));
    }
    if header.length > sizes.maximum() {
        match command {
            Command::Read {
                dont_fragment: true,
            } => {
                return Err((Errno::Overflow, "too long for one chunk"));
            }
            Command::Read {
                dont_fragment: false,
            }
            | Command::Write { .. } => {
                return Err((Errno::Invalid, "longer than the advertised maximum payload"));
            }
            _ => {}
        }
    }
    let minimum = sizes.minimum();
    if !header.offset.is_multiple_of(u64::from(minimum)) || !header.length.is_multiple_of(minimum) {
        return Err((
            Errno::Invalid,
            "offset or length is no multiple of the minimum block size",
        ));
    }
    let end = header.offset.checked_add(u64::from(header.length));
    if end.is_none_or(|end| end > export.size_bytes) {
        let errno = match command {
            Command::Write { .. } | Command::WriteZeroes { .. } => Errno::NoSpace,
            _ => Errno::Invalid,
        };
        return Err((errno, "past the end of the export"));
    }
    Ok(if header.length == 0 {
        Range::Empty
    } else {
        Range::Used
    })
}
