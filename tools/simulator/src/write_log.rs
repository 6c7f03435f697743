//! What reaches a simulated disk, recorded by the rule of the kernel's `dm-log-writes`: a write stands in the log once it
//! is stable, one with FUA when it is done, any other one just before the first flush that was issued after its
//! completion. The log, cut behind a flush or a write with FUA, is the worst that a loss of power may leave.
//!
//! The rule is told twice on purpose, here and in `disk.rs`: at each flush both must agree.

use twindisk_core::DiskIo;

use crate::{
    checker::Violation,
    content::{SECTORS, describe},
    disk::DataDisk,
    rng::Rng,
};

/// The record of one disk.
#[derive(Debug)]
pub(crate) struct WriteLog {
    /// What the medium held at the beginning.
    first: Vec<u64>,
    /// What it holds for sure now.
    stable: Vec<u64>,
    pub(crate) entries: Vec<Entry>,
    /// Completed and not yet stable, each with its place in the order of completions.
    unstable: Vec<(u64, Entry)>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// When it was stable.
    pub(crate) at: u64,
    pub(crate) what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Write {
        first: u64,
        values: Vec<u64>,
        fua: bool,
    },
    Flush,
}

impl Entry {
    /// Whether everything before it in the log was stable when it was done.
    pub(crate) const fn is_stable_point(&self) -> bool {
        matches!(self.what, What::Flush | What::Write { fua: true, .. })
    }

    fn apply(&self, image: &mut [u64]) {
        if let What::Write { first, values, .. } = &self.what {
            let first = *first as usize;
            image[first..first + values.len()].copy_from_slice(values);
        }
    }
}

impl WriteLog {
    /// Begins a record, unless something on the disk could still be lost.
    pub(crate) fn begin(disk: &DataDisk) -> Option<Self> {
        let sectors = 0..disk.blocks() * SECTORS;
        let at_rest = (0..disk.blocks()).all(|block| !disk.is_busy(block))
            && sectors
                .clone()
                .all(|sector| disk.peek(sector) == disk.durable(sector));
        let first: Vec<u64> = sectors.map(|sector| disk.peek(sector)).collect();
        at_rest.then(|| Self {
            stable: first.clone(),
            first,
            entries: Vec::new(),
            unstable: Vec::new(),
        })
    }

    /// Notes what has just been done well on the disk. `issued`: what a flush covers, see [`DataDisk::now`].
    pub(crate) fn note(
        &mut self,
        now: u64,
        io: DiskIo,
        issued: u64,
        disk: &DataDisk,
    ) -> Result<(), Violation> {
        match io {
            DiskIo::Write { range, fua, .. } | DiskIo::Zero { range, fua, .. } => {
                let first = range.start * SECTORS;
                let values = first..range.end() * SECTORS;
                let values = values.map(|sector| disk.peek(sector)).collect();
                let what = What::Write { first, values, fua };
                let entry = Entry { at: now, what };
                if fua {
                    // What is older and not stable can't take its place any more.
                    entry.apply(&mut self.stable);
                    for (_, older) in &mut self.unstable {
                        older.give_way(&entry);
                    }
                    self.entries.push(entry);
                } else {
                    self.unstable.push((disk.now(), entry));
                }
                Ok(())
            }
            DiskIo::Flush => {
                let covered = |(completion, _): &mut (u64, Entry)| *completion <= issued;
                for (_, mut entry) in self.unstable.extract_if(.., covered) {
                    entry.at = now;
                    entry.apply(&mut self.stable);
                    self.entries.push(entry);
                }
                self.entries.push(Entry {
                    at: now,
                    what: What::Flush,
                });
                self.agree(disk)
            }
            DiskIo::Read { .. }
            | DiskIo::FillEdges { .. }
            | DiskIo::FillFrom { .. }
            | DiskIo::Copy { .. }
            | DiskIo::Hash { .. } => Ok(()),
        }
    }

    /// What the disk says is stable is what stands in the log.
    fn agree(&self, disk: &DataDisk) -> Result<(), Violation> {
        for (sector, value) in (0..).zip(&self.stable) {
            let durable = disk.durable(sector);
            if durable != *value {
                return Err(Violation::new(
                    "disk",
                    format!(
                        "after a flush sector {sector} would go back to {}, but by the record of the disk to {}",
                        describe(durable),
                        describe(*value)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Looks at the image behind every flush and every write with FUA, and at one where a part of what followed, up to
    /// the next flush, had reached the medium as well, all of them before `until`. `look` gets the moment and the image.
    pub(crate) fn replay(
        &self,
        until: u64,
        rng: &mut Rng,
        mut look: impl FnMut(u64, &[u64]) -> Result<(), Violation>,
    ) -> Result<u64, Violation> {
        let mut image = self.first.clone();
        let mut looks = 0;
        let end = self.entries.partition_point(|entry| entry.at < until);
        let entries = &self.entries[..end];
        for (index, entry) in entries.iter().enumerate() {
            entry.apply(&mut image);
            if !entry.is_stable_point() {
                continue;
            }
            look(entry.at, &image)?;
            looks += 1;
            let rest = &entries[index + 1..];
            let flush = rest
                .iter()
                .position(|entry| matches!(entry.what, What::Flush));
            if let (What::Flush, Some(flush)) = (&entry.what, flush) {
                let mut image = image.clone();
                cut_power(&rest[..flush], &mut image, rng);
                look(entry.at, &image)?;
                looks += 1;
            }
        }
        Ok(looks)
    }
}

impl Entry {
    /// Takes back what a newer write has replaced for good.
    fn give_way(&mut self, newer: &Self) {
        if let (
            What::Write { first, values, .. },
            What::Write {
                first: from,
                values: new,
                ..
            },
        ) = (&mut self.what, &newer.what)
        {
            for (sector, value) in (*first..).zip(values) {
                if let Some(at) = sector.checked_sub(*from)
                    && let Some(new) = new.get(at as usize)
                {
                    *value = *new;
                }
            }
        }
    }
}

/// What was written with FUA is there; of the rest each write, or each of its sectors, is there or is not.
fn cut_power(entries: &[Entry], image: &mut [u64], rng: &mut Rng) {
    for entry in entries.iter().filter(|entry| !entry.is_stable_point()) {
        let fate = rng.below(3);
        if let What::Write { first, values, .. } = &entry.what {
            for (sector, value) in (*first..).zip(values) {
                if fate == 0 || (fate == 1 && rng.coin()) {
                    image[sector as usize] = *value;
                }
            }
        }
    }
    for entry in entries.iter().filter(|entry| entry.is_stable_point()) {
        entry.apply(image);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use twindisk_core::OpId;
    use twindisk_format::ids::BlockRange;

    use super::*;

    #[test]
    fn the_record_and_the_disk_agree_whatever_overlaps() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut disk = DataDisk::new(4, |_| 0);
            let mut log = WriteLog::begin(&disk).expect("at rest");
            let mut under_way = BTreeMap::new();
            for now in 1..300 {
                let op = OpId(now);
                let buf = twindisk_core::BufId(0);
                if rng.coin() {
                    let range = BlockRange::new(rng.below(4), 1);
                    let fua = rng.chance(300);
                    let values = vec![now; SECTORS as usize];
                    if rng.chance(300) {
                        under_way.insert(op, (DiskIo::Flush, disk.now()));
                    } else if disk.begin(op, range, values).is_ok() {
                        let at = 0;
                        let io = DiskIo::Write {
                            range,
                            buf,
                            at,
                            fua,
                        };
                        under_way.insert(op, (io, disk.now()));
                    }
                } else if !under_way.is_empty() {
                    let ops: Vec<OpId> = under_way.keys().copied().collect();
                    let op = ops[rng.index(ops.len())];
                    let (io, issued) = under_way.remove(&op).expect("it was there");
                    match io {
                        DiskIo::Write { fua, .. } => disk.complete(op, fua),
                        _ => disk.flush(issued),
                    }
                    log.note(now, io, issued, &disk)
                        .expect("both keep the rule");
                }
            }
            assert!(log.entries.len() > 20);
        }
    }
}
