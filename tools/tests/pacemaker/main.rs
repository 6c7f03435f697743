//! Twindisk beneath Pacemaker: two nodes with a real corosync and a real Pacemaker, each with namespaces of its own, a power
//! switch that really kills, an observer that catches two accepted writers, and a client that keeps the book of what it was
//! promised. The configuration of the cluster is that of `tools/doc/pacemaker.md`.
//!
//! Needs root. `TWINDISK_PACEMAKER_ROUNDS` asks for each scenario so many times, the longer ones too, and prints the outages
//! (`-- --nocapture`).
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod agents;
mod cib;
mod machine;
mod power;
mod scenarios;
mod site;
