//! What a hostile peer says: frames whose checksums are good and whose contents are not: repeated, altered, made up.

use twindisk_format::{
    control::{ControlMessage, Membership, PeerState},
    frame::{BITS_WORDS, BlockMask, Envelope, Frame, How},
    ids::{BlockRange, BootId, Epoch, GenerationId, Moment, NodeId, Seq, Term},
    limits::{MAX_DATA_BLOCKS, MAX_DEVICE_BLOCKS, MAX_ZERO_BLOCKS},
    lineage::{Generation, Lineage},
    superblock::{Lack, Seen, StoredDisk},
    wire::{ChainDecoder, ChainEncoder, PayloadKind},
};

use crate::{
    dice::Dice,
    node::{BLOCKS, MOST_BLOCKS},
    world::{Sent, World},
};

/// Somebody who speaks for `from` to `to`.
pub(crate) struct Hostile<'a> {
    pub(crate) world: &'a World,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) dice: &'a mut Dice,
}

impl Hostile<'_> {
    /// The next thing that it says.
    pub(crate) fn says(&mut self) -> Sent {
        let mut envelope = match (self.dice.below(8), self.overheard()) {
            (0, Some(said)) => return said,
            (1..=4, Some(said)) => self.altered(said.envelope),
            _ => self.made_up(),
        };
        if self.dice.chance(12) {
            envelope.term = Term(self.number());
        }
        if self.dice.chance(12) {
            envelope.stable = Seq(self.number());
        }
        let data = match &envelope.frame {
            Frame::Write { range, .. } | Frame::ReadReply { range, .. } => {
                Some(vec![u64::MAX; range.blocks as usize])
            }
            _ => None,
        };
        Sent { envelope, data }
    }

    /// Something that this peer, or rather anybody, has said lately.
    fn overheard(&mut self) -> Option<Sent> {
        let all = &self.world.overheard;
        let mine = all.iter().filter(|(from, ..)| *from == self.from);
        let mine: Vec<_> = mine.collect();
        let own = !mine.is_empty() && !self.dice.chance(4);
        let said = if own {
            Some(mine[self.dice.below(mine.len())])
        } else if all.is_empty() {
            None
        } else {
            Some(&all[self.dice.below(all.len())])
        };
        said.map(|(_, _, sent)| sent.clone())
    }

    /// The term that the victim is in, mostly.
    fn term(&self) -> Term {
        Term(self.world.status(self.to).term)
    }

    fn made_up(&mut self) -> Envelope {
        let frame = self.frame();
        Envelope {
            term: self.term(),
            stable: Seq(0),
            frame,
        }
    }

    /// A number that may mean something.
    pub(crate) fn number(&mut self) -> u64 {
        let near = self.near();
        match self.dice.below(10) {
            0 => 0,
            1 => u64::MAX - self.dice.below(3) as u64,
            2 => 1 << self.dice.below(64),
            3 => (1 << self.dice.below(64)) - 1,
            4 => self.dice.next(),
            5 => self.dice.below(16) as u64,
            6 => near.wrapping_sub(1 + self.dice.below(3) as u64),
            7 => near.wrapping_add(1 + self.dice.below(3) as u64),
            8 => near.wrapping_add(self.dice.below(2_000_000) as u64),
            _ => near,
        }
    }

    /// A number that somebody has used lately.
    fn near(&mut self) -> u64 {
        let Some(said) = self.overheard() else {
            return 1;
        };
        match said.envelope.frame {
            Frame::Write { seq, .. }
            | Frame::Zero { seq, .. }
            | Frame::Flush { seq }
            | Frame::Received { seq }
            | Frame::Written { seq }
            | Frame::Stable { seq } => seq.0,
            Frame::Read { tag, .. }
            | Frame::ReadReply { tag, .. }
            | Frame::ReadFailed { tag }
            | Frame::Hash { tag, .. }
            | Frame::Differ { tag, .. } => tag,
            Frame::Control(ControlMessage::Membership(membership)) => membership.change,
            Frame::Control(ControlMessage::MembershipStored { change }) => change,
            Frame::Control(ControlMessage::Moment { moment }) => moment.0,
            Frame::Bits { .. } | Frame::Ping | Frame::Pong | Frame::Control(_) => {
                said.envelope.term.0
            }
        }
    }

    pub(crate) fn range(&mut self, most: u32) -> BlockRange {
        let blocks = match self.dice.below(4) {
            0 => 1 + self.dice.below(most as usize) as u32,
            1 => most,
            _ => 1 + self.dice.below(9) as u32,
        };
        let start = match self.dice.below(8) {
            0 => MAX_DEVICE_BLOCKS - u64::from(blocks),
            1 => self.number() % (MAX_DEVICE_BLOCKS - u64::from(blocks)),
            2 => BLOCKS.saturating_sub(u64::from(blocks)),
            3 => BLOCKS.saturating_sub(u64::from(blocks) / 2),
            _ => self.dice.below(BLOCKS as usize) as u64,
        };
        BlockRange::new(start, blocks)
    }

    fn size(&mut self) -> u64 {
        match self.dice.below(6) {
            0 => 0,
            1 => self.number(),
            2 => MOST_BLOCKS,
            3 => 1 + self.dice.below(MOST_BLOCKS as usize) as u64,
            _ => BLOCKS,
        }
    }

    fn flag(&mut self) -> bool {
        self.dice.chance(2)
    }

    pub(crate) fn frame(&mut self) -> Frame {
        let how = How {
            fua: self.flag(),
            resync: self.flag(),
        };
        let (seq, tag) = (Seq(self.number()), self.number());
        let depends_on = if self.flag() {
            Seq(0)
        } else {
            Seq(self.number())
        };
        match self.dice.below(26) {
            0 | 1 => Frame::Write {
                seq,
                depends_on,
                range: self.range(MAX_DATA_BLOCKS),
                how,
            },
            2 | 3 => Frame::Zero {
                seq,
                depends_on,
                range: self.range(MAX_ZERO_BLOCKS),
                how,
                unmap: self.flag(),
            },
            4 => Frame::Flush { seq },
            5 => Frame::Received { seq },
            6 => Frame::Written { seq },
            7 => Frame::Stable { seq },
            8 => Frame::Read {
                tag,
                range: self.range(MAX_DATA_BLOCKS),
            },
            9 | 10 => Frame::ReadReply {
                tag: self.tag(),
                range: self.range(MAX_DATA_BLOCKS),
            },
            11 => Frame::ReadFailed { tag: self.tag() },
            12 => {
                let range = self.range(MAX_DATA_BLOCKS);
                let hashes = (0..range.blocks).map(|_| self.number().into()).collect();
                Frame::Hash { tag, range, hashes }
            }
            13 => Frame::Differ {
                tag: self.tag(),
                mask: BlockMask([self.number(), self.number(), self.number(), self.number()]),
            },
            14 => {
                let words = (0..self.dice.below(BITS_WORDS + 1)).map(|_| self.number());
                let words: Vec<u64> = words.collect();
                let most = MAX_DEVICE_BLOCKS / 64 - words.len() as u64;
                let first = match self.dice.below(3) {
                    0 => 0,
                    1 => most * 64,
                    _ => self.number() % most * 64,
                };
                Frame::Bits { first, words }
            }
            15 => Frame::Ping,
            16 => Frame::Pong,
            _ => Frame::Control(self.message()),
        }
    }

    fn tag(&mut self) -> u64 {
        let repair = if self.dice.chance(3) { 1 << 63 } else { 0 };
        repair | self.dice.below(4) as u64
    }

    fn message(&mut self) -> ControlMessage {
        use ControlMessage as M;
        let term = match self.dice.below(4) {
            0 => Term(self.number()),
            1 => self.term(),
            _ => Term(self.term().0.wrapping_add(1)),
        };
        let why = || "they said \u{1b}[2J no".to_owned();
        match self.dice.below(23) {
            0 => M::State(self.state()),
            1 => M::Ready {
                released: self.flag(),
            },
            2 => M::BeginResync {
                size_blocks: self.size(),
            },
            3 => M::ResyncBegun,
            4 | 5 => M::Membership(self.membership()),
            6 => M::MembershipStored {
                change: self.number(),
            },
            7 => M::TermRequest {
                term,
                lineage: self.lineage(),
                dirty: self.flag(),
            },
            8 => M::TermGranted {
                term,
                released: self.flag(),
                member: self.flag(),
            },
            9 => M::TermRefused { term, why: why() },
            10 => M::SwitchoverRequest,
            11 => M::TakeOver,
            12 => M::Refused { why: why() },
            13 => M::Released,
            14 => M::ReleaseStored,
            15 => M::DiskFailed {
                stored: self.flag(),
            },
            16 | 17 => M::Resize {
                size_blocks: self.size(),
                store: self.flag(),
            },
            18 => M::Resized {
                size_blocks: self.size(),
            },
            19 => M::Discard,
            20 => M::Goodbye { why: why() },
            21 => M::Moment {
                moment: Moment(self.number()),
            },
            _ => M::Seen {
                node: self.node(),
                seen: self.seen(),
            },
        }
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.dice.below(5) as u8)
    }

    fn seen(&mut self) -> Seen {
        Seen {
            run: BootId(self.number()),
            moment: Moment(self.number()),
        }
    }

    fn nodes(&mut self) -> Vec<NodeId> {
        match self.dice.below(4) {
            0 => (0..self.dice.below(9)).map(|_| self.node()).collect(),
            1 => Vec::new(),
            _ => (0..self.world.nodes.len() as u8).map(NodeId).collect(),
        }
    }

    /// The victim's lineage, cut or continued.
    fn lineage(&mut self) -> Lineage {
        let mine = self.world.superblock(self.to).lineage;
        let mut generations = mine.generations().to_vec();
        match self.dice.below(8) {
            0 => generations.clear(),
            1 => _ = generations.pop(),
            2 => {
                let more = 1 + self.dice.below(300);
                generations.extend((0..more).map(|_| Generation {
                    term: Term(1),
                    id: GenerationId(self.dice.next()),
                    node: NodeId(1),
                }));
            }
            3 => generations.push(Generation {
                term: Term(self.number()),
                id: GenerationId(self.number()),
                node: self.node(),
            }),
            4 => generations.reverse(),
            _ => {}
        }
        Lineage::new(generations)
    }

    pub(crate) fn state(&mut self) -> PeerState {
        let disks = [
            StoredDisk::Failed,
            StoredDisk::Inconsistent,
            StoredDisk::Outdated,
            StoredDisk::UpToDate,
        ];
        let lacks = [
            Lack::Nothing,
            Lack::UnderWay,
            Lack::Unflushed,
            Lack::Anything,
        ];
        PeerState {
            boot: BootId(self.number()),
            primary: self.flag(),
            follows: self.flag().then(|| self.node()),
            disk: self.dice.pick(&disks),
            suspect: self.dice.chance(4),
            rewound: self.dice.chance(4),
            moment: Moment(self.number()),
            runs: Box::default(),
            seen: self.seen(),
            up_to_date: self.flag(),
            lack: self.dice.pick(&lacks),
            unwritten: self.dice.chance(4),
            lineage: self.lineage(),
            unconfirmed: self.dice.chance(4),
            in_sync: self.nodes(),
            joining: self.nodes(),
            epoch: Epoch(self.number()),
            copies: self.nodes(),
            dirty_blocks: self.number(),
            base: self.flag().then(|| GenerationId(self.number())),
            size_blocks: self.size(),
            capacity_blocks: self.size(),
        }
    }

    pub(crate) fn membership(&mut self) -> Membership {
        let mine = self.world.superblock(self.to);
        Membership {
            change: self.number(),
            term: match self.dice.below(4) {
                0 => Term(self.number()),
                1 => Term(mine.term.0.wrapping_add(1)),
                _ => mine.term,
            },
            lineage: self.lineage(),
            epoch: match self.dice.below(4) {
                0 => Epoch(self.number()),
                1 => Epoch(mine.epoch.0.wrapping_add(1)),
                _ => mine.epoch,
            },
            in_sync: self.nodes(),
            joining: self.nodes(),
            equal: self.nodes(),
            newest: Seq(self.number()),
            primary: self.flag(),
            up_to_date: self.flag(),
            unconfirmed: self.flag(),
            size_blocks: self.size(),
        }
    }
}

/// The frame as it comes out of the codec, with good checksums; `None`: the codec refuses it.
pub(crate) fn over_the_wire(envelope: &Envelope) -> Option<Envelope> {
    let mut inline = Vec::new();
    let header = ChainEncoder::new(7).encode(envelope, 0, &mut inline);
    let header = ChainDecoder::new(7).header(&header).ok()?;
    let inline = match header.payload() {
        PayloadKind::Inline(_) => inline.as_slice(),
        PayloadKind::None | PayloadKind::Blocks(_) => &[],
    };
    header.finish(inline).ok()
}
