//! A client's request as parts for the core, one after the other: whole blocks, bounded lengths, and what of them the
//! client's bytes cover.
//!
//! Pure: bytes in, block ranges out.

use twindisk_core::Fill;
use twindisk_format::{
    ids::BlockRange,
    limits::{BLOCK_BYTES, MAX_ZERO_BLOCKS},
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
    /// The blocks that its buffer has; 0: it needs none.
    pub(crate) const fn buffer_blocks(&self) -> u32 {
        match self.kind {
            PartKind::Data { .. } | PartKind::PartialZero { .. } => self.range.blocks,
            PartKind::Zero => 0,
        }
    }

    /// The first byte of the device behind the client's bytes.
    pub(crate) fn end(&self) -> u64 {
        match self.kind {
            PartKind::Data { bytes: (_, to) } | PartKind::PartialZero { bytes: (_, to) } => {
                self.range.byte_offset() + u64::from(to)
            }
            PartKind::Zero => self.range.end() * BLOCK,
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

/// The first part of a read or write of the bytes from `at` to `end`, of at most `most` blocks.
pub(crate) fn data(at: u64, end: u64, most: u32) -> PartPlan {
    let first = at / BLOCK;
    let blocks = (end.div_ceil(BLOCK) - first).min(u64::from(most));
    let range = BlockRange::new(first, blocks as u32);
    PartPlan {
        range,
        kind: PartKind::Data {
            bytes: covered(range, at, end),
        },
    }
}

/// The first part of a write of zeros: unaligned edges are written, the blocks between are zeroed.
pub(crate) fn zero(at: u64, end: u64) -> PartPlan {
    if at.is_multiple_of(BLOCK)
        && let Some(part) = trim(at, end)
    {
        return part;
    }
    let range = BlockRange::new(at / BLOCK, 1);
    PartPlan {
        range,
        kind: PartKind::PartialZero {
            bytes: covered(range, at, end),
        },
    }
}

/// The first part of a trim: only whole blocks become zero. `None`: there are none.
pub(crate) fn trim(at: u64, end: u64) -> Option<PartPlan> {
    let (first, stop) = (at.div_ceil(BLOCK), end / BLOCK);
    let blocks = stop.saturating_sub(first).min(u64::from(MAX_ZERO_BLOCKS));
    (blocks > 0).then(|| PartPlan {
        range: BlockRange::new(first, blocks as u32),
        kind: PartKind::Zero,
    })
}

/// The bytes of a buffer for `range` that those from `at` to `end` cover.
fn covered(range: BlockRange, at: u64, end: u64) -> (u32, u32) {
    let start = range.byte_offset();
    let from = at.saturating_sub(start);
    let to = (end - start).min(range.bytes());
    (from as u32, to as u32)
}

const BLOCK: u64 = BLOCK_BYTES as u64;

#[cfg(test)]
mod tests {
    use twindisk_format::limits::MAX_DATA_BLOCKS;

    use super::*;

    /// All parts of a request, each from where the one before ended.
    fn parts(
        (offset, length): (u64, u32),
        next: impl Fn(u64, u64) -> Option<PartPlan>,
    ) -> Vec<PartPlan> {
        let end = offset + u64::from(length);
        let mut at = offset;
        let mut parts = Vec::new();
        while at < end
            && let Some(part) = next(at, end)
        {
            at = part.end();
            parts.push(part);
        }
        parts
    }

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
            for part in parts((offset, length), |at, end| {
                Some(data(at, end, MAX_DATA_BLOCKS))
            }) {
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
            for part in parts((offset, length), |at, end| Some(zero(at, end))) {
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
            let parts = parts((offset, length), trim);
            let blocks: u64 = (parts.iter())
                .map(|part| u64::from(part.range.blocks))
                .sum();
            let whole = (end / 4096).saturating_sub(offset.div_ceil(4096));
            assert_eq!(blocks, whole);
            for part in parts {
                assert!(part.range.byte_offset() >= offset);
                assert!(part.range.end() * 4096 <= end);
            }
        }
    }
}
