//! Breaches one by one: each ends the link, says what was wrong, and changes nothing else. When it is over, a true peer
//! connects, and both are equal again.

use twindisk_core::{Command, ConnectionState, Event, Protocol, Role};
use twindisk_format::{
    control::{ControlMessage, Membership},
    frame::{BlockMask, Envelope, Frame, How},
    ids::{BlockRange, Epoch, GenerationId, NodeId, Seq, Term},
    lineage::{Generation, Lineage},
    superblock::Superblock,
};

use crate::{
    dice::Dice,
    node::{BLOCKS, MOST_BLOCKS, slot_of},
    world::{Sent, World},
};

/// A cluster whose node 0 is primary, all equal, with writes behind it.
fn serving(nodes: usize) -> (World, Dice) {
    let mut dice = Dice::new(7);
    let mut world = World::new(nodes, Protocol::C);
    world.run(400, &mut dice);
    world.command(0, Command::Promote { force: None });
    world.run(400, &mut dice);
    for _ in 0..20 {
        world.ask(0, &mut dice);
        world.run(20, &mut dice);
    }
    world.run(400, &mut dice);
    assert!(world.is_equal(), "all are equal");
    (world, dice)
}

fn says(world: &mut World, from: usize, to: usize, frame: Frame) {
    let data = match &frame {
        Frame::Write { range, .. } | Frame::ReadReply { range, .. } => {
            Some(vec![9; range.blocks as usize])
        }
        _ => None,
    };
    let envelope = Envelope {
        term: Term(world.status(to).term),
        stable: Seq(0),
        frame,
    };
    world.receive(from, to, Sent { envelope, data });
}

/// What must stay as it is whatever one peer says.
#[derive(Debug, PartialEq)]
struct Rest {
    role: Role,
    open: bool,
    disk: Vec<u64>,
    superblock: Superblock,
    in_sync: Vec<u8>,
    size_bytes: u64,
    requests: u64,
    others: Vec<(u8, ConnectionState)>,
}

fn rest(world: &World, of: usize, but: usize) -> Rest {
    let status = world.status(of);
    let others = status
        .peers
        .iter()
        .filter(|peer| usize::from(peer.node) != but);
    Rest {
        role: status.role,
        open: status.export_open,
        disk: world.nodes[of].disk.clone(),
        superblock: world.superblock(of),
        in_sync: status.in_sync,
        size_bytes: status.size_bytes,
        requests: status.activity.requests,
        others: others.map(|peer| (peer.node, peer.connection)).collect(),
    }
}

/// Says it, and looks at what has become of `to`; then the liar is gone, and a true peer comes.
fn breaks_its_link(
    world: &mut World,
    dice: &mut Dice,
    (from, to): (usize, usize),
    frame: Frame,
    why: &str,
) {
    let before = rest(world, to, from);
    let told = format!("{frame:?}");
    world.nodes[to].why.clear();
    says(world, from, to, frame);
    let said = world.nodes[to].why.last().cloned().unwrap_or_default();
    assert!(said.contains(why), "{told}: {said:?} does not say {why:?}");
    assert_eq!(rest(world, to, from), before, "{told}");
    assert!(world.nodes[to].links[slot_of(to, from).index()].is_none());
    world.restart(from);
    world.run(600, dice);
    if from == 0 {
        world.command(0, Command::Promote { force: None });
        world.run(600, dice);
    }
    assert!(world.is_equal(), "{told}: all are equal again");
    assert_eq!(world.status(0).role, Role::Primary, "{told}");
    assert!(world.keeps_book(0), "{told}");
}

const fn control(message: ControlMessage) -> Frame {
    Frame::Control(message)
}

fn membership(of: &Superblock) -> Membership {
    Membership {
        change: 1,
        term: of.term,
        lineage: of.lineage.clone(),
        epoch: of.epoch,
        in_sync: vec![NodeId(0), NodeId(1)],
        joining: Vec::new(),
        equal: vec![NodeId(0), NodeId(1)],
        newest: Seq(1),
        primary: true,
        up_to_date: true,
        unconfirmed: false,
        size_blocks: of.size_blocks,
    }
}

#[test]
fn numbers_that_can_not_be() {
    let (mut world, mut dice) = serving(2);
    let far = Seq(u64::MAX);
    let range = BlockRange::new(0, 1);
    let how = How::default();
    let depends_on = Seq(0);
    let write = |seq, depends_on| Frame::Write {
        seq,
        depends_on,
        range,
        how,
    };
    let zero = Frame::Zero {
        seq: far,
        depends_on,
        range,
        how,
        unmap: true,
    };
    let newest = Seq(1_000_000);
    let cases = [
        (
            1,
            0,
            Frame::Flush { seq: far },
            "that many there never were",
        ),
        (
            0,
            1,
            Frame::Flush { seq: far },
            "that many there never were",
        ),
        (0, 1, write(far, Seq(0)), "that many there never were"),
        (0, 1, zero, "that many there never were"),
        (0, 1, write(newest, newest), "which comes later"),
        (1, 0, Frame::Written { seq: newest }, "never sent"),
        (1, 0, Frame::Received { seq: newest }, "never sent"),
        (1, 0, Frame::Stable { seq: newest }, "never asked for"),
    ];
    for (from, to, frame, why) in cases {
        breaks_its_link(&mut world, &mut dice, (from, to), frame, why);
    }
}

#[test]
fn in_sync_sets_that_can_not_be() {
    let (mut world, mut dice) = serving(2);
    let reversed = |lineage: &Lineage| {
        let mut generations = lineage.generations().to_vec();
        generations.reverse();
        Lineage::new(generations)
    };
    let borrowed = |lineage: &Lineage| {
        let mut lineage = lineage.clone();
        lineage.begin(Generation {
            term: Term(1 << 20),
            id: GenerationId(77),
            node: NodeId(1),
        });
        lineage
    };
    type Alteration<'a> = (&'a dyn Fn(&mut Membership), &'a str);
    let cases: [Alteration<'_>; 8] = [
        (
            &|set| set.epoch = Epoch(u64::MAX),
            "that many there never were",
        ),
        (
            &|set| set.newest = Seq(u64::MAX),
            "that many there never were",
        ),
        (
            &|set| set.term = Term(u64::MAX),
            "that many there never were",
        ),
        (&|set| set.size_blocks = 0, "which can't be"),
        (&|set| set.size_blocks = u64::MAX, "which can't be"),
        (
            &|set| set.size_blocks = MOST_BLOCKS + 1,
            "larger than this one",
        ),
        (
            &|set| set.lineage = reversed(&set.lineage),
            "followed each other",
        ),
        (
            &|set| set.lineage = borrowed(&set.lineage),
            "followed each other",
        ),
    ];
    for (alter, why) in cases {
        let mut altered = membership(&world.superblock(1));
        alter(&mut altered);
        let frame = control(ControlMessage::Membership(altered));
        breaks_its_link(&mut world, &mut dice, (0, 1), frame, why);
    }
}

#[test]
fn answers_to_nothing() {
    let (mut world, mut dice) = serving(2);
    let range = BlockRange::new(0, 4);
    let cases = [
        Frame::ReadReply { tag: 0, range },
        Frame::ReadReply {
            tag: 1 << 63,
            range,
        },
        Frame::ReadFailed { tag: 0 },
        Frame::ReadFailed { tag: 1 << 63 },
    ];
    for frame in cases {
        breaks_its_link(&mut world, &mut dice, (1, 0), frame, "was not asked for");
    }
    let take_over = control(ControlMessage::TakeOver);
    breaks_its_link(&mut world, &mut dice, (0, 1), take_over, "did not give up");
    let store = control(ControlMessage::Resize {
        size_blocks: 7,
        store: true,
    });
    world.nodes[1].why.clear();
    says(&mut world, 0, 1, store);
    world.run(20, &mut dice);
    let why = world.nodes[1].why.last().cloned().unwrap_or_default();
    assert!(why.contains("has not asked room for"), "{why}");
    assert_eq!(world.status(1).size_bytes, BLOCKS * 4096);
}

/// A read that goes to the peer since it fails here is answered with other blocks than were asked for.
#[test]
fn a_read_is_answered_short() {
    for repairing in [false, true] {
        let (mut world, mut dice) = serving(2);
        world.nodes[0].unreadable = true;
        world.read(0, BlockRange::new(8, 4));
        // Until the question is on its way.
        let asked = |world: &World| {
            let mut reads =
                world.wires[&(0, 1)]
                    .iter()
                    .filter_map(|sent| match sent.envelope.frame {
                        Frame::Read { tag, .. } if (tag >> 63 == 1) == repairing => Some(tag),
                        _ => None,
                    });
            reads.next()
        };
        let tag = loop {
            if let Some(tag) = asked(&world) {
                break tag;
            }
            assert!(world.step(&mut dice), "it is asked elsewhere");
        };
        let range = BlockRange::new(8, 3);
        let short = Frame::ReadReply { tag, range };
        breaks_its_link(&mut world, &mut dice, (1, 0), short, "was not asked for");
        assert_eq!(
            world.status(0).activity.requests,
            0,
            "the client has its answer"
        );
    }
}

/// More blocks differ than were compared.
#[test]
fn a_comparison_is_answered_with_too_much() {
    let (mut world, mut dice) = serving(2);
    let verify = Command::Verify {
        first: 0,
        blocks: Some(4),
        repair: true,
    };
    world.command(0, verify);
    let asked = |world: &World| {
        let mut sent = world.wires[&(0, 1)].iter();
        sent.any(|sent| matches!(sent.envelope.frame, Frame::Hash { .. }))
    };
    while !asked(&world) {
        assert!(world.step(&mut dice), "it compares");
    }
    let mask = BlockMask([1 << 4, 0, 0, 0]);
    let differ = Frame::Differ { tag: 0, mask };
    breaks_its_link(&mut world, &mut dice, (1, 0), differ, "more of them differ");
}

/// Nobody has anything to say before it has said who it is.
#[test]
fn who_begins_with_something_else() {
    let (world, _) = serving(2);
    let request = ControlMessage::TermRequest {
        term: world.superblock(1).term.next(),
        lineage: world.superblock(1).lineage,
        dirty: true,
    };
    let range = BlockRange::new(0, 1);
    let cases = [
        control(request),
        control(ControlMessage::Released),
        control(ControlMessage::DiskFailed { stored: true }),
        Frame::Flush { seq: Seq(5) },
        Frame::Read { tag: 1, range },
    ];
    for (to, frame) in [0, 1]
        .into_iter()
        .flat_map(|to| cases.clone().map(|frame| (to, frame)))
    {
        let (mut world, mut dice) = serving(2);
        let from = 1 - to;
        world.cut(0, 1, "a cable was pulled");
        while world.nodes[to].links[slot_of(to, from).index()].is_none() {
            assert!(world.step(&mut dice), "they connect");
        }
        breaks_its_link(&mut world, &mut dice, (from, to), frame, "did not begin");
    }
}

/// What waits here for a peer is bounded, whatever its kind.
#[test]
fn floods_end() {
    let range = BlockRange::new(0, 1);
    let zero = |number: u64| Frame::Zero {
        seq: Seq(1_000_000 + number),
        depends_on: Seq(999_999),
        range,
        how: How::default(),
        unmap: false,
    };
    let resize = |_| {
        control(ControlMessage::Resize {
            size_blocks: MOST_BLOCKS,
            store: false,
        })
    };
    let hash = |tag| Frame::Hash {
        tag,
        range,
        hashes: vec![0],
    };
    type Flood<'a> = (usize, &'a dyn Fn(u64) -> Frame);
    let floods: [Flood<'_>; 7] = [
        (1, &|_| control(ControlMessage::Released)),
        (0, &zero),
        (0, &resize),
        (0, &hash),
        (0, &|tag| Frame::Read { tag, range }),
        (1, &|tag| Frame::Read { tag, range }),
        (0, &|number| Frame::Flush {
            seq: Seq(1_000_000 + number),
        }),
    ];
    for (from, flood) in floods {
        let (mut world, mut dice) = serving(2);
        let to = 1 - from;
        world.nodes[to].why.clear();
        if matches!(flood(0), Frame::Flush { .. }) {
            says(&mut world, from, to, zero(0)); // It waits, and they behind it.
        }
        for number in 0..40_000 {
            if world.nodes[to].why.is_empty() {
                says(&mut world, from, to, flood(number + 1));
            }
        }
        let why = world.nodes[to].why.last().cloned().unwrap_or_default();
        assert!(why.contains("may wait here"), "{:?}: {why}", flood(0));
        world.restart(from);
        world.run(80_000, &mut dice);
        assert!(world.is_equal(), "{:?}: equal again", flood(0));
    }
}

/// Of three one says what can't be: the other two go on.
#[test]
fn the_third_one_is_not_touched() {
    let (mut world, mut dice) = serving(3);
    let far = Seq(u64::MAX);
    breaks_its_link(
        &mut world,
        &mut dice,
        (1, 2),
        Frame::Flush { seq: far },
        "never were",
    );
    breaks_its_link(
        &mut world,
        &mut dice,
        (2, 0),
        Frame::Stable { seq: far },
        "never asked",
    );
    let other = control(ControlMessage::Membership(Membership {
        epoch: Epoch(1 << 40),
        ..membership(&world.superblock(2))
    }));
    breaks_its_link(&mut world, &mut dice, (1, 2), other, "never were");
    world.tell(0, Event::Tick);
}
