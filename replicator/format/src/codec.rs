//! Control messages as bytes. The only place that calls bincode.
//!
//! The decoder is bounded: without a limit, twelve bytes that claim a long vector would abort the process. Messages
//! change only together with the protocol version; a golden test guards their bytes.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use bincode::config::{self, Configuration, Limit, LittleEndian, NoLimit, Varint};
use thiserror::Error;

use crate::{
    control::{ControlMessage, Membership, PeerState},
    ids::NodeId,
    limits::{MAX_CONTROL_BYTES, MAX_MADE_GOOD, MAX_PEERS, MAX_RUNS, MAX_WHY_BYTES},
    lineage::{Generation, MAX_LINEAGE},
};

/// Appends the bytes of `message` to `out`. A reason for the operator is cut at [`MAX_WHY_BYTES`].
///
/// # Panics
/// When the message is longer than [`MAX_CONTROL_BYTES`], which takes a lineage or set above its own limit.
pub fn encode(message: &ControlMessage, out: &mut Vec<u8>) {
    let before = out.len();
    let mut shortened = None;
    if Parts::of(message).why.len() > MAX_WHY_BYTES {
        let why = why_mut(shortened.insert(message.clone())).expect("it has a reason");
        let cut = (0..=MAX_WHY_BYTES).rfind(|at| why.is_char_boundary(*at));
        why.truncate(cut.unwrap_or(0));
    }
    let message = shortened.as_ref().unwrap_or(message);
    bincode::encode_into_std_write(message, out, WRITING).expect("writing to memory succeeds");
    let bytes = out.len() - before;
    assert!(
        bytes <= MAX_CONTROL_BYTES,
        "control message of {bytes} bytes"
    );
}

/// Reads the bytes of one message.
///
/// # Errors
/// When they are not exactly one message within its limits.
pub fn decode(bytes: &[u8]) -> Result<ControlMessage, CodecError> {
    if bytes.len() > MAX_CONTROL_BYTES {
        return Err(CodecError::TooLong { bytes: bytes.len() });
    }
    let (mut message, used): (ControlMessage, usize) = bincode::decode_from_slice(bytes, READING)
        .map_err(|error| CodecError::Malformed {
        why: error.to_string(),
    })?;
    if used != bytes.len() {
        return Err(CodecError::Trailing {
            bytes: bytes.len() - used,
        });
    }
    within_limits(&message)?;
    if let Some(why) = why_mut(&mut message).filter(|why| why.contains(is_mischief)) {
        *why = why.replace(is_mischief, "?");
    }
    Ok(message)
}

/// What a peer says is shown on terminals and stands in logs: nothing in it moves a cursor, rings, begins a line, turns one
/// around (Unicode's bidirectional controls), or is there and can't be seen.
fn is_mischief(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(letter, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// Why bytes are not a control message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// More bytes than any message has.
    #[error("control message of {bytes} bytes, {MAX_CONTROL_BYTES} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// They don't decode.
    #[error(
        "control message can't be decoded ({why}): the peer runs another version, or has an error"
    )]
    Malformed {
        /// In the decoder's words.
        why: String,
    },
    /// Something follows the message.
    #[error("control message is followed by {bytes} bytes that don't belong to it")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A part is larger than it can be.
    #[error("control message has {found} {what}, {limit} are allowed")]
    AboveLimit {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
}

fn within_limits(message: &ControlMessage) -> Result<(), CodecError> {
    let parts = Parts::of(message);
    at_most(parts.runs, MAX_RUNS, "runs")?;
    at_most(parts.made_good, MAX_MADE_GOOD, "runs made good")?;
    at_most(parts.why.len(), MAX_WHY_BYTES, "bytes of reason")?;
    at_most(parts.in_sync.len(), MAX_PEERS + 1, "nodes in sync")?;
    at_most(parts.joining.len(), MAX_PEERS + 1, "nodes beside them")?;
    at_most(parts.copies.len(), MAX_PEERS + 1, "copies")?;
    at_most(parts.equal.len(), MAX_PEERS + 1, "equal nodes")?;
    at_most(parts.generations.len(), MAX_LINEAGE, "generations")
}

fn at_most(found: usize, limit: usize, what: &'static str) -> Result<(), CodecError> {
    if found <= limit {
        Ok(())
    } else {
        Err(CodecError::AboveLimit { what, found, limit })
    }
}

/// The parts of a message that may be long.
#[derive(Default)]
struct Parts<'a> {
    why: &'a str,
    runs: usize,
    made_good: usize,
    generations: &'a [Generation],
    in_sync: &'a [NodeId],
    joining: &'a [NodeId],
    copies: &'a [NodeId],
    equal: &'a [NodeId],
}

impl<'a> Parts<'a> {
    fn of(message: &'a ControlMessage) -> Self {
        match message {
            ControlMessage::State(PeerState {
                lineage,
                in_sync,
                joining,
                copies,
                runs,
                ..
            }) => Self {
                generations: lineage.generations(),
                in_sync,
                joining,
                copies,
                runs: runs.newest.len(),
                made_good: runs.made_good.len(),
                ..Self::default()
            },
            ControlMessage::Membership(Membership {
                lineage,
                in_sync,
                joining,
                equal,
                ..
            }) => Self {
                generations: lineage.generations(),
                in_sync,
                joining,
                equal,
                ..Self::default()
            },
            ControlMessage::TermRequest { lineage, .. } => Self {
                generations: lineage.generations(),
                ..Self::default()
            },
            ControlMessage::TermRefused { why, .. }
            | ControlMessage::Refused { why }
            | ControlMessage::Goodbye { why } => Self {
                why,
                ..Self::default()
            },
            ControlMessage::Ready { .. }
            | ControlMessage::BeginResync { .. }
            | ControlMessage::ResyncBegun
            | ControlMessage::MembershipStored { .. }
            | ControlMessage::TermGranted { .. }
            | ControlMessage::SwitchoverRequest
            | ControlMessage::TakeOver
            | ControlMessage::Released
            | ControlMessage::ReleaseStored
            | ControlMessage::DiskFailed { .. }
            | ControlMessage::Resize { .. }
            | ControlMessage::Resized { .. }
            | ControlMessage::Discard
            | ControlMessage::Moment { .. }
            | ControlMessage::Seen { .. } => Self::default(),
        }
    }
}

/// The reason for the operator, for the messages in which [`Parts::of`] finds one.
fn why_mut(message: &mut ControlMessage) -> Option<&mut String> {
    match message {
        ControlMessage::TermRefused { why, .. }
        | ControlMessage::Refused { why }
        | ControlMessage::Goodbye { why } => Some(why),
        _ => None,
    }
}

type Config<L> = Configuration<LittleEndian, Varint, L>;

const WRITING: Config<NoLimit> = config::standard();
const READING: Config<Limit<MAX_CONTROL_BYTES>> = config::standard().with_limit();

#[cfg(test)]
mod tests;
