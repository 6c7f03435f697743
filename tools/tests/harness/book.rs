//! What a client was promised: for every block what may be read there, and what must be there after a loss of power.
//! A block says itself which it is and which version, so that nothing can be taken for something else.

use std::collections::HashMap;

/// The unit of the book.
pub(crate) const BLOCK: usize = 4096;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// Consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Range {
    pub(crate) fn blocks(self) -> std::ops::Range<u64> {
        self.first..self.first + self.count
    }

    pub(crate) const fn offset(self) -> u64 {
        self.first * BLOCK as u64
    }

    pub(crate) fn length(self) -> u32 {
        u32::try_from(self.count * BLOCK as u64).expect("ranges of a few megabytes")
    }
}

/// What a request makes of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Stamps of this version.
    Write(u64),
    /// Zeroes.
    Zero,
    /// Zeroes, or what was there: the protocol leaves it open.
    Trim,
    /// Nothing: it is only read.
    None,
}

/// What has happened to the machines between the promises and the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// At most processes died, or one of two lost its power: every acknowledged write is there.
    Nothing,
    /// All lost their power: what was flushed is there, later writes may be.
    Unflushed,
}

/// Which blocks are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// All that a request ever went to.
    All,
    /// Those that one went to since they were compared last.
    Recent,
}

/// What one block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Zero,
    Version(u64),
}

#[derive(Clone, Debug)]
struct Entry {
    /// What must survive a loss of power: one of these.
    stable: Vec<Content>,
    /// What was acknowledged since, in order: the count of the acknowledgement, and what the block may hold then.
    since: Vec<(u64, Vec<Content>)>,
    /// The one request without an answer yet.
    busy: Option<Change>,
    /// Nothing went there since the last check.
    checked: bool,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            stable: vec![Content::Zero],
            since: Vec::new(),
            busy: None,
            checked: false,
        }
    }
}

impl Entry {
    fn now(&self) -> &[Content] {
        self.since
            .last()
            .map_or(&self.stable, |(_, contents)| contents)
    }

    fn after(&self, change: Change) -> Vec<Content> {
        let mut contents = match change {
            Change::Write(version) => return vec![Content::Version(version)],
            Change::Zero => return vec![Content::Zero],
            Change::Trim | Change::None => self.now().to_vec(),
        };
        if change == Change::Trim && !contents.contains(&Content::Zero) {
            contents.push(Content::Zero);
        }
        contents
    }

    /// What may be read after a loss, with nothing in flight.
    fn settled(&self, loss: Loss) -> Vec<Content> {
        match loss {
            Loss::Nothing => self.now().to_vec(),
            Loss::Unflushed => {
                let since = self.since.iter().flat_map(|(_, contents)| contents);
                self.stable.iter().chain(since).copied().collect()
            }
        }
    }
}

/// The book.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    blocks: HashMap<u64, Entry>,
    version: u64,
    acknowledged: u64,
    flushes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Blocks that were compared.
    pub(crate) blocks: u64,
    /// A sentence for each block that is not as it must be.
    pub(crate) wrong: Vec<String>,
}

impl Book {
    /// Acknowledged changes.
    pub(crate) const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Acknowledged flushes.
    pub(crate) const fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Whether no request is under way there.
    pub(crate) fn is_free(&self, range: Range) -> bool {
        range.blocks().all(|block| {
            self.blocks
                .get(&block)
                .is_none_or(|entry| entry.busy.is_none())
        })
    }

    /// A new version for a write.
    pub(crate) const fn new_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// A request goes out.
    pub(crate) fn begin(&mut self, range: Range, change: Change) {
        for block in range.blocks() {
            let entry = self.blocks.entry(block).or_default();
            assert_eq!(entry.busy, None, "one request on block {block} at a time");
            entry.busy = Some(change);
            entry.checked = false;
        }
    }

    /// It was acknowledged; with FUA it is stable at once.
    pub(crate) fn acknowledge(&mut self, range: Range, stable: bool) {
        let mut changed = false;
        for block in range.blocks() {
            let entry = self.blocks.entry(block).or_default();
            let change = entry.busy.take().expect("it was begun");
            if change == Change::None {
                continue;
            }
            changed = true;
            let contents = entry.after(change);
            if stable {
                entry.stable = contents;
                entry.since.clear();
            } else {
                entry.since.push((self.acknowledged + 1, contents));
            }
        }
        self.acknowledged += u64::from(changed);
    }

    /// What a flush that goes out now covers.
    pub(crate) const fn flush_covers(&self) -> u64 {
        self.acknowledged
    }

    /// It was acknowledged: what it covers is stable.
    pub(crate) fn flushed(&mut self, covers: u64) {
        self.flushes += 1;
        for entry in self.blocks.values_mut() {
            let old = entry.since.partition_point(|(order, _)| *order <= covers);
            if let Some((_, contents)) = entry.since.drain(..old).next_back() {
                entry.stable = contents;
            }
        }
    }

    /// Blocks that a request went to, in order.
    pub(crate) fn touched(&self, which: Which) -> Vec<u64> {
        let blocks = self.blocks.iter();
        let mut touched: Vec<u64> = blocks
            .filter(|(_, entry)| which == Which::All || !entry.checked)
            .map(|(block, _)| *block)
            .collect();
        touched.sort_unstable();
        touched
    }

    /// Blocks whose last request has no answer.
    pub(crate) fn unanswered(&self) -> usize {
        let entries = self.blocks.values();
        entries.filter(|entry| entry.busy.is_some()).count()
    }

    /// Requests that were never answered, block by block, to be sent again; they count as not sent.
    pub(crate) fn take_unanswered(&mut self) -> Vec<(Range, Change)> {
        let mut taken = Vec::new();
        for block in self.touched(Which::All) {
            let entry = self.blocks.entry(block).or_default();
            if let Some(change) = entry.busy.take() {
                // It may have been carried out: whatever comes, both are possible until it is acknowledged.
                let mut contents = entry.now().to_vec();
                contents.extend(entry.after(change));
                entry.since.push((self.acknowledged + 1, contents));
                taken.push((
                    Range {
                        first: block,
                        count: 1,
                    },
                    change,
                ));
            }
        }
        taken
    }

    /// Compares a block with the book. What is found is what was there from now on.
    pub(crate) fn check(&mut self, block: u64, data: &[u8], loss: Loss, verdict: &mut Verdict) {
        verdict.blocks += 1;
        let order = self.acknowledged;
        let entry = self.blocks.entry(block).or_default();
        entry.checked = true;
        let settled = entry.settled(loss);
        let open = entry
            .busy
            .take()
            .map_or_else(Vec::new, |change| entry.after(change));
        let found = content(block, data);
        if let Some(found) = found
            && (settled.contains(&found) || open.contains(&found))
        {
            entry.since.push((order, vec![found]));
            return;
        }
        // In part there may only be what had no answer, or what was not flushed when the power went.
        let unflushed = loss == Loss::Unflushed && !entry.since.is_empty();
        let every: Vec<Content> = settled.iter().chain(&open).copied().collect();
        if (!open.is_empty() || unflushed) && is_mixture(block, data, &every) {
            // It cannot be named: the next write makes it clean.
            entry.since.push((order, every));
            return;
        }
        let what = found.map_or_else(|| describe(data), |found| format!("{found:?}"));
        verdict.wrong.push(format!(
            "block {block} holds {what}; {settled:?} must be there, or {open:?} that had no answer"
        ));
    }

    /// Compares what a read returned that was alone on its block.
    pub(crate) fn may_read(&self, block: u64, data: &[u8]) -> bool {
        let fresh = Entry::default();
        let now = self.blocks.get(&block).unwrap_or(&fresh).now();
        content(block, data).map_or_else(
            || is_mixture(block, data, now),
            |found| now.contains(&found),
        )
    }
}

/// The bytes of a write.
pub(crate) fn payload(range: Range, version: u64) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(range.length()).expect("64 bits")];
    for (block, out) in range.blocks().zip(data.chunks_exact_mut(BLOCK)) {
        stamp(block, version, out);
    }
    data
}

/// Every sector begins with its block, version and number, and ends with a CRC.
fn stamp(block: u64, version: u64, out: &mut [u8]) {
    for (number, sector) in (0_u64..).zip(out.chunks_exact_mut(SECTOR)) {
        let seed = block.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version.rotate_left(32) ^ number;
        let mut random = super::random::Random::new(seed);
        for word in sector.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        sector[..8].copy_from_slice(&MAGIC.to_le_bytes());
        sector[8..16].copy_from_slice(&block.to_le_bytes());
        sector[16..24].copy_from_slice(&version.to_le_bytes());
        sector[24..32].copy_from_slice(&number.to_le_bytes());
        let crc = u64::from(crc32fast::hash(&sector[..SECTOR - 8]));
        sector[SECTOR - 8..].copy_from_slice(&crc.to_le_bytes());
    }
}

const MAGIC: u64 = u64::from_le_bytes(*b"promised");

/// What a sector holds that belongs there.
fn sector_content(block: u64, number: usize, sector: &[u8]) -> Option<Content> {
    if sector.iter().all(|byte| *byte == 0) {
        return Some(Content::Zero);
    }
    let belongs = word(sector, 0) == MAGIC
        && word(sector, 8) == block
        && word(sector, 24) == number as u64
        && word(sector, SECTOR - 8) == u64::from(crc32fast::hash(&sector[..SECTOR - 8]));
    belongs.then(|| Content::Version(word(sector, 16)))
}

/// What a whole block holds.
fn content(block: u64, data: &[u8]) -> Option<Content> {
    let mut contents = sectors(block, data);
    let first = contents.next()??;
    contents
        .all(|content| content == Some(first))
        .then_some(first)
}

/// Whether every sector comes from one of these.
fn is_mixture(block: u64, data: &[u8], of: &[Content]) -> bool {
    sectors(block, data).all(|content| content.is_some_and(|content| of.contains(&content)))
}

fn sectors(block: u64, data: &[u8]) -> impl Iterator<Item = Option<Content>> {
    data.chunks_exact(SECTOR)
        .enumerate()
        .map(move |(number, sector)| sector_content(block, number, sector))
}

fn word(sector: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(sector[at..at + 8].try_into().expect("eight bytes"))
}

/// For a message: what the sectors say of themselves.
fn describe(data: &[u8]) -> String {
    let sectors: Vec<String> = data
        .chunks_exact(SECTOR)
        .map(|sector| {
            let word = |at| word(sector, at);
            if sector.iter().all(|byte| *byte == 0) {
                "zeroes".to_owned()
            } else if word(0) != MAGIC {
                format!("foreign bytes {:02x?}", &sector[..8])
            } else if word(SECTOR - 8) != u64::from(crc32fast::hash(&sector[..SECTOR - 8])) {
                format!("a damaged sector of block {} version {}", word(8), word(16))
            } else {
                format!("block {} version {} sector {}", word(8), word(16), word(24))
            }
        })
        .collect();
    format!("[{}]", sectors.join(", "))
}
