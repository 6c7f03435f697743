//! Range locks: whoever touches overlapping blocks goes in order of arrival, on every node, so that replicas cannot
//! diverge even when a client overlaps its own writes.

use std::collections::VecDeque;

use twindisk_format::ids::BlockRange;

/// Locks on ranges of blocks, granted in order of arrival. `O` names who waits.
#[derive(Clone, Debug)]
pub(crate) struct RangeLocks<O> {
    /// By number, which is the order of arrival. Most locks are given back in about that order too, so that taking one
    /// out moves few others; nothing is allocated once it has grown.
    entries: VecDeque<(LockId, Entry<O>)>,
    next: u64,
    /// Turns that have come; one that was given up meanwhile is skipped.
    granted: VecDeque<LockId>,
}

/// One lock, held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LockId(u64);

#[derive(Clone, Debug)]
struct Entry<O> {
    range: BlockRange,
    owner: O,
    /// Earlier entries that overlap this one.
    blockers: u32,
}

impl<O: Copy> RangeLocks<O> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            next: 0,
            granted: VecDeque::new(),
        }
    }

    /// Asks for a range. The grant comes out of `next_granted`, at once if nobody is in the way.
    pub(crate) fn acquire(&mut self, range: BlockRange, owner: O) -> LockId {
        let blockers = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.range.overlaps(range))
            .count();
        let id = LockId(self.next);
        self.next += 1;
        let entry = Entry {
            range,
            owner,
            blockers: blockers as u32,
        };
        self.entries.push_back((id, entry));
        if blockers == 0 {
            self.granted.push_back(id);
        }
        id
    }

    /// Gives a lock back, or stops waiting for it.
    pub(crate) fn release(&mut self, id: LockId) {
        let at = self.position(id).expect("a lock is released once");
        let (_, gone) = self.entries.remove(at).expect("just found");
        for (later, entry) in self.entries.range_mut(at..) {
            if entry.range.overlaps(gone.range) {
                entry.blockers -= 1;
                if entry.blockers == 0 {
                    self.granted.push_back(*later);
                }
            }
        }
    }

    /// Whether the lock is held.
    #[cfg(test)]
    pub(crate) fn holds(&self, id: LockId) -> bool {
        self.get(id).is_some_and(|entry| entry.blockers == 0)
    }

    /// The next owner whose turn has come.
    pub(crate) fn next_granted(&mut self) -> Option<O> {
        while let Some(id) = self.granted.pop_front() {
            if let Some(entry) = self.get(id) {
                return Some(entry.owner);
            }
        }
        None
    }

    /// Whether `next_granted` may have an owner.
    pub(crate) fn has_granted(&self) -> bool {
        !self.granted.is_empty()
    }

    fn position(&self, id: LockId) -> Option<usize> {
        self.entries
            .binary_search_by_key(&id, |&(number, _)| number)
            .ok()
    }

    fn get(&self, id: LockId) -> Option<&Entry<O>> {
        let (_, entry) = self.entries.get(self.position(id)?)?;
        Some(entry)
    }

    /// Held and waited-for locks.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No two overlapping ranges are ever held at once, overlapping owners are served in order of arrival, and
        /// everybody is served.
        #[test]
        fn excludes_orders_and_serves_everybody(
            ranges in prop::collection::vec((0_u64..40, 1_u32..8), 1..40),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut locks = RangeLocks::new();
            let ids: Vec<LockId> = ranges
                .iter()
                .enumerate()
                .map(|(owner, &(start, blocks))| locks.acquire(BlockRange::new(start, blocks), owner))
                .collect();
            let range_of = |owner: usize| BlockRange::new(ranges[owner].0, ranges[owner].1);
            let mut held: Vec<usize> = Vec::new();
            let mut served: Vec<usize> = Vec::new();
            for pick in picks {
                while let Some(owner) = locks.next_granted() {
                    prop_assert!(held.iter().all(|&other| !range_of(other).overlaps(range_of(owner))));
                    prop_assert!(
                        served.iter().all(|&other| other < owner || !range_of(other).overlaps(range_of(owner)))
                    );
                    held.push(owner);
                    served.push(owner);
                }
                if held.is_empty() {
                    break;
                }
                let owner = held.swap_remove(pick.index(held.len()));
                prop_assert!(locks.holds(ids[owner]));
                locks.release(ids[owner]);
            }
            prop_assert_eq!(served.len(), ranges.len());
            prop_assert_eq!(locks.len(), 0);
        }
    }

    #[test]
    fn giving_up_a_place_in_the_queue_lets_the_next_one_in() {
        let mut locks = RangeLocks::new();
        let first = locks.acquire(BlockRange::new(0, 4), 'a');
        let second = locks.acquire(BlockRange::new(2, 4), 'b');
        let third = locks.acquire(BlockRange::new(4, 1), 'c');
        assert_eq!(locks.next_granted(), Some('a'));
        locks.release(second);
        assert_eq!(locks.next_granted(), Some('c'));
        assert!(locks.holds(first) && locks.holds(third));
    }
}
