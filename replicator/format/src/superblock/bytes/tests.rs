//! Round trips, limits and refusals of the superblock's layout.

use proptest::prelude::*;

use super::*;
use crate::superblock::{Conflict, ConflictKind, Lack, Runs, Tie};
use crate::{
    arbitrary::{disks, lacks, lineages, runs},
    ids::ResourceId,
};

fn receipts() -> impl Strategy<Value = Option<Receipt>> {
    let kinds = prop::sample::select(vec![
        ReceiptKind::Release,
        ReceiptKind::Fence,
        ReceiptKind::Arbiter,
        ReceiptKind::Operator,
    ]);
    prop::option::of((kinds, any::<u8>(), any::<[u64; 3]>()).prop_map(
        |(kind, about, [term, epoch, boot])| Receipt {
            kind,
            about: NodeId(about),
            term: Term(term),
            epoch: Epoch(epoch),
            boot: BootId(boot),
        },
    ))
}

fn standings() -> impl Strategy<Value = Standing> {
    prop::sample::select(vec![
        Standing::Out,
        Standing::Copy,
        Standing::Joining,
        Standing::In,
    ])
}

fn conflicts() -> impl Strategy<Value = Option<Conflict>> {
    let kinds = prop::sample::select(vec![
        ConflictKind::SplitBrain,
        ConflictKind::Unrelated,
        ConflictKind::Rewound,
    ]);
    prop::option::of((kinds, any::<u64>()).prop_map(|(kind, newest)| Conflict {
        kind,
        newest: GenerationId(newest),
    }))
}

fn ties() -> impl Strategy<Value = Tie> {
    prop_oneof![
        Just(Tie::Size),
        Just(Tie::Inside),
        any::<u64>().prop_map(Tie::Mark),
        any::<u64>().prop_map(Tie::Identity),
    ]
}

fn peers() -> impl Strategy<Value = Vec<PeerRecord>> {
    let numbers = prop::collection::btree_set(1..=u8::MAX, 0..=MAX_PEERS);
    let records = prop::collection::vec(
        (
            prop::option::of(any::<u64>()),
            standings(),
            receipts(),
            conflicts(),
            any::<(u64, u64)>(),
        ),
        MAX_PEERS,
    );
    (numbers, records).prop_map(|(numbers, records)| {
        let zipped = numbers.into_iter().zip(records);
        zipped
            .map(
                |(node, (base, standing, receipt, conflict, seen))| PeerRecord {
                    node: NodeId(node),
                    base: base.map(GenerationId),
                    standing,
                    receipt,
                    conflict,
                    seen: Seen {
                        run: BootId(seen.0),
                        moment: Moment(seen.1),
                    },
                },
            )
            .collect()
    })
}

prop_compose! {
    fn superblocks()(
        ids: (u128, u128),
        size in 0..=MAX_DEVICE_BLOCKS,
        more in 0..1u64 << 30,
        term: u64,
        epoch: u64,
        lineage in lineages(),
        disk in disks(),
        primary: bool,
        active: bool,
        lack in lacks(),
        host: u64,
        unconfirmed: bool,
        suspect: bool,
        rewound: bool,
        binding: Option<(u64, u64)>,
        device in (ties(), any::<u64>()),
        runs in runs(),
        peers in peers(),
        spare: prop::sample::Index,
    ) -> Superblock {
        Superblock {
            spare_slots: spare.index(MAX_PEERS + 1 - peers.len()) as u8,
            cluster: ClusterId(ids.0),
            resource: ResourceId(ids.1),
            node: NodeId(0),
            size_blocks: size,
            max_size_blocks: (size + more).min(MAX_DEVICE_BLOCKS),
            term: Term(term),
            epoch: Epoch(epoch),
            unconfirmed: unconfirmed && lineage.newest().is_some(),
            suspect,
            rewound,
            runs,
            device: Device { tie: device.0, blocks: device.1 },
            lineage,
            disk,
            primary,
            lack,
            active,
            host: BootId(host),
            binding: binding.filter(|_| term > 0).map(|(at, id)| Binding {
                term: Term(at % term + 1),
                id: GenerationId(id),
            }),
            peers,
        }
    }
}

proptest! {
    #[test]
    fn round_trip(superblock in superblocks(), counter: u64) {
        let block = superblock.encode(counter);
        let copy = (counter & 1) as u8;
        prop_assert_eq!(Superblock::decode(copy, &block), Ok((superblock, counter)));
        prop_assert!(Superblock::decode(1 - copy, &block).is_err());
    }

    /// Bytes that are sealed but were not made by `encode` are refused or mean exactly themselves.
    #[test]
    fn a_sealed_body_decodes_to_itself_or_not_at_all(
        superblock in superblocks(),
        at in 0..BODY_BYTES,
        value: u8,
    ) {
        let mut body: Body = zerocopy::transmute!(superblock.to_layout());
        body[at] = value;
        let place = Place::Superblock { copy: 0 };
        let block = seal(place, superblock.resource, 0, &body);
        if let Ok((decoded, _)) = Superblock::decode(0, &block) {
            prop_assert_eq!(decoded.encode(0), block);
        }
    }
}

#[test]
fn impossible_values_are_refused_by_name() {
    let plain = Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(0),
        size_blocks: 10,
        max_size_blocks: 20,
        term: Term(3),
        epoch: Epoch(1),
        lineage: Lineage::default(),
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        disk: StoredDisk::UpToDate,
        primary: false,
        lack: Lack::Nothing,
        active: false,
        host: BootId(0),
        binding: None,
        peers: vec![],
        spare_slots: 0,
    };
    let why = |change: &dyn Fn(&mut SuperblockLayout)| {
        let mut layout = plain.to_layout();
        change(&mut layout);
        let Err(Fault::Impossible { what }) = Superblock::from_layout(&layout, plain.resource)
        else {
            panic!("accepted");
        };
        what
    };
    assert!(why(&|layout| layout.size_blocks = U64::new(21)).contains("above the largest"));
    assert!(why(&|layout| layout.max_size_blocks = U64::new(1 << 39)).contains("1 PiB"));
    assert!(why(&|layout| layout.disk = 0).contains("disk state"));
    assert!(why(&|layout| layout.flags = 128).contains("flag"));
    assert!(why(&|layout| layout.flags = 4).contains("unconfirmed"));
    assert!(why(&|layout| layout.peer_count = 8).contains("more peers"));
    assert!(why(&|layout| layout.peer_count = 1).contains("own number"));
    assert!(why(&|layout| layout.spare_slots = 8).contains("more peer slots"));
    assert!(why(&|layout| layout.ancestor_count = U16::new(193)).contains("more ancestors"));
    assert!(why(&|layout| layout.ancestor_count = U16::new(1)).contains("generations would fit"));
    assert!(why(&|layout| layout.ancestors[3] = U64::new(1)).contains("unused ancestor"));
    assert!(why(&|layout| layout.generation_count = 65).contains("more generations"));
    assert!(why(&|layout| layout.reserved[9] = 1).contains("reserved"));
    assert!(why(&|layout| layout.tie_reserved[1] = 1).contains("reserved"));
    assert!(why(&|layout| layout.runs[0].began = U64::new(1)).contains("unused run"));
    assert!(why(&|layout| layout.made_good[1].moment = U64::new(1)).contains("made good"));
    assert!(why(&|layout| layout.tie_kind = 4).contains("known by"));
    assert!(why(&|layout| layout.tie = U64::new(1)).contains("where none is used"));
    assert!(why(&|layout| layout.peers[6].flags = 1).contains("unused peer"));
    let conflict = |kind: u8, newest: u64| {
        move |layout: &mut SuperblockLayout| {
            layout.peer_count = 1;
            layout.peers[0].node = 4;
            layout.peers[0].conflict = kind;
            layout.peers[0].conflict_newest = U64::new(newest);
        }
    };
    assert!(why(&conflict(4, 1)).contains("conflict is unknown"));
    assert!(why(&conflict(0, 1)).contains("no kind"));
    assert!(why(&|layout| layout.generations[0].node = 1).contains("unused generation"));
    assert!(why(&|layout| layout.binding_id = U64::new(1)).contains("no term"));
    assert!(why(&|layout| layout.binding_term = U64::new(4)).contains("still to come"));
    let twins = |layout: &mut SuperblockLayout| {
        layout.peer_count = 2;
        layout.peers[0].node = 4;
        layout.peers[1].node = 4;
    };
    assert!(why(&twins).contains("same number"));
    let strange = |layout: &mut SuperblockLayout| {
        layout.peer_count = 1;
        layout.peers[0].node = 4;
        layout.peers[0].standing = 4;
    };
    assert!(why(&strange).contains("in-sync set"));
}

#[test]
fn a_peer_takes_a_spare_slot_and_moves_nothing() {
    let mut superblock = Superblock {
        cluster: ClusterId(1),
        resource: ResourceId(2),
        node: NodeId(1),
        size_blocks: 10,
        max_size_blocks: 20,
        term: Term(3),
        epoch: Epoch(1),
        lineage: Lineage::default(),
        disk: StoredDisk::UpToDate,
        primary: false,
        lack: Lack::Nothing,
        active: false,
        host: BootId(0),
        binding: None,
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        peers: vec![PeerRecord::new(NodeId(2))],
        spare_slots: 1,
    };
    let layout = crate::layout::Layout::of(&superblock);
    assert!(superblock.add_peer(NodeId(3)));
    assert_eq!(crate::layout::Layout::of(&superblock), layout);
    assert_eq!(superblock.peers[1], PeerRecord::new(NodeId(3)));
    assert!(!superblock.add_peer(NodeId(4)), "there is no slot left");
}
