//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// What is kept of an agent's standard output, and of its standard error. The largest metadata of Debian's agents has
/// 11 KiB; the rest is read and thrown away, so that a chatty agent does not block.
pub const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// How much of an agent's output an error repeats: its last words say why.
pub(crate) const MAX_QUOTED_BYTES: usize = 600;

/// Deadline of one run of an agent when the configuration names none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest deadline that may be configured: while an agent runs, the writes of the cluster may be waiting.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Shots after the first failed one when the configuration names no number.
pub(crate) const DEFAULT_RETRIES: u32 = 2;

/// Most shots after the first: with the longest back-off this is a minute and a half of pauses.
pub(crate) const MAX_RETRIES: u32 = 20;

/// Most levels of a node, and most devices of a level: more is a mistaken file.
pub(crate) const MAX_LEVELS: usize = 9;
pub(crate) const MAX_DEVICES: usize = 16;

/// Longest line for an agent's standard input: no option comes near it.
pub(crate) const MAX_LINE_BYTES: usize = 4096;

/// Pause before the second shot; it doubles with each further one. Power switches serve one session at a time, and the
/// one that has just failed must have closed first.
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Longest pause between two shots.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Pause between two readings of `status`. An agent takes 0.1 s and more by itself.
pub(crate) const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Readings of off in a row that are believed: a power switch may read off for an instant while it cycles.
pub(crate) const OFF_READINGS: u32 = 2;

/// How long a child that an agent left behind may hold its output open after the agent's end.
pub(crate) const LEFTOVER_GRACE: Duration = Duration::from_millis(300);

/// How long a killed agent may take to be gone. One that hangs in the kernel is left to the system.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(1);
