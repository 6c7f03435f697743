//! Round trips, and what hostile bytes get.

use proptest::prelude::*;

use super::*;
use crate::{
    arbitrary::control_messages,
    ids::{Epoch, GenerationId, Seq, Term},
    lineage::Lineage,
};

fn bytes_of(message: &ControlMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn round_trip(message in control_messages()) {
        prop_assert_eq!(decode(&bytes_of(&message)), Ok(message));
    }

    #[test]
    fn cut_or_followed_by_more_it_is_refused(message in control_messages(), extra: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = bytes_of(&message);
        let at = cut.index(bytes.len());
        prop_assert!(decode(&bytes[..at]).is_err());
        bytes.push(extra);
        prop_assert_eq!(decode(&bytes), Err(CodecError::Trailing { bytes: 1 }));
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(decode(&bytes_of(&message)), Ok(message));
        }
    }
}

#[test]
fn claimed_lengths_allocate_nothing() {
    // Goodbye (the last variant), then a string of 2^45 bytes.
    let variants = bytes_of(&ControlMessage::Goodbye { why: String::new() });
    let mut hostile = variants[..1].to_vec();
    hostile.push(253);
    hostile.extend_from_slice(&(1u64 << 45).to_le_bytes());
    assert!(matches!(
        decode(&hostile),
        Err(CodecError::Malformed { .. })
    ));
    let long = vec![0; MAX_CONTROL_BYTES + 1];
    assert_eq!(
        decode(&long),
        Err(CodecError::TooLong { bytes: long.len() })
    );
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let why = || format!("x{}", "ä".repeat(MAX_WHY_BYTES));
    let term = Term(1);
    for message in [
        ControlMessage::Refused { why: why() },
        ControlMessage::TermRefused { term, why: why() },
        ControlMessage::Goodbye { why: why() },
    ] {
        let short = decode(&bytes_of(&message)).unwrap();
        assert_eq!(Parts::of(&short).why.len(), MAX_WHY_BYTES - 1);
    }
}

#[test]
fn a_reason_moves_no_cursor() {
    for why in [
        "\u{1b}[2Jall is well\r\n",
        "\u{202e}llew si\u{85}\u{7f}\0",
        "two\u{2028}lines, \u{61c}\u{200f}turned, \u{200b}\u{2060}\u{feff}\u{e0041}unseen",
    ] {
        let message = ControlMessage::Goodbye { why: why.into() };
        let heard = decode(&bytes_of(&message)).unwrap();
        let said = Parts::of(&heard).why;
        assert!(
            said.chars()
                .all(|letter| letter.is_ascii_graphic() || letter == ' '),
            "{said:?}"
        );
        assert_eq!(said.chars().count(), why.chars().count());
    }
}

#[test]
fn parts_above_their_limits_are_refused() {
    let generation = Generation {
        term: Term(1),
        id: GenerationId(1),
        node: NodeId(1),
    };
    let mut bytes = bytes_of(&ControlMessage::TermRequest {
        term: Term(1),
        lineage: Lineage::new(vec![generation; MAX_LINEAGE]),
        dirty: false,
    });
    // variant, term, number of generations (a marker and 16 bits), so many times three bytes, flag
    assert_eq!(bytes[2..5], [251, 0, 1]);
    bytes[3] = 1;
    bytes.splice(5..5, [1, 1, 1]);
    let error = CodecError::AboveLimit {
        what: "generations",
        found: MAX_LINEAGE + 1,
        limit: MAX_LINEAGE,
    };
    assert_eq!(decode(&bytes), Err(error));
}

#[test]
fn more_equal_nodes_than_there_can_be_are_refused() {
    let membership = |equal| {
        ControlMessage::Membership(Membership {
            change: 1,
            term: Term(1),
            lineage: Lineage::default(),
            epoch: Epoch(1),
            in_sync: Vec::new(),
            joining: Vec::new(),
            equal: vec![NodeId(1); equal],
            newest: Seq(0),
            primary: true,
            up_to_date: true,
            unconfirmed: false,
            size_blocks: 1,
        })
    };
    let most = MAX_PEERS + 1;
    assert!(decode(&bytes_of(&membership(most))).is_ok());
    let error = CodecError::AboveLimit {
        what: "equal nodes",
        found: most + 1,
        limit: most,
    };
    assert_eq!(decode(&bytes_of(&membership(most + 1))), Err(error));
}
