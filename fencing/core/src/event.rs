//! What goes in and what comes out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use twindisk_arbiter::{Ask, Version};

use crate::{Beat, MemberIndex, Memory, PeerIndex, ResourceIndex, Table};

/// Milliseconds of a clock that never steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// So much later.
    #[must_use]
    pub const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(as_ms(time)))
    }

    /// So much earlier, or the beginning of the clock.
    #[must_use]
    pub const fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(as_ms(time)))
    }

    /// How long ago `earlier` was.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds, as they are stored, sent and shown.
#[must_use]
pub const fn as_ms(time: Duration) -> u64 {
    let ms = time.as_millis();
    if ms > u64::MAX as u128 {
        return u64::MAX;
    }
    ms as u64
}

/// Role of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes writes from clients.
    Primary,
    /// Takes writes from the primary.
    Standby,
}

/// Who was primary last, by the newest generation that a replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// Its number.
    pub node: u8,
    /// In which term.
    pub term: u64,
}

/// What the local replica of a resource says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    /// This run of its process.
    pub run: u64,
    /// Its role.
    pub role: Role,
    /// The term it has accepted.
    pub term: u64,
    /// Its disk is known to be the newest there is.
    pub up_to_date: bool,
    /// It needs no right that it does not have.
    pub can_promote: bool,
    /// What it needs else, in sentences.
    pub needs: Vec<String>,
    /// Who was primary last, as far as it knows.
    pub led: Option<Led>,
    /// Its device is open to clients.
    pub open: bool,
    /// I/O waits for a replica of the in-sync set.
    pub suspended: bool,
    /// What it says of each other one.
    pub peers: Table<MemberIndex, PeerView>,
    /// It is in conflict with another replica, and no person has decided yet whose data counts: what it says of that.
    pub conflict: Option<String>,
    /// Its writes wait for space on its disk: what it says of that.
    pub no_space: Option<String>,
    /// What has failed, or hangs, of its disks and of those of its peer, a sentence each.
    pub faults: Vec<String>,
    /// Requests done since its start.
    pub progress: u64,
    /// Age of the oldest operation that its own disk has not finished. What waits for the peer does not count.
    pub oldest: Duration,
}

/// What the local replica of a resource says of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The two are connected.
    pub linked: bool,
    /// Names their last connection: never the same twice.
    pub met: u64,
    /// Its role, while connected.
    pub role: Option<Role>,
    /// It belongs to the in-sync set.
    pub in_sync: bool,
    /// I/O waits for it.
    pub awaited: bool,
    /// A right about it is in force.
    pub has_receipt: bool,
}

impl ReplicaView {
    /// A member belongs to the in-sync set, is not connected, and what it may have done meanwhile is not known.
    pub(crate) fn is_missing(&self, member: MemberIndex) -> bool {
        let peer = &self.peers[member];
        peer.in_sync && !peer.linked
    }

    /// Another replica of the in-sync set than this one has a copy that counts.
    pub(crate) fn has_others(&self) -> bool {
        self.peers.iter().any(|peer| peer.in_sync)
    }

    /// Another replica that is connected is primary.
    pub(crate) fn follows(&self) -> bool {
        let leads = |peer: &PeerView| peer.role == Some(Role::Primary);
        self.peers.iter().any(leads)
    }
}

/// When the driver began to look at a replica: a status and the answer to an order come over two connections, and either
/// may overtake the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looking(pub(crate) u64);

/// What a replica is told to do. One at a time and resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Become primary.
    Promote,
    /// Take the receipt that a peer was powered off.
    ReceiptFenced {
        /// Which one.
        about: PeerIndex,
        /// What was done, by whom.
        detail: String,
        /// The last connection when that was done.
        met: u64,
    },
    /// Take the receipt that a peer recorded itself as Outdated.
    ReceiptReleased {
        /// Which one.
        about: PeerIndex,
        /// What was said, by whom.
        detail: String,
        /// The last connection when it was asked for.
        met: u64,
    },
    /// Take the receipt that the arbiter has granted the next term in place of a peer.
    ReceiptGranted {
        /// Which one.
        about: PeerIndex,
        /// By which record.
        detail: String,
        /// The last connection when it was claimed.
        met: u64,
    },
    /// Give the role up at once, with what was never acknowledged: the arbiter has granted the next term to another node.
    StepDown,
    /// Record itself as Outdated.
    Outdate {
        /// Its process is gone: write it into the metadata, under its lock.
        offline: bool,
    },
    /// Hand the role to a peer.
    HandOver {
        /// Which one.
        to: PeerIndex,
    },
}

/// Whether a node has power, as its fence devices read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Power {
    /// It has.
    On,
    /// It has not, by every device of a level: what was read, in words.
    Off(String),
    /// That can't be read.
    Unknown,
}

/// Services of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Services {
    /// This agent has not touched them yet: an earlier one may have left some.
    #[default]
    Unknown,
    /// None runs here.
    Down,
    /// They are being started.
    Starting,
    /// All run here.
    Up,
    /// They are being stopped.
    Stopping,
    /// Starting or stopping failed: some may run.
    Failed,
}

/// What a person asks the agent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Decide nothing until told otherwise.
    Maintenance(bool),
    /// Automatic failover may go on.
    Clear,
    /// A person has switched a peer off, and vouches for it.
    Confirm(PeerIndex),
    /// Give the role of a resource to another node, services first.
    Switchover {
        /// Which resource.
        resource: ResourceIndex,
        /// Which node; `None`: the first one that could have it.
        to: Option<PeerIndex>,
    },
    /// The record of a resource's arbiter begins anew: the two replicas have everything.
    Adopt(ResourceIndex),
    /// `twindisk serve` is about to be stopped: bring all services down, and none up before it was started again (R12).
    Yield,
    /// The agent is being stopped.
    Leave,
}

/// How much something matters to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It happened.
    Info,
    /// It should be looked at.
    Warning,
    /// Nothing goes on until it is looked at.
    Alarm,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to a peer, over every path.
    Send {
        /// Which one.
        peer: PeerIndex,
        /// What.
        beat: Beat,
    },
    /// Store this durably, then call `handle_stored`.
    Store(Memory),
    /// Read whether a peer's power is off, then call `handle_power`. A reading that is under way ends, unanswered, when this
    /// is asked once more, and when the peer is to be fenced.
    ReadPower(PeerIndex),
    /// Read the power of a peer that is heard, by every device that can read it, then call `handle_checked`: whether all
    /// levels that can be read say on. One that is under way ends, unanswered, as a reading does.
    CheckPower(PeerIndex),
    /// Power a peer off and verify it, then call `handle_fenced`. Right before the shot, ask [`Agent::still_wants`]
    /// once more.
    ///
    /// [`Agent::still_wants`]: crate::Agent::still_wants
    Fence(PeerIndex),
    /// Switch a peer on again: everything that needed it off is done.
    PowerOn(PeerIndex),
    /// Tell the local replica of a resource, then call `handle_ordered`.
    Order(ResourceIndex, Order),
    /// Ask the arbiter of a resource, then call `handle_arbiter`: with its answer, or when it has not answered within
    /// `dead` / 2. It may be done even so.
    Arbiter {
        /// The resource.
        resource: ResourceIndex,
        /// The newest record that this node knows of.
        known: Option<Version>,
        /// What is asked.
        ask: Ask,
    },
    /// Kill the process of a resource's replica if it still is this run of it: its I/O stands still.
    Kill {
        /// The resource.
        resource: ResourceIndex,
        /// The run.
        run: u64,
    },
    /// Bring the services of a resource up, then call `handle_services`.
    StartServices {
        /// The resource.
        resource: ResourceIndex,
        /// The term of the role that they belong to (R17).
        term: u64,
    },
    /// Bring them down, then call `handle_services`.
    StopServices(ResourceIndex),
    /// Run what is to be run after a promotion, for this term, then call `handle_after_promote`. End it before services of
    /// the resource go down.
    AfterPromote {
        /// The resource.
        resource: ResourceIndex,
        /// The term of the role that its services belong to.
        term: u64,
    },
    /// Something that belongs into the event log.
    Report {
        /// How much it matters.
        level: Level,
        /// The resource it is about.
        resource: Option<ResourceIndex>,
        /// What.
        what: String,
    },
}
