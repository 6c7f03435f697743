//! States as people and labels read them: one function for each, in the words of `status --json`.

use twindisk_core::{ConnectionState, DiskState, Protocol, Role};
use twindisk_format::superblock::StoredDisk;

/// Every role.
pub const ROLES: [Role; 2] = [Role::Primary, Role::Standby];
/// Every state of a disk.
pub const DISKS: [DiskState; 6] = [
    DiskState::Diskless,
    DiskState::Failed,
    DiskState::Inconsistent,
    DiskState::Outdated,
    DiskState::Consistent,
    DiskState::UpToDate,
];
/// Every state of a connection.
pub const CONNECTIONS: [ConnectionState; 9] = [
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

/// A role.
#[must_use]
pub const fn role(role: Role) -> &'static str {
    match role {
        Role::Primary => "primary",
        Role::Standby => "standby",
    }
}

/// A state of a disk, in the words that DRBD made usual.
#[must_use]
pub const fn disk(state: DiskState) -> &'static str {
    match state {
        DiskState::Diskless => "Diskless",
        DiskState::Failed => "Failed",
        DiskState::Inconsistent => "Inconsistent",
        DiskState::Outdated => "Outdated",
        DiskState::Consistent => "Consistent",
        DiskState::UpToDate => "UpToDate",
    }
}

/// What is recorded of a disk.
#[must_use]
pub const fn stored_disk(state: StoredDisk) -> &'static str {
    match state {
        StoredDisk::Failed => "Failed",
        StoredDisk::Inconsistent => "Inconsistent",
        StoredDisk::Outdated => "Outdated",
        StoredDisk::UpToDate => "UpToDate",
    }
}

/// A state of a connection.
#[must_use]
pub const fn connection(state: ConnectionState) -> &'static str {
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

/// A protocol.
#[must_use]
pub const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::A => "A",
        Protocol::B => "B",
        Protocol::C => "C",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_status_in_json() {
        let json = |value: serde_json::Value| value.as_str().unwrap().to_owned();
        for one in ROLES {
            assert_eq!(json(serde_json::to_value(one).unwrap()), role(one));
        }
        for one in DISKS {
            assert_eq!(json(serde_json::to_value(one).unwrap()), disk(one));
        }
        for one in CONNECTIONS {
            assert_eq!(json(serde_json::to_value(one).unwrap()), connection(one));
        }
        for one in [Protocol::A, Protocol::B, Protocol::C] {
            assert_eq!(json(serde_json::to_value(one).unwrap()), protocol(one));
        }
    }
}
