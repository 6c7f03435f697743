//! Micro-benchmarks of the hot paths: `cargo run --release -p twindisk-benches --bin micro [PATTERN]`.

use std::hint::black_box;

use twindisk_benches::{median_nanos, pair::Pair};
use twindisk_format::{
    checksum::{block_crc, payload_crc, verify_payload},
    frame::{Envelope, Frame, How},
    ids::{BlockRange, Seq, Term},
    limits::BLOCK_BYTES,
    wire::{ChainDecoder, ChainEncoder},
};

fn main() {
    let pattern = std::env::args().nth(1).unwrap_or_default();
    let report = |name: &str, work: &mut dyn FnMut()| {
        if name.contains(&pattern) {
            println!("{name:<44} {:>9.1} ns", median_nanos(work));
        }
    };
    checksums(&report);
    frames(&report);
    cores(&report);
}

type Report<'a> = dyn Fn(&str, &mut dyn FnMut()) + 'a;

fn checksums(report: &Report<'_>) {
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| (at ^ (at >> 7)) as u8).collect();
    let block = data.get(..BLOCK_BYTES).unwrap_or_default();
    report("crc of a block", &mut || {
        black_box(block_crc(black_box(block)));
    });
    for blocks in [2_usize, 256] {
        let crcs: Vec<u32> = data
            .chunks(BLOCK_BYTES)
            .take(blocks)
            .map(block_crc)
            .collect();
        let name = format!("crc of {blocks} blocks, combined");
        report(&name, &mut || {
            black_box(payload_crc(black_box(&crcs)));
        });
    }
    let expected = block_crc(block);
    report("a block checked on arrival", &mut || {
        verify_payload(black_box(block), expected).unwrap_or_else(|error| panic!("{error}"));
    });
    report("xxh3-128 of a block (resync)", &mut || {
        black_box(xxhash_rust::xxh3::xxh3_128(black_box(block)));
    });
}

fn frames(report: &Report<'_>) {
    let write = Envelope {
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
    };
    let answer = Envelope {
        term: Term(3),
        stable: Seq(0),
        frame: Frame::Written { seq: Seq(9) },
    };
    for (name, envelope, crc) in [("write", write, 0xdead_beef), ("answer", answer, 0)] {
        let mut inline = Vec::new();
        let mut encoder = ChainEncoder::new(1);
        report(&format!("header of a {name}, encoded"), &mut || {
            black_box(encoder.encode(black_box(&envelope), crc, &mut inline));
        });
        let bytes = ChainEncoder::new(1).encode(&envelope, crc, &mut inline);
        report(&format!("header of a {name}, decoded"), &mut || {
            let header = ChainDecoder::new(1)
                .header(black_box(&bytes))
                .unwrap_or_else(|error| panic!("{error}"));
            black_box(header.finish(&[]).unwrap_or_else(|error| panic!("{error}")));
        });
    }
}

fn cores(report: &Report<'_>) {
    let mut pair = Pair::new(BLOCKS);
    let mut at = 0;
    report("a write through two cores, depth 1", &mut || {
        at = scatter(at);
        pair.write(at);
    });
    for depth in [16, 256] {
        let mut pair = Pair::new(BLOCKS);
        // All extents are hot before anything is held.
        for block in (0..BLOCKS).step_by(256) {
            pair.write(block);
        }
        pair.hold();
        let mut at = 0;
        for _ in 1..depth {
            at = scatter(at);
            pair.begin_held(at);
        }
        report(
            &format!("a write through two cores, depth {depth}"),
            &mut || {
                at = scatter(at);
                pair.begin_held(at);
                pair.end_oldest();
            },
        );
    }
}

/// Visits every block of the device in a scattered order: an odd step is coprime to a power of two.
const fn scatter(block: u64) -> u64 {
    (block + 100_003) % BLOCKS
}

/// 1 GiB.
const BLOCKS: u64 = 1 << 18;
