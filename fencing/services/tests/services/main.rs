//! Stacks of real services: scripts, filesystems on loop devices, addresses in network namespaces.
#![allow(clippy::unwrap_used, reason = "in tests a panic is an answer")]

mod address;
mod commands;
mod mounts;
mod support;
mod units;
