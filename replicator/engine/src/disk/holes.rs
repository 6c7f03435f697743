//! A write of a resync is taken apart: where its blocks are zeros, the device gets a hole, so that a standby on thin storage
//! is as thin as its primary. To clients and peers a hole and zeros are the same; a device without holes gets the zeros.
//!
//! Writes of clients are none of this: who writes zeros may have reserved space by it.

use twindisk_format::limits::BLOCK_BYTES;

use super::{Context, Disk, Op, steps::Step};
use crate::{limits::DEVICE_HOLE_BLOCKS, store::BackingKind};

/// A run of a write's blocks, counted from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) first: u32,
    pub(super) blocks: u32,
    /// It is all zeros.
    hole: bool,
}

impl Part {
    const fn end(self) -> u32 {
        self.first + self.blocks
    }

    pub(super) const fn step(self) -> Step {
        if self.hole {
            Step::Punch
        } else {
            Step::Transfer
        }
    }

    /// Its zeros are written like anything else.
    pub(super) const fn written(self) -> Self {
        Self {
            hole: false,
            ..self
        }
    }
}

impl Disk {
    /// The part that comes next of a write that may be taken apart.
    pub(super) fn next_part(&self, op: &Op, context: &Context<'_>) -> Option<Part> {
        let first = op.part.map_or(0, Part::end);
        let (buf, at, blocks) = op.payload()?;
        let left = blocks - first;
        if left == 0 {
            return None;
        }
        if !self.zeroing.punch {
            return Some(Part {
                first,
                blocks: left,
                hole: false,
            });
        }
        let at = (at + first) as usize * BLOCK_BYTES;
        let bytes = context.buffers.bytes(buf, at, left as usize * BLOCK_BYTES);
        let least = match context.backing.kind() {
            BackingKind::File => 1,
            BackingKind::BlockDevice => DEVICE_HOLE_BLOCKS,
        };
        Some(leading(bytes, first, least))
    }
}

/// What `bytes` begin with: zeros, if they are at least so many blocks, or data up to such a run.
fn leading(bytes: &[u8], first: u32, least: u32) -> Part {
    let mut data = 0;
    let mut zeros = 0;
    for block in bytes.chunks_exact(BLOCK_BYTES) {
        if is_zero(block) {
            zeros += 1;
        } else if zeros >= least {
            break;
        } else {
            data += zeros + 1;
            zeros = 0;
        }
        if data > 0 && zeros >= least {
            break;
        }
    }
    let hole = data == 0 && zeros >= least;
    let blocks = match (hole, zeros >= least) {
        (true, _) => zeros,
        (false, true) => data,
        // Zeros at the end that are too few.
        (false, false) => data + zeros,
    };
    Part {
        first,
        blocks,
        hole,
    }
}

fn is_zero(block: &[u8]) -> bool {
    block.chunks_exact(32).all(|chunk| chunk == [0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of zeros and of data, as a string has them, taken apart.
    fn parts(blocks: &str, least: u32) -> Vec<(u32, u32, bool)> {
        let bytes: Vec<u8> = blocks
            .bytes()
            .flat_map(|block| {
                let mut bytes = [0; BLOCK_BYTES];
                // One byte is enough, wherever it is.
                bytes[BLOCK_BYTES - 1] = u8::from(block != b'0');
                bytes
            })
            .collect();
        let mut parts = Vec::new();
        let mut first = 0;
        while (first as usize) < blocks.len() {
            let part = leading(&bytes[first as usize * BLOCK_BYTES..], first, least);
            assert_eq!(part.first, first);
            assert!(part.blocks > 0);
            parts.push((part.first, part.blocks, part.hole));
            first = part.end();
        }
        parts
    }

    #[test]
    fn runs_of_zeros_become_holes_and_nothing_else() {
        assert_eq!(parts("0000", 1), [(0, 4, true)]);
        assert_eq!(parts("xxxx", 1), [(0, 4, false)]);
        assert_eq!(
            parts("0x00xx0", 1),
            [
                (0, 1, true),
                (1, 1, false),
                (2, 2, true),
                (4, 2, false),
                (6, 1, true)
            ]
        );
    }

    #[test]
    fn runs_that_are_too_short_are_written_with_their_neighbours() {
        assert_eq!(
            parts("0x00xx0", 2),
            [(0, 2, false), (2, 2, true), (4, 3, false)]
        );
        assert_eq!(parts("0", 2), [(0, 1, false)]);
        assert_eq!(parts("00x", 3), [(0, 3, false)]);
        assert_eq!(parts("x000", 3), [(0, 1, false), (1, 3, true)]);
    }

    #[test]
    fn each_way_of_taking_apart_covers_every_block_once() {
        for pattern in 0_u32..1 << 10 {
            let blocks: String = (0..10)
                .map(|bit| if pattern >> bit & 1 == 0 { '0' } else { 'x' })
                .collect();
            for least in 1..=4 {
                let parts = parts(&blocks, least);
                let mut at = 0;
                for (first, count, hole) in parts {
                    assert_eq!(first, at, "{blocks} {least}");
                    at += count;
                    let run = &blocks[first as usize..at as usize];
                    assert!(!hole || run.bytes().all(|block| block == b'0'), "{blocks}");
                    assert!(!hole || count >= least, "{blocks} {least}");
                    let longest = run.split('x').map(str::len).max().unwrap_or(0);
                    assert!(hole || longest < least as usize, "{blocks} {least}");
                }
                assert_eq!(at, 10, "{blocks} {least}");
            }
        }
    }
}
