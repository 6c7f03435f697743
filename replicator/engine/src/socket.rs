//! What both kinds of connections need of their sockets besides the ring.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tracing::debug;

use crate::limits::{CLIENT_KEEPALIVE, LINK_SOCKET_BYTES};

/// Takes a socket over in blocking mode: the ring waits for it, nobody else does.
pub(crate) fn set_blocking(socket: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(socket, FcntlArg::F_GETFL)?);
    fcntl(
        socket,
        FcntlArg::F_SETFL(flags.difference(OFlag::O_NONBLOCK)),
    )?;
    Ok(())
}

/// Ends one direction or both; what is under way on it ends with it.
pub(crate) fn shut_down(socket: &OwnedFd, how: libc::c_int) {
    // SAFETY: the descriptor is open; the call touches no memory.
    if unsafe { libc::shutdown(socket.as_raw_fd(), how) } < 0 {
        let error = io::Error::last_os_error();
        debug!(%error, "shutting a socket down");
    }
}

/// Makes a peer's socket fit for replication. None of it is essential, and a Unix socket knows none of it.
///
/// `patience` is for what the peer's host does not acknowledge, a full receive window among it: a standby whose disk
/// stalls keeps its link for as long as the core is willing to wait for its answers. That a host is dead is found out
/// by the core's pings.
pub(crate) fn tune_link(socket: &OwnedFd, patience: Duration) {
    set(socket, "TCP_NODELAY", TCP, libc::TCP_NODELAY, 1);
    set(
        socket,
        "TCP_USER_TIMEOUT",
        TCP,
        libc::TCP_USER_TIMEOUT,
        millis(patience),
    );
    // Setting them ends the kernel's own tuning, so it is done only where the system's limit can be passed.
    for (name, option) in [
        ("SO_SNDBUFFORCE", libc::SO_SNDBUFFORCE),
        ("SO_RCVBUFFORCE", libc::SO_RCVBUFFORCE),
    ] {
        set(socket, name, libc::SOL_SOCKET, option, LINK_SOCKET_BYTES);
    }
}

/// Makes a client's socket answer at once, and notice a client's host that is gone.
pub(crate) fn tune_client(socket: &OwnedFd) {
    let seconds = i32::try_from(CLIENT_KEEPALIVE.as_secs()).expect("a few seconds");
    set(socket, "TCP_NODELAY", TCP, libc::TCP_NODELAY, 1);
    set(
        socket,
        "SO_KEEPALIVE",
        libc::SOL_SOCKET,
        libc::SO_KEEPALIVE,
        1,
    );
    set(socket, "TCP_KEEPIDLE", TCP, libc::TCP_KEEPIDLE, seconds);
    set(socket, "TCP_KEEPINTVL", TCP, libc::TCP_KEEPINTVL, seconds);
    set(socket, "TCP_KEEPCNT", TCP, libc::TCP_KEEPCNT, 3);
}

fn millis(time: Duration) -> libc::c_int {
    libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX)
}

fn set(
    socket: &OwnedFd,
    name: &'static str,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) {
    // SAFETY: the kernel reads one int from `value`.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        debug!(option = name, %error, "not set on a socket");
    }
}

const TCP: libc::c_int = libc::IPPROTO_TCP;
