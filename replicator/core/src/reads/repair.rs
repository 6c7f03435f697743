//! What could not be read here is written again with what a peer has.

use twindisk_format::{
    frame::Frame,
    ids::{BlockRange, Slot},
};

use crate::{
    Action, BufId, DiskError, DiskIo, Report,
    locks::LockId,
    peer::Phase,
    replica::{LockOwner, Op, Replica},
};

/// A range that could not be read here is written again with what a peer has.
#[derive(Clone, Debug)]
pub(crate) struct Repair {
    range: BlockRange,
    lock: Option<LockId>,
    from: Slot,
    asked: bool,
    buf: Option<BufId>,
}

/// Tags of repairs are told from those of reads by this bit.
pub(super) const REPAIR_TAG: u64 = 1 << 63;

impl Replica {
    /// A link is gone: what was to come over it is not repaired.
    pub(super) fn abandon_repairs(&mut self, slot: Slot) {
        let repairs: Vec<usize> = self
            .repairs
            .iter()
            .filter(|(_, repair)| repair.from == slot && repair.buf.is_none())
            .map(|(index, _)| index)
            .collect();
        for index in repairs {
            self.end_repair(index);
        }
    }

    pub(super) fn begin_repair(&mut self, from: Slot, range: BlockRange) {
        let index = self.repairs.insert(Repair {
            range,
            lock: None,
            from,
            asked: false,
            buf: None,
        });
        let lock = self.locks.acquire(range, LockOwner::Repair(index));
        self.repairs[index].lock = Some(lock);
    }

    /// Under the lock the peer's blocks are read again: a write may have come between.
    pub(crate) fn repair_locked(&mut self, index: usize) {
        let Repair { range, from, .. } = self.repairs[index];
        if self.peer(from).phase != Phase::Established || !self.disk_attached() {
            return self.end_repair(index);
        }
        self.repairs[index].asked = true;
        self.send(
            from,
            Frame::Read {
                tag: REPAIR_TAG | index as u64,
                range,
            },
        );
    }

    /// What is to come for a repair from this peer.
    pub(super) fn asked_to_repair(&self, slot: Slot, index: usize) -> Option<BlockRange> {
        let repair = self.repairs.get(index)?;
        (repair.from == slot && repair.asked && repair.buf.is_none()).then_some(repair.range)
    }

    /// The blocks that were asked for have come, or can't be had.
    pub(super) fn repair_replied(&mut self, index: usize, buf: Option<BufId>) {
        match buf {
            Some(buf) if self.disk_attached() => {
                let range = self.repairs[index].range;
                self.repairs[index].buf = Some(buf);
                self.disk(
                    Op::Repair(index),
                    DiskIo::Write {
                        range,
                        buf,
                        at: 0,
                        fua: false,
                    },
                );
            }
            Some(buf) => {
                self.act(Action::Release { buf });
                self.end_repair(index);
            }
            None => self.end_repair(index),
        }
    }

    pub(crate) fn repair_written(&mut self, index: usize, result: Result<(), DiskError>) {
        let range = self.repairs[index].range;
        match result {
            Ok(()) => {
                self.flusher.dirty = true;
                self.report(Report::ReadRepaired {
                    block: range.start,
                    blocks: range.blocks,
                });
            }
            // R13: the peer has it, and a later read tries again.
            Err(error) if error.is_no_space() => self.marks.mark(crate::Mark::NoSpaceToRepair),
            Err(error) => self.disk_failed(&format!("a repair could not be written: {error}")),
        }
        self.end_repair(index);
    }

    pub(super) fn end_repair(&mut self, index: usize) {
        let repair = self.repairs.remove(index);
        if let Some(lock) = repair.lock {
            self.locks.release(lock);
        }
        if let Some(buf) = repair.buf {
            self.act(Action::Release { buf });
        }
    }
}
