//! How a command can fail, what it says then, and with which exit code.

use std::{fmt, process::ExitCode};

use twindisk_control::{
    client::ClientError, config::ConfigError, protocol::Failed, serve::ServeError,
};
use twindisk_core::{Refusal, RefusalCode};

use crate::out;

/// The exit codes, as `--help` and the man pages tell them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  error; the text says what, where and what to do
   2  wrong usage of the command line
  10  the configuration is invalid or incomplete
  11  refused: the state does not allow it; the text says why and what would
  12  no `twindisk serve` is running for the node, or the resource is down
  13  metadata is damaged
  14  data differ or are lost (verify, demo)
Refusals that a program tells apart:
  20  no right to the next term: a node may still be primary
  21  another node is primary and connected
  22  the data of this node are not the newest, its disk fails, or a person has to end a conflict
  23  not now: something else is under way, or a peer was lost meanwhile; try again
  24  I/O is suspended: it waits for a peer, or for a receipt about it
  25  no answer from `twindisk serve` in time; what was asked is not carried out, unless it had begun
  26  the node that is said to be off answers, or has connected since
What is so already is done: promoting a primary, demoting a standby, a receipt that is not needed are 0.";

/// A command's failure.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Anything else.
    Error(String),
    /// The command line makes no sense.
    Usage(String),
    /// The configuration does not hold.
    Config(String),
    /// The state does not allow it.
    Refused {
        /// What the process that was asked calls it; `None`: this program refuses.
        code: Option<RefusalCode>,
        why: String,
        next: String,
    },
    /// Nobody answers in time.
    NoAnswer(String),
    /// Nobody serves.
    NotRunning(String),
    /// Metadata can't be trusted.
    Damaged(String),
    /// Data differ or are lost.
    Differences(String),
    /// What there was to say was said already.
    Silent(u8),
}

impl Failure {
    /// From whatever can be put in a sentence.
    pub(crate) fn error(text: impl fmt::Display) -> Self {
        Self::Error(text.to_string())
    }

    /// An operation on a file that did not work.
    pub(crate) fn at(path: &std::path::Path) -> impl Fn(std::io::Error) -> Self + use<'_> {
        move |error| Self::Error(format!("{}: {error}", path.display()))
    }

    /// As a sentence.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Refused { why, next, .. } if next.is_empty() => why.clone(),
            Self::Refused { why, next, .. } => format!("{why}; {next}"),
            Self::Error(text)
            | Self::Usage(text)
            | Self::Config(text)
            | Self::NotRunning(text)
            | Self::NoAnswer(text)
            | Self::Damaged(text)
            | Self::Differences(text) => text.clone(),
            Self::Silent(code) => format!("exit code {code}"),
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Refused { why, next, .. } => {
                out::err!("refused: {why}");
                if !next.is_empty() {
                    out::err!("next: {next}");
                }
            }
            Self::Error(text)
            | Self::Usage(text)
            | Self::Config(text)
            | Self::NotRunning(text)
            | Self::NoAnswer(text)
            | Self::Damaged(text)
            | Self::Differences(text) => out::err!("twindisk: {text}"),
            Self::Silent(_) => {}
        }
        ExitCode::from(self.code())
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 10,
            Self::Refused { code, .. } => code.map_or(11, of_refusal),
            Self::NoAnswer(_) => 25,
            Self::NotRunning(_) => 12,
            Self::Damaged(_) => 13,
            Self::Differences(_) => 14,
            Self::Silent(code) => *code,
        }
    }
}

/// What a program has to tell apart, since it does something else then.
const fn of_refusal(code: RefusalCode) -> u8 {
    match code {
        RefusalCode::NoRight => 20,
        RefusalCode::PeerIsPrimary => 21,
        RefusalCode::DiskNotUpToDate | RefusalCode::Conflict | RefusalCode::Metadata => 22,
        RefusalCode::Busy
        | RefusalCode::Interrupted
        | RefusalCode::PeerRefused
        | RefusalCode::PeerNotConnected => 23,
        RefusalCode::Suspended => 24,
        RefusalCode::PeerAnswers => 26,
        RefusalCode::WrongRole | RefusalCode::NothingToDo | RefusalCode::BadArgument => 11,
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::NoResource { .. } => Self::Usage(error.to_string()),
            other => Self::Config(other.to_string()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } => Self::NotRunning(error.to_string()),
            ClientError::Silent { .. } => Self::NoAnswer(error.to_string()),
            other => Self::Error(other.to_string()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            code: Some(refusal.code),
            why: refusal.why,
            next: refusal.next,
        }
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Error(format!("{}; {}", failed.why, failed.next))
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Config(error) => error.into(),
            ServeError::NothingRuns { damaged: true, .. } => Self::Damaged(error.to_string()),
            other => Self::Error(other.to_string()),
        }
    }
}
