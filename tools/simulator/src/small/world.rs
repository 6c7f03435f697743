//! A small world, what can happen in it next, and what each of that does.

use std::collections::BTreeMap;

use twindisk_core::{
    ClientOp, ClientRequest, Command, CommandId, ConnectionId, ConnectionState, Event, Mutant,
    Protocol, RequestId, Role, Time,
};
use twindisk_format::{
    ids::{BlockRange, Slot},
    superblock::ReceiptKind,
};

use super::{
    machine::{Machine, Settings, Stamp},
    rules::Book,
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
        };
        world.step(Step::Start(0)).expect("a fresh node starts");
        world.command(0, Command::Promote { force: None });
        world.come_to_rest();
        world.step(Step::Start(1)).expect("a fresh node starts");
        world.come_to_rest();
        let status = world.status(0).expect("it runs");
        let equal = status.peers[0].connection == ConnectionState::Established;
        assert!(
            status.export_open && equal,
            "the pair is not in sync: {status:?}"
        );
        world.script.clone_from(&bounds.script);
        world.faults = bounds.faults;
        world.orders = bounds.orders;
        world.links = world.wire.links + bounds.links;
        world.ticks = bounds.ticks;
        world
    }

    /// One of the nodes, to be printed.
    pub(super) fn node(&self, number: usize) -> &dyn core::fmt::Debug {
        &self.nodes[number]
    }

    /// All but the nodes, to be printed.
    pub(super) fn surroundings(&self) -> impl core::fmt::Debug {
        let counters = (self.asked, self.faults, self.orders, self.ticks);
        (
            self.now,
            &self.wire,
            &self.book,
            &self.requests,
            self.vouched,
            counters,
        )
    }

    /// What decides, beside a node itself, whether it would keep everything; to be printed.
    pub(super) fn promises(&self, number: usize) -> impl core::fmt::Debug {
        let link = self.wire.link.as_ref();
        (&self.book, link.map(|link| link.ends[number].state))
    }

    /// What can happen next. Empty: everything has come to rest, and no faults are left.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.works();
        let client = self.asked < self.script.len()
            && self.requests.len() < self.depth
            && self.opened().is_some();
        if client {
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

    /// What goes on by itself: disks and the network.
    fn works(&self) -> Vec<Step> {
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

    /// Does one thing.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Disk(number, index) => {
                let event = self.nodes[number].end(index);
                self.tell(number, event)?;
            }
            Step::Connect => self.wire.connect(),
            Step::Hear(side) => {
                if let Some(link) = &mut self.wire.link {
                    link.ends[side].state = EndState::Up;
                    let (peer, link) = (PEER, link.id);
                    self.tell(side, Event::LinkUp { peer, link })?;
                }
            }
            Step::Arrive(side) => self.arrive(side)?,
            Step::Part(side) => {
                if let Some(link) = &self.wire.link {
                    let event = Event::LinkDown {
                        peer: PEER,
                        link: link.id,
                        why: "cut".into(),
                    };
                    self.wire.gone(side);
                    self.tell(side, event)?;
                }
            }
            Step::Ask => self.ask()?,
            Step::Start(number) => {
                self.vouched[1 - number] = false;
                self.nodes[number].start(self.now, self.settings)?;
                self.poll(number)?;
            }
            Step::Vouch(number) => {
                self.vouched[number] = true;
                self.vouch(number)?;
            }
            Step::Order(number) => {
                self.orders -= 1;
                let primary = |status: twindisk_core::Status| status.role == Role::Primary;
                let order = if self.status(number).is_some_and(primary) {
                    Command::Switchover { to: None }
                } else {
                    Command::Promote { force: None }
                };
                self.try_command(number, order)?;
            }
            Step::Tick(number) => {
                self.ticks = self.ticks.saturating_sub(1);
                if let Some(at) = self.nodes[number].deadline() {
                    self.now = self.now.max(at);
                    self.tell(number, Event::Tick)?;
                }
            }
            Step::Kill(number) => {
                self.faults -= 1;
                self.die(number, false);
            }
            Step::PowerOff(number) => {
                self.faults -= 1;
                self.die(number, true);
            }
            Step::Cut => {
                self.faults -= 1;
                self.wire.cut();
            }
        }
        Ok(())
    }

    /// Lets disks and network work until nothing goes on by itself, in one order.
    pub(super) fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            let Some(step) = self.works().first().copied() else {
                return;
            };
            if self.step(step).is_err() {
                return;
            }
        }
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
            self.book.power_lost(number);
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
    }

    fn command(&mut self, number: usize, command: Command) {
        self.try_command(number, command)
            .expect("a rule broken by a command");
    }

    fn try_command(&mut self, number: usize, command: Command) -> Result<(), String> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.tell(number, Event::Command { id, command })
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
const PEER: Slot = match Slot::new(0) {
    Some(slot) => slot,
    None => panic!("there is a first slot"),
};

/// Deadlines from here on never come.
const FAR: u64 = 1_800_000_000_000;
