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
fn what_is_known_of_a_former_run_is_nothing_against_a_generation_begun_since() {
    // Node 1 is primary in a generation that it has begun itself, and node 2 has its data from there.
    let mut primary = state(&[5, 6]);
    (primary.primary, primary.boot) = (true, BootId(7));
    let run = |boot, began| Run {
        boot: BootId(boot),
        began: Moment(began),
    };
    (primary.runs, primary.moment) = (vec![run(3, 0), run(7, 5)], Moment(8));
    let mut other = state(&[5, 6]);
    (other.seen.run, other.seen.moment) = (BootId(3), Moment(9));
    let Verdict::Lead(reason) = verdict(&primary, &other) else {
        panic!("what was lost before has been made good");
    };
    assert!(
        reason.resync && reason.full,
        "no bitmap knows what it lacks"
    );

    // A snapshot of a running machine: it was further in this very run.
    other.seen.run = primary.boot;
    assert!(is_conflict(verdict(&primary, &other), 6));

    // The same, and that run is over: the resumed process knows nothing of the next one.
    other.seen.run = BootId(8);
    assert!(is_conflict(verdict(&primary, &other), 6));

    // The generation is of somebody else: it is not this one's word that it has everything.
    other.seen.run = BootId(3);
    for state in [&mut primary, &mut other] {
        state.lineage = Lineage::new(vec![generation(5, 1), generation(6, 3)]);
    }
    assert!(is_conflict(verdict(&primary, &other), 6));
}

#[test]
fn a_statement_is_outrun_only_by_what_this_process_has_told_others_since() {
    let mut mine = state(&[5]);
    let began = Moment(0);
    mine.runs = vec![Run {
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
