//! The real binary from outside: its commands, its refusals, two nodes on loopback.
#![allow(clippy::unwrap_used)]

mod alone;
mod command_line;
mod failover;
mod nodes;
mod strangers;
mod three_nodes;
mod two_nodes;
