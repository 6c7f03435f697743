//! A small world, what can happen in it next, and what each of that does.

use std::collections::{BTreeMap, VecDeque};

use twindisk_core::{
    Action, ClientOp, ClientRequest, Command, CommandId, ConnectionId, ConnectionState, Event,
    ExportState, LinkIntent, Mutant, Protocol, RequestId, Role, Time,
};
use twindisk_format::{
    frame::{Envelope, Frame},
    ids::{BlockRange, Slot},
    superblock::ReceiptKind,
};

use super::{
    machine::{Machine, Op, Page, Settings, Stamp, name},
    rules::Book,
    wire::{EndState, Parcel, Wire},
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

/// One thing that can happen. Nodes are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The operation that is so many down the list of a node's disk ends.
    Disk(usize, usize),
    /// The nodes connect.
    Connect,
    /// A node hears that the connection stands.
    Hear(usize),
    /// A frame arrives at a node.
    Arrive(usize),
    /// A node hears that the connection is gone.
    Part(usize),
    /// The client asks for the next thing.
    Ask,
    /// A node's process starts, after it has got power if it had none.
    Start(usize),
    /// The operator has seen that the other node has no power, says so, and promotes this one.
    Vouch(usize),
    /// The operator tells a primary to hand over, or a standby to become primary.
    Order(usize),
    /// A deadline of a node comes.
    Tick(usize),
    /// A node's process dies.
    Kill(usize),
    /// A node loses its power.
    PowerOff(usize),
    /// The connection breaks.
    Cut,
}

impl Step {
    /// Whether it is more than a fault, or time that passes.
    pub(super) const fn goes_on(self) -> bool {
        !matches!(
            self,
            Self::Tick(_) | Self::Kill(_) | Self::PowerOff(_) | Self::Cut
        )
    }

    /// Whether it may change a node, and not only what is between and around them.
    pub(super) const fn changes(self, number: usize) -> bool {
        match self {
            Self::Connect | Self::Cut => false,
            Self::Ask => true,
            Self::Disk(node, _)
            | Self::Hear(node)
            | Self::Arrive(node)
            | Self::Part(node)
            | Self::Start(node)
            | Self::Vouch(node)
            | Self::Order(node)
            | Self::Tick(node)
            | Self::Kill(node)
            | Self::PowerOff(node) => node == number,
        }
    }
}

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
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
    node: usize,
    what: What,
    /// Its connection is gone: an answer reaches nobody.
    closed: bool,
}

#[derive(Clone, Debug)]
enum What {
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

    /// A core hears something, and what it asks for is done.
    fn tell(&mut self, number: usize, event: Event) -> Result<(), String> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now;
            let Some(replica) = &mut self.nodes[number].replica else {
                return Ok(());
            };
            replica.handle(now, event);
            self.act_on_all(number, &mut events)?;
        }
        Ok(())
    }

    fn poll(&mut self, number: usize) -> Result<(), String> {
        self.tell(number, Event::Tick)
    }

    fn act_on_all(&mut self, number: usize, events: &mut VecDeque<Event>) -> Result<(), String> {
        while let Some(replica) = &mut self.nodes[number].replica {
            let Some(action) = replica.poll_action() else {
                break;
            };
            self.act(number, action, events)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        number: usize,
        action: Action,
        events: &mut VecDeque<Event>,
    ) -> Result<(), String> {
        let node = &mut self.nodes[number];
        match action {
            Action::Disk { op, io } => node.begin(op, io),
            Action::MetaWrite { op, block, data } => {
                node.ops.push(Op::Meta(op, block, Page::new(data)));
            }
            Action::Send {
                link,
                envelope,
                payload,
                ..
            } => {
                if let (Frame::ReadReply { .. }, Some((buf, _))) = (&envelope.frame, payload) {
                    events.push_back(Event::Sent { buf });
                }
                self.send(number, link, envelope, payload);
            }
            Action::Complete { request, result } => {
                let Some(pending) = self.requests.remove(&request.0) else {
                    return Err(format!("{} answers a request twice", name(number)));
                };
                if result.is_ok() && !pending.closed {
                    let term = self.status(number).map_or(0, |status| status.term);
                    self.book.acted(number, term)?;
                    match pending.what {
                        What::Write(stamp, fua) => self.book.acknowledge(stamp, fua),
                        What::Flush(stamps) => self.book.flushed(&stamps),
                    }
                }
            }
            Action::Forget { request } => _ = self.requests.remove(&request.0),
            Action::Release { buf } => node.release(buf),
            Action::Link { intent, .. } => self.link_intent(number, &intent),
            Action::Export(ExportState::Open { .. }) => {
                let last = self.nodes[1 - number].openings;
                let node = &mut self.nodes[number];
                node.openings = node.openings.max(last) + 1;
                node.export_open = true;
            }
            Action::Export(ExportState::Closed { .. }) => {
                if node.export_open {
                    node.export_open = false;
                    let connection = ConnectionId(node.openings);
                    events.push_back(Event::ConnectionClosed { connection });
                }
                for pending in self.requests.values_mut() {
                    pending.closed |= pending.node == number;
                }
            }
            Action::ProbeCapacity { op } => events.push_back(Event::Capacity {
                op,
                blocks: self.settings.blocks,
            }),
            Action::SaveBlocks { op, .. } => events.push_back(Event::Saved {
                op,
                result: Ok("saved".into()),
            }),
            Action::Report(twindisk_core::Report::SplitBrain { .. }) => {
                return Err(format!(
                    "R11: {} sees a split brain, though nobody has forced anything",
                    name(number)
                ));
            }
            Action::Bound(_) | Action::Reply { .. } | Action::Report(_) => {}
            Action::Halt { .. } => self.die(number, false),
        }
        Ok(())
    }

    fn send(
        &mut self,
        number: usize,
        id: twindisk_core::LinkId,
        envelope: Envelope,
        payload: Option<(twindisk_core::BufId, u32)>,
    ) {
        let count = match &envelope.frame {
            Frame::Write { range, .. } | Frame::ReadReply { range, .. } => range.blocks,
            _ => 0,
        };
        let blocks = payload.map(|(buf, at)| self.nodes[number].blocks(buf, at, count));
        let Some(link) = self.wire.link.as_mut().filter(|link| link.id == id) else {
            return;
        };
        let end = &mut link.ends[number];
        if !link.broken && !end.closing && end.state == EndState::Up {
            end.sent.push_back(Parcel { envelope, blocks });
        }
    }

    fn link_intent(&mut self, number: usize, intent: &LinkIntent) {
        self.nodes[number].wants = !matches!(intent, LinkIntent::Disconnect { .. });
        match intent {
            LinkIntent::Connect => {}
            LinkIntent::Reconnect { .. } => self.wire.cut(),
            LinkIntent::Disconnect { .. } => {
                if let Some(link) = &mut self.wire.link {
                    link.ends[number].closing = true;
                }
                self.wire.close_drained();
            }
        }
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
