//! Connections: dialled, used, blocked, broken, noticed.

use twindisk_core::{BufId, Event, LinkId, LinkIntent};
use twindisk_format::frame::{Envelope, Frame};

use crate::{
    bufs::{Purpose, User},
    checker::Violation,
    net::{Link, Sent, Side, pair_of},
    node::{name, node_in, slot_of},
    swarm::MS,
    trace::tell,
    wire::{Chain, Received},
    world::{Ev, World},
};

/// How long a connection that is being closed in good order waits for its last frames to leave.
const DRAIN_LIMIT: u64 = 2000 * MS;

impl World {
    /// A core wants something of its connection to a peer.
    pub(crate) fn link_intent(&mut self, number: usize, peer: usize, intent: &LinkIntent) {
        let (pair, side) = pair_of(number, peer);
        match intent {
            LinkIntent::Connect => self.nodes[number].wants[peer] = true,
            LinkIntent::Reconnect { wait, .. } => {
                let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                self.pair_mut(pair).not_before[side] = self.now.saturating_add(wait);
                if let Some(link) = self.standing(pair, side) {
                    self.close_side(pair, link, side, "closed to reconnect");
                }
            }
            LinkIntent::Disconnect { .. } => {
                self.nodes[number].wants[peer] = false;
                if let Some(link) = self.standing(pair, side) {
                    self.link_mut(pair).sides[side].draining = true;
                    self.after(DRAIN_LIMIT, Ev::DrainLimit { pair, link, side });
                    self.close_drained(pair, link, side, false);
                }
            }
        }
        self.want_dial(pair);
    }

    /// A core sends a frame.
    pub(crate) fn send(
        &mut self,
        number: usize,
        to: (usize, LinkId),
        envelope: Envelope,
        payload: Option<(BufId, u32)>,
    ) {
        let (peer, link_id) = to;
        let (pair, side) = pair_of(number, peer);
        let give_back = matches!(envelope.frame, Frame::ReadReply { .. });
        let run = self.nodes[number].run;
        let stands = self.current_link(pair, link_id).is_some_and(|link| {
            let mine = &link.sides[side];
            mine.up && !mine.down && mine.run == run
        });
        if !stands {
            // Dropped silently: that connection is gone.
            if let Some((buf, _)) = payload
                && give_back
            {
                self.tell_core(number, 1000, Event::Sent { buf });
            }
            return;
        }
        let node = &mut self.nodes[number];
        let mut blocks = None;
        if let Some((buf, at)) = payload {
            let count = payload_blocks(&envelope);
            let copied = node
                .bufs
                .begin(buf, User::Link(link_id), (at, count), false)
                .and_then(|()| node.bufs.blocks(buf, at, count));
            blocks = match copied {
                Ok(blocks) => Some(blocks),
                Err(why) => {
                    self.contract::<()>(number, Err(why));
                    return;
                }
            };
        } else if payload_blocks(&envelope) > 0 {
            self.contract::<()>(number, Err(format!("{envelope:?} without its payload")));
            return;
        }
        let chain = &mut self.link_mut(pair).sides[side].chain;
        let bytes = chain
            .as_mut()
            .map(|chain| chain.encode(&envelope, blocks.as_deref()));
        let sent = Sent {
            envelope,
            bytes,
            payload: blocks,
            buf: payload.map(|(buf, _)| buf),
            give_back,
        };
        let link = self.link_mut(pair);
        if link.broken || link.sides[side].draining {
            // Other buffers stay in use until the core has heard that the connection is gone.
            self.dropped(number, run, link_id, vec![sent]);
            return;
        }
        let delay = self.net_latency() * self.swarm.net.uneven[side];
        let now = self.now;
        let on_wire = payload_blocks(&sent.envelope) as u64 * self.swarm.net.block;
        let link = self.link_mut(pair);
        let out = &mut link.sides[side];
        out.sent.push_back(sent);
        out.wire_free = out.wire_free.max(now) + on_wire;
        out.last_arrival = out.last_arrival.max(out.wire_free + delay);
        let at = out.last_arrival;
        self.at(
            at,
            Ev::Arrive {
                pair,
                link: link_id,
                side,
            },
        );
    }

    /// A frame from `side` comes due.
    pub(crate) fn arrive(&mut self, pair: (usize, usize), id: LinkId, side: usize) {
        let now = self.now;
        let Some(state) = self.pairs.get_mut(&pair) else {
            return;
        };
        let blocked = state.blocked[side] > now;
        let Some(link) = state.link.as_mut().filter(|link| link.id == id) else {
            return;
        };
        let other = 1 - side;
        if blocked || link.sides[other].paused || (!link.sides[other].up && !link.broken) {
            link.sides[side].held += 1;
            return;
        }
        if self.has_no_room(pair, side) {
            return self.pause_reading(pair, side);
        }
        let Some(link) = self.current_link(pair, id) else {
            return;
        };
        let Some(sent) = link.sides[side].sent.pop_front() else {
            return;
        };
        let heard = link.sides[other].up && !link.sides[other].down;
        let (from_run, to_run) = (link.sides[side].run, link.sides[other].run);
        let ends = [pair.0, pair.1];
        let (from, to) = (ends[side], ends[other]);
        if let Some(buf) = sent.buf
            && self.nodes[from].run == from_run
        {
            self.nodes[from].bufs.end(buf, User::Link(id));
            if sent.give_back {
                self.tell_core(from, 0, Event::Sent { buf });
            }
        }
        let Some(sent) = self.decoded(pair, side, sent) else {
            return;
        };
        if heard && self.nodes[to].run == to_run && self.nodes[to].replica.is_some() {
            let payload = sent
                .payload
                .map(|blocks| self.nodes[to].bufs.allocate(Purpose::Peer, blocks));
            self.trace.mix(to as u64 + 16);
            let term = sent.envelope.term.0;
            let counts = self.has_authority(from, to, term);
            self.heard.spoken(to, from, &sent.envelope);
            if counts {
                self.heard.hears_term(to, term);
            }
            if let Frame::Write { seq, .. } | Frame::Zero { seq, .. } = &sent.envelope.frame {
                self.heard.mutation(to, id, *seq, term);
            }
            self.deliver(
                to,
                Event::Frame {
                    peer: slot_of(to, from),
                    link: id,
                    envelope: sent.envelope,
                    payload,
                },
            );
            if counts {
                self.check_demoted(to, term);
            }
        }
        self.close_drained(pair, id, side, false);
    }

    /// A frame that travelled as bytes becomes one again, if it can be believed.
    fn decoded(&mut self, pair: (usize, usize), side: usize, mut sent: Sent) -> Option<Sent> {
        let Some(bytes) = sent.bytes.take() else {
            return Some(sent);
        };
        let dice = &mut self.dice.net;
        let flips = !self.healed && dice.below(100_000) < u64::from(self.swarm.net.flips);
        let chain = self
            .pairs
            .get_mut(&pair)
            .and_then(|pair| pair.link.as_mut())
            .and_then(|link| link.sides[side].chain.as_mut())?;
        let flip = flips.then_some(dice);
        match chain.decode(bytes, &sent.envelope, sent.payload.as_deref(), flip) {
            Received::Frame => Some(sent),
            Received::Refused(why) => {
                tell!(
                    self,
                    "{} refuses a frame: {why}",
                    name([pair.1, pair.0][side])
                );
                self.coverage.reach("fault", "bit flipped on the wire");
                if !flips
                    && self.pairs[&pair]
                        .link
                        .as_ref()
                        .is_some_and(|link| !link.broken)
                {
                    let story = format!("an unaltered frame is refused: {why}");
                    self.violate(Violation::new("wire", story));
                }
                self.break_link(pair, "a frame was refused");
                if let Some(link) = &mut self.pair_mut(pair).link {
                    // Nothing that follows a refused frame is believed.
                    let lost: Vec<Sent> = link.sides[side].sent.drain(..).collect();
                    let (id, run) = (link.id, link.sides[side].run);
                    self.dropped([pair.0, pair.1][side], run, id, lost);
                }
                None
            }
            Received::Wrong(why) => {
                self.violate(Violation::new("wire", why));
                None
            }
        }
    }

    /// Tries to connect two nodes, or plans the next attempt.
    pub(crate) fn dial(&mut self, pair: (usize, usize)) {
        let now = self.now;
        let state = self.pair_mut(pair);
        state.dialing = false;
        if state.link.as_ref().is_some_and(|link| !link.broken) {
            return;
        }
        let (low, high) = (&self.nodes[pair.0], &self.nodes[pair.1]);
        let wanted = low.wants[pair.1] && high.wants[pair.0];
        let alive = low.replica.is_some() && high.replica.is_some();
        let awake = low.awake_at() <= now && high.awake_at() <= now;
        let open = self.pairs[&pair].blocked.iter().all(|until| *until <= now);
        let patient = self.pairs[&pair].not_before.iter().all(|at| *at <= now);
        if !(wanted && alive && awake && open && patient) {
            if alive && wanted {
                self.want_dial(pair);
            }
            return;
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let mut sides = [
            Side::new(self.nodes[pair.0].run),
            Side::new(self.nodes[pair.1].run),
        ];
        if self.swarm.net.bytes {
            for side in &mut sides {
                side.chain = Some(Chain::new(self.dice.net.draw() as u32));
            }
        }
        // A side that has not heard of the old connection's end hears it just before the new one.
        if let Some(old) = self.pairs[&pair].link.as_ref().map(|link| link.id) {
            for side in 0..2 {
                self.link_down(pair, old, side, "replaced by a new connection");
            }
        }
        if self.nodes[pair.0].replica.is_none() || self.nodes[pair.1].replica.is_none() {
            self.want_dial(pair);
            return;
        }
        self.pair_mut(pair).link = Some(Link {
            id,
            broken: false,
            sides,
        });
        for side in 0..2 {
            let delay = self.net_latency();
            self.after(
                delay,
                Ev::LinkUp {
                    pair,
                    link: id,
                    side,
                },
            );
        }
    }

    /// `side` hears that a connection stands.
    pub(crate) fn link_up(&mut self, pair: (usize, usize), id: LinkId, side: usize) {
        let ends = [pair.0, pair.1];
        let (number, other) = (ends[side], ends[1 - side]);
        let run = self.nodes[number].run;
        let Some(link) = self.current_link(pair, id) else {
            return;
        };
        if link.broken || link.sides[side].run != run {
            return;
        }
        link.sides[side].up = true;
        let held = core::mem::take(&mut link.sides[1 - side].held);
        for _ in 0..held {
            let from = 1 - side;
            self.after(
                0,
                Ev::Arrive {
                    pair,
                    link: id,
                    side: from,
                },
            );
        }
        self.heard.connected(self.now, number, other);
        self.deliver(
            number,
            Event::LinkUp {
                peer: slot_of(number, other),
                link: id,
            },
        );
    }

    /// `side` hears that a connection is gone.
    pub(crate) fn link_down(
        &mut self,
        pair: (usize, usize),
        id: LinkId,
        side: usize,
        why: &'static str,
    ) {
        let ends = [pair.0, pair.1];
        let (number, other) = (ends[side], ends[1 - side]);
        let run = self.nodes[number].run;
        let Some(link) = self.current_link(pair, id) else {
            return;
        };
        let mine = &mut link.sides[side];
        let told = mine.up && !mine.down && mine.run == run;
        mine.down = true;
        if told {
            self.free_bufs(number, pair, id, side);
            self.deliver(
                number,
                Event::LinkDown {
                    peer: slot_of(number, other),
                    link: id,
                    why: why.to_owned(),
                },
            );
        }
        self.want_dial(pair);
    }

    /// A connection breaks; some of what was under way still arrives.
    pub(crate) fn break_link(&mut self, pair: (usize, usize), why: &'static str) {
        let Some(link) = self
            .pair_mut(pair)
            .link
            .as_mut()
            .filter(|link| !link.broken)
        else {
            return;
        };
        link.broken = true;
        let id = link.id;
        tell!(
            self,
            "the connection of {} and {} breaks: {why}",
            name(pair.0),
            name(pair.1)
        );
        for side in 0..2 {
            let now = self.now;
            let open = self.pairs[&pair].blocked[side] <= now;
            let dice = &mut self.dice.net;
            let sent = &mut self
                .pairs
                .get_mut(&pair)
                .and_then(|pair| pair.link.as_mut())
                .expect("just broken")
                .sides[side];
            let keep = if open {
                dice.index(sent.sent.len() + 1)
            } else {
                0
            };
            let lost: Vec<Sent> = sent.sent.drain(keep..).collect();
            let delay = dice.between(1, self.swarm.net.notice);
            // The other side hears of the end after what still arrives from here.
            let at = sent.last_arrival.max(now) + delay;
            let run = sent.run;
            self.dropped([pair.0, pair.1][side], run, id, lost);
            self.at(
                at,
                Ev::LinkDown {
                    pair,
                    link: id,
                    side: 1 - side,
                    why,
                },
            );
        }
    }

    /// All connections of a node whose process ended.
    pub(crate) fn break_links_of(&mut self, number: usize, why: &'static str) {
        for pair in self.pairs_of(number) {
            self.break_link(pair, why);
        }
    }

    /// A direction is held up until a moment.
    pub(crate) fn block(&mut self, pair: (usize, usize), side: usize, until: u64) {
        tell!(
            self,
            "nothing passes from {} for a while",
            name([pair.0, pair.1][side])
        );
        self.each_resource(|world| {
            world.pair_mut(pair).blocked[side] = until;
            world.at(until, Ev::Unblock { pair, side });
        });
    }

    /// A direction may be open again.
    pub(crate) fn unblock(&mut self, pair: (usize, usize), side: usize) {
        let now = self.now;
        let state = self.pair_mut(pair);
        if state.blocked[side] > now {
            return;
        }
        self.release_arrivals(pair, side);
        self.want_dial(pair);
    }

    /// Plans an attempt to connect.
    pub(crate) fn want_dial(&mut self, pair: (usize, usize)) {
        if self.pairs[&pair].dialing {
            return;
        }
        self.pair_mut(pair).dialing = true;
        let delay = self.dice.net.between(MS, self.swarm.net.dial);
        self.after(delay, Ev::Dial { pair });
    }

    /// The pairs that a node belongs to.
    pub(crate) fn pairs_of(&self, number: usize) -> Vec<(usize, usize)> {
        self.pairs
            .keys()
            .copied()
            .filter(|pair| pair.0 == number || pair.1 == number)
            .collect()
    }

    /// Closes a connection that one side wants closed, once its frames have left, or at once.
    pub(crate) fn close_drained(
        &mut self,
        pair: (usize, usize),
        id: LinkId,
        side: usize,
        at_once: bool,
    ) {
        let run = self.nodes[[pair.0, pair.1][side]].run;
        let Some(link) = self.current_link(pair, id) else {
            return;
        };
        let mine = &link.sides[side];
        if mine.draining && mine.run == run && !link.broken && (at_once || mine.sent.is_empty()) {
            self.close_side(pair, id, side, "closed in good order");
        }
    }

    /// One side closes: it hears of it soon, the other one later, if anything gets through.
    fn close_side(&mut self, pair: (usize, usize), id: LinkId, side: usize, why: &'static str) {
        let now = self.now;
        let other = 1 - side;
        let through = self.pairs[&pair].blocked[side] <= now;
        let link = self.link_mut(pair);
        let broken = link.broken;
        link.broken = true;
        let lost = [0, 1].map(|side| {
            let end = &mut link.sides[side];
            (end.run, end.sent.drain(..).collect::<Vec<_>>())
        });
        for (end, (run, lost)) in lost.into_iter().enumerate() {
            self.dropped([pair.0, pair.1][end], run, id, lost);
        }
        self.after(
            1000,
            Ev::LinkDown {
                pair,
                link: id,
                side,
                why,
            },
        );
        if through && !broken {
            let delay = self.net_latency();
            self.after(
                delay,
                Ev::LinkDown {
                    pair,
                    link: id,
                    side: other,
                    why: "the peer closed it",
                },
            );
        }
    }

    /// Frames will not be sent any more: buffers that are to come back do so.
    fn dropped(&mut self, number: usize, run: u64, link: LinkId, lost: Vec<Sent>) {
        if self.nodes[number].run != run {
            return;
        }
        for sent in lost {
            if let Some(buf) = sent.buf
                && sent.give_back
            {
                self.nodes[number].bufs.end(buf, User::Link(link));
                self.tell_core(number, 0, Event::Sent { buf });
            }
        }
    }

    /// A core is about to hear that a connection is gone: all its buffers are free by then.
    fn free_bufs(&mut self, number: usize, pair: (usize, usize), id: LinkId, side: usize) {
        let mut back = Vec::new();
        if let Some(link) = self.current_link(pair, id) {
            for sent in &mut link.sides[side].sent {
                if sent.give_back {
                    sent.give_back = false;
                    back.extend(sent.buf.take());
                }
            }
        }
        self.nodes[number].bufs.end_link(id);
        for buf in back {
            self.deliver(number, Event::Sent { buf });
        }
    }

    fn standing(&self, pair: (usize, usize), side: usize) -> Option<LinkId> {
        let link = self.pairs[&pair].link.as_ref()?;
        let mine = &link.sides[side];
        (mine.up && !mine.down && mine.run == self.nodes[[pair.0, pair.1][side]].run)
            .then_some(link.id)
    }

    pub(crate) fn current_link(&mut self, pair: (usize, usize), id: LinkId) -> Option<&mut Link> {
        self.pair_mut(pair)
            .link
            .as_mut()
            .filter(|link| link.id == id)
    }

    pub(crate) fn link_mut(&mut self, pair: (usize, usize)) -> &mut Link {
        self.pair_mut(pair)
            .link
            .as_mut()
            .expect("callers have seen the link")
    }

    pub(crate) fn pair_mut(&mut self, pair: (usize, usize)) -> &mut crate::net::Pair {
        self.pairs
            .get_mut(&pair)
            .expect("there is one for each two nodes")
    }

    /// The node that a core means by a slot.
    pub(crate) fn peer_in(&self, number: usize, slot: twindisk_format::ids::Slot) -> usize {
        node_in(number, slot)
    }
}

/// Blocks of payload that a frame carries.
pub(crate) const fn payload_blocks(envelope: &Envelope) -> u32 {
    match &envelope.frame {
        Frame::Write { range, .. } | Frame::ReadReply { range, .. } => range.blocks,
        Frame::Zero { .. }
        | Frame::Flush { .. }
        | Frame::Received { .. }
        | Frame::Written { .. }
        | Frame::Stable { .. }
        | Frame::Read { .. }
        | Frame::ReadFailed { .. }
        | Frame::Hash { .. }
        | Frame::Differ { .. }
        | Frame::Bits { .. }
        | Frame::Ping
        | Frame::Pong
        | Frame::Control(_) => 0,
    }
}
