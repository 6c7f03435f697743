//! What an agent is told once: who is there, and how fast to judge.

use serde::{Deserialize, Serialize};

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
    /// Between two beats, milliseconds.
    #[must_use]
    pub const fn interval(self) -> u64 {
        match self {
            Self::Fast => 100,
            Self::Default => 250,
            Self::Wide => 1000,
        }
    }

    /// A path is reported after so much silence, milliseconds.
    #[must_use]
    pub const fn warn(self) -> u64 {
        4 * self.interval()
    }

    /// A peer that is silent on every path for so long is lost, milliseconds.
    #[must_use]
    pub const fn dead(self) -> u64 {
        match self {
            Self::Fast => 1000,
            Self::Default => 2000,
            Self::Wide => 10_000,
        }
    }

    /// The least that the side which is to lose a fence race waits, milliseconds.
    #[must_use]
    pub const fn fence_delay(self) -> u64 {
        match self {
            Self::Fast => 1500,
            Self::Default => 3000,
            Self::Wide => 5000,
        }
    }

    /// A replica whose disk has answered nothing for so long though it was asked, or whose process says nothing, hangs,
    /// milliseconds: a person is told.
    #[must_use]
    pub const fn hang(self) -> u64 {
        10 * self.dead()
    }

    /// A primary that hangs for so long has failed, milliseconds. Of the default profile: more than the 30 s after which
    /// Linux itself gives up on a command of a SCSI or NVMe disk, so that a disk that it can bring back comes back first.
    #[must_use]
    pub const fn hung(self) -> u64 {
        2 * self.hang()
    }

    /// A person is told when nobody has taken writes for so long, milliseconds.
    #[must_use]
    pub const fn unserved(self) -> u64 {
        5 * self.dead()
    }

    /// How long a process that died on a living host has to come back before its role is taken, milliseconds.
    #[must_use]
    pub const fn restart_grace(self) -> u64 {
        2 * self.dead()
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
    /// The nodes it shares a resource with.
    pub peers: Vec<PeerConfig>,
    /// The resources that it looks after.
    pub resources: Vec<ResourceConfig>,
    /// Automatic failover stops after so many of them of one resource in `failover_window` seconds, until a person clears
    /// it.
    pub max_failovers: u32,
    /// See `max_failovers`.
    pub failover_window: u64,
}

/// A node that shares a resource with this one.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Its name.
    pub name: String,
    /// Its number.
    pub node: u8,
    /// Heartbeat paths to it.
    pub paths: Vec<String>,
    /// There is a way to power it off and to read that it is off.
    pub can_fence: bool,
}

/// A resource with two nodes.
#[derive(Clone, Debug)]
pub struct ResourceConfig {
    /// Its name.
    pub name: String,
    /// The other node, an index into [`Config::peers`].
    pub peer: usize,
    /// Services follow the primary role.
    pub has_services: bool,
}
