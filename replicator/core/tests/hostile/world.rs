//! A small cluster of living cores with disks, metadata and connections in memory. Everything is `Clone`, so that an
//! attack is tried on a copy and the story goes on without it.

use std::collections::{BTreeMap, VecDeque};

use twindisk_core::{
    BufId, ClientOp, ClientRequest, Command, CommandId, ConnectionId, ConnectionState, Event,
    LinkId, Protocol, RequestId, Status, Time,
};
use twindisk_format::{frame::Envelope, ids::BlockRange, metadata, superblock::Superblock};

use crate::{
    dice::Dice,
    node::{BLOCKS, DRIVER_BUFS, FIRST_DRIVER_BUF, MOST_BLOCKS, Node, Stamp, slot_of, superblock},
};

/// A frame on its way, with its block data.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) envelope: Envelope,
    pub(crate) data: Option<Vec<Stamp>>,
}

/// All of them.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Node>,
    /// From one node to another.
    pub(crate) wires: BTreeMap<(usize, usize), VecDeque<Sent>>,
    /// What was acknowledged last of each block, and every stamp that may be there instead.
    pub(crate) book: BTreeMap<u64, Vec<Stamp>>,
    /// What was sent lately, for attackers to learn from.
    pub(crate) overheard: VecDeque<(usize, usize, Sent)>,
    protocol: Protocol,
    ids: u64,
}

impl World {
    pub(crate) fn new(nodes: usize, protocol: Protocol) -> Self {
        let mut world = Self {
            now: Time(1_000_000_000),
            nodes: Vec::new(),
            wires: BTreeMap::new(),
            book: BTreeMap::new(),
            overheard: VecDeque::new(),
            protocol,
            ids: 1,
        };
        for number in 0..nodes {
            let meta: BTreeMap<u64, _> = metadata::create(&superblock(number, nodes)).collect();
            let disk = vec![0; MOST_BLOCKS as usize];
            let node = Node::start((world.now, protocol), number, nodes, meta, disk, 1);
            world.nodes.push(node);
        }
        (0..nodes).for_each(|number| world.drain(number));
        world
    }

    /// A process dies, and another one takes its place. What its disk was doing is done.
    pub(crate) fn restart(&mut self, number: usize) {
        for peer in 0..self.nodes.len() {
            if peer != number {
                self.cut(number, peer, "its process died");
            }
        }
        let old = self.nodes[number].clone();
        let count = self.nodes.len();
        self.nodes[number] = Node::start(
            (self.now, self.protocol),
            number,
            count,
            old.meta,
            old.disk,
            old.runs + 1,
        );
        self.drain(number);
    }

    pub(crate) fn status(&self, number: usize) -> Status {
        self.nodes[number].replica.status(self.now)
    }

    pub(crate) fn superblock(&self, number: usize) -> Superblock {
        let meta = &self.nodes[number].meta;
        let loaded = metadata::load(|block| meta.get(&block).cloned().ok_or("no such block"));
        loaded.expect("metadata can be loaded").superblock
    }

    /// Something happens to a node, and all that follows from it at once.
    pub(crate) fn tell(&mut self, number: usize, event: Event) {
        if self.nodes[number].halted {
            return;
        }
        self.nodes[number].replica.handle(self.now, event);
        self.drain(number);
        self.nodes[number].replica.check_invariants();
    }

    /// One thing that may happen next does. Says whether there was any.
    pub(crate) fn step(&mut self, dice: &mut Dice) -> bool {
        let mut choices = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if !node.pending.is_empty() {
                choices.push((number, number));
            }
        }
        let full = self.wires.iter().filter(|(_, wire)| !wire.is_empty());
        choices.extend(full.map(|(way, _)| *way));
        for low in 0..self.nodes.len() {
            for high in low + 1..self.nodes.len() {
                if self.is_apart(low, high) {
                    choices.push((low, high));
                }
            }
        }
        if choices.is_empty() {
            return false;
        }
        let (from, to) = choices[dice.below(choices.len())];
        if from == to {
            let pending = &mut self.nodes[from].pending;
            let event = pending.remove(dice.below(pending.len().min(3)));
            self.tell(from, event);
        } else if self.is_apart(from, to) {
            self.connect(from, to);
        } else {
            self.deliver(from, to);
        }
        self.now = Time(self.now.0 + 10_000 + dice.below(200_000) as u64);
        true
    }

    /// Time passes until the next deadline of any node.
    pub(crate) fn pass_time(&mut self) {
        let nodes = self.nodes.iter().filter(|node| !node.halted);
        if let Some(next) = nodes.filter_map(|node| node.replica.next_deadline()).min() {
            self.now = self.now.max(next);
            for number in 0..self.nodes.len() {
                self.tell(number, Event::Tick);
            }
        }
    }

    /// Many steps, with time passing whenever nothing else does.
    pub(crate) fn run(&mut self, steps: usize, dice: &mut Dice) {
        for _ in 0..steps {
            if !self.step(dice) || dice.below(50) == 0 {
                self.pass_time();
            }
        }
    }

    fn is_apart(&self, one: usize, other: usize) -> bool {
        let wants = |node: usize, peer: usize| {
            let (node, slot) = (&self.nodes[node], slot_of(node, peer).index());
            !node.halted && node.wanted[slot] && node.links[slot].is_none()
        };
        wants(one, other) && wants(other, one)
    }

    fn connect(&mut self, one: usize, other: usize) {
        self.ids += 1;
        let link = LinkId(self.ids as u32);
        for (node, peer) in [(one, other), (other, one)] {
            self.wires.insert((node, peer), VecDeque::new());
            self.nodes[node].links[slot_of(node, peer).index()] = Some(link);
        }
        for (node, peer) in [(one, other), (other, one)] {
            let peer = slot_of(node, peer);
            self.tell(node, Event::LinkUp { peer, link });
        }
    }

    /// The connection between the two breaks, with what is on its way.
    pub(crate) fn cut(&mut self, one: usize, other: usize, why: &str) {
        for (node, peer) in [(one, other), (other, one)] {
            self.wires.insert((node, peer), VecDeque::new());
            let slot = slot_of(node, peer);
            if let Some(link) = self.nodes[node].links[slot.index()].take() {
                let why = why.to_owned();
                let down = Event::LinkDown {
                    peer: slot,
                    link,
                    why,
                };
                self.nodes[node].pending.push(down);
            }
        }
    }

    pub(crate) fn deliver(&mut self, from: usize, to: usize) {
        let sent = self
            .wires
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front);
        if let Some(sent) = sent {
            self.receive(from, to, sent);
        }
    }

    /// A frame arrives, as the driver hands it over. Says whether it was taken.
    pub(crate) fn receive(&mut self, from: usize, to: usize, sent: Sent) -> bool {
        let peer = slot_of(to, from);
        let Some(link) = self.nodes[to].links[peer.index()] else {
            return false;
        };
        if sent.data.is_some() && self.nodes[to].bufs.len() > DRIVER_BUFS {
            return false; // A driver reads on when it has memory.
        }
        let payload = sent.data.map(|data| self.new_buf(to, data));
        let envelope = sent.envelope;
        self.tell(
            to,
            Event::Frame {
                peer,
                link,
                envelope,
                payload,
            },
        );
        true
    }

    fn new_buf(&mut self, number: usize, data: Vec<Stamp>) -> BufId {
        self.ids += 1;
        let buf = BufId(FIRST_DRIVER_BUF + self.ids as u32);
        self.nodes[number].bufs.insert(buf, data);
        buf
    }

    /// An operator's command.
    pub(crate) fn command(&mut self, number: usize, command: Command) {
        self.ids += 1;
        let id = CommandId(self.ids);
        self.tell(number, Event::Command { id, command });
    }

    /// An operator wants every connection of a node.
    pub(crate) fn connect_all(&mut self, number: usize) {
        for peer in (0..self.nodes.len()).filter(|peer| *peer != number) {
            let peer = slot_of(number, peer);
            self.command(number, Command::Connect { peer });
        }
    }

    /// A client asks for something, if the device is open.
    pub(crate) fn ask(&mut self, number: usize, dice: &mut Dice) {
        if !self.nodes[number].open || self.nodes[number].bufs.len() > DRIVER_BUFS / 2 {
            return;
        }
        let range = BlockRange::new(
            dice.below(BLOCKS as usize - 8) as u64,
            1 + dice.below(8) as u32,
        );
        self.ids += 1;
        let stamp = self.ids;
        let (op, data) = match dice.below(8) {
            0 => (ClientOp::Flush, Vec::new()),
            1 => (
                ClientOp::Zero {
                    range,
                    unmap: dice.chance(2),
                    fua: dice.chance(4),
                },
                vec![0; range.blocks as usize],
            ),
            2 | 3 => {
                let buf = self.new_buf(number, vec![0; range.blocks as usize]);
                (ClientOp::Read { range, buf }, Vec::new())
            }
            _ => {
                let data = vec![stamp; range.blocks as usize];
                let buf = self.new_buf(number, data.clone());
                let write = ClientOp::Write {
                    range,
                    buf,
                    fill: None,
                    fua: dice.chance(4),
                };
                (write, data)
            }
        };
        if let (ClientOp::Write { range, .. } | ClientOp::Zero { range, .. }, Some(stamp)) =
            (op, data.first())
        {
            for block in range.start..range.end() {
                self.book
                    .entry(block)
                    .or_insert_with(|| vec![0])
                    .push(*stamp);
            }
        }
        self.ask_for(number, op, data);
    }

    fn ask_for(&mut self, number: usize, op: ClientOp, data: Vec<Stamp>) {
        self.ids += 1;
        let request = RequestId(self.ids);
        self.nodes[number].asked.insert(request, (op, data));
        let connection = ConnectionId(1);
        self.tell(
            number,
            Event::Client(ClientRequest {
                request,
                connection,
                op,
            }),
        );
    }

    /// A client reads.
    pub(crate) fn read(&mut self, number: usize, range: BlockRange) {
        let buf = self.new_buf(number, vec![0; range.blocks as usize]);
        self.ask_for(number, ClientOp::Read { range, buf }, Vec::new());
    }

    /// Every node is connected to every other, and all that is on the disks is the same.
    pub(crate) fn is_equal(&self) -> bool {
        let established = |number| {
            let peers = self.status(number).peers;
            peers
                .iter()
                .all(|peer| peer.connection == ConnectionState::Established)
        };
        let first = &self.nodes[0].disk;
        let same = self.nodes.iter().all(|node| node.disk == *first);
        same && (0..self.nodes.len()).all(established)
    }

    /// Whether what was acknowledged is there, or what was asked for since.
    pub(crate) fn keeps_book(&self, number: usize) -> bool {
        let disk = &self.nodes[number].disk;
        let mut book = self.book.iter();
        book.all(|(block, stamps)| stamps.contains(&disk[*block as usize]))
    }
}
