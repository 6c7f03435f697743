//! What a replica says of itself. Field names are stable: the CLI, HTTP and tests all read this.

use serde::{Deserialize, Serialize};
use twindisk_format::{binding::Binding, superblock::Standing};

use crate::{Latency, OnPeerLoss, PeerLatency, Protocol, RefusalCode};

/// Everything an operator may want to know of one resource on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Role of this node.
    pub role: Role,
    /// Term it has accepted.
    pub term: u64,
    /// State of its disk.
    pub disk: DiskState,
    /// Why the disk is in that state, when it is not UpToDate.
    pub disk_why: Option<String>,
    /// Size of the device in bytes.
    pub size_bytes: u64,
    /// Clients may open the device.
    pub export_open: bool,
    /// `TERM-ID` of the role that clients of the export `RESOURCE@TERM-ID` are bound to; `None` when all such clients of
    /// this node have been overtaken by what another one wrote.
    #[serde(default)]
    pub binding: Option<Binding>,
    /// Set while I/O waits.
    pub suspended: Option<Suspension>,
    /// Set while writes wait for space beneath this node; never by an older version.
    #[serde(default)]
    pub no_space: Option<NoSpace>,
    /// The newest generation: `term/id/node`, or `None` when there is no data yet.
    pub generation: Option<String>,
    /// Number of generations remembered.
    pub generations: usize,
    /// Node numbers of the in-sync set.
    pub in_sync: Vec<u8>,
    /// It is still writing what it received over connections that have ended: until that is done nobody else may be set
    /// aside for this copy.
    #[serde(default)]
    pub still_writing: bool,
    /// What would have to be true to promote this node; empty when it can be promoted now (or is primary).
    pub promote_needs: Vec<String>,
    /// The same for a cluster manager: how good a primary this node would be, and what it lacks. Never by an older version.
    #[serde(default)]
    pub promotion: Option<Promotion>,
    /// The configured loss policy; `continue` is unsafe and shown for ever.
    pub on_peer_loss: OnPeerLoss,
    /// Each peer.
    pub peers: Vec<PeerStatus>,
    /// Requests under way.
    pub activity: Activity,
    /// How long requests took; nothing from an older version.
    #[serde(default)]
    pub latency: Latency,
    /// Things that an operator should know, in sentences.
    pub warnings: Vec<String>,
    /// What has failed, or hangs, of the disks and metadata of this node and of connected peers: a sentence each, the same for
    /// as long as it lasts. Nothing from an older version.
    #[serde(default)]
    pub faults: Vec<String>,
}

impl Status {
    /// Who was primary last, as far as this node knows, and in which term: of the newest generation.
    #[must_use]
    pub fn led(&self) -> Option<(u8, u64)> {
        self.generation.as_deref().and_then(led_of)
    }
}

/// Node and term of a generation, `term/id/node`.
fn led_of(generation: &str) -> Option<(u8, u64)> {
    let mut parts = generation.split('/');
    let term = parts.next()?.parse().ok()?;
    let node = parts.nth(1)?.parse().ok()?;
    Some((node, term))
}

/// One peer as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Node number.
    pub node: u8,
    /// Node name.
    pub name: String,
    /// Replication protocol towards it.
    pub protocol: Protocol,
    /// Connection.
    pub connection: ConnectionState,
    /// Why the connection is in that state.
    pub connection_why: String,
    /// Names the last connection: never the same twice.
    #[serde(default)]
    pub met: u64,
    /// Milliseconds since its connection was lost; `None` while there is one.
    #[serde(default)]
    pub lost_ms: Option<u64>,
    /// Its role, when connected.
    pub role: Option<Role>,
    /// Its disk, when connected (or as last known).
    pub disk: Option<DiskState>,
    /// It is counted on: a right about it is needed to go on without it.
    pub in_sync: bool,
    /// Out of the in-sync set, joining it, or in it.
    #[serde(default)]
    pub standing: Standing,
    /// Why it is not in yet although it is equal, and what would take it in.
    #[serde(default)]
    pub joining_why: Option<String>,
    /// Bytes dirty for it here.
    pub dirty_bytes: u64,
    /// Bytes sent to it and not yet known to be stable there.
    pub unstable_bytes: u64,
    /// Mutations sent to it and not yet answered.
    pub in_flight: u64,
    /// Age of the oldest request that it has not answered, milliseconds; 0 when it has answered all.
    #[serde(default)]
    pub oldest_ms: u64,
    /// This node does not read from it at the moment: its own disk takes nothing more.
    #[serde(default)]
    pub unread: bool,
    /// A right about it that is in force.
    pub receipt: Option<ReceiptStatus>,
    /// Data that the other one lacks is on both sides, and no person has decided yet.
    #[serde(default)]
    pub conflict: Option<ConflictStatus>,
    /// A resync or verify with it that is under way.
    pub progress: Option<Progress>,
    /// How long its answers took; nothing from an older version.
    #[serde(default)]
    pub latency: PeerLatency,
}

/// A resync or verify under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// `resync-source`, `resync-target`, `verify-source`, `verify-target`.
    pub kind: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, as known now.
    pub total_bytes: u64,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// Bytes sent over the wire.
    pub sent_bytes: u64,
    /// Bytes found equal and not sent.
    pub equal_bytes: u64,
    /// Bytes found different by a verify.
    pub different_bytes: u64,
}

/// A conflict that no person has decided yet. While there is one, only a person promotes either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConflictStatus {
    /// `split-brain`, `unrelated` or `rewound`.
    pub kind: String,
    /// What it is, and what ends it.
    pub why: String,
}

/// A receipt in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReceiptStatus {
    /// `release`, `fence`, `arbiter` or `operator`.
    pub kind: String,
    /// Term of it.
    pub term: u64,
}

/// How good a primary a node would be, as a cluster manager asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Promotion {
    /// A promotion score: 10000 for the primary, 1000 for a standby whose copy is the newest, `None` for any other. That the
    /// others are known to be off is for whoever promotes to see to: a standby keeps its score when it loses its primary.
    pub score: Option<u32>,
    /// What a promotion would be refused with now; `None`: it can be promoted, or is primary.
    pub code: Option<RefusalCode>,
    /// The nodes about which a right is missing.
    pub missing: Vec<Missing>,
}

/// A node that is counted on and not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Missing {
    /// Its name.
    pub node: String,
    /// Names the last connection to it, for a receipt that is to be void when the two have met since.
    pub met: u64,
    /// Milliseconds since it was lost; `None` while it is connected.
    pub lost_ms: Option<u64>,
}

/// Why I/O waits, for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspensionCode {
    /// In-sync replicas are lost: they come back, or a receipt about each of them.
    #[default]
    PeerLost,
    /// The only copies of the data are lost: they come back.
    LastCopyLost,
    /// The metadata of this node can't be written.
    Metadata,
}

/// Why I/O waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Suspension {
    /// In a sentence.
    pub why: String,
    /// What would release it.
    pub release: String,
    /// Milliseconds since it began.
    pub for_ms: u64,
    /// For programs.
    #[serde(default)]
    pub code: SuspensionCode,
    /// The nodes that are waited for.
    #[serde(default)]
    pub missing: Vec<Missing>,
}

/// Writes that found no space on this node's disk, and are tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NoSpace {
    /// In a sentence.
    pub why: String,
    /// What would release them.
    pub release: String,
    /// How many wait.
    pub writes: u64,
    /// Milliseconds since the first one found none.
    pub for_ms: u64,
}

/// Requests under way at this replica, and counts since its start.
///
/// A field that an older version does not know is 0: agent and `serve` are upgraded one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Activity {
    /// Client requests not yet answered (parts of requests).
    pub requests: u64,
    /// Client requests that wait for memory, of which the driver knows. They are not among the others.
    pub waiting: u64,
    /// Age of the oldest mutation in flight, or of a request that waits for memory through no fault of its client's,
    /// milliseconds.
    pub oldest_ms: u64,
    /// Age of the oldest operation that this node's disk or metadata device has not finished, milliseconds.
    pub disk_oldest_ms: u64,
    /// Extents hot in the activity log.
    pub al_extents: u64,
    /// Metadata blocks of the activity log written since the start.
    pub al_writes: u64,
    /// Mutations done since the start.
    pub writes: u64,
    /// Reads done since the start.
    pub reads: u64,
    /// Client flushes done since the start.
    pub flushes: u64,
    /// Flushes that the disk was asked for since the start.
    pub disk_flushes: u64,
    /// Bytes of mutations acknowledged to clients since the start, in whole blocks: trims and zeroes too.
    pub written_bytes: u64,
    /// Bytes read for clients since the start, in whole blocks.
    pub read_bytes: u64,
}

/// Role of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes writes from clients.
    Primary,
    /// Takes writes from the primary.
    Standby,
}

/// State of a backing device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum DiskState {
    /// There is none.
    Diskless,
    /// It failed.
    Failed,
    /// A mixture of old and new.
    Inconsistent,
    /// Consistent and known to be old.
    Outdated,
    /// Consistent; not known whether it is the newest.
    Consistent,
    /// The newest there is.
    UpToDate,
}

/// State of the connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionState {
    /// None, and none is wanted.
    Standalone,
    /// None, one is being tried for.
    Connecting,
    /// The two are comparing lineages.
    Negotiating,
    /// Connected; both are standby and neither can start the other.
    Waiting,
    /// Connected; the peer is being brought up to date from here.
    SyncSource,
    /// Connected; this node is being brought up to date from there.
    SyncTarget,
    /// Connected and replicating.
    Established,
    /// Connected; both went on from a common generation and refuse to mix.
    SplitBrain,
    /// Connected; the two have nothing in common and refuse to mix.
    Unrelated,
}

#[cfg(test)]
mod tests {
    use twindisk_format::ids::{NodeId, Term};

    use super::*;

    #[test]
    fn who_was_primary_last_is_read_as_it_is_written() {
        // As `status` writes it: an agent that could not read it would take nobody for the primary of before (R12).
        let written = format!("{}/{:016x}/{}", Term(7), 0x1f2e_u64, NodeId(2));
        assert_eq!(led_of(&written), Some((2, 7)));
        assert_eq!(led_of("7/1f2e"), None);
    }
}
