//! The automatic failover with real processes: two nodes, or three, on each `serve` and `agent`, a power switch that really kills,
//! an observer that catches two accepted writers, and a client that keeps the book of what it was promised.
//!
//! What is random in them repeats with `TWINDISK_FAILOVER_SEED`. Losses of power and cut links come a few times each;
//! `TWINDISK_FAILOVER_ROUNDS` asks for more, and a table of all outages is printed (`-- --nocapture`).
//! `TWINDISK_FAILOVER_SLOW` makes the fence device of the cut link slower: seconds for each answer, 1 by default.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod etcd;
mod forks;
mod heartbeats;
mod http;
mod hung;
mod outages;
mod overstay;
mod power_loss;
mod process_death;
mod promoted;
mod proof;
mod reconnecting;
mod services;
mod split;
mod strangers;
mod switched;
mod tenure;
mod three;
mod two_writers;
mod unproven;
mod upgrade;
mod watched;
mod witnessed;

use harness::{client, observer};
