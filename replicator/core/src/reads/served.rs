//! Reads that are answered for a peer.

use twindisk_format::{
    frame::Frame,
    ids::{BlockRange, Slot},
};

use super::ServedRead;
use crate::{
    BufId, DiskError, DiskIo,
    limits::MAX_UNANSWERED,
    replica::{LockOwner, Op, Replica},
};

impl Replica {
    /// Reads of a peer that wait here.
    pub(crate) fn reads_served_for(&self, slot: Slot) -> usize {
        if self.served_reads.len() < MAX_UNANSWERED {
            return self.served_reads.len(); // Not counted for each read.
        }
        let served = self.served_reads.iter();
        served.filter(|(_, served)| served.slot == slot).count()
    }

    /// A peer wants blocks of ours. It gets in line behind the writes that it sent before.
    pub(crate) fn serve_read(&mut self, slot: Slot, tag: u64, range: BlockRange) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        if !self.within(range, self.size_blocks()) || !self.disk_attached() {
            return self.send(slot, Frame::ReadFailed { tag });
        }
        let entry = self.served_reads.vacant_key();
        let lock = self.locks.acquire(range, LockOwner::ServedRead(entry));
        self.served_reads.insert(ServedRead {
            slot,
            link: link.id,
            tag,
            range,
            lock,
            buf: None,
        });
    }

    pub(crate) fn served_read_locked(&mut self, index: usize) {
        match self.sweep_bufs.pop() {
            Some(buf) => self.read_for_peer(index, buf),
            None => self.served_waiting.push_back(index),
        }
    }

    fn read_for_peer(&mut self, index: usize, buf: BufId) {
        let range = self.served_reads[index].range;
        self.served_reads[index].buf = Some(buf);
        self.disk(Op::ServedRead(index), DiskIo::Read { range, buf, at: 0 });
    }

    /// A buffer for resync and served reads is free again.
    pub(crate) fn sweep_buf_free(&mut self, buf: BufId) {
        match self.served_waiting.pop_front() {
            Some(index) => self.read_for_peer(index, buf),
            None => self.sweep_bufs.push(buf),
        }
    }

    pub(crate) fn served_read_done(&mut self, index: usize, result: Result<(), DiskError>) {
        // R16: a disk that has failed meanwhile may have lost what it was to hold.
        self.end_served_read(index, result.is_ok() && self.is_to_be_trusted());
    }

    fn end_served_read(&mut self, index: usize, done: bool) {
        let served = self.served_reads.remove(index);
        self.locks.release(served.lock);
        let ServedRead {
            slot, tag, range, ..
        } = served;
        let current = self
            .peer(slot)
            .link
            .is_some_and(|link| link.id == served.link);
        match served.buf {
            // The driver gives the buffer back with `Event::Sent`.
            Some(buf) if done && current => {
                self.send_with(slot, Frame::ReadReply { tag, range }, Some((buf, 0)));
            }
            buf => {
                if current {
                    self.send(slot, Frame::ReadFailed { tag });
                }
                if let Some(buf) = buf {
                    self.sweep_buf_free(buf);
                }
            }
        }
    }
}
