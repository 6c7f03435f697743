//! Steps of disk operations on real files.

use std::{fs, os::fd::AsRawFd, path::PathBuf};

use twindisk_format::limits::BLOCK_BYTES;
use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::{
    buffers::tests::small,
    clock::Clock,
    store::{Access, Backing, IoMode},
};

mod holes;

const MODES: [IoMode; 2] = [IoMode::Direct, IoMode::Cached];

/// A disk on a file of `blocks` blocks of which each byte is its block's number.
struct Bench {
    ring: Ring,
    buffers: Buffers,
    disk: Disk,
    clock: Clock,
    path: PathBuf,
    next: u64,
    backing: Backing,
    _directory: tempfile::TempDir,
    _none: fs::File,
}

impl Bench {
    fn new(io: IoMode, blocks: u64) -> Self {
        Self::with_full(io, blocks, [false, false])
    }

    /// The same, with a device on which no write finds space instead of the file that data goes to, or of the other opening
    /// of it.
    fn with_full(io: IoMode, blocks: u64, full: [bool; 2]) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("backing");
        let contents: Vec<u8> = (0..blocks)
            .flat_map(|block| std::iter::repeat_n(block as u8, BLOCK_BYTES))
            .collect();
        fs::write(&path, contents).expect("write");
        let mut backing = Backing::open(&path, Access::Exclusive).expect("open");
        if io == IoMode::Cached {
            backing = backing.through_page_cache().expect("open once more");
        }
        let mut ring = Ring::new(8).expect("ring");
        let mut buffers = Buffers::new(small(), &mut ring).expect("buffers");
        let none = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("every Linux has it");
        let openings = [backing.data().as_raw_fd(), backing.as_raw_fd()];
        let files = [0, 1].map(|index| {
            ring.add_file(if full[index] {
                none.as_raw_fd()
            } else {
                openings[index]
            })
        });
        let disk = Disk::new(files.into(), &backing, blocks, &mut buffers);
        Self {
            ring,
            buffers,
            disk,
            clock: Clock::start(),
            path,
            next: 0,
            backing,
            _directory: directory,
            _none: none,
        }
    }

    fn start(&mut self, io: DiskIo) -> Option<Ended> {
        self.next += 1;
        let mut context = Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            backing: &self.backing,
            now: self.clock.now(),
        };
        self.disk.start(OpId(self.next), io, &mut context)
    }

    fn wait(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        let mut completions = Vec::new();
        while self.disk.in_flight() > 0 {
            while let Some(done) = self.write_one() {
                ended.extend(done);
            }
            if self.disk.in_flight() == 0 {
                break;
            }
            self.ring
                .turn(None, std::time::Duration::ZERO, &mut completions)
                .expect("turn");
            for completion in completions.drain(..) {
                ended.extend(self.complete(completion));
            }
        }
        ended
    }

    /// A write that the thread does itself: what came of it, if there was one.
    fn write_one(&mut self) -> Option<Option<Ended>> {
        let mut context = Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            backing: &self.backing,
            now: self.clock.now(),
        };
        let completion = self.disk.write_one(&mut context)?;
        Some(self.complete(completion))
    }

    fn complete(&mut self, completion: Completion) -> Option<Ended> {
        let mut context = Context {
            ring: &mut self.ring,
            buffers: &mut self.buffers,
            backing: &self.backing,
            now: self.clock.now(),
        };
        self.disk.complete(completion, &mut context)
    }

    fn run(&mut self, io: DiskIo) -> Result<DiskDone, DiskError> {
        if let Some(ended) = self.start(io) {
            return ended.result;
        }
        let mut ended = self.wait();
        assert_eq!(ended.len(), 1);
        ended.remove(0).result
    }

    fn buf(&mut self, blocks: u32, fill: u8) -> BufId {
        let buf = self.buffers.take(Class::Client, blocks).expect("room");
        self.buffers
            .bytes_mut(buf, 0, blocks as usize * BLOCK_BYTES)
            .fill(fill);
        buf
    }

    fn on_disk(&self, block: usize) -> Vec<u8> {
        fs::read(&self.path).expect("read")[block * BLOCK_BYTES..][..BLOCK_BYTES].to_vec()
    }
}

const fn range(start: u64, blocks: u32) -> BlockRange {
    BlockRange::new(start, blocks)
}

#[test]
fn reads_and_writes_use_the_named_part_of_the_buffer() {
    for io in MODES {
        let mut bench = Bench::new(io, 16);
        let buf = bench.buf(4, 0xee);
        let read = DiskIo::Read {
            range: range(5, 2),
            buf,
            at: 1,
        };
        assert_eq!(bench.run(read), Ok(DiskDone::Done));
        let first_bytes: Vec<u8> = (0..4)
            .map(|block| bench.buffers.bytes(buf, block * BLOCK_BYTES, 1)[0])
            .collect();
        assert_eq!(first_bytes, [0xee, 5, 6, 0xee]);
        for (at, fua) in [(0, false), (3, true)] {
            let write = DiskIo::Write {
                range: range(9 + u64::from(at), 1),
                buf,
                at,
                fua,
            };
            assert_eq!(bench.run(write), Ok(DiskDone::Done));
            assert_eq!(bench.on_disk(9 + at as usize), [0xee; BLOCK_BYTES]);
        }
        assert_eq!(bench.run(DiskIo::Flush), Ok(DiskDone::Done));
        assert_eq!(bench.on_disk(10), [10; BLOCK_BYTES]);
    }
}

#[test]
fn zeros_are_zeros_in_every_way_of_making_them() {
    for io in MODES {
        for (punch, zero_range) in [(true, true), (false, true), (false, false)] {
            for unmap in [true, false] {
                let mut bench = Bench::new(io, 600);
                bench.disk.zeroing = Zeroing { punch, zero_range };
                let zero = DiskIo::Zero {
                    range: range(1, 598),
                    unmap,
                    fua: unmap,
                };
                assert_eq!(bench.run(zero), Ok(DiskDone::Done));
                let bytes = fs::read(&bench.path).expect("read");
                assert_eq!(bytes.len(), 600 * BLOCK_BYTES);
                assert!(bytes[..BLOCK_BYTES].iter().all(|&byte| byte == 0));
                assert!(
                    bytes[BLOCK_BYTES..599 * BLOCK_BYTES]
                        .iter()
                        .all(|&byte| byte == 0)
                );
                assert!(
                    bytes[599 * BLOCK_BYTES..]
                        .iter()
                        .all(|&byte| byte == (599 % 256) as u8)
                );
            }
        }
    }
}

#[test]
fn edges_are_filled_around_what_the_client_wrote() {
    for io in MODES {
        for (blocks, from, to) in [
            (1, 10, 20),
            (1, 0, 7),
            (1, 9, 4096),
            (3, 5, 8200),
            (3, 0, 12_287),
            (2, 1, 8192),
        ] {
            let mut bench = Bench::new(io, 16);
            let buf = bench.buf(blocks, 0xee);
            let fill = Fill { from, to };
            let io = DiskIo::FillEdges {
                range: range(4, blocks),
                buf,
                fill,
            };
            assert_eq!(bench.run(io), Ok(DiskDone::Done));
            let expected: Vec<u8> = (0..blocks as usize * BLOCK_BYTES)
                .map(|at| match at {
                    at if at < from as usize || at >= to as usize => 4 + (at / BLOCK_BYTES) as u8,
                    _ => 0xee,
                })
                .collect();
            let bytes = bench.buffers.bytes(buf, 0, expected.len()).to_vec();
            assert!(bytes == expected, "{blocks} blocks, {fill:?}");

            // The same from a buffer with the two edges.
            let again = bench.buf(blocks, 0xee);
            let edges = bench.buf(blocks, 4);
            let last = 4 + blocks as u8 - 1;
            bench
                .buffers
                .bytes_mut(edges, (blocks as usize - 1) * BLOCK_BYTES, BLOCK_BYTES)
                .fill(last);
            let io = DiskIo::FillFrom {
                range: range(4, blocks),
                buf: again,
                fill,
                edges,
            };
            assert_eq!(bench.run(io), Ok(DiskDone::Done));
            assert!(
                bench.buffers.bytes(again, 0, expected.len()) == expected,
                "{fill:?}"
            );
        }
    }
}

#[test]
fn hashes_wait_for_a_buffer_and_are_right() {
    for io in MODES {
        let mut bench = Bench::new(io, 40);
        for start in 0..20 {
            let io = DiskIo::Hash {
                range: range(start, 3),
            };
            assert_eq!(bench.start(io), None);
        }
        let ended = bench.wait();
        assert_eq!(ended.len(), 20);
        for done in ended {
            let start = done.op.0 - 1;
            let expected: Vec<u128> = (start..start + 3)
                .map(|block| xxh3_128(&[block as u8; BLOCK_BYTES]))
                .collect();
            assert_eq!(done.result, Ok(DiskDone::Hashes(expected)));
        }
    }
}

#[test]
fn a_device_that_shrank_gives_an_error_and_not_zeros() {
    for io in MODES {
        let mut bench = Bench::new(io, 16);
        fs::OpenOptions::new()
            .write(true)
            .open(&bench.path)
            .and_then(|file| file.set_len(6 * BLOCK_BYTES as u64))
            .expect("cut");
        let buf = bench.buf(4, 0);
        let read = DiskIo::Read {
            range: range(4, 4),
            buf,
            at: 0,
        };
        let error = bench.run(read).expect_err("ends after two blocks");
        assert_eq!(error.errno, libc::EIO);
        assert!(error.what.contains("4+4"), "{error}");
        assert!(!bench.disk.has_failed());
    }
}

#[test]
fn copies_move_payloads() {
    for io in MODES {
        let mut bench = Bench::new(io, 1);
        let (from, to) = (bench.buf(3, 7), bench.buf(3, 0));
        let copy = DiskIo::Copy {
            blocks: 2,
            from,
            to,
        };
        assert_eq!(bench.run(copy), Ok(DiskDone::Done));
        assert_eq!(bench.buffers.bytes(to, 2 * BLOCK_BYTES - 1, 2), [7, 0]);
    }
}

#[test]
fn a_cached_write_needs_no_ring_and_a_stable_one_does() {
    let mut bench = Bench::new(IoMode::Cached, 600);
    let buf = bench.buf(500, 0xab);
    let write = |fua| DiskIo::Write {
        range: range(50, 500),
        buf,
        at: 0,
        fua,
    };
    assert_eq!(bench.start(write(false)), None);
    assert!(bench.disk.has_writes());
    assert_eq!(bench.ring.in_flight(), 0);
    bench.disk.begin_writes();
    assert_eq!(
        bench.write_one(),
        Some(None),
        "there is more than one piece"
    );
    assert_eq!(bench.on_disk(65), [0xab; BLOCK_BYTES], "the first piece");
    let ended = bench.wait();
    assert_eq!(
        ended.first().map(|ended| &ended.result),
        Some(&Ok(DiskDone::Done))
    );
    for (block, byte) in [(49, 49), (50, 0xab), (549, 0xab), (550, 550_u64 as u8)] {
        assert_eq!(bench.on_disk(block), [byte; BLOCK_BYTES], "block {block}");
    }

    assert_eq!(bench.start(write(true)), None);
    assert!(!bench.disk.has_writes());
    assert_eq!(bench.wait().len(), 1);
}

#[test]
fn after_a_write_that_had_to_wait_the_ring_does_the_others() {
    let mut bench = Bench::new(IoMode::Cached, 16);
    for block in 0..4 {
        let buf = bench.buf(1, 0xc0 + block as u8);
        let write = DiskIo::Write {
            range: range(block, 1),
            buf,
            at: 0,
            fua: false,
        };
        assert_eq!(bench.start(write), None);
        if block == 2 {
            // Three wait for the thread.
            let mut context = Context {
                ring: &mut bench.ring,
                buffers: &mut bench.buffers,
                backing: &bench.backing,
                now: bench.clock.now(),
            };
            bench.disk.rest(&mut context);
        }
    }
    assert!(!bench.disk.has_writes());
    assert_eq!(bench.ring.in_flight(), 4);
    assert_eq!(bench.wait().len(), 4);
    for block in 0..4 {
        assert_eq!(bench.on_disk(block), [0xc0 + block as u8; BLOCK_BYTES]);
    }
}

#[test]
fn comparing_goes_past_the_page_cache_and_sees_what_is_in_it() {
    let mut bench = Bench::new(IoMode::Cached, 16);
    let buf = bench.buf(1, 0xdd);
    let write = DiskIo::Write {
        range: range(3, 1),
        buf,
        at: 0,
        fua: false,
    };
    assert_eq!(bench.run(write), Ok(DiskDone::Done));
    let hash = DiskIo::Hash { range: range(3, 1) };
    let expected = DiskDone::Hashes(vec![xxh3_128(&[0xdd; BLOCK_BYTES])]);
    assert_eq!(bench.run(hash), Ok(expected));
}

#[test]
fn a_write_without_space_is_no_failure_of_the_device() {
    // Of one that goes through the page cache and must be stable, the other opening says that nothing else is lost.
    for (io, fua) in [
        (IoMode::Direct, false),
        (IoMode::Direct, true),
        (IoMode::Cached, true),
    ] {
        let mut bench = Bench::with_full(io, 16, [true, false]);
        let buf = bench.buf(2, 0xee);
        let write = DiskIo::Write {
            range: range(3, 2),
            buf,
            at: 0,
            fua,
        };
        let error = bench.run(write).expect_err("there is no space");
        assert!(error.is_no_space(), "{io}, {fua}: {error:?}");
        assert!(
            error.what.contains("3+2") && error.what.contains("No space left"),
            "{error}"
        );
        assert!(!bench.disk.has_failed());
    }
}

#[test]
fn what_could_not_be_made_stable_has_failed_for_want_of_space_too() {
    // The other opening knows of a failed write-back (`/dev/full` has none, and says so).
    let mut bench = Bench::with_full(IoMode::Cached, 16, [true, true]);
    let buf = bench.buf(1, 0xee);
    let write = DiskIo::Write {
        range: range(3, 1),
        buf,
        at: 0,
        fua: true,
    };
    let error = bench.run(write).expect_err("there is no space");
    assert!(!error.is_no_space() && bench.disk.has_failed(), "{error:?}");

    let op = |io, step| Op {
        id: OpId(1),
        io,
        step,
        part: None,
        punched: false,
        done: 0,
        scratch: None,
    };
    let zero = DiskIo::Zero {
        range: range(0, 1),
        unmap: false,
        fua: true,
    };
    for errno in [libc::ENOSPC, libc::EDQUOT] {
        for io in [DiskIo::Flush, zero] {
            let error = op(io, Step::Sync).error(errno);
            assert!(!error.is_no_space(), "{error:?}");
        }
        assert!(op(zero, Step::ZeroRange).error(errno).is_no_space());
    }
}
