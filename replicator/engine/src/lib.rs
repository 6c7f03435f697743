//! Drives a replica core with a real ring, real disks and real sockets: one thread and one ring per resource.
//!
//! The engine takes connections that are ready to use: the control plane accepts, authenticates and negotiates, then
//! hands the socket over. It decides nothing: whatever is a decision lives in `twindisk-core`.
//!
//! Two types to understand first: `Engine`, the loop that waits for the ring, hands what happened to the core and does
//! what it asks for; and `Ring`, which collects what is to be begun, in the order in which others wait for it, for one
//! system call per turn.
//!
//! | file | subject |
//! |---|---|
//! | `engine` | the loop; start and stop; what the core asks for |
//! | `ring` `tokens` `slab` `spin` `clock` | operations and their names, waiting, spinning |
//! | `memory` `buffers` | where payloads lie, and who owns them |
//! | `disk` `meta` `store` `probe` `save` | the backing device and the metadata |
//! | `clients` | NBD connections: bytes to parts of requests, outcomes to replies |
//! | `links` | peers' connections: bytes to frames and back, checked |
//! | `send` `window` `socket` | what both kinds of connections share |
//! | `api` `mailbox` `spawn` | the seam to the control plane |
//!
//! *Invariant:* what the kernel was given (a buffer, a header, a socket) is neither used nor freed before its completion
//! has arrived; a slot belongs to the driver until then.
//!
//! *Invariant:* nothing from a peer reaches the core before its chain and its checksum were verified.
//!
//! *Invariant:* memory for one client request is taken all at once and first come, first served, so that requests can't
//! wait for each other; a peer's payload that finds no memory stops the reading of that link.
//!
//! *Invariant:* hang-ups are handed to the core before requests that arrived in the same batch.

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
mod socket;
mod spawn;
mod spin;
pub mod store;
mod tokens;
mod window;

pub use api::{
    BufferSizes, BusyPoll, CommandOutcome, Host, Input, NbdConnection, Notice, Origin, PeerLink,
    ReplicaOptions,
};
pub use mailbox::{InputSender, SendError};
pub use probe::{kernel_warnings, ring_refused, storage_warnings};
pub use spawn::{ReplicaThread, StartError, spawn};
