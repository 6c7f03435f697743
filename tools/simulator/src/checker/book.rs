//! The clients' book: every write with when it was asked for, answered and flushed, sector by sector.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Violation,
    sector::{Held, NEVER, SectorBook},
};
use crate::{
    content::{FIRST_WRITE, SECTORS, describe, stamp, write_of},
    disk::DataDisk,
};

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    sectors: BTreeMap<u64, SectorBook>,
    writes: BTreeMap<u64, Write>,
    next_write: u64,
    /// Sectors that a loss of power could still change.
    unsettled: BTreeSet<u64>,
    /// Acknowledged flushes: when each began and ended.
    flushes: Vec<(u64, u64)>,
    /// Whose disk's first contents count, when they are not zeros.
    first_copy: Option<usize>,
    /// Where the device ended then: what it grows by must read as zeros.
    first_sectors: u64,
    /// Losses are expected: only the formal parts are checked.
    pub(crate) lossy: bool,
    /// Writes acknowledged.
    pub(crate) acked: u64,
}

/// What the rules say of the nodes at an acknowledgement, one bit each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rights {
    /// Must hold the write on their disks.
    pub(crate) must: u8,
    /// Have received it, whatever their disks hold.
    pub(crate) received: u8,
    /// All who had to hold it, and said that they do, have lost what was not flushed since.
    pub(crate) lost: bool,
}

/// Sectors of a write.
#[derive(Clone, Copy, Debug)]
struct Write {
    first: u64,
    count: u64,
    fua: bool,
}

impl Book {
    /// `first_copy`: whose disk's first contents count, when they are not zeros.
    pub(crate) fn new(first_copy: Option<usize>, first_sectors: u64, lossy: bool) -> Self {
        Self {
            sectors: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_write: FIRST_WRITE,
            unsettled: BTreeSet::new(),
            flushes: Vec::new(),
            first_copy,
            first_sectors,
            lossy,
            acked: 0,
        }
    }

    /// A client asks for `count` sectors from `first` on to be written, or zeroed. Gives the name of the write.
    pub(crate) fn invoke(&mut self, now: u64, sectors: (u64, u64), zero: bool, fua: bool) -> u64 {
        let (first, count) = sectors;
        let write = self.next_write;
        self.next_write += 1;
        self.writes.insert(write, Write { first, count, fua });
        for sector in first..first + count {
            let value = if zero { 0 } else { stamp(write, sector) };
            self.sector(sector).invoke(now, write, value);
            self.unsettled.insert(sector);
        }
        write
    }

    /// The name of the next write.
    pub(crate) const fn next_write(&self) -> u64 {
        self.next_write
    }

    /// The write is acknowledged. R1: the nodes of `must` hold it on their disks; those of `received` hold it for sure.
    pub(crate) fn ack(
        &mut self,
        now: u64,
        write: u64,
        disks: &[Option<&DataDisk>],
        rights: Rights,
    ) -> Result<(), Violation> {
        self.acked += 1;
        let Some(&Write { first, count, fua }) = self.writes.get(&write) else {
            return Ok(());
        };
        for sector in first..first + count {
            let Some(book) = self.sectors.get_mut(&sector) else {
                continue;
            };
            let mut holders = rights.received;
            if let Some(version) = book.of(write) {
                for (node, disk) in disks.iter().enumerate() {
                    let Some(disk) = disk else { continue };
                    let bit = 1 << node;
                    let held = if fua && rights.must & bit != 0 {
                        disk.durable(sector)
                    } else {
                        disk.peek(sector)
                    };
                    if book.includes(held, version) {
                        holders |= bit;
                    } else if rights.must & bit != 0 && !self.lossy {
                        return Err(Violation::new(
                            "R1",
                            format!(
                                "write {write} was acknowledged{}, but sector {sector} of in-sync node {node} holds {}",
                                if fua { " with FUA" } else { "" },
                                describe(held)
                            ),
                        ));
                    }
                }
            }
            book.ack(now, write, (holders, rights.lost && holders == 0), fua);
            self.unsettled.insert(sector);
        }
        Ok(())
    }

    /// The write's answer will never come, or was an error.
    pub(crate) fn close(&mut self, now: u64, write: u64) {
        if let Some(&Write { first, count, .. }) = self.writes.get(&write) {
            for sector in first..first + count {
                self.sector(sector).close(now, write);
            }
        }
    }

    /// S2 for one sector of a read at a node that has a disk of its own, or not.
    pub(crate) fn read(
        &mut self,
        now: u64,
        invoke: u64,
        node: (usize, bool),
        seen: (u64, u64),
    ) -> Result<(), Violation> {
        let (node, has_disk) = node;
        let (sector, value) = seen;
        if self.lossy {
            return Ok(());
        }
        self.sector(sector)
            .read(now, invoke, has_disk.then_some(node), value)
            .map_err(|why| {
                Violation::new(
                    "S2",
                    format!("a read of sector {sector} at node {node}: {why}"),
                )
            })
    }

    /// A flush that began at `invoke` was acknowledged now.
    pub(crate) fn flushed(&mut self, now: u64, invoke: u64) {
        self.flushes.push((invoke, now));
        let sectors = &mut self.sectors;
        self.unsettled.retain(|sector| {
            let Some(book) = sectors.get_mut(sector) else {
                return false;
            };
            book.flushed(invoke);
            !book.is_settled()
        });
    }

    /// R1: everything that a flush begun at `invoke` covers must be durable on this disk.
    pub(crate) fn check_flushed(
        &self,
        invoke: u64,
        node: usize,
        disk: &DataDisk,
    ) -> Result<(), Violation> {
        if self.lossy {
            return Ok(());
        }
        for (sector, book) in self.unsettled_books() {
            let durable = disk.durable(sector);
            if let Some(lost) = book.lacks(durable, |version| version.acked <= invoke) {
                return Err(Violation::new(
                    "R1",
                    format!(
                        "a flush begun at {invoke} ns was acknowledged, but on in-sync node {node} sector {sector} \
                         would go back to {} after a loss of power, and lacks {} (acknowledged at {} ns)",
                        describe(durable),
                        describe(lost.value),
                        lost.acked
                    ),
                ));
            }
        }
        Ok(())
    }

    /// R1 in hindsight: everything that was acknowledged as stable before `moment` is in an image as of then.
    pub(crate) fn check_stable(
        &self,
        moment: u64,
        peek: impl Fn(u64) -> u64,
    ) -> Result<(), Violation> {
        let flush = self.flush_seen_before(moment);
        let is_fua = |write| self.writes.get(&write).is_some_and(|write| write.fua);
        for (sector, book) in &self.sectors {
            let value = peek(*sector);
            let lost = book.lacks(value, |version| {
                version.acked <= flush || (version.acked <= moment && is_fua(version.write))
            });
            if let Some(lost) = lost {
                return Err(Violation::new(
                    "R1",
                    format!(
                        "cut at {moment} ns, sector {sector} holds {} and lacks {}, which was stable (acknowledged at {} ns)",
                        describe(value),
                        describe(lost.value),
                        lost.acked
                    ),
                ));
            }
        }
        Ok(())
    }

    /// R1: a node of the in-sync set has everything durable that was acknowledged up to `invoke`, when the newest flush
    /// began.
    pub(crate) fn check_member(
        &self,
        invoke: u64,
        node: usize,
        disk: &DataDisk,
    ) -> Result<(), Violation> {
        if self.lossy {
            return Ok(());
        }
        for (sector, book) in self.sectors() {
            let durable = disk.durable(sector);
            if let Some(lost) = book.lacks(durable, |version| version.acked <= invoke) {
                return Err(Violation::new(
                    "R1",
                    format!(
                        "node {node} is in sync, but its sector {sector} would go back to {} after a loss of power, \
                         and lacks {} (acknowledged at {} ns), what was acknowledged up to {invoke} ns must stay",
                        describe(durable),
                        describe(lost.value),
                        lost.acked
                    ),
                ));
            }
        }
        Ok(())
    }

    /// S4 at any moment: a standby holds `sector` as it is now, so everything is durable there that a flush covered
    /// which had been seen complete before that was asked for.
    pub(crate) fn check_order(
        &self,
        sector: u64,
        node: usize,
        disk: &DataDisk,
    ) -> Result<(), Violation> {
        let value = disk.peek(sector);
        let held = self
            .sectors
            .get(&sector)
            .and_then(|book| book.of(write_of(value)));
        let Some(held) = held.filter(|_| !self.lossy && value != 0) else {
            return Ok(());
        };
        // A flush that was complete in the very moment of the write may have come after it.
        let invoke = self.flush_seen_before(held.invoke.saturating_sub(1));
        for (other, book) in self.sectors() {
            let durable = disk.durable(other);
            if let Some(lost) = book.lacks(durable, |version| version.acked <= invoke) {
                return Err(Violation::new(
                    "S4",
                    format!(
                        "node {node} has written {} in sector {sector}, issued after a flush begun at {invoke} ns was \
                         seen complete, while sector {other} would go back to {} after a loss of power, and lacks {}",
                        describe(value),
                        describe(durable),
                        describe(lost.value),
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether a write was asked to be stable when it is done.
    pub(crate) fn is_fua(&self, write: u64) -> bool {
        self.writes.get(&write).is_some_and(|write| write.fua)
    }

    /// Node `node` crashed, lost power or failed: all that it is known to hold still is what `held` says.
    pub(crate) fn lose(&mut self, now: u64, node: usize, held: impl Fn(u64) -> Held) {
        for sector in &self.unsettled {
            if let Some(book) = self.sectors.get_mut(sector) {
                book.lose(now, node, held(*sector));
            }
        }
    }

    /// S1: a disk that is about to serve clients.
    pub(crate) fn check_served(&self, node: usize, disk: &DataDisk) -> Result<(), Violation> {
        if self.lossy {
            return Ok(());
        }
        for (sector, book) in &self.sectors {
            book.may_hold(disk.peek(*sector)).map_err(|why| {
                Violation::new("S1", format!("node {node} serves sector {sector}: {why}"))
            })?;
        }
        Ok(())
    }

    /// Whether a sector that holds `value` has all that was acknowledged. What was only seen before that may go when
    /// who showed it does.
    pub(crate) fn has_acknowledged(&self, sector: u64, value: u64) -> Result<(), String> {
        let book = self.sectors.get(&sector);
        book.map_or(Ok(()), |book| {
            match book.lacks(value, |version| version.acked != NEVER) {
                None => Ok(()),
                Some(_) => Err(book.complaint(value)),
            }
        })
    }

    /// The same if these nodes lost now what they hold.
    pub(crate) fn may_hold_after(
        &self,
        now: u64,
        sector: u64,
        value: u64,
        losses: impl Iterator<Item = (usize, Held)>,
    ) -> Result<(), String> {
        let Some(mut book) = self.sectors.get(&sector).cloned() else {
            return Ok(());
        };
        for (node, held) in losses {
            book.lose(now, node, held);
        }
        book.may_hold(value)
    }

    /// The sectors of a write.
    pub(crate) fn sectors_of(&self, write: u64) -> core::ops::Range<u64> {
        let write = self.writes.get(&write);
        write.map_or(0..0, |write| write.first..write.first + write.count)
    }

    /// Everything known of the written sectors.
    pub(crate) fn sectors(&self) -> impl Iterator<Item = (u64, &SectorBook)> {
        self.sectors.iter().map(|(sector, book)| (*sector, book))
    }

    /// When the newest flush began that was seen complete before `moment`.
    pub(crate) fn flush_seen_before(&self, moment: u64) -> u64 {
        self.flushes
            .iter()
            .filter(|(_, end)| *end <= moment)
            .map(|(begin, _)| *begin)
            .max()
            .unwrap_or(0)
    }

    /// Blocks with a write that has no end yet.
    pub(crate) fn busy_blocks(&self) -> BTreeSet<u64> {
        self.unsettled_books()
            .filter(|(_, book)| {
                book.versions
                    .iter()
                    .any(|version| version.end == NEVER && version.closed == NEVER)
            })
            .map(|(sector, _)| sector / SECTORS)
            .collect()
    }

    fn unsettled_books(&self) -> impl Iterator<Item = (u64, &SectorBook)> {
        self.unsettled
            .iter()
            .filter_map(|sector| Some((*sector, self.sectors.get(sector)?)))
    }

    fn sector(&mut self, sector: u64) -> &mut SectorBook {
        let first = self.first_copy.filter(|_| sector < self.first_sectors);
        self.sectors
            .entry(sector)
            .or_insert_with(|| SectorBook::new(first.map_or(0, |node| initial(node, sector))))
    }
}

/// What is on a node's disk before the first write, when it is not zeros.
pub(crate) const fn initial(node: usize, sector: u64) -> u64 {
    stamp(node as u64 + 1, sector)
}
