//! Generic netlink messages, without a socket: the envelope, the family lookup, acknowledgements
//! (include/uapi/linux/netlink.h and genetlink.h).

use crate::attach::MalformedNetlink;
use crate::attach::attributes::{AttributeReader, Attributes, as_text, as_u16, as_u32};
use crate::bytes::printable;

/// What a request asks of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) family: u16,
    pub(super) version: u8,
    pub(super) command: u8,
    pub(super) attributes: Attributes,
}

impl Call {
    /// The lookup of a family by name.
    pub(super) fn get_family(name: &str) -> Self {
        let mut attributes = Attributes::default();
        attributes.put_string(CTRL_ATTR_FAMILY_NAME, name);
        Self {
            family: GENL_ID_CTRL,
            version: 1,
            command: CTRL_CMD_GETFAMILY,
            attributes,
        }
    }

    /// The message, which asks for an acknowledgement.
    pub(super) fn encode(&self, sequence: u32) -> Vec<u8> {
        let attributes = self.attributes.as_bytes();
        let length = u32::try_from(HEADER_BYTES + GENL_HEADER_BYTES + attributes.len())
            .expect("attributes are far below 64 KiB");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&self.family.to_ne_bytes());
        bytes.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]); // Port: the kernel fills it in.
        bytes.extend_from_slice(&[self.command, self.version, 0, 0]);
        bytes.extend_from_slice(attributes);
        bytes
    }
}

/// A message from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Incoming<'a> {
    pub(super) sequence: u32,
    pub(super) body: Body<'a>,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A message of a family, with its attributes.
    Generic {
        family: u16,
        command: u8,
        attributes: &'a [u8],
    },
    /// The request was carried out.
    Acknowledged,
    /// The request failed.
    Failed { errno: i32, message: Option<String> },
    /// Nothing for us.
    Other,
}

/// Splits what one receive gave into messages.
pub(super) fn decode_all(mut bytes: &[u8]) -> Result<Vec<Incoming<'_>>, MalformedNetlink> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let length = native_u32(bytes, 0).and_then(|l| usize::try_from(l).ok());
        let message = length.and_then(|length| bytes.get(..length)).ok_or(CUT)?;
        messages.push(decode(message)?);
        let next = message.len().next_multiple_of(ALIGNMENT).min(bytes.len());
        bytes = bytes.get(next..).unwrap_or_default();
    }
    Ok(messages)
}

fn decode(message: &[u8]) -> Result<Incoming<'_>, MalformedNetlink> {
    let kind = native_u16(message, 4).ok_or(CUT)?;
    let flags = native_u16(message, 6).ok_or(CUT)?;
    let sequence = native_u32(message, 8).ok_or(CUT)?;
    let payload = message.get(HEADER_BYTES..).ok_or(CUT)?;
    let body = match kind {
        NLMSG_ERROR => decode_error(flags, payload)?,
        NLMSG_NOOP | NLMSG_DONE | NLMSG_OVERRUN => Body::Other,
        family => {
            let command = *payload.first().ok_or(CUT)?;
            let attributes = payload.get(GENL_HEADER_BYTES..).ok_or(CUT)?;
            Body::Generic {
                family,
                command,
                attributes,
            }
        }
    };
    Ok(Incoming { sequence, body })
}

/// `struct nlmsgerr`: the error, the header that caused it (with its payload unless capped), then
/// attributes if the kernel has something to add.
fn decode_error(flags: u16, payload: &[u8]) -> Result<Body<'_>, MalformedNetlink> {
    let code = native_u32(payload, 0).ok_or(CUT)?.cast_signed();
    if code == 0 {
        return Ok(Body::Acknowledged);
    }
    let echoed = match flags & NLM_F_CAPPED {
        0 => native_u32(payload, 4)
            .and_then(|l| usize::try_from(l).ok())
            .unwrap_or(usize::MAX),
        _ => HEADER_BYTES,
    };
    let mut message = None;
    if flags & NLM_F_ACK_TLVS != 0 {
        let start = echoed
            .checked_next_multiple_of(ALIGNMENT)
            .and_then(|l| l.checked_add(4));
        let extra = start.and_then(|start| payload.get(start..)).ok_or(CUT)?;
        let text = AttributeReader::new(extra).find(NLMSGERR_ATTR_MSG)?;
        message = text.map(|text| printable(as_text(text), 512));
    }
    Ok(Body::Failed {
        errno: code.saturating_neg(),
        message,
    })
}

/// Where a family lives, as the kernel numbered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) id: u16,
    /// The group that was asked for, if the family has it.
    pub(super) multicast_group: Option<u32>,
}

impl Family {
    /// Reads the answer to [`Call::get_family`].
    pub(super) fn decode(attributes: &[u8], group: &str) -> Result<Self, MalformedNetlink> {
        let reader = AttributeReader::new(attributes);
        let id = reader
            .find(CTRL_ATTR_FAMILY_ID)?
            .ok_or(MalformedNetlink("a family without id"))?;
        let mut multicast_group = None;
        let groups = reader.find(CTRL_ATTR_MCAST_GROUPS)?.unwrap_or_default();
        for item in AttributeReader::new(groups) {
            let item = AttributeReader::new(item?.1);
            let name = item.find(CTRL_ATTR_MCAST_GRP_NAME)?.map(as_text);
            if name == Some(group.as_bytes()) {
                multicast_group = item.find(CTRL_ATTR_MCAST_GRP_ID)?.map(as_u32).transpose()?;
            }
        }
        Ok(Self {
            id: as_u16(id)?,
            multicast_group,
        })
    }
}

fn native_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_ne_bytes)
}

fn native_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

const CUT: MalformedNetlink = MalformedNetlink("a message that is cut short");
const HEADER_BYTES: usize = 16;
const GENL_HEADER_BYTES: usize = 4;
const ALIGNMENT: usize = 4;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The family of families.
pub(super) const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn family_lookup_has_golden_bytes() {
        let wanted = [
            0x1c, 0, 0, 0, 0x10, 0, 0x05, 0, 9, 0, 0, 0, 0, 0, 0, 0, // netlink header
            3, 1, 0, 0, // GETFAMILY, version 1
            8, 0, 2, 0, b'n', b'b', b'd', 0, // FAMILY_NAME
        ];
        assert_eq!(Call::get_family("nbd").encode(9), wanted);
    }

    /// As a kernel answers: name, id, version, header size, groups.
    fn family_answer() -> Vec<u8> {
        vec![
            0x48, 0, 0, 0, 0x10, 0, 0, 0, 9, 0, 0, 0, 1, 2, 0, 0, // netlink header
            1, 2, 0, 0, // NEWFAMILY
            8, 0, 2, 0, b'n', b'b', b'd', 0, // FAMILY_NAME
            6, 0, 1, 0, 0x22, 0, 0, 0, // FAMILY_ID 0x22
            36, 0, 7, 0x80, // MCAST_GROUPS
            32, 0, 1, 0x80, // first group
            8, 0, 2, 0, 7, 0, 0, 0, // its id
            17, 0, 1, 0, b'n', b'b', b'd', b'_', b'm', b'c', b'_', b'g', b'r', b'o', b'u', b'p', 0,
            0, 0, 0,
        ]
    }

    #[test]
    fn family_answer_is_read() {
        let answer = family_answer();
        let messages = decode_all(&answer).unwrap();
        let [Incoming { sequence: 9, body }] = messages.as_slice() else {
            panic!("{messages:?}")
        };
        let Body::Generic {
            family: GENL_ID_CTRL,
            command: 1,
            attributes,
        } = body
        else {
            panic!("{body:?}")
        };
        let family = Family::decode(attributes, "nbd_mc_group").unwrap();
        assert_eq!(
            family,
            Family {
                id: 0x22,
                multicast_group: Some(7)
            }
        );
        let other = Family::decode(attributes, "other").unwrap();
        assert_eq!(other.multicast_group, None);
    }

    #[test]
    fn cut_answers_are_malformed_and_never_panic() {
        let answer = family_answer();
        for end in 1..answer.len() {
            assert!(decode_all(&answer[..end]).is_err(), "cut at {end}");
        }
        for at in 20..answer.len() {
            let mut bent = answer.clone();
            bent[at] = 0xff;
            for message in decode_all(&bent).unwrap() {
                if let Body::Generic { attributes, .. } = message.body {
                    let _ = Family::decode(attributes, "nbd_mc_group");
                }
            }
        }
    }

    #[test]
    fn acknowledgements_and_errors_are_told_apart() {
        let ack = [
            &[36, 0, 0, 0, 2, 0, 0, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[28, 0, 0, 0, 16, 0, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let messages = decode_all(&ack).unwrap();
        assert_eq!(
            messages,
            [Incoming {
                sequence: 5,
                body: Body::Acknowledged
            }]
        );

        // -EBUSY (16) with the header only and a text.
        let failed = [
            &[
                48, 0, 0, 0, 2, 0, 0, 3, 5, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0xff, 0xff, 0xff,
            ][..],
            &[28, 0, 0, 0, 16, 0, 5, 0, 5, 0, 0, 0, 0, 0, 0, 0],
            &[9, 0, 1, 0, b'b', b'u', b's', b'y', 0, 0, 0, 0],
        ]
        .concat();
        let body = Body::Failed {
            errno: 16,
            message: Some("busy".to_owned()),
        };
        assert_eq!(
            decode_all(&failed).unwrap(),
            [Incoming { sequence: 5, body }]
        );
    }
}
