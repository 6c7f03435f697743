//! Frames as bytes on their way, in seeds that want it: encoded and decoded by the real codec, a bit flipped now and
//! then, which must be noticed and never believed.

use twindisk_format::{
    frame::Envelope,
    wire::{ChainDecoder, ChainEncoder, HEADER_BYTES, PayloadKind},
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{content::Block, rng::Rng};

/// Both ends of one direction of a connection.
#[derive(Debug)]
pub(crate) struct Chain {
    encoder: ChainEncoder,
    decoder: ChainDecoder,
}

/// A frame on its way.
#[derive(Debug)]
pub(crate) struct Bytes {
    header: [u8; HEADER_BYTES],
    inline: Vec<u8>,
}

/// What came of decoding.
#[derive(Debug)]
pub(crate) enum Received {
    /// The frame, as it was sent.
    Frame,
    /// It is not to be believed: the connection must be dropped.
    Refused(String),
    /// It was altered, or the codec alters, and nobody noticed.
    Wrong(String),
}

impl Chain {
    pub(crate) const fn new(seed: u32) -> Self {
        Self {
            encoder: ChainEncoder::new(seed),
            decoder: ChainDecoder::new(seed),
        }
    }

    /// Encodes a frame that is being sent.
    pub(crate) fn encode(&mut self, envelope: &Envelope, payload: Option<&[Block]>) -> Bytes {
        let mut inline = Vec::new();
        let crc = payload.map_or(0, checksum);
        let header = self.encoder.encode(envelope, crc, &mut inline);
        Bytes { header, inline }
    }

    /// Decodes a frame that arrived; `flip` turns one of its bits first.
    pub(crate) fn decode(
        &mut self,
        mut bytes: Bytes,
        sent: &Envelope,
        payload: Option<&[Block]>,
        flip: Option<&mut Rng>,
    ) -> Received {
        let mut payload_crc = payload.map_or(0, checksum);
        if let Some(rng) = flip {
            let bit = 1 << rng.below(8);
            match rng.index(bytes.header.len() + bytes.inline.len() + 8) {
                at if at < HEADER_BYTES => bytes.header[at] ^= bit,
                at if at < HEADER_BYTES + bytes.inline.len() => {
                    bytes.inline[at - HEADER_BYTES] ^= bit;
                }
                _ if payload.is_some() => payload_crc ^= 1,
                _ => bytes.header[0] ^= bit,
            }
        }
        let header = match self.decoder.header(&bytes.header) {
            Ok(header) => header,
            Err(error) => return Received::Refused(error.to_string()),
        };
        let inline = match header.payload() {
            PayloadKind::Inline(length) if length == bytes.inline.len() => bytes.inline.as_slice(),
            PayloadKind::None | PayloadKind::Inline(_) => &[],
            PayloadKind::Blocks(_) if header.payload_crc() == payload_crc => &[],
            PayloadKind::Blocks(_) => return Received::Refused("payload checksum".to_owned()),
        };
        match header.finish(inline) {
            Ok(envelope) if envelope == *sent => Received::Frame,
            Ok(envelope) => Received::Wrong(format!("{sent:?} was sent, {envelope:?} arrived")),
            Err(error) => Received::Refused(error.to_string()),
        }
    }
}

/// Stands for the CRC of the payload, whose bytes the simulation does not have.
fn checksum(blocks: &[Block]) -> u32 {
    let bytes: Vec<u8> = blocks
        .iter()
        .flatten()
        .flat_map(|stamp| stamp.to_le_bytes())
        .collect();
    (xxh3_64(&bytes) as u32).max(1)
}
