//! One connection to a peer: its socket, its chains, what is queued and what is being received.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use twindisk_core::{BufId, Event, LinkId, Time};
use twindisk_format::{
    frame::{Envelope, Frame},
    wire::{ChainDecoder, ChainEncoder, Header},
};

use super::{Context, queue::Queue, tls::Tls};
use crate::{
    PeerLink,
    limits::LINK_READAHEAD_BYTES,
    ring::{Ring, RingFile},
    send::SendBatch,
    socket::{set_blocking, shut_down, tune_link},
    window::Window,
};

/// One connection to a peer.
pub(super) struct Link {
    socket: OwnedFd,
    pub(super) file: RingFile,
    pub(super) id: LinkId,
    pub(super) state: State,
    /// What ended it.
    pub(super) why: String,
    pub(super) encoder: ChainEncoder,
    pub(super) decoder: ChainDecoder,
    pub(super) queue: Queue,
    pub(super) batch: SendBatch,
    /// Held by the batch.
    pub(super) batch_bufs: Vec<Held>,
    pub(super) window: Window,
    pub(super) receiving: Receiving,
    /// A receive is under way.
    pub(super) receive: Option<Target>,
    /// The last payload was large.
    pub(super) large: bool,
    /// Everything goes through it, if it is there.
    pub(super) tls: Option<Tls>,
    end_said: bool,
}

/// Where a link is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Frames go both ways.
    Open,
    /// What is queued is sent, what comes is thrown away.
    Draining { deadline: Time },
    /// Shut down; gone once nothing of it is under way.
    Dead,
}

/// A frame to be sent.
pub(super) struct Outgoing {
    pub(super) envelope: Envelope,
    /// Buffer (pinned) and first block of it.
    pub(super) payload: Option<(BufId, u32)>,
}

/// A buffer that a frame refers to; pinned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// The core's.
    Pinned(BufId),
    /// Lent by the core, which wants to know when it is free.
    Lent(BufId),
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receiving {
    /// A header.
    Header,
    /// Contents that are no block data.
    Inline { header: Header, len: usize },
    /// Nothing is received until there is memory for this frame.
    NoRoom { header: Header, len: usize },
    /// Block data.
    Payload {
        header: Header,
        buf: BufId,
        len: usize,
        done: usize,
    },
}

/// Where a receive puts its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Into the window.
    Window,
    /// Into the frame's buffer.
    Payload,
    /// Ciphertext, to be decrypted into either.
    Tls,
}

impl Link {
    pub(super) fn start(
        id: LinkId,
        link: PeerLink,
        patience: Duration,
        ring: &mut Ring,
    ) -> io::Result<Self> {
        set_blocking(&link.socket)?;
        tune_link(&link.socket, patience);
        Ok(Self {
            file: ring.add_file(link.socket.as_raw_fd()),
            socket: link.socket,
            id,
            state: State::Open,
            why: String::new(),
            encoder: ChainEncoder::new(link.session.send_seed),
            decoder: ChainDecoder::new(link.session.receive_seed),
            queue: Queue::default(),
            batch: SendBatch::new(),
            batch_bufs: Vec::new(),
            window: Window::new(LINK_READAHEAD_BYTES, &link.leftover),
            receiving: Receiving::Header,
            receive: None,
            large: false,
            tls: link.tls.map(Tls::new),
            end_said: false,
        })
    }

    /// Ends both directions; what is under way ends with them.
    pub(super) fn shut_down(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_last_words(&self.socket);
        }
        shut_down(&self.socket, libc::SHUT_RDWR);
    }

    /// Ends this side's direction, once: the peer sees the end after everything that was sent.
    pub(super) fn say_end(&mut self) {
        if !self.end_said && self.tls.as_mut().is_none_or(Tls::say_end) {
            self.end_said = true;
            shut_down(&self.socket, libc::SHUT_WR);
        }
    }

    /// No operation on it is under way.
    pub(super) const fn is_quiet(&self) -> bool {
        self.receive.is_none() && !self.is_sending()
    }

    /// A send is under way.
    pub(super) const fn is_sending(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.outgoing.is_under_way(),
            None => self.batch.is_under_way(),
        }
    }

    /// The buffers of frames that will never be sent.
    pub(super) fn take_queue(&mut self) -> Vec<Held> {
        self.batch.clear();
        let queue = std::mem::take(&mut self.queue);
        let queued = queue.into_frames().filter_map(|frame| frame.held());
        self.batch_bufs.drain(..).chain(queued).collect()
    }
}

impl Outgoing {
    /// The buffer that the frame holds.
    pub(super) fn held(&self) -> Option<Held> {
        let (buf, _) = self.payload?;
        Some(match self.envelope.frame {
            Frame::ReadReply { .. } => Held::Lent(buf),
            _ => Held::Pinned(buf),
        })
    }
}

impl Held {
    /// The frame is sent, or never will be.
    pub(super) fn let_go(self, context: &mut Context<'_>) {
        match self {
            Self::Pinned(buf) => context.buffers.unpin(buf),
            Self::Lent(buf) => {
                context.buffers.unpin(buf);
                context.events.push_back(Event::Sent { buf });
            }
        }
    }
}
