//! Two replicas meet: which of them leads, and whether blocks must move. The whole table of `RULES.md`, *Generations*.
//!
//! A pure function of what both sides said, so that both come to the same answer.

use twindisk_format::{
    control::PeerState,
    ids::NodeId,
    lineage::{Generation, Relation},
    superblock::{Lack, StoredDisk},
};

use crate::Mark;

/// What comes of comparing two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This side leads: its data goes to the peer as far as they differ.
    Lead(Reason),
    /// The peer leads.
    Follow(Reason),
    /// Neither side has data that the other could be brought up from.
    Wait(Mark, &'static str),
    /// Both went on from a common generation.
    SplitBrain {
        /// The newest generation that both contain.
        last_common: Generation,
    },
    /// The one that would lead was rolled back and has gone on since; the other one has data of the time between.
    Rewound {
        /// The newest generation that both contain.
        last_common: Generation,
    },
    /// Both have data, and nothing in common.
    Unrelated,
}

/// What the leader has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The row of the table.
    pub(crate) row: Mark,
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

impl Verdict {
    /// The row of the table that it stands in.
    pub(crate) const fn row(&self) -> Mark {
        match self {
            Self::Lead(reason) | Self::Follow(reason) => reason.row,
            Self::Wait(row, _) => *row,
            Self::SplitBrain { .. } => Mark::SplitBrain,
            Self::Rewound { .. } => Mark::RewoundConflict,
            Self::Unrelated => Mark::Unrelated,
        }
    }
}

/// Three rows of the table: the same leader, and what has to move.
type Rows = [Mark; 3];

const PRIMARY: Rows = [
    Mark::PrimaryEqual,
    Mark::PrimaryByBitmap,
    Mark::PrimaryByHashes,
];
const SURVIVOR: Rows = [
    Mark::SurvivorEqual,
    Mark::SurvivorByBitmap,
    Mark::SurvivorByHashes,
];
const OUTDATED: Rows = [
    Mark::OutdatedEqual,
    Mark::OutdatedByBitmap,
    Mark::OutdatedByHashes,
];
const CRASHED: Rows = [
    Mark::CrashedEqual,
    Mark::CrashedByBitmap,
    Mark::CrashedByHashes,
];
const LAST_PRIMARY: Rows = [
    Mark::LastPrimaryEqual,
    Mark::LastPrimaryByBitmap,
    Mark::LastPrimaryByHashes,
];
const LOWER_NUMBER: Rows = [
    Mark::LowerNumberEqual,
    Mark::LowerNumberByBitmap,
    Mark::LowerNumberByHashes,
];
/// Of a copy that was rolled back no bitmap knows what it lacks.
const REWOUND: Rows = [
    Mark::RewoundByHashes,
    Mark::RewoundByHashes,
    Mark::RewoundByHashes,
];
/// A copy that is not whole is never equal.
const NOT_WHOLE: Rows = [
    Mark::NotWholeByBitmap,
    Mark::NotWholeByBitmap,
    Mark::NotWholeByHashes,
];

/// One side of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side<'a> {
    pub(crate) node: NodeId,
    pub(crate) state: &'a PeerState,
}

/// A generation that was begun and never confirmed is no fork against a side that does not know it: nothing was
/// completed in it. Nor does it keep a side waiting that was counted on for it and has a whole copy, of which the one that
/// began it has none. While its primary is connected it is not begun in vain, whatever a fork says. True if `mine` has
/// changed.
pub(crate) fn forget_unconfirmed(
    mine: (NodeId, &mut PeerState),
    theirs: (NodeId, &mut PeerState),
) -> bool {
    let ((me, mine), (it, theirs)) = (mine, theirs);
    let forgets = match mine.lineage.relation(&theirs.lineage) {
        Relation::Forked { .. } => true,
        Relation::Ahead => began_in_vain(
            Side {
                node: me,
                state: mine,
            },
            Side {
                node: it,
                state: theirs,
            },
        ),
        Relation::Behind => began_in_vain(
            Side {
                node: it,
                state: theirs,
            },
            Side {
                node: me,
                state: mine,
            },
        ),
        Relation::Same | Relation::Unrelated => false,
    };
    if !forgets {
        return false;
    }
    let in_vain = |state: &PeerState| state.unconfirmed && state.follows.is_none();
    let changed = in_vain(mine);
    for state in [mine, theirs] {
        if in_vain(state) {
            state.lineage.forget_newest();
            state.unconfirmed = false;
        }
    }
    changed
}

/// It has begun a generation without a copy of its own, and counted for it on the other side alone, which parted in good order
/// before it heard of that. Had anything been completed in it, that side would know it (R1). One that has yet to join has
/// perhaps not even heard that it is counted on.
fn began_in_vain(ahead: Side<'_>, behind: Side<'_>) -> bool {
    let others = |node: &&NodeId| **node != ahead.node && !ahead.state.joining.contains(node);
    let mut counted = ahead.state.in_sync.iter().filter(others);
    let (_, known) = ahead.state.lineage.ancestors_and_generations();
    let before = known.len().checked_sub(2).and_then(|at| known.get(at));
    let last = behind.state.lineage.newest();
    ahead.state.unconfirmed
        && !usable(ahead)
        && behind.state.disk == StoredDisk::Outdated
        && !behind.state.unconfirmed
        && !behind.state.suspect
        && !behind.state.rewound
        && !went_back(behind, ahead)
        && counted.next() == Some(&behind.node)
        && counted.next().is_none()
        && last.is_some_and(|last| before.is_some_and(|before| before.id == last.id))
        && !has_only_parted(behind, ahead)
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
    // What it counted on is not what was rolled back since: who else of the set has that leads.
    let remembers = !behind.state.rewound && !went_back(behind, ahead);
    let has_all =
        remembers && (behind.state.disk == StoredDisk::UpToDate || has_only_parted(behind, ahead));
    if !usable(ahead) && has_all && counted_on {
        // Nothing was acknowledged in the newer generation that the one it counted on does not have (R1).
        let why = "it began a generation that only the other node has a copy of";
        return reverse(Reason {
            row: Mark::Adopt,
            resync: true,
            full: true,
            coarse: false,
            adopt: true,
            why,
        });
    }
    if !usable(ahead) {
        let why = "the node with the newer data has no whole copy of it";
        return Verdict::Wait(Mark::NewerNotWhole, why);
    }
    if let Some(last_common) = behind.state.lineage.newest()
        && went_back(ahead, behind)
        && !went_back(behind, ahead)
        && usable(behind)
        && !was_taken_on(ahead, last_common)
    {
        return Verdict::Rewound { last_common };
    }
    let full = by_hashes(ahead, behind);
    let (row, why) = match (behind.state.lineage.newest(), full) {
        (None, _) => (Mark::AheadOfNoData, "it has no data yet"),
        (Some(_), false) => (Mark::AheadByBitmap, "its data is of an older generation"),
        (Some(_), true) => (Mark::AheadByHashes, "its data is of an older generation"),
    };
    verdict(Reason {
        row,
        resync: true,
        full,
        coarse: ahead.state.lack != Lack::Nothing || behind.state.lack != Lack::Nothing,
        adopt: false,
        why,
    })
}

const OTHERS: &str =
    "a primary without a copy of its own counts on another one, and this one may lack something";

/// A primary has no whole copy, and gives its role up for nobody who may lack what another one of its set has.
fn is_led_by_others(primary: Side<'_>, copy: Side<'_>) -> bool {
    let joins = |node: &NodeId| primary.state.joining.contains(node);
    let other = |node: &NodeId| *node != primary.node && *node != copy.node && !joins(node);
    let doubtful =
        copy.state.disk != StoredDisk::UpToDate || copy.state.rewound || went_back(copy, primary);
    doubtful && primary.state.primary && primary.state.in_sync.iter().any(other)
}

/// Another node went on from `last_common`, and this one has its data from there: that it was rolled back meanwhile has
/// been made good, though the node that is behind can't know it.
fn was_taken_on(side: Side<'_>, last_common: Generation) -> bool {
    let (_, known) = side.state.lineage.ancestors_and_generations();
    let at = known
        .iter()
        .position(|generation| generation.id == last_common.id);
    at.and_then(|at| known.get(at + 1))
        .is_some_and(|next| next.node != side.node)
}

/// It is recorded as outdated and whole, and there is nobody but the other one who could have gone on without it: it has
/// parted in good order.
fn has_only_parted(side: Side<'_>, other: Side<'_>) -> bool {
    let two = |node: &NodeId| *node == side.node || *node == other.node;
    side.state.disk == StoredDisk::Outdated
        && !side.state.suspect
        && side.state.in_sync.contains(&other.node)
        && side.state.in_sync.iter().all(two)
        && other.state.in_sync.iter().all(two)
}

fn same_generation(mine: Side<'_>, theirs: Side<'_>) -> Verdict {
    let Some(newest) = mine.state.lineage.newest() else {
        let why = "neither node has data yet: one must be given the first copy";
        return Verdict::Wait(Mark::NoDataAnywhere, why);
    };
    let (i_lead, rows, why) = match (usable(mine), usable(theirs)) {
        (false, false) => {
            let why = "neither node has a whole copy of the data";
            return Verdict::Wait(Mark::NeitherWhole, why);
        }
        (true, false) if is_led_by_others(theirs, mine) => {
            return Verdict::Wait(Mark::NewerNotWhole, OTHERS);
        }
        (false, true) if is_led_by_others(mine, theirs) => {
            return Verdict::Wait(Mark::NewerNotWhole, OTHERS);
        }
        (true, false) => (true, NOT_WHOLE, "its copy is not whole"),
        (false, true) => (false, NOT_WHOLE, "its copy is not whole"),
        (true, true) => match (went_back(mine, theirs), went_back(theirs, mine)) {
            (true, false) if mine.state.primary => {
                return Verdict::Rewound {
                    last_common: newest,
                };
            }
            (false, true) if theirs.state.primary => {
                return Verdict::Rewound {
                    last_common: newest,
                };
            }
            (true, false) => (false, REWOUND, "it was rolled back to an older state"),
            (false, true) => (true, REWOUND, "it was rolled back to an older state"),
            (true, true) | (false, false) => direction(mine, theirs, newest),
        },
    };
    let (leader, follower) = if i_lead {
        (mine, theirs)
    } else {
        (theirs, mine)
    };
    // A device that has grown on one side only: what was added there is not known to be equal.
    let grown = leader.state.size_blocks > follower.state.size_blocks;
    let dirty = grown || leader.state.dirty_blocks > 0 || follower.state.dirty_blocks > 0;
    let full = by_hashes(leader, follower);
    let resync = dirty || full || !usable(follower);
    let [equal, by_bitmap, by_hashes] = rows;
    let row = match (resync, full) {
        (false, _) => equal,
        (true, false) => by_bitmap,
        (true, true) => by_hashes,
    };
    let reason = Reason {
        row,
        resync,
        full,
        coarse: leader.state.lack != Lack::Nothing || follower.state.lack != Lack::Nothing,
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
fn direction(mine: Side<'_>, theirs: Side<'_>, newest: Generation) -> (bool, Rows, &'static str) {
    let prefer = |test: fn(&PeerState) -> bool, rows, why| {
        (test(mine.state) != test(theirs.state)).then(|| (test(mine.state), rows, why))
    };
    // R1: the survivor has everything that the one which counted on it had acknowledged, even if it has begun to part. A
    // process that died has left what it wrote in a cache at least, a host that went down has not. R14: one that is being
    // taken in may lack anything until it has stored that it is in. What a standby made equal is counted on for nothing,
    // and has all that the standby had.
    let outlived = |survivor: Side<'_>, other: Side<'_>| {
        let counted = other.state.in_sync.contains(&survivor.node)
            || other.state.copies.contains(&survivor.node);
        counted && survivor.state.lack < other.state.lack
    };
    let survivor = || {
        let i_lead = outlived(mine, theirs);
        let other = if i_lead { theirs } else { mine };
        (i_lead || outlived(theirs, mine)).then(|| (i_lead, SURVIVOR, lost(other.state)))
    };
    let lacks_less = || {
        let i_lead = mine.state.lack < theirs.state.lack;
        let other = if i_lead { theirs } else { mine };
        (mine.state.lack != theirs.state.lack).then(|| (i_lead, CRASHED, lost(other.state)))
    };
    prefer(|state| state.primary, PRIMARY, "the other node is primary")
        .or_else(survivor)
        .or_else(|| {
            prefer(
                |state| state.lack != Lack::Anything,
                OUTDATED,
                "nobody had counted on its copy",
            )
        })
        .or_else(|| {
            prefer(
                |state| state.disk != StoredDisk::Outdated,
                OUTDATED,
                "it was recorded as outdated",
            )
        })
        // What was written last may be missing on the one that crashed.
        .or_else(lacks_less)
        .unwrap_or_else(|| {
            let why = "the other node was primary last";
            match (mine.node == newest.node, theirs.node == newest.node) {
                (true, false) => (true, LAST_PRIMARY, why),
                (false, true) => (false, LAST_PRIMARY, why),
                _ => (
                    mine.node < theirs.node,
                    LOWER_NUMBER,
                    "the other node has the lower number",
                ),
            }
        })
}

/// Why the one that lacks this follows the other one.
const fn lost(state: &PeerState) -> &'static str {
    match state.lack {
        Lack::Nothing | Lack::UnderWay => "it crashed and the other node did not",
        Lack::Unflushed => "its host went down, that of the other node did not",
        Lack::Anything => "nobody had counted on its copy",
    }
}

/// A whole copy that others can be brought up from.
const fn usable(side: Side<'_>) -> bool {
    matches!(side.state.disk, StoredDisk::UpToDate | StoredDisk::Outdated)
}

/// Every block has to be looked at. What a failed disk has lost, or one that has taken its place, no bitmap knows.
fn by_hashes(leader: Side<'_>, follower: Side<'_>) -> bool {
    !base_known(leader, follower)
        || follower.state.disk == StoredDisk::Failed
        || has_gaps(leader, follower)
}

/// It remembers less than the other one knows of it: it was rolled back, and that is noticed now.
fn went_back(side: Side<'_>, other: Side<'_>) -> bool {
    !side
        .state
        .runs
        .remember(other.state.seen, side.state.moment)
}

/// One of them was rolled back: what it lacks, or what its bits have forgotten, no bitmap knows.
fn has_gaps(leader: Side<'_>, follower: Side<'_>) -> bool {
    let noticed = leader.state.rewound || follower.state.rewound;
    noticed || went_back(leader, follower) || went_back(follower, leader)
}

/// The leader's dirty bits count from a generation that the follower contains, and the follower has not forgotten since what
/// its own count from: what differs is what either knows.
fn base_known(leader: Side<'_>, follower: Side<'_>) -> bool {
    let contained = |base| follower.state.lineage.contains(base);
    leader.state.base.is_some_and(contained) && follower.state.base.is_some()
}

#[cfg(test)]
mod tests;
