//! Every kind of bad block is named for what it is.

use super::*;

const PLACE: Place = Place::ActivityLog { page: 7, copy: 0 };
const OURS: ResourceId = ResourceId(0x1234);

fn block(counter: u64, fill: u8) -> Box<MetaBlock> {
    seal(PLACE, OURS, counter, &[fill; BODY_BYTES])
}

fn fault(block: &MetaBlock) -> Fault {
    open(block, PLACE, Some(OURS)).unwrap_err()
}

#[test]
fn what_was_sealed_is_opened() {
    let opened = open(&block(42, 9), PLACE, Some(OURS)).unwrap();
    assert_eq!(opened.counter, 42);
    assert_eq!(opened.resource, OURS);
    assert_eq!(*opened.body, [9; BODY_BYTES]);
}

#[test]
fn a_flip_of_any_bit_is_damage() {
    let good = block(42, 0x5a);
    for byte in 0..BLOCK_BYTES {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[byte] ^= 1 << bit;
            let sector = (byte / 512) as u8;
            assert_eq!(fault(&bad), Fault::Damaged { sector }, "byte {byte}");
        }
    }
}

#[test]
fn a_cut_write_is_torn_at_any_sector() {
    let (old, new) = (block(40, 1), block(42, 1));
    for cut in 1..8 {
        for (from, to) in [(&old, &new), (&new, &old)] {
            let mut torn = from.clone();
            torn[..cut * 512].copy_from_slice(&to[..cut * 512]);
            assert_eq!(fault(&torn), Fault::Torn, "cut after sector {cut}");
        }
    }
}

#[test]
fn swapped_sectors_are_damage() {
    let mut bad = block(42, 3);
    let (left, right) = bad.split_at_mut(1024);
    left[512..].swap_with_slice(&mut right[..512]);
    assert_eq!(fault(&bad), Fault::Damaged { sector: 1 });
}

#[test]
fn what_is_not_ours_is_said_to_be() {
    assert_eq!(fault(&[0; BLOCK_BYTES]), Fault::Empty);
    assert_eq!(fault(&[0xff; BLOCK_BYTES]), Fault::Foreign);
    let other = ResourceId(1);
    let theirs = seal(PLACE, other, 42, &[0; BODY_BYTES]);
    assert_eq!(
        fault(&theirs),
        Fault::OtherResource {
            found: other,
            expected: OURS
        }
    );
    for found in [
        Place::ActivityLog { page: 8, copy: 0 },
        Place::ActivityLog { page: 7, copy: 1 },
        Place::Superblock { copy: 0 },
        Place::Bitmap {
            slot: Slot::new(0).unwrap(),
            page: 7,
        },
    ] {
        let elsewhere = seal(found, OURS, 0, &[0; BODY_BYTES]);
        let found = FoundPlace::Known(found);
        assert_eq!(fault(&elsewhere), Fault::Misplaced { found });
    }
    assert!(matches!(fault(&block(43, 0)), Fault::Impossible { .. }));
}

#[test]
fn other_versions_are_named_only_when_the_seal_holds() {
    let with_version = |version| {
        let content = Content {
            header: Header {
                magic: MAGIC,
                version: U16::new(version),
                kind: KIND_ACTIVITY_LOG,
                lane: 0,
                index: U32::new(7),
                counter: U64::new(42),
                resource: U128::new(OURS.0),
                reserved: [0; 24],
            },
            body: [0; BODY_BYTES],
        };
        seal_content(&content)
    };
    assert_eq!(fault(&with_version(0)), Fault::OlderVersion { found: 0 });
    assert_eq!(fault(&with_version(2)), Fault::NewerVersion { found: 2 });
    let mut flipped = with_version(1);
    flipped[8] = 2;
    assert_eq!(fault(&flipped), Fault::Damaged { sector: 0 });
}

#[test]
fn a_kind_of_the_future_is_misplaced() {
    let content = Content {
        header: Header {
            magic: MAGIC,
            version: U16::new(FORMAT_VERSION),
            kind: 99,
            lane: 0,
            index: U32::new(0),
            counter: U64::new(0),
            resource: U128::new(OURS.0),
            reserved: [0; 24],
        },
        body: [0; BODY_BYTES],
    };
    let found = FoundPlace::Unknown { kind: 99 };
    assert_eq!(fault(&seal_content(&content)), Fault::Misplaced { found });
}

#[test]
fn the_counter_of_a_damaged_block_is_salvaged_from_a_whole_first_sector() {
    let mut bad = block(42, 3);
    bad[4000] ^= 1;
    assert_eq!(salvage_counter(&bad), Some(42));
    bad[100] ^= 1;
    assert_eq!(salvage_counter(&bad), None);
}

#[test]
fn a_torn_block_of_another_place_or_resource_is_no_torn_write_of_this_one() {
    let place = Place::ActivityLog { page: 0, copy: 0 };
    let torn = |place, resource| {
        let [mut older, newer] =
            [2, 4].map(|counter| seal(place, resource, counter, &[counter as u8; BODY_BYTES]));
        older[BLOCK_BYTES / 2..].copy_from_slice(&newer[BLOCK_BYTES / 2..]);
        older
    };
    let open = |block: &MetaBlock| open(block, place, Some(OURS)).unwrap_err();
    assert_eq!(open(&torn(place, OURS)), Fault::Torn);
    let elsewhere = Place::Superblock { copy: 0 };
    let found = FoundPlace::Known(elsewhere);
    assert_eq!(open(&torn(elsewhere, OURS)), Fault::Misplaced { found });
    let theirs = ResourceId(OURS.0 + 1);
    let wrong = Fault::OtherResource {
        found: theirs,
        expected: OURS,
    };
    assert_eq!(open(&torn(place, theirs)), wrong);
}
