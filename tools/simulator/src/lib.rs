//! A whole cluster in one process, under every fault, from a seed.
//!
//! Two things to understand first: [`World`], the cluster with its disks, network, clients, operator and nemesis on
//! a virtual clock, and [`run`], which lets a seed live through its faults, heals it and compares. The replicas are
//! the real ones (`twindisk-core`), unchanged; everything around them is made up and knows how to go wrong.
//!
//! Architecture invariants: no clock, no thread, no randomness but [`rng::Rng`], no order that a hash decides. The
//! same seed is the same run, on every machine, for ever.
#![forbid(unsafe_code)]

mod actions;
mod agents;
mod bufs;
mod bug;
pub mod checker;
mod client;
pub mod content;
pub mod coverage;
mod dead_meta;
mod disk;
mod disks;
mod links;
mod metadisk;
mod nemesis;
mod net;
mod node;
mod operator;
pub mod out;
mod pausing;
mod process;
mod reports;
mod resources;
mod rewind;
pub mod rng;
mod run;
pub mod scenarios;
mod script;
pub mod small;
mod story;
pub mod swarm;
mod trace;
mod wire;
mod world;
mod write_log;

pub use bug::Mutant;
pub use run::{Outcome, run, run_swarm, run_with_agents, run_with_three, run_with_witness};
pub use trace::Telling;
pub use world::World;
