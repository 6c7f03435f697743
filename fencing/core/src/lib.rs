//! Failover decisions without I/O: heartbeats, suspicion, the fence race, promotion, return (see `fencing/ARCHITECTURE.md`).
//!
//! An [`Agent`] takes events in by its `handle_*` methods, gives [`Action`]s out by [`Agent::poll_action`], and says by
//! [`Agent::next_deadline`] when it wants to look at the clock again. It decides *when to try*; whether a node may be
//! primary is decided by the replicas alone, by the receipts that the agent brings them. So a wrong guess here costs a
//! node its power, and never an acknowledged write.

mod agent;
mod arbiter;
mod beat;
mod check;
mod config;
mod conflict;
mod event;
mod faults;
mod fence;
mod freed;
mod hang;
mod index;
mod member;
mod memory;
mod mutants;
mod no_space;
mod peer;
mod promoted;
mod proof;
mod reading;
mod recovery;
mod resource;
mod services;
mod status;
mod succession;
mod takeover;
#[cfg(test)]
mod tests;
mod unserved;

pub use agent::Agent;
pub use arbiter::{KeeperSummary, RecordSummary};
pub use beat::{Beat, BeatResource, Question, Serving};
pub use config::{Config, HungIo, MemberConfig, PeerConfig, Profile, ResourceConfig};
pub use event::{
    Action, Led, Level, Looking, Operator, Order, PeerView, Power, ReplicaView, Role, Services,
    Time, as_ms,
};
pub use index::{Key, MemberIndex, PathIndex, PeerIndex, ResourceIndex, Table};
pub use memory::{Failover, Freed, Intent, Memory, Seen, Started};
#[cfg(feature = "mutants")]
pub use mutants::Mutant;
pub use recovery::Recovery;
pub use status::{AgentStatus, PathStatus, PeerSummary, ResourceSummary};
pub use succession::{Obstacle, Succession, WhyNot};
