//! What an agent learns from the status of its replica. The agent's process and the simulator both take it from here, so
//! that what is simulated is what runs; it must never know a socket or a clock.
#![forbid(unsafe_code)]

use std::time::Duration;

use twindisk_core::{ConnectionState, DiskState, PeerStatus, Role, Status};
use twindisk_fencing_core::{Led, PeerView, ReplicaView};

/// What came of asking a process for the status of a resource.
#[derive(Debug)]
pub enum Look<'a> {
    /// The process answered, and so did the replica.
    Said {
        /// This run of the process.
        run: u64,
        /// What the replica says.
        status: &'a Status,
    },
    /// There is no process, or it answered that the replica does not run.
    Gone,
    /// No answer, or one without the replica though that runs: nothing is known to be gone.
    Silent,
}

/// What there is to tell an agent after a look, of a resource shared with the nodes `peers`, which are its members in this
/// order: its replica, or `None` for one that is gone. Nothing at all of a silent one: what was known of it stays.
#[must_use]
pub fn news(look: &Look<'_>, peers: &[u8]) -> Option<Option<ReplicaView>> {
    match look {
        Look::Said { run, status } => Some(view(*run, status, peers)),
        Look::Gone => Some(None),
        Look::Silent => None,
    }
}

fn view(run: u64, status: &Status, peers: &[u8]) -> Option<ReplicaView> {
    let peers = peers.iter().map(|node| {
        let found = status.peers.iter().find(|one| one.node == *node);
        found.map(|one| peer_view(status, one))
    });
    let activity = &status.activity;
    Some(ReplicaView {
        run,
        role: role(status.role),
        term: status.term,
        // R16: nobody is asked to step aside for what is not written yet.
        up_to_date: status.disk == DiskState::UpToDate && !status.still_writing,
        can_promote: status.promote_needs.is_empty(),
        needs: status.promote_needs.clone(),
        led: status.led().map(|(node, term)| Led { node, term }),
        open: status.export_open,
        suspended: status.suspended.is_some(),
        peers: peers.collect::<Option<_>>()?,
        conflict: status
            .peers
            .iter()
            .find_map(|one| one.conflict.as_ref().map(|conflict| conflict.why.clone())),
        no_space: status
            .no_space
            .as_ref()
            .map(|space| format!("{}: {}", space.why, space.release)),
        faults: status.faults.clone(),
        progress: activity.reads + activity.writes + activity.flushes,
        oldest: Duration::from_millis(activity.disk_oldest_ms),
    })
}

fn peer_view(status: &Status, peer: &PeerStatus) -> PeerView {
    PeerView {
        linked: !matches!(
            peer.connection,
            ConnectionState::Connecting | ConnectionState::Standalone
        ),
        met: peer.met,
        role: peer.role.map(role),
        in_sync: peer.in_sync,
        has_receipt: peer.receipt.is_some(),
        // One that waits for something else names nobody, and so does an older version.
        awaited: status.suspended.as_ref().is_some_and(|suspended| {
            let mut missing = suspended.missing.iter();
            suspended.missing.is_empty() || missing.any(|one| one.node == peer.name)
        }),
    }
}

const fn role(role: Role) -> twindisk_fencing_core::Role {
    match role {
        Role::Primary => twindisk_fencing_core::Role::Primary,
        Role::Standby => twindisk_fencing_core::Role::Standby,
    }
}
