//! What an agent prints: bounded while it is read, without secrets when it is kept.

use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{limits, options::Options};

/// What an agent printed, secrets blanked. `Display` is what an error repeats of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// More than [`crate::MAX_OUTPUT_BYTES`] came on standard output; the rest was thrown away.
    pub stdout_cut: bool,
    /// The same of standard error.
    pub stderr_cut: bool,
}

/// Both streams while they are read.
#[derive(Default)]
pub(super) struct Captured {
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
}

#[derive(Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    cut: bool,
}

impl Captured {
    pub(super) fn output(&self, options: &Options) -> Output {
        Output {
            stdout: self.stdout.text(options),
            stderr: self.stderr.text(options),
            stdout_cut: self.stdout.cut,
            stderr_cut: self.stderr.cut,
        }
    }
}

impl Stream {
    /// Reads to the end, keeps the first part.
    pub(super) async fn read(&mut self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 * 1024];
        // A pipe that fails ends like one that is closed: the exit code is what counts.
        while let Ok(got @ 1..) = from.read(&mut buffer).await {
            let room = limits::MAX_OUTPUT_BYTES - self.bytes.len();
            self.bytes.extend_from_slice(&buffer[..got.min(room)]);
            self.cut |= got > room;
        }
    }

    fn text(&self, options: &Options) -> String {
        // What was cut may have cut a secret in two, and its first half would not be known as one.
        let kept = if self.cut {
            self.bytes.len().saturating_sub(options.longest_secret())
        } else {
            self.bytes.len()
        };
        options.blank_secrets(&String::from_utf8_lossy(&self.bytes[..kept]))
    }
}

impl fmt::Display for Output {
    /// Its last words, in one line: agents say why at the end, and on standard error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [
            (self.stderr.trim(), self.stderr_cut),
            (self.stdout.trim(), self.stdout_cut),
        ];
        let Some((said, cut)) = said.into_iter().find(|(text, _)| !text.is_empty()) else {
            return f.write_str("it printed nothing");
        };
        let mut from = said.len().saturating_sub(limits::MAX_QUOTED_BYTES);
        while !said.is_char_boundary(from) {
            from += 1;
        }
        let left_out = if from > 0 || cut { "…" } else { "" };
        let words: Vec<&str> = said[from..].split_whitespace().collect();
        // Control characters would reach an operator's terminal.
        let line: String = words
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        write!(f, "it printed: {left_out}{line}")
    }
}
