//! What is on the disk and on the wire: identities, metadata blocks, frames, control messages, authentication.
//!
//! Invariant: this crate knows layouts, not behaviour. It reads no file and no socket; it turns values into bytes
//! and foreign bytes into values or errors.
#![forbid(unsafe_code)]

pub mod control;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod lineage;
pub mod meta_block;
pub mod superblock;
