//! Writes of a resync on real files: the bytes are the same in every way, and the room that they take is not.

use std::os::unix::fs::MetadataExt;

use super::*;

/// Blocks of the file; the write leaves one at each end alone.
const BLOCKS: u64 = PATTERN.len() as u64 + 2;

/// Zeros and data in turns, and runs of each.
const PATTERN: &str = "00x0xx000000000000000x0x0xxxx000";

impl Bench {
    /// A buffer with the pattern, as it comes from a client or by a resync.
    fn pattern(&mut self, resync: bool) -> BufId {
        let blocks = PATTERN.len() as u32;
        let buf = self.buf(blocks, 0);
        for (at, block) in PATTERN.bytes().enumerate() {
            if block == b'x' {
                let last = (at + 1) * BLOCK_BYTES - 1;
                self.buffers.bytes_mut(buf, last, 1)[0] = 0xd7;
            }
        }
        if resync {
            self.buffers.set_thin(buf);
        }
        buf
    }

    fn write(&mut self, buf: BufId, fua: bool) -> DiskIo {
        DiskIo::Write {
            range: range(1, PATTERN.len() as u32),
            buf,
            at: 0,
            fua,
        }
    }

    /// Fails unless the file holds the pattern, nothing beside it has changed, and it takes so many blocks.
    fn takes(&self, wanted: usize) {
        for (at, block) in PATTERN.bytes().enumerate() {
            let mut bytes = vec![0; BLOCK_BYTES];
            bytes[BLOCK_BYTES - 1] = if block == b'x' { 0xd7 } else { 0 };
            assert_eq!(self.on_disk(at + 1), bytes, "block {at}");
        }
        for end in [0, BLOCKS as usize - 1] {
            assert_eq!(self.on_disk(end), vec![end as u8; BLOCK_BYTES]);
        }
        // Delayed allocation: what is not written back may not be counted yet.
        self.backing.data().sync_all().expect("sync");
        let taken = fs::metadata(&self.path).expect("it is there").blocks() as usize / 8;
        // ext4 takes another one for the list of more than four extents.
        assert!(
            (wanted..=wanted + 1).contains(&taken),
            "{taken} instead of {wanted}"
        );
    }
}

fn data_blocks() -> usize {
    PATTERN.bytes().filter(|block| *block == b'x').count() + 2
}

#[test]
fn zeros_of_a_resync_are_holes_and_those_of_a_client_take_room() {
    for io in MODES {
        for fua in [false, true] {
            let mut bench = Bench::new(io, BLOCKS);
            assert_eq!(fs::metadata(&bench.path).unwrap().blocks() / 8, BLOCKS);
            for (resync, wanted) in [(true, data_blocks()), (false, BLOCKS as usize)] {
                let buf = bench.pattern(resync);
                let write = bench.write(buf, fua);
                assert_eq!(bench.run(write), Ok(DiskDone::Done));
                bench.takes(wanted);
                bench.buffers.give_back(buf);
            }
        }
    }
}

#[test]
fn a_buffer_that_is_taken_again_knows_of_no_resync() {
    let mut bench = Bench::new(IoMode::Direct, BLOCKS);
    let buf = bench.pattern(true);
    bench.buffers.give_back(buf);
    let again = bench.buf(PATTERN.len() as u32, 0);
    assert_eq!(again, buf, "the same handle");
    assert!(!bench.buffers.is_thin(again));
}

#[test]
fn a_device_that_knows_no_holes_gets_zeros() {
    for io in MODES {
        let mut bench = Bench::new(io, BLOCKS);
        let buf = bench.pattern(true);
        let write = bench.write(buf, true);
        assert_eq!(bench.start(write), None);
        // The first part is a hole, and the device refuses it.
        let mut completions = Vec::new();
        while completions.is_empty() {
            let turn = bench
                .ring
                .turn(None, std::time::Duration::ZERO, &mut completions);
            turn.expect("turn");
        }
        let refused = Completion {
            result: -libc::EOPNOTSUPP,
            ..completions.remove(0)
        };
        assert_eq!(bench.complete(refused), None, "it goes on");
        let ended = bench.wait();
        assert_eq!(ended[0].result, Ok(DiskDone::Done));
        bench.takes(BLOCKS as usize);
        // And is not asked again.
        assert!(!bench.disk.zeroing.punch);
        let write = bench.write(buf, false);
        assert_eq!(bench.run(write), Ok(DiskDone::Done));
        bench.takes(BLOCKS as usize);
    }
}
