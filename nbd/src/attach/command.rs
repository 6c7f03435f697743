//! The commands and attributes of the kernel's nbd family, without a socket
//! (include/uapi/linux/nbd-netlink.h).

use std::os::fd::RawFd;

use crate::attach::MalformedNetlink;
use crate::attach::attributes::{AttributeReader, Attributes, as_u8, as_u32};
use crate::attach::message::Call;

/// The family's name.
pub(super) const FAMILY: &str = "nbd";
/// The group that hears of dead links.
pub(super) const MULTICAST_GROUP: &str = "nbd_mc_group";

/// A command to the kernel's driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Make a device.
    Connect(Connect<'a>),
    /// Take a device down.
    Disconnect { index: u32 },
    /// Change a device.
    Reconfigure(Reconfigure<'a>),
    /// Ask about one device, or all.
    Status { index: Option<u32> },
}

/// The parameters of a new device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connect<'a> {
    pub(super) index: Option<u32>,
    pub(super) size_bytes: u64,
    pub(super) block_size_bytes: u64,
    pub(super) server_flags: u16,
    pub(super) client_flags: u64,
    pub(super) timeout_s: Option<u64>,
    pub(super) dead_conn_timeout_s: Option<u64>,
    pub(super) backend_identifier: Option<&'a str>,
    pub(super) sockets: &'a [RawFd],
}

/// What changes on a device; the rest stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reconfigure<'a> {
    pub(super) index: u32,
    pub(super) size_bytes: Option<u64>,
    pub(super) timeout_s: Option<u64>,
    pub(super) dead_conn_timeout_s: Option<u64>,
    /// Must be the one given at connect: the kernel refuses to mix up devices.
    pub(super) backend_identifier: Option<&'a str>,
    pub(super) sockets: &'a [RawFd],
}

impl Request<'_> {
    /// The command's name, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Connect(_) => "NBD_CMD_CONNECT",
            Self::Disconnect { .. } => "NBD_CMD_DISCONNECT",
            Self::Reconfigure(_) => "NBD_CMD_RECONFIGURE",
            Self::Status { .. } => "NBD_CMD_STATUS",
        }
    }

    /// The call to the family.
    pub(super) fn to_call(&self, family: u16) -> Call {
        let mut attributes = Attributes::default();
        let command = match self {
            Self::Connect(connect) => {
                connect.put(&mut attributes);
                NBD_CMD_CONNECT
            }
            Self::Disconnect { index } => {
                attributes.put_u32(NBD_ATTR_INDEX, *index);
                NBD_CMD_DISCONNECT
            }
            Self::Reconfigure(reconfigure) => {
                reconfigure.put(&mut attributes);
                NBD_CMD_RECONFIGURE
            }
            Self::Status { index } => {
                if let Some(index) = index {
                    attributes.put_u32(NBD_ATTR_INDEX, *index);
                }
                NBD_CMD_STATUS
            }
        };
        Call {
            family,
            version: VERSION,
            command,
            attributes,
        }
    }
}

impl Connect<'_> {
    fn put(&self, to: &mut Attributes) {
        if let Some(index) = self.index {
            to.put_u32(NBD_ATTR_INDEX, index);
        }
        to.put_u64(NBD_ATTR_SIZE_BYTES, self.size_bytes);
        to.put_u64(NBD_ATTR_BLOCK_SIZE_BYTES, self.block_size_bytes);
        put_timeouts(to, self.timeout_s, self.dead_conn_timeout_s);
        to.put_u64(NBD_ATTR_SERVER_FLAGS, u64::from(self.server_flags));
        to.put_u64(NBD_ATTR_CLIENT_FLAGS, self.client_flags);
        put_identity(to, self.backend_identifier);
        put_sockets(to, self.sockets);
    }
}

impl Reconfigure<'_> {
    fn put(&self, to: &mut Attributes) {
        to.put_u32(NBD_ATTR_INDEX, self.index);
        if let Some(size_bytes) = self.size_bytes {
            to.put_u64(NBD_ATTR_SIZE_BYTES, size_bytes);
        }
        put_timeouts(to, self.timeout_s, self.dead_conn_timeout_s);
        put_identity(to, self.backend_identifier);
        if !self.sockets.is_empty() {
            put_sockets(to, self.sockets);
        }
    }
}

fn put_timeouts(to: &mut Attributes, timeout_s: Option<u64>, dead_conn_timeout_s: Option<u64>) {
    if let Some(seconds) = timeout_s {
        to.put_u64(NBD_ATTR_TIMEOUT, seconds);
    }
    if let Some(seconds) = dead_conn_timeout_s {
        to.put_u64(NBD_ATTR_DEAD_CONN_TIMEOUT, seconds);
    }
}

fn put_identity(to: &mut Attributes, backend_identifier: Option<&str>) {
    if let Some(identifier) = backend_identifier {
        to.put_string(NBD_ATTR_BACKEND_IDENTIFIER, identifier);
    }
}

fn put_sockets(to: &mut Attributes, sockets: &[RawFd]) {
    let mut list = Attributes::default();
    for socket in sockets {
        let mut item = Attributes::default();
        item.put_u32(NBD_SOCK_FD, socket.cast_unsigned());
        list.put_nested(NBD_SOCK_ITEM, &item);
    }
    to.put_nested(NBD_ATTR_SOCKETS, &list);
}

/// One device of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceStatus {
    /// N of `/dev/nbdN`.
    pub index: u32,
    /// Whether it is configured.
    pub connected: bool,
}

/// Reads the index from the answer to a connect, or from the news of a dead link.
pub(super) fn decode_index(attributes: &[u8]) -> Result<u32, MalformedNetlink> {
    let index = AttributeReader::new(attributes).find(NBD_ATTR_INDEX)?;
    as_u32(index.ok_or(MalformedNetlink("an answer without the device's index"))?)
}

/// Reads the answer to a status request.
pub(super) fn decode_status(attributes: &[u8]) -> Result<Vec<DeviceStatus>, MalformedNetlink> {
    let missing = MalformedNetlink("a device without index or state");
    let list = AttributeReader::new(attributes)
        .find(NBD_ATTR_DEVICE_LIST)?
        .unwrap_or_default();
    let mut devices = Vec::new();
    for item in AttributeReader::new(list) {
        let (kind, item) = item?;
        if kind != NBD_DEVICE_ITEM {
            continue;
        }
        let item = AttributeReader::new(item);
        let index = as_u32(item.find(NBD_DEVICE_INDEX)?.ok_or(missing)?)?;
        let connected = as_u8(item.find(NBD_DEVICE_CONNECTED)?.ok_or(missing)?)? != 0;
        devices.push(DeviceStatus { index, connected });
    }
    Ok(devices)
}

const VERSION: u8 = 1;

const NBD_CMD_CONNECT: u8 = 1;
const NBD_CMD_DISCONNECT: u8 = 2;
const NBD_CMD_RECONFIGURE: u8 = 3;
/// News from the kernel, not a request.
pub(super) const NBD_CMD_LINK_DEAD: u8 = 4;
const NBD_CMD_STATUS: u8 = 5;

const NBD_ATTR_INDEX: u16 = 1;
const NBD_ATTR_SIZE_BYTES: u16 = 2;
const NBD_ATTR_BLOCK_SIZE_BYTES: u16 = 3;
const NBD_ATTR_TIMEOUT: u16 = 4;
const NBD_ATTR_SERVER_FLAGS: u16 = 5;
const NBD_ATTR_CLIENT_FLAGS: u16 = 6;
const NBD_ATTR_SOCKETS: u16 = 7;
const NBD_ATTR_DEAD_CONN_TIMEOUT: u16 = 8;
const NBD_ATTR_DEVICE_LIST: u16 = 9;
const NBD_ATTR_BACKEND_IDENTIFIER: u16 = 10;

const NBD_SOCK_ITEM: u16 = 1;
const NBD_SOCK_FD: u16 = 1;
const NBD_DEVICE_ITEM: u16 = 1;
const NBD_DEVICE_INDEX: u16 = 1;
const NBD_DEVICE_CONNECTED: u16 = 2;

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    /// Netlink and generic header of a call to family 0x22 with sequence number 1.
    fn headers(length: u8, command: u8) -> Vec<u8> {
        vec![
            length, 0, 0, 0, 0x22, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, command, 1, 0, 0,
        ]
    }

    fn encoded(request: &Request<'_>) -> Vec<u8> {
        request.to_call(0x22).encode(1)
    }

    #[test]
    fn connect_has_golden_bytes() {
        let connect = Connect {
            index: Some(3),
            size_bytes: 1 << 30,
            block_size_bytes: 4096,
            server_flags: 0x10d,
            client_flags: 1,
            timeout_s: Some(60),
            dead_conn_timeout_s: Some(120),
            backend_identifier: Some("uuid"),
            sockets: &[5, 6],
        };
        let mut wanted = headers(140, 1);
        wanted.extend_from_slice(&[8, 0, 1, 0, 3, 0, 0, 0]); // INDEX
        wanted.extend_from_slice(&[12, 0, 2, 0, 0, 0, 0, 0x40, 0, 0, 0, 0]); // SIZE_BYTES
        wanted.extend_from_slice(&[12, 0, 3, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]); // BLOCK_SIZE_BYTES
        wanted.extend_from_slice(&[12, 0, 4, 0, 60, 0, 0, 0, 0, 0, 0, 0]); // TIMEOUT
        wanted.extend_from_slice(&[12, 0, 8, 0, 120, 0, 0, 0, 0, 0, 0, 0]); // DEAD_CONN_TIMEOUT
        wanted.extend_from_slice(&[12, 0, 5, 0, 0x0d, 1, 0, 0, 0, 0, 0, 0]); // SERVER_FLAGS
        wanted.extend_from_slice(&[12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 0, 0]); // CLIENT_FLAGS
        wanted.extend_from_slice(&[9, 0, 10, 0, b'u', b'u', b'i', b'd', 0, 0, 0, 0]); // identity
        wanted.extend_from_slice(&[28, 0, 7, 0x80]); // SOCKETS
        wanted.extend_from_slice(&[12, 0, 1, 0x80, 8, 0, 1, 0, 5, 0, 0, 0]); // ITEM, FD
        wanted.extend_from_slice(&[12, 0, 1, 0x80, 8, 0, 1, 0, 6, 0, 0, 0]);
        assert_eq!(encoded(&Request::Connect(connect)), wanted);
    }

    #[test]
    fn connect_leaves_out_what_is_not_wished() {
        let connect = Connect {
            index: None,
            size_bytes: 4096,
            block_size_bytes: 512,
            server_flags: 1,
            client_flags: 0,
            timeout_s: None,
            dead_conn_timeout_s: None,
            backend_identifier: None,
            sockets: &[5],
        };
        let call = Request::Connect(connect).to_call(0x22);
        let kinds: Vec<u16> = AttributeReader::new(call.attributes.as_bytes())
            .map(|a| a.unwrap().0)
            .collect();
        assert_eq!(kinds, [2, 3, 5, 6, 7]);
    }

    #[test]
    fn the_other_commands_have_golden_bytes() {
        let index = [8, 0, 1, 0, 3, 0, 0, 0];
        let disconnect = [headers(28, 2), index.to_vec()].concat();
        assert_eq!(encoded(&Request::Disconnect { index: 3 }), disconnect);
        let status = [headers(28, 5), index.to_vec()].concat();
        assert_eq!(encoded(&Request::Status { index: Some(3) }), status);
        assert_eq!(encoded(&Request::Status { index: None }), headers(20, 5));

        let resize = Reconfigure {
            index: 3,
            size_bytes: Some(8192),
            timeout_s: None,
            dead_conn_timeout_s: None,
            backend_identifier: Some("id"),
            sockets: &[],
        };
        let mut wanted = [headers(48, 3), index.to_vec()].concat();
        wanted.extend_from_slice(&[12, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]);
        wanted.extend_from_slice(&[7, 0, 10, 0, b'i', b'd', 0, 0]);
        assert_eq!(encoded(&Request::Reconfigure(resize)), wanted);

        let sockets = Reconfigure {
            size_bytes: None,
            dead_conn_timeout_s: Some(1),
            backend_identifier: None,
            sockets: &[9],
            ..resize
        };
        let mut wanted = [headers(56, 3), index.to_vec()].concat();
        wanted.extend_from_slice(&[12, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        wanted.extend_from_slice(&[16, 0, 7, 0x80, 12, 0, 1, 0x80, 8, 0, 1, 0, 9, 0, 0, 0]);
        assert_eq!(encoded(&Request::Reconfigure(sockets)), wanted);
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(decode_index(&[8, 0, 1, 0, 3, 0, 0, 0]), Ok(3));
        assert!(decode_index(&[]).is_err());
        let item = |index: u8, connected: u8| {
            [
                20, 0, 1, 0, 8, 0, 1, 0, index, 0, 0, 0, 5, 0, 2, 0, connected, 0, 0, 0,
            ]
        };
        let list = [&[44, 0, 9, 0x80][..], &item(0, 0), &item(4, 1)].concat();
        let devices = [
            DeviceStatus {
                index: 0,
                connected: false,
            },
            DeviceStatus {
                index: 4,
                connected: true,
            },
        ];
        assert_eq!(decode_status(&list).unwrap(), devices);
        assert_eq!(decode_status(&[]).unwrap(), []);
        for end in 1..list.len() {
            assert!(decode_status(&list[..end]).is_err(), "cut at {end}");
        }
    }
}
