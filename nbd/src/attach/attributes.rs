//! Netlink attributes, in both directions, without a socket. They are in the byte order of the
//! host and padded to four bytes (include/uapi/linux/netlink.h, `struct nlattr`).

use crate::attach::MalformedNetlink;

/// Attributes being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    pub(super) fn put_u64(&mut self, kind: u16, value: u64) {
        self.put(kind, &value.to_ne_bytes());
    }

    /// A string with its closing NUL.
    pub(super) fn put_string(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    pub(super) fn put_nested(&mut self, kind: u16, inner: &Self) {
        self.put(kind | NESTED, &inner.bytes);
    }

    fn put(&mut self, kind: u16, payload: &[u8]) {
        let length = u16::try_from(HEADER_BYTES + payload.len())
            .expect("callers bound strings and sockets far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// Attributes being read: type (without its flag bits) and payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttributeReader<'a> {
    rest: &'a [u8],
}

impl<'a> AttributeReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The payload of the first attribute of this type.
    pub(super) fn find(self, kind: u16) -> Result<Option<&'a [u8]>, MalformedNetlink> {
        for attribute in self {
            let (found, payload) = attribute?;
            if found == kind {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    fn read_one(&mut self) -> Option<(u16, &'a [u8])> {
        let (length, after) = self.rest.split_first_chunk::<2>()?;
        let (kind, _) = after.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let payload = self.rest.get(HEADER_BYTES..length)?;
        let next = length.next_multiple_of(ALIGNMENT).min(self.rest.len());
        self.rest = self.rest.get(next..)?;
        Some((u16::from_ne_bytes(*kind) & TYPE_MASK, payload))
    }
}

impl<'a> Iterator for AttributeReader<'a> {
    type Item = Result<(u16, &'a [u8]), MalformedNetlink>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read_one();
        if read.is_none() {
            self.rest = &[];
        }
        Some(read.ok_or(MalformedNetlink(
            "an attribute that does not fit its message",
        )))
    }
}

pub(super) fn as_u8(payload: &[u8]) -> Result<u8, MalformedNetlink> {
    match payload {
        [value] => Ok(*value),
        _ => Err(MalformedNetlink("an 8-bit attribute of another length")),
    }
}

pub(super) fn as_u16(payload: &[u8]) -> Result<u16, MalformedNetlink> {
    let bytes = payload.try_into();
    bytes
        .map(u16::from_ne_bytes)
        .map_err(|_| MalformedNetlink("a 16-bit attribute of another length"))
}

pub(super) fn as_u32(payload: &[u8]) -> Result<u32, MalformedNetlink> {
    let bytes = payload.try_into();
    bytes
        .map(u32::from_ne_bytes)
        .map_err(|_| MalformedNetlink("a 32-bit attribute of another length"))
}

/// A string without its closing NUL.
pub(super) fn as_text(payload: &[u8]) -> &[u8] {
    payload.strip_suffix(&[0]).unwrap_or(payload)
}

const HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: without the nested and byte order flags.
const TYPE_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_the_round_trip() {
        let mut inner = Attributes::default();
        inner.put_u32(1, 7);
        let mut all = Attributes::default();
        all.put_u64(2, 1 << 40);
        all.put_string(3, "ab");
        all.put_nested(4, &inner);
        let read: Vec<_> = AttributeReader::new(all.as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(read[0], (2, &(1_u64 << 40).to_ne_bytes()[..]));
        assert_eq!(read[1], (3, &b"ab\0"[..]));
        assert_eq!(as_text(read[1].1), b"ab");
        let nested = AttributeReader::new(read[2].1).find(1).unwrap().unwrap();
        assert_eq!(as_u32(nested), Ok(7));
        assert_eq!(AttributeReader::new(all.as_bytes()).find(9), Ok(None));
    }

    #[test]
    fn attributes_that_lie_about_their_length_are_malformed() {
        for length in [0_u16, 1, 3, 9, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
            let read: Vec<_> = AttributeReader::new(&bytes).collect();
            assert!(read.len() == 1 && read[0].is_err(), "length {length}");
        }
        assert!(AttributeReader::new(&[4, 0, 1]).find(1).is_err());
        assert!(as_u32(&[1, 2, 3]).is_err() && as_u16(&[1]).is_err() && as_u8(&[]).is_err());
    }
}
