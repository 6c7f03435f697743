//! Bodies of handshake options, as foreign bytes, and the replies to them.

use std::borrow::Cow;

use crate::bytes::{Reader, truncated};
use crate::export::Export;
use crate::limits;
use crate::protocol::{self, info, option_reply};
use crate::request::ReplyStyle;

/// Why an option is answered with an error; the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OptionError {
    /// One of `option_reply::ERR_*`.
    pub(crate) reply: u32,
    pub(crate) message: Cow<'static, str>,
}

impl OptionError {
    pub(crate) fn new(reply: u32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reply,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: &'static str) -> Self {
        Self::new(option_reply::ERR_INVALID, message)
    }

    fn too_big(message: &'static str) -> Self {
        Self::new(option_reply::ERR_TOO_BIG, message)
    }
}

/// The body of `INFO` and `GO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InfoRequest<'a> {
    pub(crate) export: &'a str,
    pub(crate) wants_name: bool,
    pub(crate) wants_description: bool,
    pub(crate) wants_block_size: bool,
}

impl<'a> InfoRequest<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, OptionError> {
        let mut reader = Reader::new(body);
        let name = reader.counted().ok_or(INFO_SHORT)?;
        let count = reader.u16().ok_or(INFO_SHORT)?;
        let mut request = Self {
            export: export_name(name)?,
            wants_name: false,
            wants_description: false,
            wants_block_size: false,
        };
        for _ in 0..count {
            match reader.u16().ok_or(INFO_SHORT)? {
                info::NAME => request.wants_name = true,
                info::DESCRIPTION => request.wants_description = true,
                info::BLOCK_SIZE => request.wants_block_size = true,
                // "The server MUST ignore any information requests it does not understand."
                _ => {}
            }
        }
        if !reader.is_empty() {
            return Err(OptionError::invalid(
                "bytes behind the last information request",
            ));
        }
        Ok(request)
    }
}

/// Which of the two options asks: they differ in what a wildcard means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaOption {
    List,
    Set,
}

/// The body of `LIST_META_CONTEXT` and `SET_META_CONTEXT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetaRequest<'a> {
    pub(crate) export: &'a str,
    /// `base:allocation` is among what the queries ask for.
    pub(crate) matches_base_allocation: bool,
}

impl<'a> MetaRequest<'a> {
    pub(crate) fn parse(body: &'a [u8], option: MetaOption) -> Result<Self, OptionError> {
        let mut reader = Reader::new(body);
        let name = reader.counted().ok_or(META_SHORT)?;
        let export = export_name(name)?;
        let count = reader.u32().ok_or(META_SHORT)?;
        if count > limits::MAX_META_QUERIES {
            return Err(OptionError::too_big(
                "more than 32 metadata context queries",
            ));
        }
        // No query lists everything, but selects nothing.
        let mut matches = count == 0 && option == MetaOption::List;
        for _ in 0..count {
            let query = reader.counted().ok_or(META_SHORT)?;
            if query.len() > limits::MAX_STRING_BYTES {
                return Err(OptionError::too_big(
                    "a metadata context query beyond 4096 bytes",
                ));
            }
            let query = std::str::from_utf8(query)
                .map_err(|_| OptionError::invalid("a metadata context query is not UTF-8"))?;
            if !query.contains(':') {
                return Err(OptionError::invalid(
                    "a metadata context query without namespace",
                ));
            }
            // Unknown namespaces and leaves "MUST [be] ignore[d]".
            matches |= query == protocol::BASE_ALLOCATION
                || (query == "base:" && option == MetaOption::List);
        }
        if !reader.is_empty() {
            return Err(OptionError::invalid(
                "bytes behind the last metadata context query",
            ));
        }
        Ok(Self {
            export,
            matches_base_allocation: matches,
        })
    }
}

/// A name from the wire.
pub(crate) fn export_name(bytes: &[u8]) -> Result<&str, OptionError> {
    if bytes.len() > limits::MAX_STRING_BYTES {
        return Err(OptionError::too_big("an export name beyond 4096 bytes"));
    }
    std::str::from_utf8(bytes).map_err(|_| OptionError::invalid("an export name is not UTF-8"))
}

/// Appends one reply to `option`; its data is the concatenation of `parts`.
pub(crate) fn put_reply(out: &mut Vec<u8>, option: u32, reply: u32, parts: &[&[u8]]) {
    // Bounded: every part is a string of at most 4096 bytes or a few integers.
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&protocol::OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&reply.to_be_bytes());
    out.extend_from_slice(&wire_length(length).to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends an error reply with its text.
pub(crate) fn put_error(out: &mut Vec<u8>, option: u32, error: &OptionError) {
    let message = truncated(&error.message, limits::MAX_STRING_BYTES);
    put_reply(out, option, error.reply, &[message.as_bytes()]);
}

/// Appends an export of a list.
pub(crate) fn put_server(out: &mut Vec<u8>, option: u32, export: &Export) {
    let name = export.name().as_bytes();
    let description = truncated(&export.description, limits::MAX_STRING_BYTES);
    let length = wire_length(name.len()).to_be_bytes();
    put_reply(
        out,
        option,
        option_reply::SERVER,
        &[&length, name, description.as_bytes()],
    );
}

/// Appends what `request` asks about `export`, and always its size and flags.
pub(crate) fn put_infos(
    out: &mut Vec<u8>,
    option: u32,
    request: &InfoRequest<'_>,
    export: &Export,
    replies: ReplyStyle,
) {
    let mut put = |kind: u16, parts: &[&[u8]]| {
        let kind = kind.to_be_bytes();
        let mut all: Vec<&[u8]> = vec![&kind];
        all.extend_from_slice(parts);
        put_reply(out, option, option_reply::INFO, &all);
    };
    let size = export.size_bytes.to_be_bytes();
    let flags = export.transmission_flags(replies).to_be_bytes();
    put(info::EXPORT, &[&size, &flags]);
    if request.wants_name {
        put(info::NAME, &[export.name().as_bytes()]);
    }
    if request.wants_description {
        let description = truncated(&export.description, limits::MAX_STRING_BYTES);
        put(info::DESCRIPTION, &[description.as_bytes()]);
    }
    // Also unasked if the client could trip over it: "SHOULD ensure it first sends an
    // NBD_INFO_BLOCK_SIZE information reply" before BLOCK_SIZE_REQD.
    let sizes = export.block_sizes;
    if request.wants_block_size || sizes.minimum() > limits::MAX_UNSPOKEN_BLOCK_BYTES {
        put(
            info::BLOCK_SIZE,
            &[
                &sizes.minimum().to_be_bytes(),
                &sizes.preferred().to_be_bytes(),
                &sizes.maximum().to_be_bytes(),
            ],
        );
    }
}

/// Appends `base:allocation` with its id.
pub(crate) fn put_base_allocation(out: &mut Vec<u8>, option: u32, id: u32) {
    let name = protocol::BASE_ALLOCATION.as_bytes();
    put_reply(
        out,
        option,
        option_reply::META_CONTEXT,
        &[&id.to_be_bytes(), name],
    );
}

fn wire_length(length: usize) -> u32 {
    u32::try_from(length).expect("replies are built from strings of at most 4096 bytes")
}

const INFO_SHORT: OptionError = OptionError {
    reply: option_reply::ERR_INVALID,
    message: Cow::Borrowed("the option ends before its name and information requests do"),
};

const META_SHORT: OptionError = OptionError {
    reply: option_reply::ERR_INVALID,
    message: Cow::Borrowed("the option ends before its name and queries do"),
};
