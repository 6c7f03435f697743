//! Where the time of requests goes, stage by stage. Moments are the core's own: as fine as the turns of the loop that
//! drives it, each of which has one.
//!
//! ```text
//! client's write   arrives ── wait ──► issued ── disk ──► the local disk has it
//!                                            └── peer ──────► that peer has answered as its protocol asks
//!                  arrives ── total ────────────────────────► it is answered
//! peer's write     arrives ── wait ──► issued ── disk ──► written
//!                  arrives ── total ────────────────────► it is answered
//! ```
//!
//! So `peer` here less `total` of `apply` there is what the network and the two loops take (protocol C).

use serde::{Deserialize, Serialize};

use crate::{
    Histogram, Protocol, Time,
    mutation::Origin,
    replica::{Op, Replica},
};
use twindisk_format::ids::Slot;

/// How long requests took at one replica, since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Latency {
    /// Mutations of clients: writes, zeroes, trims.
    pub write: Stages,
    /// Reads of clients. Their `disk` is the local one; without it a peer is asked.
    pub read: Stages,
    /// Flushes of clients. Their `disk` is every flush of the local disk, whoever needed it: clients share one, a
    /// standby's are its primary's, and some come of themselves.
    pub flush: Stages,
    /// Mutations of clients that a standby does for its primary; a resync's are not among them.
    pub apply: Stages,
}

/// The stages of one kind of request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Stages {
    /// Until it was issued: while I/O was suspended, and a mutation's way through range lock, activity log and the
    /// reading of edges.
    pub wait: Histogram,
    /// From then until the local disk had done it, or failed.
    pub disk: Histogram,
    /// From its arrival until it was answered.
    pub total: Histogram,
}

/// How long one peer took to answer, since the start of this replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PeerLatency {
    /// From sending a client's mutation to the answer that counts: it is received (protocol B, without FUA) or written.
    /// Nobody waits for that of a peer with protocol A, or of one that is not in sync.
    pub write: Histogram,
    /// From a client's flush to the answer that all before it is stable, where it had to be waited for.
    pub flush: Histogram,
}

impl Replica {
    /// A mutation is on its way to the local disk and the peers.
    pub(crate) fn saw_issue(&mut self, index: usize) {
        let now = self.now;
        let mutation = &mut self.mutations[index];
        mutation.issued = now;
        match mutation.origin {
            Origin::Client { arrived, .. } => self.latency.write.wait.record(arrived, now),
            Origin::Peer { resync: false, .. } => {
                self.latency.apply.wait.record(mutation.began, now);
            }
            Origin::Peer { resync: true, .. } | Origin::Resize => {}
        }
    }

    /// The local disk has answered what it was asked at `since`.
    pub(crate) fn saw_disk(&mut self, op: Op, since: Time) {
        let latency = &mut self.latency;
        let stages = match op {
            Op::Mutation(index) => match self.mutations[index].origin {
                Origin::Client { .. } => &mut latency.write,
                Origin::Peer { resync: false, .. } => &mut latency.apply,
                Origin::Peer { resync: true, .. } | Origin::Resize => return,
            },
            Op::Read(_) => &mut latency.read,
            Op::Flush => &mut latency.flush,
            Op::SweepHash(step) | Op::SweepRead(step) => {
                return self.sweep_was_on_disk(step, self.now.since(since));
            }
            Op::Edges(_)
            | Op::EdgesFrom { .. }
            | Op::ReadCopy { .. }
            | Op::Repair(_)
            | Op::ServedRead(_)
            | Op::Compare(_)
            | Op::Superblock
            | Op::AlPage(_)
            | Op::BitmapPage(..)
            | Op::Capacity
            | Op::Save => return,
        };
        stages.disk.record(since, self.now);
    }

    /// A peer's mutation is done.
    pub(crate) fn saw_applied(&mut self, index: usize) {
        let mutation = &self.mutations[index];
        if matches!(mutation.origin, Origin::Peer { resync: false, .. }) {
            self.latency.apply.total.record(mutation.began, self.now);
        }
    }

    /// A peer has a mutation that was sent to it: received or `written`.
    pub(crate) fn saw_peer(&mut self, slot: Slot, index: usize, written: bool) {
        let mutation = &self.mutations[index];
        let peer = &mut self.peers[slot.index()];
        let received_counts = peer.protocol == Protocol::B && !mutation.fua;
        let clients = matches!(mutation.origin, Origin::Client { .. });
        if clients && mutation.outstanding.contains(slot) && written != received_counts {
            peer.latency.write.record(mutation.issued, self.now);
        }
    }
}
