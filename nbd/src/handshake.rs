//! The server's side of the handshake: bytes in, bytes out, and at last an outcome. It never
//! touches a socket or a clock; the driver closes slow connections (`limits::HANDSHAKE_TIMEOUT`).

use thiserror::Error;

use crate::bytes::{Reader, printable};
use crate::export::{Availability, Export, Unserved, find_export, why_unserved};
use crate::limits;
use crate::options::{self, InfoRequest, MetaOption, MetaRequest, OptionError};
use crate::protocol::{self, handshake_flag, option, option_reply};
use crate::request::{ContextId, Negotiated, ReplyStyle};

/// One connection's handshake (fixed newstyle; proto.md, "Handshake").
///
/// ```
/// use twindisk_nbd::{Export, Handshake, Outcome};
///
/// let exports = [Export::new("disk0", 1 << 30)?];
/// let mut handshake = Handshake::new();
/// let greeting = handshake.poll_output().expect("the server speaks first");
/// assert_eq!(&greeting[..8], b"NBDMAGIC");
///
/// // Client flags, then EXPORT_NAME "disk0".
/// let mut client = vec![0, 0, 0, 3];
/// client.extend_from_slice(b"IHAVEOPT\0\0\0\x01\0\0\0\x05disk0");
/// assert_eq!(handshake.handle_bytes(&client, &exports), client.len());
/// assert!(matches!(handshake.outcome(), Some(Outcome::Transmission(n)) if n.export == "disk0"));
/// # Ok::<(), twindisk_nbd::InvalidExport>(())
/// ```
#[derive(Debug)]
pub struct Handshake {
    stage: Stage,
    /// The piece being collected; never longer than [`limits::MAX_OPTION_BYTES`].
    input: Vec<u8>,
    output: Vec<u8>,
    options_seen: u32,
    fixed_newstyle: bool,
    no_zeroes: bool,
    replies: ReplyStyle,
    /// The export for which `base:allocation` was selected last.
    base_allocation_for: Option<String>,
    outcome: Option<Outcome>,
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send what [`Handshake::poll_output`] still has, then serve requests.
    Transmission(Negotiated),
    /// The client said `ABORT`: send the output, then close.
    Aborted,
    /// Close at once; the protocol has no other way to say this.
    HardClose(HandshakeError),
}

/// Why a connection is closed in the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// "The server MUST close the connection if it does not recognize the client's flags."
    #[error("the client set unknown handshake flags {0:#010x}: it speaks another protocol")]
    UnknownClientFlags(u32),
    /// The stream is not at an option.
    #[error(
        "{0:#018x} stands where an option should begin: the client lost its place or is no NBD client"
    )]
    BadOptionMagic(u64),
    /// Without fixed newstyle the client cannot understand a reply to another option.
    #[error("option {0} from a client that did not announce fixed newstyle")]
    NeedsFixedNewstyle(u32),
    /// [`limits::MAX_DRAINED_OPTION_BYTES`].
    #[error("option {option} announces {length} bytes, more than is worth skipping")]
    AbsurdOption {
        /// Its number.
        option: u32,
        /// Its announced length in bytes.
        length: u32,
    },
    /// [`limits::MAX_OPTIONS`].
    #[error(
        "more than {} options: the client does not want to come to an end",
        limits::MAX_OPTIONS
    )]
    TooManyOptions,
    /// `EXPORT_NAME` has no error reply.
    #[error("EXPORT_NAME for {export:?} refused: {reason}")]
    ExportRefused {
        /// What the client asked for, made printable.
        export: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    ClientFlags,
    OptionHeader,
    OptionBody { option: u32, length: usize },
    Drain { left: usize },
}

impl Handshake {
    /// A new connection. The greeting is ready in [`Self::poll_output`].
    #[must_use]
    pub fn new() -> Self {
        let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
        let mut output = Vec::with_capacity(256);
        output.extend_from_slice(&protocol::NBD_MAGIC.to_be_bytes());
        output.extend_from_slice(&protocol::OPTION_MAGIC.to_be_bytes());
        output.extend_from_slice(&flags.to_be_bytes());
        Self {
            stage: Stage::ClientFlags,
            input: Vec::new(),
            output,
            options_seen: 0,
            fixed_newstyle: false,
            no_zeroes: false,
            replies: ReplyStyle::Simple,
            base_allocation_for: None,
            outcome: None,
        }
    }

    /// Takes bytes from the client, in pieces of any size, and answers from `exports` as they are
    /// now. Returns how many bytes were taken: all of them, unless an outcome was reached; what
    /// is left over then belongs to the transmission phase.
    pub fn handle_bytes(&mut self, bytes: &[u8], exports: &[Export]) -> usize {
        let mut reader = Reader::new(bytes);
        while self.outcome.is_none() {
            let available = reader.rest().len();
            if let Stage::Drain { left } = self.stage {
                let taken = left.min(available);
                reader.take(taken);
                self.stage = match left - taken {
                    0 => Stage::OptionHeader,
                    left => Stage::Drain { left },
                };
                if taken < left {
                    break;
                }
                continue;
            }
            let missing = self.stage.wanted_bytes().saturating_sub(self.input.len());
            self.input
                .extend_from_slice(reader.take(missing.min(available)).unwrap_or_default());
            if available < missing {
                break;
            }
            let piece = std::mem::take(&mut self.input);
            self.handle_piece(&piece, exports);
        }
        bytes.len() - reader.rest().len()
    }

    /// The bytes to send now, if any.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// How the handshake ended, once it has.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    fn handle_piece(&mut self, piece: &[u8], exports: &[Export]) {
        let result = match self.stage {
            Stage::ClientFlags => self.handle_client_flags(piece),
            Stage::OptionHeader => self.handle_option_header(piece),
            Stage::OptionBody { option, .. } => {
                self.stage = Stage::OptionHeader;
                self.handle_option(option, piece, exports)
            }
            Stage::Drain { .. } => Ok(()),
        };
        if let Err(error) = result {
            self.outcome = Some(Outcome::HardClose(error));
        }
    }

    fn handle_client_flags(&mut self, piece: &[u8]) -> Result<(), HandshakeError> {
        let flags = Reader::new(piece).u32().unwrap_or(u32::MAX);
        let fixed = u32::from(handshake_flag::FIXED_NEWSTYLE);
        let no_zeroes = u32::from(handshake_flag::NO_ZEROES);
        if flags & !(fixed | no_zeroes) != 0 {
            return Err(HandshakeError::UnknownClientFlags(flags));
        }
        self.fixed_newstyle = flags & fixed != 0;
        self.no_zeroes = flags & no_zeroes != 0;
        self.stage = Stage::OptionHeader;
        Ok(())
    }

    fn handle_option_header(&mut self, piece: &[u8]) -> Result<(), HandshakeError> {
        let mut reader = Reader::new(piece);
        let magic = reader.u64().unwrap_or_default();
        let option = reader.u32().unwrap_or_default();
        let length = reader.u32().unwrap_or_default();
        if magic != protocol::OPTION_MAGIC {
            return Err(HandshakeError::BadOptionMagic(magic));
        }
        self.options_seen += 1;
        if self.options_seen > limits::MAX_OPTIONS {
            return Err(HandshakeError::TooManyOptions);
        }
        if !self.fixed_newstyle && option != option::EXPORT_NAME {
            return Err(HandshakeError::NeedsFixedNewstyle(option));
        }
        let body = usize::try_from(length).unwrap_or(usize::MAX);
        if length <= limits::MAX_OPTION_BYTES {
            self.stage = Stage::OptionBody {
                option,
                length: body,
            };
            return Ok(());
        }
        if option == option::EXPORT_NAME || length > limits::MAX_DRAINED_OPTION_BYTES {
            return Err(HandshakeError::AbsurdOption { option, length });
        }
        // "This command replaces all previously-set metadata contexts (including when this
        // command fails)."
        if option == option::SET_META_CONTEXT {
            self.base_allocation_for = None;
        }
        let error = OptionError::new(option_reply::ERR_TOO_BIG, "an option beyond 64 KiB");
        options::put_error(&mut self.output, option, &error);
        self.stage = Stage::Drain { left: body };
        Ok(())
    }

    fn handle_option(
        &mut self,
        option: u32,
        body: &[u8],
        exports: &[Export],
    ) -> Result<(), HandshakeError> {
        let result = match option {
            option::EXPORT_NAME => return self.choose_by_export_name(body, exports),
            option::ABORT => {
                self.outcome = Some(Outcome::Aborted);
                Ok(())
            }
            option::LIST => self.list(body, exports),
            option::INFO | option::GO => self.info_or_go(option, body, exports),
            option::STRUCTURED_REPLY => self.structured_reply(body),
            option::LIST_META_CONTEXT => self.list_meta_context(body, exports),
            option::SET_META_CONTEXT => self.set_meta_context(body, exports),
            option::STARTTLS if !body.is_empty() => {
                Err(OptionError::invalid("STARTTLS takes no data"))
            }
            option::STARTTLS => Err(OptionError::new(
                option_reply::ERR_UNSUP,
                "TLS is not offered here",
            )),
            option::EXTENDED_HEADERS => Err(OptionError::new(
                option_reply::ERR_UNSUP,
                "extended headers are not offered: use 32-bit lengths",
            )),
            _ => Err(OptionError::new(option_reply::ERR_UNSUP, "unknown option")),
        };
        match result {
            Ok(()) => options::put_reply(&mut self.output, option, option_reply::ACK, &[]),
            Err(error) => options::put_error(&mut self.output, option, &error),
        }
        Ok(())
    }

    fn choose_by_export_name(
        &mut self,
        body: &[u8],
        exports: &[Export],
    ) -> Result<(), HandshakeError> {
        let export = options::export_name(body)
            .and_then(|name| find_available(exports, name))
            .and_then(|export| {
                if export.block_sizes.minimum() > limits::MAX_UNSPOKEN_BLOCK_BYTES {
                    return Err(OptionError::new(
                        option_reply::ERR_BLOCK_SIZE_REQD,
                        "its block size needs a client that asks for it with GO",
                    ));
                }
                Ok(export)
            })
            .map_err(|error| HandshakeError::ExportRefused {
                export: printable(body, 256),
                reason: error.message.into_owned(),
            })?;
        let flags = export.transmission_flags(self.replies);
        self.output
            .extend_from_slice(&export.size_bytes.to_be_bytes());
        self.output.extend_from_slice(&flags.to_be_bytes());
        if !self.no_zeroes {
            self.output
                .extend_from_slice(&[0; protocol::EXPORT_NAME_PADDING_BYTES]);
        }
        self.enter_transmission(export);
        Ok(())
    }

    fn list(&mut self, body: &[u8], exports: &[Export]) -> Result<(), OptionError> {
        if !body.is_empty() {
            return Err(OptionError::invalid("LIST takes no data"));
        }
        let had =
            |export: &&Export| !export.alias || export.availability == Availability::Available;
        for export in exports.iter().filter(had) {
            options::put_server(&mut self.output, option::LIST, export);
        }
        Ok(())
    }

    fn info_or_go(
        &mut self,
        option: u32,
        body: &[u8],
        exports: &[Export],
    ) -> Result<(), OptionError> {
        let request = InfoRequest::parse(body)?;
        let export = find_available(exports, request.export)?;
        options::put_infos(&mut self.output, option, &request, export, self.replies);
        let minimum = export.block_sizes.minimum();
        if minimum > limits::MAX_UNSPOKEN_BLOCK_BYTES && !request.wants_block_size {
            return Err(OptionError::new(
                option_reply::ERR_BLOCK_SIZE_REQD,
                format!("ask for the block sizes: requests must be multiples of {minimum}"),
            ));
        }
        if option == option::GO {
            self.enter_transmission(export);
        }
        Ok(())
    }

    fn structured_reply(&mut self, body: &[u8]) -> Result<(), OptionError> {
        if !body.is_empty() {
            return Err(OptionError::invalid("STRUCTURED_REPLY takes no data"));
        }
        self.replies = ReplyStyle::Structured;
        Ok(())
    }

    fn list_meta_context(&mut self, body: &[u8], exports: &[Export]) -> Result<(), OptionError> {
        if self
            .meta_request(body, exports, MetaOption::List)?
            .is_some()
        {
            // "The metadata context ID in these replies is reserved and SHOULD be set to zero."
            options::put_base_allocation(&mut self.output, option::LIST_META_CONTEXT, 0);
        }
        Ok(())
    }

    fn set_meta_context(&mut self, body: &[u8], exports: &[Export]) -> Result<(), OptionError> {
        // Replaced "including when this command fails".
        self.base_allocation_for = None;
        let Some(export) = self.meta_request(body, exports, MetaOption::Set)? else {
            return Ok(());
        };
        self.base_allocation_for = Some(export.name().to_owned());
        let id = ContextId::BASE_ALLOCATION.0;
        options::put_base_allocation(&mut self.output, option::SET_META_CONTEXT, id);
        Ok(())
    }

    /// The export whose `base:allocation` is asked for, if it is.
    fn meta_request<'e>(
        &self,
        body: &[u8],
        exports: &'e [Export],
        option: MetaOption,
    ) -> Result<Option<&'e Export>, OptionError> {
        if self.replies != ReplyStyle::Structured {
            return Err(OptionError::invalid(
                "metadata contexts need structured replies first",
            ));
        }
        let request = MetaRequest::parse(body, option)?;
        let export = find_available(exports, request.export)?;
        let matches = request.matches_base_allocation && export.capabilities.block_status;
        Ok(matches.then_some(export))
    }

    fn enter_transmission(&mut self, export: &Export) {
        // The contexts hold only if "the final time it was sent, it referred to the same export".
        let selected = self.base_allocation_for.as_deref() == Some(export.name());
        self.outcome = Some(Outcome::Transmission(Negotiated {
            export: export.name().to_owned(),
            replies: self.replies,
            base_allocation: selected.then_some(ContextId::BASE_ALLOCATION),
        }));
    }
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    fn wanted_bytes(self) -> usize {
        match self {
            Self::ClientFlags => 4,
            Self::OptionHeader => protocol::OPTION_HEADER_BYTES,
            Self::OptionBody { length, .. } => length,
            Self::Drain { .. } => 0,
        }
    }
}

fn find_available<'e>(exports: &'e [Export], name: &str) -> Result<&'e Export, OptionError> {
    let Some(export) = find_export(exports, name) else {
        let shown = printable(name.as_bytes(), 256);
        return Err(match why_unserved(exports, name) {
            Unserved::Unknown => OptionError::new(
                option_reply::ERR_UNKNOWN,
                format!("no export {shown:?} here"),
            ),
            Unserved::Gone(why) => {
                OptionError::new(option_reply::ERR_UNKNOWN, format!("{shown}: {why}"))
            }
            Unserved::NotNow(why) => {
                OptionError::new(option_reply::ERR_POLICY, format!("{shown}: {why}"))
            }
        });
    };
    match &export.availability {
        Availability::Available => Ok(export),
        Availability::Refused(reason) => {
            Err(OptionError::new(option_reply::ERR_POLICY, reason.clone()))
        }
        Availability::ShuttingDown(reason) => {
            Err(OptionError::new(option_reply::ERR_SHUTDOWN, reason.clone()))
        }
    }
}
