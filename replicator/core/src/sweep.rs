//! Resync and online verify: blocks are compared or sent in device order, in the same stream as live writes.
//!
//! A range that is being read or compared is locked against live writes. Resync takes what clients leave: see `pace`.

use core::time::Duration;

use twindisk_format::{
    frame::{BlockMask, Frame, How},
    ids::{BlockRange, Seq, Slot},
    superblock::StoredDisk,
};

use crate::{
    BufId, DiskDone, DiskError, DiskIo, LinkId, Mark, Report, Time,
    limits::{HASH_FIRST_BLOCKS, MAX_REPORTED_DIFFERENCES},
    locks::LockId,
    mutants::Mutant,
    mutation::Body,
    pace::{CLIENTS_LINGER, Pace},
    peer::{LeadStep, Phase, Unstable},
    replica::{LockOwner, Op, Replica},
};

/// One pass over the device, led from here.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// Tells the disk operations of this sweep from those of one that was stopped.
    serial: u32,
    pub(crate) purpose: Purpose,
    /// Everything before is done, under way, or was clean.
    cursor: u64,
    end: u64,
    steps: slab::Slab<Step>,
    pub(crate) pace: Pace,
    pub(crate) started: Time,
    pub(crate) total_blocks: u64,
    pub(crate) done_blocks: u64,
    pub(crate) sent_blocks: u64,
    pub(crate) equal_blocks: u64,
    pub(crate) different_blocks: u64,
    repaired_blocks: u64,
    reported: usize,
}

/// What a sweep is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Makes the peer equal, by its dirty bits.
    Resync { hash_first: bool },
    /// Compares everything.
    Verify { repair: bool },
}

#[derive(Clone, Debug)]
struct Step {
    range: BlockRange,
    lock: Option<LockId>,
    buf: Option<BufId>,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Locking,
    Hashing,
    Comparing,
    /// The blocks to send once they are read.
    Reading(BlockMask),
    /// Sent; these answers are missing.
    Sent(Vec<Seq>),
}

/// A peer's hashes that are compared with the blocks here.
#[derive(Clone, Debug)]
pub(crate) struct Compare {
    slot: Slot,
    link: LinkId,
    tag: u64,
    range: BlockRange,
    hashes: Vec<u128>,
    lock: LockId,
}

/// A step of a sweep, as a disk operation names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepId {
    pub(crate) slot: Slot,
    sweep: u32,
    step: usize,
}

impl Sweep {
    fn new(serial: u32, purpose: Purpose, blocks: core::ops::Range<u64>, started: Time) -> Self {
        Self {
            serial,
            purpose,
            cursor: blocks.start,
            end: blocks.end,
            steps: slab::Slab::new(),
            pace: Pace::default(),
            started,
            total_blocks: blocks.end - blocks.start,
            done_blocks: 0,
            sent_blocks: 0,
            equal_blocks: 0,
            different_blocks: 0,
            repaired_blocks: 0,
            reported: 0,
        }
    }

    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }
}

impl Replica {
    /// The follower is durably Inconsistent: blocks may go over.
    pub(crate) fn resync_begun(&mut self, slot: Slot) {
        let Phase::Leading {
            step: LeadStep::AwaitBegun,
            reason,
        } = self.peer(slot).phase
        else {
            let why = "it began a resync that was not asked for";
            return self.drop_link(slot, Mark::BegunUnasked, why);
        };
        let blocks = self.peer(slot).bitmap.dirty();
        let worth_it = reason.full || reason.coarse || blocks > HASH_FIRST_BLOCKS;
        let hash_first =
            worth_it && (self.may_compare(slot) || self.mutant(Mutant::CompareFailedDisk));
        let size = self.size_blocks();
        let purpose = Purpose::Resync { hash_first };
        let mut sweep = Sweep::new(self.next_sweep(), purpose, 0..size, self.now);
        sweep.total_blocks = blocks;
        let peer = self.peer_mut(slot);
        peer.sweep = Some(sweep);
        let node = peer.node.0;
        let phase = Phase::Leading {
            step: LeadStep::Sweeping,
            reason,
        };
        self.set_phase(slot, phase, reason.why);
        self.report(Report::ResyncStarted {
            peer: node,
            blocks,
            why: reason.why.to_owned(),
        });
    }

    /// Whether equal hashes mean equal disks. After a failed write or flush they do not, until every block was sent.
    fn may_compare(&self, slot: Slot) -> bool {
        let said = self.peer(slot).said.as_ref();
        said.is_some_and(|said| !said.suspect && said.disk != StoredDisk::Failed)
    }

    /// Begins to compare with an equal peer.
    pub(crate) fn begin_verify(&mut self, slot: Slot, blocks: core::ops::Range<u64>, repair: bool) {
        let purpose = Purpose::Verify { repair };
        let sweep = Sweep::new(self.next_sweep(), purpose, blocks, self.now);
        self.peer_mut(slot).sweep = Some(sweep);
    }

    const fn next_sweep(&mut self) -> u32 {
        self.sweeps = self.sweeps.wrapping_add(1);
        self.sweeps
    }

    /// Begins as many steps as the pace and the buffers allow.
    pub(crate) fn step_sweeps(&mut self) -> bool {
        let changes = !self.mutations.is_empty() || !self.flushes.is_empty();
        if !self.reads.is_empty() || changes && self.suspended.is_none() {
            self.clients_worked = self.now;
        }
        let mut any = false;
        for slot in self.slots() {
            any |= self.step_sweep(slot);
        }
        any
    }

    fn step_sweep(&mut self, slot: Slot) -> bool {
        let now = self.now;
        let clients_work = now.since(self.clients_worked) < CLIENTS_LINGER;
        let peer = &mut self.peers[slot.index()];
        let Some(sweep) = &mut peer.sweep else {
            return false;
        };
        let next = sweep.pace.next(now, clients_work);
        let Some(most) = next.filter(|_| !self.sweep_bufs.is_empty()) else {
            return false;
        };
        let range = match sweep.purpose {
            Purpose::Resync { .. } => {
                let Some(start) = peer.bitmap.next_dirty(sweep.cursor) else {
                    sweep.cursor = sweep.end;
                    return false;
                };
                peer.bitmap.run(start, most)
            }
            Purpose::Verify { .. } if sweep.cursor < sweep.end => {
                let blocks = (sweep.end - sweep.cursor).min(u64::from(most)) as u32;
                BlockRange::new(sweep.cursor, blocks)
            }
            Purpose::Verify { .. } => return false,
        };
        sweep.cursor = range.end();
        sweep.pace.begins(range.blocks);
        let buf = self.sweep_bufs.pop();
        let entry = Step {
            range,
            lock: None,
            buf,
            stage: Stage::Locking,
        };
        let step = sweep.steps.insert(entry);
        let lock = self.locks.acquire(range, LockOwner::Sweep { slot, step });
        if let Some(sweep) = &mut self.peers[slot.index()].sweep {
            sweep.steps[step].lock = Some(lock);
        }
        true
    }

    fn step(&mut self, slot: Slot, step: usize) -> Option<&mut Step> {
        self.peers[slot.index()].sweep.as_mut()?.steps.get_mut(step)
    }

    /// The range of a step is its own.
    pub(crate) fn sweep_locked(&mut self, slot: Slot, step: usize) {
        if !self.may_sweep() {
            return self.skip_step(slot, step);
        }
        let now = self.now;
        let Some(sweep) = &mut self.peer_mut(slot).sweep else {
            return;
        };
        sweep.pace.has_range(now);
        let hash = !matches!(sweep.purpose, Purpose::Resync { hash_first: false });
        let range = sweep.steps[step].range;
        let op = Op::SweepHash(StepId {
            slot,
            sweep: sweep.serial,
            step,
        });
        if hash {
            self.set_stage(slot, step, Stage::Hashing);
            self.disk(op, DiskIo::Hash { range });
        } else {
            let mut all = BlockMask::default();
            (0..range.blocks as usize).for_each(|index| all.set(index));
            self.read_step(slot, step, all);
        }
    }

    /// The local disk worked so long for a step.
    pub(crate) fn sweep_was_on_disk(&mut self, id: StepId, time: Duration) {
        let sweep = self.peer_mut(id.slot).sweep.as_mut();
        if let Some(sweep) = sweep.filter(|sweep| sweep.serial == id.sweep) {
            sweep.pace.was_on_disk(time);
        }
    }

    fn set_stage(&mut self, slot: Slot, step: usize, stage: Stage) {
        if let Some(step) = self.step(slot, step) {
            step.stage = stage;
        }
    }

    pub(crate) fn sweep_hashed(&mut self, id: StepId, result: Result<DiskDone, DiskError>) {
        if self.step_abandoned(id) {
            return;
        }
        let StepId { slot, step, .. } = id;
        if !self.may_sweep() {
            return self.skip_step(slot, step);
        }
        match result {
            Ok(DiskDone::Hashes(hashes)) => {
                self.set_stage(slot, step, Stage::Comparing);
                let Some(range) = self.step(slot, step).map(|step| step.range) else {
                    return;
                };
                self.send(
                    slot,
                    Frame::Hash {
                        tag: step as u64,
                        range,
                        hashes,
                    },
                );
            }
            Ok(DiskDone::Done) => unreachable!("a hash brings hashes"),
            Err(error) => self.sweep_failed(slot, step, &error),
        }
    }

    /// The peer has compared: `mask` says where it differs.
    pub(crate) fn sweep_compared(&mut self, slot: Slot, tag: u64, mask: BlockMask) {
        let step = tag as usize;
        let Some(state) = self.step(slot, step) else {
            return;
        };
        if state.stage != Stage::Comparing {
            let why = "it answered a comparison that was not asked for";
            return self.drop_link(slot, Mark::ComparedUnasked, why);
        }
        if !self.may_sweep() {
            return self.skip_step(slot, step);
        }
        let Some(range) = self.step(slot, step).map(|step| step.range) else {
            return;
        };
        if (range.blocks as usize..BlockMask::BLOCKS).any(|at| mask.contains(at)) {
            let why = format!("it compared blocks {range}, and more of them differ than there are");
            return self.drop_link(slot, Mark::ComparedUnasked, why);
        }
        let purpose = self.peer(slot).sweep.as_ref().map(|sweep| sweep.purpose);
        match purpose {
            Some(Purpose::Resync { .. }) => self.note_equal(slot, range, mask),
            Some(Purpose::Verify { .. }) => self.note_different(slot, range, mask),
            None => return,
        }
        if mask.count() > 0 && purpose != Some(Purpose::Verify { repair: false }) {
            self.read_step(slot, step, mask);
        } else {
            self.end_step(slot, step);
        }
    }

    /// Equal blocks need not be sent; their bits are cleared once they are known to be stable there.
    fn note_equal(&mut self, slot: Slot, range: BlockRange, different: BlockMask) {
        for run in runs(range, different, false) {
            let seq = self.next_seq();
            let peer = self.peer_mut(slot);
            peer.sent.push(Unstable {
                seq,
                range: run,
                resync: true,
            });
            if let Some(sweep) = &mut peer.sweep {
                sweep.equal_blocks += u64::from(run.blocks);
            }
        }
    }

    fn note_different(&mut self, slot: Slot, range: BlockRange, different: BlockMask) {
        let node = self.peer(slot).node.0;
        for run in runs(range, different, true) {
            let Some(sweep) = &mut self.peer_mut(slot).sweep else {
                return;
            };
            sweep.different_blocks += u64::from(run.blocks);
            sweep.reported += 1;
            if sweep.reported <= MAX_REPORTED_DIFFERENCES {
                let (block, blocks) = (run.start, run.blocks);
                self.report(Report::Difference {
                    peer: node,
                    block,
                    blocks,
                });
            }
        }
    }

    fn read_step(&mut self, slot: Slot, step: usize, mask: BlockMask) {
        self.set_stage(slot, step, Stage::Reading(mask));
        if self.mutant(Mutant::NoLockInResync) {
            self.unlock_step(slot, step);
        }
        let Some(sweep) = &self.peer(slot).sweep else {
            return;
        };
        let state = &sweep.steps[step];
        let (range, buf) = (state.range, state.buf.expect("a step holds a buffer"));
        let op = Op::SweepRead(StepId {
            slot,
            sweep: sweep.serial,
            step,
        });
        self.disk(op, DiskIo::Read { range, buf, at: 0 });
    }

    pub(crate) fn sweep_read(&mut self, id: StepId, result: Result<(), DiskError>) {
        if self.step_abandoned(id) {
            return;
        }
        let StepId { slot, step, .. } = id;
        if !self.may_sweep() {
            return self.skip_step(slot, step);
        }
        if let Err(error) = result {
            return self.sweep_failed(slot, step, &error);
        }
        let Some(state) = self.step(slot, step) else {
            return;
        };
        let Stage::Reading(mask) = state.stage else {
            return;
        };
        let (range, buf) = (state.range, state.buf.expect("a step holds a buffer"));
        let mut answers = Vec::new();
        for run in runs(range, mask, true) {
            let seq = self.next_seq();
            answers.push(seq);
            self.send_resync(slot, seq, run, buf, (run.start - range.start) as u32);
            if let Some(sweep) = &mut self.peer_mut(slot).sweep {
                sweep.sent_blocks += u64::from(run.blocks);
                if matches!(sweep.purpose, Purpose::Verify { .. }) {
                    sweep.repaired_blocks += u64::from(run.blocks);
                }
            }
        }
        self.set_stage(slot, step, Stage::Sent(answers));
        // What a client writes now follows behind in the stream.
        self.unlock_step(slot, step);
    }

    fn send_resync(&mut self, slot: Slot, seq: Seq, range: BlockRange, buf: BufId, at: u32) {
        let how = How {
            fua: false,
            resync: true,
        };
        if at == 0 {
            return self.send_mutation(slot, seq, range, how, Body::Write { buf, fill: None });
        }
        let now = self.now;
        let sent = &mut self.peer_mut(slot).sent;
        sent.push(Unstable {
            seq,
            range,
            resync: true,
        });
        sent.asked(now);
        let depends_on = self.peer(slot).sent.flush_seen;
        self.send_with(
            slot,
            Frame::Write {
                seq,
                depends_on,
                range,
                how,
            },
            Some((buf, at)),
        );
    }

    /// The peer has written what a step sent.
    pub(crate) fn sweep_written(&mut self, slot: Slot, seq: Seq) {
        let now = self.now;
        let Some(sweep) = &mut self.peer_mut(slot).sweep else {
            return;
        };
        let found = sweep
            .steps
            .iter_mut()
            .find_map(|(index, step)| match &mut step.stage {
                Stage::Sent(answers) => {
                    let at = answers.iter().position(|other| *other == seq)?;
                    answers.swap_remove(at);
                    Some((index, answers.is_empty()))
                }
                _ => None,
            });
        let Some((step, done)) = found else { return };
        self.peer_mut(slot).sent.answered(now);
        if done {
            self.end_step(slot, step);
        }
    }

    /// R16: whether what is read here may go to a peer.
    fn may_sweep(&self) -> bool {
        self.disk_attached() || self.mutant(Mutant::FailedDiskLeads)
    }

    fn end_step(&mut self, slot: Slot, step: usize) {
        let blocks = self
            .step(slot, step)
            .map_or(0, |step| u64::from(step.range.blocks));
        self.skip_step(slot, step);
        if let Some(sweep) = &mut self.peer_mut(slot).sweep {
            sweep.done_blocks += blocks;
        }
    }

    /// Ends a step whose blocks are not looked at.
    fn skip_step(&mut self, slot: Slot, step: usize) {
        self.unlock_step(slot, step);
        let now = self.now;
        let Some(sweep) = &mut self.peer_mut(slot).sweep else {
            return;
        };
        let step = sweep.steps.remove(step);
        if sweep.steps.is_empty() {
            sweep.pace.ends(now);
        }
        if let Some(buf) = step.buf {
            self.sweep_buf_free(buf);
        }
    }

    fn unlock_step(&mut self, slot: Slot, step: usize) {
        if let Some(lock) = self.step(slot, step).and_then(|step| step.lock.take()) {
            self.locks.release(lock);
        }
    }

    /// Its sweep was stopped while the disk worked for it: only now is its buffer free.
    fn step_abandoned(&mut self, id: StepId) -> bool {
        let Some(at) = self
            .abandoned_steps
            .iter()
            .position(|(other, _)| *other == id)
        else {
            return false;
        };
        let (_, buf) = self.abandoned_steps.swap_remove(at);
        if let Some(buf) = buf {
            self.sweep_buf_free(buf);
        }
        true
    }

    /// Stops whatever sweep there is: its link is down. Blocks that were sent and not confirmed stay dirty.
    pub(crate) fn stop_sweep(&mut self, slot: Slot) {
        let Some(sweep) = self.peer_mut(slot).sweep.take() else {
            return;
        };
        for (index, step) in sweep.steps {
            if let Some(lock) = step.lock {
                self.locks.release(lock);
            }
            match step.stage {
                Stage::Hashing | Stage::Reading(_) => {
                    let id = StepId {
                        slot,
                        sweep: sweep.serial,
                        step: index,
                    };
                    self.abandoned_steps.push((id, step.buf));
                }
                Stage::Locking | Stage::Comparing | Stage::Sent(_) => {
                    if let Some(buf) = step.buf {
                        self.sweep_buf_free(buf);
                    }
                }
            }
        }
    }

    fn sweep_failed(&mut self, slot: Slot, step: usize, error: &DiskError) {
        // The disk has nothing of it any more: its buffer is free when the sweep stops.
        self.set_stage(slot, step, Stage::Comparing);
        let what = format!("the resync or verify stopped: a block can't be read here: {error}");
        self.report(Report::Warning { what: what.clone() });
        self.drop_link(slot, Mark::Unreadable, what);
    }

    /// Goes on when a resync has come to its end: everything sent, answered and stable.
    pub(crate) fn sweep_ended(&mut self, slot: Slot) -> bool {
        let peer = self.peer(slot);
        let Some(sweep) = &peer.sweep else {
            return false;
        };
        let swept = sweep.steps.is_empty() && sweep.cursor >= sweep.end;
        if !swept {
            return false;
        }
        if peer.bitmap.dirty() > 0 {
            return self.sweep_again(slot);
        }
        let Some(sweep) = self.peer_mut(slot).sweep.take() else {
            return false;
        };
        let Phase::Leading { reason, .. } = self.peer(slot).phase else {
            return false;
        };
        self.report(Report::ResyncEnded {
            peer: self.peer(slot).node.0,
            sent_blocks: sweep.sent_blocks,
            equal_blocks: sweep.equal_blocks,
            complete: true,
        });
        self.set_phase(
            slot,
            Phase::Leading {
                step: LeadStep::Complete,
                reason,
            },
            reason.why,
        );
        true
    }

    /// Dirty bits are left: they go when the peer has flushed. Those that do not go then are swept once more.
    fn sweep_again(&mut self, slot: Slot) -> bool {
        let peer = self.peer_mut(slot);
        if peer.sent.has_unstable_resync() {
            let dirty = peer.sent.dirty;
            self.flush_peer(slot);
            return dirty;
        }
        if let Some(sweep) = &mut peer.sweep {
            sweep.cursor = 0;
        }
        true
    }

    /// Ends verifies that have come to their end.
    pub(crate) fn end_verifies(&mut self) -> bool {
        let ended = self.slots().find(|slot| {
            self.peer(*slot).sweep.as_ref().is_some_and(|sweep| {
                matches!(sweep.purpose, Purpose::Verify { .. })
                    && sweep.steps.is_empty()
                    && sweep.cursor >= sweep.end
            })
        });
        ended.is_some_and(|slot| {
            self.report_verify(slot);
            self.peer_mut(slot).sweep = None;
            true
        })
    }

    /// Stops every verify once what it has begun is done. True if there was one.
    pub(crate) fn stop_verify_of_all(&mut self) -> bool {
        let mut any = false;
        for sweep in self.peers.iter_mut().filter_map(|peer| peer.sweep.as_mut()) {
            if matches!(sweep.purpose, Purpose::Verify { .. }) {
                sweep.end = sweep.cursor;
                any = true;
            }
        }
        any
    }

    fn report_verify(&mut self, slot: Slot) {
        let peer = self.peer(slot);
        let Some(sweep) = &peer.sweep else { return };
        self.report(Report::VerifyEnded {
            peer: peer.node.0,
            compared_blocks: sweep.done_blocks,
            different_blocks: sweep.different_blocks,
            repaired_blocks: sweep.repaired_blocks,
            complete: sweep.done_blocks == sweep.total_blocks,
        });
    }

    /// Comparisons of a peer that wait here.
    pub(crate) fn compares_for(&self, slot: Slot) -> usize {
        let compares = self.compares.iter();
        compares.filter(|(_, compare)| compare.slot == slot).count()
    }

    /// A peer wants its blocks compared with ours.
    pub(crate) fn compare(&mut self, slot: Slot, tag: u64, range: BlockRange, hashes: Vec<u128>) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        let fits = self.within(range, self.size_blocks()) && hashes.len() == range.blocks as usize;
        if !fits || !self.disk_attached() {
            let why = format!("it asked to compare blocks {range}, which can't be");
            return self.drop_link(slot, Mark::CompareImpossible, why);
        }
        let entry = self.compares.vacant_key();
        let lock = self.locks.acquire(range, LockOwner::Compare(entry));
        self.compares.insert(Compare {
            slot,
            link: link.id,
            tag,
            range,
            hashes,
            lock,
        });
    }

    pub(crate) fn compare_locked(&mut self, index: usize) {
        let range = self.compares[index].range;
        self.disk(Op::Compare(index), DiskIo::Hash { range });
    }

    pub(crate) fn compare_hashed(&mut self, index: usize, result: Result<DiskDone, DiskError>) {
        let Compare {
            slot,
            link,
            tag,
            range,
            hashes,
            lock,
        } = self.compares.remove(index);
        self.locks.release(lock);
        if self
            .peer(slot)
            .link
            .is_none_or(|current| current.id != link)
        {
            return;
        }
        if !self.is_to_be_trusted() {
            return; // R16: the leader hears of the failure instead.
        }
        let mut mask = BlockMask::default();
        match result {
            Ok(DiskDone::Hashes(mine)) => {
                let pairs = mine.iter().zip(&hashes).enumerate();
                pairs
                    .filter(|(_, (a, b))| a != b)
                    .for_each(|(at, _)| mask.set(at));
            }
            // What can't be read here is different: it is written anew.
            Ok(DiskDone::Done) | Err(_) => {
                (0..range.blocks as usize).for_each(|at| mask.set(at));
            }
        }
        if matches!(self.peer(slot).phase, Phase::Following { .. }) {
            let newest = self.peer(slot).received.newest;
            for run in runs(range, mask, false) {
                self.peer_mut(slot).received.equal.push_back((newest, run));
            }
        }
        self.send(slot, Frame::Differ { tag, mask });
    }
}

/// The runs of blocks of `range` whose bit in `mask` is `marked`.
fn runs(range: BlockRange, mask: BlockMask, marked: bool) -> Vec<BlockRange> {
    let mut runs: Vec<BlockRange> = Vec::new();
    for index in (0..range.blocks).filter(|index| mask.contains(*index as usize) == marked) {
        let block = range.start + u64::from(index);
        match runs.last_mut() {
            Some(last) if last.end() == block => last.blocks += 1,
            _ => runs.push(BlockRange::new(block, 1)),
        }
    }
    runs
}
