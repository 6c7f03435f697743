//! What the cores ask of their disks, begun and ended.

use twindisk_core::{
    BufId, DiskDone, DiskError, DiskIo, DiskState, Event, Fill, OpId, Protocol, Role, Status,
};
use twindisk_format::{
    ids::BlockRange,
    meta_block::MetaBlock,
    superblock::{StoredDisk, Superblock},
};

use crate::{
    bufs::User,
    checker::{Violation, promises, sector::Held},
    content::{SECTOR_BYTES, SECTORS, hash},
    node::{Node, Op, name},
    swarm::SEC,
    trace::tell,
    world::{Dice, Ev, World},
};

const EIO: i32 = 5;

/// How long a slow disk works on one operation, at most.
const SLOWEST: u64 = 30 * SEC;

/// No space left on the device, and over the quota.
const NO_SPACE: [i32; 2] = [28, 122];

impl World {
    /// Begins a disk operation.
    pub(crate) fn begin_disk(&mut self, number: usize, op: OpId, io: DiskIo) {
        let result = self.try_begin(number, op, io);
        if self.contract(number, result).is_none() {
            return;
        }
        let times = &self.swarm.disk;
        let typical = match io {
            DiskIo::Copy { .. } => 1000,
            DiskIo::Flush => times.flush,
            DiskIo::Write { fua: true, .. } | DiskIo::Zero { fua: true, .. } => {
                times.io + times.flush
            }
            DiskIo::Write { .. }
            | DiskIo::Zero { .. }
            | DiskIo::Read { .. }
            | DiskIo::FillEdges { .. }
            | DiskIo::FillFrom { .. }
            | DiskIo::Hash { .. } => times.io,
        };
        let mut delay = self.disk_latency(typical);
        let node = &self.nodes[number];
        if self.now < node.trouble.slow_until {
            // Or it would be under way long after the faults have ended.
            delay = (delay * node.trouble.slowness).min(SLOWEST);
        }
        let mut at = self.now + delay;
        if self.now < node.trouble.stuck_until {
            at = at.max(node.trouble.stuck_until);
        }
        let run = node.run;
        self.at(
            at,
            Ev::DiskDone {
                node: number,
                run,
                op,
            },
        );
    }

    fn try_begin(&mut self, number: usize, op: OpId, io: DiskIo) -> Result<(), String> {
        // A fault that takes the last good copy away proves nothing.
        let may_fail = self.has_other_copy(number);
        let full = self.finds_no_space(number, io);
        let node = &mut self.nodes[number];
        if node.ops.contains_key(&op) || node.meta_ops.contains_key(&op) {
            return Err(format!("{op:?} is used twice"));
        }
        if let Some(range) = touched(io)
            && range.end() > node.disk.blocks()
        {
            return Err(format!("{io:?} goes behind the end of the device"));
        }
        let user = User::Op(op);
        let bufs = &mut node.bufs;
        let mut used = [None, None];
        match io {
            DiskIo::Read { range, buf, at } => {
                bufs.begin(buf, user, (at, range.blocks), true)?;
                used[0] = Some(buf);
            }
            DiskIo::Write { range, buf, at, .. } => {
                bufs.begin(buf, user, (at, range.blocks), false)?;
                used[0] = Some(buf);
                let values = bufs.blocks(buf, at, range.blocks)?.concat();
                node.disk.begin(op, range, values)?;
            }
            DiskIo::Zero { range, .. } => {
                let values = vec![0; (u64::from(range.blocks) * SECTORS) as usize];
                node.disk.begin(op, range, values)?;
            }
            DiskIo::FillEdges { range, buf, .. } => {
                bufs.begin(buf, user, (0, range.blocks), true)?;
                used[0] = Some(buf);
            }
            DiskIo::FillFrom {
                range, buf, edges, ..
            } => {
                bufs.begin(buf, user, (0, range.blocks), true)?;
                bufs.begin(edges, user, (0, range.blocks), false)?;
                used = [Some(buf), Some(edges)];
            }
            DiskIo::Copy { blocks, from, to } => {
                bufs.begin(to, user, (0, blocks), true)?;
                bufs.begin(from, user, (0, blocks), false)?;
                used = [Some(from), Some(to)];
            }
            DiskIo::Flush | DiskIo::Hash { .. } => {}
        }
        let trouble = &mut node.trouble;
        let fails = match io {
            DiskIo::Read { .. } | DiskIo::FillEdges { .. } | DiskIo::Hash { .. } => {
                take(&mut trouble.fail_reads)
            }
            _ if !may_fail => false,
            DiskIo::Write { .. } | DiskIo::Zero { .. } => take(&mut trouble.fail_writes),
            DiskIo::Flush => take(&mut trouble.fail_flushes),
            DiskIo::FillFrom { .. } | DiskIo::Copy { .. } => false,
        };
        let issued = node.disk.now();
        node.ops.insert(
            op,
            Op {
                io,
                issued,
                fails,
                full,
                bufs: used,
            },
        );
        Ok(())
    }

    /// Whether there is no room for what is asked of a disk.
    fn finds_no_space(&mut self, number: usize, io: DiskIo) -> bool {
        let trouble = self.nodes[number].trouble;
        self.now < trouble.full_until
            && matches!(io, DiskIo::Write { .. } | DiskIo::Zero { .. })
            && self.dice.late.chance(trouble.full)
    }

    /// Ends a disk operation and tells the core.
    pub(crate) fn finish_disk(&mut self, number: usize, op: OpId) {
        let node = &mut self.nodes[number];
        let until = node.trouble.stuck_until;
        if self.now < until {
            let run = node.run;
            self.at(
                until,
                Ev::DiskDone {
                    node: number,
                    run,
                    op,
                },
            );
            return;
        }
        let Some(under_way) = node.ops.remove(&op) else {
            return;
        };
        for buf in under_way.bufs.into_iter().flatten() {
            node.bufs.end(buf, User::Op(op));
        }
        let mutates = matches!(
            under_way.io,
            DiskIo::Write { .. } | DiskIo::Zero { .. } | DiskIo::Flush
        );
        let outcome = perform(node, op, &under_way, &mut self.dice);
        if let Some(result) = self.contract(number, outcome) {
            let node = &mut self.nodes[number];
            if result.is_ok()
                && let Some(log) = &mut node.log
            {
                let noted = log.note(self.now, under_way.io, under_way.issued, &node.disk);
                self.check(noted);
            }
            if result.is_err() {
                tell!(self, "{}: {:?} fails", name(number), under_way.io);
                if mutates && (under_way.fails || !under_way.full) {
                    self.nodes[number].failed = true;
                    self.book.lose(self.now, number, |_| Held::Nothing);
                }
            }
            if self.swarm.protocol == Protocol::A
                && !self.rots
                && result.is_ok()
                && let DiskIo::Write { range, .. } = under_way.io
            {
                self.check_order(number, range);
            }
            self.deliver(number, Event::DiskDone { op, result });
            if let DiskIo::Write { range, .. } | DiskIo::Zero { range, .. } = under_way.io {
                self.check_alone_in(number, range.start * SECTORS..range.end() * SECTORS);
            }
        }
    }

    /// S4 for a standby whose answers nobody waits for, when it has written.
    fn check_order(&mut self, number: usize, range: BlockRange) {
        let whole = |status: &Status| {
            status.role == Role::Standby
                && !matches!(status.disk, DiskState::Inconsistent | DiskState::Failed)
        };
        if !self.status_of(number).as_ref().is_some_and(whole) {
            return;
        }
        let first = range.start * SECTORS;
        let result = self
            .book
            .check_order(first, number, &self.nodes[number].disk);
        self.check(result);
    }

    /// Begins a metadata write.
    pub(crate) fn begin_meta(&mut self, number: usize, op: OpId, block: u64, data: Box<MetaBlock>) {
        let may_fail = self.has_other_copy(number);
        let after = u8::try_from(block).ok().filter(|copy| *copy < 2);
        let after = after.and_then(|copy| Superblock::decode(copy, &data).ok());
        if let (Some(before), Some((after, _))) = (self.nodes[number].meta.superblock(), after) {
            // It has decided now; who meets it while it stores that is told.
            self.check_leavers(number, &before, &after);
        }
        let node = &mut self.nodes[number];
        let mut result = node.meta.begin(op, block, data);
        if node.ops.contains_key(&op) || node.meta_ops.contains_key(&op) {
            result = Err(format!("{op:?} is used twice"));
        }
        let dead = node.trouble.dead_meta.filter(|dead| dead.until > self.now);
        let refused = dead.is_some_and(|dead| !dead.hangs);
        let fails = refused || may_fail && take(&mut node.trouble.fail_meta);
        node.meta_ops.insert(op, fails);
        let run = node.run;
        let hangs = dead.filter(|dead| dead.hangs).map_or(0, |dead| dead.until);
        let stuck = node.trouble.stuck_until.max(hangs);
        self.contract(number, result);
        let delay = self.disk_latency(self.swarm.disk.flush);
        self.at(
            (self.now + delay).max(stuck),
            Ev::MetaDone {
                node: number,
                run,
                op,
            },
        );
    }

    /// Ends a metadata write and tells the core.
    pub(crate) fn finish_meta(&mut self, number: usize, op: OpId) {
        let node = &mut self.nodes[number];
        let Some(fails) = node.meta_ops.remove(&op) else {
            return;
        };
        let result = if fails {
            if node.trouble.dead_meta.is_some() {
                node.meta.refuse(op);
            } else {
                node.meta.fail(op, &mut self.dice.disk);
            }
            Err(error("metadata write"))
        } else {
            let superblock = node.meta.is_superblock(op);
            let before = node.meta.superblock().filter(|_| superblock);
            node.meta.complete(op);
            if let (Some(before), Some(after)) = (before, node.meta.superblock()) {
                let kept = promises::check_history(number, node.saved, &before, &after);
                let change = (&before, &after);
                let crashed = core::mem::take(&mut node.crashed);
                let stable = promises::check_rest(number, crashed, change, &node.disk);
                self.check(kept);
                self.check(stable);
            }
            Ok(())
        };
        if fails {
            self.nodes[number].failed = true;
            tell!(self, "{}: a metadata write fails", name(number));
        }
        self.deliver(number, Event::MetaDone { op, result });
    }

    /// R1: whoever a primary takes out of the in-sync set has been down since the two met last, or has recorded that its
    /// copy does not count. In the simulator this is known.
    fn check_leavers(&mut self, number: usize, before: &Superblock, after: &Superblock) {
        let granted = self.operator.arbiter == Some(number);
        if self.swarm.lossy || !after.primary || granted {
            return;
        }
        let leavers = before.peers.iter().zip(&after.peers);
        let leavers =
            leavers.filter(|(old, new)| old.standing.is_counted() && !new.standing.is_counted());
        let newest = |superblock: &Superblock| superblock.lineage.newest().map(|newest| newest.id);
        if leavers.clone().next().is_some() && newest(before) == newest(after) {
            let story = format!(
                "{} goes on with fewer replicas in the same generation: who left will not be told from it",
                name(number)
            );
            self.violate(Violation::new("R5", story));
        }
        for leaver in leavers
            .map(|(old, _)| usize::from(old.node.0))
            .collect::<Vec<_>>()
        {
            let node = &self.nodes[leaver];
            let met = self.heard.when_connected(number, leaver);
            let down = node.replica.is_none() || node.last_loss >= met;
            let gave_up = |superblock: Superblock| superblock.disk != StoredDisk::UpToDate;
            // It has withdrawn, which can't be recorded and holds for as long as its process lives; or it has met this node since
            // and found itself behind, which it has yet to store: once restarted it compares before it counts.
            let knows = self.status_of(leaver).is_some_and(|status| {
                matches!(
                    status.disk,
                    DiskState::Failed | DiskState::Outdated | DiskState::Inconsistent
                )
            });
            // R8: or the arbiter will not let it go on.
            let out = self.has_witness() && self.is_named(number) && !self.is_named(leaver);
            if !down && !knows && !out && !node.meta.superblock().is_none_or(gave_up) {
                let story = format!(
                    "{} goes on without {}, which runs, is recorded as UpToDate, and was not down since {met} ns, when \
                     the two met",
                    name(number),
                    name(leaver),
                );
                self.violate(Violation::new("R1", story));
            }
        }
    }

    /// Asserts that a disk's contents are what clients may see, before they see it.
    pub(crate) fn check_served(&mut self, number: usize) {
        let Some(status) = self.nodes[number].status(self.now) else {
            return;
        };
        if !status.in_sync.contains(&(number as u8)) {
            return; // It serves through a peer.
        }
        let result: Result<(), Violation> =
            self.book.check_served(number, &self.nodes[number].disk);
        self.check(result);
    }
}

/// The outcome of an operation; the outer error is a broken contract.
type Outcome = Result<Result<DiskDone, DiskError>, String>;

fn perform(node: &mut Node, op: OpId, under_way: &Op, dice: &mut Dice) -> Outcome {
    let rng = &mut dice.disk;
    if under_way.fails {
        if under_way.io == DiskIo::Flush {
            node.disk.fail_flush(rng, &mut dice.late);
        } else {
            node.disk.fail(op, rng);
        }
        return Ok(Err(error("read, write or flush")));
    }
    if under_way.full {
        // Some of it may have found room.
        node.disk.fail(op, rng);
        return Ok(Err(DiskError {
            errno: dice.late.pick(&NO_SPACE),
            what: "write: no space left".to_owned(),
        }));
    }
    match under_way.io {
        DiskIo::Read { range, buf, at } => {
            for (block, index) in (range.start..range.end()).zip(at..) {
                match node.disk.read(block, rng) {
                    Some(data) => *node.bufs.block_mut(buf, index)? = data,
                    None => return Ok(Err(error("read"))),
                }
            }
        }
        DiskIo::Write { fua, .. } | DiskIo::Zero { fua, .. } => node.disk.complete(op, fua),
        DiskIo::Flush => node.disk.flush(under_way.issued),
        DiskIo::FillEdges { range, buf, fill } => {
            let (Some(first), Some(last)) = (
                node.disk.read(range.start, rng),
                node.disk.read(range.end() - 1, rng),
            ) else {
                return Ok(Err(error("read")));
            };
            merge(node, range, buf, fill, &[first, last])?;
        }
        DiskIo::FillFrom {
            range,
            buf,
            fill,
            edges,
        } => {
            let first = node.bufs.block(edges, 0)?;
            let last = node.bufs.block(edges, range.blocks - 1)?;
            merge(node, range, buf, fill, &[first, last])?;
        }
        DiskIo::Copy { blocks, from, to } => {
            for index in 0..blocks {
                *node.bufs.block_mut(to, index)? = node.bufs.block(from, index)?;
            }
        }
        DiskIo::Hash { range } => {
            let mut hashes = Vec::new();
            for block in range.start..range.end() {
                match node.disk.read(block, rng) {
                    Some(data) => hashes.push(hash(&data)),
                    None => return Ok(Err(error("read"))),
                }
            }
            return Ok(Ok(DiskDone::Hashes(hashes)));
        }
    }
    Ok(Ok(DiskDone::Done))
}

/// Puts what the client did not write around what it did.
fn merge(
    node: &mut Node,
    range: BlockRange,
    buf: BufId,
    fill: Fill,
    edges: &[[u64; SECTORS as usize]; 2],
) -> Result<(), String> {
    let (from, to) = (fill.from / SECTOR_BYTES, fill.to / SECTOR_BYTES);
    let last = range.blocks - 1;
    let sectors = SECTORS as u32;
    for sector in (0..range.blocks * sectors).filter(|sector| *sector < from || *sector >= to) {
        let (block, at) = (sector / sectors, (sector % sectors) as usize);
        let edge = match block {
            0 => edges[0],
            block if block == last => edges[1],
            _ => return Err(format!("{fill:?} leaves out a middle block of {range}")),
        };
        node.bufs.block_mut(buf, block)?[at] = edge[at];
    }
    Ok(())
}

const fn touched(io: DiskIo) -> Option<BlockRange> {
    match io {
        DiskIo::Read { range, .. }
        | DiskIo::Write { range, .. }
        | DiskIo::Zero { range, .. }
        | DiskIo::FillEdges { range, .. }
        | DiskIo::Hash { range } => Some(range),
        DiskIo::FillFrom { .. } | DiskIo::Copy { .. } | DiskIo::Flush => None,
    }
}

fn take(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

fn error(what: &str) -> DiskError {
    DiskError {
        errno: EIO,
        what: format!("{what}: I/O error"),
    }
}
