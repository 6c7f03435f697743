//! Writes into the page cache, done by this thread itself.
//!
//! ext4 and block devices take no buffered write that may not sleep, so the ring hands each one to a worker thread:
//! more than twice the CPU of the write itself (5.5 us against 2.2 for 4 KiB on ext4), and a thread to be woken.
//! A write of whole blocks to memory sleeps only where the kernel slows writers down to what the disk takes, or where
//! the filesystem's journal is being written. After a write that did, the following ones go to the ring's workers for
//! a while: this thread answers peers and clients, and must stay awake.

use std::{collections::VecDeque, io, os::unix::fs::FileExt, time::Instant};

use nix::sys::resource::{UsageWho, getrusage};
use twindisk_core::Time;

use super::{Context, Disk};
use crate::{
    limits::{CACHED_WRITE_BYTES, CACHED_WRITE_PATIENCE, CACHED_WRITE_REST},
    ring::Completion,
    tokens::{Kind, Token},
};

/// The writes that this thread does itself.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Operations that wait for it.
    slots: VecDeque<u32>,
    /// Until then they go to the ring: the last one had to wait.
    rest_until: Time,
    /// How often this thread had gone to sleep before the first one of the batch.
    sleeps: i64,
}

impl Queue {
    /// Takes a write, unless it is better done by a worker.
    pub(super) fn take(&mut self, slot: u32, now: Time) -> bool {
        let takes = now >= self.rest_until;
        if takes {
            self.slots.push_back(slot);
        }
        takes
    }
}

impl Disk {
    /// Whether `write_one` has something to do.
    pub(crate) fn has_writes(&self) -> bool {
        self.cached
            .as_ref()
            .is_some_and(|queue| !queue.slots.is_empty())
    }

    /// To be called before the first `write_one` of a batch.
    pub(crate) fn begin_writes(&mut self) {
        if let Some(queue) = &mut self.cached {
            queue.sleeps = sleeps();
        }
    }

    /// Does the next write of those that this thread does itself. Its end is handed in like those of the ring.
    pub(crate) fn write_one(&mut self, context: &mut Context<'_>) -> Option<Completion> {
        let slot = self.cached.as_mut()?.slots.pop_front()?;
        let op = self.ops.get(slot).expect("in use");
        let began = Instant::now();
        let (buf, at) = op.memory(context);
        // In pieces, since a larger one makes a larger folio, and ext4 looks at every block of a folio for each one that
        // is written.
        let len = (op.step_bytes() - op.done).min(CACHED_WRITE_BYTES);
        let bytes = context.buffers.bytes(buf, at, len);
        let offset = op.step_offset() + op.done as u64;
        let result = match context.backing.data().write_at(bytes, offset) {
            Ok(written) => i32::try_from(written).expect("one piece"),
            Err(error) => -errno(&error),
        };
        // On a busy machine it may also have been another thread's turn: that says nothing about the disk.
        if began.elapsed() > CACHED_WRITE_PATIENCE && self.has_slept() {
            self.rest(context);
        }
        let token = Token::new(Kind::Disk, self.ops.generation(slot), slot);
        Some(Completion { token, result })
    }

    fn has_slept(&self) -> bool {
        self.cached
            .as_ref()
            .is_some_and(|queue| sleeps() > queue.sleeps)
    }

    /// What waits for this thread goes to the ring, and what comes for a while.
    pub(super) fn rest(&mut self, context: &mut Context<'_>) {
        let Some(queue) = &mut self.cached else {
            return;
        };
        queue.rest_until = context.now + CACHED_WRITE_REST;
        for slot in std::mem::take(&mut queue.slots) {
            self.stage(slot, context);
        }
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// How often this thread has given up the CPU to wait for something.
fn sleeps() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}
