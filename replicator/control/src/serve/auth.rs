//! Proving the shared secret before anything else is said.

use tokio::net::TcpStream;
use twindisk_format::{
    auth::Session,
    ids::{BootId, NodeId, ResourceId},
};

use crate::config::{Config, ConfigError, Node};

/// What this node proves itself with.
pub(crate) struct Identity {
    boot: BootId,
}

impl Identity {
    pub(crate) fn new(_config: &Config, _node: &Node) -> Result<Self, ConfigError> {
        Ok(Self { boot: BootId(1) })
    }
    pub(crate) fn boot(&self) -> BootId {
        self.boot
    }
}

/// A peer that proved itself.
pub(crate) struct Proved {
    pub(crate) session: Session,
    pub(crate) leftover: Vec<u8>,
}

pub(crate) async fn dial(
    _s: &mut TcpStream,
    _i: &Identity,
    _r: ResourceId,
    _p: NodeId,
) -> Result<Proved, String> {
    Err(String::new())
}
pub(crate) async fn welcome(
    _s: &mut TcpStream,
    _i: &Identity,
    _known: impl Fn(ResourceId, NodeId) -> bool,
) -> Result<(ResourceId, NodeId, Proved), String> {
    Err(String::new())
}
