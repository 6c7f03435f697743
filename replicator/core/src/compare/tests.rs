//! The table, row by row, and what holds for every pair of histories.

use proptest::prelude::*;
use twindisk_format::{
    ids::{BootId, Epoch, GenerationId, Moment, Term},
    lineage::Lineage,
    superblock::{Lack, Run, Seen},
};

use super::*;

mod rewound;

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
        follows: None,
        disk: StoredDisk::UpToDate,
        up_to_date: true,
        unwritten: false,
        lack: Lack::Nothing,
        base: lineage.newest().map(|newest| newest.id),
        lineage,
        unconfirmed: false,
        suspect: false,
        rewound: false,
        moment: Moment(0),
        runs: Box::default(),
        seen: Seen::NEVER,
        in_sync: vec![ONE, TWO],
        joining: Vec::new(),
        epoch: Epoch(1),
        copies: Vec::new(),
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

fn forget(mine: &mut PeerState, theirs: &mut PeerState) -> bool {
    forget_unconfirmed((ONE, mine), (TWO, theirs))
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
    crashed.lack = Lack::UnderWay;
    crashed.dirty_blocks = 7;
    assert_eq!(leads(&crashed, &state(&[5])), None);
    assert_eq!(leads(&state(&[5]), &crashed), Some((true, false)));
}

#[test]
fn a_survivor_leads_even_if_it_has_begun_to_part_unless_it_was_not_counted_on() {
    let mut crashed = state(&[5]);
    crashed.lack = Lack::UnderWay;
    let mut survivor = state(&[5]);
    survivor.disk = StoredDisk::Outdated;
    assert_eq!(leads(&survivor, &crashed), Some((false, false)));
    crashed.in_sync = vec![TWO];
    assert_eq!(leads(&survivor, &crashed), None);
}

#[test]
fn whose_process_died_outlived_whose_host_went_down_even_if_it_has_begun_to_part() {
    let mut lost_power = state(&[5]);
    lost_power.lack = Lack::Unflushed;
    let mut died = state(&[5]);
    (died.lack, died.disk) = (Lack::UnderWay, StoredDisk::Outdated);
    assert_eq!(leads(&died, &lost_power), Some((false, false)));
    assert_eq!(leads(&lost_power, &died), None);
    lost_power.in_sync = vec![TWO];
    assert_eq!(leads(&died, &lost_power), None);
    lost_power.copies = vec![ONE];
    assert_eq!(leads(&died, &lost_power), Some((false, false)));
    lost_power.copies = Vec::new();
    lost_power.in_sync = vec![ONE, TWO];
    died.lack = Lack::Unflushed;
    assert_eq!(leads(&died, &lost_power), None);
}

#[test]
fn who_was_being_taken_in_does_not_outlive_who_took_it_in_before_it_knew() {
    let mut crashed = state(&[5]);
    crashed.lack = Lack::UnderWay;
    crashed.joining = vec![ONE];
    let mut joiner = state(&[5]);
    (joiner.disk, joiner.lack) = (StoredDisk::Outdated, Lack::Anything);
    assert_eq!(leads(&joiner, &crashed), None);
    // It has stored that it is in, so it has everything.
    (joiner.disk, joiner.lack) = (StoredDisk::UpToDate, Lack::Nothing);
    assert_eq!(leads(&joiner, &crashed), Some((false, false)));
}

#[test]
fn a_copy_that_nobody_counted_on_leads_nobody_who_has_lost_less() {
    let mut copy = state(&[5]);
    (copy.disk, copy.lack) = (StoredDisk::Outdated, Lack::Anything);
    for lack in [Lack::Nothing, Lack::UnderWay, Lack::Unflushed] {
        let mut member = state(&[5]);
        member.lack = lack;
        assert_eq!(leads(&copy, &member), None);
        // It has parted in good order, or was made equal by somebody who lacks as much.
        member.disk = StoredDisk::Outdated;
        assert_eq!(leads(&copy, &member), None);
        assert_eq!(leads(&member, &copy), Some((false, false)));
    }
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
    assert!(matches!(verdict(&ahead, &state(&[5])), Verdict::Wait(..)));
}

#[test]
fn who_is_counted_on_by_a_newer_generation_without_a_copy_leads_and_adopts_it() {
    let mut failed = state(&[5, 6]);
    failed.disk = StoredDisk::Failed;
    failed.in_sync = vec![TWO];
    let mut counted_on = state(&[5]);
    assert!(matches!(verdict(&failed, &counted_on), Verdict::Follow(r) if r.adopt && r.full));
    // It was rolled back, and that is noticed now, or was before.
    let (mut knows, mut rewound) = (failed.clone(), counted_on.clone());
    knows.seen.moment = Moment(9);
    assert!(matches!(verdict(&knows, &rewound), Verdict::Wait(..)));
    rewound.rewound = true;
    assert!(matches!(verdict(&failed, &rewound), Verdict::Wait(..)));
    // It has parted in good order, and nobody else could have gone on.
    counted_on.disk = StoredDisk::Outdated;
    assert!(matches!(verdict(&failed, &counted_on), Verdict::Follow(r) if r.adopt && r.full));
    type Change = fn(&mut PeerState, &mut PeerState);
    let somebody_else: [Change; 7] = [
        |failed, _| failed.in_sync.push(NodeId(3)),
        |failed, _| failed.in_sync.clear(),
        |_, parted| parted.in_sync.push(NodeId(3)),
        |_, parted| parted.in_sync = vec![TWO],
        |_, parted| parted.suspect = true,
        |_, parted| parted.rewound = true,
        |failed, _| failed.seen.moment = Moment(9),
    ];
    for change in somebody_else {
        let (mut failed, mut parted) = (failed.clone(), counted_on.clone());
        change(&mut failed, &mut parted);
        assert!(matches!(verdict(&failed, &parted), Verdict::Wait(..)));
    }
}

#[test]
fn a_primary_without_a_copy_is_led_by_nobody_who_may_lack_what_another_one_has() {
    let mut failed = state(&[5]);
    (failed.disk, failed.primary) = (StoredDisk::Failed, true);
    failed.in_sync = vec![TWO, NodeId(3)];
    let copy = state(&[5]);
    let follows = |failed: &PeerState, copy: &PeerState| matches!(verdict(failed, copy), Verdict::Follow(reason) if reason.full);
    assert!(follows(&failed, &copy));
    type Change = fn(&mut PeerState, &mut PeerState);
    let doubts: [Change; 3] = [
        |_, copy| copy.disk = StoredDisk::Outdated,
        |_, copy| copy.rewound = true,
        |failed, _| failed.seen.moment = Moment(9),
    ];
    for doubt in doubts {
        let (mut failed, mut copy) = (failed.clone(), copy.clone());
        doubt(&mut failed, &mut copy);
        assert!(matches!(verdict(&failed, &copy), Verdict::Wait(..)));
        // With nobody else there is nobody who could have more.
        failed.in_sync = vec![TWO];
        assert!(follows(&failed, &copy));
    }
}

#[test]
fn an_unconfirmed_generation_is_no_fork() {
    let mut begun = state(&[5, 6]);
    begun.unconfirmed = true;
    let mut confirmed = state(&[5, 7]);
    confirmed.base = Some(GenerationId(5));
    assert!(forget(&mut begun, &mut confirmed));
    assert!(matches!(verdict(&begun, &confirmed), Verdict::Follow(reason) if !reason.full));
    let mut known = state(&[5, 6]);
    known.unconfirmed = true;
    assert!(!forget(&mut known, &mut state(&[5])));
    assert_eq!(leads(&known, &state(&[5])), Some((true, true)));
}

#[test]
fn a_generation_begun_without_a_copy_waits_for_nobody_who_left_before() {
    let three = NodeId(3);
    let mut begun = state(&[5, 6]);
    (begun.disk, begun.unconfirmed) = (StoredDisk::Failed, true);
    (begun.in_sync, begun.joining) = (vec![TWO, three], vec![three]);
    let mut left = state(&[5]);
    left.disk = StoredDisk::Outdated;
    left.in_sync.push(three);
    let tried = |begun: &PeerState, left: &PeerState| {
        let (mut begun, mut left) = (begun.clone(), left.clone());
        let forgotten = forget(&mut begun, &mut left);
        assert_eq!(leads(&left, &begun).is_some(), forgotten);
        forgotten
    };
    assert!(tried(&begun, &left));
    // Another one that it counted on may have gone on.
    let mut counted = begun.clone();
    counted.joining.clear();
    assert!(!tried(&counted, &left));
    // Whoever was to join has perhaps never heard of it.
    let mut joining = begun.clone();
    (joining.in_sync, joining.joining) = (vec![TWO], vec![TWO]);
    assert!(!tried(&joining, &left));
    // What was completed in it, and in a generation before it, the other one does not have.
    let mut confirmed = begun.clone();
    confirmed.unconfirmed = false;
    assert!(!tried(&confirmed, &left));
    assert!(!tried(&begun, &state(&[4])));
    left.rewound = true;
    assert!(!tried(&begun, &left));
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
        Verdict::Wait(..)
    ));
}

#[test]
fn a_failed_disk_is_compared_as_a_whole() {
    let mut failed = state(&[5]);
    failed.disk = StoredDisk::Failed;
    assert_eq!(leads(&state(&[5]), &failed), Some((true, true)));
    let mut ahead = state(&[5, 6]);
    ahead.base = Some(GenerationId(5));
    assert_eq!(leads(&ahead, &failed), Some((true, true)));
}

fn lacks() -> impl Strategy<Value = Lack> {
    prop::sample::select(vec![
        Lack::Nothing,
        Lack::UnderWay,
        Lack::Unflushed,
        Lack::Anything,
    ])
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
        any::<bool>(),
        lacks(),
        0_u64..3,
    )
        .prop_map(
            |(generations, disk, primary, lack, dirty_blocks)| PeerState {
                disk,
                primary,
                lack,
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

/// What can happen to a cluster's generations.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A node begins a generation: promoted, or going on without a replica. Those of the set that are equal store it.
    Begin { node: usize, with: u8 },
    /// A node was brought up from another one, if it was behind it.
    Follow { node: usize, leader: usize },
    /// A node gives up what it has and the other has not, and follows.
    Discard { node: usize, keep: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    let node = 0_usize..3;
    prop_oneof![
        4 => (node.clone(), 0_u8..8).prop_map(|(node, with)| Step::Begin { node, with }),
        3 => (node.clone(), 0_usize..3).prop_map(|(node, leader)| Step::Follow { node, leader }),
        1 => (node, 0_usize..3).prop_map(|(node, keep)| Step::Discard { node, keep }),
    ]
}

/// Three lineages that come of these steps, from one first copy.
fn live(steps: &[Step]) -> [Vec<u64>; 3] {
    let mut nodes = [vec![1], vec![], vec![]];
    let mut newest = 1;
    for step in steps {
        match *step {
            Step::Begin { node, with } if !nodes[node].is_empty() => {
                newest += 1;
                let before = nodes[node].clone();
                for (other, lineage) in nodes.iter_mut().enumerate() {
                    if other == node || with & 1 << other != 0 && *lineage == before {
                        lineage.push(newest);
                    }
                }
            }
            Step::Follow { node, leader } if nodes[leader].starts_with(&nodes[node]) => {
                nodes[node] = nodes[leader].clone();
            }
            Step::Discard { node, keep } => nodes[node] = nodes[keep].clone(),
            Step::Begin { .. } | Step::Follow { .. } => {}
        }
    }
    nodes
}

/// The state of a node with that lineage, in a condition that chance decides.
fn condition(generations: &[u64], dice: (usize, Lack, bool, u64, usize)) -> PeerState {
    let (disk, lack, counts_on, dirty_blocks, base) = dice;
    let whole = [
        StoredDisk::UpToDate,
        StoredDisk::UpToDate,
        StoredDisk::Outdated,
    ];
    let broken = [StoredDisk::Inconsistent, StoredDisk::Failed];
    let disk = if generations.is_empty() {
        StoredDisk::Inconsistent
    } else {
        whole
            .into_iter()
            .chain(broken)
            .nth(disk % 5)
            .expect("one of five")
    };
    let mut state = state(generations);
    state.disk = disk;
    state.lack = lack;
    state.dirty_blocks = dirty_blocks;
    state.in_sync = if counts_on { vec![ONE, TWO] } else { vec![] };
    state.base = generations
        .get(base % (generations.len() + 1))
        .map(|id| GenerationId(*id));
    state
}

proptest! {
    /// Every pair of histories that promotions, partings, followings and forks can lead to has one answer, the same
    /// seen from both sides, and the one that the steps themselves say.
    #[test]
    fn every_reachable_pair_has_one_answer(
        steps in prop::collection::vec(any_step(), 0..40),
        mine in (0_usize..5, lacks(), any::<bool>(), 0_u64..2, any::<usize>()),
        theirs in (0_usize..5, lacks(), any::<bool>(), 0_u64..2, any::<usize>()),
        primary in 0_u8..3,
    ) {
        let lineages = live(&steps);
        for (low, high) in [(0, 1), (0, 2), (1, 2)] {
            let (one, two) = (&lineages[low], &lineages[high]);
            let (mut mine, mut theirs) = (condition(one, mine), condition(two, theirs));
            mine.primary = primary == 1 && !one.is_empty();
            theirs.primary = primary == 2 && !two.is_empty();
            let found = verdict(&mine, &theirs);
            let mirrored = match compare(Side { node: TWO, state: &theirs }, Side { node: ONE, state: &mine }) {
                Verdict::Lead(reason) => Verdict::Follow(reason),
                Verdict::Follow(reason) => Verdict::Lead(reason),
                same => same,
            };
            prop_assert_eq!(&found, &mirrored);
            let forked = !one.starts_with(two) && !two.starts_with(one);
            prop_assert_eq!(matches!(found, Verdict::SplitBrain { .. }), forked);
            prop_assert!(found != Verdict::Unrelated, "they come from one first copy");
            let (leader, follower, reason) = match found {
                Verdict::Lead(reason) => (&mine, &theirs, reason),
                Verdict::Follow(reason) => (&theirs, &mine, reason),
                Verdict::Wait(..)
                | Verdict::SplitBrain { .. }
                | Verdict::Rewound { .. }
                | Verdict::Unrelated => continue,
            };
            let whole = [StoredDisk::UpToDate, StoredDisk::Outdated];
            prop_assert!(whole.contains(&leader.disk), "only a whole copy leads");
            let newer = leader.lineage.generations().len() >= follower.lineage.generations().len();
            prop_assert!(newer || reason.adopt, "nobody goes back, but to what a generation counted on");
            if one == two && follower.primary {
                prop_assert!(!whole.contains(&follower.disk), "a primary with a whole copy leads");
            }
            if !reason.resync {
                prop_assert_eq!(one, two, "only the same generation can be equal");
                prop_assert_eq!(leader.dirty_blocks + follower.dirty_blocks, 0);
                prop_assert!(whole.contains(&follower.disk));
            }
            if !reason.full {
                let base = leader.base.expect("bits count from somewhere");
                prop_assert!(follower.lineage.contains(base), "and the follower has been there");
            }
        }
    }
}
