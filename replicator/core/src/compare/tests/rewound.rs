//! Who was rolled back, and whether that matters still.

use super::*;
use crate::moment::is_outrun;

fn is_conflict(verdict: Verdict, last: u64) -> bool {
    matches!(verdict, Verdict::Rewound { last_common } if last_common.id == GenerationId(last))
}

#[test]
fn who_went_back_and_on_by_itself_is_a_conflict_and_who_was_brought_up_since_is_not() {
    // The node that is behind remembers a count of superblocks that the one that is ahead has not reached.
    let remembering = |state: &mut PeerState| state.seen.moment = Moment(9);
    let mut behind = state(&[5]);
    remembering(&mut behind);

    // `state` has node 1 begin every generation: it went on from the older state itself.
    let ahead = state(&[5, 6]);
    assert!(is_conflict(verdict(&ahead, &behind), 5));

    // Node 2, then node 3 began the next one, and node 1 has its data from there.
    for by in [2, 3] {
        let mut ahead = state(&[5, 6]);
        ahead.lineage = Lineage::new(vec![generation(5, 1), generation(6, by)]);
        let Verdict::Lead(reason) = verdict(&ahead, &behind) else {
            panic!("begun by node {by}");
        };
        assert!(
            reason.resync && reason.full,
            "no bitmap knows what it lacks"
        );
    }

    // What another node began later says nothing of the generation that came first.
    let mut ahead = state(&[5, 6, 7]);
    ahead.lineage = Lineage::new(vec![generation(5, 1), generation(6, 1), generation(7, 3)]);
    assert!(is_conflict(verdict(&ahead, &behind), 5));
}

#[test]
fn what_was_made_good_was_never_rolled_back() {
    // Node 1 is primary and was rolled back, and has been made equal to a copy that knew of that.
    let mut primary = state(&[5, 6]);
    (primary.primary, primary.boot, primary.moment) = (true, BootId(7), Moment(8));
    primary.runs.begin(BootId(7), Moment(5));
    let seen = |moment| Seen {
        run: BootId(3),
        moment: Moment(moment),
    };
    let mut other = state(&[5, 6]);
    other.seen = seen(9);
    assert!(is_conflict(verdict(&primary, &other), 6));
    primary.runs.make_good(seen(9));
    let Verdict::Lead(reason) = verdict(&primary, &other) else {
        panic!("what was lost before has been made good");
    };
    assert!(!reason.full, "its bits tell");

    // Who made it equal knew of less.
    other.seen = seen(10);
    assert!(is_conflict(verdict(&primary, &other), 6));
}

#[test]
fn a_follower_that_has_forgotten_what_its_bits_count_from_is_compared_whole() {
    let mut leader = state(&[5]);
    leader.primary = true;
    let mut follower = state(&[5]);
    (leader.dirty_blocks, follower.base) = (1, None);
    let Verdict::Lead(reason) = verdict(&leader, &follower) else {
        panic!("the primary leads");
    };
    assert!(reason.resync && reason.full);
    // Equal by all that the leader knows, and by nothing that the follower does.
    leader.dirty_blocks = 0;
    let Verdict::Lead(reason) = verdict(&leader, &follower) else {
        panic!("the primary leads");
    };
    assert!(reason.resync && reason.full);
}

#[test]
fn a_statement_is_outrun_only_by_what_this_process_has_told_others_since() {
    let mut mine = state(&[5]);
    let began = Moment(0);
    mine.runs.newest = vec![Run {
        boot: mine.boot,
        began,
    }];
    mine.moment = Moment(51);
    let seen = |run, moment| Seen {
        run: BootId(run),
        moment: Moment(moment),
    };
    assert!(is_outrun(&mine, seen(1, 52), Moment(52)));
    assert!(
        !is_outrun(&mine, seen(1, 51), Moment(52)),
        "it says as much"
    );
    // A process that was resumed from a snapshot of its memory has told nobody of what it forgot, however far it comes.
    assert!(!is_outrun(&mine, seen(1, 52), Moment(0)));
    assert!(!is_outrun(&mine, seen(1, 53), Moment(52)));
    assert!(!is_outrun(&mine, seen(2, 52), Moment(52)), "another run");
}
