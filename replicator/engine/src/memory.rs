//! Memory for payloads: one mapping per use, page aligned, locked where allowed, handed out in blocks of 4 KiB.
//!
//! Knows addresses and free blocks; who owns a block is `buffers.rs`' business.

use std::{io, num::NonZeroUsize, ptr::NonNull};

use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap_anonymous, munmap};
use twindisk_format::limits::BLOCK_BYTES;

/// One mapping.
pub(crate) struct Region {
    start: NonNull<u8>,
    blocks: u32,
    free: FreeBlocks,
    locked: bool,
    /// Number of the first registered piece on the ring.
    registered: Option<u16>,
}

impl Region {
    /// Maps `blocks` blocks of zeros.
    pub(crate) fn map(blocks: u32) -> io::Result<Self> {
        let bytes = NonZeroUsize::new(blocks as usize * BLOCK_BYTES)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            mmap_anonymous(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_PRIVATE,
            )?
        };
        // SAFETY: the mapping was made above with this length. Locking also brings every page in, so that no I/O
        // ever waits for memory.
        let locked = unsafe { mlock(start, bytes.get()) }.is_ok();
        Ok(Self {
            start: start.cast(),
            blocks,
            free: FreeBlocks::new(blocks),
            locked,
            registered: None,
        })
    }

    pub(crate) const fn is_locked(&self) -> bool {
        self.locked
    }

    /// Takes `blocks` adjacent blocks and gives the number of the first.
    pub(crate) fn take(&mut self, blocks: u32) -> Option<u32> {
        self.free.take(blocks)
    }

    pub(crate) fn give_back(&mut self, first: u32, blocks: u32) {
        self.free.give_back(first, blocks);
    }

    pub(crate) const fn free_blocks(&self) -> u32 {
        self.free.count
    }

    pub(crate) const fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The address of byte `offset` of block `first`, after checking that `len` bytes from there are inside.
    pub(crate) fn address(&self, first: u32, offset: usize, len: usize) -> NonNull<u8> {
        let at = first as usize * BLOCK_BYTES + offset;
        assert!(
            at + len <= self.blocks as usize * BLOCK_BYTES,
            "{len} bytes at {at} are outside of a region of {} blocks",
            self.blocks
        );
        // SAFETY: inside the mapping, as just checked.
        unsafe { self.start.add(at) }
    }

    /// The pieces to be registered on the ring.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = libc::iovec> + '_ {
        let bytes = self.blocks as usize * BLOCK_BYTES;
        (0..bytes).step_by(PIECE_BYTES).map(move |at| libc::iovec {
            // SAFETY: `at` is inside the mapping.
            iov_base: unsafe { self.start.add(at) }.as_ptr().cast(),
            iov_len: PIECE_BYTES.min(bytes - at),
        })
    }

    pub(crate) const fn set_registered(&mut self, first_piece: u16) {
        self.registered = Some(first_piece);
    }

    /// The registered piece that holds all of `len` bytes at `address`.
    pub(crate) fn piece(&self, address: NonNull<u8>, len: usize) -> Option<u16> {
        let at = address.as_ptr() as usize - self.start.as_ptr() as usize;
        let piece = at / PIECE_BYTES;
        let same = (at + len - 1) / PIECE_BYTES == piece;
        let piece = u16::try_from(piece).expect("pieces of 1 GiB");
        self.registered.filter(|_| same).map(|first| first + piece)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; the engine drops regions only when no operation on the ring
        // refers to them (else it leaves them behind).
        let _ = unsafe { munmap(self.start.cast(), self.blocks as usize * BLOCK_BYTES) };
    }
}

/// Free blocks as bits. Small runs are taken from the front, which keeps them warm in the caches, large ones from the
/// back, so that small ones do not cut up the room for large ones.
struct FreeBlocks {
    /// A set bit is a free block.
    words: Vec<u64>,
    count: u32,
}

impl FreeBlocks {
    fn new(blocks: u32) -> Self {
        let mut words = vec![u64::MAX; blocks.div_ceil(64) as usize];
        if !blocks.is_multiple_of(64)
            && let Some(last) = words.last_mut()
        {
            *last = (1 << (blocks % 64)) - 1;
        }
        Self {
            words,
            count: blocks,
        }
    }

    fn take(&mut self, blocks: u32) -> Option<u32> {
        assert!(blocks > 0, "a run of no blocks");
        if self.count < blocks {
            return None;
        }
        let first = match blocks {
            1 => self.first_single(),
            2..LARGE_BLOCKS => self.first_run(blocks),
            _ => self.last_run(blocks),
        }?;
        for block in first..first + blocks {
            let bit = 1 << (block % 64);
            let word = &mut self.words[(block / 64) as usize];
            assert!(*word & bit != 0, "block {block} was not free");
            *word &= !bit;
        }
        self.count -= blocks;
        Some(first)
    }

    fn give_back(&mut self, first: u32, blocks: u32) {
        for block in first..first + blocks {
            let bit = 1 << (block % 64);
            let word = &mut self.words[(block / 64) as usize];
            assert!(*word & bit == 0, "block {block} was free already");
            *word |= bit;
        }
        self.count += blocks;
    }

    fn first_single(&self) -> Option<u32> {
        let index = self.words.iter().position(|&word| word != 0)?;
        Some(index as u32 * 64 + self.words[index].trailing_zeros())
    }

    fn first_run(&self, blocks: u32) -> Option<u32> {
        let mut run = 0;
        for (index, &word) in self.words.iter().enumerate() {
            let mut at = 0;
            while at < 64 {
                let rest = word >> at;
                if rest & 1 == 0 {
                    run = 0;
                    if rest == 0 {
                        break;
                    }
                    at += rest.trailing_zeros();
                    continue;
                }
                let ones = rest.trailing_ones();
                run += ones;
                at += ones;
                if run >= blocks {
                    return Some(index as u32 * 64 + at - run);
                }
            }
        }
        None
    }

    fn last_run(&self, blocks: u32) -> Option<u32> {
        let mut run = 0;
        for (index, &word) in self.words.iter().enumerate().rev() {
            let mut left = 64;
            while left > 0 {
                let rest = word << (64 - left);
                if rest >> 63 == 0 {
                    run = 0;
                    if rest == 0 {
                        break;
                    }
                    left -= rest.leading_zeros();
                    continue;
                }
                let ones = rest.leading_ones().min(left);
                run += ones;
                left -= ones;
                if run >= blocks {
                    return Some(index as u32 * 64 + left + (run - blocks));
                }
            }
        }
        None
    }
}

/// Runs from this length on (256 KiB) are taken from the back.
const LARGE_BLOCKS: u32 = 64;

/// The kernel registers at most 1 GiB in one piece.
const PIECE_BYTES: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_never_overlap_and_all_come_back() {
        // A model: which blocks are taken. The sizes and the order are a fixed pseudo-random walk.
        let blocks = 1000;
        let mut free = FreeBlocks::new(blocks);
        let mut taken: Vec<(u32, u32)> = Vec::new();
        let mut state = 12345u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        let mut failed = 0;
        for _ in 0..20_000 {
            if next(2) == 0 || taken.is_empty() {
                let length = [1, 1, 2, 3, 63, 64, 65, 200][next(8) as usize];
                if let Some(first) = free.take(length) {
                    assert!(first + length <= blocks);
                    for &(other, other_length) in &taken {
                        assert!(first + length <= other || other + other_length <= first);
                    }
                    taken.push((first, length));
                } else {
                    failed += 1;
                }
            } else {
                let (first, length) = taken.swap_remove(next(taken.len() as u32) as usize);
                free.give_back(first, length);
            }
            let used: u32 = taken.iter().map(|run| run.1).sum();
            assert_eq!(free.count, blocks - used);
        }
        assert!(failed > 0, "the walk must also meet a full region");
        for (first, length) in taken {
            free.give_back(first, length);
        }
        assert_eq!(free.take(1000), Some(0), "one run again");
    }

    #[test]
    fn small_runs_come_from_the_front_and_large_ones_from_the_back() {
        let mut free = FreeBlocks::new(512);
        assert_eq!(free.take(1), Some(0));
        assert_eq!(free.take(3), Some(1));
        assert_eq!(free.take(256), Some(256));
        assert_eq!(free.take(256), None);
        assert_eq!(free.take(252), Some(4));
        assert_eq!(free.take(1), None);
    }

    #[test]
    fn a_region_is_aligned_and_zero() {
        let region = Region::map(3).expect("map");
        let address = region.address(1, 0, 2 * BLOCK_BYTES);
        assert_eq!(address.as_ptr() as usize % BLOCK_BYTES, 0);
        // SAFETY: inside the mapping, and nobody writes to it.
        let bytes = unsafe { std::slice::from_raw_parts(address.as_ptr(), 2 * BLOCK_BYTES) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        assert_eq!(region.piece(address, 1), None);
    }
}
