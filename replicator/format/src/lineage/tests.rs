//! `relation` against a tree of generations, which knows the answer by itself.

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::arbitrary::lineages;

#[test]
fn generations_that_can_not_have_followed_each_other() {
    let one = |term, id, node| Generation {
        term: Term(term),
        id: GenerationId(id),
        node: NodeId(node),
    };
    let mine = Lineage::new(vec![one(1, 10, 0), one(4, 40, 1)]);
    let sound = |generations: &[Generation]| Lineage(generations.to_vec()).is_sound(&mine);
    assert!(sound(&[]) && mine.is_sound(&mine));
    assert!(sound(&[one(1, 10, 0), one(2, 20, 0), one(9, 90, 1)]));
    assert!(!sound(&[one(4, 40, 1), one(1, 10, 0)]), "terms fall");
    assert!(!sound(&[one(2, 20, 0), one(2, 21, 0)]), "twice in one term");
    assert!(
        !sound(&[one(1, 10, 0), one(5, 40, 1)]),
        "known to be of term 4"
    );
    assert!(!sound(&[one(1, 10, 1)]), "known to be of node 0");
    let mut long = mine.clone();
    (5..=MAX_LINEAGE as u64 + 2).for_each(|term| long.begin(one(term, term * 10, 0)));
    assert!(
        long.is_sound(&mine) && mine.is_sound(&long),
        "by name alone"
    );
    let mut whole = long.generations().to_vec();
    whole[0].term = Term(1);
    assert!(
        !Lineage(whole).is_sound(&mine),
        "more is known of it than can be"
    );
}

/// Every generation has its parent before it, or none: a forest, since nodes may have been initialised apart.
#[derive(Clone, Debug)]
struct Forest(Vec<Option<usize>>);

impl Forest {
    /// The way from a root to generation `to`; empty for a replica that has no data.
    fn path(&self, to: Option<usize>) -> Vec<usize> {
        let mut path: Vec<usize> = std::iter::successors(to, |at| self.0[*at]).collect();
        path.reverse();
        path
    }

    fn lineage(&self, to: Option<usize>) -> Lineage {
        Lineage::new(self.path(to).into_iter().map(generation).collect())
    }

    /// What the tree says, from the paths alone.
    fn relation(&self, mine: Option<usize>, theirs: Option<usize>) -> Relation {
        let (mine, theirs) = (self.path(mine), self.path(theirs));
        let common = mine.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        match (mine.len() - common, theirs.len() - common) {
            (0, 0) => Relation::Same,
            (0, _) => Relation::Behind,
            (_, 0) => Relation::Ahead,
            _ if common == 0 => Relation::Unrelated,
            _ => Relation::Forked {
                last_common: generation(mine[common - 1]),
            },
        }
    }
}

/// Terms may be shared by generations, ids never are.
fn generation(number: usize) -> Generation {
    Generation {
        term: Term(number as u64 / 2),
        id: GenerationId((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        node: NodeId(number as u8 % 3),
    }
}

/// At most as many generations as a lineage keeps, so that none is forgotten.
fn forests() -> impl Strategy<Value = Forest> {
    prop::collection::vec((any::<Index>(), 0..12u8), 1..=MAX_GENERATIONS).prop_map(|choices| {
        let parents = choices
            .into_iter()
            .enumerate()
            .map(|(number, (index, shape))| {
                match (number, shape) {
                    (0, _) | (_, 0) => None,
                    // Mostly chains, as in life, so that they get long.
                    (_, 1..8) => Some(number - 1),
                    _ => Some(index.index(number)),
                }
            });
        Forest(parents.collect())
    })
}

fn mirrored(relation: Relation) -> Relation {
    match relation {
        Relation::Behind => Relation::Ahead,
        Relation::Ahead => Relation::Behind,
        Relation::Same | Relation::Forked { .. } | Relation::Unrelated => relation,
    }
}

proptest! {
    #[test]
    fn every_pair_stands_as_the_tree_says(forest in forests()) {
        let places: Vec<Option<usize>> = std::iter::once(None)
            .chain((0..forest.0.len()).map(Some))
            .collect();
        for mine in &places {
            for theirs in &places {
                let relation = forest.lineage(*mine).relation(&forest.lineage(*theirs));
                prop_assert_eq!(relation, forest.relation(*mine, *theirs), "{:?} {:?}", mine, theirs);
            }
        }
    }

    #[test]
    fn swapping_the_two_swaps_behind_and_ahead_only(forest in forests(), mine: Index, theirs: Index) {
        let [mine, theirs] = [mine, theirs].map(|index| forest.lineage(Some(index.index(forest.0.len()))));
        prop_assert_eq!(mine.relation(&theirs), mirrored(theirs.relation(&mine)));
    }

    /// A hostile or broken peer sends anything: the answer is never that both are the same unless the newest is.
    #[test]
    fn only_equal_newest_generations_are_the_same(mine in lineages(), theirs in lineages()) {
        let same = mine.newest().map(|newest| newest.id) == theirs.newest().map(|newest| newest.id);
        prop_assert_eq!(mine.relation(&theirs) == Relation::Same, same);
    }

    /// What was forgotten at the old end never turns into a claim of having it.
    #[test]
    fn forgetting_old_generations_makes_no_false_claim(length in 2..500usize, behind in 1..500usize) {
        let chain = Forest((0..length).map(|number| number.checked_sub(1)).collect());
        let behind = behind.min(length - 1);
        let old = chain.lineage(Some(length - 1 - behind));
        let new = chain.lineage(Some(length - 1));
        let expected = if behind < MAX_LINEAGE { Relation::Behind } else { Relation::Unrelated };
        let kept_in_common = old
            .generations()
            .iter()
            .any(|generation| new.contains(generation.id));
        prop_assert_eq!(kept_in_common, expected == Relation::Behind);
        prop_assert_eq!(old.relation(&new), expected);
        prop_assert_eq!(new.relation(&old), mirrored(expected));
    }
}

#[test]
fn beginning_forgets_the_oldest_and_cutting_the_newest() {
    let mut lineage = Lineage::default();
    for number in 0..=MAX_LINEAGE {
        lineage.begin(generation(number));
    }
    assert_eq!(lineage.generations().len(), MAX_LINEAGE);
    assert!(!lineage.contains(generation(0).id));
    assert_eq!(lineage.newest(), Some(generation(MAX_LINEAGE)));
    let (ancestors, generations) = lineage.ancestors_and_generations();
    assert_eq!(generations[0], generation(MAX_ANCESTORS + 1));
    assert_eq!(ancestors[0], Generation::ancestor(generation(1).id));
    lineage.cut_after(generation(5).id);
    let ancestor = Some(Generation::ancestor(generation(5).id));
    assert_eq!(lineage.newest(), ancestor);
    lineage.cut_after(generation(0).id);
    assert_eq!(lineage.newest(), ancestor, "what is not there cuts nothing");
}

/// A node that was away for longer than terms and nodes are remembered is behind; and if it went on alone, that is seen.
#[test]
fn a_long_outage_ends_in_behind_or_in_a_fork_but_never_in_unrelated() {
    let new = Lineage::new((0..200).map(generation).collect());
    let old = Lineage::new((0..10).map(generation).collect());
    assert_eq!(old.relation(&new), Relation::Behind);
    let mut forked = old;
    forked.begin(generation(1000));
    let last_common = generation(9);
    for (one, other) in [(&forked, &new), (&new, &forked)] {
        assert_eq!(one.relation(other), Relation::Forked { last_common });
    }
}

/// A fork that is discarded, or a promotion in which nothing was written, cuts generations off; the names of ancestors stay.
#[test]
fn what_is_left_of_a_long_lineage_is_sound() {
    let one = |number: usize| Generation {
        term: Term(number as u64 + 1),
        ..generation(number)
    };
    for length in [3, 64, 66, 70, 300] {
        for cut in 0..3.min(length - 1) {
            let whole = Lineage::new((0..length).map(one).collect());
            let last = whole.generations()[whole.generations().len() - 1 - cut];
            let mut left = whole.clone();
            left.cut_after(last.id);
            assert!(left.is_sound(&whole), "{length}, {cut}");
            left.forget_newest();
            left.begin(one(1000));
            assert!(left.is_sound(&whole), "{length}, {cut}, and begun anew");
        }
    }
}
