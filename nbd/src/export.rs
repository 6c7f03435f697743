//! What is served: an export, its capabilities and sizes, and how they appear as flags.

use thiserror::Error;

use crate::limits;
use crate::protocol::transmission_flag as flag;
use crate::request::ReplyStyle;

/// One export as the server knows it at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    name: String,
    /// Text for people, shown by clients that list exports.
    pub description: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Refuse everything that changes data, with `EPERM`.
    pub read_only: bool,
    /// What else the export can do. `FLUSH` and `FUA` are always there.
    pub capabilities: Capabilities,
    /// Sizes of requests.
    pub block_sizes: BlockSizes,
    /// Whether a client may have it now.
    pub availability: Availability,
    /// It is one more name of an export that is there too: the empty name never means it, and it is listed only while a
    /// client may have it.
    pub alias: bool,
    /// What is said of a name `NAME@…` with this export's name, when there is no such export.
    pub unserved: Unserved,
}

impl Export {
    /// An available, writable export with the default capabilities and sizes.
    ///
    /// # Errors
    /// If the name is longer than 4096 bytes or has a NUL in it (proto.md, "Conventions").
    pub fn new(name: impl Into<String>, size_bytes: u64) -> Result<Self, InvalidExport> {
        let name = name.into();
        if name.len() > limits::MAX_STRING_BYTES {
            return Err(InvalidExport::NameTooLong(name.len()));
        }
        if name.contains('\0') {
            return Err(InvalidExport::NameWithNul);
        }
        Ok(Self {
            name,
            description: String::new(),
            size_bytes,
            read_only: false,
            capabilities: Capabilities::default(),
            block_sizes: BlockSizes::default(),
            availability: Availability::Available,
            alias: false,
            unserved: Unserved::Unknown,
        })
    }

    /// The canonical name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The flags that a client with replies of this style is told.
    ///
    /// A read-only export advertises nothing that changes data, and `DF` exists only with
    /// structured replies ("MUST leave this flag clear if structured replies have not been
    /// negotiated").
    #[must_use]
    pub fn transmission_flags(&self, replies: ReplyStyle) -> u16 {
        let can = self.capabilities;
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::SEND_FUA;
        let mut set = |on: bool, bit: u16| {
            if on {
                flags |= bit;
            }
        };
        set(self.read_only, flag::READ_ONLY);
        set(can.rotational, flag::ROTATIONAL);
        set(can.trim && !self.read_only, flag::SEND_TRIM);
        set(can.write_zeroes && !self.read_only, flag::SEND_WRITE_ZEROES);
        set(self.takes_fast_zero(), flag::SEND_FAST_ZERO);
        set(replies == ReplyStyle::Structured, flag::SEND_DF);
        set(can.multi_conn, flag::CAN_MULTI_CONN);
        set(can.cache, flag::SEND_CACHE);
        flags
    }

    /// `FAST_ZERO` "MUST [be] 0 if `NBD_FLAG_SEND_WRITE_ZEROES` is not set".
    pub(crate) fn takes_fast_zero(&self) -> bool {
        self.capabilities.fast_zero && self.capabilities.write_zeroes && !self.read_only
    }
}

/// The export that a client means by `name`: the one so named, or for the empty name (the default
/// export) the only one there is.
#[must_use]
pub fn find_export<'a>(exports: &'a [Export], name: &str) -> Option<&'a Export> {
    let named = exports.iter().find(|export| export.name == name);
    if named.is_some() || !name.is_empty() {
        return named;
    }
    let mut own_names = exports.iter().filter(|export| !export.alias);
    own_names.next().filter(|_| own_names.next().is_none())
}

/// Why there is no export `name`, if it is `NAME@…` of one that is there.
pub(crate) fn why_unserved<'a>(exports: &'a [Export], name: &str) -> &'a Unserved {
    let of = name.split_once(VERSION_SEPARATOR).map(|(of, _)| of);
    exports
        .iter()
        .find(|export| !export.alias && Some(export.name()) == of)
        .map_or(&Unserved::Unknown, |export| &export.unserved)
}

/// Between the name of an export and the state of it that a client means.
pub(crate) const VERSION_SEPARATOR: char = '@';

/// Optional abilities of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `TRIM`.
    pub trim: bool,
    /// `WRITE_ZEROES` with `NO_HOLE`.
    pub write_zeroes: bool,
    /// `WRITE_ZEROES` with `FAST_ZERO`: fails with `NotSupported` at once if it would be slow.
    pub fast_zero: bool,
    /// `CACHE`.
    pub cache: bool,
    /// A flush or FUA on one connection covers writes acknowledged on all of them.
    pub multi_conn: bool,
    /// The medium rotates.
    pub rotational: bool,
    /// The context `base:allocation` may be selected, so that `BLOCK_STATUS` works.
    pub block_status: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            trim: true,
            write_zeroes: true,
            fast_zero: true,
            cache: true,
            multi_conn: true,
            rotational: false,
            block_status: true,
        }
    }
}

/// Minimum, preferred and maximum size of a request (proto.md, "Size constraints").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockSizes {
    minimum: u32,
    preferred: u32,
    maximum: u32,
}

impl BlockSizes {
    /// Checked sizes in bytes.
    ///
    /// # Errors
    /// If the minimum is no power of two up to 64 KiB, the preferred one no power of two of at
    /// least 512 and the minimum, or the maximum below the preferred or above 32 MiB.
    pub fn new(minimum: u32, preferred: u32, maximum: u32) -> Result<Self, InvalidExport> {
        if !minimum.is_power_of_two() || minimum > limits::MAX_MINIMUM_BLOCK_BYTES {
            return Err(InvalidExport::MinimumBlock(minimum));
        }
        if !preferred.is_power_of_two() || preferred < minimum.max(512) {
            return Err(InvalidExport::PreferredBlock { preferred, minimum });
        }
        if maximum < preferred || maximum > limits::MAX_PAYLOAD_BYTES {
            return Err(InvalidExport::MaximumPayload { maximum, preferred });
        }
        Ok(Self {
            minimum,
            preferred,
            maximum,
        })
    }

    /// Smallest addressable length and alignment, in bytes.
    #[must_use]
    pub const fn minimum(self) -> u32 {
        self.minimum
    }

    /// Smallest size that is efficient, in bytes.
    #[must_use]
    pub const fn preferred(self) -> u32 {
        self.preferred
    }

    /// Largest payload of a read or write, in bytes.
    #[must_use]
    pub const fn maximum(self) -> u32 {
        self.maximum
    }
}

impl Default for BlockSizes {
    fn default() -> Self {
        Self {
            minimum: 1,
            preferred: 4096,
            maximum: limits::MAX_PAYLOAD_BYTES,
        }
    }
}

/// Whether a client may have an export that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Yes.
    Available,
    /// Not now, and why (a standby that does not serve). Answered as `ERR_POLICY`.
    Refused(String),
    /// It is going away, and why (demotion, shutdown). Answered as `ERR_SHUTDOWN`.
    ShuttingDown(String),
}

/// What is said of `NAME@…` when only `NAME` is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unserved {
    /// That there is no such export: `ERR_UNKNOWN`.
    #[default]
    Unknown,
    /// That it is over, or is none, and why. `ERR_UNKNOWN`: asking again is in vain.
    Gone(String),
    /// Not now, and why: `ERR_POLICY`.
    NotNow(String),
}

/// An export that the protocol cannot express.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidExport {
    /// Strings end at 4096 bytes.
    #[error("the export name has {0} bytes; NBD allows 4096: choose a shorter name")]
    NameTooLong(usize),
    /// Strings have no NUL.
    #[error("the export name has a NUL character in it, which NBD forbids: choose another name")]
    NameWithNul,
    /// See [`BlockSizes::new`].
    #[error("minimum block size {0} is no power of two between 1 and 65536")]
    MinimumBlock(u32),
    /// See [`BlockSizes::new`].
    #[error(
        "preferred block size {preferred} is no power of two of at least 512 and the minimum {minimum}"
    )]
    PreferredBlock {
        /// What was asked for.
        preferred: u32,
        /// The minimum beside it.
        minimum: u32,
    },
    /// See [`BlockSizes::new`].
    #[error(
        "maximum payload {maximum} is not between the preferred block size {preferred} and 32 MiB"
    )]
    MaximumPayload {
        /// What was asked for.
        maximum: u32,
        /// The preferred size beside it.
        preferred: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Export::new("n".repeat(4096), 1).is_ok());
        assert_eq!(
            Export::new("n".repeat(4097), 1).unwrap_err(),
            InvalidExport::NameTooLong(4097)
        );
        assert_eq!(
            Export::new("a\0b", 1).unwrap_err(),
            InvalidExport::NameWithNul
        );
    }

    #[test]
    fn block_sizes_keep_the_rules_of_the_specification() {
        assert_eq!(
            BlockSizes::new(1, 4096, 1 << 25).unwrap(),
            BlockSizes::default()
        );
        assert!(BlockSizes::new(0, 4096, 1 << 25).is_err());
        assert!(BlockSizes::new(3, 4096, 1 << 25).is_err());
        assert!(BlockSizes::new(1 << 17, 1 << 17, 1 << 25).is_err());
        assert!(BlockSizes::new(1, 256, 1 << 25).is_err());
        assert!(BlockSizes::new(4096, 512, 1 << 25).is_err());
        assert!(BlockSizes::new(1, 4096, 1024).is_err());
        assert!(BlockSizes::new(1, 4096, (1 << 25) + 1).is_err());
    }

    #[test]
    fn flags_follow_capabilities() {
        let mut export = Export::new("x", 1).unwrap();
        assert_eq!(
            export.transmission_flags(ReplyStyle::Simple),
            0b1101_0110_1101
        );
        assert_eq!(
            export.transmission_flags(ReplyStyle::Structured),
            0b1101_1110_1101
        );
        export.read_only = true;
        assert_eq!(
            export.transmission_flags(ReplyStyle::Simple),
            0b0101_0000_1111
        );
        export.capabilities = Capabilities {
            trim: false,
            write_zeroes: false,
            fast_zero: true,
            cache: false,
            multi_conn: false,
            rotational: true,
            block_status: false,
        };
        export.read_only = false;
        assert_eq!(export.transmission_flags(ReplyStyle::Simple), 0b0001_1101);
    }

    #[test]
    fn the_empty_name_means_the_only_export() {
        let one = [Export::new("a", 1).unwrap()];
        let two = [Export::new("a", 1).unwrap(), Export::new("b", 1).unwrap()];
        let with_default = [Export::new("a", 1).unwrap(), Export::new("", 2).unwrap()];
        assert_eq!(find_export(&one, "").unwrap().name(), "a");
        assert!(find_export(&two, "").is_none());
        assert_eq!(find_export(&with_default, "").unwrap().size_bytes, 2);
        assert!(find_export(&one, "b").is_none());
        assert!(find_export(&[], "").is_none());
    }
}
