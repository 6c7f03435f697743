//! Where internal metadata goes, and how it moves.

use std::fs;

use twindisk_format::{
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Term},
    lineage::{Generation, Lineage},
    superblock::{Device, Lack, PeerRecord, Runs, StoredDisk},
};

use super::*;

const OLD_BLOCKS: u64 = 40_000;
const NEW_BLOCKS: u64 = 80_000;

fn superblock(max_size_blocks: u64) -> Superblock {
    Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(1),
        size_blocks: max_size_blocks,
        max_size_blocks,
        term: Term(3),
        epoch: Epoch(1),
        lineage: Lineage::new(vec![Generation {
            term: Term(3),
            id: GenerationId(4),
            node: NodeId(1),
        }]),
        disk: StoredDisk::UpToDate,
        primary: true,
        lack: Lack::Nothing,
        active: true,
        host: BootId(0),
        binding: None,
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        peers: vec![PeerRecord::new(NodeId(2))],
        spare_slots: 1,
    }
}

fn open(path: &Path) -> Arc<Backing> {
    Arc::new(Backing::open(path, Access::Exclusive).expect("open"))
}

fn grow(path: &Path, blocks: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    file.set_len(blocks * BLOCK_BYTES as u64).expect("grow");
}

/// What `load` says after a move, apart from what a move changes.
fn contents(found: &Metadata, like: &Loaded) -> Loaded {
    let mut loaded = found.load().expect("load");
    loaded.superblock.max_size_blocks = like.superblock.max_size_blocks;
    loaded.counter = like.counter;
    loaded.al.pages.clone_from(&like.al.pages);
    for (bitmap, like) in loaded.bitmaps.iter_mut().zip(&like.bitmaps) {
        assert!(bitmap.iter().skip(like.len()).all(|word| *word == 0));
        bitmap.truncate(like.len());
    }
    loaded
}

#[test]
fn a_move_keeps_everything_and_can_be_begun_again_wherever_it_was_cut() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("backing");
    fs::File::create(&path).expect("file");
    grow(&path, OLD_BLOCKS);
    let (before, old_first, new_first) = {
        let backing = open(&path);
        let room = Metadata::internal_data_blocks(&backing, 2).expect("room");
        let superblock = superblock(room);
        let made = Metadata::create_internal(&backing, &superblock).expect("made");
        let mut active = twindisk_format::activity_log::AlPage::new(0, 2);
        active.set(7);
        let layout = Layout::of(&superblock);
        let block = layout.al_block(0, 0);
        made.write(block, &active.encode(superblock.resource))
            .expect("write");
        let slot = twindisk_format::ids::Slot::new(0).expect("slot");
        let dirty =
            twindisk_format::bitmap::encode_bitmap_page(superblock.resource, slot, 1, &[0, 9]);
        made.write(layout.bitmap_block(slot, 1), &dirty)
            .expect("write");
        let before = made.load().expect("load");
        assert_eq!(before.al.active, [7]);
        drop((made, backing));
        grow(&path, NEW_BLOCKS);
        let new_first = Metadata::internal_data_blocks(&open(&path), 2).expect("room");
        (before, room, new_first)
    };
    let grown = fs::read(&path).expect("read");
    assert!(
        Metadata::internal(&open(&path)).is_err(),
        "it is not at the end"
    );
    let moved = Metadata::move_to_end(&open(&path), OLD_BLOCKS).expect("moved");
    assert_eq!(moved.first_block(), new_first);
    assert_eq!(contents(&moved, &before), before);
    drop(moved);
    let whole = fs::read(&path).expect("read");
    let at = |block: u64| usize::try_from(block).expect("64 bits") * BLOCK_BYTES;
    // Cut before the old metadata was wiped; cut before the new one was whole, or with something else there.
    let mut unwiped = whole.clone();
    unwiped[at(old_first)..at(OLD_BLOCKS)].copy_from_slice(&grown[at(old_first)..at(OLD_BLOCKS)]);
    let mut half = unwiped.clone();
    half[at(new_first)..at(new_first + 2)].fill(0);
    let mut stranger = unwiped.clone();
    let mut other = superblock(new_first);
    other.resource = ResourceId(77);
    for copy in 0..2 {
        stranger[at(new_first + copy)..at(new_first + copy + 1)]
            .copy_from_slice(&*other.encode(copy));
    }
    for cut in [&grown, &unwiped, &half, &stranger, &whole] {
        fs::write(&path, cut).expect("write");
        let backing = open(&path);
        let again = Metadata::move_to_end(&backing, OLD_BLOCKS).expect("moved");
        assert_eq!(contents(&again, &before), before);
        assert!(Metadata::internal_of(&backing, OLD_BLOCKS).is_err());
    }
}

#[test]
fn a_move_that_would_go_over_itself_is_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("backing");
    fs::File::create(&path).expect("file");
    grow(&path, OLD_BLOCKS);
    {
        let backing = open(&path);
        let room = Metadata::internal_data_blocks(&backing, 2).expect("room");
        Metadata::create_internal(&backing, &superblock(room)).expect("made");
    }
    grow(&path, OLD_BLOCKS + 3);
    let refused = Metadata::move_to_end(&open(&path), OLD_BLOCKS).expect_err("too little");
    let StoreError::TooSmall { needs_blocks, .. } = refused else {
        panic!("{refused}");
    };
    grow(&path, needs_blocks);
    Metadata::move_to_end(&open(&path), OLD_BLOCKS).expect("as much as it said");
}

#[test]
fn internal_metadata_takes_as_little_as_it_can() {
    for device in [10, 1000, 31_744, 1 << 20, (1 << 28) + 12_345] {
        for peers in 0..=MAX_PEERS {
            let Some(data) = internal_data_blocks(device, peers) else {
                assert!(device < 12, "{device} blocks are enough");
                continue;
            };
            let total = |data| data + Layout::new(data, peers).total_blocks();
            assert!(total(data) <= device);
            assert!(total(data + 1) > device);
        }
    }
    assert_eq!(internal_data_blocks(3, 1), None);
}
