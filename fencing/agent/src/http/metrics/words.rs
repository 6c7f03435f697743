//! States as labels name them: all there are, in the words of `status --json`.

use twindisk_core::{ConnectionState, DiskState, Role};
use twindisk_fencing_core::Services;

pub(super) const ROLES: [Role; 2] = [Role::Primary, Role::Standby];
pub(super) const DISKS: [DiskState; 6] = [
    DiskState::Diskless,
    DiskState::Failed,
    DiskState::Inconsistent,
    DiskState::Outdated,
    DiskState::Consistent,
    DiskState::UpToDate,
];
pub(super) const CONNECTIONS: [ConnectionState; 9] = [
    ConnectionState::Standalone,
    ConnectionState::Connecting,
    ConnectionState::Negotiating,
    ConnectionState::Waiting,
    ConnectionState::SyncSource,
    ConnectionState::SyncTarget,
    ConnectionState::Established,
    ConnectionState::SplitBrain,
    ConnectionState::Unrelated,
];
pub(super) const SERVICES: [Services; 6] = [
    Services::Unknown,
    Services::Down,
    Services::Starting,
    Services::Up,
    Services::Stopping,
    Services::Failed,
];

pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Standby => "standby",
    }
}

pub(super) const fn disk(state: DiskState) -> &'static str {
    match state {
        DiskState::Diskless => "Diskless",
        DiskState::Failed => "Failed",
        DiskState::Inconsistent => "Inconsistent",
        DiskState::Outdated => "Outdated",
        DiskState::Consistent => "Consistent",
        DiskState::UpToDate => "UpToDate",
    }
}

pub(super) const fn connection(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Standalone => "standalone",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Negotiating => "negotiating",
        ConnectionState::Waiting => "waiting",
        ConnectionState::SyncSource => "sync-source",
        ConnectionState::SyncTarget => "sync-target",
        ConnectionState::Established => "established",
        ConnectionState::SplitBrain => "split-brain",
        ConnectionState::Unrelated => "unrelated",
    }
}

pub(super) const fn services(state: Services) -> &'static str {
    match state {
        Services::Unknown => "unknown",
        Services::Down => "down",
        Services::Starting => "starting",
        Services::Up => "up",
        Services::Stopping => "stopping",
        Services::Failed => "failed",
    }
}
