//! Drives a replica core with a real ring, real disks and real sockets: one thread and one ring per resource.
//!
//! The engine takes connections that are ready to use: the control plane accepts, authenticates and negotiates, then
//! hands the socket over. It decides nothing: whatever is a decision lives in `twindisk-core`.

mod api;
mod buffers;
mod clients;
mod clock;
mod disk;
mod engine;
mod limits;
mod links;
mod mailbox;
mod memory;
mod meta;
mod probe;
mod ring;
mod save;
mod send;
mod slab;
mod spawn;
mod spin;
pub mod store;
mod tokens;
mod window;

pub use api::{
    BufferSizes, BusyPoll, CommandOutcome, Host, Input, NbdConnection, Notice, PeerLink,
    ReplicaOptions,
};
pub use mailbox::{InputSender, SendError};
pub use probe::{kernel_warnings, storage_warnings};
pub use spawn::{ReplicaThread, StartError, spawn};
