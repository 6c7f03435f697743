//! LIST_META_CONTEXT and SET_META_CONTEXT: queries, wildcards, order, and when a selection is
//! forgotten.

use crate::common::*;
use twindisk_nbd::protocol::{option, option_reply as rep};
use twindisk_nbd::{ContextId, Export, Outcome, limits};

fn structured() -> Vec<u8> {
    option(option::STRUCTURED_REPLY, b"")
}

fn list(name: &str, queries: &[&str]) -> Vec<u8> {
    option(option::LIST_META_CONTEXT, &meta_body(name, queries))
}

fn set(name: &str, queries: &[&str]) -> Vec<u8> {
    option(option::SET_META_CONTEXT, &meta_body(name, queries))
}

/// Replies to the last of `options`, after structured replies were negotiated.
fn ask(options: &[Vec<u8>], exports: &[Export]) -> Vec<(u32, Vec<u8>)> {
    let all = [&[structured()], options].concat();
    let conversation = converse(&client(&all), exports);
    assert_eq!(conversation.outcome, None);
    let all = replies(&conversation.output);
    let last = all.last().unwrap().0;
    let mut tail: Vec<_> = all
        .into_iter()
        .rev()
        .take_while(|r| r.0 == last)
        .map(|r| (r.1, r.2))
        .collect();
    tail.reverse();
    tail
}

/// The context that the transmission phase starts with.
fn selected(options: &[Vec<u8>], exports: &[Export]) -> Option<ContextId> {
    let all = [&[structured()], options].concat();
    match converse(&client(&all), exports).outcome {
        Some(Outcome::Transmission(negotiated)) => negotiated.base_allocation,
        other => panic!("{other:?}"),
    }
}

fn two() -> Vec<Export> {
    vec![
        Export::new("a", 4096).unwrap(),
        Export::new("b", 4096).unwrap(),
    ]
}

fn go(name: &str) -> Vec<u8> {
    option(option::GO, &info_body(name, &[]))
}

#[test]
fn contexts_need_structured_replies() {
    for number in [option::LIST_META_CONTEXT, option::SET_META_CONTEXT] {
        let body = meta_body("disk0", &["base:allocation"]);
        let conversation = converse(&client(&[option(number, &body)]), &disk());
        assert_eq!(replies(&conversation.output)[0].1, rep::ERR_INVALID);
    }
}

#[test]
fn list_matches_everything_wildcards_and_exact_names() {
    let context = (rep::META_CONTEXT, b"\0\0\0\0base:allocation".to_vec());
    let ack = (rep::ACK, Vec::new());
    let queries: [&[&str]; 4] = [
        &[],
        &["base:"],
        &["base:allocation"],
        &["x-other:thing", "base:allocation", "base:"],
    ];
    for queries in queries {
        assert_eq!(
            ask(&[list("disk0", queries)], &disk()),
            [context.clone(), ack.clone()]
        );
    }
    let queries: [&[&str]; 2] = [&["base:other"], &["qemu:", "x-base:allocation"]];
    for queries in queries {
        assert_eq!(
            ask(&[list("disk0", queries)], &disk()),
            std::slice::from_ref(&ack)
        );
    }
}

#[test]
fn set_selects_exact_names_only() {
    let context = (rep::META_CONTEXT, b"\0\0\0\x01base:allocation".to_vec());
    let ack = (rep::ACK, Vec::new());
    assert_eq!(
        ask(&[set("disk0", &["base:allocation"])], &disk()),
        [context, ack.clone()]
    );
    let queries: [&[&str]; 3] = [&[], &["base:"], &["base:other", "qemu:dirty-bitmap:x"]];
    for queries in queries {
        assert_eq!(
            ask(&[set("disk0", queries)], &disk()),
            std::slice::from_ref(&ack)
        );
    }
    assert_eq!(
        selected(&[set("disk0", &["base:allocation"]), go("disk0")], &disk()),
        Some(ContextId::BASE_ALLOCATION)
    );
    assert_eq!(selected(&[go("disk0")], &disk()), None);
}

#[test]
fn a_selection_is_forgotten_when_the_export_changes() {
    let query = &["base:allocation"];
    assert_eq!(selected(&[set("a", query), go("b")], &two()), None);
    assert_eq!(
        selected(&[set("a", query), set("b", query), go("a")], &two()),
        None
    );
    assert!(selected(&[set("a", query), set("b", query), go("b")], &two()).is_some());
    let by_name = option(option::EXPORT_NAME, b"b");
    assert_eq!(selected(&[set("a", query), by_name], &two()), None);
    let by_name = option(option::EXPORT_NAME, b"a");
    assert!(selected(&[set("a", query), by_name], &two()).is_some());
}

#[test]
fn a_selection_is_replaced_also_by_a_failing_one() {
    let good = set("disk0", &["base:allocation"]);
    for bad in [
        set("nope", &["base:allocation"]),
        set("disk0", &[]),
        set("disk0", &["no-colon"]),
        option(option::SET_META_CONTEXT, b"\0\0"),
        option(
            option::SET_META_CONTEXT,
            &vec![0; limits::MAX_OPTION_BYTES as usize + 1],
        ),
    ] {
        assert_eq!(selected(&[good.clone(), bad, go("disk0")], &disk()), None);
    }
    let listing = list("disk0", &[]);
    assert!(selected(&[good, listing, go("disk0")], &disk()).is_some());
}

#[test]
fn malformed_queries_are_answered() {
    let whole = meta_body("disk0", &["base:allocation", "base:"]);
    for number in [option::LIST_META_CONTEXT, option::SET_META_CONTEXT] {
        for end in 0..whole.len() {
            let found = ask(&[option(number, &whole[..end])], &disk());
            assert_eq!(found[0].0, rep::ERR_INVALID, "cut at {end}");
        }
        let longer = [whole.clone(), vec![0]].concat();
        assert_eq!(
            ask(&[option(number, &longer)], &disk())[0].0,
            rep::ERR_INVALID
        );
        let without_colon = meta_body("disk0", &["base"]);
        assert_eq!(
            ask(&[option(number, &without_colon)], &disk())[0].0,
            rep::ERR_INVALID
        );
        let unknown_export = meta_body("nope", &["base:"]);
        assert_eq!(
            ask(&[option(number, &unknown_export)], &disk())[0].0,
            rep::ERR_UNKNOWN
        );
        let many = vec!["x:"; limits::MAX_META_QUERIES as usize];
        assert_eq!(
            ask(&[option(number, &meta_body("disk0", &many))], &disk())[0].0,
            rep::ACK
        );
        let too_many = vec!["x:"; limits::MAX_META_QUERIES as usize + 1];
        let found = ask(&[option(number, &meta_body("disk0", &too_many))], &disk());
        assert_eq!(found[0].0, rep::ERR_TOO_BIG);
        let long_query = format!("x:{}", "q".repeat(limits::MAX_STRING_BYTES));
        let found = ask(
            &[option(number, &meta_body("disk0", &[&long_query]))],
            &disk(),
        );
        assert_eq!(found[0].0, rep::ERR_TOO_BIG);
        let not_utf8 = b"\0\0\0\x05disk0\0\0\0\x01\0\0\0\x02\xff:";
        assert_eq!(
            ask(&[option(number, not_utf8)], &disk())[0].0,
            rep::ERR_INVALID
        );
    }
}

#[test]
fn an_export_without_block_status_has_no_context() {
    let mut exports = disk();
    exports[0].capabilities.block_status = false;
    assert_eq!(
        ask(&[list("disk0", &[])], &exports),
        [(rep::ACK, Vec::new())]
    );
    assert_eq!(
        selected(&[set("disk0", &["base:allocation"]), go("disk0")], &exports),
        None
    );
}
