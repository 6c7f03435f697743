//! The witness: a small process on a third host that keeps the arbiter's record of each resource, for one cluster or for
//! hundreds, and the way in which it is asked. What it decides is [`twindisk_arbiter`]'s; here are files and sockets.
#![forbid(unsafe_code)]

mod client;
mod config;
mod file;
mod limits;
mod serve;

pub use client::{AskError, Witness};
pub use config::{Cluster, Config, ConfigError};
pub use file::{Shelf, ShelfError};
pub use serve::{ServeError, run};
pub use twindisk_arbiter::{
    Answer, Ask, Listed, Nonce, Question, Record, Register, Reply, Seal, Version,
};
