//! What the kernel's `dm-log-writes` keeps of a device: every write with its data, in the order in which it became stable
//! (the layout and the order are described in `drivers/md/dm-log-writes.c`).
//!
//! A write with FUA is in the log once it is done. Any other write is put there when a flush is done that was issued
//! after the write had completed, just before that flush. So the log, cut behind a flush or a write with FUA, is the
//! worst image that a loss of power at that moment may leave: all that is stable, and nothing else.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

use super::random::Random;

/// Flags and offsets of the layout.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
const ENTRY_BYTES: usize = 32;

/// What loses power as one.
pub(crate) const SECTOR: usize = 512;

const BLOCK: usize = 4096;

/// A log, read.
pub(crate) struct WriteLog {
    bytes: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

/// One thing that happened. Offsets and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Write {
        at: usize,
        /// In the log.
        data: Range<usize>,
        fua: bool,
    },
    Discard(Range<usize>),
    Flush,
    Mark(String),
}

impl Entry {
    /// Whether everything before it in the log was stable when it was done.
    pub(crate) const fn is_stable_point(&self) -> bool {
        matches!(self, Self::Flush | Self::Write { fua: true, .. })
    }

    /// What it changes.
    pub(crate) fn range(&self) -> Range<usize> {
        match self {
            Self::Write { at, data, .. } => *at..at + data.len(),
            Self::Discard(range) => range.clone(),
            Self::Flush | Self::Mark(_) => 0..0,
        }
    }
}

impl WriteLog {
    /// Reads a whole log.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("a log");
        let (magic, version) = (number(&bytes, 0), number(&bytes, 8));
        assert_eq!((magic, version), (MAGIC, 1), "not a log of writes");
        let count = number(&bytes, 16);
        let sector = number(&bytes, 24) as u32 as usize;
        let mut entries = Vec::new();
        let mut place = sector;
        for _ in 0..count {
            let [at, length, flags, data_bytes] =
                [0, 8, 16, 24].map(|field| number(&bytes, place + field));
            let at = usize::try_from(at).expect("64 bits") * sector;
            let length = usize::try_from(length).expect("64 bits") * sector;
            let data_bytes = usize::try_from(data_bytes).expect("64 bits");
            let data = place + sector..place + sector + length;
            let (entry, end) = if flags & MARK != 0 {
                let name = &bytes[place + ENTRY_BYTES..][..data_bytes];
                let name = String::from_utf8_lossy(name).into_owned();
                (Entry::Mark(name), data.start)
            } else if flags & DISCARD != 0 {
                (Entry::Discard(at..at + length), data.start)
            } else if flags & FLUSH != 0 {
                // The device mapper makes two of a flush with data.
                assert_eq!(length, 0, "a flush with data at {place}");
                (Entry::Flush, data.start)
            } else {
                let fua = flags & FUA != 0;
                let end = data.end;
                (Entry::Write { at, data, fua }, end)
            };
            entries.push(entry);
            place = end;
        }
        Self { bytes, entries }
    }

    /// Where a mark stands.
    pub(crate) fn mark(&self, name: &str) -> usize {
        self.entries
            .iter()
            .position(|entry| matches!(entry, Entry::Mark(other) if other == name))
            .unwrap_or_else(|| panic!("the log has no mark {name:?}"))
    }

    /// The first flush from an entry on.
    pub(crate) fn next_flush(&self, from: usize) -> Option<usize> {
        let rest = &self.entries[from..];
        let found = rest.iter().position(|entry| *entry == Entry::Flush);
        found.map(|at| from + at)
    }

    /// Sectors that were written with FUA and without between two flushes: the log does not say which came last.
    pub(crate) fn disputed(&self) -> BTreeSet<usize> {
        let mut disputed = BTreeSet::new();
        for entries in self.entries.split(|entry| *entry == Entry::Flush) {
            let sectors = |fua: bool| -> BTreeSet<usize> {
                let entries = entries
                    .iter()
                    .filter(|entry| entry.is_stable_point() == fua);
                let ranges = entries.map(Entry::range);
                ranges.flat_map(|range| range.step_by(SECTOR)).collect()
            };
            disputed.extend(sectors(true).intersection(&sectors(false)));
        }
        disputed
    }

    /// The new contents of a sector that an entry changes.
    pub(crate) fn sector(&self, entry: &Entry, offset: usize) -> &[u8] {
        match entry {
            Entry::Write { at, data, .. } => &self.bytes[data.start + offset - at..][..SECTOR],
            Entry::Discard(_) | Entry::Flush | Entry::Mark(_) => &[0; SECTOR],
        }
    }

    /// Does to an image what an entry did to the device.
    pub(crate) fn apply(&self, entry: &Entry, image: &mut [u8]) {
        match entry {
            Entry::Write { at, data, .. } => {
                image[*at..at + data.len()].copy_from_slice(&self.bytes[data.clone()]);
            }
            Entry::Discard(range) => image[range.clone()].fill(0),
            Entry::Flush | Entry::Mark(_) => {}
        }
    }

    /// Loses power while these entries were on their way: what was written with FUA is there; of the rest each
    /// write, or each of its sectors, is there or is not. What lies in `whole` is not torn.
    pub(crate) fn cut_power(
        &self,
        entries: Range<usize>,
        image: &mut [u8],
        whole: &Range<usize>,
        random: &mut Random,
    ) {
        let entries = &self.entries[entries];
        for entry in entries.iter().filter(|entry| !entry.is_stable_point()) {
            let (fate, together) = (random.below(3), random.percent(50));
            for offset in entry.range().step_by(SECTOR) {
                let alone = random.percent(50);
                let lucky = if whole.contains(&offset) {
                    together
                } else {
                    alone
                };
                if fate == 0 || (fate == 1 && lucky) {
                    image[offset..offset + SECTOR].copy_from_slice(self.sector(entry, offset));
                }
            }
        }
        // Last, since a write that lost against one with FUA can only have been older.
        for entry in entries.iter().filter(|entry| entry.is_stable_point()) {
            self.apply(entry, image);
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes an image to a new file, without what is zero.
pub(crate) fn save(image: &[u8], path: &Path) {
    let file = File::create(path).expect("a file");
    file.set_len(image.len() as u64).expect("room for it");
    for (index, block) in image.chunks(BLOCK).enumerate() {
        if block != &[0; BLOCK][..block.len()] {
            let at = (index * BLOCK) as u64;
            file.write_all_at(block, at).expect("room for it");
        }
    }
}
