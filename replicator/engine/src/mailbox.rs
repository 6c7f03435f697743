//! Messages to a resource's thread: a bounded channel, and an eventfd on the thread's ring that wakes it.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use thiserror::Error;
use twindisk_core::OpId;

use crate::{api::Input, clients::status::Looked, limits::MAILBOX_MESSAGES};

/// Sends to a resource's thread. Never blocks.
#[derive(Clone, Debug)]
pub struct InputSender {
    messages: Sender,
}

/// Why something could not be handed to a resource's thread. What was to be sent is dropped: sockets are closed,
/// and a closure that waits for an answer is never called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The thread has ended.
    #[error("the replica has stopped")]
    Stopped,
    /// The thread has not taken anything for long.
    #[error("the replica does not take messages: its I/O loop is stuck or overwhelmed")]
    Full,
}

impl InputSender {
    /// Hands `input` to the resource's thread and wakes it.
    ///
    /// # Errors
    /// When the thread is gone or does not take messages.
    pub fn send(&self, input: Input) -> Result<(), SendError> {
        self.messages.send(Message::Input(input))
    }
}

/// What reaches the thread through its mailbox.
pub(crate) enum Message {
    /// From the control plane.
    Input(Input),
    /// A background copy of blocks has ended.
    Saved {
        op: OpId,
        result: Result<String, String>,
    },
    /// The extents of clients' block status requests have been found.
    Looked(Vec<Looked>),
}

/// The writing end, also for the engine's own helpers.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    channel: SyncSender<Message>,
    wake: Arc<EventFd>,
}

impl Sender {
    pub(crate) fn send(&self, message: Message) -> Result<(), SendError> {
        self.channel
            .try_send(message)
            .map_err(|error| match error {
                TrySendError::Full(_) => SendError::Full,
                TrySendError::Disconnected(_) => SendError::Stopped,
            })?;
        // The counter can't overflow: the thread would have to miss 2^64 messages.
        self.wake();
        Ok(())
    }

    /// As `send`, but waits for room: for threads that have nothing else to do.
    pub(crate) fn send_patiently(&self, message: Message) {
        if self.channel.send(message).is_ok() {
            self.wake();
        }
    }

    /// Ends the thread's wait without a message.
    pub(crate) fn wake(&self) {
        let _ = self.wake.write(1);
    }

    pub(crate) const fn for_control(self) -> InputSender {
        InputSender { messages: self }
    }
}

/// The reading end, owned by the thread.
pub(crate) struct Mailbox {
    channel: Receiver<Message>,
    wake: Arc<EventFd>,
}

impl Mailbox {
    /// A mailbox and the first of its senders.
    pub(crate) fn new() -> io::Result<(Sender, Self)> {
        // Blocking on purpose: the ring would answer EAGAIN at once for a non-blocking one instead of waiting.
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let (sender, channel) = mpsc::sync_channel(MAILBOX_MESSAGES);
        let sender = Sender {
            channel: sender,
            wake: Arc::clone(&wake),
        };
        Ok((sender, Self { channel, wake }))
    }

    pub(crate) fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    pub(crate) fn take(&self) -> Option<Message> {
        self.channel.try_recv().ok()
    }
}
