//! One io_uring: set-up, staging of operations in the order they should begin, one system call per turn, spinning.
//!
//! Knows nothing of what the operations are for.

use std::{
    io,
    os::fd::RawFd,
    time::{Duration, Instant},
};

use io_uring::{IoUring, squeue, types};
use tracing::{info, warn};

use crate::{
    limits::{COMPLETIONS_PER_ENTRY, RING_ENTRIES},
    spin::Waited,
    tokens::Token,
};

/// The ring of one thread.
pub(crate) struct Ring {
    ring: IoUring,
    staged: [Vec<squeue::Entry>; TURNS],
    /// Completions that had to be taken out to make room while pushing.
    early: Vec<Completion>,
    in_flight: usize,
    deferred: bool,
    file_slots: Option<FileSlots>,
}

/// When within a batch an operation begins. The kernel starts operations in the order of submission, so what others
/// wait for goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Frames to peers: the other replica starts as early as possible.
    Peers = 0,
    /// Replies to clients.
    Replies = 1,
    /// The backing device and metadata.
    Disk = 2,
    /// Receives that are armed again, and everything else.
    Receive = 3,
}

/// The end of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// Bytes or another success, or a negative error number.
    pub(crate) result: i32,
}

impl Completion {
    /// The result as bytes, or the error number.
    pub(crate) fn bytes(&self) -> Result<usize, i32> {
        usize::try_from(self.result).map_err(|_| -self.result)
    }
}

/// A file as the ring knows it: registered, or by its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingFile {
    Registered(u32),
    Descriptor(RawFd),
}

impl Ring {
    pub(crate) fn new(files: u32) -> io::Result<Self> {
        let (ring, deferred) = build()?;
        let mut ring = Self {
            ring,
            staged: Default::default(),
            early: Vec::new(),
            in_flight: 0,
            deferred,
            file_slots: None,
        };
        if let Err(error) = ring.ring.submitter().register_ring_fd() {
            info!(%error, "the ring's descriptor can't be registered: each call looks it up");
        }
        match ring.ring.submitter().register_files_sparse(files) {
            Ok(()) => ring.file_slots = Some(FileSlots::new(files)),
            Err(error) => info!(%error, "files can't be registered: each operation looks them up"),
        }
        Ok(ring)
    }

    /// Whether the ring could be set up as meant (kernel 6.1 or newer).
    pub(crate) const fn is_deferred(&self) -> bool {
        self.deferred
    }

    /// Makes `fd` known to the ring. It must stay open until `forget_file`.
    pub(crate) fn add_file(&mut self, fd: RawFd) -> RingFile {
        let slot = self.file_slots.as_mut().and_then(FileSlots::take);
        let Some(slot) = slot else {
            return RingFile::Descriptor(fd);
        };
        match self.ring.submitter().register_files_update(slot, &[fd]) {
            Ok(_) => RingFile::Registered(slot),
            Err(error) => {
                info!(%error, "a file can't be registered");
                self.give_back(slot);
                RingFile::Descriptor(fd)
            }
        }
    }

    /// To be called before the file is closed, when no operation on it is under way.
    pub(crate) fn forget_file(&mut self, file: RingFile) {
        if let RingFile::Registered(slot) = file {
            if let Err(error) = self.ring.submitter().register_files_update(slot, &[-1]) {
                // The slot keeps the file open; it is not used again.
                warn!(%error, "a file can't be taken off the ring");
                return;
            }
            self.give_back(slot);
        }
    }

    /// Lets go of all files, so that closing them closes them: the end of a ring itself takes its time.
    pub(crate) fn forget_files(&mut self) {
        if self.file_slots.take().is_some()
            && let Err(error) = self.ring.submitter().unregister_files()
        {
            warn!(%error, "files can't be taken off the ring");
        }
    }

    fn give_back(&mut self, slot: u32) {
        if let Some(slots) = &mut self.file_slots {
            slots.free.push(slot);
        }
    }

    /// Registers memory, each piece at most 1 GiB.
    ///
    /// # Safety
    /// The memory must stay mapped as long as the ring exists.
    pub(crate) unsafe fn register_memory(&mut self, pieces: &[libc::iovec]) -> io::Result<()> {
        // SAFETY: as promised by the caller.
        unsafe { self.ring.submitter().register_buffers(pieces) }
    }

    /// Stages an operation; it begins with the next `turn`.
    ///
    /// # Safety
    /// Everything that `entry` points to (buffers, message headers) must stay valid and untouched by others until the
    /// completion named `token` has been taken.
    pub(crate) unsafe fn stage(
        &mut self,
        turn: Turn,
        file: RingFile,
        entry: squeue::Entry,
        token: Token,
    ) {
        let entry = match file {
            // The builders were given the number of the slot as if it were a descriptor.
            RingFile::Registered(_) => entry.flags(squeue::Flags::FIXED_FILE),
            RingFile::Descriptor(_) => entry,
        };
        self.staged[turn as usize].push(entry.user_data(token.encode()));
    }

    /// Operations that have begun and not ended, or are staged.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight + self.staged.iter().map(Vec::len).sum::<usize>()
    }

    /// Begins everything that is staged, waits for at least one completion (at most `timeout`, spinning for the first
    /// `spin` of it) and appends what has ended to `completions`.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        spin: Duration,
        completions: &mut Vec<Completion>,
    ) -> io::Result<Waited> {
        self.push_staged()?;
        let wait = self.early.is_empty() && timeout != Some(Duration::ZERO);
        let start = Instant::now();
        let mut waited = Waited::Not;
        if wait && spin > Duration::ZERO {
            waited = self.spin(start, timeout.map_or(spin, |timeout| timeout.min(spin)))?;
        }
        // Completions that are there already make this return at once.
        if wait && self.ring.completion().is_empty() {
            let rest = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            self.enter(usize::from(rest != Some(Duration::ZERO)), rest)?;
            waited = if self.ring.completion().is_empty() {
                Waited::InVain(start.elapsed())
            } else {
                Waited::Sleeping(start.elapsed())
            };
        } else if !self.ring.submission().is_empty() || timeout == Some(Duration::ZERO) {
            self.enter(0, timeout)?;
        }
        completions.append(&mut self.early);
        self.take_completions(completions);
        Ok(waited)
    }

    /// Begins everything that is staged, and waits for nothing.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        self.push_staged()?;
        if self.ring.submission().is_empty() {
            return Ok(());
        }
        match self.ring.submit() {
            Ok(_) => Ok(()),
            Err(error) => tolerate(error),
        }
    }

    fn push_staged(&mut self) -> io::Result<()> {
        for turn in 0..TURNS {
            let mut entries = std::mem::take(&mut self.staged[turn]);
            for entry in &entries {
                self.push(entry)?;
            }
            entries.clear();
            self.staged[turn] = entries;
        }
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: `stage` made its caller promise that the memory stays valid until the completion.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0, None)?;
            if self.ring.submission().is_full() {
                // The kernel takes no more until completions are fetched (EBUSY).
                let mut early = std::mem::take(&mut self.early);
                self.take_completions(&mut early);
                self.early = early;
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    fn spin(&mut self, start: Instant, budget: Duration) -> io::Result<Waited> {
        self.enter(0, None)?;
        if !self.ring.completion().is_empty() {
            return Ok(Waited::Not);
        }
        let mut time = start.elapsed();
        while self.ring.completion().is_empty() && time < budget {
            // Whoever wants this CPU gets it: on a small machine that may be the very client, or the other replica,
            // that is being waited for.
            std::thread::yield_now();
            if self.deferred {
                // Deferred work is done only inside this call: watching the queue alone would never see it.
                self.enter(0, None)?;
            }
            let before = time;
            time = start.elapsed();
            if time - before > GIVEN_AWAY {
                // Others have work for this CPU: to sleep costs them nothing, and brings the completion as soon.
                break;
            }
        }
        Ok(Waited::Spinning)
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        let queued = u32::try_from(self.ring.submission().len()).expect("a queue of u32 length");
        let submitter = self.ring.submitter();
        let result = match timeout {
            _ if want == 0 => {
                // GETEVENTS also without waiting: deferred work and overflown completions are seen only with it.
                // SAFETY: no argument is passed.
                unsafe {
                    submitter.enter::<libc::sigset_t>(queued, 0, IORING_ENTER_GETEVENTS, None)
                }
            }
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                let arguments = types::SubmitArgs::new().timespec(&timespec);
                submitter.submit_with_args(want, &arguments)
            }
            None => submitter.submit_and_wait(want),
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => tolerate(error),
        }
    }

    fn take_completions(&mut self, completions: &mut Vec<Completion>) {
        let before = completions.len();
        completions.extend(self.ring.completion().map(|entry| Completion {
            token: Token::decode(entry.user_data()),
            result: entry.result(),
        }));
        let taken = completions.len() - before;
        assert!(
            taken <= self.in_flight,
            "the ring completed more than was begun"
        );
        self.in_flight -= taken;
    }
}

/// Errors of the call that are no errors of the ring: the caller looks at the queues and comes back.
fn tolerate(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::ETIME | libc::EINTR | libc::EBUSY) => Ok(()),
        Some(libc::EAGAIN) => {
            // The kernel could not get memory for a request; it stays in the queue.
            std::thread::yield_now();
            Ok(())
        }
        _ => Err(error),
    }
}

fn build() -> io::Result<(IoUring, bool)> {
    let completions = RING_ENTRIES * COMPLETIONS_PER_ENTRY;
    let wanted = IoUring::builder()
        .setup_cqsize(completions)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(RING_ENTRIES);
    match wanted {
        Ok(ring) => Ok((ring, true)),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            warn!("this kernel is older than 6.1: the ring works, but slower");
            let ring = IoUring::builder()
                .setup_cqsize(completions)
                .build(RING_ENTRIES)?;
            Ok((ring, false))
        }
        Err(error) => Err(error),
    }
}

struct FileSlots {
    free: Vec<u32>,
}

impl FileSlots {
    fn new(slots: u32) -> Self {
        Self {
            free: (0..slots).rev().collect(),
        }
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }
}

impl RingFile {
    /// For the builders of operations; `Ring::stage` marks it when it is a slot.
    pub(crate) fn fd(self) -> types::Fd {
        types::Fd(match self {
            Self::Registered(slot) => i32::try_from(slot).expect("a few hundred slots"),
            Self::Descriptor(fd) => fd,
        })
    }
}

const TURNS: usize = 4;

/// One turn of spinning takes about a microsecond. Where it took so long, another thread ran in between.
const GIVEN_AWAY: Duration = Duration::from_micros(20);

const IORING_ENTER_GETEVENTS: u32 = 1;

#[cfg(test)]
mod tests;
