//! What a replica is told at its start and keeps for its life.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use twindisk_format::ids::NodeId;

use crate::limits::UNDECIDED_REQUEST_TIMEOUTS;

/// Settings of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node, for messages.
    pub name: String,
    /// Its peers, in slot order; the same nodes as in the metadata's records.
    pub peers: Vec<PeerConfig>,
    /// Where rights to the next term come from, beside what peers say of themselves and a person's word (R8).
    pub arbiter: Arbiter,
    /// What a primary does when an in-sync peer is lost.
    pub on_peer_loss: OnPeerLoss,
    /// What a primary does when its own disk fails.
    pub on_disk_error: OnDiskError,
    /// What a primary does that stays suspended.
    pub on_no_quorum: OnNoQuorum,
    /// How long things may take.
    pub timings: Timings,
    /// Buffers of `MAX_DATA_BLOCKS` each that the driver has set aside for resync and verify, with the handles
    /// `first_resync_buf`, `first_resync_buf + 1`, …
    pub resync_bufs: u32,
    /// The first of them.
    pub first_resync_buf: u32,
    /// Most extents in the activity log before cold ones are dropped.
    pub al_extents: usize,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its number.
    pub node: NodeId,
    /// Its name, for messages.
    pub name: String,
    /// When a write counts as done there.
    pub protocol: Protocol,
}

/// Replication protocol (R1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Protocol {
    /// A write is done when it is handed to the connection. Such a peer is never in the in-sync set.
    A,
    /// A write is done when the peer has received and verified it.
    B,
    /// A write is done when the peer has written it.
    #[default]
    C,
}

/// Who decides which node is primary, and grants the next term to one that has lost another (R8): one for each resource,
/// the same on all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arbiter {
    /// Power switches, and the agent that asks them; or a person.
    #[default]
    Fence,
    /// A cluster manager, as Pacemaker: it promotes and demotes, and brings receipts of what it has fenced.
    External,
    /// A record elsewhere, as a witness keeps it. The other one may live, and takes itself for the primary.
    Witness,
}

/// What a primary does when an in-sync peer is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnPeerLoss {
    /// Writes wait for a receipt.
    #[default]
    Suspend,
    /// Unsafe: goes on alone without any right. Stays visible in the status.
    Continue,
}

/// What a primary does when its own disk fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDiskError {
    /// Detach it and go on through the in-sync peers.
    #[default]
    Detach,
    /// Hand over to an in-sync peer.
    FailOver,
}

/// What a primary does that is suspended and gets no right (R10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNoQuorum {
    /// It waits.
    #[default]
    Suspend,
    /// After so long it fails what waits, and demotes itself.
    IoError {
        /// Since I/O is suspended.
        after: Duration,
    },
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// A peer that was silent for so long is asked whether it is there.
    pub ping_interval: Duration,
    /// A peer that was silent for so long is lost.
    pub peer_timeout: Duration,
    /// A peer that leaves a request unanswered for so long is lost, even if it answers pings.
    pub request_timeout: Duration,
    /// A primary answers reads for so long after the sending of the last ping that the peer has answered (R9): while it is
    /// frozen, and beside a witness always.
    pub read_lease: Duration,
    /// Writes become stable everywhere within about this time even if no client flushes.
    pub flush_interval: Duration,
    /// A stop or hand-over that could not finish in this time is cut short.
    pub stop_timeout: Duration,
}

impl Timings {
    /// How long a connection may lead to nothing.
    pub(crate) fn undecided(&self) -> Duration {
        self.request_timeout * UNDECIDED_REQUEST_TIMEOUTS
    }
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_millis(1000),
            peer_timeout: Duration::from_millis(5000),
            request_timeout: Duration::from_secs(30),
            read_lease: Duration::from_millis(3000),
            flush_interval: Duration::from_millis(1000),
            stop_timeout: Duration::from_secs(10),
        }
    }
}
