//! The generic netlink socket: the only place of this crate with system calls of its own.

#![allow(unsafe_code, reason = "socket options that no safe wrapper carries")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    socket,
};

use crate::attach::AttachError;
use crate::limits;

/// A bound, non-blocking socket that listens to the kernel alone.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

/// What a receive brought.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// One or more messages.
    Bytes(&'a [u8]),
    /// The deadline passed.
    Nothing,
    /// The kernel dropped messages because nobody read them.
    Lost,
}

impl NetlinkSocket {
    pub(super) fn open() -> Result<Self, AttachError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::NetlinkGeneric;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)
            .map_err(|e| AttachError::NoNetlink(e.into()))?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(failed("binding to netlink"))?;
        let socket = Self {
            fd,
            buffer: vec![0; limits::MAX_NETLINK_BYTES],
        };
        // Errors in words, and short acknowledgements. Kernels before 4.12 know neither: errors
        // are then numbers only.
        let _ = socket.set_option(libc::NETLINK_EXT_ACK, 1);
        let _ = socket.set_option(libc::NETLINK_CAP_ACK, 1);
        Ok(socket)
    }

    /// Joins a multicast group.
    pub(super) fn join(&self, group: u32) -> Result<(), AttachError> {
        let joined = self.set_option(libc::NETLINK_ADD_MEMBERSHIP, group);
        joined.map_err(|source| AttachError::Io {
            doing: "joining the nbd event group",
            source,
        })
    }

    pub(super) fn send(&self, message: &[u8]) -> Result<(), AttachError> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.fd.as_raw_fd(), message, &kernel, MsgFlags::empty())
            .map(drop)
            .map_err(failed("sending to the kernel by netlink"))
    }

    /// Waits for messages from the kernel until `deadline`; `None` is for ever.
    pub(super) fn receive(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Received<'_>, AttachError> {
        const DOING: &str = "receiving from the kernel by netlink";
        let length = loop {
            if !self.wait(deadline).map_err(failed(DOING))? {
                return Ok(Received::Nothing);
            }
            match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut self.buffer) {
                // Any process may write to our port: only the kernel (port 0) is believed.
                Ok((length, Some(from))) if from.pid() == 0 => break length,
                Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => return Ok(Received::Lost),
                Err(error) => return Err(failed(DOING)(error)),
            }
        };
        if length >= self.buffer.len() {
            let source = io::Error::from(io::ErrorKind::FileTooLarge);
            return Err(AttachError::Io {
                doing: DOING,
                source,
            });
        }
        Ok(Received::Bytes(
            self.buffer.get(..length).unwrap_or_default(),
        ))
    }

    /// Whether something can be read before the deadline.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Errno> {
        loop {
            let timeout = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // Rounded up, so that the last millisecond is not spent spinning.
                    let left = if left.is_zero() {
                        left
                    } else {
                        left + Duration::from_millis(1)
                    };
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn set_option(&self, option: libc::c_int, value: u32) -> io::Result<()> {
        let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open for as long as `self`; the pointer is to a live u32 and
        // the length is its size; the kernel only reads it.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const value).cast(),
                length,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for NetlinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn failed(doing: &'static str) -> impl Fn(Errno) -> AttachError {
    move |error| AttachError::Io {
        doing,
        source: error.into(),
    }
}
