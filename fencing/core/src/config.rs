//! What an agent is told once: who is there, and how fast to judge.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{MemberIndex, PathIndex, PeerIndex, Recovery, ResourceIndex, Table};

/// All times of an agent, derived from one choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// One switch between the nodes.
    Fast,
    /// The ordinary case.
    #[default]
    Default,
    /// Sites, or clouds.
    Wide,
}

impl Profile {
    /// Between two beats.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 100,
            Self::Default => 250,
            Self::Wide => 1000,
        })
    }

    /// A path is reported after so much silence.
    #[must_use]
    pub const fn warn(self) -> Duration {
        self.interval().saturating_mul(4)
    }

    /// A peer that is silent on every path for so long is lost.
    #[must_use]
    pub const fn dead(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 1000,
            Self::Default => 2000,
            Self::Wide => 10_000,
        })
    }

    /// The least that the side which is to lose a fence race waits.
    #[must_use]
    pub const fn fence_delay(self) -> Duration {
        Duration::from_millis(match self {
            Self::Fast => 1500,
            Self::Default => 3000,
            Self::Wide => 5000,
        })
    }

    /// A replica whose disk has answered nothing for so long though it was asked, or whose process says nothing, hangs:
    /// a person is told.
    #[must_use]
    pub const fn hang(self) -> Duration {
        self.dead().saturating_mul(10)
    }

    /// A primary that hangs for so long has failed. Of the default profile: more than the 30 s after which
    /// Linux itself gives up on a command of a SCSI or NVMe disk, so that a disk that it can bring back comes back first.
    #[must_use]
    pub const fn hung(self) -> Duration {
        self.hang().saturating_mul(2)
    }

    /// A person is told when nobody has taken writes for so long.
    #[must_use]
    pub const fn unserved(self) -> Duration {
        self.dead().saturating_mul(5)
    }

    /// How long a standby that could be promoted leaves that to one that comes before it.
    #[must_use]
    pub const fn succession(self) -> Duration {
        self.dead().saturating_mul(2)
    }

    /// How long a process that died on a living host has to come back before its role is taken.
    #[must_use]
    pub const fn restart_grace(self) -> Duration {
        self.dead().saturating_mul(2)
    }
}

/// What is done about a primary whose I/O stands still while its host lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HungIo {
    /// A person is told, and a watchdog, if there is one, resets the host.
    Alarm,
    /// Besides, where the other node is ready to go on: its process is killed, and if that does not end it, the other node
    /// has the host fenced. No write can be lost by either, and clients wait already.
    #[default]
    Act,
}

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this node.
    pub name: String,
    /// Its number.
    pub node: u8,
    /// How fast to judge.
    pub profile: Profile,
    /// What is done about I/O that stands still.
    pub hung_io: HungIo,
    /// The name of this boot of the host, which no other one has.
    pub host: String,
    /// The nodes it shares a resource with.
    pub peers: Table<PeerIndex, PeerConfig>,
    /// The resources that it looks after.
    pub resources: Table<ResourceIndex, ResourceConfig>,
    /// Automatic failover stops after so many of them of one resource within `failover_window`, until a person clears it.
    pub max_failovers: u32,
    /// See `max_failovers`.
    pub failover_window: Duration,
    /// What is done about services that end by themselves; `None`: a person is told.
    pub recovery: Option<Recovery>,
}

/// A node that shares a resource with this one.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name.
    pub name: String,
    /// Its number.
    pub node: u8,
    /// Heartbeat paths to it.
    pub paths: Table<PathIndex, String>,
    /// There is a way to power it off and to read that it is off.
    pub can_fence: bool,
    /// While it is silent its power is read, and power that reads as off twice is as good as a shot.
    pub reads_power: bool,
}

/// A resource of this node.
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// Its name.
    pub name: String,
    /// The other nodes that have a copy, in the order in which they are to take over.
    pub members: Table<MemberIndex, MemberConfig>,
    /// Services follow the primary role.
    pub has_services: bool,
    /// Something is to be run once they are up on a new primary.
    pub after_promote: bool,
    /// A record of it is kept elsewhere, and grants the next term instead of fencing (R8). Then there is one other node.
    pub arbiter: bool,
    /// Which arbiter the configuration names: its kind, and a digest after a space; empty: a witness, or none.
    pub arbiter_id: String,
}

/// Another node that has a copy of a resource.
#[derive(Clone, Copy, Debug)]
pub struct MemberConfig {
    /// Which one.
    pub peer: PeerIndex,
    /// It comes before this node where both could take over.
    pub preferred: bool,
}

impl ResourceConfig {
    /// The member that a peer is, if it is one.
    pub(crate) fn member(&self, peer: PeerIndex) -> Option<MemberIndex> {
        self.members.position(|member| member.peer == peer)
    }
}
