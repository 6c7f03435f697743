//! S5: where two replicas' disks differ, or may differ after a loss of power, a durable dirty bit or active extent on
//! at least one of them says so.

use std::collections::BTreeSet;

use twindisk_format::{
    ids::{Moment, NodeId},
    limits::EXTENT_BLOCKS,
    metadata::Loaded,
    superblock::{StoredDisk, Superblock},
};

use super::Violation;
use crate::{
    content::{SECTORS, describe},
    disk::DataDisk,
};

/// One side of a comparison: its number, what its metadata would say after a crash now, its disk.
pub(crate) struct Half<'a> {
    pub(crate) node: usize,
    pub(crate) metadata: &'a Loaded,
    pub(crate) disk: &'a DataDisk,
}

/// Compares two disks. `busy` says which blocks have something under way.
pub(crate) fn check(a: &Half, b: &Half, busy: impl Fn(u64) -> bool) -> Result<(), Violation> {
    if !knows(a, b) || !knows(b, a) {
        return Ok(());
    }
    let blocks = a
        .metadata
        .superblock
        .size_blocks
        .min(b.metadata.superblock.size_blocks);
    let unsettled: BTreeSet<u64> = a.disk.unsettled().chain(b.disk.unsettled()).collect();
    for block in 0..blocks {
        let mut sectors = block * SECTORS..(block + 1) * SECTORS;
        let differs = sectors.find(|sector| {
            let value = a.disk.peek(*sector);
            let mut outcomes = a.disk.outcomes(*sector).chain(b.disk.outcomes(*sector));
            b.disk.peek(*sector) != value
                || unsettled.contains(&block) && outcomes.any(|other| other != value)
        });
        if let Some(sector) = differs
            && !busy(block)
            && !says(a, b, block)
            && !says(b, a, block)
        {
            return Err(Violation::new(
                "S5",
                format!(
                    "block {block} (sector {sector}) is {} on node {} and {} on node {}, and neither a dirty bit nor \
                     an active extent on either says that it may differ",
                    contents(a.disk, sector),
                    a.node,
                    contents(b.disk, sector),
                    b.node
                ),
            ));
        }
    }
    Ok(())
}

fn contents(disk: &DataDisk, sector: u64) -> String {
    let (seen, durable) = (disk.peek(sector), disk.durable(sector));
    if seen == durable {
        describe(seen)
    } else {
        format!(
            "{} ({} after a loss of power)",
            describe(seen),
            describe(durable)
        )
    }
}

/// Whether the two were in sync once, so that bits count from something, and nothing says that all may differ.
fn knows(half: &Half, other: &Half) -> bool {
    let superblock = &half.metadata.superblock;
    let record = |superblock: &Superblock, node: usize| {
        let mut peers = superblock.peers.iter();
        peers.find(|peer| peer.node == NodeId(node as u8)).copied()
    };
    // One that was rolled back does not remember what the other one knows of it: then every block may differ.
    let remembers = record(&other.metadata.superblock, half.node).is_none_or(|record| {
        let moment = Moment(half.metadata.counter);
        superblock.runs.remember(record.seen, moment)
    });
    let rewound = superblock.rewound || !remembers;
    superblock.disk != StoredDisk::Failed
        && !rewound
        && !superblock.lineage.generations().is_empty()
        && superblock
            .peers
            .iter()
            .any(|peer| peer.node == NodeId(other.node as u8) && peer.base.is_some())
}

fn says(half: &Half, other: &Half, block: u64) -> bool {
    let extent = (block / EXTENT_BLOCKS) as u32;
    let active = half.metadata.al.active.contains(&extent);
    let dirty = half
        .metadata
        .superblock
        .peers
        .iter()
        .position(|peer| peer.node == NodeId(other.node as u8))
        .and_then(|slot| half.metadata.bitmaps.get(slot))
        .and_then(|words| words.get((block / 64) as usize))
        .is_some_and(|word| word >> (block % 64) & 1 == 1);
    active || dirty
}
