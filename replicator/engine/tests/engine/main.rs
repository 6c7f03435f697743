//! Whole threads with real files, real sockets and a real ring.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod block_device;
mod checklist;
mod clients;
mod encrypted;
mod harness;
mod peers;
mod starting;
mod starve;
mod tls;
mod wire;
