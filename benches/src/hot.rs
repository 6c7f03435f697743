//! The hot paths, each on its own: for `cargo bench`, which tells their time, and for `instructions`, which counts what they execute.

use std::{hint::black_box, iter::repeat_n};

use twindisk_format::{
    activity_log::{AlPage, WORDS_PER_PAGE},
    bitmap::encode_bitmap_page,
    checksum::{block_crc, payload_crc, verify_payload},
    frame::{Envelope, Frame, How},
    ids::{BlockRange, ResourceId, Seq, Slot, Term},
    limits::BLOCK_BYTES,
    wire::{ChainDecoder, ChainEncoder},
};

use crate::pair::Pair;

/// Something small that is done very often.
#[derive(Clone, Copy, Debug)]
pub struct Hot {
    /// What it is.
    pub name: &'static str,
    /// Makes what it needs; each call of what comes back does it once.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All of them.
pub const HOT: &[Hot] = &[
    hot("crc of a block", || {
        let data = data();
        Box::new(move || {
            black_box(block_crc(black_box(data.as_slice())));
        })
    }),
    hot("crc of 256 blocks, combined", || {
        let crcs: Vec<u32> = repeat_n(block_crc(&data()), 256).collect();
        Box::new(move || {
            black_box(payload_crc(black_box(&crcs)));
        })
    }),
    hot("a block checked on arrival", || {
        let data = data();
        let expected = block_crc(&data);
        Box::new(move || verify_payload(black_box(&data), expected).unwrap_or_else(never))
    }),
    hot("xxh3-128 of a block (resync)", || {
        let data = data();
        Box::new(move || {
            black_box(xxhash_rust::xxh3::xxh3_128(black_box(&data)));
        })
    }),
    hot("header of a write, encoded", || {
        encoding(write(), 0xdead_beef)
    }),
    hot("header of a write, decoded", || {
        decoding(&write(), 0xdead_beef)
    }),
    hot("header of an answer, encoded", || encoding(answer(), 0)),
    hot("header of an answer, decoded", || decoding(&answer(), 0)),
    hot("a page of the dirty bitmap, encoded", || {
        let words = [0x0123_4567_89ab_cdef; WORDS_PER_PAGE];
        let slot = Slot::new(0).unwrap_or_else(|| unreachable!("there is a first slot"));
        Box::new(move || {
            black_box(encode_bitmap_page(
                ResourceId(2),
                slot,
                3,
                black_box(&words),
            ));
        })
    }),
    hot("a page of the activity log, encoded", || {
        let mut page = AlPage::new(0, 1);
        (0..1000).for_each(|extent| page.set(extent * 7));
        Box::new(move || {
            black_box(black_box(&page).encode(ResourceId(2)));
        })
    }),
    hot("a write through two cores, depth 1", || {
        let (mut pair, mut at) = (Pair::new(BLOCKS), 0);
        Box::new(move || {
            at = scatter(at);
            pair.write(at);
        })
    }),
    hot("a write through two cores, depth 16", || deep(16)),
    hot("a write through two cores, depth 256", || deep(256)),
    hot("two writes to one block, one waits for the other", || {
        let mut pair = warm(Pair::new(BLOCKS));
        pair.hold();
        let mut at = 0;
        Box::new(move || {
            at = scatter(at);
            pair.begin_held(at);
            pair.begin_held(at);
            pair.end_oldest();
            pair.end_oldest();
        })
    }),
    hot("a write to a cold extent, and a flush", || {
        let (mut pair, mut at) = (Pair::with_hot_extents(BLOCKS, FEW_EXTENTS), 0);
        Box::new(move || {
            at = (at + EXTENT_BLOCKS) % BLOCKS;
            pair.write(at);
            // An extent leaves the log when all that was written to it is stable.
            pair.flush();
        })
    }),
    hot("a write without the standby: a dirty bit", || {
        let mut pair = warm(Pair::new(BLOCKS));
        pair.leave();
        let mut at = 0;
        Box::new(move || {
            at = scatter(at);
            pair.write(at);
        })
    }),
];

const fn hot(name: &'static str, prepare: fn() -> Box<dyn FnMut()>) -> Hot {
    Hot { name, prepare }
}

fn data() -> Vec<u8> {
    (0..BLOCK_BYTES).map(|at| (at ^ (at >> 7)) as u8).collect()
}

const fn write() -> Envelope {
    Envelope {
        term: Term(3),
        stable: Seq(5),
        frame: Frame::Write {
            seq: Seq(9),
            depends_on: Seq(5),
            range: BlockRange::new(4711, 1),
            how: How {
                fua: false,
                resync: false,
            },
        },
    }
}

const fn answer() -> Envelope {
    Envelope {
        term: Term(3),
        stable: Seq(0),
        frame: Frame::Written { seq: Seq(9) },
    }
}

fn encoding(envelope: Envelope, crc: u32) -> Box<dyn FnMut()> {
    let (mut inline, mut encoder) = (Vec::new(), ChainEncoder::new(1));
    Box::new(move || {
        black_box(encoder.encode(black_box(&envelope), crc, &mut inline));
    })
}

fn decoding(envelope: &Envelope, crc: u32) -> Box<dyn FnMut()> {
    let bytes = ChainEncoder::new(1).encode(envelope, crc, &mut Vec::new());
    Box::new(move || {
        let header = ChainDecoder::new(1).header(black_box(&bytes));
        let header = header.unwrap_or_else(never);
        black_box(header.finish(&[]).unwrap_or_else(never));
    })
}

/// So many writes are under way; one comes, the oldest ends.
fn deep(depth: u32) -> Box<dyn FnMut()> {
    let mut pair = warm(Pair::new(BLOCKS));
    pair.hold();
    let mut at = 0;
    for _ in 1..depth {
        at = scatter(at);
        pair.begin_held(at);
    }
    Box::new(move || {
        at = scatter(at);
        pair.begin_held(at);
        pair.end_oldest();
    })
}

/// All extents are hot before anything is held.
fn warm(mut pair: Pair) -> Pair {
    for block in (0..BLOCKS).step_by(EXTENT_BLOCKS as usize) {
        pair.write(block);
    }
    pair
}

fn never<T>(error: impl std::fmt::Display) -> T {
    panic!("what was just made is not understood: {error}")
}

/// Visits every block of the device in a scattered order: an odd step is coprime to a power of two.
const fn scatter(block: u64) -> u64 {
    (block + 100_003) % BLOCKS
}

/// 1 GiB.
const BLOCKS: u64 = 1 << 18;

/// Of those that may be hot; the device has 256.
const FEW_EXTENTS: usize = 16;

/// 4 MiB.
const EXTENT_BLOCKS: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_is_cold_again_when_its_turn_comes() {
        let mut pair = Pair::with_hot_extents(BLOCKS, FEW_EXTENTS);
        for write in 0..1000 {
            pair.write(write * EXTENT_BLOCKS % BLOCKS);
            pair.flush();
        }
        let activity = pair.status().activity;
        assert!(activity.al_writes >= 1000, "{activity:?}");
    }

    #[test]
    fn every_one_can_be_done_again_and_again() {
        for hot in HOT {
            let mut work = (hot.prepare)();
            for _ in 0..600 {
                work();
            }
        }
    }
}
