//! What an agent learns from the status of its replica. The agent's process and the simulator both take it from here, so
//! that what is simulated is what runs; it must never know a socket or a clock.
#![forbid(unsafe_code)]

use std::time::Duration;

use twindisk_core::{ConnectionState, DiskState, Role, Status};
use twindisk_fencing_core::{Led, ReplicaView};

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

/// What there is to tell an agent after a look, of a resource shared with the node `peer`: its replica, or `None` for one
/// that is gone. Nothing at all of a silent one: what was known of it stays.
#[must_use]
pub fn news(look: &Look<'_>, peer: u8) -> Option<Option<ReplicaView>> {
    match look {
        Look::Said { run, status } => Some(view(*run, status, peer)),
        Look::Gone => Some(None),
        Look::Silent => None,
    }
}

fn view(run: u64, status: &Status, peer: u8) -> Option<ReplicaView> {
    let peer = status.peers.iter().find(|one| one.node == peer)?;
    let role = |role: Role| match role {
        Role::Primary => twindisk_fencing_core::Role::Primary,
        Role::Standby => twindisk_fencing_core::Role::Standby,
    };
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
        linked: !matches!(
            peer.connection,
            ConnectionState::Connecting | ConnectionState::Standalone
        ),
        met: peer.met,
        peer_role: peer.role.map(role),
        peer_in_sync: peer.in_sync,
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
