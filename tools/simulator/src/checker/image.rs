//! S4: what is left on a node after a crash must be explained by a prefix of flushes: when it holds a write that was
//! issued after a flush had been seen complete, it holds everything which that flush covered.

use super::{
    Violation,
    book::Book,
    sector::{SectorBook, Version},
};
use crate::content::describe;

/// Checks the image of node `node`, given sector by sector. Nodes that are flagged Inconsistent or Failed are not to be asked.
pub(crate) fn check(book: &Book, node: usize, peek: impl Fn(u64) -> u64) -> Result<(), Violation> {
    if book.lossy {
        return Ok(());
    }
    let mut flush = 0;
    let mut because = (0, 0);
    for (sector, history) in book.sectors() {
        let value = peek(sector);
        // Zeros may be of any of several writes: they prove nothing.
        if let Some(version) = holding(history, value)
            && value != 0
        {
            let seen = book.flush_seen_before(version.invoke);
            if seen > flush {
                flush = seen;
                because = (sector, value);
            }
        }
    }
    for (sector, history) in book.sectors() {
        let value = peek(sector);
        let Some(held) = newest_holding(history, value) else {
            continue;
        };
        let missing = history.versions.iter().find(|version| {
            version.acked <= flush
                && !version.maybe_lost
                && held.end <= version.invoke
                && !held.stands_for_later(version)
        });
        if let Some(missing) = missing {
            return Err(Violation::new(
                "S4",
                format!(
                    "the image of node {node} holds {} in sector {}, issued after a flush begun at {flush} ns was seen \
                     complete, but sector {sector} holds {} and lacks {}, which that flush covered",
                    describe(because.1),
                    because.0,
                    describe(value),
                    describe(missing.value),
                ),
            ));
        }
    }
    Ok(())
}

impl Version {
    /// Versions that came back after an allowed loss stand for everything up to then.
    const fn stands_for_later(&self, other: &Self) -> bool {
        other.maybe_lost || self.value == other.value
    }
}

fn holding(history: &SectorBook, value: u64) -> Option<&Version> {
    history
        .versions
        .iter()
        .find(|version| version.value == value)
}

fn newest_holding(history: &SectorBook, value: u64) -> Option<&Version> {
    history
        .versions
        .iter()
        .rev()
        .find(|version| version.value == value)
}
