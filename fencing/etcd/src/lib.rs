//! etcd as the keeper of the arbiter's records: a key of each resource, `PREFIX/CLUSTER/RESOURCE`, read linearizably and
//! replaced by a transaction that compares what was read. What it decides is [`twindisk_arbiter`]'s; here are keys, JSON, HTTP.
//!
//! [`Etcd`] is the client. A transaction whose answer was lost is no trouble: whoever asks again finds what it wrote by the
//! record's nonce, or takes part anew with what is there.
#![forbid(unsafe_code)]

mod access;
mod client;
mod fault;
mod gateway;
mod kept;
mod limits;

pub use access::Access;
pub use client::{AskError, Etcd};
pub use gateway::Member;
pub use twindisk_arbiter::{Keeper, Seal};
