//! Names of operations on the ring: what kind, whose, and which life of that slot.

/// What an operation is about. The numbers are only for `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The eventfd of the mailbox.
    Mailbox = 1,
    /// An operation on the backing device.
    Disk,
    /// A write of metadata.
    Meta,
    /// A client's socket hung up.
    ClientHangUp,
    /// Bytes from a client.
    ClientReceive,
    /// Replies to a client.
    ClientSend,
    /// Bytes from a peer.
    LinkReceive,
    /// Frames to a peer.
    LinkSend,
}

/// The name of one operation: (kind u8, generation u24, slot u32).
///
/// A slot belongs to the driver until the completion of its operation has arrived, so the generation can never be
/// wrong unless there is a bug; it is checked all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) generation: u32,
    pub(crate) slot: u32,
}

impl Token {
    pub(crate) const fn new(kind: Kind, generation: u32, slot: u32) -> Self {
        Self {
            kind,
            generation: generation & GENERATION_MASK,
            slot,
        }
    }

    pub(crate) const fn encode(self) -> u64 {
        (self.kind as u64) << 56 | (self.generation as u64) << 32 | self.slot as u64
    }

    /// # Panics
    /// When the ring gives back what was never put in.
    pub(crate) fn decode(user_data: u64) -> Self {
        let kind = match (user_data >> 56) as u8 {
            1 => Kind::Mailbox,
            2 => Kind::Disk,
            3 => Kind::Meta,
            4 => Kind::ClientHangUp,
            5 => Kind::ClientReceive,
            6 => Kind::ClientSend,
            7 => Kind::LinkReceive,
            8 => Kind::LinkSend,
            other => panic!("the ring completed an operation of unknown kind {other}"),
        };
        Self {
            kind,
            generation: (user_data >> 32) as u32 & GENERATION_MASK,
            slot: user_data as u32,
        }
    }

    /// Whether this names an operation of the given life of its slot.
    pub(crate) const fn is_of(self, generation: u32) -> bool {
        self.generation == generation & GENERATION_MASK
    }
}

const GENERATION_MASK: u32 = 0xff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_ring() {
        for kind in [
            Kind::Mailbox,
            Kind::Disk,
            Kind::Meta,
            Kind::ClientHangUp,
            Kind::ClientReceive,
            Kind::ClientSend,
            Kind::LinkReceive,
            Kind::LinkSend,
        ] {
            let token = Token::new(kind, 0x1234_5678, u32::MAX);
            assert_eq!(Token::decode(token.encode()), token);
            assert!(token.is_of(0x1234_5678));
            assert!(!token.is_of(0x1234_5679));
        }
    }
}
