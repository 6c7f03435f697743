//! The metadata device: real bytes as the format crate encodes them. A write is durable when it is done; one that a
//! crash cuts is torn at 512 bytes.

use std::collections::BTreeMap;

use twindisk_core::OpId;
use twindisk_format::{
    layout::Layout, limits::BLOCK_BYTES, meta_block::MetaBlock, metadata, superblock::Superblock,
};

use crate::rng::Rng;

/// The first blocks are the superblock's.
const SUPERBLOCK_COPIES: u64 = 2;

/// The metadata of one node.
#[derive(Clone, Debug)]
pub(crate) struct MetaDisk {
    blocks: BTreeMap<u64, Box<MetaBlock>>,
    in_flight: BTreeMap<OpId, (u64, Box<MetaBlock>)>,
    /// How often the superblock was changed.
    changes: u64,
}

impl MetaDisk {
    /// Freshly initialised.
    pub(crate) fn new(superblock: &Superblock) -> Self {
        Self {
            blocks: metadata::create(superblock).collect(),
            in_flight: BTreeMap::new(),
            changes: 0,
        }
    }

    /// What a starting process finds.
    pub(crate) fn load(&self) -> Result<metadata::Loaded, String> {
        metadata::load(|block| {
            self.blocks
                .get(&block)
                .cloned()
                .ok_or("behind the end of the device")
        })
        .map_err(|error| error.to_string())
    }

    /// The superblock that a starting process would find.
    pub(crate) fn superblock(&self) -> Option<Superblock> {
        let newest = [self.copy(0), self.copy(1)]
            .into_iter()
            .flatten()
            .max_by_key(|(_, counter)| *counter);
        newest.map(|(superblock, _)| superblock)
    }

    /// How often what a starting process would find of the superblock has changed.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Changes the superblock while no process has it, as `twindisk outdate --offline` does.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut Superblock)) {
        let newest = [self.copy(0), self.copy(1)]
            .into_iter()
            .flatten()
            .max_by_key(|(_, counter)| *counter);
        if let Some((mut superblock, counter)) = newest {
            change(&mut superblock);
            self.changes += 1;
            let block = Layout::superblock_block(counter + 1);
            self.blocks.insert(block, superblock.encode(counter + 1));
        }
    }

    fn copy(&self, copy: u8) -> Option<(Superblock, u64)> {
        let block = self.blocks.get(&u64::from(copy))?;
        Superblock::decode(copy, block).ok()
    }

    /// Begins a write. Errors when the block is being written already or lies behind the end.
    pub(crate) fn begin(
        &mut self,
        op: OpId,
        block: u64,
        data: Box<MetaBlock>,
    ) -> Result<(), String> {
        if !self.blocks.contains_key(&block) {
            return Err(format!("metadata block {block} is behind the end"));
        }
        if self.in_flight.values().any(|(other, _)| *other == block) {
            return Err(format!("two writes of metadata block {block} under way"));
        }
        self.in_flight.insert(op, (block, data));
        Ok(())
    }

    /// Whether a write is one of the superblock.
    pub(crate) fn is_superblock(&self, op: OpId) -> bool {
        self.in_flight.get(&op).is_some_and(|(block, _)| *block < 2)
    }

    /// Ends a write.
    pub(crate) fn complete(&mut self, op: OpId) {
        if let Some((block, data)) = self.in_flight.remove(&op) {
            self.changes += u64::from(block < SUPERBLOCK_COPIES);
            self.blocks.insert(block, data);
        }
    }

    /// Ends a write with an error.
    pub(crate) fn fail(&mut self, op: OpId, rng: &mut Rng) {
        if let Some((block, data)) = self.in_flight.remove(&op) {
            self.tear(block, &data, rng);
        }
    }

    /// Ends a write with an error: nothing of it has reached the device.
    pub(crate) fn refuse(&mut self, op: OpId) {
        self.in_flight.remove(&op);
    }

    /// The process or the node died.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        for (_, (block, data)) in core::mem::take(&mut self.in_flight) {
            self.tear(block, &data, rng);
        }
    }

    /// Flips a bit of a page of the activity log or of a bitmap, whose loss costs time and nothing else; or, if
    /// `superblock`, perhaps of one copy of that, unless a crash has torn the other one.
    pub(crate) fn rot(&mut self, superblock: bool, rng: &mut Rng) {
        let whole = |copy| self.copy(copy).is_some();
        let first = if superblock && whole(0) && whole(1) {
            0
        } else {
            SUPERBLOCK_COPIES
        };
        let block = rng.between(first, self.blocks.len() as u64 - 1);
        self.changes += u64::from(block < SUPERBLOCK_COPIES);
        if let Some(data) = self.blocks.get_mut(&block) {
            let at = rng.index(data.len());
            data[at] ^= 1 << rng.below(8);
        }
    }

    /// A write that went to the wrong place: a page of the activity log or of a bitmap holds what belongs to another
    /// one, to the superblock, or nothing. What it was to hold where it belongs is not lost: see the crate's README.
    pub(crate) fn misplace(&mut self, rng: &mut Rng) {
        let last = self.blocks.len() as u64 - 1;
        let victim = rng.between(SUPERBLOCK_COPIES, last);
        let from = rng.between(0, last);
        let wiped = rng.chance(250);
        let strange = self.blocks.get(&from).filter(|_| !wiped).cloned();
        let strange = strange.unwrap_or_else(|| Box::new([0; BLOCK_BYTES]));
        if from != victim || wiped {
            self.blocks.insert(victim, strange);
        }
    }

    fn tear(&mut self, block: u64, data: &MetaBlock, rng: &mut Rng) {
        self.changes += u64::from(block < SUPERBLOCK_COPIES);
        let Some(old) = self.blocks.get_mut(&block) else {
            return;
        };
        let kind = rng.below(4);
        for (old, new) in old.chunks_exact_mut(512).zip(data.chunks_exact(512)) {
            if kind == 0 || (kind > 1 && rng.coin()) {
                old.copy_from_slice(new);
            }
        }
    }
}
