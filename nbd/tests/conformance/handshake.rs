//! Every option of the handshake, legal and illegal; each conversation is fed at once, byte by
//! byte and in odd pieces (`common::converse`).

use crate::common::*;
use twindisk_nbd::protocol::{info, option, option_reply as rep};
use twindisk_nbd::{
    Availability, BlockSizes, Export, HandshakeError, Negotiated, Outcome, ReplyStyle, Unserved,
    limits,
};

fn transmission(export: &str) -> Option<Outcome> {
    Some(Outcome::Transmission(Negotiated {
        export: export.to_owned(),
        replies: ReplyStyle::Simple,
        base_allocation: None,
    }))
}

/// Options after which the handshake goes on: their replies.
fn answers(options: &[Vec<u8>], exports: &[Export]) -> Vec<(u32, u32, Vec<u8>)> {
    let conversation = converse(&client(options), exports);
    assert_eq!(conversation.outcome, None);
    assert!(conversation.left_over.is_empty());
    replies(&conversation.output)
}

/// The type of the last reply to the last option, and its text.
fn final_answer(options: &[Vec<u8>], exports: &[Export]) -> (u32, String) {
    let (_, kind, data) = answers(options, exports).pop().unwrap();
    (kind, String::from_utf8(data).unwrap())
}

#[test]
fn unknown_client_flags_close_the_connection() {
    for flags in [4_u32, 1 << 31, 7] {
        let conversation = converse(&flags.to_be_bytes(), &disk());
        let reason = HandshakeError::UnknownClientFlags(flags);
        assert_eq!(conversation.outcome, Some(Outcome::HardClose(reason)));
        assert!(conversation.output.is_empty());
    }
}

#[test]
fn export_name_answers_size_flags_and_padding() {
    for (flags, padding) in [(0_u32, 124), (1, 124), (2, 0), (3, 0)] {
        let mut input = flags.to_be_bytes().to_vec();
        input.extend(option(option::EXPORT_NAME, b"disk0"));
        input.extend_from_slice(b"pipelined");
        let conversation = converse(&input, &disk());
        let mut wanted = (1_u64 << 20).to_be_bytes().to_vec();
        wanted.extend_from_slice(&[0x0d, 0x6d]);
        wanted.resize(10 + padding, 0);
        assert_eq!(conversation.output, wanted, "client flags {flags}");
        assert_eq!(conversation.outcome, transmission("disk0"));
        assert_eq!(conversation.left_over, b"pipelined");
    }
}

#[test]
fn export_name_refused_closes_without_a_word() {
    let mut exports = three_exports();
    let mut big_blocks = Export::new("big", 1 << 20).unwrap();
    big_blocks.block_sizes = BlockSizes::new(4096, 4096, 1 << 20).unwrap();
    exports.push(big_blocks);
    for (name, reason) in [
        (&b"nope"[..], "no export \"nope\" here"),
        (b"", "no export \"\" here"),
        (b"standby", "this node is standby; ask node b"),
        (b"leaving", "this node is being demoted"),
        (b"\xff\xfe", "an export name is not UTF-8"),
        (&[b'n'; 4097], "an export name beyond 4096 bytes"),
        (
            b"big",
            "its block size needs a client that asks for it with GO",
        ),
    ] {
        let conversation = converse(&client(&[option(option::EXPORT_NAME, name)]), &exports);
        let Some(Outcome::HardClose(HandshakeError::ExportRefused { reason: found, .. })) =
            conversation.outcome
        else {
            panic!("{name:?}: {conversation:?}");
        };
        assert_eq!(found, reason);
        assert!(conversation.output.is_empty());
    }
}

#[test]
fn the_default_export_is_the_only_one() {
    let conversation = converse(&client(&[option(option::EXPORT_NAME, b"")]), &disk());
    assert_eq!(conversation.outcome, transmission("disk0"));
    let named = answers(
        &[option(option::INFO, &info_body("", &[info::NAME]))],
        &disk(),
    );
    assert_eq!(named[1].2, b"\x00\x01disk0");
}

#[test]
fn abort_is_acknowledged() {
    for body in [&b""[..], b"bye"] {
        let conversation = converse(&client(&[option(option::ABORT, body)]), &disk());
        assert_eq!(conversation.outcome, Some(Outcome::Aborted));
        assert_eq!(conversation.output, reply(option::ABORT, rep::ACK, b""));
    }
}

#[test]
fn list_names_every_export() {
    let listed = answers(&[option(option::LIST, b"")], &three_exports());
    let entry = |text: &[u8]| (option::LIST, rep::SERVER, text.to_vec());
    assert_eq!(
        listed,
        [
            entry(b"\0\0\0\x05disk0the test disk"),
            entry(b"\0\0\0\x07standby"),
            entry(b"\0\0\0\x07leaving"),
            (option::LIST, rep::ACK, Vec::new()),
        ]
    );
    assert_eq!(answers(&[option(option::LIST, b"")], &[]).len(), 1);
}

#[test]
fn list_with_data_is_invalid() {
    let (kind, text) = final_answer(&[option(option::LIST, b"x")], &disk());
    assert_eq!(
        (kind, text.as_str()),
        (rep::ERR_INVALID, "LIST takes no data")
    );
}

#[test]
fn info_and_go_give_the_same_answer() {
    let infos = [
        info::BLOCK_SIZE,
        info::DESCRIPTION,
        info::NAME,
        0x7777,
        info::EXPORT,
    ];
    let body = info_body("disk0", &infos);
    let asked = answers(&[option(option::INFO, &body)], &disk());
    let went = converse(
        &client(&[option(option::GO, &body), b"rest".to_vec()]),
        &disk(),
    );
    assert_eq!(went.outcome, transmission("disk0"));
    assert_eq!(went.left_over, b"rest");
    let bare = |all: &[(u32, u32, Vec<u8>)]| -> Vec<(u32, Vec<u8>)> {
        all.iter()
            .map(|(_, kind, data)| (*kind, data.clone()))
            .collect()
    };
    assert_eq!(bare(&asked), bare(&replies(&went.output)));
    let block_sizes = [&[0, 3][..], &[0, 0, 0, 1, 0, 0, 16, 0, 2, 0, 0, 0]].concat();
    assert_eq!(
        bare(&asked),
        [
            (rep::INFO, vec![0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0x0d, 0x6d]),
            (rep::INFO, b"\x00\x01disk0".to_vec()),
            (rep::INFO, b"\x00\x02the test disk".to_vec()),
            (rep::INFO, block_sizes),
            (rep::ACK, Vec::new()),
        ]
    );
}

#[test]
fn go_without_requests_still_tells_the_size() {
    let went = converse(
        &client(&[option(option::GO, &info_body("disk0", &[]))]),
        &disk(),
    );
    let kinds: Vec<_> = replies(&went.output)
        .into_iter()
        .map(|r| (r.1, r.2.len()))
        .collect();
    assert_eq!(kinds, [(rep::INFO, 12), (rep::ACK, 0)]);
}

#[test]
fn refused_exports_are_answered_with_their_reason() {
    for number in [option::INFO, option::GO] {
        for (name, kind, text) in [
            ("nope", rep::ERR_UNKNOWN, "no export \"nope\" here"),
            (
                "standby",
                rep::ERR_POLICY,
                "this node is standby; ask node b",
            ),
            ("leaving", rep::ERR_SHUTDOWN, "this node is being demoted"),
        ] {
            let found = final_answer(&[option(number, &info_body(name, &[]))], &three_exports());
            assert_eq!(found, (kind, text.to_owned()));
        }
    }
}

/// An export with one more name, and what is said of others like it.
fn versions(unserved: Unserved) -> Vec<Export> {
    let mut exports = disk();
    exports[0].unserved = unserved;
    let mut now = Export::new("disk0@4-aa", 1 << 20).unwrap();
    now.alias = true;
    exports.push(now);
    exports
}

#[test]
fn another_name_of_an_export_is_an_export_and_never_the_default() {
    let exports = versions(Unserved::Unknown);
    let conversation = converse(
        &client(&[option(option::GO, &info_body("", &[]))]),
        &exports,
    );
    assert_eq!(conversation.outcome, transmission("disk0"));
    let go = option(option::GO, &info_body("disk0@4-aa", &[]));
    let conversation = converse(&client(&[go]), &exports);
    assert_eq!(conversation.outcome, transmission("disk0@4-aa"));
    assert_eq!(answers(&[option(option::LIST, b"")], &exports).len(), 3);
    let mut closed = exports;
    for export in &mut closed {
        export.availability = Availability::Refused("standby".to_owned());
    }
    // The name is right, but nobody can have it now: only its own name is listed.
    assert_eq!(answers(&[option(option::LIST, b"")], &closed).len(), 2);
    let asked = final_answer(
        &[option(option::GO, &info_body("disk0@4-aa", &[]))],
        &closed,
    );
    assert_eq!(asked, (rep::ERR_POLICY, "standby".to_owned()));
}

#[test]
fn a_name_that_is_over_is_unknown_for_ever_and_says_why() {
    for number in [option::INFO, option::GO] {
        for (unserved, kind, text) in [
            (
                Unserved::Unknown,
                rep::ERR_UNKNOWN,
                "no export \"disk0@3-bb\" here",
            ),
            (
                Unserved::Gone("it is over".into()),
                rep::ERR_UNKNOWN,
                "disk0@3-bb: it is over",
            ),
            (
                Unserved::NotNow("wait".into()),
                rep::ERR_POLICY,
                "disk0@3-bb: wait",
            ),
        ] {
            let asked = [option(number, &info_body("disk0@3-bb", &[]))];
            let found = final_answer(&asked, &versions(unserved.clone()));
            assert_eq!(found, (kind, text.to_owned()));
            // Of an export that is not there nothing is said.
            let asked = [option(number, &info_body("other@3-bb", &[]))];
            let found = final_answer(&asked, &versions(unserved));
            assert_eq!(
                found,
                (rep::ERR_UNKNOWN, "no export \"other@3-bb\" here".to_owned())
            );
        }
    }
}

#[test]
fn info_bodies_that_are_cut_or_too_long_are_invalid() {
    let whole = info_body("disk0", &[info::NAME, info::BLOCK_SIZE]);
    for end in 0..whole.len() {
        let (kind, _) = final_answer(&[option(option::GO, &whole[..end])], &disk());
        assert_eq!(kind, rep::ERR_INVALID, "cut at {end}");
    }
    let longer = [whole, vec![0]].concat();
    assert_eq!(
        final_answer(&[option(option::GO, &longer)], &disk()).0,
        rep::ERR_INVALID
    );
    let not_utf8 = b"\0\0\0\x01\xff\0\0";
    assert_eq!(
        final_answer(&[option(option::INFO, not_utf8)], &disk()).0,
        rep::ERR_INVALID
    );
    let huge_name = b"\xff\xff\xff\xffdisk0\0\0";
    assert_eq!(
        final_answer(&[option(option::INFO, huge_name)], &disk()).0,
        rep::ERR_INVALID
    );
}

#[test]
fn names_beyond_the_limit_are_too_big() {
    let longest = "n".repeat(limits::MAX_STRING_BYTES);
    let too_long = "n".repeat(limits::MAX_STRING_BYTES + 1);
    let ask = |name: &str| final_answer(&[option(option::INFO, &info_body(name, &[]))], &disk()).0;
    assert_eq!(ask(&longest), rep::ERR_UNKNOWN);
    assert_eq!(ask(&too_long), rep::ERR_TOO_BIG);
}

#[test]
fn large_block_sizes_need_a_client_that_asks() {
    let mut exports = disk();
    exports[0].block_sizes = BlockSizes::new(4096, 8192, 1 << 20).unwrap();
    for number in [option::INFO, option::GO] {
        let refused = answers(&[option(number, &info_body("disk0", &[]))], &exports);
        let kinds: Vec<u32> = refused.iter().map(|r| r.1).collect();
        assert_eq!(kinds, [rep::INFO, rep::INFO, rep::ERR_BLOCK_SIZE_REQD]);
        assert_eq!(refused[1].2[..6], [0, 3, 0, 0, 16, 0]);
    }
    let body = info_body("disk0", &[info::BLOCK_SIZE]);
    let went = converse(&client(&[option(option::GO, &body)]), &exports);
    assert_eq!(went.outcome, transmission("disk0"));
}

#[test]
fn unknown_options_are_unsupported_and_parsing_goes_on() {
    for number in [0, 4, 12, 0x4242_4242, u32::MAX] {
        let found = answers(
            &[
                option(number, b"whatever"),
                option(number, b""),
                option(option::LIST, b""),
            ],
            &disk(),
        );
        let kinds: Vec<_> = found.iter().map(|r| (r.0, r.1)).collect();
        assert_eq!(
            kinds,
            [
                (number, rep::ERR_UNSUP),
                (number, rep::ERR_UNSUP),
                (option::LIST, rep::SERVER),
                (option::LIST, rep::ACK),
            ]
        );
    }
}

#[test]
fn starttls_and_extended_headers_are_unsupported() {
    let found = final_answer(&[option(option::STARTTLS, b"")], &disk());
    assert_eq!(
        found,
        (rep::ERR_UNSUP, "TLS is not offered here".to_owned())
    );
    assert_eq!(
        final_answer(&[option(option::STARTTLS, b"x")], &disk()).0,
        rep::ERR_INVALID
    );
    let (kind, _) = final_answer(&[option(option::EXTENDED_HEADERS, b"")], &disk());
    assert_eq!(kind, rep::ERR_UNSUP);
}

#[test]
fn oversize_options_are_too_big_and_drained() {
    let long = vec![0x5a; limits::MAX_OPTION_BYTES as usize + 1];
    for number in [option::LIST, option::GO, option::SET_META_CONTEXT, 99] {
        let found = answers(&[option(number, &long), option(option::LIST, b"")], &disk());
        let kinds: Vec<u32> = found.iter().map(|r| r.1).collect();
        assert_eq!(kinds, [rep::ERR_TOO_BIG, rep::SERVER, rep::ACK]);
    }
    let longest = &long[1..];
    assert_eq!(
        final_answer(&[option(99, longest)], &disk()).0,
        rep::ERR_UNSUP
    );
}

#[test]
fn absurd_options_close_the_connection() {
    let announce = |number: u32, length: u32| {
        let mut bytes = option(number, b"");
        bytes.splice(12.., length.to_be_bytes());
        converse(&client(&[bytes]), &disk()).outcome
    };
    let absurd = |option, length| {
        Some(Outcome::HardClose(HandshakeError::AbsurdOption {
            option,
            length,
        }))
    };
    let beyond = limits::MAX_DRAINED_OPTION_BYTES + 1;
    assert_eq!(announce(option::LIST, beyond), absurd(option::LIST, beyond));
    assert_eq!(
        announce(option::LIST, u32::MAX),
        absurd(option::LIST, u32::MAX)
    );
    assert_eq!(announce(option::LIST, beyond - 1), None);
    let name = limits::MAX_OPTION_BYTES + 1;
    assert_eq!(
        announce(option::EXPORT_NAME, name),
        absurd(option::EXPORT_NAME, name)
    );
}

#[test]
fn a_wrong_option_magic_closes_the_connection() {
    let conversation = converse(&client(&[b"IHAVEOPX\0\0\0\x03\0\0\0\0".to_vec()]), &disk());
    let reason = HandshakeError::BadOptionMagic(0x4948_4156_454f_5058);
    assert_eq!(conversation.outcome, Some(Outcome::HardClose(reason)));
}

#[test]
fn without_fixed_newstyle_only_export_name_is_understood() {
    let mut input = vec![0, 0, 0, 0];
    input.extend(option(option::LIST, b""));
    let conversation = converse(&input, &disk());
    let reason = HandshakeError::NeedsFixedNewstyle(option::LIST);
    assert_eq!(conversation.outcome, Some(Outcome::HardClose(reason)));
}

#[test]
fn options_come_to_an_end() {
    let mut options = vec![option(99, b""); limits::MAX_OPTIONS as usize];
    assert_eq!(
        answers(&options, &disk()).len(),
        limits::MAX_OPTIONS as usize
    );
    options.push(option(99, b""));
    let conversation = converse(&client(&options), &disk());
    let reason = HandshakeError::TooManyOptions;
    assert_eq!(conversation.outcome, Some(Outcome::HardClose(reason)));
}

#[test]
fn structured_replies_are_negotiated_and_advertise_df() {
    let structured = option(option::STRUCTURED_REPLY, b"");
    let go = option(option::GO, &info_body("disk0", &[]));
    let went = converse(&client(&[structured.clone(), structured, go]), &disk());
    let Some(Outcome::Transmission(negotiated)) = went.outcome else {
        panic!("{went:?}")
    };
    assert_eq!(negotiated.replies, ReplyStyle::Structured);
    assert_eq!(negotiated.base_allocation, None);
    let infos = replies(&went.output);
    assert_eq!(infos[2].2[10..], [0x0d, 0xed]);
    let with_data = option(option::STRUCTURED_REPLY, b"x");
    assert_eq!(final_answer(&[with_data], &disk()).0, rep::ERR_INVALID);
}

#[test]
fn exports_are_looked_up_as_they_are_at_that_moment() {
    let mut handshake = twindisk_nbd::Handshake::new();
    let mut exports = three_exports();
    let go = option(option::GO, &info_body("standby", &[]));
    handshake.handle_bytes(&client(std::slice::from_ref(&go)), &exports);
    assert_eq!(handshake.outcome(), None);
    exports[1].availability = Availability::Available;
    handshake.handle_bytes(&go, &exports);
    assert_eq!(handshake.outcome(), transmission("standby").as_ref());
    assert_eq!(handshake.handle_bytes(b"later", &exports), 0);
}
