//! Why an agent does not begin.

use std::{io, net::SocketAddr, path::PathBuf};

use twindisk_control::config::ConfigError;

use crate::{config::SettingsError, memory::MemoryError};

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong, or says nothing of agents.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The secret can't be read.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// The memory can't be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The watchdog can't be used.
    #[error("watchdog {}: {source}: is its driver loaded, and nobody else using it?", path.display())]
    Watchdog {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An address can't be used.
    #[error("heartbeat address {address}: {source}: is it one of this host, and free?")]
    Heartbeat {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The agent's socket can't be made.
    #[error("{}: {source}", path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The runtime can't be made.
    #[error("the runtime did not start: {0}")]
    Runtime(io::Error),
}
