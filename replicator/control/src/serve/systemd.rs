//! What systemd hands in and wants to hear: inherited listening sockets, and "ready".

use std::{
    env, io,
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname},
};

/// The first inherited descriptor (sd_listen_fds(3)).
const FIRST_FD: RawFd = 3;

/// Most inherited sockets that are looked at.
const MAX_FDS: RawFd = 64;

/// A listening socket that was open before this process began.
#[derive(Debug)]
pub(crate) enum Inherited {
    Unix(std::os::unix::net::UnixListener),
    Tcp(std::net::TcpListener),
}

/// The listening sockets handed in by the protocol of sd_listen_fds(3); none when there are none for this process.
pub(crate) fn inherited() -> io::Result<Vec<Inherited>> {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
    };
    let for_us = number("LISTEN_PID") == Some(i64::from(std::process::id()));
    let count = number("LISTEN_FDS").unwrap_or(0);
    if !for_us || count <= 0 {
        return Ok(Vec::new());
    }
    let count = RawFd::try_from(count).unwrap_or(MAX_FDS).min(MAX_FDS);
    (FIRST_FD..FIRST_FD + count).map(take).collect()
}

/// Tells systemd how it goes (sd_notify(3)); nothing when nobody wants to know.
pub(crate) fn notify(state: &str) {
    let Some(place) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        let text = place.to_string_lossy();
        let address = match text.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(text.as_ref())?,
        };
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot tell systemd {state:?}");
    }
}

#[allow(
    unsafe_code,
    reason = "an inherited descriptor has no owner until one is made"
)]
fn take(fd: RawFd) -> io::Result<Inherited> {
    // SAFETY: by the protocol of sd_listen_fds(3) the descriptors from 3 on are this process's to own; `inherited` is
    // called once, before anything else is opened or could have closed them.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let address: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&fd))?;
    match address.family() {
        Some(AddressFamily::Unix) => {
            let listener = std::os::unix::net::UnixListener::from(fd);
            listener.set_nonblocking(true)?;
            Ok(Inherited::Unix(listener))
        }
        Some(AddressFamily::Inet | AddressFamily::Inet6) => {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            Ok(Inherited::Tcp(listener))
        }
        _ => Err(io::Error::other(
            "an inherited descriptor (LISTEN_FDS) is neither a Unix nor a TCP socket",
        )),
    }
}
