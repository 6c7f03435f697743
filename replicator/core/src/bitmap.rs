//! The dirty bitmap of one peer: the blocks in which it may differ from here, one bit per 4 KiB block.
//!
//! It also remembers which pages differ from their copy on the disk; `bitmap_store` writes those.

use std::collections::BTreeSet;

use twindisk_format::{bitmap::page_of_block, ids::BlockRange};

/// Dirty blocks of a device.
#[derive(Clone, Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    blocks: u64,
    dirty: u64,
    /// How often blocks were marked as dirty.
    marked: u64,
    stale_pages: BTreeSet<u32>,
}

impl Bitmap {
    /// From words as loaded, for a device of `blocks` blocks. Bits past its end are ignored.
    pub(crate) fn new(mut words: Vec<u64>, blocks: u64) -> Self {
        let needed =
            usize::try_from(blocks.div_ceil(64)).expect("a device's bitmap fits in memory");
        words.resize(needed, 0);
        if let (Some(last), rest @ 1..) = (words.last_mut(), blocks % 64) {
            *last &= (1 << rest) - 1;
        }
        let dirty = words.iter().map(|word| u64::from(word.count_ones())).sum();
        Self {
            words,
            blocks,
            dirty,
            marked: 0,
            stale_pages: BTreeSet::new(),
        }
    }

    /// Number of dirty blocks.
    pub(crate) const fn dirty(&self) -> u64 {
        self.dirty
    }

    /// Grows whenever blocks are marked as dirty: as long as it stays, what is dirty was so before.
    pub(crate) const fn marked(&self) -> u64 {
        self.marked
    }

    /// The device has another size; new blocks are clean.
    pub(crate) fn resize(&mut self, blocks: u64) {
        let stale_pages = std::mem::take(&mut self.stale_pages);
        let marked = self.marked;
        *self = Self::new(std::mem::take(&mut self.words), blocks);
        (self.stale_pages, self.marked) = (stale_pages, marked);
        if let Some(last) = blocks.checked_sub(1) {
            self.stale_pages.retain(|page| *page <= page_of_block(last));
        }
    }

    /// Marks blocks as dirty. Those beyond the device, which is about to grow, do not count yet.
    pub(crate) fn set(&mut self, range: BlockRange) {
        self.marked += 1;
        self.change(range, |word, mask| word | mask);
    }

    /// Marks blocks as clean. Only for blocks that the peer reported stable.
    pub(crate) fn clear(&mut self, range: BlockRange) {
        self.change(range, |word, mask| word & !mask);
    }

    /// Marks every block as clean, under the same condition.
    pub(crate) fn clear_all(&mut self) {
        let runs: Vec<_> = self.runs().collect();
        runs.into_iter().for_each(|run| self.clear(run));
    }

    /// Marks every block as dirty.
    pub(crate) fn set_all(&mut self) {
        self.set_from(0);
    }

    /// Marks every block from `start` on as dirty.
    pub(crate) fn set_from(&mut self, mut start: u64) {
        while start < self.blocks {
            let blocks = (self.blocks - start).min(1 << 30) as u32;
            self.set(BlockRange::new(start, blocks));
            start += u64::from(blocks);
        }
    }

    /// Marks the blocks of 64-bit words, the first of which begins at block `first` (a multiple of 64).
    pub(crate) fn merge(&mut self, first: u64, words: &[u64]) {
        for (at, &word) in words.iter().enumerate() {
            let start = first + at as u64 * 64;
            for bit in (0..64).filter(|bit| word & (1 << bit) != 0) {
                if start + bit < self.blocks {
                    self.set(BlockRange::new(start + bit, 1));
                }
            }
        }
    }

    /// Whether any block of the range is dirty.
    pub(crate) fn any(&self, range: BlockRange) -> bool {
        self.next_dirty(range.start)
            .is_some_and(|block| block < range.end())
    }

    /// The first dirty block at or after `from`.
    pub(crate) fn next_dirty(&self, from: u64) -> Option<u64> {
        if self.dirty == 0 || from >= self.blocks {
            return None;
        }
        let mut at = (from / 64) as usize;
        let mut word = self.words[at] & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                return Some(at as u64 * 64 + u64::from(word.trailing_zeros()));
            }
            at += 1;
            word = *self.words.get(at)?;
        }
    }

    /// The dirty blocks from `start` (which is dirty) on, at most `most` of them.
    pub(crate) fn run(&self, start: u64, most: u32) -> BlockRange {
        let mut blocks = 0;
        while blocks < most && self.contains(start + u64::from(blocks)) {
            blocks += 1;
        }
        BlockRange::new(start, blocks)
    }

    /// Every run of dirty blocks, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = BlockRange> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let range = self.run(self.next_dirty(from)?, 1 << 20);
            from = range.end();
            Some(range)
        })
    }

    /// The bits as words, from block 0.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Pages whose copy on the disk is not what is here.
    pub(crate) const fn stale_pages(&self) -> &BTreeSet<u32> {
        &self.stale_pages
    }

    /// The page is about to be written as it is now.
    pub(crate) fn page_written(&mut self, page: u32) {
        self.stale_pages.remove(&page);
    }

    /// The page could not be written, or the copy on the disk is not to be trusted.
    pub(crate) fn page_stale(&mut self, page: u32) {
        self.stale_pages.insert(page);
    }

    fn contains(&self, block: u64) -> bool {
        block < self.blocks && self.words[(block / 64) as usize] & (1 << (block % 64)) != 0
    }

    fn change(&mut self, range: BlockRange, apply: impl Fn(u64, u64) -> u64) {
        let end = range.end().min(self.blocks);
        let mut block = range.start;
        while block < end {
            let bit = block % 64;
            let count = (64 - bit).min(end - block);
            let mask = if count == 64 {
                u64::MAX
            } else {
                ((1 << count) - 1) << bit
            };
            let word = &mut self.words[(block / 64) as usize];
            let changed = apply(*word, mask);
            if changed != *word {
                self.dirty += u64::from(changed.count_ones());
                self.dirty -= u64::from(word.count_ones());
                *word = changed;
                self.stale_pages.insert(page_of_block(block));
            }
            block += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set of block numbers as the model.
        #[test]
        fn behaves_like_a_set(
            blocks in 1_u64..700,
            steps in prop::collection::vec((any::<bool>(), 0_u64..700, 1_u32..200), 0..60),
        ) {
            let mut bitmap = Bitmap::new(Vec::new(), blocks);
            let mut model = BTreeSet::new();
            for (set, start, count) in steps {
                let start = start % blocks;
                let range = BlockRange::new(start, count.min((blocks - start) as u32));
                if set {
                    bitmap.set(range);
                    model.extend(range.start..range.end());
                } else {
                    bitmap.clear(range);
                    model.retain(|block| !(range.start..range.end()).contains(block));
                }
                prop_assert_eq!(bitmap.dirty(), model.len() as u64);
                prop_assert_eq!(bitmap.next_dirty(start), model.range(start..).next().copied());
                prop_assert_eq!(bitmap.any(range), model.range(range.start..range.end()).next().is_some());
            }
            let listed: Vec<u64> = bitmap.runs().flat_map(|run| run.start..run.end()).collect();
            prop_assert_eq!(listed, model.iter().copied().collect::<Vec<_>>());
            let mut merged = Bitmap::new(Vec::new(), blocks);
            merged.merge(0, bitmap.words());
            prop_assert_eq!(merged.words(), bitmap.words());
        }
    }

    #[test]
    fn a_device_that_grows_or_shrinks_keeps_the_bits_of_what_stays() {
        let mut bitmap = Bitmap::new(Vec::new(), 100);
        bitmap.set(BlockRange::new(90, 20));
        assert_eq!(bitmap.dirty(), 10);
        bitmap.resize(200);
        assert_eq!(bitmap.runs().collect::<Vec<_>>(), [BlockRange::new(90, 10)]);
        bitmap.set_from(195);
        bitmap.resize(95);
        assert_eq!(bitmap.runs().collect::<Vec<_>>(), [BlockRange::new(90, 5)]);
        bitmap.resize(200);
        assert_eq!(bitmap.dirty(), 5);
    }

    #[test]
    fn all_means_all_and_not_more() {
        let mut bitmap = Bitmap::new(vec![u64::MAX; 3], 70);
        assert_eq!(bitmap.dirty(), 70);
        bitmap.clear(BlockRange::new(0, 70));
        bitmap.set_all();
        assert_eq!(bitmap.dirty(), 70);
        assert_eq!(bitmap.runs().collect::<Vec<_>>(), [BlockRange::new(0, 70)]);
    }
}
