//! Starting a resource's thread, and holding on to it.

use std::{
    io, process,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use thiserror::Error;
use tracing::info_span;

use crate::{
    Host, InputSender, ReplicaOptions, engine::start, mailbox::Mailbox, probe::ring_refused,
    store::StoreError,
};

/// A resource's thread. It runs until the core halts (`Command::Stop`), whether or not this handle exists.
#[derive(Debug)]
pub struct ReplicaThread {
    sender: InputSender,
    thread: JoinHandle<()>,
}

/// Why a resource could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Backing device or metadata.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel gives no ring.
    #[error("{}", ring_refused(.0))]
    Ring(io::Error),
    /// There is not enough memory for payloads.
    #[error("memory for payloads can't be had: {0}. Lower `buffers`, or give the process more")]
    Memory(io::Error),
    /// The system gives no thread or no eventfd.
    #[error("a thread for the resource can't be started: {0}")]
    Thread(io::Error),
}

/// Opens everything that `options` names and starts the resource's thread.
///
/// # Errors
/// When something that it needs can't be had; nothing is left behind then.
pub fn spawn(options: ReplicaOptions, host: Box<dyn Host>) -> Result<ReplicaThread, StartError> {
    let (sender, mailbox) = Mailbox::new().map_err(StartError::Thread)?;
    let (ready, started) = mpsc::sync_channel(1);
    let inner = sender.clone();
    let thread = thread::Builder::new()
        .name(format!("twindisk-{}", options.resource))
        .spawn(move || {
            let _span = info_span!("replica", resource = options.resource).entered();
            let _abort = AbortOnPanic;
            match start(options, mailbox, inner, host) {
                Ok(engine) => {
                    let _ = ready.send(Ok(()));
                    engine.run();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })
        .map_err(StartError::Thread)?;
    started
        .recv()
        .unwrap_or_else(|_| unreachable!("the thread answers or aborts"))?;
    Ok(ReplicaThread {
        sender: sender.for_control(),
        thread,
    })
}

impl ReplicaThread {
    /// For handing things to the thread.
    #[must_use]
    pub fn sender(&self) -> InputSender {
        self.sender.clone()
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        // It can't have panicked: that ends the process.
        let _ = self.thread.join();
    }
}

/// A broken invariant stops the process before it stops being true on the disk, also where panics unwind.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}
