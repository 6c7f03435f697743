//! Adds and removes an address of an interface: rtnetlink(7), the two messages that are needed of it.

use std::{io, net::IpAddr, os::fd::AsRawFd};

use nix::{
    libc,
    net::if_::if_nametoindex,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::TimeVal,
    },
};

use crate::{config::Address, limits};

/// Adds it. One that is already there is no error.
pub(crate) fn add(address: &Address) -> io::Result<()> {
    // Nobody is asked whether the address is in use: whoever had it is proven to be off, and the seconds of duplicate
    // address detection would be seconds of outage.
    let flags = match address.ip {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => libc::IFA_F_NODAD,
    };
    let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    match request(address, libc::RTM_NEWADDR, create, flags) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

/// Removes it. One that is not there is no error.
pub(crate) fn remove(address: &Address) -> io::Result<()> {
    match request(address, libc::RTM_DELADDR, 0, 0) {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EADDRNOTAVAIL | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn request(address: &Address, kind: u16, flags: u16, address_flags: u32) -> io::Result<()> {
    let message = message(address, kind, flags, address_flags)?;
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let patience = TimeVal::new(limits::NETLINK.as_secs().cast_signed(), 0);
    setsockopt(&socket, ReceiveTimeout, &patience)?;
    let kernel = NetlinkAddr::new(0, 0);
    sendto(socket.as_raw_fd(), &message, &kernel, MsgFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES];
    let bytes = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(answer.get(..bytes).unwrap_or_default())
}

/// `nlmsghdr`, `ifaddrmsg`, attributes; in the host's byte order but for the addresses themselves.
fn message(address: &Address, kind: u16, flags: u16, address_flags: u32) -> io::Result<Vec<u8>> {
    let index = if_nametoindex(address.interface.as_str())?;
    let (family, octets) = match address.ip {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    let family = u8::try_from(family).expect("a family is a byte in this message");
    let mut body = vec![family, address.prefix, 0, libc::RT_SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    attribute(&mut body, libc::IFA_LOCAL, &octets);
    attribute(&mut body, libc::IFA_ADDRESS, &octets);
    if address_flags != 0 {
        attribute(&mut body, libc::IFA_FLAGS, &address_flags.to_ne_bytes());
    }
    let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let length = u32::try_from(HEADER_BYTES + body.len()).expect("a short message");
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(SEQUENCE.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    Ok(message)
}

/// `rtattr`; every length here is a multiple of four, so nothing is padded.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("an address");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// `nlmsgerr`: the error is 0 when it worked.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|kind| [kind[0], kind[1]]);
    let error = answer
        .get(HEADER_BYTES..HEADER_BYTES + 4)
        .and_then(|error| error.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind.map(u16::from_ne_bytes), error) {
        (Some(kind), Some(0)) if i32::from(kind) == libc::NLMSG_ERROR => Ok(()),
        (Some(kind), Some(error)) if i32::from(kind) == libc::NLMSG_ERROR => {
            Err(io::Error::from_raw_os_error(-error))
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's answer is no acknowledgement",
        )),
    }
}

/// `nlmsghdr`.
const HEADER_BYTES: usize = 16;

/// One request a socket.
const SEQUENCE: u32 = 1;

/// An acknowledgement repeats the request.
const ANSWER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_acknowledgement_or_an_error() {
        let answer = |error: i32| {
            let mut answer = vec![0; HEADER_BYTES];
            answer[4] = u8::try_from(libc::NLMSG_ERROR).unwrap();
            answer.extend(error.to_ne_bytes());
            answer
        };
        acknowledged(&answer(0)).unwrap();
        let refused = acknowledged(&answer(-libc::EPERM)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        for garbage in [&[][..], &[0; 15], &[0; 64]] {
            let error = acknowledged(garbage).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
