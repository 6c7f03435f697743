//! Round trips; every altered, lost, repeated or swapped frame; every limit.

use proptest::{prelude::*, sample::Index};
use zerocopy::{FromZeros, transmute};

use super::*;
use crate::{
    arbitrary::envelopes,
    frame::{Envelope, Frame},
    ids::{BlockRange, Seq, Term},
    limits::{MAX_CONTROL_BYTES, MAX_DEVICE_BLOCKS},
};

const SEED: u32 = 0x1234_5678;

type Encoded = ([u8; HEADER_BYTES], Vec<u8>);

fn encode_all(envelopes: &[Envelope]) -> Vec<Encoded> {
    let mut encoder = ChainEncoder::new(SEED);
    envelopes
        .iter()
        .map(|envelope| {
            let crc = match envelope.frame {
                Frame::Write { .. } | Frame::ReadReply { .. } => 0xfeed_beef,
                _ => 0,
            };
            let mut inline = Vec::new();
            (encoder.encode(envelope, crc, &mut inline), inline)
        })
        .collect()
}

fn decode_all(encoded: &[Encoded]) -> Result<Vec<Envelope>, WireError> {
    let mut decoder = ChainDecoder::new(SEED);
    encoded
        .iter()
        .map(|(header, inline)| decoder.header(header)?.finish(inline))
        .collect()
}

fn ping() -> Envelope {
    Envelope {
        term: Term(7),
        stable: Seq(5),
        frame: Frame::Ping,
    }
}

proptest! {
    #[test]
    fn round_trip(envelopes in prop::collection::vec(envelopes(), 1..8)) {
        let encoded = encode_all(&envelopes);
        prop_assert_eq!(decode_all(&encoded), Ok(envelopes.clone()));
        let mut decoder = ChainDecoder::new(SEED);
        for (envelope, (header, inline)) in envelopes.iter().zip(&encoded) {
            let header = decoder.header(header).unwrap();
            match &envelope.frame {
                Frame::Write { range, .. } | Frame::ReadReply { range, .. } => {
                    prop_assert_eq!(header.payload(), PayloadKind::Blocks(range.bytes() as usize));
                    prop_assert_eq!(header.payload_crc(), 0xfeed_beef);
                }
                _ if inline.is_empty() => prop_assert_eq!(header.payload(), PayloadKind::None),
                _ => prop_assert_eq!(header.payload(), PayloadKind::Inline(inline.len())),
            }
        }
    }

    #[test]
    fn a_flip_of_any_bit_is_an_error(envelope in envelopes(), bit: Index) {
        let good = encode_all(&[envelope]).remove(0);
        let bit = bit.index((HEADER_BYTES + good.1.len()) * 8);
        let mut bad = good;
        match bit.checked_sub(HEADER_BYTES * 8) {
            None => bad.0[bit / 8] ^= 1 << (bit % 8),
            Some(bit) => bad.1[bit / 8] ^= 1 << (bit % 8),
        }
        prop_assert!(decode_all(&[bad]).is_err());
    }

    #[test]
    fn a_dropped_repeated_or_swapped_frame_breaks_the_chain(
        envelopes in prop::collection::vec(envelopes(), 3..8),
        at: Index,
        how in 0..3,
    ) {
        let mut encoded = encode_all(&envelopes);
        let at = at.index(encoded.len() - 1);
        match how {
            0 => drop(encoded.remove(at)),
            1 => encoded.insert(at, encoded[at].clone()),
            _ => encoded.swap(at, at + 1),
        }
        let error = decode_all(&encoded).unwrap_err();
        prop_assert!(matches!(error, WireError::Chain { .. }), "{}", error);
    }

    #[test]
    fn any_header_with_a_right_chain_is_refused_or_means_itself(
        bytes: [u8; HEADER_BYTES],
        kind in 0..20u8,
        plain: bool,
    ) {
        let mut raw: RawHeader = transmute!(bytes);
        raw.magic = U32::new(MAGIC);
        raw.kind = kind;
        if plain {
            raw.reserved = U16::new(0);
            raw.flags &= 7;
            raw.start = U64::new(raw.start.get() % MAX_DEVICE_BLOCKS);
            raw.count = U32::new(raw.count.get() % 300);
            raw.payload_len = U32::new(raw.count.get() * 4096);
        }
        raw.chain = U32::new(raw.chain_after(SEED));
        let Ok(header) = ChainDecoder::new(SEED).header(&transmute!(raw)) else {
            return Ok(());
        };
        if let PayloadKind::Inline(bytes) = header.payload() {
            prop_assert!(bytes <= MAX_CONTROL_BYTES);
        } else if let Ok(envelope) = header.finish(&[]) {
            let again = ChainEncoder::new(SEED).encode(&envelope, raw.payload_crc.get(), &mut vec![]);
            let bytes: [u8; HEADER_BYTES] = transmute!(raw);
            prop_assert_eq!(again, bytes);
        }
    }
}

#[test]
fn every_bit_of_a_header_counts() {
    let envelope = Envelope {
        term: Term(u64::MAX / 3),
        stable: Seq(77),
        frame: Frame::Read {
            tag: 3,
            range: BlockRange::new(10, 20),
        },
    };
    let good = encode_all(&[envelope]).remove(0);
    for bit in 0..HEADER_BYTES * 8 {
        let mut bad = good.clone();
        bad.0[bit / 8] ^= 1 << (bit % 8);
        let error = decode_all(&[bad]).unwrap_err();
        match error {
            WireError::Magic { .. } => assert!(bit < 32),
            WireError::Chain { expected, found } => assert_ne!(expected, found),
            other => panic!("bit {bit}: {other}"),
        }
    }
}

#[test]
fn after_an_error_nothing_is_believed() {
    let encoded = encode_all(&[ping(), ping()]);
    let mut decoder = ChainDecoder::new(SEED);
    let mut bad = encoded[0].0;
    bad[20] ^= 1;
    assert!(matches!(decoder.header(&bad), Err(WireError::Chain { .. })));
    assert_eq!(
        decoder.header(&encoded[0].0).unwrap_err(),
        WireError::Broken
    );
}

#[test]
fn another_seed_is_another_chain() {
    let encoded = encode_all(&[ping()]);
    let error = ChainDecoder::new(SEED + 1)
        .header(&encoded[0].0)
        .unwrap_err();
    assert!(
        error.to_string().contains("lost, repeated or reordered"),
        "{error}"
    );
}

#[test]
fn inline_contents_of_another_length_are_refused() {
    let encoded = encode_all(&[ping()]);
    let header = ChainDecoder::new(SEED).header(&encoded[0].0).unwrap();
    assert!(matches!(
        header.finish(&[1]),
        Err(WireError::Length { found: 1, .. })
    ));
}

/// Headers with a right chain that break one rule each.
#[test]
fn limits_hold_before_anything_is_allocated() {
    let refused = |kind: Kind, change: fn(&mut RawHeader)| {
        let mut raw = RawHeader::new_zeroed();
        raw.magic = U32::new(MAGIC);
        raw.kind = kind as u8;
        change(&mut raw);
        raw.chain = U32::new(raw.chain_after(SEED));
        match ChainDecoder::new(SEED).header(&transmute!(raw)) {
            Err(WireError::Field { field, .. }) => field,
            other => panic!("{kind:?}: {other:?}"),
        }
    };
    assert_eq!(refused(Kind::Write, |_| ()), "count");
    assert_eq!(
        refused(Kind::Write, |raw| raw.count = U32::new(257)),
        "count"
    );
    assert_eq!(
        refused(Kind::Write, |raw| raw.count = U32::new(1)),
        "payload_len"
    );
    assert_eq!(refused(Kind::Write, |raw| raw.flags = FLAG_UNMAP), "flags");
    assert_eq!(
        refused(Kind::Zero, |raw| raw.count = U32::new(16_385)),
        "count"
    );
    assert_eq!(refused(Kind::Zero, |raw| raw.flags = 8), "flags");
    let behind = |raw: &mut RawHeader| {
        raw.count = U32::new(2);
        raw.start = U64::new(MAX_DEVICE_BLOCKS - 1);
    };
    assert_eq!(refused(Kind::Zero, behind), "start");
    let wrapping = |raw: &mut RawHeader| {
        raw.count = U32::new(2);
        raw.start = U64::new(u64::MAX);
    };
    assert_eq!(refused(Kind::Read, wrapping), "start");
    assert_eq!(refused(Kind::Bits, |raw| raw.start = U64::new(1)), "start");
    assert_eq!(
        refused(Kind::Bits, |raw| raw.count = U32::new(513)),
        "count"
    );
    assert_eq!(refused(Kind::Control, |_| ()), "payload_len");
    let long = |raw: &mut RawHeader| raw.payload_len = U32::new(MAX_CONTROL_BYTES as u32 + 1);
    assert_eq!(refused(Kind::Control, long), "payload_len");
    assert_eq!(refused(Kind::Ping, |raw| raw.seq = U64::new(1)), "seq");
    assert_eq!(
        refused(Kind::Ping, |raw| raw.payload_crc = U32::new(1)),
        "payload_crc"
    );
    assert_eq!(
        refused(Kind::Ping, |raw| raw.payload_len = U32::new(1)),
        "payload_len"
    );
    assert_eq!(
        refused(Kind::Flush, |raw| raw.depends_on = U64::new(1)),
        "depends_on"
    );
    assert_eq!(refused(Kind::Flush, |raw| raw.start = U64::new(1)), "start");
    assert_eq!(refused(Kind::Flush, |raw| raw.count = U32::new(1)), "count");
    assert_eq!(
        refused(Kind::Flush, |raw| raw.reserved = U16::new(1)),
        "reserved"
    );
    assert_eq!(
        refused(Kind::Differ, |raw| raw.payload_len = U32::new(31)),
        "payload_len"
    );
}

#[test]
fn kinds_have_the_numbers_they_are_listed_under() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind as u8), Some(kind));
    }
    assert_eq!(Kind::from_number(0), None);
    assert_eq!(Kind::from_number(16), None);
}
