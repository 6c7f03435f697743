//! The clients' book of what they were promised: what it must notice, and what it must let pass.

mod harness;

use harness::book::{BLOCK, Book, Change, Loss, Range, Verdict, payload};

#[test]
fn the_book_notices_what_is_lost() {
    let range = Range { first: 7, count: 1 };
    let judge = |book: &mut Book, data: &[u8], loss| {
        let mut verdict = Verdict::default();
        book.check(7, data, loss, &mut verdict);
        verdict.wrong.is_empty()
    };
    let fresh = || {
        let mut book = Book::default();
        let version = book.new_version();
        book.begin(range, Change::Write(version));
        book.acknowledge(range, false);
        book
    };
    let zeroes = vec![0; BLOCK];
    let one = payload(range, 1);
    assert!(judge(&mut fresh(), &one, Loss::Nothing));
    assert!(!judge(&mut fresh(), &zeroes, Loss::Nothing), "acknowledged");
    assert!(judge(&mut fresh(), &zeroes, Loss::Unflushed), "not flushed");
    let mut flushed = fresh();
    let covers = flushed.flush_covers();
    flushed.flushed(covers);
    assert!(!judge(&mut flushed, &zeroes, Loss::Unflushed), "flushed");

    let with_second = |change| {
        let mut book = fresh();
        assert_eq!(book.new_version(), 2);
        book.begin(range, change);
        book
    };
    let two = payload(range, 2);
    let mut torn = one.clone();
    torn[..1024].copy_from_slice(&two[..1024]);
    for data in [&one, &two, &torn] {
        assert!(judge(
            &mut with_second(Change::Write(2)),
            data,
            Loss::Nothing
        ));
    }
    assert!(!judge(
        &mut with_second(Change::Write(2)),
        &zeroes,
        Loss::Nothing
    ));
    assert!(
        !judge(&mut fresh(), &torn, Loss::Nothing),
        "torn with nothing in flight"
    );
    let mut damaged = one.clone();
    damaged[700] ^= 1;
    assert!(!judge(
        &mut with_second(Change::Write(2)),
        &damaged,
        Loss::Unflushed
    ));
    let elsewhere = payload(Range { first: 8, count: 1 }, 1);
    assert!(!judge(&mut fresh(), &elsewhere, Loss::Nothing));
    // A trim leaves it open; what is found then stays.
    let mut trimmed = with_second(Change::Trim);
    trimmed.acknowledge(range, false);
    assert!(judge(&mut trimmed.clone(), &one, Loss::Nothing));
    assert!(judge(&mut trimmed, &zeroes, Loss::Nothing));
    assert!(!judge(&mut trimmed, &one, Loss::Nothing), "it came back");
}
