//! The history of one sector: a register with a flush. Which values may it hold now, and which may come back?
//!
//! A write takes effect at one moment between its invocation and its end. The end is its acknowledgement, or the
//! moment by which a read had seen it. A write whose connection died has no end, but it takes effect before anything
//! overlapping that begins later is answered, or never (no ghost writes).

use crate::content::{describe, write_of};

/// A moment that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// A read waits for overlapping writes whose connection died before it began.
const READS_WAIT_FOR_ORPHANS: bool = false;

/// What one write did to one sector.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) value: u64,
    pub(crate) write: u64,
    pub(crate) invoke: u64,
    pub(crate) end: u64,
    /// When its connection died.
    pub(crate) closed: u64,
    /// When it was acknowledged to the client.
    pub(crate) acked: u64,
    pub(crate) place: Place,
    /// Since when it is no longer current.
    pub(crate) gone: u64,
    /// A flush or FUA that covers it was acknowledged.
    pub(crate) stable: bool,
    /// Nodes that hold it for all we know, one bit each.
    pub(crate) holders: u8,
    /// Nodes that held it when their process crashed.
    pub(crate) crashed: u8,
    /// A node that held it has lost it.
    pub(crate) dropped: bool,
    /// It may have been lost in a way that the contract allows.
    pub(crate) maybe_lost: bool,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It may take effect at any moment.
    Pending,
    /// It took effect and may be what the sector holds.
    Current,
    /// It was overwritten, and comes back only if what overwrote it is lost.
    Stale,
    /// It can't come back.
    Dead,
}

impl Version {
    /// In a few letters: who, where it stands, when it was asked for and acknowledged, which nodes hold it.
    fn brief(&self) -> String {
        let milliseconds = |moment: u64| {
            if moment == NEVER {
                "-".to_owned()
            } else {
                format!("{}", moment / 1_000_000)
            }
        };
        format!(
            "{} {:?} {}..{} ms nodes {:b}{}{}{}",
            self.write,
            self.place,
            milliseconds(self.invoke),
            milliseconds(self.acked),
            self.holders,
            if self.stable { " stable" } else { "" },
            if self.dropped { " dropped" } else { "" },
            if self.maybe_lost { " lost?" } else { "" },
        )
    }
}

/// What a node that crashed holds still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// This, on its disk.
    Still(u64),
    /// Nothing that anybody may count on.
    Nothing,
}

/// All versions of a sector, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct SectorBook {
    pub(crate) versions: Vec<Version>,
    /// When a loss last brought older versions back.
    revived: u64,
}

impl SectorBook {
    /// A sector that holds `initial`.
    pub(crate) fn new(initial: u64) -> Self {
        Self {
            versions: vec![Version {
                value: initial,
                write: write_of(initial),
                invoke: 0,
                end: 0,
                closed: NEVER,
                acked: 0,
                place: Place::Current,
                gone: NEVER,
                stable: true,
                holders: u8::MAX,
                crashed: 0,
                dropped: false,
                maybe_lost: false,
            }],
            revived: 0,
        }
    }

    /// A write begins.
    pub(crate) fn invoke(&mut self, now: u64, write: u64, value: u64) {
        self.versions.push(Version {
            value,
            write,
            invoke: now,
            end: NEVER,
            closed: NEVER,
            acked: NEVER,
            place: Place::Pending,
            gone: NEVER,
            stable: false,
            holders: 0,
            crashed: 0,
            dropped: false,
            maybe_lost: false,
        });
    }

    /// A write is acknowledged. `lost`: whoever had it and said so has lost it since.
    pub(crate) fn ack(&mut self, now: u64, write: u64, (holders, lost): (u8, bool), fua: bool) {
        let Some(at) = self.position(write) else {
            return;
        };
        let version = &mut self.versions[at];
        version.acked = now;
        version.holders |= holders;
        version.stable |= fua;
        version.dropped |= lost;
        let invoke = version.invoke;
        if version.place == Place::Pending {
            self.take_effect(at, now);
        }
        if lost {
            self.look_for_losses(now);
        }
        if fua {
            for older in &mut self.versions {
                if older.end <= invoke && older.write != write {
                    older.place = Place::Dead;
                    older.gone = older.gone.min(now);
                }
            }
        }
    }

    /// A write will not be acknowledged any more.
    pub(crate) fn close(&mut self, now: u64, write: u64) {
        if let Some(at) = self.position(write) {
            let version = &mut self.versions[at];
            version.closed = version.closed.min(now);
        }
    }

    /// S2: a read that began at `invoke` and ends now returned `value`, from the disk of `node` if that is known.
    pub(crate) fn read(
        &mut self,
        now: u64,
        invoke: u64,
        node: Option<usize>,
        value: u64,
    ) -> Result<(), String> {
        let possible = |version: &Version| match version.place {
            Place::Pending | Place::Current => true,
            Place::Stale | Place::Dead => version.gone > invoke,
        };
        let matching: Vec<usize> = (0..self.versions.len())
            .filter(|at| self.versions[*at].value == value && possible(&self.versions[*at]))
            .collect();
        match matching.as_slice() {
            [] => return Err(self.complaint(value)),
            // It began before a loss and says nothing about what is left.
            _ if self.revived > invoke => return Ok(()),
            [at] => {
                let at = *at;
                if self.versions[at].place == Place::Pending {
                    self.take_effect(at, now);
                }
                let version = &mut self.versions[at];
                version.end = version.end.min(now);
                if let Some(node) = node
                    && version.place == Place::Current
                {
                    version.holders |= 1 << node;
                }
            }
            _ => {}
        }
        // Zeros may be of any of several writes: what they were written over is known only if all of these count.
        if matching
            .iter()
            .all(|at| self.versions[*at].place == Place::Current)
        {
            for version in &mut self.versions {
                let before = match version.place {
                    Place::Current => version.end <= invoke,
                    Place::Pending => READS_WAIT_FOR_ORPHANS && version.closed < invoke,
                    Place::Stale | Place::Dead => false,
                };
                if before && version.value != value {
                    version.place = Place::Stale;
                    version.gone = now;
                }
            }
        }
        Ok(())
    }

    /// A flush that began at `invoke` was acknowledged.
    pub(crate) fn flushed(&mut self, invoke: u64) {
        for version in &mut self.versions {
            version.stable |= version.acked <= invoke;
        }
        // One that may have been lost before proves nothing about what it was written over.
        let certain = |other: &Version| other.stable && !other.maybe_lost;
        for at in 0..self.versions.len() {
            let version = &self.versions[at];
            if version.place == Place::Stale && self.is_overwritten(version, certain) {
                self.versions[at].place = Place::Dead;
            }
        }
    }

    /// Whether a write that `counts` was begun after `version` had ended.
    fn is_overwritten(&self, version: &Version, counts: impl Fn(&Version) -> bool) -> bool {
        self.versions.iter().any(|other| {
            version.end <= other.invoke && other.write != version.write && counts(other)
        })
    }

    /// Node `node` lost something. When no node is left that holds what the sector should contain, older versions may
    /// come back.
    pub(crate) fn lose(&mut self, now: u64, node: usize, loss: Held) {
        let kept = match loss {
            // A crashed process leaves what its disk holds.
            Held::Still(held) => self.may_hold(held).is_ok(),
            Held::Nothing => false,
        };
        for version in &mut self.versions {
            if version.stable || matches!(version.place, Place::Pending | Place::Dead) {
                continue;
            }
            let bit = 1 << node;
            if (version.holders | version.crashed) & bit != 0 && !(kept && version.acked != NEVER) {
                version.holders &= !bit;
                version.crashed |= bit;
                // What a read saw before it was acknowledged may not have been anywhere else.
                version.dropped |= !kept || version.acked == NEVER;
            }
        }
        self.look_for_losses(now);
    }

    /// What nobody is left to hold may be gone, and what it was written over may be back.
    fn look_for_losses(&mut self, now: u64) {
        let mut revive = false;
        for version in &mut self.versions {
            let gone = !version.stable && version.holders == 0 && version.dropped;
            if version.place == Place::Current && gone {
                version.maybe_lost = true;
                revive = true;
            }
        }
        if revive {
            self.revived = now;
            for version in &mut self.versions {
                if version.place == Place::Stale {
                    version.place = Place::Current;
                    version.gone = NEVER;
                    version.maybe_lost |= !version.stable;
                }
            }
        }
    }

    /// Whether a disk that holds `held` has seen `version`: it holds it, or what may have overwritten it.
    pub(crate) fn includes(&self, held: u64, version: &Version) -> bool {
        held == version.value
            || self
                .versions
                .iter()
                .any(|other| other.value == held && other.end.min(other.closed) > version.invoke)
    }

    /// What a write did here.
    pub(crate) fn of(&self, write: u64) -> Option<&Version> {
        self.position(write).map(|at| &self.versions[at])
    }

    /// Whether a later loss of power could matter.
    pub(crate) fn is_settled(&self) -> bool {
        self.versions.iter().all(|version| match version.place {
            Place::Pending | Place::Stale => false,
            Place::Current => version.stable,
            Place::Dead => true,
        })
    }

    /// S1: whether the sector may hold `value` now.
    pub(crate) fn may_hold(&self, value: u64) -> Result<(), String> {
        let fine = self.versions.iter().any(|version| {
            version.value == value && matches!(version.place, Place::Pending | Place::Current)
        });
        if fine {
            Ok(())
        } else {
            Err(self.complaint(value))
        }
    }

    /// What a medium that holds `value` durably lacks of what is `stable`.
    pub(crate) fn lacks(&self, value: u64, stable: impl Fn(&Version) -> bool) -> Option<&Version> {
        // They stand in the order of their invocations: the last two that count decide.
        let newest_first = || self.versions.iter().enumerate().rev();
        let mut covered = newest_first()
            .filter(|(_, other)| stable(other) && !other.maybe_lost)
            .take(2);
        let (last, newest) = covered.next()?;
        let mut older = None;
        let fine = newest_first().any(|(at, version)| {
            let mut before = || *older.get_or_insert_with(|| covered.next());
            version.value == value
                && if at == last {
                    before().is_none_or(|(_, other)| version.end > other.invoke)
                } else {
                    version.end > newest.invoke
                }
        });
        (!fine).then_some(newest)
    }

    /// A sentence about why `value` is wrong.
    pub(super) fn complaint(&self, value: u64) -> String {
        let list: Vec<String> = self
            .versions
            .iter()
            .filter(|version| matches!(version.place, Place::Pending | Place::Current))
            .map(|version| {
                format!(
                    "{} ({}{}{})",
                    describe(version.value),
                    match (version.acked != NEVER, version.place) {
                        (true, _) => "acknowledged",
                        (false, Place::Pending) => "under way",
                        (false, _) => "seen",
                    },
                    if version.stable { ", flushed" } else { "" },
                    if version.closed == NEVER {
                        ""
                    } else {
                        ", connection died"
                    },
                )
            })
            .collect();
        let known = self
            .versions
            .iter()
            .rev()
            .find(|version| version.value == value)
            .map_or("never written here", |version| match version.place {
                Place::Pending | Place::Current => "possible",
                Place::Stale | Place::Dead => "overwritten",
            });
        let history: Vec<String> = self
            .versions
            .iter()
            .rev()
            .take(6)
            .map(Version::brief)
            .collect();
        format!(
            "it holds {} ({known}), it should hold {}; newest first: {}",
            describe(value),
            list.join(" or "),
            history.join(", ")
        )
    }

    fn take_effect(&mut self, at: usize, now: u64) {
        let invoke = self.versions[at].invoke;
        for version in &mut self.versions {
            let before = match version.place {
                Place::Current => version.end <= invoke,
                Place::Pending => version.closed < invoke,
                Place::Stale | Place::Dead => false,
            };
            if before {
                version.place = Place::Stale;
                version.gone = now;
            }
        }
        let version = &mut self.versions[at];
        version.place = Place::Current;
        version.end = now;
    }

    fn position(&self, write: u64) -> Option<usize> {
        self.versions
            .iter()
            .rposition(|version| version.write == write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::stamp;

    fn book() -> SectorBook {
        SectorBook::new(0)
    }

    #[test]
    fn a_read_after_an_acknowledged_write_sees_it() {
        let mut book = book();
        let (a, b) = (stamp(100, 1), stamp(101, 1));
        book.invoke(1, 100, a);
        book.ack(2, 100, (1, false), false);
        assert!(book.read(4, 3, Some(0), 0).is_err());
        book.read(4, 3, Some(0), a).expect("acknowledged");
        book.invoke(5, 101, b);
        book.read(7, 6, Some(0), a)
            .expect("the new one is only under way");
        book.read(9, 8, Some(0), b).expect("under way");
        assert!(
            book.read(11, 10, Some(0), a).is_err(),
            "once seen, it stays"
        );
    }

    #[test]
    fn overlapping_writes_may_end_either_way() {
        let mut book = book();
        let (a, b) = (stamp(100, 1), stamp(101, 1));
        book.invoke(1, 100, a);
        book.invoke(2, 101, b);
        book.ack(3, 100, (1, false), false);
        book.ack(4, 101, (1, false), false);
        let mut other = book.clone();
        book.read(6, 5, Some(0), a).expect("either");
        other.read(6, 5, Some(0), b).expect("either");
        assert!(book.read(8, 7, Some(0), b).is_err());
    }

    #[test]
    fn only_lost_writes_may_go_back() {
        let mut book = book();
        let (a, b) = (stamp(100, 1), stamp(101, 1));
        book.invoke(1, 100, a);
        book.ack(2, 100, (0b11, false), false);
        book.flushed(3);
        book.invoke(4, 101, b);
        book.ack(5, 101, (0b11, false), false);
        book.lose(6, 0, Held::Nothing);
        assert!(book.may_hold(a).is_err(), "node 1 holds the newer one");
        book.lose(7, 1, Held::Nothing);
        book.may_hold(a).expect("nobody holds the newer one");
        book.may_hold(b).expect("it may have survived");
        assert!(book.may_hold(0).is_err(), "it was flushed");
    }

    #[test]
    fn a_write_from_a_dead_connection_is_no_ghost() {
        let mut book = book();
        let (a, b) = (stamp(100, 1), stamp(101, 1));
        book.invoke(1, 100, a);
        book.close(2, 100);
        book.invoke(3, 101, b);
        book.ack(4, 101, (1, false), false);
        assert!(book.read(6, 5, Some(0), a).is_err());
        book.read(6, 5, Some(0), b).expect("acknowledged");
    }
}
