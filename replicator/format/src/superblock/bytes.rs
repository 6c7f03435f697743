//! The superblock's byte layout. `FORMAT.md` draws it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod identity;
mod lack;

use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, LE, U16, U64, U128, Unaligned,
};

use self::{
    identity::{decode_conflict, decode_runs, decode_tie, encode_conflict_kind, encode_tie},
    lack::{LACK_FLAGS, decode_lack, encode_lack},
};
use super::{Device, PeerRecord, Receipt, ReceiptKind, Seen, Standing, StoredDisk, Superblock};
use crate::{
    binding::Binding,
    ids::{BootId, ClusterId, Epoch, GenerationId, Moment, NodeId, Term},
    limits::{
        MAX_ANCESTORS, MAX_DEVICE_BLOCKS, MAX_GENERATIONS, MAX_MADE_GOOD, MAX_PEERS, MAX_RUNS,
    },
    lineage::{Generation, Lineage},
    meta_block::{BODY_BYTES, Body, Fault, MetaBlock, Place, open, seal},
};

impl Superblock {
    /// The block to write at `Layout::superblock_block(counter)`. Each write uses the next counter, so that the two
    /// copies take turns and a cut write leaves the previous state.
    ///
    /// # Panics
    /// When the contents break a limit; [`Superblock::decode`] would refuse them.
    #[must_use]
    pub fn encode(&self, counter: u64) -> Box<MetaBlock> {
        let layout = self.to_layout();
        if let Err(fault) = Self::from_layout(&layout, self.resource) {
            panic!(
                "superblock of node {} can't be written: it {fault}",
                self.node
            );
        }
        let body = zerocopy::transmute!(layout);
        let copy = (counter & 1) as u8;
        seal(Place::Superblock { copy }, self.resource, counter, &body)
    }

    /// Reads the copy at block `copy` (0 or 1); gives the counter as well.
    ///
    /// # Errors
    /// When it is not exactly what [`Superblock::encode`] makes for that copy.
    pub fn decode(copy: u8, block: &MetaBlock) -> Result<(Self, u64), Fault> {
        let opened = open(block, Place::Superblock { copy }, None)?;
        let layout = SuperblockLayout::ref_from_bytes(opened.body.as_bytes())
            .expect("a body has the size of the superblock's layout");
        let superblock = Self::from_layout(layout, opened.resource)?;
        Ok((superblock, opened.counter))
    }

    fn to_layout(&self) -> SuperblockLayout {
        let mut layout = SuperblockLayout::new_zeroed();
        layout.cluster = U128::new(self.cluster.0);
        layout.size_blocks = U64::new(self.size_blocks);
        layout.max_size_blocks = U64::new(self.max_size_blocks);
        layout.term = U64::new(self.term.0);
        layout.host = U64::new(self.host.0);
        layout.epoch = U64::new(self.epoch.0);
        let (tie_kind, tie) = encode_tie(self.device.tie);
        layout.tie_kind = tie_kind;
        layout.tie = U64::new(tie);
        layout.device_blocks = U64::new(self.device.blocks);
        layout.node = self.node.0;
        layout.disk = encode_disk(self.disk);
        layout.flags = flag(self.primary, FLAG_PRIMARY)
            | flag(self.active, FLAG_ACTIVE)
            | flag(self.unconfirmed, FLAG_UNCONFIRMED)
            | flag(self.suspect, FLAG_SUSPECT)
            | flag(self.rewound, FLAG_REWOUND)
            | encode_lack(self.lack);
        assert!(
            self.peers.len() <= MAX_PEERS,
            "{} peers in a superblock",
            self.peers.len()
        );
        layout.peer_count = self.peers.len() as u8;
        layout.spare_slots = self.spare_slots;
        let (ancestors, generations) = self.lineage.ancestors_and_generations();
        layout.generation_count = generations.len() as u8;
        layout.ancestor_count = U16::new(ancestors.len() as u16);
        for (bytes, ancestor) in layout.ancestors.iter_mut().zip(ancestors) {
            *bytes = U64::new(ancestor.id.0);
        }
        assert!(
            self.runs.newest.len() <= MAX_RUNS && self.runs.made_good.len() <= MAX_MADE_GOOD,
            "{} and {} runs in a superblock",
            self.runs.newest.len(),
            self.runs.made_good.len()
        );
        for (bytes, run) in layout.runs.iter_mut().zip(&self.runs.newest) {
            bytes.boot = U64::new(run.boot.0);
            bytes.began = U64::new(run.began.0);
        }
        for (bytes, seen) in layout.made_good.iter_mut().zip(&self.runs.made_good) {
            bytes.run = U64::new(seen.run.0);
            bytes.moment = U64::new(seen.moment.0);
        }
        if let Some(binding) = self.binding {
            layout.binding_term = U64::new(binding.term.0);
            layout.binding_id = U64::new(binding.id.0);
        }
        for (bytes, peer) in layout.peers.iter_mut().zip(&self.peers) {
            *bytes = encode_peer(peer);
        }
        for (bytes, generation) in layout.generations.iter_mut().zip(generations) {
            bytes.term = U64::new(generation.term.0);
            bytes.id = U64::new(generation.id.0);
            bytes.node = generation.node.0;
        }
        layout
    }

    fn from_layout(
        layout: &SuperblockLayout,
        resource: crate::ids::ResourceId,
    ) -> Result<Self, Fault> {
        let size_blocks = layout.size_blocks.get();
        let max_size_blocks = layout.max_size_blocks.get();
        ensure(
            max_size_blocks <= MAX_DEVICE_BLOCKS,
            "the largest size is above 1 PiB",
        )?;
        ensure(
            size_blocks <= max_size_blocks,
            "the size is above the largest size",
        )?;
        ensure(layout.flags & !FLAGS == 0, "an unknown flag is set")?;
        ensure(
            layout.reserved.iter().all(|byte| *byte == 0) && layout.tie_reserved == [0; 7],
            "reserved bytes are not zero",
        )?;

        let node = NodeId(layout.node);
        let peers = decode_peers(layout, node)?;
        ensure(
            peers.len() + usize::from(layout.spare_slots) <= MAX_PEERS,
            "there are more peer slots than can be",
        )?;
        let lineage = decode_lineage(layout)?;
        let unconfirmed = layout.flags & FLAG_UNCONFIRMED != 0;
        ensure(
            !unconfirmed || lineage.newest().is_some(),
            "a generation is unconfirmed, and there is none",
        )?;
        Ok(Self {
            cluster: ClusterId(layout.cluster.get()),
            resource,
            node,
            size_blocks,
            max_size_blocks,
            term: Term(layout.term.get()),
            epoch: Epoch(layout.epoch.get()),
            lineage,
            unconfirmed,
            disk: decode_disk(layout.disk)?,
            suspect: layout.flags & FLAG_SUSPECT != 0,
            rewound: layout.flags & FLAG_REWOUND != 0,
            device: Device {
                tie: decode_tie(layout.tie_kind, layout.tie.get())?,
                blocks: layout.device_blocks.get(),
            },
            primary: layout.flags & FLAG_PRIMARY != 0,
            lack: decode_lack(layout.flags),
            active: layout.flags & FLAG_ACTIVE != 0,
            host: BootId(layout.host.get()),
            runs: decode_runs(layout)?,
            binding: decode_binding(layout)?,
            peers,
            spare_slots: layout.spare_slots,
        })
    }
}

fn decode_peers(layout: &SuperblockLayout, own: NodeId) -> Result<Vec<PeerRecord>, Fault> {
    let count = usize::from(layout.peer_count);
    let (used, unused) = layout
        .peers
        .split_at_checked(count)
        .ok_or(Fault::Impossible {
            what: "there are more peers than slots",
        })?;
    for peer in unused {
        ensure(
            peer.as_bytes().iter().all(|byte| *byte == 0),
            "an unused peer slot is not zero",
        )?;
    }
    let peers = used
        .iter()
        .map(decode_peer)
        .collect::<Result<Vec<_>, _>>()?;
    for (at, peer) in peers.iter().enumerate() {
        ensure(peer.node != own, "a peer has this node's own number")?;
        let twice = peers
            .iter()
            .skip(at + 1)
            .any(|other| other.node == peer.node);
        ensure(!twice, "two peers have the same number")?;
    }
    Ok(peers)
}

fn decode_lineage(layout: &SuperblockLayout) -> Result<Lineage, Fault> {
    let count = usize::from(layout.generation_count);
    let (used, unused) = layout
        .generations
        .split_at_checked(count)
        .ok_or(Fault::Impossible {
            what: "there are more generations than fit",
        })?;
    for generation in unused {
        let zero = generation.as_bytes().iter().all(|byte| *byte == 0);
        ensure(zero, "an unused generation is not zero")?;
    }
    for generation in used {
        ensure(
            generation.reserved == [0; 7],
            "a generation's reserved bytes are not zero",
        )?;
    }
    let count = usize::from(layout.ancestor_count.get());
    let (ancestors, unused) =
        layout
            .ancestors
            .split_at_checked(count)
            .ok_or(Fault::Impossible {
                what: "there are more ancestors than fit",
            })?;
    let zero = unused.iter().all(|ancestor| ancestor.get() == 0);
    ensure(zero, "an unused ancestor is not zero")?;
    ensure(
        ancestors.is_empty() || used.len() == MAX_GENERATIONS,
        "there are ancestors although generations would fit",
    )?;
    let ancestors = ancestors
        .iter()
        .map(|id| Generation::ancestor(GenerationId(id.get())));
    let generations = used.iter().map(|generation| Generation {
        term: Term(generation.term.get()),
        id: GenerationId(generation.id.get()),
        node: NodeId(generation.node),
    });
    Ok(Lineage::new(ancestors.chain(generations).collect()))
}

fn decode_binding(layout: &SuperblockLayout) -> Result<Option<Binding>, Fault> {
    let (term, id) = (layout.binding_term.get(), layout.binding_id.get());
    ensure(term > 0 || id == 0, "a role has a generation but no term")?;
    let to_come = term > layout.term.get();
    ensure(!to_come, "the role began in a term that is still to come")?;
    let (term, id) = (Term(term), GenerationId(id));
    Ok((term.0 > 0).then_some(Binding { term, id }))
}

fn encode_peer(peer: &PeerRecord) -> PeerLayout {
    let mut layout = PeerLayout::new_zeroed();
    layout.node = peer.node.0;
    layout.flags = flag(peer.base.is_some(), PEER_HAS_BASE);
    layout.standing = encode_standing(peer.standing);
    layout.base = U64::new(peer.base.map_or(0, |base| base.0));
    if let Some(receipt) = peer.receipt {
        layout.receipt_kind = encode_receipt_kind(receipt.kind);
        layout.receipt_about = receipt.about.0;
        layout.receipt_term = U64::new(receipt.term.0);
        layout.receipt_epoch = U64::new(receipt.epoch.0);
        layout.receipt_boot = U64::new(receipt.boot.0);
    }
    if let Some(conflict) = peer.conflict {
        layout.conflict = encode_conflict_kind(conflict.kind);
        layout.conflict_newest = U64::new(conflict.newest.0);
    }
    layout.seen = U64::new(peer.seen.moment.0);
    layout.seen_run = U64::new(peer.seen.run.0);
    layout
}

fn decode_peer(layout: &PeerLayout) -> Result<PeerRecord, Fault> {
    ensure(
        layout.flags & !PEER_HAS_BASE == 0,
        "a peer's flag is unknown",
    )?;
    ensure(
        layout.reserved == [0; 2],
        "a peer's reserved bytes are not zero",
    )?;
    let has_base = layout.flags & PEER_HAS_BASE != 0;
    let base = layout.base.get();
    ensure(
        has_base || base == 0,
        "a peer without a base generation names one",
    )?;
    Ok(PeerRecord {
        node: NodeId(layout.node),
        base: has_base.then_some(GenerationId(base)),
        standing: decode_standing(layout.standing)?,
        receipt: decode_receipt(layout)?,
        conflict: decode_conflict(layout)?,
        seen: Seen {
            run: BootId(layout.seen_run.get()),
            moment: Moment(layout.seen.get()),
        },
    })
}

fn decode_receipt(layout: &PeerLayout) -> Result<Option<Receipt>, Fault> {
    let kind = match layout.receipt_kind {
        0 => {
            let empty = layout.receipt_about == 0
                && layout.receipt_term.get() == 0
                && layout.receipt_epoch.get() == 0
                && layout.receipt_boot.get() == 0;
            ensure(empty, "a receipt has contents but no kind")?;
            return Ok(None);
        }
        1 => ReceiptKind::Release,
        2 => ReceiptKind::Fence,
        3 => ReceiptKind::Arbiter,
        4 => ReceiptKind::Operator,
        _ => {
            return Err(Fault::Impossible {
                what: "the kind of a receipt is unknown",
            });
        }
    };
    Ok(Some(Receipt {
        kind,
        about: NodeId(layout.receipt_about),
        term: Term(layout.receipt_term.get()),
        epoch: Epoch(layout.receipt_epoch.get()),
        boot: BootId(layout.receipt_boot.get()),
    }))
}

const fn encode_receipt_kind(kind: ReceiptKind) -> u8 {
    match kind {
        ReceiptKind::Release => 1,
        ReceiptKind::Fence => 2,
        ReceiptKind::Arbiter => 3,
        ReceiptKind::Operator => 4,
    }
}

const fn encode_disk(disk: StoredDisk) -> u8 {
    match disk {
        StoredDisk::Failed => 1,
        StoredDisk::Inconsistent => 2,
        StoredDisk::Outdated => 3,
        StoredDisk::UpToDate => 4,
    }
}

const fn encode_standing(standing: Standing) -> u8 {
    match standing {
        Standing::Out => 0,
        Standing::Copy => 1,
        Standing::Joining => 2,
        Standing::In => 3,
    }
}

fn decode_standing(number: u8) -> Result<Standing, Fault> {
    match number {
        0 => Ok(Standing::Out),
        1 => Ok(Standing::Copy),
        2 => Ok(Standing::Joining),
        3 => Ok(Standing::In),
        _ => Err(Fault::Impossible {
            what: "how a peer stands to the in-sync set is unknown",
        }),
    }
}

fn decode_disk(number: u8) -> Result<StoredDisk, Fault> {
    match number {
        1 => Ok(StoredDisk::Failed),
        2 => Ok(StoredDisk::Inconsistent),
        3 => Ok(StoredDisk::Outdated),
        4 => Ok(StoredDisk::UpToDate),
        _ => Err(Fault::Impossible {
            what: "the disk state is unknown",
        }),
    }
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), Fault> {
    if holds {
        Ok(())
    } else {
        Err(Fault::Impossible { what: otherwise })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SuperblockLayout {
    pub(crate) cluster: U128<LE>,
    pub(crate) size_blocks: U64<LE>,
    pub(crate) max_size_blocks: U64<LE>,
    pub(crate) term: U64<LE>,
    pub(crate) host: U64<LE>,
    pub(crate) epoch: U64<LE>,
    pub(crate) tie: U64<LE>,
    pub(crate) device_blocks: U64<LE>,
    pub(crate) tie_kind: u8,
    pub(crate) tie_reserved: [u8; 7],
    pub(crate) node: u8,
    pub(crate) disk: u8,
    pub(crate) flags: u8,
    pub(crate) peer_count: u8,
    pub(crate) generation_count: u8,
    pub(crate) spare_slots: u8,
    pub(crate) ancestor_count: U16<LE>,
    pub(crate) peers: [PeerLayout; MAX_PEERS],
    pub(crate) generations: [GenerationLayout; MAX_GENERATIONS],
    pub(crate) ancestors: [U64<LE>; MAX_ANCESTORS],
    pub(crate) binding_term: U64<LE>,
    pub(crate) binding_id: U64<LE>,
    pub(crate) runs: [RunLayout; MAX_RUNS],
    pub(crate) made_good: [SeenLayout; MAX_MADE_GOOD],
    pub(crate) reserved: [u8; RESERVED_BYTES],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RunLayout {
    pub(crate) boot: U64<LE>,
    pub(crate) began: U64<LE>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct SeenLayout {
    pub(crate) run: U64<LE>,
    pub(crate) moment: U64<LE>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct PeerLayout {
    pub(crate) node: u8,
    pub(crate) flags: u8,
    pub(crate) receipt_kind: u8,
    pub(crate) receipt_about: u8,
    pub(crate) conflict: u8,
    pub(crate) standing: u8,
    pub(crate) reserved: [u8; 2],
    pub(crate) base: U64<LE>,
    pub(crate) receipt_term: U64<LE>,
    pub(crate) receipt_epoch: U64<LE>,
    pub(crate) receipt_boot: U64<LE>,
    pub(crate) conflict_newest: U64<LE>,
    pub(crate) seen: U64<LE>,
    pub(crate) seen_run: U64<LE>,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct GenerationLayout {
    pub(crate) term: U64<LE>,
    pub(crate) id: U64<LE>,
    pub(crate) node: u8,
    pub(crate) reserved: [u8; 7],
}

const FLAG_PRIMARY: u8 = 1;
const FLAG_ACTIVE: u8 = 2;
const FLAG_UNCONFIRMED: u8 = 4;
const FLAG_SUSPECT: u8 = 8;
const FLAG_REWOUND: u8 = 16;
const FLAGS: u8 =
    FLAG_PRIMARY | FLAG_ACTIVE | FLAG_UNCONFIRMED | FLAG_SUSPECT | FLAG_REWOUND | LACK_FLAGS;
const PEER_HAS_BASE: u8 = 1;
const RESERVED_BYTES: usize = BODY_BYTES
    - 104
    - MAX_PEERS * 64
    - MAX_GENERATIONS * 24
    - MAX_ANCESTORS * 8
    - MAX_RUNS * 16
    - MAX_MADE_GOOD * 16;

const _: () = assert!(size_of::<PeerLayout>() == 64);
const _: () = assert!(size_of::<GenerationLayout>() == 24);
const _: () = assert!(size_of::<SuperblockLayout>() == size_of::<Body>());
const _: () = assert!(MAX_GENERATIONS <= 255); // counted in a byte

#[cfg(test)]
mod tests;
