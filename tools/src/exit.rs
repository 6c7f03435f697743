//! How a command can fail, what it says then, and with which exit code.

use std::{fmt, process::ExitCode};

use twindisk_control::{
    client::ClientError, config::ConfigError, protocol::Failed, serve::ServeError,
};
use twindisk_core::Refusal;

use crate::out;

/// The exit codes, as `--help` and the man pages tell them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  done
   1  error; the text says what, where and what to do
   2  wrong usage of the command line
  10  the configuration is invalid or incomplete
  11  refused: the state does not allow it; the text says why and what would
  12  no `twindisk serve` is running for the node
  13  metadata is damaged
  14  data differ or are lost (verify, demo)";

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
    Refused { why: String, next: String },
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
            Self::Refused { why, next } if next.is_empty() => why.clone(),
            Self::Refused { why, next } => format!("{why}; {next}"),
            Self::Error(text)
            | Self::Usage(text)
            | Self::Config(text)
            | Self::NotRunning(text)
            | Self::Damaged(text)
            | Self::Differences(text) => text.clone(),
            Self::Silent(code) => format!("exit code {code}"),
        }
    }

    /// Says it on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        match self {
            Self::Refused { why, next } => {
                out::err!("refused: {why}");
                if !next.is_empty() {
                    out::err!("next: {next}");
                }
            }
            Self::Error(text)
            | Self::Usage(text)
            | Self::Config(text)
            | Self::NotRunning(text)
            | Self::Damaged(text)
            | Self::Differences(text) => out::err!("twindisk: {text}"),
            Self::Silent(_) => {}
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::Config(_) => 10,
            Self::Refused { .. } => 11,
            Self::NotRunning(_) => 12,
            Self::Damaged(_) => 13,
            Self::Differences(_) => 14,
            Self::Silent(code) => *code,
        }
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
            other => Self::Error(other.to_string()),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
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
