//! Properties: what is encoded decodes to the same, and no bytes make a decoder panic.

use proptest::prelude::*;
use twindisk_nbd::reply::{self, Chunk, ChunkHeader, Extent, More, ReplyStart};
use twindisk_nbd::{
    Command, ContextId, Cookie, Errno, Export, Handshake, Header, Negotiated, ReplyStyle, Request,
    Verdict, decode_header, validate,
};

use crate::common::{client, converse_in_pieces, info_body, meta_body, option, three_exports};

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<bool>().prop_map(|dont_fragment| Command::Read { dont_fragment }),
        any::<bool>().prop_map(|fua| Command::Write { fua }),
        any::<bool>().prop_map(|fua| Command::Trim { fua }),
        any::<(bool, bool, bool)>().prop_map(|(fua, no_hole, fast)| Command::WriteZeroes {
            fua,
            no_hole,
            fast
        }),
        any::<bool>().prop_map(|one_extent| Command::BlockStatus { one_extent }),
        Just(Command::Cache),
        Just(Command::Flush),
        Just(Command::Disconnect),
    ]
}

fn any_header() -> impl Strategy<Value = Header> {
    (
        0..32_u16,
        0..10_u16,
        any::<u64>(),
        prop_oneof![any::<u64>(), 0..1_u64 << 21],
        any::<u32>(),
    )
        .prop_map(|(flags, command, cookie, offset, length)| Header {
            flags,
            command,
            cookie: Cookie(cookie),
            offset,
            length,
        })
}

fn structured() -> Negotiated {
    Negotiated {
        export: "disk0".to_owned(),
        replies: ReplyStyle::Structured,
        base_allocation: Some(ContextId::BASE_ALLOCATION),
    }
}

fn start_of(bytes: &[u8]) -> ReplyStart {
    reply::decode_start(bytes[..16].try_into().unwrap()).unwrap()
}

/// Decodes one whole chunk.
fn chunk_of(bytes: &[u8]) -> (ChunkHeader, Chunk<'_>) {
    let ReplyStart::Chunk(header) = start_of(bytes) else {
        panic!("no chunk")
    };
    let header = header
        .with_length(bytes[16..20].try_into().unwrap())
        .unwrap();
    assert_eq!(header.length as usize, bytes.len() - 20);
    (header, reply::decode_chunk(&header, &bytes[20..]).unwrap())
}

fn any_more() -> impl Strategy<Value = More> {
    prop_oneof![Just(More::Done), Just(More::Follows)]
}

fn any_errno() -> impl Strategy<Value = Errno> {
    prop::sample::select(Errno::ALL.to_vec())
}

/// Option streams of which most parts are legal.
fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec!["disk0", "standby", "leaving", "", "nope"]);
    let infos = prop::collection::vec(0..5_u16, 0..4);
    let queries = prop::collection::vec(
        prop::sample::select(vec!["base:", "base:allocation", "x:", "bad"]),
        0..4,
    );
    prop_oneof![
        (0..13_u32, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(n, b)| option(n, &b)),
        (6..8_u32, names.clone(), infos).prop_map(|(n, s, i)| option(n, &info_body(s, &i))),
        (9..11_u32, names, queries).prop_map(|(n, s, q)| option(n, &meta_body(s, &q))),
        Just(option(8, b"")),
        Just(option(3, b"")),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn request_headers_survive_the_round_trip(header in any_header()) {
        prop_assert_eq!(decode_header(&header.encode()), Ok(header));
    }

    #[test]
    fn requests_survive_the_round_trip(
        command in any_command(),
        cookie: u64,
        offset in 0..1_u64 << 20,
        length in 1..1_u32 << 20,
    ) {
        let export = Export::new("disk0", 1 << 22).unwrap();
        let request = Request { cookie: Cookie(cookie), command, offset, length };
        let header = decode_header(&request.to_header().encode()).unwrap();
        prop_assert_eq!(validate(&header, &export, &structured()), Verdict::Accept(request));
    }

    #[test]
    fn accepted_requests_lie_within_the_export(header in any_header(), size in 0..1_u64 << 22) {
        let export = Export::new("disk0", size).unwrap();
        match validate(&header, &export, &structured()) {
            Verdict::Accept(request) => {
                prop_assert_eq!(request.cookie, header.cookie);
                if !matches!(request.command, Command::Flush | Command::Disconnect) {
                    prop_assert!(request.length > 0);
                    prop_assert!(request.offset + u64::from(request.length) <= size);
                }
            }
            Verdict::Empty(cookie) => {
                prop_assert_eq!(cookie, header.cookie);
                prop_assert_eq!(header.length, 0);
            }
            Verdict::Reject(no) => {
                prop_assert_eq!(no.cookie, header.cookie);
                let payload = if header.command == 1 { header.length } else { 0 };
                prop_assert_eq!(no.payload_bytes_to_drain, payload);
                prop_assert!(no.message.len() <= 120);
            }
            Verdict::Close(_) => prop_assert!(header.command == 1 && header.length > 64 << 20),
        }
    }

    #[test]
    fn replies_survive_the_round_trip(
        cookie: u64,
        offset: u64,
        data in prop::collection::vec(any::<u8>(), 1..600),
        more in any_more(),
        errno in any_errno(),
        text in "\\PC{0,40}",
    ) {
        let cookie = Cookie(cookie);
        let length = u32::try_from(data.len()).unwrap();
        for error in [None, Some(errno)] {
            let bytes = match error {
                None => reply::done(ReplyStyle::Simple, cookie).as_bytes().to_vec(),
                Some(e) => reply::error(ReplyStyle::Simple, cookie, e, &text).as_bytes().to_vec(),
            };
            let wanted = reply::SimpleReply { cookie, error };
            prop_assert_eq!(start_of(&bytes), ReplyStart::Simple(wanted));
        }
        let mut bytes = reply::chunk_data(cookie, offset, length, more).as_bytes().to_vec();
        bytes.extend_from_slice(&data);
        let (header, chunk) = chunk_of(&bytes);
        prop_assert_eq!((header.cookie, header.more), (cookie, more));
        prop_assert_eq!(chunk, Chunk::Data { offset, data: &data });

        let bytes = reply::chunk_hole(cookie, offset, length, more);
        prop_assert_eq!(chunk_of(bytes.as_bytes()).1, Chunk::Hole { offset, length });

        for at in [None, Some(offset)] {
            let bytes = match at {
                None => reply::error(ReplyStyle::Structured, cookie, errno, &text),
                Some(at) => reply::error_at(cookie, errno, &text, at, more),
            };
            let wanted = Chunk::Error { errno, message: cut(&text), offset: at };
            prop_assert_eq!(chunk_of(bytes.as_bytes()).1, wanted);
        }
    }

    #[test]
    fn extents_survive_the_round_trip(
        extents in prop::collection::vec((1..u32::MAX, 0..4_u32), 1..50),
    ) {
        let extents: Vec<_> =
            extents.into_iter().map(|(length, flags)| Extent { length, flags }).collect();
        let mut out = Vec::new();
        reply::block_status(&mut out, Cookie(1), ContextId(7), &extents);
        let wanted = Chunk::BlockStatus { context: ContextId(7), extents };
        prop_assert_eq!(chunk_of(&out).1, wanted);
    }

    #[test]
    fn no_bytes_make_the_handshake_panic_or_depend_on_their_pieces(
        flags in 0..4_u8,
        options in prop::collection::vec(any_option(), 0..12),
        size in 1..40_usize,
    ) {
        let mut input = client(&options);
        input[3] = flags;
        let whole = converse_in_pieces(&input, &three_exports(), input.len());
        prop_assert_eq!(converse_in_pieces(&input, &three_exports(), size), whole);
    }

    #[test]
    fn noise_makes_no_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        Handshake::new().handle_bytes(&bytes, &three_exports());
        if let Some(first) = bytes.first_chunk() {
            let _ = decode_header(first);
        }
        if let Some(first) = bytes.first_chunk() {
            let _ = reply::decode_start(first);
        }
        for kind in [0, 1, 2, 5, 0x8001, 0x8002, 0x8055, 9] {
            let more = More::Done;
            let length = u32::try_from(bytes.len()).unwrap();
            let header = ChunkHeader { cookie: Cookie(0), more, kind, length };
            let _ = reply::decode_chunk(&header, &bytes);
        }
    }
}

proptest! {
    #[test]
    fn addresses_survive_the_round_trip(
        scheme in prop::sample::select(vec!["nbd://", "nbd+unix://", ""]),
        rest in "([a-z:/?=&%@\\[\\]]|%2[0-9A-F]|%3A|socket=|\\PC){0,20}",
    ) {
        twindisk_nbd::fuzzing::fuzz_uri(format!("{scheme}{rest}").as_bytes());
    }

    #[test]
    fn noise_from_the_kernel_makes_no_decoder_panic(
        bytes in prop::collection::vec(prop_oneof![0..40_u8, any::<u8>()], 0..200),
    ) {
        twindisk_nbd::fuzzing::fuzz_netlink(&bytes);
        twindisk_nbd::fuzzing::fuzz_reply(&bytes);
        twindisk_nbd::fuzzing::fuzz_server(&bytes);
        twindisk_nbd::fuzzing::fuzz_request(&bytes);
    }
}

/// What a message looks like after it was cut for sending and made printable on arrival.
fn cut(text: &str) -> String {
    let mut end = text.len().min(120);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
