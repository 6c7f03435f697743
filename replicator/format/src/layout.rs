//! Where each metadata block is. Derived from two numbers of the superblock; knows nothing of what the blocks hold.
//!
//! ```text
//! 0, 1         superblock, two copies
//! 2 …          activity log, first copy of every page, then second copy of every page
//! …            dirty bitmap of slot 0, of slot 1, …
//! ```

use crate::{
    activity_log::EXTENTS_PER_PAGE,
    bitmap::BITS_PER_PAGE,
    ids::Slot,
    limits::{EXTENT_BLOCKS, MAX_DEVICE_BLOCKS, MAX_PEERS},
    meta_block::Place,
    superblock::Superblock,
};

/// Block numbers of all metadata, counted in 4 KiB from the start of the metadata area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    al_pages: u32,
    bitmap_pages: u32,
    peer_slots: u8,
}

impl Layout {
    /// For a device that may grow to `max_size_blocks`, with `peer_slots` peers.
    ///
    /// # Panics
    /// When either number is above its limit; superblocks that say so don't decode.
    #[must_use]
    pub const fn new(max_size_blocks: u64, peer_slots: usize) -> Self {
        assert!(max_size_blocks <= MAX_DEVICE_BLOCKS, "device too large");
        assert!(peer_slots <= MAX_PEERS, "too many peers");
        let extents = max_size_blocks.div_ceil(EXTENT_BLOCKS);
        Self {
            al_pages: extents.div_ceil(EXTENTS_PER_PAGE as u64) as u32,
            bitmap_pages: max_size_blocks.div_ceil(BITS_PER_PAGE as u64) as u32,
            peer_slots: peer_slots as u8,
        }
    }

    /// The layout that `superblock` describes.
    #[must_use]
    pub const fn of(superblock: &Superblock) -> Self {
        Self::new(superblock.max_size_blocks, superblock.slots())
    }

    /// Where the superblock with `counter` is written: the two copies take turns.
    #[must_use]
    pub const fn superblock_block(counter: u64) -> u64 {
        counter & 1
    }

    /// Where a copy of an activity-log page is.
    ///
    /// # Panics
    /// When there is no such page or copy.
    #[must_use]
    pub const fn al_block(&self, page: u32, copy: u8) -> u64 {
        assert!(page < self.al_pages && copy < 2, "no such page");
        // Copies are far apart: one bad spot of the medium rarely takes both.
        SUPERBLOCKS + copy as u64 * self.al_pages as u64 + page as u64
    }

    /// Where a page of a peer's bitmap is.
    ///
    /// # Panics
    /// When there is no such slot or page.
    #[must_use]
    pub const fn bitmap_block(&self, slot: Slot, page: u32) -> u64 {
        assert!(
            slot.index() < self.peer_slots as usize && page < self.bitmap_pages,
            "no such page"
        );
        self.bitmap_base() + slot.index() as u64 * self.bitmap_pages as u64 + page as u64
    }

    /// Where the block of `place` is.
    ///
    /// # Panics
    /// When this layout has no such place.
    #[must_use]
    pub const fn block(&self, place: Place) -> u64 {
        match place {
            Place::Superblock { copy } => copy as u64,
            Place::ActivityLog { page, copy } => self.al_block(page, copy),
            Place::Bitmap { slot, page } => self.bitmap_block(slot, page),
        }
    }

    /// What block `block` is for, or `None` behind the end.
    #[must_use]
    pub fn place(&self, block: u64) -> Option<Place> {
        if block < SUPERBLOCKS {
            return Some(Place::Superblock { copy: block as u8 });
        }
        if block < self.bitmap_base() {
            let index = block - SUPERBLOCKS;
            let pages = u64::from(self.al_pages);
            return Some(Place::ActivityLog {
                page: (index % pages) as u32,
                copy: (index / pages) as u8,
            });
        }
        if block >= self.total_blocks() {
            return None;
        }
        let index = block - self.bitmap_base();
        let pages = u64::from(self.bitmap_pages);
        let slot = Slot::new((index / pages) as usize)?;
        Some(Place::Bitmap {
            slot,
            page: (index % pages) as u32,
        })
    }

    /// Number of activity-log pages; each has two copies.
    #[must_use]
    pub const fn al_pages(&self) -> u32 {
        self.al_pages
    }

    /// Number of bitmap pages of each slot.
    #[must_use]
    pub const fn bitmap_pages(&self) -> u32 {
        self.bitmap_pages
    }

    /// The peer slots in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..usize::from(self.peer_slots)).filter_map(Slot::new)
    }

    /// Size of all metadata in blocks.
    #[must_use]
    pub const fn total_blocks(&self) -> u64 {
        self.bitmap_base() + self.peer_slots as u64 * self.bitmap_pages as u64
    }

    const fn bitmap_base(&self) -> u64 {
        SUPERBLOCKS + 2 * self.al_pages as u64
    }
}

const SUPERBLOCKS: u64 = 2;

const _: () = assert!(MAX_DEVICE_BLOCKS.div_ceil(BITS_PER_PAGE as u64) <= u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_one_place_and_back() {
        for (size, slots) in [(1, 0), (1, 1), (31_744, 2), (31_745, 7), (80_000_000, 3)] {
            let layout = Layout::new(size, slots);
            for block in 0..layout.total_blocks() {
                let place = layout.place(block).expect("inside");
                assert_eq!(layout.block(place), block, "{place}");
            }
            assert_eq!(layout.place(layout.total_blocks()), None);
        }
    }

    #[test]
    fn a_tebibyte_costs_32_mib_per_peer() {
        let layout = Layout::new(1 << 28, 1);
        assert_eq!(layout.al_pages(), 9);
        assert_eq!(layout.bitmap_pages(), 8457);
        assert_eq!(layout.total_blocks(), 2 + 18 + 8457);
    }

    #[test]
    fn the_largest_device_fits() {
        let layout = Layout::new(MAX_DEVICE_BLOCKS, MAX_PEERS);
        assert_eq!(
            u64::from(layout.bitmap_pages()),
            (1u64 << 38).div_ceil(31_744)
        );
    }
}
