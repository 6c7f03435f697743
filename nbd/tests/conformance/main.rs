//! Conformance to the NBD specification, row by row of the checklist in the crate's README.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod client;
mod common;
mod handshake;
mod interop;
mod meta_context;
mod properties;
mod readme;
mod replies;
mod seeds;
mod server;
mod transmission;
