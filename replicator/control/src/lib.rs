//! Configuration, listeners, dialling and the control socket: everything about a node that is not on the way of a write.
//!
//! Two things to understand first: [`config::Config`], the one file that all nodes share, and [`protocol`], what is
//! said on the control socket. [`serve::run`] puts a node together; [`client`] is the other end of its control socket.
//!
//! Invariants: sockets here are `tokio::net`, never `tokio_uring::net` (a read that is timed out on the latter loses
//! bytes); nothing here touches the data of a client or a peer once its connection is handed to the engine.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod client;
pub mod clock;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
pub mod limits;
pub mod protocol;
pub mod serve;
pub mod units;
pub mod words;
