//! The client's book: for every block what was written, acknowledged, flushed and in flight; and blocks that say
//! themselves what they are.

use std::collections::HashMap;

/// The unit of the book.
pub(super) const BLOCK_BYTES: usize = 4096;

/// What the client knows of each block it touched.
#[derive(Debug, Default)]
pub(super) struct Book {
    blocks: HashMap<u64, Entry>,
    next_version: u64,
    /// Writes that were acknowledged.
    pub(super) acknowledged: u64,
    /// Flushes that were acknowledged.
    pub(super) flushes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The version of the last acknowledged write; 0: never written, the block is zeros.
    acknowledged: u64,
    /// Which acknowledgement that was, counted over all blocks.
    order: u64,
    /// The version that an acknowledged flush covers.
    flushed: u64,
    /// A write without an answer yet. The client never has two on one block.
    in_flight: Option<u64>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Blocks that were looked at.
    pub(super) blocks: u64,
    /// Blocks whose unanswered write is there: allowed, nobody was told either way.
    pub(super) unanswered_there: u64,
    /// Blocks whose unanswered write is not there: allowed as well.
    pub(super) unanswered_missing: u64,
    /// A sentence for each block that is not as it must be.
    pub(super) wrong: Vec<String>,
}

impl Book {
    /// Whether a write to these blocks can be issued.
    pub(super) fn is_free(&self, first: u64, count: u64) -> bool {
        (first..first + count).all(|block| {
            self.blocks
                .get(&block)
                .is_none_or(|entry| entry.in_flight.is_none())
        })
    }

    /// A write is issued: its version.
    pub(super) fn issue(&mut self, first: u64, count: u64) -> u64 {
        self.next_version += 1;
        for block in first..first + count {
            self.blocks.entry(block).or_default().in_flight = Some(self.next_version);
        }
        self.next_version
    }

    /// It was acknowledged.
    pub(super) fn acknowledge(&mut self, first: u64, count: u64) {
        self.acknowledged += 1;
        for block in first..first + count {
            let entry = self.blocks.entry(block).or_default();
            if let Some(version) = entry.in_flight.take() {
                entry.acknowledged = version;
                entry.order = self.acknowledged;
            }
        }
    }

    /// What a flush that is issued now covers: the writes acknowledged so far.
    pub(super) const fn flush_issued(&self) -> u64 {
        self.acknowledged
    }

    /// It was acknowledged.
    pub(super) fn flush_acknowledged(&mut self, covers: u64) {
        for entry in self.blocks.values_mut() {
            if entry.order <= covers {
                entry.flushed = entry.acknowledged;
            }
        }
        self.flushes += 1;
    }

    /// The oldest version that a read issued now may return.
    pub(super) fn read_issued(&self, block: u64) -> u64 {
        self.blocks
            .get(&block)
            .map_or(0, |entry| entry.acknowledged)
    }

    /// Whether a read may return this: the write acknowledged last when it was issued, or one that came later.
    pub(super) fn may_read(&self, block: u64, oldest: u64, data: &[u8]) -> bool {
        decode(data).is_ok_and(|(found, version)| {
            (found == block || found == ZEROS) && (oldest..=self.next_version).contains(&version)
        })
    }

    /// Every block that was ever written, in order.
    pub(super) fn touched(&self) -> Vec<u64> {
        let mut touched: Vec<u64> = self.blocks.keys().copied().collect();
        touched.sort_unstable();
        touched
    }

    /// Writes without an answer.
    pub(super) fn unanswered(&self) -> u64 {
        let in_flight = self.blocks.values().filter_map(|entry| entry.in_flight);
        let mut versions: Vec<u64> = in_flight.collect();
        versions.sort_unstable();
        versions.dedup();
        versions.len() as u64
    }

    /// Compares what is on the device with the book. What is found becomes the truth for what comes after.
    pub(super) fn check(&mut self, block: u64, data: &[u8], verdict: &mut Verdict) {
        verdict.blocks += 1;
        let entry = self.blocks.entry(block).or_default();
        let found = match decode(data) {
            Ok((found_block, _)) if found_block != block && found_block != ZEROS => {
                let wrong = format!("block {block} holds what belongs to block {found_block}");
                verdict.wrong.push(wrong);
                return;
            }
            Ok((_, version)) => version,
            Err(why) => {
                verdict.wrong.push(format!("block {block}: {why}"));
                return;
            }
        };
        match entry.in_flight {
            Some(version) if found == version => verdict.unanswered_there += 1,
            Some(_) if found == entry.acknowledged => verdict.unanswered_missing += 1,
            None if found == entry.acknowledged => {}
            Some(_) | None => {
                let flushed = if entry.flushed == entry.acknowledged {
                    ", and flushed"
                } else {
                    ""
                };
                verdict.wrong.push(format!(
                    "block {block}: version {} was acknowledged{flushed}, version {found} is there",
                    entry.acknowledged
                ));
                return;
            }
        }
        entry.acknowledged = found;
        entry.in_flight = None;
    }
}

/// Fills one block so that it says which it is, which version, and whether it is whole.
pub(super) fn encode(block: u64, version: u64, out: &mut [u8]) {
    let mut state = block.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version;
    for word in out.chunks_exact_mut(8) {
        state = mix(state);
        word.copy_from_slice(&state.to_le_bytes());
    }
    put(out, 0, MAGIC);
    put(out, 8, block);
    put(out, 16, version);
    put(out, 24, u64::from(checksum(out)));
}

/// Which block and version this is; [`ZEROS`] and 0 for a block that was never written.
fn decode(data: &[u8]) -> Result<(u64, u64), &'static str> {
    if data.iter().all(|byte| *byte == 0) {
        return Ok((ZEROS, 0));
    }
    if get(data, 0) != MAGIC {
        return Err("it holds what nobody wrote");
    }
    if get(data, 24) != u64::from(checksum(data)) {
        return Err("it is torn or damaged");
    }
    Ok((get(data, 8), get(data, 16)))
}

/// Stands for the block number of a block of zeros.
const ZEROS: u64 = u64::MAX;

const MAGIC: u64 = u64::from_le_bytes(*b"twindemo");

/// Over everything but the checksum's own place.
fn checksum(data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(data.get(..24).unwrap_or_default());
    hasher.update(data.get(32..).unwrap_or_default());
    hasher.finalize()
}

fn put(out: &mut [u8], at: usize, value: u64) {
    if let Some(place) = out.get_mut(at..at + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn get(data: &[u8], at: usize) -> u64 {
    data.get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// splitmix64: enough for contents and choices.
pub(super) const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(number: u64, version: u64) -> Vec<u8> {
        let mut data = vec![0; BLOCK_BYTES];
        encode(number, version, &mut data);
        data
    }

    fn check(book: &mut Book, number: u64, data: &[u8]) -> Verdict {
        let mut verdict = Verdict::default();
        book.check(number, data, &mut verdict);
        verdict
    }

    #[test]
    fn an_acknowledged_write_must_be_there() {
        let mut book = Book::default();
        let version = book.issue(7, 1);
        book.acknowledge(7, 1);
        assert_eq!(check(&mut book, 7, &block(7, version)).wrong, [""; 0]);
        let lost = check(&mut book, 7, &[0; BLOCK_BYTES]);
        assert!(lost.wrong[0].contains("version 1 was acknowledged, version 0 is there"));
        let covers = book.flush_issued();
        book.flush_acknowledged(covers);
        assert!(check(&mut book, 7, &[0; BLOCK_BYTES]).wrong[0].contains("and flushed"));
    }

    #[test]
    fn an_unanswered_write_may_be_there_or_not_but_nothing_else() {
        for (found, fine) in [(1, true), (2, true), (3, false), (0, false)] {
            let mut book = Book::default();
            book.issue(7, 1);
            book.acknowledge(7, 1);
            book.issue(7, 1);
            assert_eq!(book.unanswered(), 1);
            let data = if found == 0 {
                vec![0; BLOCK_BYTES]
            } else {
                block(7, found)
            };
            assert_eq!(check(&mut book, 7, &data).wrong.is_empty(), fine, "{found}");
        }
    }

    #[test]
    fn strange_blocks_are_told() {
        let mut book = Book::default();
        let version = book.issue(7, 1);
        book.acknowledge(7, 1);
        let mut torn = block(7, version);
        torn[4000] ^= 1;
        assert!(check(&mut book, 7, &torn).wrong[0].contains("torn"));
        assert!(check(&mut book, 7, &block(8, version)).wrong[0].contains("block 8"));
        assert!(check(&mut book, 7, &[1; BLOCK_BYTES]).wrong[0].contains("nobody wrote"));
    }
}
