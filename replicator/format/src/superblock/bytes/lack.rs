//! What a copy may lack, in two bits of the superblock's flags.

use crate::superblock::Lack;

const UNDER_WAY: u8 = 32;
const UNFLUSHED: u8 = 64; // both: anything

/// The bits.
pub(super) const LACK_FLAGS: u8 = UNDER_WAY | UNFLUSHED;

pub(super) const fn encode_lack(lack: Lack) -> u8 {
    match lack {
        Lack::Nothing => 0,
        Lack::UnderWay => UNDER_WAY,
        Lack::Unflushed => UNFLUSHED,
        Lack::Anything => LACK_FLAGS,
    }
}

pub(super) const fn decode_lack(flags: u8) -> Lack {
    match (flags & UNDER_WAY != 0, flags & UNFLUSHED != 0) {
        (false, false) => Lack::Nothing,
        (true, false) => Lack::UnderWay,
        (false, true) => Lack::Unflushed,
        (true, true) => Lack::Anything,
    }
}
