//! A client's request as parts for the core: whole blocks, bounded lengths, and what of them the client's bytes cover.
//!
//! Pure: bytes in, block ranges out.

use twindisk_core::Fill;
use twindisk_format::{
    ids::BlockRange,
    limits::{BLOCK_BYTES, MAX_DATA_BLOCKS, MAX_ZERO_BLOCKS},
};

/// One part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartPlan {
    /// Its blocks.
    pub(crate) range: BlockRange,
    /// How they are treated.
    pub(crate) kind: PartKind,
}

/// How the blocks of a part are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// The client's bytes are `bytes` of a buffer for the whole range (read or write).
    Data {
        /// First and last plus one.
        bytes: (u32, u32),
    },
    /// Blocks of which only `bytes` become zero: a write of zeros.
    PartialZero {
        /// First and last plus one.
        bytes: (u32, u32),
    },
    /// Whole blocks that become zero.
    Zero,
}

impl PartPlan {
    /// The blocks of a buffer that the part needs.
    pub(crate) const fn buffer_blocks(&self) -> Option<u32> {
        match self.kind {
            PartKind::Data { .. } | PartKind::PartialZero { .. } => Some(self.range.blocks),
            PartKind::Zero => None,
        }
    }

    /// What a write must have filled from the device.
    pub(crate) fn fill(&self) -> Option<Fill> {
        let (from, to) = match self.kind {
            PartKind::Data { bytes } | PartKind::PartialZero { bytes } => bytes,
            PartKind::Zero => return None,
        };
        (from > 0 || u64::from(to) < self.range.bytes()).then_some(Fill { from, to })
    }
}

/// The parts of a read or write of `length` bytes at `offset`.
pub(crate) fn data(offset: u64, length: u32) -> impl Iterator<Item = PartPlan> + Clone {
    pieces(offset, length, MAX_DATA_BLOCKS).map(move |range| PartPlan {
        range,
        kind: PartKind::Data {
            bytes: covered(range, offset, length),
        },
    })
}

/// The parts of a write of zeros: unaligned edges are written, the blocks between are zeroed.
pub(crate) fn zero(offset: u64, length: u32) -> impl Iterator<Item = PartPlan> + Clone {
    let end = offset + u64::from(length);
    let whole = (offset.div_ceil(BLOCK), end / BLOCK);
    let edge = move |start: u64, stop: u64| {
        (start < stop).then(|| {
            let range = BlockRange::new(start / BLOCK, 1);
            let bytes = covered(range, start, (stop - start) as u32);
            PartPlan {
                range,
                kind: PartKind::PartialZero { bytes },
            }
        })
    };
    let (first, last) = if whole.0 > whole.1 {
        // Both ends lie inside of one block.
        (edge(offset, end), None)
    } else {
        (edge(offset, whole.0 * BLOCK), edge(whole.1 * BLOCK, end))
    };
    first.into_iter().chain(whole_blocks(whole)).chain(last)
}

/// The parts of a trim: only whole blocks become zero.
pub(crate) fn trim(offset: u64, length: u32) -> impl Iterator<Item = PartPlan> + Clone {
    let end = offset + u64::from(length);
    whole_blocks((offset.div_ceil(BLOCK), end / BLOCK))
}

fn whole_blocks((start, end): (u64, u64)) -> impl Iterator<Item = PartPlan> + Clone {
    let start = start.min(end);
    block_pieces(start, end, MAX_ZERO_BLOCKS).map(|range| PartPlan {
        range,
        kind: PartKind::Zero,
    })
}

fn pieces(offset: u64, length: u32, most: u32) -> impl Iterator<Item = BlockRange> + Clone {
    let end = offset + u64::from(length);
    block_pieces(offset / BLOCK, end.div_ceil(BLOCK), most)
}

fn block_pieces(start: u64, end: u64, most: u32) -> impl Iterator<Item = BlockRange> + Clone {
    (0..(end - start).div_ceil(u64::from(most))).map(move |index| {
        let first = start + index * u64::from(most);
        BlockRange::new(first, (end - first).min(u64::from(most)) as u32)
    })
}

/// The bytes of a buffer for `range` that `length` bytes at `offset` cover.
fn covered(range: BlockRange, offset: u64, length: u32) -> (u32, u32) {
    let start = range.byte_offset();
    let from = offset.saturating_sub(start);
    let to = (offset + u64::from(length) - start).min(range.bytes());
    (from as u32, to as u32)
}

const BLOCK: u64 = BLOCK_BYTES as u64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every request near the limits of blocks and parts.
    fn requests() -> impl Iterator<Item = (u64, u32)> {
        let near = |at: u64| [at.saturating_sub(1), at, at + 1];
        let offsets = [0, 4096, 8192, 1 << 20].into_iter().flat_map(near);
        let lengths = [
            2,
            4095,
            4096,
            8192,
            1 << 20,
            (1 << 20) + 4096,
            (1 << 26) + 8192,
        ];
        offsets.flat_map(move |offset| {
            lengths
                .into_iter()
                .flat_map(near)
                .map(move |length| (offset, length as u32))
        })
    }

    #[test]
    fn data_parts_cover_every_byte_once_and_in_order() {
        for (offset, length) in requests() {
            let mut at = offset;
            for part in data(offset, length) {
                let PartKind::Data { bytes: (from, to) } = part.kind else {
                    panic!("{part:?}");
                };
                assert!(part.range.blocks <= MAX_DATA_BLOCKS);
                assert!(from < 4096 && from < to);
                assert!(
                    u64::from(to) > part.range.bytes() - 4096,
                    "ends in the last block"
                );
                assert_eq!(part.range.byte_offset() + u64::from(from), at);
                at = part.range.byte_offset() + u64::from(to);
            }
            assert_eq!(at, offset + u64::from(length));
        }
    }

    #[test]
    fn zero_parts_cover_every_byte_once_and_in_order() {
        for (offset, length) in requests() {
            let mut at = offset;
            for part in zero(offset, length) {
                let (from, to) = match part.kind {
                    PartKind::Zero => (0, part.range.bytes() as u32),
                    PartKind::PartialZero { bytes } => {
                        assert_eq!(part.range.blocks, 1);
                        assert!(part.fill().is_some());
                        bytes
                    }
                    PartKind::Data { .. } => panic!("{part:?}"),
                };
                assert!(part.range.blocks <= MAX_ZERO_BLOCKS && from < to);
                assert_eq!(
                    part.range.byte_offset() + u64::from(from),
                    at,
                    "{offset} {length}"
                );
                at = part.range.byte_offset() + u64::from(to);
            }
            assert_eq!(at, offset + u64::from(length), "{offset} {length}");
        }
    }

    #[test]
    fn trims_touch_whole_blocks_only() {
        for (offset, length) in requests() {
            let end = offset + u64::from(length);
            let blocks: u64 = trim(offset, length)
                .map(|part| u64::from(part.range.blocks))
                .sum();
            let whole = (end / 4096).saturating_sub(offset.div_ceil(4096));
            assert_eq!(blocks, whole);
            for part in trim(offset, length) {
                assert!(part.range.byte_offset() >= offset);
                assert!(part.range.end() * 4096 <= end);
            }
        }
    }
}
