//! A backing device with a volatile cache: what was written is seen by reads at once, and is safe only after a flush
//! that was issued later, or with FUA. A loss of power keeps, loses or tears the rest sector by sector, in any order.

use std::collections::{BTreeMap, BTreeSet};

use twindisk_core::OpId;
use twindisk_format::ids::BlockRange;

use crate::{
    content::{Block, SECTORS},
    rng::Rng,
};

/// Completion of a write that is under way and was seen by a read.
const NOT_YET: u64 = u64::MAX - 1;

/// Completion of a write that a failed flush dropped: no later flush saves it.
const NEVER: u64 = u64::MAX;

/// The device of one node.
#[derive(Clone, Debug)]
pub(crate) struct DataDisk {
    cache: Vec<u64>,
    unsafe_sectors: BTreeMap<u64, Unsafe>,
    in_flight: BTreeMap<OpId, Mutation>,
    completions: u64,
    bad_blocks: BTreeSet<u64>,
    /// It says that it has flushed, and has not.
    pub(crate) lies: bool,
}

/// A sector whose newest contents would not survive for sure.
#[derive(Clone, Debug)]
struct Unsafe {
    durable: u64,
    /// With the completion they came with, oldest first.
    versions: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
struct Mutation {
    range: BlockRange,
    /// Sector values; `None` for those that a read has seen, which are in the cache already.
    values: Vec<Option<u64>>,
}

/// How a loss of power treats what is not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Everything unflushed is gone.
    All,
    /// Nothing is.
    Nothing,
    /// Each sector for itself.
    Some,
}

impl DataDisk {
    pub(crate) fn new(blocks: u64, initial: impl Fn(u64) -> u64) -> Self {
        Self {
            cache: (0..blocks * SECTORS).map(initial).collect(),
            unsafe_sectors: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            completions: 0,
            bad_blocks: BTreeSet::new(),
            lies: false,
        }
    }

    pub(crate) fn blocks(&self) -> u64 {
        self.cache.len() as u64 / SECTORS
    }

    /// A point in the order of completions: a flush issued now covers what completed before.
    pub(crate) const fn now(&self) -> u64 {
        self.completions
    }

    /// Begins a write. Errors when an overlapping one is under way: their order would be anyone's guess.
    pub(crate) fn begin(
        &mut self,
        op: OpId,
        range: BlockRange,
        values: Vec<u64>,
    ) -> Result<(), String> {
        let clash = self
            .in_flight
            .iter()
            .find(|(_, other)| other.range.overlaps(range));
        if let Some((other, mutation)) = clash {
            return Err(format!(
                "{op:?} changes {range} while {other:?} changes {}",
                mutation.range
            ));
        }
        let values = values.into_iter().map(Some).collect();
        self.in_flight.insert(op, Mutation { range, values });
        Ok(())
    }

    /// Ends a write.
    pub(crate) fn complete(&mut self, op: OpId, fua: bool) {
        let Some(mutation) = self.in_flight.remove(&op) else {
            return;
        };
        self.completions += 1;
        let first = mutation.range.start * SECTORS;
        for (sector, value) in (first..).zip(mutation.values) {
            if let Some(value) = value {
                self.put(sector, value);
            } else if let Some(entry) = self.unsafe_sectors.get_mut(&sector)
                && let Some(last) = entry.versions.last_mut()
            {
                last.0 = self.completions; // Completed only now, so a flush issued before does not cover it.
            }
            if fua && !self.lies {
                self.unsafe_sectors.remove(&sector);
            }
        }
        for block in mutation.range.start..mutation.range.end() {
            self.bad_blocks.remove(&block);
        }
    }

    /// Ends a write with an error: any part of it may have happened.
    pub(crate) fn fail(&mut self, op: OpId, rng: &mut Rng) {
        if let Some(mutation) = self.in_flight.remove(&op) {
            self.completions += 1;
            self.apply_some(mutation, rng);
        }
    }

    /// Ends a flush that was issued at `issued` (see [`DataDisk::now`]).
    pub(crate) fn flush(&mut self, issued: u64) {
        if self.lies {
            return;
        }
        self.unsafe_sectors.retain(|_, entry| {
            let newest = entry
                .versions
                .iter()
                .rposition(|(completion, _)| *completion <= issued);
            if let Some(at) = newest {
                entry.durable = entry.versions[at].1;
                entry.versions.drain(..=at);
            }
            !entry.versions.is_empty()
        });
    }

    /// Ends a flush with an error: some of what it covered is on the medium, nobody knows what, and the rest will
    /// never be written by a later flush. It may not even be read again: Linux takes such pages for clean, and may drop
    /// them at any time; `evict` says which.
    pub(crate) fn fail_flush(&mut self, rng: &mut Rng, evict: &mut Rng) {
        for entry in self.unsafe_sectors.values_mut() {
            if rng.coin()
                && let Some((_, value)) = entry.versions.last()
            {
                entry.durable = *value;
            }
            for version in &mut entry.versions {
                version.0 = NEVER;
            }
        }
        let share = evict.pick(&[0, 500, 1000]);
        let blocks: BTreeSet<u64> = self.unsettled().collect();
        for block in blocks {
            if evict.chance(share) && !self.is_busy(block) {
                self.evict(block);
            }
        }
    }

    /// A process opens it: what a failed flush left behind counts as clean, and is dropped.
    pub(crate) fn open(&mut self) {
        while let Some(sector) = self.doomed() {
            self.evict(sector / SECTORS);
        }
    }

    /// Forgets what of a block is not on the medium: it reads as what is.
    fn evict(&mut self, block: u64) {
        for sector in block * SECTORS..(block + 1) * SECTORS {
            if let Some(entry) = self.unsafe_sectors.remove(&sector) {
                self.cache[sector as usize] = entry.durable;
            }
        }
    }

    /// Reads a block, or fails on a bad one. A write under way may or may not be seen; what was seen once stays.
    pub(crate) fn read(&mut self, block: u64, rng: &mut Rng) -> Option<Block> {
        if self.bad_blocks.contains(&block) {
            return None;
        }
        let first = block * SECTORS;
        let mut seen = Vec::new();
        for mutation in self.in_flight.values_mut() {
            if mutation.range.overlaps(BlockRange::new(block, 1)) {
                for sector in first..first + SECTORS {
                    let at = (sector - mutation.range.start * SECTORS) as usize;
                    if rng.coin()
                        && let Some(value) = mutation.values[at].take()
                    {
                        seen.push((sector, value));
                    }
                }
            }
        }
        for (sector, value) in seen {
            self.put_at(sector, value, NOT_YET);
        }
        let mut data = [0; SECTORS as usize];
        data.copy_from_slice(&self.cache[first as usize..(first + SECTORS) as usize]);
        Some(data)
    }

    /// What a read sees, without its effects.
    pub(crate) fn peek(&self, sector: u64) -> u64 {
        self.cache.get(sector as usize).copied().unwrap_or(0)
    }

    /// What would be there after the worst loss of power.
    pub(crate) fn durable(&self, sector: u64) -> u64 {
        self.unsafe_sectors
            .get(&sector)
            .map_or_else(|| self.peek(sector), |entry| entry.durable)
    }

    /// Everything that a loss of power may leave in a sector.
    pub(crate) fn outcomes(&self, sector: u64) -> impl Iterator<Item = u64> {
        let entry = self.unsafe_sectors.get(&sector);
        let versions = entry.into_iter().flat_map(|entry| {
            core::iter::once(entry.durable).chain(entry.versions.iter().map(|(_, value)| *value))
        });
        versions.chain(entry.is_none().then(|| self.peek(sector)))
    }

    /// A sector whose contents no later flush will save, since one has failed.
    pub(crate) fn doomed(&self) -> Option<u64> {
        let doomed = |entry: &Unsafe| entry.versions.last().is_some_and(|(at, _)| *at == NEVER);
        self.unsafe_sectors
            .iter()
            .find(|(_, entry)| doomed(entry))
            .map(|(sector, _)| *sector)
    }

    /// Blocks that a loss of power may change.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = u64> {
        self.unsafe_sectors.keys().map(|sector| sector / SECTORS)
    }

    /// Whether a write to the block is under way.
    pub(crate) fn is_busy(&self, block: u64) -> bool {
        let range = BlockRange::new(block, 1);
        self.in_flight
            .values()
            .any(|mutation| mutation.range.overlaps(range))
    }

    /// The process died: what completed stays, what was under way happened in any part.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        for (_, mutation) in core::mem::take(&mut self.in_flight) {
            self.apply_some(mutation, rng);
        }
        for entry in self.unsafe_sectors.values_mut() {
            for version in &mut entry.versions {
                if version.0 == NOT_YET {
                    version.0 = self.completions;
                }
            }
        }
    }

    /// The power went.
    pub(crate) fn lose_power(&mut self, loss: Loss, rng: &mut Rng) {
        self.crash(rng);
        for (sector, entry) in core::mem::take(&mut self.unsafe_sectors) {
            let survivor = match loss {
                Loss::All => entry.durable,
                Loss::Nothing => continue,
                Loss::Some => {
                    let pick = rng.index(entry.versions.len() + 1);
                    pick.checked_sub(1)
                        .map_or(entry.durable, |at| entry.versions[at].1)
                }
            };
            self.cache[sector as usize] = survivor;
        }
    }

    /// Alters a block behind everybody's back.
    pub(crate) fn rot(&mut self, block: u64) {
        for sector in block * SECTORS..(block + 1) * SECTORS {
            self.unsafe_sectors.remove(&sector);
            self.cache[sector as usize] ^= 1 << 40;
        }
    }

    /// Makes a block unreadable until it is written again.
    pub(crate) fn spoil(&mut self, block: u64) {
        if !self.is_busy(block) {
            self.bad_blocks.insert(block);
        }
    }

    /// The medium gives way to attempts: everything can be read again.
    pub(crate) fn recover(&mut self) {
        self.bad_blocks.clear();
    }

    /// Number of blocks that can't be read.
    pub(crate) fn bad(&self) -> usize {
        self.bad_blocks.len()
    }

    fn apply_some(&mut self, mutation: Mutation, rng: &mut Rng) {
        let kind = rng.below(3);
        let first = mutation.range.start * SECTORS;
        for (sector, value) in (first..).zip(mutation.values) {
            if let Some(value) = value
                && (kind == 0 || (kind == 1 && rng.coin()))
            {
                self.put(sector, value);
            }
        }
    }

    fn put(&mut self, sector: u64, value: u64) {
        self.put_at(sector, value, self.completions);
    }

    fn put_at(&mut self, sector: u64, value: u64, completion: u64) {
        let durable = self.cache[sector as usize];
        self.cache[sector as usize] = value;
        let entry = self.unsafe_sectors.entry(sector).or_insert(Unsafe {
            durable,
            versions: Vec::new(),
        });
        entry.versions.push((completion, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &mut DataDisk, op: u64, block: u64, value: u64, fua: bool) {
        disk.begin(OpId(op), BlockRange::new(block, 1), vec![value; 8])
            .expect("nothing overlaps");
        disk.complete(OpId(op), fua);
    }

    #[test]
    fn only_a_flush_issued_after_the_completion_makes_it_safe() {
        let mut disk = DataDisk::new(4, |_| 0);
        disk.begin(OpId(1), BlockRange::new(0, 1), vec![7; 8])
            .expect("free");
        let early = disk.now();
        disk.complete(OpId(1), false);
        disk.flush(early);
        assert_eq!((disk.peek(0), disk.durable(0)), (7, 0));
        disk.flush(disk.now());
        assert_eq!(disk.durable(0), 7);
    }

    #[test]
    fn fua_makes_only_itself_safe() {
        let mut disk = DataDisk::new(4, |_| 0);
        write(&mut disk, 1, 0, 5, false);
        write(&mut disk, 2, 1, 6, true);
        disk.lose_power(Loss::All, &mut Rng::new(1));
        assert_eq!((disk.peek(0), disk.peek(8)), (0, 6));
    }

    #[test]
    fn a_loss_of_power_tears_and_reorders() {
        let (mut torn, mut reordered) = (false, false);
        for seed in 0..200 {
            let mut disk = DataDisk::new(4, |_| 0);
            write(&mut disk, 1, 0, 5, false);
            write(&mut disk, 2, 1, 6, false);
            disk.lose_power(Loss::Some, &mut Rng::new(seed));
            let first: Vec<_> = (0..8).map(|sector| disk.peek(sector)).collect();
            torn |= first.contains(&0) && first.contains(&5);
            reordered |= disk.peek(0) == 0 && disk.peek(8) == 6;
        }
        assert!(torn && reordered);
    }

    #[test]
    fn a_crash_of_the_process_keeps_what_completed() {
        let mut disk = DataDisk::new(4, |_| 0);
        write(&mut disk, 1, 0, 5, false);
        disk.crash(&mut Rng::new(3));
        assert!((0..8).all(|sector| disk.peek(sector) == 5));
        disk.lose_power(Loss::All, &mut Rng::new(3));
        assert_eq!(disk.peek(0), 0);
    }

    #[test]
    fn a_failed_flush_leaves_data_that_no_later_flush_saves() {
        let mut disk = DataDisk::new(64, |_| 0);
        for block in 0..64 {
            write(&mut disk, block, block, 5, false);
        }
        disk.fail_flush(&mut Rng::new(4), &mut Rng::new(0));
        disk.flush(disk.now());
        disk.lose_power(Loss::All, &mut Rng::new(4));
        assert!((0..512).any(|sector| disk.peek(sector) == 0));
    }

    #[test]
    fn what_a_failed_flush_lost_may_not_read_back() {
        let (mut gone, mut whole) = (false, false);
        for seed in 0..20 {
            let mut disk = DataDisk::new(64, |_| 0);
            for block in 0..64 {
                write(&mut disk, block, block, 5, false);
            }
            disk.fail_flush(&mut Rng::new(seed), &mut Rng::new(seed));
            let lost = (0..512).filter(|sector| disk.peek(*sector) == 0).count();
            gone |= lost > 0;
            whole |= lost == 0;
        }
        assert!(gone && whole);
    }

    #[test]
    fn a_device_that_lies_keeps_nothing() {
        let mut disk = DataDisk::new(4, |_| 0);
        disk.lies = true;
        write(&mut disk, 1, 0, 5, true);
        write(&mut disk, 2, 1, 6, false);
        disk.flush(disk.now());
        disk.lose_power(Loss::All, &mut Rng::new(1));
        assert_eq!((disk.peek(0), disk.peek(8)), (0, 0));
    }

    #[test]
    fn what_a_read_saw_of_a_write_under_way_stays() {
        let mut disk = DataDisk::new(1, |_| 0);
        let mut rng = Rng::new(9);
        disk.begin(OpId(1), BlockRange::new(0, 1), vec![5; 8])
            .expect("free");
        let first = disk.read(0, &mut rng).expect("readable");
        let second = disk.read(0, &mut rng).expect("readable");
        assert!((0..8).all(|at| first[at] == 0 || second[at] == 5));
        let issued = disk.now();
        disk.complete(OpId(1), false);
        disk.flush(issued);
        assert_eq!(disk.durable(0), 0);
    }
}
