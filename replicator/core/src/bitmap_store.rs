//! Storing dirty bits, and letting extents go cold once theirs are stored.

use twindisk_format::{
    bitmap::{encode_bitmap_page, page_of_block, page_words},
    ids::{Seq, Slot},
    layout::Layout,
    limits::EXTENT_BLOCKS,
};

use crate::{
    Action, Mark, Report, Role,
    membership::Kind,
    mutants::Mutant,
    replica::{Op, Replica},
};

impl Replica {
    /// Takes extents out of the activity log while it holds more than it should: those whose writes are stable
    /// everywhere, and remembered there, and whose dirty bits are stored.
    pub(crate) fn cool(&mut self) {
        let excess = self.al.len().saturating_sub(self.config.al_extents);
        if excess == 0 || self.metadata_failed {
            return;
        }
        let margin = (self.config.al_extents / 8).max(1);
        let fresh = self.peers.iter().filter_map(|peer| peer.fresh.first());
        let remembered = fresh.map(|first| Seq(first.0 - 1)).min();
        let mut stable = self.stable_up_to().min(remembered.unwrap_or(Seq(u64::MAX)));
        if self.mutant(Mutant::EvictUnstableExtent) {
            stable = self.newest_seq();
        }
        if self.al.is_cooled(stable) {
            return;
        }
        let coldest = self.al.coldest(excess + margin, stable);
        let mut waits = coldest.len() == excess + margin;
        for extent in coldest {
            if self.mutant(Mutant::EvictBeforeBitsStored) || self.bits_stored(extent) {
                self.al.drop_extent(extent);
            } else {
                waits = true;
            }
        }
        if !waits {
            self.al.note_cooled(stable);
        }
    }

    /// Whether the dirty bits of an extent are on the disk; begins to store them if not.
    fn bits_stored(&mut self, extent: u32) -> bool {
        let first = u64::from(extent) * EXTENT_BLOCKS;
        let last = (first + EXTENT_BLOCKS).min(self.size_blocks()) - 1;
        let mut stored = true;
        for slot in self.slots() {
            for page in page_of_block(first)..=page_of_block(last) {
                if self.peer(slot).bitmap.stale_pages().contains(&page) {
                    self.write_bitmap_page(slot, page);
                    stored = false;
                }
                stored &= !self.bitmap_writes.contains(&(slot, page));
            }
        }
        stored
    }

    /// Begins to store every page of dirty bits that is not on the disk as it is here.
    pub(crate) fn write_all_bitmaps(&mut self) {
        for slot in self.slots() {
            let stale: Vec<u32> = self
                .peer(slot)
                .bitmap
                .stale_pages()
                .iter()
                .copied()
                .collect();
            for page in stale {
                self.write_bitmap_page(slot, page);
            }
        }
    }

    /// Whether every dirty bit is stored.
    pub(crate) fn all_bitmaps_stored(&self) -> bool {
        self.bitmap_writes.is_empty()
            && self
                .peers
                .iter()
                .all(|peer| peer.bitmap.stale_pages().is_empty())
    }

    fn write_bitmap_page(&mut self, slot: Slot, page: u32) {
        // One write of a page at a time; what changes meanwhile makes it stale again.
        if self.metadata_failed || !self.bitmap_writes.insert((slot, page)) {
            return;
        }
        let superblock = self.store.get();
        let block = Layout::of(superblock).bitmap_block(slot, page);
        let resource = superblock.resource;
        let bitmap = &mut self.peers[slot.index()].bitmap;
        let data = encode_bitmap_page(resource, slot, page, page_words(bitmap.words(), page));
        bitmap.page_written(page);
        let op = self.op(Op::BitmapPage(slot, page));
        self.act(Action::MetaWrite { op, block, data });
    }

    pub(crate) fn bitmap_page_written(&mut self, slot: Slot, page: u32) {
        self.bitmap_writes.remove(&(slot, page));
        self.cool();
    }

    /// A superblock is on the disk.
    pub(crate) fn superblock_written(&mut self) {
        self.store.written();
        self.recorded();
        self.metadata_works();
    }

    /// A metadata block could not be written. Without metadata nothing can be promised: the disk is given up.
    pub(crate) fn metadata_write_failed(&mut self, op: Op, error: &str) {
        let mut in_vain = Vec::new();
        match op {
            Op::Superblock => in_vain = self.store.failed(),
            Op::AlPage(page) => self.al.page_failed(page),
            Op::BitmapPage(slot, page) => {
                self.bitmap_writes.remove(&(slot, page));
                self.peer_mut(slot).bitmap.page_stale(page);
            }
            other => unreachable!("{other:?} is no metadata write"),
        }
        let unstored = self.change.clone();
        if !self.metadata_failed {
            self.metadata_failed = true;
            self.confirming = None;
            let what = format!("metadata can't be written: {error}");
            self.report(Report::Warning { what: what.clone() });
            if self.disk_attached() {
                self.disk_failed(&what);
            } else if self.role == Role::Standby {
                // What it was about to say of its disk can't be stored any more.
                self.tell_disk_failed(false, "the metadata of this node can't be written");
            }
            match unstored {
                Some(change) if change.kind == Kind::Promote => self.promotion_not_stored(),
                // Nobody is left who could store it: it is never in force, and nothing is acknowledged any more (R1).
                Some(change)
                    if matches!(change.kind, Kind::Leave(..)) && !self.is_stored_elsewhere()
                        || self.store.is_alone_stored() =>
                {
                    self.marks.mark(Mark::LeaveNotStored);
                }
                // The members' copies are what counts now.
                Some(change) => self.change_stored(change.id),
                None => {}
            }
        }
        in_vain.extend(self.store.give_up());
        for then in in_vain {
            self.not_stored(then);
        }
    }
}
