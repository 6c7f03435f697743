//! Connections between nodes: ordered frames with delays, cut at any moment, noticed at different times on each side.
//!
//! This file is the bookkeeping of one pair of nodes. What follows from it for the nodes is the world's business.

use std::collections::VecDeque;

use twindisk_core::{BufId, LinkId};
use twindisk_format::frame::Envelope;

use crate::{
    content::Block,
    wire::{Bytes, Chain},
};

/// The state between two nodes; side 0 is the one with the lower number.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    /// The newest connection, standing or broken.
    pub(crate) link: Option<Link>,
    /// Until when frames from side i are held up; `u64::MAX`: until healed.
    pub(crate) blocked: [u64; 2],
    /// Side i neither dials nor accepts before.
    pub(crate) not_before: [u64; 2],
    /// An attempt to connect is scheduled.
    pub(crate) dialing: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// Nothing new travels.
    pub(crate) broken: bool,
    pub(crate) sides: [Side; 2],
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Side {
    /// The run of the process it belongs to.
    pub(crate) run: u64,
    /// The core was told of the connection.
    pub(crate) up: bool,
    /// The core was told of its end.
    pub(crate) down: bool,
    /// The core wants it closed once everything is sent.
    pub(crate) draining: bool,
    /// What this side has sent and the other has not received.
    pub(crate) sent: VecDeque<Sent>,
    /// When the last of them arrives, if nothing holds it up.
    pub(crate) last_arrival: u64,
    /// When the wire is free of what it has sent.
    pub(crate) wire_free: u64,
    /// It does not read: there is no buffer for what comes next.
    pub(crate) paused: bool,
    /// Arrivals that came due while the way was blocked, or the other side did not read.
    pub(crate) held: u32,
    /// What this side sends travels as bytes.
    pub(crate) chain: Option<Chain>,
}

/// A frame under way.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) envelope: Envelope,
    pub(crate) payload: Option<Vec<Block>>,
    /// The sender's buffer, in use until the frame is received.
    pub(crate) buf: Option<BufId>,
    pub(crate) bytes: Option<Bytes>,
    /// It goes back to the core then.
    pub(crate) give_back: bool,
}

impl Side {
    pub(crate) const fn new(run: u64) -> Self {
        Self {
            run,
            up: false,
            down: false,
            draining: false,
            paused: false,
            sent: VecDeque::new(),
            last_arrival: 0,
            wire_free: 0,
            held: 0,
            chain: None,
        }
    }
}

/// Index of the pair of two nodes among all pairs of `nodes`, and which side `node` is.
pub(crate) const fn pair_of(node: usize, peer: usize) -> ((usize, usize), usize) {
    if node < peer {
        ((node, peer), 0)
    } else {
        ((peer, node), 1)
    }
}
