//! The frames that announce an address, byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
pub(super) type Hardware = [u8; 6];

/// Both forms of gratuitous ARP, for there are systems that believe only one; or the one advertisement of IPv6.
pub(super) fn announcements(hardware: Hardware, ip: IpAddr) -> Vec<Vec<u8>> {
    match ip {
        IpAddr::V4(ip) => vec![
            arp(Operation::Request, hardware, ip),
            arp(Operation::Reply, hardware, ip),
        ],
        IpAddr::V6(ip) => vec![advertisement(hardware, ip)],
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Request,
    Reply,
}

/// RFC 826, for Ethernet and IPv4.
fn arp(operation: Operation, hardware: Hardware, ip: Ipv4Addr) -> Vec<u8> {
    // "The ARP target hardware address is not used" in a request; in a reply it is the sender's (RFC 5944, 4.6).
    let (operation, target) = match operation {
        Operation::Request => (1_u16, [0; 6]),
        Operation::Reply => (2, hardware),
    };
    let mut frame = ethernet(BROADCAST, hardware, 0x0806);
    frame.extend([0, 1, 0x08, 0x00, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(hardware);
    frame.extend(ip.octets());
    frame.extend(target);
    frame.extend(ip.octets());
    // Ethernet's shortest frame.
    frame.resize(60, 0);
    frame
}

/// RFC 4861 section 4.4: to all nodes, overriding what they know, with this machine's hardware address.
fn advertisement(hardware: Hardware, ip: Ipv6Addr) -> Vec<u8> {
    let mut icmp = vec![136, 0, 0, 0];
    icmp.extend([OVERRIDE, 0, 0, 0]);
    icmp.extend(ip.octets());
    icmp.extend([2, 1]);
    icmp.extend(hardware);
    let sum = checksum(ip, ALL_NODES, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());

    // Multicast of IPv6 goes to 33:33 and the last four bytes of the group (RFC 2464 section 7).
    let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], hardware, 0x86dd);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(u16::try_from(icmp.len()).expect("32 bytes").to_be_bytes());
    // Whoever sees another hop limit than 255 drops it.
    frame.extend([NEXT_HEADER_ICMPV6, 255]);
    frame.extend(ip.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(icmp);
    frame
}

fn ethernet(to: Hardware, from: Hardware, kind: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// RFC 4443 section 2.3: ones' complement sum over the pseudo-header and the message, whose own field is zero.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).expect("a short message");
    let mut bytes = Vec::new();
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, NEXT_HEADER_ICMPV6]);
    bytes.extend(message);
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Two folds leave 16 bits.
    !(folded as u16)
}

const BROADCAST: Hardware = [0xff; 6];

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The O flag.
const OVERRIDE: u8 = 0x20;

const NEXT_HEADER_ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Hardware = [2, 0, 0, 0, 0, 0xa];

    #[test]
    fn arp_in_both_forms() {
        let frames = announcements(MINE, "10.0.0.100".parse().unwrap());
        let [request, reply] = frames.as_slice() else {
            panic!("{frames:?}");
        };
        let mut expected = vec![0xff; 6];
        expected.extend(MINE);
        expected.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        expected.extend(MINE);
        expected.extend([10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 10, 0, 0, 100]);
        expected.resize(60, 0);
        assert_eq!(*request, expected);
        expected[21] = 2;
        expected[32..38].copy_from_slice(&MINE);
        assert_eq!(*reply, expected);
    }

    #[test]
    fn an_advertisement_sums_to_all_ones() {
        let ip: Ipv6Addr = "fd00::100".parse().unwrap();
        let frames = announcements(MINE, IpAddr::V6(ip));
        let [frame] = frames.as_slice() else {
            panic!("{frames:?}");
        };
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[14 + 7], 255);
        let icmp = &frame[54..];
        assert_eq!((icmp[0], icmp[4]), (136, 0x20));
        assert_eq!(icmp[8..24], ip.octets());
        assert_eq!(icmp[24..], [2, 1, 2, 0, 0, 0, 0, 0xa]);
        // The receiver's check: with the sum in its place the complement is zero.
        assert_eq!(checksum(ip, ALL_NODES, icmp), 0);
    }
}
