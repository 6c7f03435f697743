//! Random values of everything that travels, for the tests.

use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::{
    control::{ControlMessage, Membership, PeerState},
    frame::{BITS_WORDS, BlockMask, Envelope, Frame, How},
    ids::{BlockRange, BootId, Epoch, GenerationId, Moment, NodeId, Seq, Term},
    limits::{
        MAX_DATA_BLOCKS, MAX_DEVICE_BLOCKS, MAX_MADE_GOOD, MAX_PEERS, MAX_RUNS, MAX_ZERO_BLOCKS,
    },
    lineage::{Generation, Lineage, MAX_LINEAGE},
    superblock::{Lack, Run, Runs, Seen, StoredDisk},
};

pub(crate) fn envelopes() -> impl Strategy<Value = Envelope> {
    (any::<u64>(), any::<u64>(), frames()).prop_map(|(term, stable, frame)| Envelope {
        term: Term(term),
        stable: Seq(stable),
        frame,
    })
}

pub(crate) fn frames() -> impl Strategy<Value = Frame> {
    let data = || ranges(MAX_DATA_BLOCKS);
    let seq = || any::<u64>().prop_map(Seq);
    let tag = any::<u64>;
    prop_oneof![
        (seq(), seq(), data(), hows()).prop_map(|(seq, depends_on, range, how)| Frame::Write {
            seq,
            depends_on,
            range,
            how
        }),
        (seq(), seq(), ranges(MAX_ZERO_BLOCKS), hows(), any::<bool>()).prop_map(
            |(seq, depends_on, range, how, unmap)| Frame::Zero {
                seq,
                depends_on,
                range,
                how,
                unmap
            }
        ),
        seq().prop_map(|seq| Frame::Flush { seq }),
        seq().prop_map(|seq| Frame::Received { seq }),
        seq().prop_map(|seq| Frame::Written { seq }),
        seq().prop_map(|seq| Frame::Stable { seq }),
        (tag(), data()).prop_map(|(tag, range)| Frame::Read { tag, range }),
        (tag(), data()).prop_map(|(tag, range)| Frame::ReadReply { tag, range }),
        tag().prop_map(|tag| Frame::ReadFailed { tag }),
        (tag(), data(), any::<u128>()).prop_map(|(tag, range, hash)| Frame::Hash {
            tag,
            range,
            hashes: (0..range.blocks)
                .map(|block| hash.rotate_left(block))
                .collect(),
        }),
        (tag(), any::<[u64; 4]>()).prop_map(|(tag, mask)| Frame::Differ {
            tag,
            mask: BlockMask(mask)
        }),
        (vec(any::<u64>(), 0..=BITS_WORDS), 0..MAX_DEVICE_BLOCKS / 64).prop_map(
            |(words, first)| Frame::Bits {
                first: (first * 64).min(MAX_DEVICE_BLOCKS - 64 * words.len() as u64),
                words
            }
        ),
        Just(Frame::Ping),
        Just(Frame::Pong),
        control_messages().prop_map(Frame::Control),
    ]
}

pub(crate) fn control_messages() -> impl Strategy<Value = ControlMessage> {
    use ControlMessage as M;
    let number = any::<u64>;
    let term = || any::<u64>().prop_map(Term);
    let why = || "[^\\pC\\p{Zl}\\p{Zp}]{0,80}"; // As it comes out.
    prop_oneof![
        peer_states().prop_map(M::State),
        any::<bool>().prop_map(|released| M::Ready { released }),
        number().prop_map(|size_blocks| M::BeginResync { size_blocks }),
        Just(M::ResyncBegun),
        memberships().prop_map(M::Membership),
        number().prop_map(|change| M::MembershipStored { change }),
        (term(), lineages(), any::<bool>()).prop_map(|(term, lineage, dirty)| M::TermRequest {
            term,
            lineage,
            dirty
        }),
        (term(), any::<[bool; 2]>()).prop_map(|(term, [released, member])| {
            M::TermGranted {
                term,
                released,
                member,
            }
        }),
        (term(), why()).prop_map(|(term, why)| M::TermRefused { term, why }),
        Just(M::SwitchoverRequest),
        Just(M::TakeOver),
        why().prop_map(|why| M::Refused { why }),
        Just(M::Released),
        Just(M::ReleaseStored),
        any::<bool>().prop_map(|stored| M::DiskFailed { stored }),
        (number(), any::<bool>()).prop_map(|(size_blocks, store)| M::Resize { size_blocks, store }),
        number().prop_map(|size_blocks| M::Resized { size_blocks }),
        Just(M::Discard),
        why().prop_map(|why| M::Goodbye { why }),
        number().prop_map(|moment| M::Moment {
            moment: Moment(moment)
        }),
        (any::<u8>(), number(), number()).prop_map(|(node, run, moment)| M::Seen {
            node: NodeId(node),
            seen: Seen {
                run: BootId(run),
                moment: Moment(moment),
            },
        }),
    ]
}

pub(crate) fn lineages() -> impl Strategy<Value = Lineage> {
    vec((any::<u64>(), any::<u64>(), any::<u8>()), 0..=MAX_LINEAGE).prop_map(|generations| {
        let generation = |(term, id, node)| Generation {
            term: Term(term),
            id: GenerationId(id),
            node: NodeId(node),
        };
        Lineage::new(generations.into_iter().map(generation).collect())
    })
}

pub(crate) fn disks() -> impl Strategy<Value = StoredDisk> {
    select(vec![
        StoredDisk::Failed,
        StoredDisk::Inconsistent,
        StoredDisk::Outdated,
        StoredDisk::UpToDate,
    ])
}

pub(crate) fn lacks() -> impl Strategy<Value = Lack> {
    select(vec![
        Lack::Nothing,
        Lack::UnderWay,
        Lack::Unflushed,
        Lack::Anything,
    ])
}

fn ranges(most_blocks: u32) -> impl Strategy<Value = BlockRange> {
    (1..=most_blocks, any::<u64>()).prop_map(|(blocks, start)| {
        BlockRange::new(start % (MAX_DEVICE_BLOCKS - u64::from(blocks) + 1), blocks)
    })
}

fn hows() -> impl Strategy<Value = How> {
    any::<(bool, bool)>().prop_map(|(fua, resync)| How { fua, resync })
}

pub(crate) fn runs() -> impl Strategy<Value = Runs> {
    let newest = vec((1..u64::MAX, any::<u64>()), 0..=MAX_RUNS);
    let made_good = vec((1..u64::MAX, any::<u64>()), 0..=MAX_MADE_GOOD);
    let run = |(boot, began)| Run {
        boot: BootId(boot),
        began: Moment(began),
    };
    let seen = |(run, moment)| Seen {
        run: BootId(run),
        moment: Moment(moment),
    };
    (newest, made_good).prop_map(move |(newest, made_good)| Runs {
        newest: newest.into_iter().map(run).collect(),
        made_good: made_good.into_iter().map(seen).collect(),
    })
}

fn node_sets() -> impl Strategy<Value = Vec<NodeId>> {
    vec(any::<u8>().prop_map(NodeId), 0..=MAX_PEERS + 1)
}

prop_compose! {
    fn peer_states()(
        boot: u64,
        flags: [bool; 6],
        disk in disks(),
        lack in lacks(),
        lineage in lineages(),
        in_sync in node_sets(),
        joining in node_sets(),
        copies in node_sets(),
        sizes: [u64; 6],
        runs in runs(),
        base in option::of(any::<u64>()),
    ) -> PeerState {
        PeerState {
            boot: BootId(boot),
            primary: flags[0],
            follows: base.map(|base| NodeId(base as u8)),
            disk,
            up_to_date: flags[1],
            lack,
            lineage,
            unconfirmed: flags[3],
            suspect: flags[4],
            unwritten: flags[2],
            rewound: flags[5],
            moment: Moment(sizes[3]),
            seen: Seen {
                run: BootId(boot ^ 1),
                moment: Moment(sizes[4]),
            },
            runs: Box::new(runs),
            in_sync,
            joining,
            epoch: Epoch(sizes[5]),
            copies,
            dirty_blocks: sizes[0],
            base: base.map(GenerationId),
            size_blocks: sizes[1],
            capacity_blocks: sizes[2],
        }
    }
}

prop_compose! {
    fn memberships()(
        change: u64,
        term: u64,
        lineage in lineages(),
        epoch: u64,
        in_sync in node_sets(),
        joining in node_sets(),
        equal in node_sets(),
        newest: u64,
        primary: bool,
        up_to_date: bool,
        unconfirmed: bool,
        size_blocks: u64,
    ) -> Membership {
        let (term, epoch, newest) = (Term(term), Epoch(epoch), Seq(newest));
        Membership {
            change, term, lineage, epoch, in_sync, joining, equal, newest, primary, up_to_date, unconfirmed,
            size_blocks,
        }
    }
}
