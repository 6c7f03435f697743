//! The agent of a node: it drives the failover decisions of `fencing/core` with real heartbeats, fence agents, replicas
//! and services.
//!
//! [`run`] is the process. One task owns the core; everything else that takes time (a fence agent, an order to a replica,
//! services) is a task of its own that sends its outcome back. The agent goes on deciding while the replica's process is
//! stuck, and that one goes on writing when the agent is gone.
#![forbid(unsafe_code)]

mod answers;
mod arbiter;
mod ask;
mod config;
mod deeds;
mod error;
mod heartbeat;
mod http;
mod leave;
mod memory;
mod news;
mod orders;
mod ping;
mod proof;
mod replica;
mod run;
mod socket;
mod watchdog;
mod watched;
pub mod words;

pub use arbiter::{etcd, keeper};
pub use ask::{AgentAnswer, AgentAsk, AgentReply, AtWork, Client, Told};
pub use config::{Settings, SettingsError};
pub use error::RunError;
pub use proof::fence_test;
pub use run::run;
// What a reply is made of.
pub use twindisk_fencing_core::{
    AgentStatus, KeeperSummary, Level, Obstacle, PathStatus, PeerSummary, RecordSummary,
    ResourceSummary, Services, Succession, WhyNot,
};
