//! What the replica of a pair says, with its one peer beside it: as most tests write it.

use std::time::Duration;

use crate::{Led, PeerView, Role};

/// What the replica of a pair says of itself, and of its peer.
#[derive(Clone, Debug)]
pub(super) struct ReplicaView {
    pub(super) run: u64,
    pub(super) role: Role,
    pub(super) term: u64,
    pub(super) up_to_date: bool,
    pub(super) can_promote: bool,
    pub(super) needs: Vec<String>,
    pub(super) led: Option<Led>,
    pub(super) open: bool,
    pub(super) suspended: bool,
    pub(super) linked: bool,
    pub(super) met: u64,
    pub(super) peer_role: Option<Role>,
    pub(super) peer_in_sync: bool,
    pub(super) conflict: Option<String>,
    pub(super) no_space: Option<String>,
    pub(super) faults: Vec<String>,
    pub(super) progress: u64,
    pub(super) oldest: Duration,
}

impl From<ReplicaView> for crate::ReplicaView {
    fn from(view: ReplicaView) -> Self {
        Self {
            run: view.run,
            role: view.role,
            term: view.term,
            up_to_date: view.up_to_date,
            can_promote: view.can_promote,
            needs: view.needs,
            led: view.led,
            open: view.open,
            suspended: view.suspended,
            peers: vec![PeerView {
                linked: view.linked,
                met: view.met,
                role: view.peer_role,
                in_sync: view.peer_in_sync,
                awaited: view.suspended,
                has_receipt: false,
            }]
            .into(),
            conflict: view.conflict,
            no_space: view.no_space,
            faults: view.faults,
            progress: view.progress,
            oldest: view.oldest,
        }
    }
}

/// A primary with its standby.
pub(super) fn primary() -> ReplicaView {
    ReplicaView {
        run: 1,
        role: Role::Primary,
        term: 5,
        up_to_date: true,
        can_promote: true,
        needs: Vec::new(),
        led: Some(Led { node: 1, term: 5 }),
        open: true,
        suspended: false,
        linked: true,
        met: 70,
        peer_role: Some(Role::Standby),
        peer_in_sync: true,
        conflict: None,
        no_space: None,
        faults: Vec::new(),
        progress: 0,
        oldest: Duration::ZERO,
    }
}

/// A primary that has lost its standby, and waits.
pub(super) fn frozen() -> ReplicaView {
    ReplicaView {
        suspended: true,
        linked: false,
        peer_role: None,
        ..primary()
    }
}

/// A primary that goes on alone.
pub(super) fn alone() -> ReplicaView {
    ReplicaView {
        suspended: false,
        peer_in_sync: false,
        ..frozen()
    }
}

/// A standby with its primary.
pub(super) fn standby() -> ReplicaView {
    ReplicaView {
        role: Role::Standby,
        can_promote: false,
        led: Some(Led { node: 2, term: 5 }),
        open: false,
        peer_role: Some(Role::Primary),
        ..primary()
    }
}

/// A standby that has lost its primary.
pub(super) fn orphan() -> ReplicaView {
    ReplicaView {
        linked: false,
        peer_role: None,
        ..standby()
    }
}

/// A standby that needs nothing more to be promoted.
pub(super) fn entitled() -> ReplicaView {
    ReplicaView {
        can_promote: true,
        ..orphan()
    }
}

/// A standby whose disk is not known to be the newest.
pub(super) fn outdated() -> ReplicaView {
    ReplicaView {
        up_to_date: false,
        ..orphan()
    }
}
