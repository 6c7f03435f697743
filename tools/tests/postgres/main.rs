//! PostgreSQL on ext4 on a replicated device, on a pair of nodes with agents, as an operator would run it: the agent brings
//! up the device, the filesystem, the server and its address where the resource is primary. Clients write all the time and
//! keep the book of what was acknowledged to them; whatever happens to the nodes, every row of it is there afterwards.
//!
//! The device is the resource through `nbdkit` (which connects again), `nbdfuse` and a loop device, since a kernel may have no
//! NBD. `TWINDISK_POSTGRES_ROUNDS` asks for more rounds of each kind, and what clients saw is printed (`-- --nocapture`).
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod book;
mod client;
mod image;
mod links;
mod losses;
mod outages;
mod patience;
mod power;
mod processes;
mod services;
mod site;
mod suspended;
mod twice;
