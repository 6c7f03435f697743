//! Replies of the transmission phase: written by a server ([`encode`]) into small fixed buffers,
//! read by a client ([`decode`]).

mod decode;
mod encode;

pub use decode::{
    BadReply, Chunk, ChunkHeader, ReplyStart, SimpleReply, decode_chunk, decode_start,
};
pub use encode::{
    Encoded, ErrorReply, Extent, More, ReplyHeader, block_status, chunk_data, chunk_hole, done,
    error, error_at, read_data,
};
