//! Metadata is cut after every sector written, damaged in every block, and loaded again.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    activity_log::EXTENTS_PER_PAGE,
    bitmap::{BITS_PER_PAGE, page_words},
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Slot, Term},
    limits::EXTENT_BLOCKS,
    lineage::{Generation, Lineage},
    meta_block::FoundPlace,
    superblock::{
        Device, Lack, PeerRecord, Receipt, ReceiptKind, Runs, Seen, Standing, StoredDisk,
    },
};

/// One page of activity log, three of bitmap.
const MAX_SIZE: u64 = 2 * BITS_PER_PAGE as u64 + 1000;
const SIZE: u64 = MAX_SIZE - 77;
const LAST_EXTENT: u32 = ((SIZE - 1) / EXTENT_BLOCKS) as u32;

fn superblock() -> Superblock {
    Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(1),
        size_blocks: SIZE,
        max_size_blocks: MAX_SIZE,
        term: Term(4),
        epoch: Epoch(3),
        lineage: Lineage::new(vec![Generation {
            term: Term(4),
            id: GenerationId(0xabcd),
            node: NodeId(1),
        }]),
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        disk: StoredDisk::UpToDate,
        primary: true,
        host: BootId(0),
        binding: None,
        lack: Lack::Nothing,
        active: true,
        peers: vec![PeerRecord {
            node: NodeId(2),
            base: Some(GenerationId(0xabcd)),
            standing: Standing::Out,
            receipt: Some(Receipt {
                kind: ReceiptKind::Fence,
                about: NodeId(2),
                term: Term(4),
                epoch: Epoch(3),
                boot: BootId(9),
            }),
            conflict: None,
            seen: Seen::NEVER,
        }],
        spare_slots: 0,
    }
}

/// A disk whose writes are cut in sectors of 512 bytes.
#[derive(Clone)]
struct Disk(Vec<Box<MetaBlock>>);

impl Disk {
    fn of_garbage(blocks: u64) -> Self {
        Self((0..blocks).map(|_| Box::new([0xe5; BLOCK_BYTES])).collect())
    }

    fn fresh(superblock: &Superblock) -> Self {
        let mut disk = Self::of_garbage(Layout::of(superblock).total_blocks());
        for (block, contents) in create(superblock) {
            disk.write(block, &contents, 8);
        }
        disk
    }

    fn write(&mut self, block: u64, contents: &MetaBlock, sectors: usize) {
        let bytes = sectors * 512;
        self.0[block as usize][..bytes].copy_from_slice(&contents[..bytes]);
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        load(self.reader())
    }

    fn reader(&self) -> impl FnMut(u64) -> Result<Box<MetaBlock>, &'static str> + '_ {
        |block| self.0.get(block as usize).cloned().ok_or("behind the end")
    }
}

#[test]
fn fresh_metadata_loads_as_it_was_made() {
    let superblock = superblock();
    let loaded = Disk::fresh(&superblock).load().unwrap();
    assert_eq!(loaded.superblock, superblock);
    assert_eq!(loaded.counter, 1);
    assert!(!loaded.superblock_doubtful);
    assert_eq!(loaded.al.active, Vec::<u32>::new());
    assert_eq!(loaded.al.pages, vec![AlPage::new(0, 1)]);
    assert_eq!(
        loaded.bitmaps,
        vec![vec![0; MAX_SIZE.div_ceil(64) as usize]]
    );
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn a_cut_init_leaves_nothing_or_everything() {
    let mut earlier = superblock();
    earlier.term = Term(99);
    let superblock = superblock();
    let blocks: Vec<_> = create(&superblock).collect();
    let layout = Layout::of(&superblock);
    assert_eq!(blocks.len() as u64, layout.total_blocks() + 2);
    for before in [
        Disk::of_garbage(layout.total_blocks()),
        Disk::fresh(&earlier),
    ] {
        let mut disk = before;
        let mut complete = false;
        for (at, (block, contents)) in blocks.iter().enumerate() {
            let wiping_the_last = at < 2;
            for sectors in 0..=8 {
                disk.write(*block, contents, sectors);
                match disk.load() {
                    Ok(loaded) if loaded.superblock == superblock => {
                        assert!(at + 2 >= blocks.len(), "before the end: write {at}");
                        assert!(!loaded.superblock_doubtful || (at + 1 == blocks.len()));
                        assert_eq!(loaded.al.active, Vec::<u32>::new());
                        complete = true;
                    }
                    Ok(loaded) => {
                        assert_eq!(loaded.superblock, earlier);
                        assert!(wiping_the_last, "half of the old metadata is gone");
                    }
                    Err(LoadError::NoSuperblock { .. }) => assert!(!complete, "lost again"),
                    Err(other) => panic!("write {at} cut after {sectors} sectors: {other}"),
                }
            }
        }
        assert!(complete);
        assert!(disk.load().unwrap().warnings.is_empty());
    }
}

#[test]
fn a_cut_superblock_update_leaves_the_old_or_the_new_state() {
    let mut current = superblock();
    let mut disk = Disk::fresh(&current);
    for counter in 2..12 {
        let mut next = current.clone();
        next.term = Term(counter * 10);
        next.lineage.begin(Generation {
            term: next.term,
            id: GenerationId(counter),
            node: NodeId(2),
        });
        let contents = next.encode(counter);
        for sectors in 0..=8 {
            let mut cut = disk.clone();
            cut.write(Layout::superblock_block(counter), &contents, sectors);
            let loaded = cut.load().unwrap();
            let expected = if sectors == 8 { &next } else { &current };
            // What follows the last changed sector is the same in both, seals apart.
            assert_eq!(&loaded.superblock, expected, "cut after {sectors} sectors");
            assert!(
                !loaded.superblock_doubtful,
                "a torn copy is no reason for doubt"
            );
            assert_eq!(loaded.warnings.is_empty(), sectors % 8 == 0);
        }
        disk.write(Layout::superblock_block(counter), &contents, 8);
        current = next;
    }
}

#[test]
fn a_cut_activity_log_update_leaves_the_old_or_the_new_state() {
    let superblock = superblock();
    let layout = Layout::of(&superblock);
    let mut disk = Disk::fresh(&superblock);
    let mut page = disk.load().unwrap().al.pages.remove(0);
    assert_eq!(page.counter, 1);
    for round in 0..20 {
        let old: Vec<u32> = page.extents().collect();
        page.counter += 1;
        page.set(round * 3);
        page.clear(round.saturating_sub(3) * 3);
        let new: Vec<u32> = page.extents().collect();
        let contents = page.encode(superblock.resource);
        for sectors in 0..=8 {
            let mut cut = disk.clone();
            cut.write(layout.al_block(0, page.copy()), &contents, sectors);
            let active = cut.load().unwrap().al.active;
            assert_eq!(
                active,
                if sectors == 8 {
                    new.clone()
                } else {
                    old.clone()
                }
            );
        }
        disk.write(layout.al_block(0, page.copy()), &contents, 8);
    }
}

#[test]
fn a_cut_bitmap_page_is_dirty_as_a_whole() {
    let superblock = superblock();
    let layout = Layout::of(&superblock);
    let disk = Disk::fresh(&superblock);
    let slot = Slot::new(0).unwrap();
    let contents = encode_bitmap_page(superblock.resource, slot, 1, &[1, 2, 3]);
    for sectors in 0..=8 {
        let mut cut = disk.clone();
        cut.write(layout.bitmap_block(slot, 1), &contents, sectors);
        let bitmap = cut.load().unwrap().bitmaps.remove(0);
        let dirty: u32 = bitmap.iter().map(|word| word.count_ones()).sum();
        let page: u32 = page_words(&bitmap, 1)
            .iter()
            .map(|word| word.count_ones())
            .sum();
        let expected = match sectors {
            0 => 0,
            8 => 4,
            _ => BITS_PER_PAGE,
        };
        assert_eq!((dirty, page), (expected, expected));
    }
}

/// Each block damaged in each way: what is loaded covers at least what was there.
#[test]
fn damage_never_hides_a_dirty_block() {
    let superblock = superblock();
    let layout = Layout::of(&superblock);
    let slot = Slot::new(0).unwrap();
    let mut disk = Disk::fresh(&superblock);
    let mut pages = disk.load().unwrap().al.pages;
    let extents = [5, LAST_EXTENT];
    for page in &mut pages {
        page.counter += 1;
        extents.iter().for_each(|extent| page.set(*extent));
        let block = layout.al_block(page.index, page.copy());
        disk.write(block, &page.encode(superblock.resource), 8);
    }
    let last = layout.bitmap_pages() - 1;
    disk.write(
        layout.bitmap_block(slot, last),
        &encode_bitmap_page(superblock.resource, slot, last, &[0b1011]),
        8,
    );
    let whole = disk.load().unwrap();
    let covers = |loaded: &Loaded, why: &str| {
        let active: BTreeSet<u32> = loaded.al.active.iter().copied().collect();
        assert!(
            whole.al.active.iter().all(|extent| active.contains(extent)),
            "{why}"
        );
        let pairs = whole.bitmaps[0].iter().zip(&loaded.bitmaps[0]);
        assert!(pairs.clone().all(|(was, is)| was & !is == 0), "{why}");
        let behind_the_end = SIZE % 64;
        assert_eq!(
            loaded.bitmaps[0].last().unwrap() >> behind_the_end,
            0,
            "{why}"
        );
        assert!(
            loaded
                .al
                .active
                .iter()
                .all(|extent| u64::from(*extent) * EXTENT_BLOCKS < SIZE)
        );
    };
    type Damage = fn(&mut MetaBlock);
    let damages: [(&str, Damage); 5] = [
        ("wiped", |block| block.fill(0)),
        ("garbage", |block| block.fill(0x77)),
        ("first bit", |block| block[0] ^= 1),
        ("last bit", |block| block[4095] ^= 0x80),
        ("half wiped", |block| block[1024..].fill(0)),
    ];
    for block in 2..layout.total_blocks() {
        for (name, damage) in damages {
            let mut bad = disk.clone();
            damage(&mut bad.0[block as usize]);
            let loaded = bad.load().unwrap();
            let why = format!("block {block} {name}");
            assert_eq!(loaded.warnings.len(), 1, "{why}");
            assert!(
                loaded.warnings[0].starts_with(&format!("block {block}, ")),
                "{why}"
            );
            covers(&loaded, &why);
            repair_makes_it_load(&bad, &loaded);
        }
    }
    let unreadable = load(|block| {
        let contents = disk.0[block as usize].clone();
        if block < 2 { Ok(contents) } else { Err("EIO") }
    });
    covers(
        &unreadable.unwrap(),
        "nothing but the superblocks is readable",
    );
}

fn repair_makes_it_load(bad: &Disk, as_loaded: &Loaded) {
    let mut repaired = bad.clone();
    for (block, contents) in repair(bad.reader()).unwrap() {
        repaired.write(block, &contents, 8);
        repaired.load().unwrap();
    }
    let loaded = repaired.load().unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(check(repaired.reader()), vec![]);
    assert_eq!(loaded.superblock, as_loaded.superblock);
    assert_eq!(loaded.al.active, as_loaded.al.active);
    assert_eq!(loaded.bitmaps, as_loaded.bitmaps);
}

#[test]
fn one_bad_superblock_is_lived_with_and_doubt_is_said() {
    let superblock = superblock();
    let disk = Disk::fresh(&superblock);
    for (block, doubtful) in [(0, false), (1, true)] {
        // In the second half, so that the counter is still to be seen.
        let mut bad = disk.clone();
        bad.0[block][3000] ^= 1;
        let loaded = bad.load().unwrap();
        assert_eq!(loaded.superblock, superblock);
        assert_eq!(loaded.superblock_doubtful, doubtful, "block {block}");
        repair_makes_it_load(&bad, &loaded);
        bad.0[block].fill(0x11);
        assert!(bad.load().unwrap().superblock_doubtful);
    }
}

#[test]
fn two_bad_superblocks_are_refused_with_both_reasons() {
    let mut disk = Disk::fresh(&superblock());
    disk.0[0].fill(0);
    disk.0[1][700] ^= 4;
    let error = disk.load().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("block 0 is empty"), "{text}");
    assert!(text.contains("block 1 is damaged in sector 1"), "{text}");
    assert_eq!(repair(disk.reader()).unwrap_err(), error);
    let findings = check(disk.reader());
    assert_eq!(findings.len(), 2);
    assert!(
        findings
            .iter()
            .all(|finding| finding.assumed == Assumed::Nothing)
    );
}

#[test]
fn superblocks_of_two_places_are_refused() {
    let mut disk = Disk::fresh(&superblock());
    let mut other = superblock();
    other.node = NodeId(3);
    disk.write(0, &other.encode(2), 8);
    assert_eq!(
        disk.load().unwrap_err(),
        LoadError::Disagree { what: "nodes" }
    );
    let mut swapped = Disk::fresh(&superblock());
    swapped.0.swap(0, 1);
    let LoadError::NoSuperblock { first, .. } = swapped.load().unwrap_err() else {
        panic!("swapped copies are not usable");
    };
    let found = FoundPlace::Known(Place::Superblock { copy: 1 });
    assert_eq!(first, Fault::Misplaced { found });
}

#[test]
fn a_device_of_several_log_pages_loads_each() {
    let mut superblock = superblock();
    superblock.max_size_blocks = (u64::from(EXTENTS_PER_PAGE) + 100) * EXTENT_BLOCKS;
    superblock.size_blocks = superblock.max_size_blocks - 1;
    let layout = Layout::of(&superblock);
    let mut disk = Disk::fresh(&superblock);
    let extents = [
        0,
        EXTENTS_PER_PAGE - 1,
        EXTENTS_PER_PAGE,
        EXTENTS_PER_PAGE + 99,
    ];
    for mut page in disk.load().unwrap().al.pages {
        page.counter += 1;
        for extent in extents {
            if AlPage::of_extent(extent) == page.index {
                page.set(extent);
            }
        }
        let block = layout.al_block(page.index, page.copy());
        disk.write(block, &page.encode(superblock.resource), 8);
    }
    assert_eq!(disk.load().unwrap().al.active, extents);
    disk.0[layout.al_block(1, 0) as usize].fill(0);
    let active = disk.load().unwrap().al.active;
    assert_eq!(active[..2], extents[..2]);
    let second_page = EXTENTS_PER_PAGE..EXTENTS_PER_PAGE + 100;
    assert!(active[2..].iter().copied().eq(second_page));
}

#[test]
fn dump_says_everything_in_text_and_json() {
    let superblock = superblock();
    let layout = Layout::of(&superblock);
    let mut disk = Disk::fresh(&superblock);
    let mut page = AlPage::new(0, 2);
    [3, 4, 5, 9].into_iter().for_each(|extent| page.set(extent));
    disk.write(layout.al_block(0, 0), &page.encode(superblock.resource), 8);
    disk.0[layout.total_blocks() as usize - 1].fill(0);
    let dump = dump(disk.reader()).unwrap();
    let text = dump.to_string();
    for part in [
        "node            1",
        "term            4",
        "disk            UpToDate",
        "generation      000000000000abcd of node 1, term 4",
        "written 2 times: 3-5 9-9",
        "Fence receipt about node 2 in term 4",
        "every block it covers counts as dirty",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json = serde_json::to_value(&dump).unwrap();
    assert_eq!(json["superblock"]["term"], 4);
    assert_eq!(
        json["activity_log"][0]["active"],
        serde_json::json!([[3, 5], [9, 9]])
    );
    assert_eq!(json["findings"].as_array().unwrap().len(), 1);
}

proptest! {
    /// Random updates of pages and superblock, each cut at a random sector, then a load: never a mixture.
    #[test]
    fn a_history_of_cut_writes_never_mixes(cuts in prop::collection::vec((0..2u8, 0..=8usize), 1..24)) {
        let mut superblock = superblock();
        let layout = Layout::of(&superblock);
        let mut disk = Disk::fresh(&superblock);
        for (step, (what, sectors)) in (0u64..).zip(cuts) {
            let before = disk.load().unwrap();
            let mut after = before.clone();
            match what {
                0 => {
                    superblock = before.superblock.clone();
                    superblock.term = Term(1000 + step);
                    after.superblock = superblock.clone();
                    after.counter += 1;
                    let block = Layout::superblock_block(after.counter);
                    disk.write(block, &superblock.encode(after.counter), sectors);
                }
                _ => {
                    let page = &mut after.al.pages[0];
                    page.counter += 1;
                    page.set(step as u32);
                    let block = layout.al_block(page.index, page.copy());
                    disk.write(block, &page.encode(superblock.resource), sectors);
                    after.al.active = after.al.pages.iter().flat_map(AlPage::extents).collect();
                }
            }
            let mut loaded = disk.load().unwrap();
            loaded.warnings.clear();
            let mut expected = if sectors == 8 { after } else { before };
            expected.warnings.clear();
            prop_assert_eq!(loaded, expected);
        }
    }
}
