//! Two replicas meet: which of them leads, and whether blocks must move. The whole table of DESIGN section 6.
//!
//! A pure function of what both sides said, so that both come to the same answer.

use twindisk_format::{
    control::PeerState,
    ids::NodeId,
    lineage::{Generation, Relation},
    superblock::StoredDisk,
};

/// What comes of comparing two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This side leads: its data goes to the peer as far as they differ.
    Lead(Reason),
    /// The peer leads.
    Follow(Reason),
    /// Neither side has data that the other could be brought up from.
    Wait(&'static str),
    /// Both went on from a common generation.
    SplitBrain {
        /// The newest generation that both contain.
        last_common: Generation,
    },
    /// Both have data, and nothing in common.
    Unrelated,
}

/// What the leader has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// Blocks may differ: a resync is needed. Otherwise the two are equal.
    pub(crate) resync: bool,
    /// No bitmap covers the difference: every block must be compared.
    pub(crate) full: bool,
    /// Some of the dirty blocks only stand in an extent that was being written when a node crashed: most of them are
    /// equal, and comparing hashes first is cheaper than sending them.
    pub(crate) coarse: bool,
    /// The follower's lineage is newer, but only this leader has what belongs to it: the leader takes it over.
    pub(crate) adopt: bool,
    /// For the operator: why in this direction.
    pub(crate) why: &'static str,
}

/// One side of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) node: NodeId,
    pub(crate) state: &'a PeerState,
}

/// A generation that was begun and never confirmed is no fork against a side that does not know it: nothing was
/// completed in it. True if `mine` has changed.
pub(crate) fn forget_unconfirmed(mine: &mut PeerState, theirs: &mut PeerState) -> bool {
    if !matches!(
        mine.lineage.relation(&theirs.lineage),
        Relation::Forked { .. }
    ) {
        return false;
    }
    let changed = mine.unconfirmed;
    for state in [mine, theirs] {
        if state.unconfirmed {
            state.lineage.forget_newest();
            state.unconfirmed = false;
        }
    }
    changed
}

/// Compares `mine` with `theirs`. Swapping the two swaps `Lead` and `Follow` and nothing else.
pub(crate) fn compare(mine: Side<'_>, theirs: Side<'_>) -> Verdict {
    match mine.state.lineage.relation(&theirs.state.lineage) {
        Relation::Unrelated => Verdict::Unrelated,
        Relation::Forked { last_common } => Verdict::SplitBrain { last_common },
        Relation::Ahead => lead_if_usable(mine, theirs, Verdict::Lead, Verdict::Follow),
        Relation::Behind => lead_if_usable(theirs, mine, Verdict::Follow, Verdict::Lead),
        Relation::Same => same_generation(mine, theirs),
    }
}

fn lead_if_usable(
    ahead: Side<'_>,
    behind: Side<'_>,
    verdict: impl FnOnce(Reason) -> Verdict,
    reverse: impl FnOnce(Reason) -> Verdict,
) -> Verdict {
    let counted_on = ahead.state.in_sync.contains(&behind.node);
    if !usable(ahead) && behind.state.disk == StoredDisk::UpToDate && counted_on {
        // Nothing was acknowledged in the newer generation that the one it counted on does not have (R1).
        let why = "it began a generation that only the other node has a copy of";
        return reverse(Reason {
            resync: true,
            full: true,
            coarse: false,
            adopt: true,
            why,
        });
    }
    if !usable(ahead) {
        return Verdict::Wait("the node with the newer data has no whole copy of it");
    }
    let why = if behind.state.lineage.newest().is_none() {
        "it has no data yet"
    } else {
        "its data is of an older generation"
    };
    verdict(Reason {
        resync: true,
        full: !base_known(ahead, behind),
        coarse: ahead.state.crashed || behind.state.crashed,
        adopt: false,
        why,
    })
}

fn same_generation(mine: Side<'_>, theirs: Side<'_>) -> Verdict {
    let Some(newest) = mine.state.lineage.newest() else {
        return Verdict::Wait("neither node has data yet: one must be given the first copy");
    };
    let (i_lead, why) = match (usable(mine), usable(theirs)) {
        (false, false) => return Verdict::Wait("neither node has a whole copy of the data"),
        (true, false) => (true, "its copy is not whole"),
        (false, true) => (false, "its copy is not whole"),
        (true, true) => direction(mine, theirs, newest),
    };
    let (leader, follower) = if i_lead {
        (mine, theirs)
    } else {
        (theirs, mine)
    };
    // A device that has grown on one side only: what was added there is not known to be equal.
    let grown = leader.state.size_blocks > follower.state.size_blocks;
    let dirty = grown || leader.state.dirty_blocks > 0 || follower.state.dirty_blocks > 0;
    let reason = Reason {
        resync: dirty || !usable(follower),
        // What a failed disk has lost is not known from any bitmap.
        full: !base_known(leader, follower) || follower.state.disk == StoredDisk::Failed,
        coarse: leader.state.crashed || follower.state.crashed,
        adopt: false,
        why,
    };
    if i_lead {
        Verdict::Lead(reason)
    } else {
        Verdict::Follow(reason)
    }
}

/// Both have a whole copy of the same newest generation: whether I lead, and why.
fn direction(mine: Side<'_>, theirs: Side<'_>, newest: Generation) -> (bool, &'static str) {
    let prefer = |test: fn(&PeerState) -> bool, why| {
        (test(mine.state) != test(theirs.state)).then(|| (test(mine.state), why))
    };
    // R1: the survivor has everything that the one which counted on it had acknowledged, even if it has begun to part.
    let outlived = |survivor: Side<'_>, crashed: Side<'_>| {
        let counted_on = crashed.state.in_sync.contains(&survivor.node);
        !survivor.state.crashed && crashed.state.crashed && counted_on
    };
    let survivor = || {
        let i_lead = outlived(mine, theirs);
        (i_lead || outlived(theirs, mine))
            .then_some((i_lead, "it crashed and the other node did not"))
    };
    prefer(|state| state.primary, "the other node is primary")
        .or_else(survivor)
        .or_else(|| {
            prefer(
                |state| state.disk != StoredDisk::Outdated,
                "it was recorded as outdated",
            )
        })
        // What was written last may be missing on the one that crashed.
        .or_else(|| {
            prefer(
                |state| !state.crashed,
                "it crashed and the other node did not",
            )
        })
        .unwrap_or_else(|| {
            let i_lead = match (mine.node == newest.node, theirs.node == newest.node) {
                (true, false) => true,
                (false, true) => false,
                _ => mine.node < theirs.node,
            };
            (i_lead, "the other node was primary last")
        })
}

/// A whole copy that others can be brought up from.
const fn usable(side: Side<'_>) -> bool {
    matches!(side.state.disk, StoredDisk::UpToDate | StoredDisk::Outdated)
}

/// The leader's dirty bits count from a generation that the follower contains.
fn base_known(leader: Side<'_>, follower: Side<'_>) -> bool {
    leader
        .state
        .base
        .is_some_and(|base| follower.state.lineage.contains(base))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twindisk_format::{
        ids::{BootId, GenerationId, Term},
        lineage::Lineage,
    };

    use super::*;

    const ONE: NodeId = NodeId(1);
    const TWO: NodeId = NodeId(2);

    fn generation(number: u64, node: u8) -> Generation {
        Generation {
            term: Term(number),
            id: GenerationId(number),
            node: NodeId(node),
        }
    }

    fn state(generations: &[u64]) -> PeerState {
        let lineage = Lineage::new(generations.iter().map(|&g| generation(g, 1)).collect());
        PeerState {
            boot: BootId(1),
            primary: false,
            disk: StoredDisk::UpToDate,
            up_to_date: true,
            crashed: false,
            base: lineage.newest().map(|newest| newest.id),
            lineage,
            unconfirmed: false,
            suspect: false,
            in_sync: vec![ONE, TWO],
            dirty_blocks: 0,
            size_blocks: 100,
            capacity_blocks: 100,
        }
    }

    fn verdict(mine: &PeerState, theirs: &PeerState) -> Verdict {
        compare(
            Side {
                node: ONE,
                state: mine,
            },
            Side {
                node: TWO,
                state: theirs,
            },
        )
    }

    fn leads(mine: &PeerState, theirs: &PeerState) -> Option<(bool, bool)> {
        match verdict(mine, theirs) {
            Verdict::Lead(reason) => Some((reason.resync, reason.full)),
            _ => None,
        }
    }

    #[test]
    fn equal_and_clean_is_in_sync_led_by_the_last_primary() {
        assert_eq!(leads(&state(&[5]), &state(&[5])), Some((false, false)));
    }

    #[test]
    fn equal_generation_with_dirty_bits_on_either_side_is_never_in_sync() {
        let mut dirty = state(&[5]);
        dirty.dirty_blocks = 1;
        assert_eq!(leads(&dirty, &state(&[5])), Some((true, false)));
        assert_eq!(leads(&state(&[5]), &dirty), Some((true, false)));
    }

    #[test]
    fn the_survivor_leads_a_crashed_primary() {
        let mut crashed = state(&[5]);
        crashed.crashed = true;
        crashed.dirty_blocks = 7;
        assert_eq!(leads(&crashed, &state(&[5])), None);
        assert_eq!(leads(&state(&[5]), &crashed), Some((true, false)));
    }

    #[test]
    fn a_survivor_leads_even_if_it_has_begun_to_part_unless_it_was_not_counted_on() {
        let mut crashed = state(&[5]);
        crashed.crashed = true;
        let mut survivor = state(&[5]);
        survivor.disk = StoredDisk::Outdated;
        assert_eq!(leads(&survivor, &crashed), Some((false, false)));
        crashed.in_sync = vec![TWO];
        assert_eq!(leads(&survivor, &crashed), None);
    }

    #[test]
    fn behind_follows_by_bitmap_if_there_is_a_base_and_by_hashes_if_not() {
        let mut ahead = state(&[5, 6]);
        ahead.base = Some(GenerationId(5));
        assert_eq!(leads(&ahead, &state(&[5])), Some((true, false)));
        ahead.base = None;
        assert_eq!(leads(&ahead, &state(&[5])), Some((true, true)));
        assert_eq!(leads(&ahead, &state(&[])), Some((true, true)));
        ahead.disk = StoredDisk::Inconsistent;
        ahead.in_sync = vec![ONE];
        assert!(matches!(verdict(&ahead, &state(&[5])), Verdict::Wait(_)));
    }

    #[test]
    fn who_is_counted_on_by_a_newer_generation_without_a_copy_leads_and_adopts_it() {
        let mut failed = state(&[5, 6]);
        failed.disk = StoredDisk::Failed;
        failed.in_sync = vec![TWO];
        let mut counted_on = state(&[5]);
        assert!(matches!(verdict(&failed, &counted_on), Verdict::Follow(r) if r.adopt && r.full));
        counted_on.disk = StoredDisk::Outdated;
        assert!(matches!(verdict(&failed, &counted_on), Verdict::Wait(_)));
    }

    #[test]
    fn an_unconfirmed_generation_is_no_fork() {
        let mut begun = state(&[5, 6]);
        begun.unconfirmed = true;
        let mut confirmed = state(&[5, 7]);
        confirmed.base = Some(GenerationId(5));
        assert!(forget_unconfirmed(&mut begun, &mut confirmed));
        assert!(matches!(verdict(&begun, &confirmed), Verdict::Follow(reason) if !reason.full));
        let mut known = state(&[5, 6]);
        known.unconfirmed = true;
        assert!(!forget_unconfirmed(&mut known, &mut state(&[5])));
        assert_eq!(leads(&known, &state(&[5])), Some((true, true)));
    }

    #[test]
    fn forks_and_strangers_are_refused() {
        let split = Verdict::SplitBrain {
            last_common: generation(5, 1),
        };
        assert_eq!(verdict(&state(&[5, 6]), &state(&[5, 7])), split);
        assert_eq!(verdict(&state(&[5]), &state(&[7])), Verdict::Unrelated);
        assert!(matches!(
            verdict(&state(&[]), &state(&[])),
            Verdict::Wait(_)
        ));
    }

    #[test]
    fn a_failed_disk_is_compared_as_a_whole() {
        let mut failed = state(&[5]);
        failed.disk = StoredDisk::Failed;
        assert_eq!(leads(&state(&[5]), &failed), Some((true, true)));
    }

    fn any_state() -> impl Strategy<Value = PeerState> {
        let disks = [
            StoredDisk::Failed,
            StoredDisk::Inconsistent,
            StoredDisk::Outdated,
            StoredDisk::UpToDate,
        ];
        (
            prop::sample::select(vec![vec![], vec![1], vec![1, 2], vec![1, 3], vec![9]]),
            prop::sample::select(disks.to_vec()),
            any::<(bool, bool)>(),
            0_u64..3,
        )
            .prop_map(
                |(generations, disk, (primary, crashed), dirty_blocks)| PeerState {
                    disk,
                    primary,
                    crashed,
                    dirty_blocks,
                    ..state(&generations)
                },
            )
    }

    proptest! {
        /// Both sides come to the same answer, seen from their side.
        #[test]
        fn is_symmetric(mine in any_state(), theirs in any_state()) {
            let one = Side { node: ONE, state: &mine };
            let two = Side { node: TWO, state: &theirs };
            let mirrored = match compare(two, one) {
                Verdict::Lead(reason) => Verdict::Follow(reason),
                Verdict::Follow(reason) => Verdict::Lead(reason),
                same => same,
            };
            prop_assert_eq!(compare(one, two), mirrored);
        }
    }
}
