//! Frames into bytes.

use zerocopy::{FromZeros, IntoBytes, U32, U64};

use super::{
    FLAG_FUA, FLAG_RESYNC, FLAG_UNMAP, HEADER_BYTES, Kind, MAGIC, MASK_BYTES, RawHeader, WORD_BYTES,
};
use crate::{
    codec,
    frame::{Envelope, Frame, How},
    ids::BlockRange,
};

/// The sending end of one direction of a connection.
#[derive(Clone, Debug)]
pub struct ChainEncoder {
    previous: u32,
}

impl ChainEncoder {
    /// With the seed that authentication gave this direction.
    #[must_use]
    pub const fn new(seed: u32) -> Self {
        Self { previous: seed }
    }

    /// The header of `envelope`; contents that are no block data are appended to `inline`. Send the header, then
    /// either the inline bytes or the block data. Frames must be sent in the order in which they were encoded.
    ///
    /// `payload_crc` is the CRC-32 of the block data of a `Write` or `ReadReply`, and 0 for every other frame. Nothing
    /// is allocated for frames without inline contents.
    ///
    /// # Panics
    /// When the frame breaks a limit that its receiver would refuse it for.
    pub fn encode(
        &mut self,
        envelope: &Envelope,
        payload_crc: u32,
        inline: &mut Vec<u8>,
    ) -> [u8; HEADER_BYTES] {
        let mut header = RawHeader::new_zeroed();
        header.magic = U32::new(MAGIC);
        header.term = U64::new(envelope.term.0);
        header.stable = U64::new(envelope.stable.0);
        let before = inline.len();
        // Sets the length of block data, which is not inline.
        fill(&mut header, &envelope.frame, inline);
        if header.payload_len.get() > 0 {
            header.payload_crc = U32::new(payload_crc);
        } else {
            assert_eq!(payload_crc, 0, "only block data has its CRC given");
            let contents = inline.get(before..).unwrap_or_default();
            header.payload_len = U32::new(contents.len() as u32);
            header.payload_crc = U32::new(crc32fast::hash(contents));
        }
        header.chain = U32::new(header.chain_after(self.previous));
        self.previous = header.chain.get();
        if let Err(error) = super::decode::validate(&header) {
            panic!("{:?} would be refused: {error}", envelope.frame);
        }
        zerocopy::transmute!(header)
    }
}

fn fill(header: &mut RawHeader, frame: &Frame, inline: &mut Vec<u8>) {
    let mut shape = |kind: Kind, seq: u64| {
        header.kind = kind as u8;
        header.seq = U64::new(seq);
    };
    match frame {
        Frame::Write {
            seq,
            depends_on,
            range,
            how,
        } => {
            shape(Kind::Write, seq.0);
            header.depends_on = U64::new(depends_on.0);
            header.flags = flags(*how);
            set_range(header, *range);
            header.payload_len = U32::new(range.bytes() as u32);
        }
        Frame::Zero {
            seq,
            depends_on,
            range,
            how,
            unmap,
        } => {
            shape(Kind::Zero, seq.0);
            header.depends_on = U64::new(depends_on.0);
            header.flags = flags(*how) | if *unmap { FLAG_UNMAP } else { 0 };
            set_range(header, *range);
        }
        Frame::Flush { seq } => shape(Kind::Flush, seq.0),
        Frame::Received { seq } => shape(Kind::Received, seq.0),
        Frame::Written { seq } => shape(Kind::Written, seq.0),
        Frame::Stable { seq } => shape(Kind::Stable, seq.0),
        Frame::Read { tag, range } => {
            shape(Kind::Read, *tag);
            set_range(header, *range);
        }
        Frame::ReadReply { tag, range } => {
            shape(Kind::ReadReply, *tag);
            set_range(header, *range);
            header.payload_len = U32::new(range.bytes() as u32);
        }
        Frame::ReadFailed { tag } => shape(Kind::ReadFailed, *tag),
        Frame::Hash { tag, range, hashes } => {
            assert_eq!(
                hashes.len(),
                range.blocks as usize,
                "one hash per block of {range}"
            );
            shape(Kind::Hash, *tag);
            set_range(header, *range);
            for hash in hashes {
                inline.extend_from_slice(&hash.to_le_bytes());
            }
        }
        Frame::Differ { tag, mask } => {
            shape(Kind::Differ, *tag);
            put_words(inline, &mask.0);
        }
        Frame::Bits { first, words } => {
            shape(Kind::Bits, 0);
            header.start = U64::new(*first);
            header.count = U32::new(words.len() as u32);
            put_words(inline, words);
        }
        Frame::Ping => shape(Kind::Ping, 0),
        Frame::Pong => shape(Kind::Pong, 0),
        Frame::Control(message) => {
            shape(Kind::Control, 0);
            codec::encode(message, inline);
        }
    }
}

fn set_range(header: &mut RawHeader, range: BlockRange) {
    header.start = U64::new(range.start);
    header.count = U32::new(range.blocks);
}

fn put_words(inline: &mut Vec<u8>, words: &[u64]) {
    inline.reserve(words.len() * WORD_BYTES);
    for word in words {
        inline.extend_from_slice(word.to_le_bytes().as_bytes());
    }
}

const fn flags(how: How) -> u8 {
    let fua = if how.fua { FLAG_FUA } else { 0 };
    let resync = if how.resync { FLAG_RESYNC } else { 0 };
    fua | resync
}

const _: () = assert!(MASK_BYTES == 4 * WORD_BYTES);
