//! What one connection may take of what all share: memory for payloads, and places in the table of parts.
//!
//! Two rules, so that no client can keep others waiting, whatever it promises, sends or leaves unread:
//!
//! - a share is kept for each connection that there may be: a request of 64 KiB always finds its memory;
//! - beyond it a connection may hold as much as stays free (the dynamic threshold of Choudhury and Hahne, 1998): one alone
//!   half of everything, many of them the less each the more there are.

use crate::limits::{MAX_CLIENTS, SHARE_BLOCKS, SHARE_PARTS};

/// What a connection holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) blocks: u32,
    pub(super) parts: u32,
}

impl Held {
    /// Whether it may have `blocks` more of the `free` ones.
    pub(super) const fn may_take_blocks(self, blocks: u32, free: u32) -> bool {
        may_take(self.blocks, blocks, free, SHARE_BLOCKS)
    }

    /// Whether it may have one more of the `free` places for parts.
    pub(super) const fn may_take_part(self, free: u32) -> bool {
        may_take(self.parts, 1, free, SHARE_PARTS)
    }
}

const fn may_take(held: u32, wanted: u32, free: u32, share: u32) -> bool {
    if wanted > free {
        return false;
    }
    let left = (free - wanted).saturating_sub(share * MAX_CLIENTS as u32);
    held + wanted <= share || held + wanted <= left
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: u32 = (crate::limits::MIN_CLIENT_BYTES / 4096) as u32;

    /// Takes as much as it may, in pieces of so many.
    fn greedy(mut held: Held, wanted: u32, free: &mut u32) -> Held {
        while held.may_take_blocks(wanted, *free) {
            *free -= wanted;
            held.blocks += wanted;
        }
        held
    }

    #[test]
    fn whatever_the_others_hold_each_finds_its_share() {
        for wanted in [1, 16, 256] {
            let mut free = FREE;
            for _ in 1..MAX_CLIENTS {
                let held = greedy(Held::default(), wanted, &mut free);
                greedy(held, 1, &mut free);
            }
            let last = greedy(Held::default(), 1, &mut free);
            assert!(last.blocks >= SHARE_BLOCKS, "pieces of {wanted}: {last:?}");
        }
    }

    #[test]
    fn one_alone_has_much_and_leaves_as_much() {
        let mut free = FREE;
        let first = greedy(Held::default(), 256, &mut free);
        assert!(first.blocks >= 20 * 256, "{first:?}");
        let second = greedy(Held::default(), 256, &mut free);
        assert!(second.blocks >= 8 * 256, "{second:?}");
    }
}
