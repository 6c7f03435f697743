//! What a peer has written, and need not remember. Time travel is noticed by moments (see `moment`), and those come a few
//! times a second: one that was rolled back by less looks as if it had forgotten nothing. So what it wrote since the last
//! but one of its moments is dirty when the connection ends, although it was stable there.
//!
//! The last but one: a snapshot that holds the newest moment heard may be older than the answers which came just before
//! that moment was heard; what was stable before the moment ahead of it was heard is in every such snapshot. What was only
//! written by then is not: a snapshot of a running machine lacks what stood in a cache.

use std::collections::{BTreeMap, VecDeque};

use twindisk_format::{
    ids::{BlockRange, Seq},
    limits::EXTENT_BLOCKS,
};

use crate::{bitmap::Bitmap, limits::MAX_FRESH};

/// Ranges that are stable on a peer, and that a snapshot of it which nobody would notice may lack.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fresh {
    /// In order of their sequence numbers.
    ranges: VecDeque<(Seq, BlockRange)>,
    /// Those that were too many to be kept one by one: by extent, the newest of each.
    extents: BTreeMap<u64, Seq>,
    /// Everything up to here was stable when the newest moment was heard.
    heard: Seq,
    /// The same of the moment before it: no unnoticed snapshot lacks that.
    remembered: Seq,
}

impl Fresh {
    /// `range`, which was sent as `seq`, is stable there. In order of their numbers.
    pub(crate) fn push(&mut self, seq: Seq, range: BlockRange) {
        if seq > self.remembered {
            self.ranges.push_back((seq, range));
            if self.ranges.len() > MAX_FRESH {
                self.fold();
            }
        }
    }

    /// A moment of the peer was heard. Everything up to `stable` was known to be stable there by then.
    pub(crate) fn moment_heard(&mut self, stable: Seq) {
        self.remembered = self.heard;
        self.heard = self.heard.max(stable);
        let remembered = self.remembered;
        while self
            .ranges
            .front()
            .is_some_and(|(seq, _)| *seq <= remembered)
        {
            self.ranges.pop_front();
        }
        self.extents.retain(|_, seq| *seq > remembered);
    }

    /// The oldest of them.
    pub(crate) fn first(&self) -> Option<Seq> {
        let folded = self.extents.values().min().copied();
        folded.or_else(|| self.ranges.front().map(|(seq, _)| *seq))
    }

    /// The connection has ended: they may be lacking there.
    pub(crate) fn become_dirty(&self, bitmap: &mut Bitmap, size_blocks: u64) {
        for (_, range) in &self.ranges {
            bitmap.set(*range);
        }
        for extent in self.extents.keys() {
            let start = extent * EXTENT_BLOCKS;
            let blocks = EXTENT_BLOCKS.min(size_blocks.saturating_sub(start));
            if let Ok(blocks) = u32::try_from(blocks)
                && blocks > 0
            {
                bitmap.set(BlockRange::new(start, blocks));
            }
        }
    }

    /// Keeps the older half as extents.
    fn fold(&mut self) {
        for (seq, range) in self.ranges.drain(..MAX_FRESH / 2) {
            for extent in range.start / EXTENT_BLOCKS..=(range.end() - 1) / EXTENT_BLOCKS {
                self.extents.insert(extent, seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirty(fresh: &Fresh, size_blocks: u64) -> Vec<u64> {
        let mut bitmap = Bitmap::new(Vec::new(), size_blocks);
        fresh.become_dirty(&mut bitmap, size_blocks);
        (0..size_blocks)
            .filter(|block| bitmap.any(BlockRange::new(*block, 1)))
            .collect()
    }

    #[test]
    fn two_moments_make_it_remembered() {
        let mut fresh = Fresh::default();
        fresh.push(Seq(1), BlockRange::new(7, 2));
        assert_eq!(dirty(&fresh, 64), [7, 8]);
        fresh.moment_heard(Seq(1));
        assert_eq!(
            dirty(&fresh, 64),
            [7, 8],
            "a snapshot may be older than the answer"
        );
        fresh.push(Seq(2), BlockRange::new(20, 1));
        fresh.moment_heard(Seq(3));
        assert_eq!(dirty(&fresh, 64), [20]);
        // What is stable only now, and was heard of as such.
        fresh.push(Seq(3), BlockRange::new(30, 1));
        fresh.moment_heard(Seq(3));
        assert_eq!(fresh.first(), None);
        fresh.push(Seq(3), BlockRange::new(30, 1));
        assert!(dirty(&fresh, 64).is_empty());
    }

    #[test]
    fn what_is_too_much_becomes_extents() {
        let mut fresh = Fresh::default();
        let size = EXTENT_BLOCKS + 10;
        for seq in 1..=MAX_FRESH as u64 + 1 {
            fresh.push(Seq(seq), BlockRange::new(size - 1, 1));
        }
        assert!(fresh.ranges.len() <= MAX_FRESH);
        assert_eq!(fresh.first(), Some(Seq(MAX_FRESH as u64 / 2)));
        assert_eq!(
            dirty(&fresh, size),
            (EXTENT_BLOCKS..size).collect::<Vec<_>>()
        );
        fresh.moment_heard(Seq(MAX_FRESH as u64 / 2));
        fresh.moment_heard(Seq(MAX_FRESH as u64 + 1));
        assert!(fresh.extents.is_empty());
        assert_eq!(dirty(&fresh, size), [size - 1]);
        fresh.moment_heard(Seq(MAX_FRESH as u64 + 1));
        assert_eq!(fresh.first(), None);
    }
}
