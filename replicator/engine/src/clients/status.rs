//! Answers to block status: holes of the backing file, where there can be any. Looking for them may wait for the disk, and
//! takes two system calls an extent: a thread of its own does it, one request of each connection at a time.

use std::{
    fs::File,
    iter,
    os::fd::AsFd,
    sync::{
        Arc, Weak,
        mpsc::{self, Receiver},
    },
    thread,
};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use tracing::warn;
use twindisk_nbd::{
    Command, Request,
    protocol::{STATE_HOLE, STATE_ZERO},
    reply::{self, Extent},
};

use super::{
    Clients, Context,
    connection::{Receiving, Reply, State},
};
use crate::{
    limits::{MAX_STATUS_EXTENTS, STATUS_BURST, STATUS_PAUSE},
    mailbox::{Message, Sender},
    store::{Backing, BackingKind},
};

/// A request whose extents are looked for.
#[derive(Clone, Copy, Debug)]
struct Look {
    slot: u32,
    generation: u32,
    request: Request,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Looked {
    look: Look,
    extents: Vec<Extent>,
}

/// The way to the thread that looks; it begins with the first request, and ends when this is dropped.
pub(super) struct Looker {
    jobs: Option<mpsc::Sender<Look>>,
    done: Sender,
}

impl Looker {
    pub(super) const fn new(done: Sender) -> Self {
        Self { jobs: None, done }
    }

    /// Hands a request over; says whether somebody took it. There is at most one of each connection.
    fn look(&mut self, look: Look, backing: &Arc<Backing>) -> bool {
        if self.jobs.is_none() {
            let (jobs, taken) = mpsc::channel();
            // A replica that has stopped must not be held by this thread: whoever starts it again needs the file.
            let (backing, done) = (Arc::downgrade(backing), self.done.clone());
            let thread = thread::Builder::new()
                .name("twindisk-status".into())
                .spawn(move || look_for_ever(&taken, &backing, &done));
            match thread {
                Ok(_) => self.jobs = Some(jobs),
                Err(error) => {
                    warn!(%error, "no thread for block status: everything counts as data")
                }
            }
        }
        (self.jobs.as_ref()).is_some_and(|jobs| jobs.send(look).is_ok())
    }
}

fn look_for_ever(jobs: &Receiver<Look>, backing: &Weak<Backing>, done: &Sender) {
    while let Ok(first) = jobs.recv() {
        let Some(backing) = backing.upgrade() else {
            return;
        };
        let burst = iter::once(first).chain(jobs.try_iter());
        let looked = burst.take(STATUS_BURST).map(|look| {
            let Request { offset, length, .. } = look.request;
            let one = matches!(
                look.request.command,
                Command::BlockStatus { one_extent: true }
            );
            let most = if one { 1 } else { MAX_STATUS_EXTENTS };
            let extents = of_file(backing.data(), offset, length, most);
            Looked { look, extents }
        });
        let looked = looked.collect();
        drop(backing);
        done.send_patiently(Message::Looked(looked));
        thread::sleep(STATUS_PAUSE);
    }
}

impl Clients {
    /// Begins a block status request; says whether it has. One of the connection that is under way comes first.
    pub(super) fn begin_status(
        &mut self,
        slot: u32,
        request: Request,
        context: &mut Context<'_>,
    ) -> bool {
        let generation = self.connections.generation(slot);
        let connection = self.connections.get_mut(slot).expect("in use");
        if connection.looking {
            return false;
        }
        let look = Look {
            slot,
            generation,
            request,
        };
        // A device whose writes failed is not what clients read.
        let holes = context.backing.kind() == BackingKind::File && !context.disk.has_failed();
        if holes && self.looker.look(look, context.backing) {
            connection.looking = true;
        } else {
            // Whatever is not surely a hole counts as data.
            connection.quick += 1;
            self.tell_status(slot, request, &[data(request.length)]);
        }
        true
    }

    /// The thread that looks has found something.
    pub(crate) fn looked(&mut self, looked: Looked, context: &mut Context<'_>) {
        let Looked { look, extents } = looked;
        let slot = look.slot;
        // It may have gone meanwhile, and another one have its place.
        if self.connections.get(slot).is_none()
            || self.connections.generation(slot) != look.generation
        {
            return;
        }
        let connection = self.connection(slot);
        connection.looking = false;
        match connection.state {
            State::Open | State::Leaving => self.tell_status(slot, look.request, &extents),
            State::Closing { .. } | State::Dead => {
                connection.owed -= 1;
                self.mark(slot);
            }
        }
        let connection = self.connection(slot);
        if let Receiving::Status(next) = connection.receiving {
            connection.receiving = Receiving::Header;
            self.begin_status(slot, next, context);
        }
        self.pump(slot, context);
    }

    fn tell_status(&mut self, slot: u32, request: Request, extents: &[Extent]) {
        let negotiated = &self.connection(slot).negotiated;
        let id = (negotiated.base_allocation).expect("validated: a context was selected");
        let mut bytes = Vec::new();
        reply::block_status(&mut bytes, request.cookie, id, extents);
        self.reply(slot, Reply::Bytes(bytes));
    }
}

fn of_file(file: &File, offset: u64, length: u32, most: usize) -> Vec<Extent> {
    let end = offset + u64::from(length);
    let mut extents = Vec::new();
    let mut at = offset;
    while at < end && extents.len() < most {
        let rest = (end - at) as u32;
        let extent = match next(file, at, Whence::SeekData) {
            Ok(Some(start)) if start > at => hole((start.min(end) - at) as u32),
            Ok(Some(_)) => match next(file, at, Whence::SeekHole) {
                Ok(Some(stop)) if stop > at => data((stop.min(end) - at) as u32),
                _ => data(rest),
            },
            Ok(None) => hole(rest),
            Err(_) => data(rest),
        };
        at += u64::from(extent.length);
        extents.push(extent);
    }
    extents
}

fn next(file: &File, at: u64, whence: Whence) -> Result<Option<u64>, Errno> {
    match lseek(file.as_fd(), at as i64, whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        // Nothing but a hole up to the end.
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

const fn data(length: u32) -> Extent {
    Extent { length, flags: 0 }
}

const fn hole(length: u32) -> Extent {
    Extent {
        length,
        flags: STATE_HOLE | STATE_ZERO,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_and_data_alternate() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(1 << 20).expect("extend");
        file.write_all_at(&[1; 8192], 65_536).expect("write");
        file.sync_all().expect("sync");
        let all = of_file(&file, 0, 1 << 20, 10);
        let expected = [hole(65_536), data(8192), hole((1 << 20) - 65_536 - 8192)];
        assert_eq!(all, expected);
        assert_eq!(of_file(&file, 0, 1 << 20, 1), [hole(65_536)]);
        assert_eq!(of_file(&file, 66_000, 1000, 9), [data(1000)]);
    }
}
