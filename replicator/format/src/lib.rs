//! What is on the disk and on the wire: identities, metadata blocks, frames, control messages, authentication.
//!
//! Invariant: this crate knows layouts, not behaviour. It reads no file and no socket; it turns values into bytes
//! and foreign bytes into values or errors.
//!
//! On the disk: [`meta_block`] is what every metadata block has in common, [`superblock`], [`activity_log`] and
//! [`bitmap`] are the three kinds, [`layout`] says where each is, [`metadata`] loads and repairs the whole.
//!
//! `FORMAT.md` draws every layout as a byte table.
//!
//! On the wire: [`auth`] comes first; [`frame`] and [`control`] are what is said, [`wire`] and [`codec`] turn it into bytes.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that panics has failed")
)]

pub mod activity_log;
#[cfg(test)]
mod arbitrary;
pub mod auth;
pub mod binding;
pub mod bitmap;
pub mod checksum;
pub mod codec;
pub mod control;
#[cfg(test)]
mod format_doc;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod lineage;
pub mod meta_block;
pub mod metadata;
pub mod superblock;
pub mod wire;
