//! A small world, what can happen in it next, and what each of that does.

mod walk;

use std::{collections::BTreeMap, time::Duration};

use twindisk_core::{
    ClientOp, ClientRequest, Command, CommandId, ConnectionId, ConnectionState, Event, Mutant,
    Protocol, Refusal, RequestId, Time,
};
use twindisk_format::{
    ids::{BlockRange, Slot},
    superblock::ReceiptKind,
};

use super::{
    machine::{Machine, Settings, Stamp},
    rules::Book,
    search::Walk as _,
    step::Step,
    wire::{EndState, Wire},
};

/// How large a world is.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The same in both directions.
    pub protocol: Protocol,
    /// What the client asks for, in this order, and at most `depth` at a time.
    pub script: Vec<Ask>,
    /// See `script`.
    pub depth: usize,
    /// Blocks of the device.
    pub blocks: u64,
    /// Processes killed, nodes without power, connections cut: so many in all.
    pub faults: u8,
    /// Orders of the operator for which there may be no right: see [`Step::Order`].
    pub orders: u8,
    /// Connections after which no more are made: nodes that meet for ever would go on for ever.
    pub links: u32,
    /// Deadlines that come.
    pub ticks: u8,
    /// The deliberate bug that the cores have.
    pub mutant: Option<Mutant>,
}

/// A request of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Writes one block.
    Write(u64),
    /// The same, stable when it is answered.
    WriteFua(u64),
    /// Makes what was answered before stable.
    Flush,
}

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    pub(super) settings: Settings,
    script: Vec<Ask>,
    depth: usize,
    pub(super) now: Time,
    pub(super) nodes: [Machine; 2],
    pub(super) wire: Wire,
    pub(super) book: Book,
    asked: usize,
    pub(super) requests: BTreeMap<u64, Pending>,
    /// Nodes for which the operator has vouched since the other one went off.
    vouched: [bool; 2],
    commands: u64,
    faults: u8,
    orders: u8,
    links: u32,
    ticks: u8,
    /// Answers to commands that nobody has taken yet.
    pub(super) replies: Vec<(CommandId, Result<(), Refusal>)>,
}

/// A request of the client that has no answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) node: usize,
    pub(super) what: What,
    /// Its connection is gone: an answer reaches nobody.
    pub(super) closed: bool,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Write(Stamp, bool),
    /// With the writes that it has to make stable.
    Flush(Vec<Stamp>),
}

impl World {
    /// Node 0 is primary, node 1 in sync, nothing under way.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    pub fn new(bounds: &Bounds) -> Self {
        let settings = Settings {
            blocks: bounds.blocks,
            protocol: bounds.protocol,
            mutant: bounds.mutant,
        };
        let mut world = Self {
            settings,
            script: Vec::new(),
            depth: bounds.depth,
            now: Time(0),
            nodes: [Machine::new(0, settings), Machine::new(1, settings)],
            wire: Wire::default(),
            book: Book::default(),
            asked: 0,
            requests: BTreeMap::new(),
            vouched: [false; 2],
            commands: 0,
            faults: 0,
            orders: 0,
            links: u32::MAX,
            ticks: 20,
            replies: Vec::new(),
        };
        world.step(Step::Start(0)).expect("a fresh node starts");
        world.command(0, Command::Promote { force: None });
        world.rest().expect("nothing is broken at first");
        world.step(Step::Start(1)).expect("a fresh node starts");
        world.rest().expect("nothing is broken at first");
        let status = world.status(0).expect("it runs");
        let equal = status.peers[0].connection == ConnectionState::Established;
        assert!(
            status.export_open && equal,
            "the pair is not in sync: {status:?}"
        );
        world.script.clone_from(&bounds.script);
        world.faults = bounds.faults;
        world.orders = bounds.orders;
        world.links = world.wire.links.saturating_add(bounds.links);
        world.ticks = bounds.ticks;
        world
    }

    /// What can happen next. Empty: everything has come to rest, and no faults are left.
    fn next(&self) -> Vec<Step> {
        let mut steps = self.works();
        if self.can_ask() {
            steps.push(Step::Ask);
        }
        for number in 0..2 {
            let node = &self.nodes[number];
            if node.replica.is_none() {
                steps.push(Step::Start(number));
            }
            let other_is_off = !self.nodes[1 - number].powered;
            if node.replica.is_some() && other_is_off && !self.vouched[number] {
                steps.push(Step::Vouch(number));
            }
            if node.replica.is_some() && self.orders > 0 {
                steps.push(Step::Order(number));
            }
        }
        if steps.is_empty() && self.ticks > 0 {
            let due = |number: &usize| self.nodes[*number].deadline().is_some();
            steps.extend((0..2).filter(due).map(Step::Tick));
        }
        if self.faults > 0 {
            for number in 0..2 {
                if self.nodes[number].replica.is_some() {
                    steps.push(Step::Kill(number));
                }
                if self.nodes[number].powered {
                    steps.push(Step::PowerOff(number));
                }
            }
            if self.wire.link.as_ref().is_some_and(|link| !link.broken) {
                steps.push(Step::Cut);
            }
        }
        steps
    }

    /// The client has something to ask for, and somebody to ask.
    pub(super) fn can_ask(&self) -> bool {
        self.asked < self.script.len()
            && self.requests.len() < self.depth
            && self.opened().is_some()
    }

    /// What goes on by itself: disks and the network.
    pub(super) fn works(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            steps.extend((0..node.ops.len()).map(|index| Step::Disk(number, index)));
        }
        let Some(link) = &self.wire.link else {
            let wanted = |node: &Machine| node.replica.is_some() && node.wants;
            if self.nodes.iter().all(wanted) && self.wire.links < self.links {
                steps.push(Step::Connect);
            }
            return steps;
        };
        for (side, end) in link.ends.iter().enumerate() {
            match end.state {
                EndState::Coming if !link.broken => steps.push(Step::Hear(side)),
                EndState::Up => {
                    if !link.ends[1 - side].sent.is_empty() {
                        steps.push(Step::Arrive(side));
                    }
                    if link.broken {
                        steps.push(Step::Part(side));
                    }
                }
                EndState::Coming | EndState::Gone => {}
            }
        }
        steps
    }

    /// The cable between the nodes is whole, or cut.
    pub(super) fn join(&mut self, whole: bool) {
        if !whole {
            self.wire.cut();
        }
        self.links = if whole { u32::MAX } else { self.wire.links };
    }

    /// Lets disks and network work until nothing goes on by itself, in one order; nodes that refuse each other meet a
    /// few times.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        let last = self.wire.links + 3;
        while let Some(step) = self.works().first().copied() {
            if step == Step::Connect && self.wire.links >= last {
                break;
            }
            self.step(step)?;
        }
        Ok(())
    }

    /// Time passes.
    pub(super) fn pass(&mut self, time: Duration) -> Result<(), String> {
        self.now = Time(self.now.0 + time.as_nanos() as u64);
        for number in 0..2 {
            self.poll(number)?;
        }
        Ok(())
    }

    /// What a node says of itself.
    pub(super) fn status(&self, number: usize) -> Option<twindisk_core::Status> {
        Some(self.nodes[number].replica.as_ref()?.status(self.now))
    }

    /// A node goes down, alone or with its host.
    pub(super) fn die(&mut self, number: usize, power: bool) {
        self.requests.retain(|_, pending| pending.node != number);
        self.wire.gone(number);
        if power {
            self.nodes[number].lose_power();
            let other = &self.nodes[1 - number];
            let kept: Vec<_> = (0..other.size()).map(|block| other.reads(block)).collect();
            self.book.power_lost(number, &kept);
        } else {
            self.nodes[number].die();
        }
    }

    /// The operator says that the other node is off, and promotes.
    pub(super) fn vouch(&mut self, number: usize) -> Result<(), String> {
        let receipt = Command::Receipt {
            about: PEER,
            kind: ReceiptKind::Fence,
            detail: "seen off".into(),
            met: None,
        };
        self.try_command(number, receipt)?;
        self.try_command(number, Command::Promote { force: None })
            .map(drop)
    }

    fn command(&mut self, number: usize, command: Command) {
        self.try_command(number, command)
            .expect("a rule broken by a command");
    }

    pub(super) fn try_command(
        &mut self,
        number: usize,
        command: Command,
    ) -> Result<CommandId, String> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.tell(number, Event::Command { id, command })?;
        Ok(id)
    }

    /// The node whose device is open to the client: of two, the one that was opened last.
    fn opened(&self) -> Option<usize> {
        let open = (0..2).filter(|number| self.nodes[*number].export_open);
        open.max_by_key(|number| self.nodes[*number].opened_at())
    }

    fn ask(&mut self) -> Result<(), String> {
        let Some(number) = self.opened() else {
            return Ok(());
        };
        let ask = self.script[self.asked];
        self.asked += 1;
        let id = self.asked as u64;
        let node = &mut self.nodes[number];
        let (what, op) = match ask {
            Ask::Write(block) | Ask::WriteFua(block) => {
                let fua = matches!(ask, Ask::WriteFua(_));
                let stamp = self.book.written(block);
                let buf = node.allocate(vec![stamp]);
                let op = ClientOp::Write {
                    range: BlockRange::new(block, 1),
                    buf,
                    fill: None,
                    fua,
                };
                (What::Write(stamp, fua), op)
            }
            Ask::Flush => (What::Flush(self.book.acknowledged()), ClientOp::Flush),
        };
        let connection = ConnectionId(node.openings);
        let closed = false;
        let pending = Pending {
            node: number,
            what,
            closed,
        };
        self.requests.insert(id, pending);
        let request = ClientRequest {
            request: RequestId(id),
            connection,
            op,
        };
        self.tell(number, Event::Client(request))
    }

    fn arrive(&mut self, side: usize) -> Result<(), String> {
        let Some(link) = &mut self.wire.link else {
            return Ok(());
        };
        let Some(parcel) = link.ends[1 - side].sent.pop_front() else {
            return Ok(());
        };
        let id = link.id;
        let payload = parcel
            .blocks
            .map(|blocks| self.nodes[side].allocate(blocks));
        let event = Event::Frame {
            peer: PEER,
            link: id,
            envelope: parcel.envelope,
            payload,
        };
        self.tell(side, event)?;
        self.wire.close_drained();
        Ok(())
    }
}

impl Machine {
    /// The next deadline of its core, but for those an hour away.
    fn deadline(&self) -> Option<Time> {
        let deadline = self.replica.as_ref()?.next_deadline()?;
        (deadline.0 < FAR).then_some(deadline)
    }

    const fn opened_at(&self) -> u32 {
        self.openings
    }
}

/// The other node, in either one's table.
pub(super) const PEER: Slot = match Slot::new(0) {
    Some(slot) => slot,
    None => panic!("there is a first slot"),
};

/// Deadlines from here on never come.
const FAR: u64 = 1_800_000_000_000;
