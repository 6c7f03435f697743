//! Entry points for the fuzzers of `nbd/fuzz`, and for the replay of their seeds by `cargo test`.
//! Each takes any bytes and must neither panic nor loop; it is no part of the interface.

use crate::attach::decode_noise;
use crate::bytes::Reader;
use crate::client::Uri;
use crate::export::{Availability, BlockSizes, Export};
use crate::handshake::{Handshake, Outcome};
use crate::limits;
use crate::reply::{ChunkHeader, ReplyStart, decode_chunk, decode_start};
use crate::request::{
    Command, ContextId, Header, Negotiated, ReplyStyle, Verdict, decode_header, validate,
};

/// A client's bytes from the first one on: the handshake, then requests. The first byte chooses
/// the size of the pieces in which the rest arrives; the result must not depend on it.
///
/// # Panics
/// If the server's code has a bug.
pub fn fuzz_server(data: &[u8]) {
    let Some((first, input)) = data.split_first() else {
        return;
    };
    let exports = exports();
    let (whole, left) = converse(input, &exports, input.len().max(1));
    let (pieces, left_of_pieces) = converse(input, &exports, usize::from(*first).max(1));
    assert_eq!(whole, pieces, "the pieces changed the conversation");
    assert_eq!(
        left, left_of_pieces,
        "the pieces changed where the handshake ends"
    );
    let Some(Outcome::Transmission(negotiated)) = whole.1 else {
        return;
    };
    let export = exports.iter().find(|e| e.name() == negotiated.export);
    let export = export.expect("only a known export is negotiated");
    serve(left, export, &negotiated);
}

/// A header and an export made from the bytes.
///
/// # Panics
/// If the server's code has a bug.
pub fn fuzz_request(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Some(bits), Some(size)) = (reader.u16(), reader.u64()) else {
        return;
    };
    let Some(bytes) = reader.array::<28>() else {
        return;
    };
    let mut export = Export::new("disk0", size).expect("a short name");
    export.read_only = bits & 1 != 0;
    export.capabilities.trim = bits & 2 != 0;
    export.capabilities.write_zeroes = bits & 4 != 0;
    export.capabilities.fast_zero = bits & 8 != 0;
    export.capabilities.cache = bits & 16 != 0;
    let minimum = 1_u32 << (bits >> 8 & 15);
    if let Ok(sizes) = BlockSizes::new(minimum, minimum.max(512), limits::MAX_PAYLOAD_BYTES) {
        export.block_sizes = sizes;
    }
    let structured = bits & 32 != 0;
    let negotiated = Negotiated {
        export: "disk0".to_owned(),
        replies: if structured {
            ReplyStyle::Structured
        } else {
            ReplyStyle::Simple
        },
        base_allocation: (structured && bits & 64 != 0).then_some(ContextId::BASE_ALLOCATION),
    };
    if let Ok(header) = decode_header(&bytes) {
        assert_eq!(
            header.encode(),
            bytes,
            "a header is not what it was decoded from"
        );
        check(&header, &export, &negotiated);
    }
}

/// A server's bytes in the transmission phase, as a client reads them.
///
/// # Panics
/// If the client's code has a bug.
pub fn fuzz_reply(data: &[u8]) {
    let mut reader = Reader::new(data);
    while let Some(start) = reader.array() {
        let Ok(ReplyStart::Chunk(header)) = decode_start(&start) else {
            return;
        };
        let Some(length) = reader.array::<{ ChunkHeader::REST_BYTES }>() else {
            return;
        };
        let Ok(header) = header.with_length(length) else {
            return;
        };
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let Some(payload) = reader.take(length) else {
            return;
        };
        let _ = decode_chunk(&header, payload);
    }
}

/// The kernel's bytes, as the attachment reads them.
pub fn fuzz_netlink(data: &[u8]) {
    decode_noise(data);
}

/// An address; what parses must print as something that parses to the same.
///
/// # Panics
/// If the parser has a bug.
pub fn fuzz_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(uri) = text.parse::<Uri>() {
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }
}

fn exports() -> Vec<Export> {
    let disk = Export::new("disk0", 1 << 20).expect("a short name");
    let mut standby = Export::new("standby", 1 << 20).expect("a short name");
    standby.availability = Availability::Refused("standby".to_owned());
    let mut blocks = Export::new("blocks", 1 << 20).expect("a short name");
    blocks.block_sizes = BlockSizes::new(4096, 4096, 1 << 20).expect("legal sizes");
    vec![disk, standby, blocks]
}

/// Output and outcome; and the bytes that the handshake left.
fn converse<'a>(
    input: &'a [u8],
    exports: &[Export],
    size: usize,
) -> ((Vec<u8>, Option<Outcome>), &'a [u8]) {
    let mut handshake = Handshake::new();
    let mut output = Vec::new();
    let mut taken = 0;
    for piece in input.chunks(size) {
        let count = handshake.handle_bytes(piece, exports);
        taken += count;
        while let Some(bytes) = handshake.poll_output() {
            output.extend_from_slice(&bytes);
        }
        if count < piece.len() {
            assert!(
                handshake.outcome().is_some(),
                "bytes were refused without an outcome"
            );
            break;
        }
    }
    (
        (output, handshake.outcome().cloned()),
        input.get(taken..).unwrap_or_default(),
    )
}

fn serve(requests: &[u8], export: &Export, negotiated: &Negotiated) {
    let mut reader = Reader::new(requests);
    while let Some(bytes) = reader.array() {
        let Ok(header) = decode_header(&bytes) else {
            return;
        };
        let payload = match check(&header, export, negotiated) {
            Verdict::Accept(request) if request.command == Command::Disconnect => return,
            Verdict::Accept(request) => request.payload_bytes(),
            Verdict::Reject(rejected) => rejected.payload_bytes_to_drain,
            Verdict::Empty(_) => 0,
            Verdict::Close(_) => return,
        };
        if reader
            .take(usize::try_from(payload).unwrap_or(usize::MAX))
            .is_none()
        {
            return;
        }
    }
}

/// What must hold of any verdict.
fn check(header: &Header, export: &Export, negotiated: &Negotiated) -> Verdict {
    let verdict = validate(header, export, negotiated);
    if let Verdict::Accept(request) = &verdict {
        assert_eq!(request.cookie, header.cookie);
        let changes_data = match request.command {
            Command::Flush | Command::Disconnect => return verdict,
            Command::Write { .. } | Command::Trim { .. } | Command::WriteZeroes { .. } => true,
            Command::Read { .. } | Command::BlockStatus { .. } | Command::Cache => false,
        };
        assert!(
            !(changes_data && export.read_only),
            "a change to a read-only export"
        );
        assert!(request.length > 0, "an empty range");
        let end = request.offset.checked_add(u64::from(request.length));
        assert!(
            end.is_some_and(|end| end <= export.size_bytes),
            "a range beyond the end"
        );
        assert!(
            request.payload_bytes() <= limits::MAX_PAYLOAD_BYTES,
            "a payload too long"
        );
        let minimum = u64::from(export.block_sizes.minimum());
        assert!(
            request.offset.is_multiple_of(minimum),
            "a misaligned offset"
        );
    }
    verdict
}
