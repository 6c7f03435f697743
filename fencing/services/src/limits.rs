//! Every bound of this crate, each with its reason.

use std::{ops::RangeInclusive, time::Duration};

/// How long a start or a stop may take when the configuration does not say: a database that replays its journal.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The same of a database: a start that is cut short replays the same log from its beginning the next time.
pub const DATABASE_START: Duration = Duration::from_secs(300);

/// How long a database may take to stop: with clients sent away it writes what is dirty.
pub const DATABASE_STOP: Duration = Duration::from_secs(60);

/// A database that lives and answers nobody for so long is started again. Longer than any checkpoint or burst of
/// connections keeps a healthy one from answering.
pub const ANSWER: Duration = Duration::from_secs(60);

/// A database has so long for one answer.
pub const ONE_ANSWER: Duration = Duration::from_secs(3);

/// What is run after a promotion may take so long: it has nothing to wait for.
pub const HOOK: Duration = Duration::from_secs(60);

/// Whether a process lives is asked so often: it costs a few microseconds.
pub const DEATH: Duration = Duration::from_millis(250);

/// What may be configured: below, no command ever ends in time; above, a mistyped unit.
pub const TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// Services of one resource: more is a mistake in a generated file.
pub const SERVICES: usize = 64;

/// What is kept of a command's output, its end: enough for the error message that says why.
pub const OUTPUT_BYTES: usize = 4096;

/// Each of the status questions: a status must never keep a failover waiting.
pub const STATUS: Duration = Duration::from_secs(5);

/// How often a state that is awaited is asked for.
pub const POLL: Duration = Duration::from_millis(100);

/// How long a forced stop may take before it is an error and the caller fences its node.
pub const FORCE: Duration = Duration::from_secs(10);

/// Users of a mount get this long between SIGTERM and SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_secs(3);

/// A killed process is awaited this long: one in uninterruptible sleep does not die.
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// Looking through /proc: it blocks on processes that are stuck in a page fault.
pub const SCAN: Duration = Duration::from_secs(3);

/// The kernel answers a change of an address at once, or something is very wrong.
pub const NETLINK: Duration = Duration::from_secs(2);

/// Announcements of an address that is just up, without a pause: frames get lost.
pub const ANNOUNCE_AT_ONCE: usize = 3;

/// Then so many more, a second apart: a switch port may need seconds before it forwards.
pub const ANNOUNCE_SOON: usize = 5;

/// The pause between those.
pub const ANNOUNCE_SOON_EVERY: Duration = Duration::from_secs(1);

/// And then for as long as the address is up: a client that heard none of them recovers.
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
