//! From sequence numbers to mutations in flight. The numbers in flight lie close together, so a ring does.

use std::collections::VecDeque;

use twindisk_format::ids::Seq;

use crate::limits::MAX_WINDOW;

/// The mutations in flight by sequence number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Of the first entry.
    first: u64,
    entries: VecDeque<Option<usize>>,
}

impl Window {
    /// Adds a mutation with a number above all others.
    pub(crate) fn push(&mut self, seq: Seq, mutation: usize) {
        if self.entries.is_empty() {
            self.first = seq.0;
        }
        let at = usize::try_from(seq.0 - self.first).expect("numbers in flight lie close together");
        assert!(at >= self.entries.len(), "sequence numbers grow");
        self.entries.resize(at, None);
        self.entries.push_back(Some(mutation));
    }

    /// Whether no more may be added before the oldest one is done.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_WINDOW
    }

    /// The mutation `seq`, if it is in flight.
    pub(crate) fn get(&self, seq: Seq) -> Option<usize> {
        let at = seq.0.checked_sub(self.first)?;
        self.entries
            .get(usize::try_from(at).ok()?)
            .copied()
            .flatten()
    }

    /// The mutation `seq` is done.
    pub(crate) fn remove(&mut self, seq: Seq) {
        let at = usize::try_from(seq.0 - self.first).expect("it was in flight");
        assert!(self.entries[at].take().is_some(), "a mutation ends once");
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// The mutations in flight, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.entries.iter().flatten().copied()
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
        window.push(Seq(1), 10);
        window.push(Seq(MAX_WINDOW as u64 - 1), 20);
        assert!(!window.is_full());
        window.push(Seq(MAX_WINDOW as u64), 30);
        assert!(window.is_full());
        window.remove(Seq(1));
        assert!(!window.is_full());
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
