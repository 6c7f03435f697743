//! The replica as a pure state machine: events in, actions out. No clock, no socket, no file, no randomness.
//!
//! Two types to understand first: [`Replica`], one node's part of one resource, and [`Event`] / [`Action`], all that
//! it hears and all that it asks for. A driver calls [`Replica::handle`] with the time and an event, then takes
//! [`Replica::poll_action`] until it is empty, then sleeps until the next event or [`Replica::next_deadline`].
//!
//! The same code runs in production (`twindisk-engine`), in the simulator and under the fuzzer.
//!
//! Architecture invariants: payload bytes never enter (buffers are handles); time is an argument; what depends on
//! durable state (an acknowledgement, a role, a promise) is emitted only after the driver said it is stored.
#![forbid(unsafe_code)]

mod action;
mod activity;
mod admin;
mod backoff;
mod binding;
mod bitmap;
mod bitmap_store;
mod breach;
mod client;
mod command;
mod compare;
mod config;
mod conflict;
mod control;
mod disk_failure;
mod event;
mod faults;
mod flush;
mod fresh;
mod handshake;
mod histogram;
mod jobs;
mod latency;
pub mod limits;
mod links;
mod locks;
mod mark;
mod membership;
mod moment;
mod mutants;
mod mutation;
mod no_space;
mod pace;
mod peer;
mod probe;
mod reads;
mod receipt_command;
mod receipts;
mod replica;
mod report;
mod resize;
mod rest;
mod roles;
mod seen;
mod silence;
mod split_brain;
mod standby;
mod standing;
mod status;
mod store;
mod sweep;
mod time;
mod timers;
mod window;

pub use action::{Action, DiskIo, ExportState, LinkIntent, Report};
pub use command::{Command, CommandReply, Refusal, RefusalCode};
pub use config::{
    Arbiter, Config, OnDiskError, OnNoQuorum, OnPeerLoss, PeerConfig, Protocol, Timings,
};
pub use event::{
    BufId, ClientOp, ClientRequest, CommandId, ConnectionId, DiskDone, DiskError, Event, Failure,
    Fill, LinkId, OpId, Reading, RequestId,
};
pub use histogram::Histogram;
pub use latency::{Latency, PeerLatency, Stages};
pub use mark::{Cause, Mark};
#[cfg(feature = "mutants")]
pub use mutants::Mutant;
pub use replica::{Replica, Start};
pub use standing::Standing;
pub use status::{
    Activity, ConflictStatus, ConnectionState, DiskState, Missing, NoSpace, PeerStatus, Progress,
    Promotion, ReceiptStatus, Role, Status, Suspension, SuspensionCode,
};
pub use time::Time;
