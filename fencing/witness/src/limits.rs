//! Limits of the witness and of who asks it.

use std::time::Duration;

/// Connections at once: each of hundreds of clusters may have a few.
pub(crate) const MAX_CONNECTIONS: usize = 1024;

/// Who has connected and proven nothing is dropped after so long; every agent asks more often than that.
pub(crate) const MAX_IDLE: Duration = Duration::from_secs(10);

/// Between two attempts to take connections when the system has none left.
pub(crate) const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A configuration is not longer.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A register's file is not longer: it holds one record.
pub(crate) const MAX_REGISTER_BYTES: u64 = 64 << 10;

/// Names of resources and clusters become names of files.
pub(crate) const MAX_NAME_BYTES: usize = 64;

/// Registers of a cluster: a mistaken agent must not fill the disk.
pub(crate) const MAX_REGISTERS: usize = 1024;
