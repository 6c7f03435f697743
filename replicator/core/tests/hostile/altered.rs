//! Frames that somebody has said, with one field or another changed.

use twindisk_format::{
    control::{ControlMessage, Membership, PeerState},
    frame::{Envelope, Frame},
    ids::{BlockRange, Seq},
    limits::{MAX_DATA_BLOCKS, MAX_ZERO_BLOCKS},
};

use crate::frames::Hostile;

impl Hostile<'_> {
    /// What was said, with one field or another changed.
    pub(crate) fn altered(&mut self, mut envelope: Envelope) -> Envelope {
        envelope.frame = match envelope.frame {
            Frame::Write {
                seq,
                depends_on,
                range,
                how,
            } => Frame::Write {
                seq: self.other_seq(seq),
                depends_on: self.other_seq(depends_on),
                range: self.other_range(range, MAX_DATA_BLOCKS),
                how,
            },
            Frame::Zero {
                seq,
                depends_on,
                range,
                how,
                unmap,
            } => Frame::Zero {
                seq: self.other_seq(seq),
                depends_on: self.other_seq(depends_on),
                range: self.other_range(range, MAX_ZERO_BLOCKS),
                how,
                unmap,
            },
            Frame::Flush { seq } => Frame::Flush {
                seq: self.other_seq(seq),
            },
            Frame::Received { seq } => Frame::Received {
                seq: self.other_seq(seq),
            },
            Frame::Written { seq } => Frame::Written {
                seq: self.other_seq(seq),
            },
            Frame::Stable { seq } => Frame::Stable {
                seq: self.other_seq(seq),
            },
            Frame::ReadReply { tag, range } => Frame::ReadReply {
                tag,
                range: self.other_range(range, MAX_DATA_BLOCKS),
            },
            Frame::Control(ControlMessage::State(state)) => {
                let other = self.state();
                Frame::Control(ControlMessage::State(self.mixed_state(state, other)))
            }
            Frame::Control(ControlMessage::Membership(membership)) => {
                let other = self.membership();
                let mixed = self.mixed_membership(membership, other);
                Frame::Control(ControlMessage::Membership(mixed))
            }
            Frame::Read { .. }
            | Frame::ReadFailed { .. }
            | Frame::Hash { .. }
            | Frame::Differ { .. }
            | Frame::Bits { .. }
            | Frame::Ping
            | Frame::Pong
            | Frame::Control(_) => self.frame(),
        };
        envelope
    }

    fn other_seq(&mut self, seq: Seq) -> Seq {
        match self.dice.below(6) {
            0 => Seq(self.number()),
            1 => Seq(seq.0.wrapping_add(1 + self.dice.below(3) as u64)),
            2 => Seq(seq.0.saturating_sub(1)),
            _ => seq,
        }
    }

    fn other_range(&mut self, range: BlockRange, most: u32) -> BlockRange {
        if self.dice.chance(3) {
            self.range(most)
        } else {
            range
        }
    }

    fn mixed_state(&mut self, mut state: PeerState, other: PeerState) -> PeerState {
        match self.dice.below(12) {
            0 => state.lineage = other.lineage,
            1 => state.epoch = other.epoch,
            2 => state.in_sync = other.in_sync,
            3 => state.joining = other.joining,
            4 => state.size_blocks = other.size_blocks,
            5 => state.capacity_blocks = other.capacity_blocks,
            6 => (state.base, state.dirty_blocks) = (other.base, other.dirty_blocks),
            7 => (state.disk, state.lack) = (other.disk, other.lack),
            8 => (state.primary, state.up_to_date) = (other.primary, other.up_to_date),
            9 => (state.moment, state.seen) = (other.moment, other.seen),
            10 => (state.boot, state.follows) = (other.boot, other.follows),
            _ => (state.rewound, state.unwritten) = (other.rewound, other.unwritten),
        }
        state
    }

    fn mixed_membership(&mut self, mut mine: Membership, other: Membership) -> Membership {
        match self.dice.below(9) {
            0 => mine.lineage = other.lineage,
            1 => mine.epoch = other.epoch,
            2 => mine.in_sync = other.in_sync,
            3 => mine.joining = other.joining,
            4 => mine.equal = other.equal,
            5 => mine.size_blocks = other.size_blocks,
            6 => mine.term = other.term,
            7 => mine.newest = other.newest,
            _ => (mine.primary, mine.up_to_date) = (other.primary, other.up_to_date),
        }
        mine
    }
}
