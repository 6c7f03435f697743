//! The real binary from outside: its commands, its refusals, two nodes on loopback.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod alone;
mod bad_input;
mod bound;
mod command_line;
mod failover;
mod for_programs;
mod growth;
mod identity;
mod no_space;
mod setup;
mod strangers;
mod thin;
mod three_nodes;
mod top;
mod two_nodes;
