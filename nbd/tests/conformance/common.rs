//! Shared by the protocol tests: a client that is nothing but bytes, written out by hand, so that
//! the tests do not lean on the code they test.

use twindisk_nbd::{Availability, Export, Handshake, Outcome};

/// Client flags: fixed newstyle and no zeroes.
pub(crate) const BOTH_FLAGS: [u8; 4] = [0, 0, 0, 3];

/// `disk0` of 1 MiB.
pub(crate) fn disk() -> Vec<Export> {
    let mut export = Export::new("disk0", 1 << 20).unwrap();
    export.description = "the test disk".to_owned();
    vec![export]
}

/// One usable export, one refused, one going away.
pub(crate) fn three_exports() -> Vec<Export> {
    let mut exports = disk();
    let mut standby = Export::new("standby", 4096).unwrap();
    standby.availability = Availability::Refused("this node is standby; ask node b".to_owned());
    let mut leaving = Export::new("leaving", 4096).unwrap();
    leaving.availability = Availability::ShuttingDown("this node is being demoted".to_owned());
    exports.push(standby);
    exports.push(leaving);
    exports
}

/// An option on the wire.
pub(crate) fn option(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A reply on the wire.
pub(crate) fn reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 3, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9];
    bytes.extend_from_slice(&option.to_be_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The body of INFO and GO.
pub(crate) fn info_body(name: &str, infos: &[u16]) -> Vec<u8> {
    let mut body = u32::try_from(name.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&u16::try_from(infos.len()).unwrap().to_be_bytes());
    for info in infos {
        body.extend_from_slice(&info.to_be_bytes());
    }
    body
}

/// The body of LIST_META_CONTEXT and SET_META_CONTEXT.
pub(crate) fn meta_body(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut body = u32::try_from(name.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(&u32::try_from(queries.len()).unwrap().to_be_bytes());
    for query in queries {
        body.extend_from_slice(&u32::try_from(query.len()).unwrap().to_be_bytes());
        body.extend_from_slice(query.as_bytes());
    }
    body
}

/// What a conversation came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// Everything behind the greeting.
    pub(crate) output: Vec<u8>,
    pub(crate) outcome: Option<Outcome>,
    /// Input that belongs to the transmission phase.
    pub(crate) left_over: Vec<u8>,
}

/// Feeds `input` in pieces of `size`.
pub(crate) fn converse_in_pieces(input: &[u8], exports: &[Export], size: usize) -> Conversation {
    let mut handshake = Handshake::new();
    let mut output = handshake.poll_output().expect("a greeting");
    assert_eq!(output, b"NBDMAGICIHAVEOPT\x00\x03");
    output.clear();
    let mut taken = 0;
    for piece in input.chunks(size.max(1)) {
        let count = handshake.handle_bytes(piece, exports);
        taken += count;
        while let Some(bytes) = handshake.poll_output() {
            output.extend_from_slice(&bytes);
        }
        if count < piece.len() {
            assert!(
                handshake.outcome().is_some(),
                "bytes refused without an outcome"
            );
            break;
        }
    }
    let left_over = input[taken..].to_vec();
    Conversation {
        output,
        outcome: handshake.outcome().cloned(),
        left_over,
    }
}

/// Feeds `input` at once, byte by byte and in odd pieces, and wants the same each time.
pub(crate) fn converse(input: &[u8], exports: &[Export]) -> Conversation {
    let whole = converse_in_pieces(input, exports, input.len());
    for size in [1, 7, 4096] {
        assert_eq!(
            converse_in_pieces(input, exports, size),
            whole,
            "pieces of {size}"
        );
    }
    whole
}

/// A client that says it speaks fixed newstyle, then these options.
pub(crate) fn client(options: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = BOTH_FLAGS.to_vec();
    bytes.extend(options.iter().flatten());
    bytes
}

/// The first reply in `output`: option, type, data; and the rest.
pub(crate) fn split_reply(output: &[u8]) -> (u32, u32, &[u8], &[u8]) {
    assert_eq!(output[..8], [0, 3, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]);
    let word = |at: usize| u32::from_be_bytes(output[at..at + 4].try_into().unwrap());
    let end = 20 + word(16) as usize;
    (word(8), word(12), &output[20..end], &output[end..])
}

/// All replies in `output` as (option, type, data).
pub(crate) fn replies(mut output: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    while !output.is_empty() {
        let (option, kind, data, rest) = split_reply(output);
        all.push((option, kind, data.to_vec()));
        output = rest;
    }
    all
}
