//! What the kernel says about a network interface and who carries an address.

use std::{io, net::IpAddr};

use nix::{
    ifaddrs::getifaddrs,
    libc,
    net::if_::InterfaceFlags,
    sys::socket::{LinkAddr, SockaddrStorage},
};

/// An interface's lower half.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Names the interface to a packet socket.
    pub(crate) address: LinkAddr,
    flags: InterfaceFlags,
}

impl Link {
    /// Its hardware address if it is an Ethernet, or looks like one.
    pub(crate) fn ethernet(&self) -> Option<[u8; 6]> {
        let ethernet = self.address.hatype() == libc::ARPHRD_ETHER;
        self.address.addr().filter(|_| ethernet)
    }

    /// An operator has switched it on.
    pub(crate) fn is_up(&self) -> bool {
        self.flags.contains(InterfaceFlags::IFF_UP)
    }

    /// Its cable is in.
    pub(crate) fn is_running(&self) -> bool {
        self.flags.contains(InterfaceFlags::IFF_RUNNING)
    }
}

/// The interface of this name, if there is one.
pub(crate) fn link(name: &str) -> io::Result<Option<Link>> {
    let found = getifaddrs()?.find_map(|entry| {
        let address = *entry.address.as_ref()?.as_link_addr()?;
        (entry.interface_name == name).then_some(Link {
            address,
            flags: entry.flags,
        })
    });
    Ok(found)
}

/// The interfaces that carry an address.
pub(crate) fn carriers(ip: IpAddr) -> io::Result<Vec<String>> {
    let carriers = getifaddrs()?
        .filter(|entry| entry.address.as_ref().and_then(ip_of) == Some(ip))
        // An address with a label, `eth0:1`, is listed under its label.
        .map(|entry| match entry.interface_name.split_once(':') {
            Some((name, _)) => name.to_owned(),
            None => entry.interface_name,
        });
    Ok(carriers.collect())
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(IpAddr::V4(v4.ip()));
    }
    address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
}
