//! From sequence numbers to mutations in flight. The numbers in flight mostly lie close together, so that a number says where
//! its mutation stands; where a peer's numbers have left a gap, it is looked for.

use std::collections::VecDeque;

use twindisk_format::ids::Seq;

use crate::limits::MAX_WINDOW;

/// The mutations in flight by sequence number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// In order of their numbers; the first one is in flight.
    entries: VecDeque<(Seq, Option<usize>)>,
}

impl Window {
    /// Adds a mutation with a number above all others.
    pub(crate) fn push(&mut self, seq: Seq, mutation: usize) {
        let last = self.entries.back();
        assert!(last.is_none_or(|(last, _)| *last < seq), "numbers grow");
        self.entries.push_back((seq, Some(mutation)));
    }

    /// Whether no more may be added before the oldest one is done.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_WINDOW
    }

    /// The mutation `seq`, if it is in flight.
    pub(crate) fn get(&self, seq: Seq) -> Option<usize> {
        self.entries.get(self.place_of(seq)?)?.1
    }

    /// The mutation `seq` is done.
    pub(crate) fn remove(&mut self, seq: Seq) {
        let at = self.place_of(seq).expect("it was in flight");
        assert!(self.entries[at].1.take().is_some(), "a mutation ends once");
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
    }

    /// The mutations in flight, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries.iter().filter_map(|(_, mutation)| *mutation)
    }

    /// Without gaps it stands as far from the first one as its number is.
    fn place_of(&self, seq: Seq) -> Option<usize> {
        let ahead = seq.0.checked_sub(self.entries.front()?.0.0)?;
        let near = usize::try_from(ahead).ok();
        let near = near.filter(|at| {
            self.entries
                .get(*at)
                .is_some_and(|(other, _)| *other == seq)
        });
        near.or_else(|| {
            self.entries
                .binary_search_by_key(&seq, |(seq, _)| *seq)
                .ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map as the model.
        #[test]
        fn behaves_like_a_map(
            steps in prop::collection::vec((any::<bool>(), 1_u64..5, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut window = Window::default();
            let mut model = BTreeMap::new();
            let mut newest = 0;
            for (number, (push, gap, pick)) in steps.into_iter().enumerate() {
                if push || model.is_empty() {
                    newest += gap;
                    window.push(Seq(newest), number);
                    model.insert(newest, number);
                } else {
                    let gone = *model.keys().nth(pick.index(model.len())).expect("within");
                    window.remove(Seq(gone));
                    model.remove(&gone);
                }
                prop_assert_eq!(window.iter().collect::<Vec<_>>(), model.values().copied().collect::<Vec<_>>());
                for seq in 0..newest + 3 {
                    prop_assert_eq!(window.get(Seq(seq)), model.get(&seq).copied());
                }
            }
        }
    }

    #[test]
    fn is_full_while_the_oldest_is_too_far_behind() {
        let mut window = Window::default();
        (1..MAX_WINDOW).for_each(|seq| window.push(Seq(seq as u64), seq));
        (2..MAX_WINDOW).for_each(|seq| window.remove(Seq(seq as u64)));
        assert!(!window.is_full());
        window.push(Seq(MAX_WINDOW as u64), 30);
        assert!(window.is_full());
        window.remove(Seq(1));
        assert!(!window.is_full());
    }

    #[test]
    fn a_gap_in_the_numbers_costs_nothing() {
        let mut window = Window::default();
        let far = [1, 2, 1 << 48, (1 << 48) + 1, u64::MAX];
        (far.iter().enumerate()).for_each(|(at, seq)| window.push(Seq(*seq), at));
        assert!(!window.is_full());
        for (at, seq) in far.iter().enumerate() {
            assert_eq!(window.get(Seq(*seq)), Some(at));
            assert_eq!(window.get(Seq(seq ^ 1 << 20)), None);
            window.remove(Seq(*seq));
        }
        assert_eq!(window.iter().count(), 0);
    }

    #[test]
    fn finds_what_is_in_flight_and_nothing_else() {
        let mut window = Window::default();
        for (seq, mutation) in [(5, 50), (6, 60), (9, 90)] {
            window.push(Seq(seq), mutation);
        }
        window.remove(Seq(5));
        assert_eq!(window.get(Seq(5)), None);
        assert_eq!(window.get(Seq(6)), Some(60));
        assert_eq!(window.get(Seq(8)), None);
        window.remove(Seq(9));
        assert_eq!(window.iter().collect::<Vec<_>>(), [60]);
        window.remove(Seq(6));
        window.push(Seq(20), 1);
        assert_eq!(window.get(Seq(20)), Some(1));
        assert_eq!(window.get(Seq(9)), None);
    }
}
