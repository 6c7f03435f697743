//! What is on the disk and on the wire: metadata, frames, control messages, authentication
