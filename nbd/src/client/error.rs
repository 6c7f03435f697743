//! What can go wrong for a client, each with what it means.

use std::io;

use thiserror::Error;

use crate::errno::Errno;
use crate::protocol::option_reply;
use crate::reply::BadReply;

/// A failure of the client. All but `Request`, `Refused` and `Misuse` end the connection.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The transport failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The server took longer than the timeout of the connection.
    #[error("{0}: the server did not answer in time; it may hold I/O, see its status")]
    TimedOut(&'static str),
    /// The server closed the connection.
    #[error("{0}: the server closed the connection; its log says why")]
    Closed(&'static str),
    /// What answers there is no NBD server that we can talk to.
    #[error("not a fixed newstyle NBD server: {0}")]
    NotNbd(String),
    /// The server refused an option.
    #[error("the server refused {option}: {} ({message})", refusal_name(*.reply))]
    Refused {
        /// The option's name.
        option: &'static str,
        /// One of `protocol::option_reply::ERR_*`.
        reply: u32,
        /// The server's words, or "no reason given".
        message: String,
    },
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server's stream of replies makes no sense.
    #[error("the server broke the protocol: {0}")]
    BadReply(#[from] BadReply),
    /// One request was answered with an error; the connection goes on.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The caller asked for what cannot be sent.
    #[error("{0}")]
    Misuse(&'static str),
    /// An earlier failure ended this connection.
    #[error("the connection failed earlier: open a new one")]
    Broken,
}

impl ClientError {
    pub(super) fn from_io(doing: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut(doing),
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Closed(doing),
            _ => Self::Io { doing, source },
        }
    }

    /// Whether requests may go on after this error.
    #[must_use]
    pub fn keeps_the_connection(&self) -> bool {
        match self {
            Self::Request(_) | Self::Misuse(_) | Self::Refused { .. } => true,
            Self::Io { .. }
            | Self::TimedOut(_)
            | Self::Closed(_)
            | Self::NotNbd(_)
            | Self::Protocol(_)
            | Self::BadReply(_)
            | Self::Broken => false,
        }
    }
}

/// The server's error for one request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the server answered {errno}{}", .message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
pub struct RequestError {
    /// The error.
    pub errno: Errno,
    /// The server's words (structured replies only).
    pub message: Option<String>,
    /// Where in the export, if told.
    pub offset: Option<u64>,
}

fn refusal_name(reply: u32) -> &'static str {
    match reply {
        option_reply::ERR_UNSUP => "it does not know the option",
        option_reply::ERR_POLICY => "its policy forbids it",
        option_reply::ERR_INVALID => "it calls the option invalid",
        option_reply::ERR_PLATFORM => "its platform cannot do it",
        option_reply::ERR_TLS_REQD => "it wants TLS first, which this client does not speak",
        option_reply::ERR_UNKNOWN => "it has no such export",
        option_reply::ERR_SHUTDOWN => "it is shutting down",
        option_reply::ERR_BLOCK_SIZE_REQD => "it wants to be asked for its block sizes",
        option_reply::ERR_TOO_BIG => "it finds the option too big",
        _ => "with an error unknown here",
    }
}
