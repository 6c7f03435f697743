//! One claim of a record wins, its answer may be lost, a late one changes nothing, and what was rolled back says so.

use super::*;
use crate::Nonce;

fn first() -> (Register, Record) {
    let record = Record::first(Nonce(7), 1, vec![0, 1], 0);
    let ask = Ask::Swap {
        from: None,
        to: record.clone(),
    };
    let (register, answer) = Register::default().ask(None, &ask);
    assert_eq!(answer, Answer::Done(record.clone()));
    (register, record)
}

fn claim(record: &Record, node: u8, nonce: u64) -> (Record, Ask) {
    let to = record.next(Nonce(nonce), record.term + 1, vec![node], node);
    let from = Some(record.stamp);
    (to.clone(), Ask::Swap { from, to })
}

#[test]
fn of_two_claims_of_one_record_one_wins_and_the_other_hears_of_it() {
    let (register, record) = first();
    let (a, ask_a) = claim(&record, 0, 1);
    let (_, ask_b) = claim(&record, 1, 2);
    let (register, answer) = register.ask(None, &ask_a);
    assert_eq!(answer, Answer::Done(a.clone()));
    let (after, answer) = register.ask(None, &ask_b);
    assert_eq!(answer, Answer::Lost(Some(a)));
    assert_eq!(after, register);
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_changes_nothing() {
    let (register, record) = first();
    let (a, ask) = claim(&record, 0, 1);
    let (register, _) = register.ask(None, &ask);
    let (after, answer) = register.ask(Some(record.stamp.version), &ask);
    assert_eq!(answer, Answer::Done(a));
    assert_eq!(after, register);
}

#[test]
fn a_claim_that_comes_late_changes_nothing() {
    let (register, record) = first();
    let (_, late) = claim(&record, 1, 2);
    let grown = record.next(Nonce(3), 1, vec![0, 1], 0);
    let ask = Ask::Swap {
        from: Some(record.stamp),
        to: grown.clone(),
    };
    let (register, _) = register.ask(None, &ask);
    let (after, answer) = register.ask(None, &late);
    assert_eq!(answer, Answer::Lost(Some(grown)));
    assert_eq!(after, register);
}

#[test]
fn a_number_that_was_used_before_is_not_enough() {
    let (register, record) = first();
    let other = Stamp {
        nonce: Nonce(8),
        ..record.stamp
    };
    let (_, Ask::Swap { to, .. }) = claim(&record, 0, 1) else {
        unreachable!("a claim is a swap");
    };
    let from = Some(other);
    let (after, answer) = register.ask(None, &Ask::Swap { from, to });
    assert_eq!(answer, Answer::Lost(Some(record)));
    assert_eq!(after, register);
}

#[test]
fn who_was_rolled_back_refuses_until_it_is_adopted() {
    let (old, record) = first();
    let (newer, ask) = claim(&record, 0, 1);
    let (_, again) = claim(&record, 1, 2);
    // The host's snapshot of before the claim was restored; a node that has seen the claim asks.
    let known = Some(newer.stamp.version);
    let (doubtful, answer) = old.ask(known, &Ask::Read);
    assert!(matches!(answer, Answer::Refused { ref why, .. } if why.contains("rolled back")));
    // It stays so for everybody, also for one who knows nothing.
    for ask in [&Ask::Read, &again, &ask] {
        let (after, answer) = doubtful.ask(None, ask);
        assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
        assert_eq!(after, doubtful);
    }
    let mut to = record.next(Nonce(9), 2, vec![0, 1], 0);
    let from = Some(record.stamp);
    let (after, answer) = doubtful.ask(
        known,
        &Ask::Adopt {
            from,
            to: to.clone(),
        },
    );
    assert!(
        matches!(answer, Answer::Refused { .. }),
        "in the same epoch"
    );
    assert!(after.doubt.is_some());
    to.stamp.version = Version { epoch: 2, seq: 1 };
    let ask = Ask::Adopt {
        from,
        to: to.clone(),
    };
    let (adopted, answer) = doubtful.ask(known, &ask);
    assert_eq!(answer, Answer::Done(to.clone()));
    assert_eq!(
        adopted.ask(known, &Ask::Read).1,
        Answer::Held(Some(to.clone()))
    );
    assert_eq!(
        adopted.ask(known, &ask).1,
        Answer::Done(to),
        "once more is the same"
    );
}

#[test]
fn one_that_was_emptied_refuses_too() {
    let (_, record) = first();
    let known = Some(record.stamp.version);
    let (after, answer) = Register::default().ask(known, &Ask::Read);
    assert!(matches!(answer, Answer::Refused { .. }));
    assert!(after.doubt.is_some());
}

#[test]
fn an_adoption_that_comes_late_changes_nothing() {
    let doubtful = Register::doubtful("its file is cut");
    let mut to = Record::first(Nonce(1), 3, vec![0, 1], 0);
    to.stamp.version.epoch = 2;
    let late = Ask::Adopt {
        from: None,
        to: to.clone(),
    };
    to.stamp.nonce = Nonce(2);
    let ask = Ask::Adopt {
        from: None,
        to: to.clone(),
    };
    let (adopted, _) = doubtful.ask(None, &ask);
    let (after, answer) = adopted.ask(None, &late);
    assert_eq!(answer, Answer::Lost(Some(to)));
    assert_eq!(after, adopted);
}

#[test]
fn what_names_nobody_or_skips_numbers_is_refused() {
    let (register, record) = first();
    let nobody = record.next(Nonce(1), 2, Vec::new(), 0);
    let mut skips = record.next(Nonce(1), 2, vec![0], 0);
    skips.stamp.version.seq += 1;
    for to in [nobody, skips] {
        let from = Some(record.stamp);
        let (after, answer) = register.ask(None, &Ask::Swap { from, to });
        assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
        assert_eq!(after, register);
    }
}
