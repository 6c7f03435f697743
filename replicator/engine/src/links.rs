//! Connections to peers: at most one per peer, a newer one after the older one is over.
//!
//! A link that is over keeps its place until no operation on it is under way: only then is the core told, so that
//! buffers which were being sent are free.

mod link;
mod queue;
mod receive;
mod tls;
mod transmit;

use std::{collections::VecDeque, time::Duration};

use tracing::{info, warn};
use twindisk_core::{BufId, Event, LinkId, LinkIntent, Reading, Time};
use twindisk_format::{frame::Envelope, ids::Slot, limits::MAX_PEERS};

use self::link::{Link, Outgoing, State};
use crate::{
    PeerLink,
    buffers::Buffers,
    limits::DRAIN_TIMEOUT,
    ring::{Completion, Ring},
};

/// What a link needs besides itself.
pub(crate) struct Context<'a> {
    pub(crate) ring: &'a mut Ring,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) events: &'a mut VecDeque<Event>,
    pub(crate) broken: &'a mut Vec<(Slot, String)>,
    pub(crate) now: Time,
}

/// The links to all peers.
pub(crate) struct Links {
    peers: [Peer; MAX_PEERS],
    /// Peers whose next payload waits for memory, in the order in which they came.
    waiting: VecDeque<Slot>,
    ids: u32,
    patience: Duration,
}

#[derive(Default)]
struct Peer {
    current: Option<Box<Link>>,
    /// Takes its place.
    next: Option<PeerLink>,
}

impl Links {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            peers: Default::default(),
            waiting: VecDeque::new(),
            ids: 0,
            patience,
        }
    }

    /// Takes over an authenticated connection. An older one to the same peer is dropped first.
    pub(crate) fn add(&mut self, link: PeerLink, context: &mut Context<'_>) {
        let slot = link.peer;
        self.peers[slot.index()].next = Some(link);
        self.end(
            slot,
            Why::Asked("a newer connection takes its place".into()),
            context,
        );
        self.start_next(slot, context);
    }

    /// Queues a frame; it is sent with the others when the thread has nothing else to do.
    pub(crate) fn send(
        &mut self,
        peer: Slot,
        id: LinkId,
        envelope: Envelope,
        payload: Option<(BufId, u32)>,
        context: &mut Context<'_>,
    ) {
        if let Some((buf, _)) = payload {
            // Kept even if the core gives it up: a frame must not carry what comes into the buffer next.
            context.buffers.pin(buf);
        }
        let frame = Outgoing { envelope, payload };
        match self.link(peer) {
            Some(link) if link.id == id && link.state == State::Open => {
                link.queue.push(frame);
                if link.queue.is_full() {
                    let why =
                        "it takes nothing of what is sent to it, and goes on asking".to_owned();
                    self.end(peer, Why::Broken(why), context);
                }
            }
            _ => {
                if let Some(held) = frame.held() {
                    held.let_go(context);
                }
            }
        }
    }

    /// Does what the core wants with a peer's connection. Having one is the control plane's business.
    pub(crate) fn intend(&mut self, peer: Slot, intent: &LinkIntent, context: &mut Context<'_>) {
        match intent {
            LinkIntent::Connect => {}
            LinkIntent::Reconnect { why, .. } => self.end(peer, Why::Asked(why.clone()), context),
            LinkIntent::Disconnect { why } => {
                self.peers[peer.index()].next = None;
                let now = context.now;
                if let Some(link) = self.link(peer)
                    && link.state == State::Open
                {
                    info!(peer = peer.index(), why, "the link is being closed");
                    link.state = State::Draining {
                        deadline: now + DRAIN_TIMEOUT,
                    };
                    link.why = why.clone();
                    self.waiting.retain(|&other| other != peer);
                    self.stop_receiving(peer, context);
                    // It may have been waiting for memory; the peer's end must be seen.
                    self.pump(peer, context);
                }
            }
        }
    }

    /// Closes every link in good order.
    pub(crate) fn close_all(&mut self, why: &str, context: &mut Context<'_>) {
        for slot in slots() {
            let why = why.to_owned();
            self.intend(slot, &LinkIntent::Disconnect { why }, context);
        }
    }

    /// When `flush` must be called at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.peers
            .iter()
            .filter_map(|peer| match peer.current.as_ref()?.state {
                State::Draining { deadline } => Some(deadline),
                State::Open | State::Dead => None,
            })
            .min()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.peers.iter().all(|peer| peer.current.is_none())
    }

    /// Sends what is queued, goes on with what waited for memory, ends what is over. To be called before the thread
    /// sleeps.
    pub(crate) fn flush(&mut self, context: &mut Context<'_>) {
        self.serve_waiting(context);
        for slot in slots() {
            self.transmit(slot, context);
            let now = context.now;
            let Some(link) = self.link(slot) else {
                continue;
            };
            match link.state {
                State::Draining { deadline } if deadline <= now => {
                    self.end(
                        slot,
                        Why::Asked("it took too long to close".into()),
                        context,
                    );
                }
                State::Draining { .. } if link.queue.is_empty() && link.batch.is_empty() => {
                    // The peer reads to the end and closes its side.
                    link.say_end();
                    // With TLS the end has words.
                    self.transmit(slot, context);
                }
                State::Open | State::Draining { .. } | State::Dead => {}
            }
            self.remove_if_quiet(slot, context);
        }
    }

    /// Ends a link: nothing more is sent or believed.
    fn end(&mut self, slot: Slot, why: Why, context: &mut Context<'_>) {
        let Some(link) = self.link(slot) else {
            return;
        };
        if link.state == State::Dead {
            return;
        }
        let was_open = link.state == State::Open;
        link.state = State::Dead;
        link.shut_down();
        match why {
            Why::Asked(why) => {
                info!(peer = slot.index(), why, "the link is closed");
                if was_open {
                    link.why = why;
                }
            }
            Why::Broken(why) if was_open => {
                warn!(peer = slot.index(), why, "the link broke");
                link.why.clone_from(&why);
                context.broken.push((slot, why));
            }
            Why::Broken(_) => {}
        }
        self.waiting.retain(|&other| other != slot);
        self.stop_receiving(slot, context);
    }

    /// Tells the core that a link is gone, once nothing of it is under way, and puts the next one in its place.
    fn remove_if_quiet(&mut self, slot: Slot, context: &mut Context<'_>) {
        let Some(link) = self.link(slot) else {
            return;
        };
        if link.state != State::Dead || !link.is_quiet() {
            return;
        }
        let dropped = link.take_queue();
        for held in dropped {
            held.let_go(context);
        }
        let peer = &mut self.peers[slot.index()];
        let link = peer.current.take().expect("just seen");
        context.ring.forget_file(link.file);
        context.events.push_back(Event::LinkDown {
            peer: slot,
            link: link.id,
            why: link.why,
        });
        self.start_next(slot, context);
    }

    fn start_next(&mut self, slot: Slot, context: &mut Context<'_>) {
        let peer = &mut self.peers[slot.index()];
        if peer.current.is_some() {
            return;
        }
        let Some(next) = peer.next.take() else {
            return;
        };
        self.ids = self.ids.wrapping_add(1);
        let id = LinkId(self.ids);
        match Link::start(id, next, self.patience, context.ring) {
            Ok(link) => {
                self.peers[slot.index()].current = Some(Box::new(link));
                context.events.push_back(Event::LinkUp {
                    peer: slot,
                    link: id,
                });
                self.pump(slot, context);
            }
            Err(error) => {
                let why = format!("its socket can't be used: {error}");
                context.broken.push((slot, why));
            }
        }
    }

    /// First come, first served, as for clients.
    fn serve_waiting(&mut self, context: &mut Context<'_>) {
        while let Some(&slot) = self.waiting.front() {
            if !self.begin_payload(slot, context) {
                return;
            }
            self.waiting.pop_front();
            self.tell_reading(slot, Reading::Resumed, context);
            self.pump(slot, context);
        }
    }

    /// The core is told whether a peer is listened to.
    fn tell_reading(&mut self, slot: Slot, reading: Reading, context: &mut Context<'_>) {
        if let Some(link) = self.link(slot) {
            let link = link.id;
            let peer = slot;
            context.events.push_back(Event::Reading {
                peer,
                link,
                reading,
            });
        }
    }

    fn link(&mut self, slot: Slot) -> Option<&mut Link> {
        self.peers[slot.index()].current.as_deref_mut()
    }

    fn slot_of(&mut self, completion: Completion) -> Slot {
        let slot = Slot::new(completion.token.slot as usize).expect("a slot was put in");
        let link = self.link(slot).expect("it stays until its operations end");
        assert!(
            completion.token.is_of(link.id.0),
            "{completion:?} belongs to a link that is gone"
        );
        slot
    }
}

/// What ends a link.
enum Why {
    /// This side wants it so.
    Asked(String),
    /// It broke, or the peer broke the protocol.
    Broken(String),
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..MAX_PEERS).filter_map(Slot::new)
}
