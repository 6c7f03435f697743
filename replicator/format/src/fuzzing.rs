//! Entry points for the fuzzers of `fuzz/`, and for the replay of their seeds by `cargo test`. Each takes any bytes
//! and must neither panic nor allocate beyond the limits. No part of the interface.
//!
//! The first byte chooses whether the rest is taken as it is, or sealed first: a fuzzer would never find a CRC.

use core::ops::RangeInclusive;

use zerocopy::{FromZeros, IntoBytes, U32};

use crate::{
    activity_log::AlPage,
    auth::{
        AuthError, Channel, Dialer, HELLO_BYTES, IDENTITY_BYTES, Link, Listener, Local, Secret,
    },
    bitmap::{decode_bitmap_page, encode_bitmap_page},
    codec,
    ids::{BootId, ClusterId, NodeId, ResourceId, Slot},
    limits::{BLOCK_BYTES, MAX_CONTROL_BYTES},
    meta_block::{Content, MetaBlock, seal_content},
    superblock::Superblock,
    wire::{ChainDecoder, ChainEncoder, HEADER_BYTES, Header, PayloadKind, RawHeader},
};

/// Headers and inline contents of a peer, one after the other.
///
/// # Panics
/// If an accepted frame does not encode to the bytes it was decoded from.
pub fn fuzz_frames(data: &[u8]) {
    let Some((mode, mut rest)) = data.split_first() else {
        return;
    };
    let sealed = mode & 1 == 1;
    let (mut decoder, mut previous) = (ChainDecoder::new(SEED), SEED);
    let mut encoder = ChainEncoder::new(SEED);
    while let Some((bytes, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let mut bytes = *bytes;
        if sealed {
            bytes = seal_header(bytes, behind, previous);
        }
        let Ok(header) = decoder.header(&bytes) else {
            return;
        };
        let len = match header.payload() {
            PayloadKind::Inline(len) => len,
            PayloadKind::None | PayloadKind::Blocks(_) => 0,
        };
        assert!(len <= MAX_CONTROL_BYTES, "{len} inline bytes");
        let Some((inline, next)) = behind.split_at_checked(len) else {
            return;
        };
        let canonical = reencode(&mut encoder, &header, inline);
        if canonical
            .as_ref()
            .is_none_or(|(header, _)| *header != bytes)
        {
            // A control message may have longer encodings than ours; the chains part here.
            return;
        }
        (rest, previous) = (next, chain_of(&bytes));
    }
}

/// The bytes of a control message.
///
/// # Panics
/// If an accepted message does not survive its own encoding.
pub fn fuzz_control(data: &[u8]) {
    if let Ok(message) = codec::decode(data) {
        let mut bytes = Vec::new();
        codec::encode(&message, &mut bytes);
        assert_eq!(codec::decode(&bytes), Ok(message), "changed by encoding");
    }
}

/// A superblock.
///
/// # Panics
/// If an accepted block is not the one its contents encode to.
pub fn fuzz_superblock(data: &[u8]) {
    let block = meta_block(data);
    for copy in 0..2 {
        if let Ok((superblock, counter)) = Superblock::decode(copy, &block) {
            assert_eq!(superblock.encode(counter), block, "{superblock:?}");
        }
    }
}

/// A page of the activity log.
///
/// # Panics
/// If an accepted block is not the one its contents encode to.
pub fn fuzz_al_page(data: &[u8]) {
    let block = meta_block(data);
    for copy in 0..2 {
        if let Ok(page) = AlPage::decode(RESOURCE, 1, copy, &block) {
            assert_eq!(page.encode(RESOURCE), block);
            assert!(page.extents().all(|extent| page.contains(extent)));
        }
    }
}

/// A page of a bitmap.
///
/// # Panics
/// If an accepted block is not the one its contents encode to.
pub fn fuzz_bitmap_page(data: &[u8]) {
    let block = meta_block(data);
    let slot = Slot::new(1).expect("there are seven");
    if let Ok(words) = decode_bitmap_page(RESOURCE, slot, 2, &block) {
        assert_eq!(
            encode_bitmap_page(RESOURCE, slot, 2, words.as_slice()),
            block
        );
    }
}

/// A stranger at either end of the handshake. The first byte is the size of the pieces that the rest arrives in.
///
/// # Panics
/// If the stranger is let in, or the pieces make a difference.
pub fn fuzz_auth(data: &[u8]) {
    let Some((size, rest)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    assert_eq!(listen(rest, size), listen(rest, rest.len().max(1)));
    assert_eq!(dial(rest, size), dial(rest, rest.len().max(1)));
}

type Answers = Result<Vec<u8>, AuthError>;

fn listen(bytes: &[u8], size: usize) -> Answers {
    let directory = |link: Link| (link == LINK).then(secret);
    let mut listener = Listener::new(local(LISTENER), directory, [1; 32], Channel::Clear);
    let mut answers = Vec::new();
    for piece in bytes.chunks(size) {
        let progress = listener.handle_bytes(piece)?;
        assert!(progress.done.is_none(), "a stranger was let in");
        assert_eq!(progress.used, piece.len());
        assert!((1..=IDENTITY_BYTES).contains(&progress.need));
        answers.extend(progress.send);
    }
    assert!(
        answers.len() <= HELLO_BYTES,
        "a stranger was told more than hello"
    );
    Ok(answers)
}

fn dial(bytes: &[u8], size: usize) -> Answers {
    let link = Link {
        peer: LISTENER,
        ..LINK
    };
    let (mut dialer, begin) =
        Dialer::new(local(LINK.peer), link, secret(), [2; 32], Channel::Clear);
    let mut answers = begin.send;
    for piece in bytes.chunks(size) {
        let progress = dialer.handle_bytes(piece)?;
        assert!(progress.done.is_none(), "a stranger was believed");
        assert_eq!(progress.used, piece.len());
        answers.extend(progress.send);
    }
    Ok(answers)
}

fn local(node: NodeId) -> Local {
    Local {
        cluster: ClusterId(1),
        node,
        boot: BootId(1),
        versions: VERSIONS,
        features: 1,
    }
}

fn secret() -> Secret {
    Secret::new(&[0x5a; 32]).expect("32 bytes are enough")
}

/// The bytes as a block, cut or filled with zeros: as they are, or sealed.
fn meta_block(data: &[u8]) -> Box<MetaBlock> {
    let (mode, rest) = data.split_first().unwrap_or((&0, &[]));
    if mode & 1 == 0 {
        let mut block = [0; BLOCK_BYTES];
        block
            .iter_mut()
            .zip(rest)
            .for_each(|(to, from)| *to = *from);
        return Box::new(block);
    }
    let mut content = Content::new_zeroed();
    let bytes = content.as_mut_bytes();
    bytes
        .iter_mut()
        .zip(rest)
        .for_each(|(to, from)| *to = *from);
    seal_content(&content)
}

fn seal_header(bytes: [u8; HEADER_BYTES], behind: &[u8], previous: u32) -> [u8; HEADER_BYTES] {
    let mut raw: RawHeader = zerocopy::transmute!(bytes);
    raw.magic = U32::new(crate::wire::MAGIC);
    let inline = behind.get(..raw.payload_len.get() as usize).unwrap_or(&[]);
    let blocks = matches!(raw.kind, 1 | 8);
    if !blocks && !inline.is_empty() {
        raw.payload_crc = U32::new(crc32fast::hash(inline));
    }
    raw.chain = U32::new(raw.chain_after(previous));
    zerocopy::transmute!(raw)
}

fn reencode(
    encoder: &mut ChainEncoder,
    header: &Header,
    inline: &[u8],
) -> Option<([u8; HEADER_BYTES], Vec<u8>)> {
    let envelope = header.finish(inline).ok()?;
    let crc = match header.payload() {
        PayloadKind::Blocks(_) => header.payload_crc(),
        PayloadKind::None | PayloadKind::Inline(_) => 0,
    };
    let mut again = Vec::new();
    let bytes = encoder.encode(&envelope, crc, &mut again);
    let control = matches!(envelope.frame, crate::frame::Frame::Control(_));
    assert!(control || again == inline, "{envelope:?} has two encodings");
    Some((bytes, again))
}

fn chain_of(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let raw: RawHeader = zerocopy::transmute!(*bytes);
    raw.chain.get()
}

const SEED: u32 = 7;
const RESOURCE: ResourceId = ResourceId(9);
const LISTENER: NodeId = NodeId(2);
const LINK: Link = Link {
    resource: RESOURCE,
    peer: NodeId(1),
};
const VERSIONS: RangeInclusive<u16> = 1..=3;

#[cfg(test)]
mod tests;
