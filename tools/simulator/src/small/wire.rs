//! The one connection of a small world: two queues that keep their order until it breaks.

use std::collections::VecDeque;

use twindisk_core::LinkId;
use twindisk_format::frame::Envelope;

use super::machine::Stamp;

/// The connection, if there is one, and how many there were.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) link: Option<Link>,
    pub(super) links: u32,
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Nothing more can be sent. What is on its way may still arrive before an end hears of it.
    pub(super) broken: bool,
    pub(super) ends: [End; 2],
}

/// One end of it.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) state: EndState,
    /// What this end has sent and the other has not received.
    pub(super) sent: VecDeque<Parcel>,
    /// It is to be closed once everything sent has arrived.
    pub(super) closing: bool,
}

/// A frame with the blocks that travel beside it.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) envelope: Envelope,
    pub(super) blocks: Option<Vec<Stamp>>,
}

/// What the core at an end knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EndState {
    /// Not yet that the connection stands.
    #[default]
    Coming,
    /// That it stands.
    Up,
    /// That it is gone, or the core is gone itself.
    Gone,
}

impl Wire {
    /// A connection is made.
    pub(super) fn connect(&mut self) {
        self.links += 1;
        self.link = Some(Link {
            id: LinkId(self.links),
            broken: false,
            ends: [End::default(), End::default()],
        });
    }

    /// The connection breaks.
    pub(super) fn cut(&mut self) {
        if let Some(link) = &mut self.link {
            link.broken = true;
            for end in &mut link.ends {
                if end.state == EndState::Coming {
                    end.state = EndState::Gone;
                }
            }
        }
        self.forget();
    }

    /// The core at `side` is gone, or has heard that the connection is.
    pub(super) fn gone(&mut self, side: usize) {
        if let Some(link) = &mut self.link {
            link.ends[side].state = EndState::Gone;
            // What was on its way to it arrives nowhere.
            link.ends[1 - side].sent.clear();
        }
        self.cut();
    }

    /// Closes a connection whose last frame has arrived, if its sender wanted that.
    pub(super) fn close_drained(&mut self) {
        let drained = self.link.as_ref().is_some_and(|link| {
            let mut ends = link.ends.iter();
            ends.any(|end| end.closing && end.sent.is_empty())
        });
        if drained {
            self.cut();
        }
    }

    fn forget(&mut self) {
        let over = |link: &Link| link.ends.iter().all(|end| end.state == EndState::Gone);
        if self.link.as_ref().is_some_and(over) {
            self.link = None;
        }
    }
}
