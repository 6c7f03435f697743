//! The question that finds what has not happened yet, asked of every node whenever something that matters has changed:
//! *if all others were truthfully fenced now, and stayed off, would this node serve clients, and does it hold everything
//! that was acknowledged?* No fault has to happen that would show a loss.
//!
//! Whether it would serve is never worked out here: a copy of the node's core is told that its links are down, is given
//! the receipts and the order to be promoted, and its disks do all that it asks for. The question is put to the node as
//! it runs, and to its process started anew from what its metadata holds at this moment.
//!
//! Where a witness grants the next term (R8) it is: *if all links were lost now, and this node claimed the term?* Who is not
//! named by the record is granted none, and must not serve by itself either.

use std::collections::VecDeque;

use twindisk_core::{
    Action, Arbiter, Command, CommandId, DiskDone, DiskIo, Event, ExportState, Refusal,
    RefusalCode, Replica, Role, Standing, Start, Time,
};
use twindisk_format::{
    ids::{BootId, Slot},
    superblock::{ReceiptKind, StoredDisk},
};

use super::{Violation, sector::Held};
use crate::{
    content::{SECTORS, describe},
    node::{Node, config, name},
    story,
    swarm::{SEC, Swarm},
    trace::tell,
    world::World,
};

/// How long a copy may take to be promoted once the receipts are there, by its own clock.
const PATIENCE: u64 = 60 * SEC;

/// More events than this, and a copy goes round in circles.
const MAX_EVENTS: u32 = 20_000;

/// What is known of the nodes.
#[derive(Debug, Default)]
pub(crate) struct Alone {
    nodes: Vec<Known>,
    /// How often a copy was asked.
    pub(crate) asked: u64,
}

/// What one node would do.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Of the run that was asked, how it stood then, and what right it would have been given.
    standing: Option<(u64, Standing, Option<ReceiptKind>)>,
    /// As it runs, it would serve.
    serves: bool,
    /// The state of the metadata that was asked about.
    metadata: Option<(u64, Option<ReceiptKind>)>,
    /// Started anew from that, it would serve.
    restarted_serves: bool,
}

impl Alone {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            nodes: vec![Known::default(); nodes],
            asked: 0,
        }
    }
}

impl World {
    /// The right that a node would have about all others.
    fn right_of(&self, number: usize) -> Option<ReceiptKind> {
        match self.swarm.arbiter {
            Arbiter::Fence | Arbiter::External => Some(ReceiptKind::Fence),
            Arbiter::Witness => self.is_named(number).then_some(ReceiptKind::Arbiter),
        }
    }

    /// Whether the question makes sense: where somebody forces things, or an arbiter decides, fencing is not the point.
    fn asks_alone(&self) -> bool {
        self.swarm.alone
            && !self.swarm.lossy
            && !self.book.lossy
            && self.operator.arbiter.is_none()
            && self.violation.is_none()
    }

    /// Asks a node that may stand differently than before.
    pub(crate) fn ask_alone(&mut self, number: usize) {
        if !self.asks_alone() {
            return;
        }
        self.ask_running(number);
        self.ask_restarted(number);
    }

    fn ask_running(&mut self, number: usize) {
        let right = self.right_of(number);
        let node = &self.nodes[number];
        let known = &mut self.alone.nodes[number];
        let Some(replica) = &node.replica else {
            (known.standing, known.serves) = (None, false);
            return;
        };
        let standing = Some((node.run, replica.standing(), right));
        if known.standing == standing {
            return;
        }
        known.standing = standing;
        let served = known.serves;
        let what_if = WhatIf::running(node, self.now, right);
        known.serves = what_if.is_some_and(|mut what_if| what_if.serves());
        self.alone.asked += 1;
        if self.alone.nodes[number].serves && !served {
            self.check_alone(number);
        }
    }

    fn ask_restarted(&mut self, number: usize) {
        let right = self.right_of(number);
        let node = &self.nodes[number];
        let known = &mut self.alone.nodes[number];
        let metadata = Some((node.meta.changes(), right));
        if known.metadata == metadata {
            return;
        }
        known.metadata = metadata;
        let served = known.restarted_serves;
        known.restarted_serves = WhatIf::restarted(node, &self.swarm, self.now, right)
            .is_some_and(|mut what_if| what_if.serves());
        self.alone.asked += 1;
        if self.alone.nodes[number].restarted_serves && !served {
            let sectors: Vec<u64> = self.book.sectors().map(|(sector, _)| sector).collect();
            self.check_restarted(number, sectors);
        }
    }

    /// All nodes hold all that they must.
    pub(crate) fn check_all_alone(&mut self) {
        for number in 0..self.nodes.len() {
            self.check_alone(number);
        }
    }

    /// Everything of a node that would serve.
    fn check_alone(&mut self, number: usize) {
        let sectors: Vec<u64> = self.book.sectors().map(|(sector, _)| sector).collect();
        self.check_alone_in(number, sectors);
    }

    /// What has been acknowledged just now is on all nodes that would serve.
    pub(crate) fn acknowledged_alone(&mut self, sectors: core::ops::Range<u64>) {
        for number in 0..self.nodes.len() {
            self.check_alone_in(number, sectors.clone());
            self.check_restarted(number, sectors.clone());
        }
    }

    /// Some sectors of a node that would serve.
    pub(crate) fn check_alone_in(&mut self, number: usize, sectors: impl IntoIterator<Item = u64>) {
        if !self.asks_alone() || !self.alone.nodes[number].serves {
            return;
        }
        let right = self.right_of(number);
        let node = &self.nodes[number];
        let mut still_to_come: Option<Vec<(u64, u64)>> = None;
        for sector in sectors {
            let held = node.disk.peek(sector);
            let Err(why) = self.book.has_acknowledged(sector, held) else {
                continue;
            };
            // What it has received, and not yet written, it will have written by then.
            let to_come = still_to_come.get_or_insert_with(|| {
                let what_if = WhatIf::running(node, self.now, right);
                what_if.map_or_else(Vec::new, |what_if| what_if.writes(node))
            });
            let later = to_come.iter().filter(|(other, _)| *other == sector);
            if later
                .clone()
                .any(|(_, value)| self.book.has_acknowledged(sector, *value).is_ok())
            {
                continue;
            }
            let story = format!(
                "if all others were fenced now, {} would serve, and sector {sector}: {why}",
                name(number)
            );
            let what_if = WhatIf::running(node, self.now, right);
            return self.violate_alone(what_if, story);
        }
    }

    /// The same for its process started anew, the host being alive: of what was only in the caches of the others, only
    /// what was flushed counts.
    fn check_restarted(&mut self, number: usize, sectors: impl IntoIterator<Item = u64>) {
        if !self.asks_alone() || !self.alone.nodes[number].restarted_serves {
            return;
        }
        let right = self.right_of(number);
        let node = &self.nodes[number];
        for sector in sectors {
            let held = node.disk.peek(sector);
            if self.book.has_acknowledged(sector, held).is_ok()
                || node.disk.is_busy(sector / SECTORS)
            {
                continue;
            }
            let others = (0..self.nodes.len()).filter(|other| *other != number);
            let losses = others.map(|other| (other, Held::Nothing));
            let losses = losses.chain([(number, Held::Still(held))]);
            let Err(why) = self.book.may_hold_after(self.now, sector, held, losses) else {
                continue;
            };
            let story = format!(
                "if all others were fenced now, and the process of {} started anew, it would serve {}, and sector \
                 {sector}: {why}",
                name(number),
                describe(held)
            );
            let what_if = WhatIf::restarted(node, &self.swarm, self.now, right);
            return self.violate_alone(what_if, story);
        }
    }

    /// Notes a violation, and tells what the node would do.
    fn violate_alone(&mut self, what_if: Option<WhatIf>, story: String) {
        if let Some(mut what_if) = what_if.filter(|_| self.trace.is_on()) {
            what_if.story = Some(Vec::new());
            what_if.serves();
            for line in what_if.story.into_iter().flatten() {
                tell!(self, "   what if {line}");
            }
        }
        self.violate(Violation::new("S1", story));
    }
}

/// A copy of a node's core, to which something happens that does not happen.
struct WhatIf {
    core: Replica,
    now: Time,
    due: VecDeque<Event>,
    /// Its device is open.
    open: bool,
    halted: bool,
    orders: u64,
    answer: Option<(CommandId, Result<(), Refusal>)>,
    capacity: u64,
    /// The right that it is given about everybody else.
    right: Option<ReceiptKind>,
    events: u32,
    /// What it asked its disk to write.
    written: Vec<DiskIo>,
    /// What it did, if that is to be told.
    story: Option<Vec<String>>,
}

impl WhatIf {
    /// A running node whose links are all lost; what its disks have under way goes well.
    fn running(node: &Node, now: u64, right: Option<ReceiptKind>) -> Option<Self> {
        let core = node.replica.clone()?;
        let mut what_if = Self::new(core, node.clock.local(now), node);
        what_if.right = right;
        what_if.open = node.export.is_some();
        let disk = node.ops.iter().map(|(op, under_way)| {
            let result = Ok(done(under_way.io));
            Event::DiskDone { op: *op, result }
        });
        what_if.due.extend(disk);
        what_if.written.extend(node.ops.values().map(|op| op.io));
        let metadata = node.meta_ops.keys();
        let metadata = metadata.map(|op| Event::MetaDone {
            op: *op,
            result: Ok(()),
        });
        what_if.due.extend(metadata);
        for slot in what_if.slots() {
            if let Some(link) = what_if.core.link_to(slot) {
                what_if.due.push_front(Event::LinkDown {
                    peer: slot,
                    link,
                    why: "fenced".to_owned(),
                });
            }
        }
        Some(what_if)
    }

    /// Its process, started anew from what is durable now.
    fn restarted(node: &Node, swarm: &Swarm, now: u64, right: Option<ReceiptKind>) -> Option<Self> {
        // What the start would refuse is refused; nothing else is looked at here.
        if node.meta.superblock()?.disk != StoredDisk::UpToDate {
            return None;
        }
        let loaded = node.meta.load().ok()?;
        let start = Start {
            config: config(node.number, swarm),
            boot: BootId(u64::MAX),
            host: node.host,
            seed: u64::MAX,
            capacity_blocks: node.disk.blocks().min(loaded.superblock.max_size_blocks),
        };
        let now = node.clock.local(now);
        let mutant = swarm.mutant.and_then(crate::Mutant::of_replicas);
        let core = Replica::with_mutant(now, start, loaded, mutant);
        let mut what_if = Self::new(core, now, node);
        what_if.right = right;
        Some(what_if)
    }

    fn new(core: Replica, now: Time, node: &Node) -> Self {
        Self {
            core,
            now,
            due: VecDeque::new(),
            open: false,
            halted: false,
            orders: 0,
            answer: None,
            capacity: node.disk.blocks(),
            right: None,
            events: 0,
            written: Vec::new(),
            story: None,
        }
    }

    fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.core.standing().peers()).filter_map(Slot::new)
    }

    /// Whether it comes to serve clients with its right about everybody else.
    fn serves(&mut self) -> bool {
        let limit = Time(self.now.0 + PATIENCE);
        self.settle();
        while !self.halted && self.now < limit && self.events < MAX_EVENTS {
            let right = self.right;
            for (slot, kind) in self.slots().filter_map(|slot| Some((slot, right?))) {
                self.order(Command::Receipt {
                    about: slot,
                    kind,
                    detail: "switched off, and read as off".to_owned(),
                    met: None,
                });
            }
            let status = self.core.status(self.now);
            let mut refused = None;
            if status.role == Role::Standby {
                refused = self.order(Command::Promote { force: None });
            } else if self.open && status.suspended.is_none() {
                return true;
            }
            let status = self.core.status(self.now);
            if status.role == Role::Primary && self.open && status.suspended.is_none() {
                return true;
            }
            if refused.is_some_and(|refusal| refusal.code != RefusalCode::Busy) {
                return false;
            }
            // Something is under way that ends by time alone.
            let Some(at) = self.core.next_deadline() else {
                return false;
            };
            self.now = self.now.max(at);
            self.due.push_back(Event::Tick);
            self.settle();
        }
        false
    }

    /// Everything that it comes to write by itself before it serves, sector by sector. What waits for space on the disk is
    /// tried again when its time has come.
    fn writes(mut self, node: &Node) -> Vec<(u64, u64)> {
        self.serves();
        let mut values = Vec::new();
        for io in self.written {
            match io {
                DiskIo::Write { range, buf, at, .. } => {
                    let blocks = node.bufs.blocks(buf, at, range.blocks).unwrap_or_default();
                    let sectors = range.start * SECTORS..;
                    values.extend(sectors.zip(blocks.into_iter().flatten()));
                }
                DiskIo::Zero { range, .. } => {
                    let sectors = range.start * SECTORS..range.end() * SECTORS;
                    values.extend(sectors.map(|sector| (sector, 0)));
                }
                DiskIo::Read { .. }
                | DiskIo::FillEdges { .. }
                | DiskIo::FillFrom { .. }
                | DiskIo::Copy { .. }
                | DiskIo::Flush
                | DiskIo::Hash { .. } => {}
            }
        }
        values
    }

    /// Gives an order; the refusal, if it is one.
    fn order(&mut self, command: Command) -> Option<Refusal> {
        self.orders += 1;
        let id = CommandId(u64::MAX - self.orders);
        self.answer = None;
        self.due.push_back(Event::Command { id, command });
        self.settle();
        let (_, answer) = self.answer.take().filter(|(answered, _)| *answered == id)?;
        answer.err()
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        loop {
            while let Some(action) = self.core.poll_action() {
                self.act(action);
            }
            self.events += 1;
            match self.due.pop_front() {
                Some(event) if !self.halted && self.events < MAX_EVENTS => {
                    if let Some(lines) = &mut self.story {
                        lines.push(format!("<- {}", story::event(&event)));
                    }
                    self.core.handle(self.now, event);
                }
                Some(_) | None => break,
            }
        }
    }

    fn act(&mut self, action: Action) {
        if let Some(lines) = &mut self.story {
            lines.push(format!("-> {}", story::action(&action)));
        }
        match action {
            Action::Disk { op, io } => {
                self.written.push(io);
                let result = Ok(done(io));
                self.due.push_back(Event::DiskDone { op, result });
            }
            Action::MetaWrite { op, .. } => {
                self.due.push_back(Event::MetaDone { op, result: Ok(()) });
            }
            Action::Export(state) => self.open = matches!(state, ExportState::Open { .. }),
            Action::Reply { id, result } => self.answer = Some((id, result.map(drop))),
            Action::ProbeCapacity { op } => {
                let blocks = self.capacity;
                self.due.push_back(Event::Capacity { op, blocks });
            }
            Action::SaveBlocks { op, .. } => {
                let result = Ok("saved-blocks".to_owned());
                self.due.push_back(Event::Saved { op, result });
            }
            Action::Halt { .. } => self.halted = true,
            Action::Send { .. }
            | Action::Complete { .. }
            | Action::Forget { .. }
            | Action::Release { .. }
            | Action::Link { .. }
            | Action::Bound(_)
            | Action::Report(_) => {}
        }
    }
}

/// What a disk that works says.
fn done(io: DiskIo) -> DiskDone {
    match io {
        DiskIo::Hash { range } => DiskDone::Hashes(vec![0; range.blocks as usize]),
        DiskIo::Read { .. }
        | DiskIo::Write { .. }
        | DiskIo::Zero { .. }
        | DiskIo::FillEdges { .. }
        | DiskIo::FillFrom { .. }
        | DiskIo::Copy { .. }
        | DiskIo::Flush => DiskDone::Done,
    }
}
