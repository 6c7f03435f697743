//! Stacks of real services: scripts, filesystems on loop devices, databases, addresses in network namespaces.
#![allow(clippy::unwrap_used, reason = "in tests a panic is an answer")]

mod address;
mod commands;
mod database;
mod mounts;
mod postgresql;
mod support;
mod units;
