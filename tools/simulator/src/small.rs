//! Small worlds, exhaustively: two replicas, a block or two, a few requests and faults, and *every* order in which their
//! disks, their network, their clients and their operator can act.
//!
//! Where seeds draw one order of a large world, this walks all orders of a small one. Its nodes are the real cores; states
//! that are equal are visited once. Time stands still but for the deadlines that a core names, and those come only
//! when nothing else can happen: an order of events is what is searched, not their timing.
//!
//! Understand first: [`world::World`], all that there is and what can happen in it, and [`search::walk`].

mod act;
pub mod failover;
mod machine;
mod rules;
pub mod search;
mod step;
mod wire;
pub mod world;
pub mod worlds;

pub use failover::Failover;
pub use search::{Found, Walk, walk};
pub use step::Step;
pub use world::{Bounds, World};
