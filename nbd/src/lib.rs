//! The NBD protocol without I/O, a small blocking client, and the attachment to the kernel.
//!
//! A server drives [`Handshake`] with the bytes of a new connection until it has an [`Outcome`],
//! then decodes one 28-byte header after another ([`decode_header`]), asks [`validate`] what to do,
//! receives the payload wherever it likes, and answers with the encoders in [`reply`].
//! The crate must never know what is served: no replication, no disks, no clock.

#![deny(unsafe_code)]
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod attach;
pub mod client;
#[doc(hidden)]
pub mod fuzzing;
pub mod limits;
pub mod protocol;
pub mod reply;

mod bytes;
mod errno;
mod export;
mod handshake;
mod options;
mod request;

pub use errno::Errno;
pub use export::{
    Availability, BlockSizes, Capabilities, Export, InvalidExport, Unserved, find_export,
};
pub use handshake::{Handshake, HandshakeError, Outcome};
pub use request::{
    BadMagic, CloseReason, Command, ContextId, Cookie, Header, Negotiated, Rejected, ReplyStyle,
    Request, Verdict, decode_header, validate,
};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
