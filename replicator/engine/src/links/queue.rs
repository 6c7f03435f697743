//! What waits to be sent to a peer, in order and bounded: who asks and asks, and takes no answer, must not cost memory.

use std::collections::VecDeque;

use twindisk_format::frame::Frame;

use super::link::Outgoing;
use crate::limits::MAX_QUEUED_FRAMES;

/// The frames that wait.
#[derive(Default)]
pub(super) struct Queue {
    frames: VecDeque<Outgoing>,
    /// Of those, all but dirty bits: these follow from the size of the device, once in a connection.
    counted: usize,
}

impl Queue {
    pub(super) fn push(&mut self, frame: Outgoing) {
        self.counted += usize::from(counts(&frame));
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let frame = self.frames.pop_front()?;
        self.counted -= usize::from(counts(&frame));
        Some(frame)
    }

    pub(super) fn into_frames(self) -> impl Iterator<Item = Outgoing> {
        self.frames.into_iter()
    }

    /// No peer that reads lets so many wait.
    pub(super) const fn is_full(&self) -> bool {
        self.counted >= MAX_QUEUED_FRAMES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

const fn counts(frame: &Outgoing) -> bool {
    !matches!(frame.envelope.frame, Frame::Bits { .. })
}
