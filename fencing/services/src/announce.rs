//! Tells the neighbours which machine has an address now: gratuitous ARP (RFC 5227, RFC 5944 section 4.6) and
//! unsolicited neighbour advertisements (RFC 4861 section 7.2.6).
//!
//! Without it the others go on talking to the machine that had the address before, for 40 seconds and more.

mod frame;

use std::{io, iter, os::fd::AsRawFd, time::Duration};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sendto, socket};
use tokio::task::JoinHandle;

use crate::{
    config::Address,
    interface::{carriers, link},
    limits,
};

/// Announces an address for as long as it lives.
#[derive(Debug)]
pub(crate) struct Announcer(JoinHandle<()>);

impl Announcer {
    /// The first announcements are on the wire when it returns.
    pub(crate) fn start(address: &Address) -> Self {
        let mut voice = Voice::new(address);
        for _ in 0..limits::ANNOUNCE_AT_ONCE {
            voice.speak();
        }
        Self(tokio::spawn(async move {
            for pause in pauses() {
                tokio::time::sleep(pause).await;
                voice.speak();
            }
        }))
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Announces, and says once when that does not work: the address itself is up, and its users may need no word of it.
struct Voice {
    address: Address,
    failed: bool,
}

impl Voice {
    fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            failed: false,
        }
    }

    fn speak(&mut self) {
        let result = announce(&self.address);
        if let (Err(error), false) = (&result, self.failed) {
            tracing::warn!(
                address = %self.address.ip, interface = self.address.interface, %error,
                "the address is not announced: neighbours may go on talking to the node that had it before"
            );
        }
        self.failed = result.is_err();
    }
}

/// When to announce after the announcements at once.
fn pauses() -> impl Iterator<Item = Duration> + Send {
    iter::repeat_n(limits::ANNOUNCE_SOON_EVERY, limits::ANNOUNCE_SOON)
        .chain(iter::repeat(limits::ANNOUNCE_EVERY))
}

/// Looks everything up anew each time: a bond that fails over changes its hardware address, and an address that
/// somebody has removed must not be announced.
fn announce(address: &Address) -> io::Result<()> {
    if !carriers(address.ip)?.contains(&address.interface) {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the interface does not carry it any more: somebody has removed it",
        ));
    }
    let Some(link) = link(&address.interface)? else {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the interface is gone",
        ));
    };
    // Loopback and tunnels have no neighbours that could be told.
    let Some(hardware) = link.ethernet() else {
        return Ok(());
    };
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        // Protocol 0: it only sends.
        None::<SockProtocol>,
    )?;
    for frame in frame::announcements(hardware, address.ip) {
        sendto(
            socket.as_raw_fd(),
            &frame,
            &link.address,
            MsgFlags::MSG_DONTWAIT,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soon_a_few_times_then_for_ever() {
        let first: Vec<u64> = pauses().take(8).map(|pause| pause.as_secs()).collect();
        assert_eq!(first, [1, 1, 1, 1, 1, 30, 30, 30]);
    }
}
