//! News from the kernel: a connection of a device died.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::attach::AttachError;
use crate::attach::command::{NBD_CMD_LINK_DEAD, decode_index};
use crate::attach::kernel::Kernel;
use crate::attach::message::{Body, decode_all};
use crate::attach::socket::{NetlinkSocket, Received};

/// Something happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A connection of `/dev/nbdN` died; its requests wait for [`Kernel::reattach`], as long as
    /// the dead connection timeout allows.
    LinkDead {
        /// N of `/dev/nbdN`.
        index: u32,
    },
    /// Events were lost because nobody read them: treat every device as if a link had died.
    Lost,
}

/// A listener. Events from before it was opened are not told.
#[derive(Debug)]
pub struct LinkEvents {
    socket: NetlinkSocket,
    family: u16,
    waiting: VecDeque<LinkEvent>,
}

impl LinkEvents {
    /// Starts to listen.
    ///
    /// # Errors
    /// If the driver is missing or netlink fails.
    pub fn open() -> Result<Self, AttachError> {
        let family = Kernel::open()?.family();
        let group = family.multicast_group.ok_or(AttachError::NoDriver)?;
        let socket = NetlinkSocket::open()?;
        socket.join(group)?;
        Ok(Self {
            socket,
            family: family.id,
            waiting: VecDeque::new(),
        })
    }

    /// Waits up to `timeout` for an event.
    ///
    /// # Errors
    /// If netlink fails.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<LinkEvent>, AttachError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            match self.socket.receive(deadline)? {
                Received::Nothing => return Ok(None),
                Received::Lost => return Ok(Some(LinkEvent::Lost)),
                Received::Bytes(bytes) => {
                    self.waiting.extend(decode_events(bytes, self.family)?);
                }
            }
        }
    }
}

impl AsFd for LinkEvents {
    /// Readable when [`Self::next`] has something to say.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn decode_events(bytes: &[u8], ours: u16) -> Result<Vec<LinkEvent>, AttachError> {
    let mut events = Vec::new();
    for message in decode_all(bytes)? {
        match message.body {
            Body::Generic {
                family,
                command: NBD_CMD_LINK_DEAD,
                attributes,
            } if family == ours => {
                events.push(LinkEvent::LinkDead {
                    index: decode_index(attributes)?,
                });
            }
            Body::Generic { .. } | Body::Acknowledged | Body::Failed { .. } | Body::Other => {}
        }
    }
    Ok(events)
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_heard() {
        let message = |family: u8, command: u8| {
            let mut bytes = vec![28, 0, 0, 0, family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            bytes.extend_from_slice(&[command, 1, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0]);
            bytes
        };
        let bytes = [message(0x22, 4), message(0x23, 4), message(0x22, 1)].concat();
        let events = decode_events(&bytes, 0x22).unwrap();
        assert_eq!(events, [LinkEvent::LinkDead { index: 2 }]);
        assert!(decode_events(&bytes[..40], 0x22).is_err());
    }
}
