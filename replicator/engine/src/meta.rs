//! Metadata writes: each durable before its answer. A few are written through one by one; many are written together
//! with one flush.

use std::collections::VecDeque;

use io_uring::{opcode, types};
use twindisk_core::{BufId, DiskError, OpId};
use twindisk_format::{limits::BLOCK_BYTES, meta_block::MetaBlock};

use crate::{
    buffers::{Buffers, Class},
    limits::{META_BUFFERS, META_GROUP},
    ring::{Completion, Ring, RingFile, Turn},
    slab::Slab,
    tokens::{Kind, Token},
};

/// The metadata area of one replica.
pub(crate) struct Meta {
    file: RingFile,
    first_block: u64,
    bufs: Vec<BufId>,
    queue: VecDeque<(OpId, u64, Box<MetaBlock>)>,
    writes: Slab<Write>,
    /// Writes of the group that waits for its flush.
    group: Vec<(OpId, Result<(), DiskError>)>,
    grouped_under_way: usize,
    syncing: bool,
    grouping: Grouping,
}

/// Whether blocks share a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// Where many wait.
    Many,
    /// Each is written through: the same file holds data in the page cache, and a flush would wait for all of it.
    Never,
}

struct Write {
    op: OpId,
    block: u64,
    buf: BufId,
    done: usize,
    grouped: bool,
}

/// The end of a metadata write.
pub(crate) type Stored = (OpId, Result<(), DiskError>);

impl Meta {
    pub(crate) fn new(
        (file, first_block): (RingFile, u64),
        grouping: Grouping,
        buffers: &mut Buffers,
    ) -> Self {
        Self {
            file,
            first_block,
            bufs: (0..META_BUFFERS)
                .map(|_| buffers.take(Class::Scratch, 1).expect("set aside"))
                .collect(),
            queue: VecDeque::new(),
            writes: Slab::new(META_BUFFERS as usize),
            group: Vec::new(),
            grouped_under_way: 0,
            syncing: false,
            grouping,
        }
    }

    /// Writes under way or waiting.
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.len() + self.writes.len() + self.group.len()
    }

    /// Queues a write; it begins with the next `flush`.
    pub(crate) fn write(&mut self, op: OpId, block: u64, data: Box<MetaBlock>) {
        self.queue.push_back((op, block, data));
    }

    /// Begins what waits, to be called before the thread sleeps.
    pub(crate) fn flush(&mut self, ring: &mut Ring, buffers: &mut Buffers) {
        if self.syncing || self.grouped_under_way > 0 {
            // The group's flush would not cover what is written after it began.
            return;
        }
        let grouped = self.grouping == Grouping::Many && self.queue.len() >= META_GROUP;
        while !self.queue.is_empty()
            && let Some(buf) = self.bufs.pop()
        {
            let (op, block, data) = self.queue.pop_front().expect("not empty");
            buffers
                .bytes_mut(buf, 0, BLOCK_BYTES)
                .copy_from_slice(&*data);
            let slot = self.writes.insert(Write {
                op,
                block,
                buf,
                done: 0,
                grouped,
            });
            self.grouped_under_way += usize::from(grouped);
            self.issue(slot, ring, buffers);
        }
    }

    /// Takes a completion; what has ended is appended to `stored`.
    pub(crate) fn complete(
        &mut self,
        completion: Completion,
        ring: &mut Ring,
        buffers: &Buffers,
        stored: &mut Vec<Stored>,
    ) {
        if completion.token.slot == SYNC {
            return self.synced(completion, ring, stored);
        }
        let slot = completion.token.slot;
        assert!(
            completion.token.is_of(self.writes.generation(slot)),
            "{completion:?} has ended before"
        );
        let write = self.writes.get_mut(slot).expect("in use");
        let result = match completion.bytes() {
            Err(libc::EINTR | libc::EAGAIN) => return self.issue(slot, ring, buffers),
            Err(errno) => Err(write.error(errno)),
            Ok(0) => Err(write.error(libc::EIO)),
            Ok(bytes) => {
                write.done += bytes;
                if write.done < BLOCK_BYTES {
                    return self.issue(slot, ring, buffers);
                }
                Ok(())
            }
        };
        let write = self.writes.remove(slot);
        self.bufs.push(write.buf);
        if !write.grouped {
            stored.push((write.op, result));
            return;
        }
        self.group.push((write.op, result));
        self.grouped_under_way -= 1;
        if self.grouped_under_way == 0 {
            self.syncing = true;
            self.sync(ring);
        }
    }

    fn synced(&mut self, completion: Completion, ring: &mut Ring, stored: &mut Vec<Stored>) {
        let result = match completion.bytes() {
            Err(libc::EINTR | libc::EAGAIN) => return self.sync(ring),
            Err(errno) => Err(DiskError {
                errno,
                what: format!(
                    "flushing the metadata failed: {}",
                    std::io::Error::from_raw_os_error(errno)
                ),
            }),
            Ok(_) => Ok(()),
        };
        self.syncing = false;
        for (op, written) in self.group.drain(..) {
            stored.push((op, written.and_then(|()| result.clone())));
        }
    }

    fn sync(&self, ring: &mut Ring) {
        let entry = opcode::Fsync::new(self.file.fd())
            .flags(types::FsyncFlags::DATASYNC)
            .build();
        let token = Token::new(Kind::Meta, 0, SYNC);
        // SAFETY: a flush points to no memory.
        unsafe { ring.stage(Turn::Disk, self.file, entry, token) };
    }

    fn issue(&self, slot: u32, ring: &mut Ring, buffers: &Buffers) {
        let write = self.writes.get(slot).expect("in use");
        let left = BLOCK_BYTES - write.done;
        let address = buffers.address(write.buf, write.done, left);
        let offset = (self.first_block + write.block) * BLOCK_BYTES as u64 + write.done as u64;
        let flags = if write.grouped { 0 } else { libc::RWF_DSYNC };
        let entry = opcode::Write::new(self.file.fd(), address.as_ptr(), left as u32)
            .offset(offset)
            .rw_flags(flags)
            .build();
        let token = Token::new(Kind::Meta, self.writes.generation(slot), slot);
        // SAFETY: the buffer is this table's and not reused before the completion.
        unsafe { ring.stage(Turn::Disk, self.file, entry, token) };
    }
}

impl Write {
    fn error(&self, errno: i32) -> DiskError {
        DiskError {
            errno,
            what: format!(
                "writing metadata block {} failed: {}",
                self.block,
                std::io::Error::from_raw_os_error(errno)
            ),
        }
    }
}

const SYNC: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd, time::Duration};

    use super::*;
    use crate::{
        buffers::tests::small,
        store::{Access, Backing},
    };

    #[test]
    fn few_and_many_blocks_reach_their_places() {
        for grouping in [Grouping::Many, Grouping::Never] {
            reach_their_places(grouping);
        }
    }

    fn reach_their_places(grouping: Grouping) {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("metadata");
        fs::write(&path, vec![0; 310 * BLOCK_BYTES]).expect("write");
        let backing = Backing::open(&path, Access::Exclusive).expect("open");
        let mut ring = Ring::new(4).expect("ring");
        let mut buffers = Buffers::new(small(), &mut ring).expect("buffers");
        let file = ring.add_file(backing.as_raw_fd());
        let mut meta = Meta::new((file, 10), grouping, &mut buffers);
        let mut completions = Vec::new();
        for many in [1u64, 3, 300] {
            let mut stored = Vec::new();
            for block in 0..many {
                let data = Box::new([(block + many) as u8; BLOCK_BYTES]);
                meta.write(OpId(block), block, data);
            }
            while meta.in_flight() > 0 {
                meta.flush(&mut ring, &mut buffers);
                ring.turn(None, Duration::ZERO, &mut completions)
                    .expect("turn");
                for completion in completions.drain(..) {
                    meta.complete(completion, &mut ring, &buffers, &mut stored);
                }
            }
            stored.sort_by_key(|(op, _)| op.0);
            let expected: Vec<Stored> = (0..many).map(|block| (OpId(block), Ok(()))).collect();
            assert_eq!(stored, expected);
            let bytes = fs::read(&path).expect("read");
            for block in 0..many as usize {
                assert_eq!(
                    bytes[(10 + block) * BLOCK_BYTES],
                    (block as u64 + many) as u8
                );
            }
        }
    }
}
