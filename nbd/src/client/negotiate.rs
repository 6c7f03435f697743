//! The client's side of the handshake: fixed newstyle, `GO`, structured replies when wanted.

use std::io::{Read, Write};
use std::time::Duration;

use crate::bytes::{Reader, printable};
use crate::client::ClientError;
use crate::limits;
use crate::protocol::{
    self, GREETING_BYTES, OPTION_REPLY_HEADER_BYTES, handshake_flag, info, option, option_reply,
};
use crate::request::{ContextId, ReplyStyle};

/// What to ask for when connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// The form of replies to ask for. A server that does not know structured replies is accepted.
    pub replies: ReplyStyle,
    /// Select `base:allocation` (needs structured replies), so that block status works.
    pub block_status: bool,
    /// How long connecting and each read or write may take; `None` is for ever.
    pub timeout: Option<Duration>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            replies: ReplyStyle::Structured,
            block_status: true,
            timeout: Some(Duration::from_secs(30)),
        }
    }
}

impl ConnectOptions {
    /// What the Linux kernel speaks: simple replies and nothing else.
    #[must_use]
    pub fn for_the_kernel() -> Self {
        Self {
            replies: ReplyStyle::Simple,
            block_status: false,
            ..Self::default()
        }
    }
}

/// What the server said about the export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportInfo {
    /// Canonical name if the server told one, else the name that was asked for.
    pub name: String,
    /// Text for people; may be empty.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `protocol::transmission_flag` bits.
    pub flags: u16,
    /// Smallest addressable length and alignment, in bytes; 1 if not told.
    pub minimum_block_bytes: u32,
    /// Smallest efficient size, in bytes; 4096 if not told.
    pub preferred_block_bytes: u32,
    /// Largest read or write, in bytes; 32 MiB if not told or more.
    pub maximum_payload_bytes: u32,
    /// The form of replies agreed on.
    pub replies: ReplyStyle,
    /// The id of `base:allocation`, if selected.
    pub base_allocation: Option<ContextId>,
}

impl ExportInfo {
    /// Whether all of `bits` (of `protocol::transmission_flag`) are set.
    #[must_use]
    pub fn has(&self, bits: u16) -> bool {
        self.flags & bits == bits
    }
}

/// One line of a server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedExport {
    /// Name.
    pub name: String,
    /// Text for people; may be empty.
    pub description: String,
}

/// Asks a server for its exports, then leaves politely.
///
/// # Errors
/// If the server refuses, or is none.
pub fn list_exports<S: Read + Write>(stream: &mut S) -> Result<Vec<ListedExport>, ClientError> {
    let mut haggling = Haggling::begin(stream)?;
    let entries = haggling.ask("LIST", option::LIST, &[])?;
    let mut exports = Vec::with_capacity(entries.len());
    for (kind, data) in entries {
        if kind != option_reply::SERVER {
            return Err(unexpected("LIST", kind));
        }
        let mut reader = Reader::new(&data);
        let name = reader.counted().ok_or_else(|| malformed("LIST"))?;
        let limit = limits::MAX_STRING_BYTES;
        exports.push(ListedExport {
            name: printable(name, limit),
            description: printable(reader.rest(), limit),
        });
    }
    haggling.ask("ABORT", option::ABORT, &[])?;
    Ok(exports)
}

/// Negotiates up to the transmission phase of `export`.
pub(super) fn negotiate<S: Read + Write>(
    stream: &mut S,
    export: &str,
    options: &ConnectOptions,
) -> Result<ExportInfo, ClientError> {
    if export.len() > limits::MAX_STRING_BYTES {
        return Err(ClientError::Misuse("an export name has at most 4096 bytes"));
    }
    let mut haggling = Haggling::begin(stream)?;
    let replies = match options.replies {
        ReplyStyle::Simple => ReplyStyle::Simple,
        ReplyStyle::Structured => {
            match haggling.ask("STRUCTURED_REPLY", option::STRUCTURED_REPLY, &[]) {
                Ok(_) => ReplyStyle::Structured,
                Err(ClientError::Refused { .. }) => ReplyStyle::Simple,
                Err(error) => return Err(error),
            }
        }
    };
    let mut base_allocation = None;
    if options.block_status && replies == ReplyStyle::Structured {
        base_allocation = match haggling.select_base_allocation(export) {
            Ok(context) => context,
            Err(ClientError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    let mut found = haggling.go(export)?;
    found.replies = replies;
    found.base_allocation = base_allocation;
    Ok(found)
}

struct Haggling<'s, S> {
    stream: &'s mut S,
}

impl<'s, S: Read + Write> Haggling<'s, S> {
    fn begin(stream: &'s mut S) -> Result<Self, ClientError> {
        const DOING: &str = "reading the server's greeting";
        let mut greeting = [0; GREETING_BYTES];
        stream
            .read_exact(&mut greeting)
            .map_err(|e| ClientError::from_io(DOING, e))?;
        let mut reader = Reader::new(&greeting);
        if reader.u64() != Some(protocol::NBD_MAGIC) {
            return Err(ClientError::NotNbd(
                "it does not begin with NBDMAGIC".to_owned(),
            ));
        }
        if reader.u64() != Some(protocol::OPTION_MAGIC) {
            return Err(ClientError::NotNbd(
                "it speaks the old handshake".to_owned(),
            ));
        }
        let flags = reader.u16().unwrap_or_default();
        if flags & handshake_flag::FIXED_NEWSTYLE == 0 {
            return Err(ClientError::NotNbd(
                "it speaks the newstyle that was not fixed".to_owned(),
            ));
        }
        let ours = flags & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
        let haggling = Self { stream };
        haggling
            .stream
            .write_all(&u32::from(ours).to_be_bytes())
            .map_err(sending)?;
        Ok(haggling)
    }

    /// Sends an option and collects its replies up to the final acknowledgement.
    fn ask(
        &mut self,
        name: &'static str,
        option: u32,
        body: &[u8],
    ) -> Result<Vec<(u32, Vec<u8>)>, ClientError> {
        let length = u32::try_from(body.len())
            .map_err(|_| ClientError::Misuse("an option is shorter than 4 GiB"))?;
        let mut message = Vec::with_capacity(protocol::OPTION_HEADER_BYTES + body.len());
        message.extend_from_slice(&protocol::OPTION_MAGIC.to_be_bytes());
        message.extend_from_slice(&option.to_be_bytes());
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream.write_all(&message).map_err(sending)?;
        let mut replies = Vec::new();
        loop {
            let (kind, data) = self.reply(option)?;
            if kind == option_reply::ACK {
                return Ok(replies);
            }
            if kind & option_reply::ERROR_BIT != 0 {
                let message = match printable(&data, limits::MAX_STRING_BYTES) {
                    text if text.is_empty() => "no reason given".to_owned(),
                    text => text,
                };
                return Err(ClientError::Refused {
                    option: name,
                    reply: kind,
                    message,
                });
            }
            if replies.len() == limits::MAX_OPTION_REPLIES {
                return Err(ClientError::Protocol(format!(
                    "its answer to {name} has no end"
                )));
            }
            replies.push((kind, data));
        }
    }

    fn reply(&mut self, option: u32) -> Result<(u32, Vec<u8>), ClientError> {
        const DOING: &str = "reading the server's answer to an option";
        let mut header = [0; OPTION_REPLY_HEADER_BYTES];
        self.stream
            .read_exact(&mut header)
            .map_err(|e| ClientError::from_io(DOING, e))?;
        let mut reader = Reader::new(&header);
        let magic = reader.u64().unwrap_or_default();
        let about = reader.u32().unwrap_or_default();
        let kind = reader.u32().unwrap_or_default();
        let length = reader.u32().unwrap_or_default();
        if magic != protocol::OPTION_REPLY_MAGIC || about != option {
            let text = format!("magic {magic:#x}, option {about} where {option} was asked");
            return Err(ClientError::Protocol(text));
        }
        if length > limits::MAX_OPTION_REPLY_BYTES {
            return Err(ClientError::Protocol(format!(
                "an option reply of {length} bytes"
            )));
        }
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        self.stream
            .read_exact(&mut data)
            .map_err(|e| ClientError::from_io(DOING, e))?;
        Ok((kind, data))
    }

    fn select_base_allocation(&mut self, export: &str) -> Result<Option<ContextId>, ClientError> {
        const NAME: &str = "SET_META_CONTEXT";
        let mut body = counted(export);
        body.extend_from_slice(&1_u32.to_be_bytes());
        body.extend(counted(protocol::BASE_ALLOCATION));
        let mut found = None;
        for (kind, data) in self.ask(NAME, option::SET_META_CONTEXT, &body)? {
            if kind != option_reply::META_CONTEXT {
                return Err(unexpected(NAME, kind));
            }
            let mut reader = Reader::new(&data);
            let id = reader.u32().ok_or_else(|| malformed(NAME))?;
            if reader.rest() == protocol::BASE_ALLOCATION.as_bytes() {
                found = Some(ContextId(id));
            }
        }
        Ok(found)
    }

    fn go(&mut self, export: &str) -> Result<ExportInfo, ClientError> {
        let wanted = [info::NAME, info::DESCRIPTION, info::BLOCK_SIZE];
        let mut body = counted(export);
        body.extend_from_slice(&[0, 3]);
        body.extend(wanted.into_iter().flat_map(u16::to_be_bytes));
        let mut found = ExportInfo {
            name: export.to_owned(),
            description: String::new(),
            size_bytes: 0,
            flags: 0,
            minimum_block_bytes: 1,
            preferred_block_bytes: 4096,
            maximum_payload_bytes: limits::MAX_PAYLOAD_BYTES,
            replies: ReplyStyle::Simple,
            base_allocation: None,
        };
        let mut sized = false;
        for (kind, data) in self.ask("GO", option::GO, &body)? {
            if kind != option_reply::INFO {
                return Err(unexpected("GO", kind));
            }
            let told = found.take_info(&data).ok_or_else(|| malformed("GO"))?;
            sized |= told == info::EXPORT;
        }
        if !sized {
            return Err(ClientError::Protocol(
                "it answered GO without a size".to_owned(),
            ));
        }
        Ok(found)
    }
}

impl ExportInfo {
    /// Takes one information item in; gives its type, or `None` if it is malformed.
    fn take_info(&mut self, data: &[u8]) -> Option<u16> {
        let mut reader = Reader::new(data);
        let kind = reader.u16()?;
        match kind {
            info::EXPORT => {
                self.size_bytes = reader.u64()?;
                self.flags = reader.u16()?;
            }
            info::NAME => self.name = std::str::from_utf8(reader.rest()).ok()?.to_owned(),
            info::DESCRIPTION => {
                self.description = printable(reader.rest(), limits::MAX_STRING_BYTES);
            }
            info::BLOCK_SIZE => {
                self.minimum_block_bytes = reader.u32().filter(|size| size.is_power_of_two())?;
                self.preferred_block_bytes = reader.u32()?;
                self.maximum_payload_bytes = reader.u32()?.min(limits::MAX_PAYLOAD_BYTES);
            }
            // "The client MUST ignore information replies it does not understand."
            _ => {}
        }
        Some(kind)
    }
}

fn counted(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("names of at most 4096 bytes");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn sending(error: std::io::Error) -> ClientError {
    ClientError::from_io("sending an option to the server", error)
}

fn unexpected(option: &str, kind: u32) -> ClientError {
    ClientError::Protocol(format!("a reply of type {kind} to {option}"))
}

fn malformed(option: &str) -> ClientError {
    ClientError::Protocol(format!("a malformed reply to {option}"))
}
