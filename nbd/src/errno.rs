//! The eight errors that an NBD server may answer with.

use std::fmt;

/// An error of the transmission phase (proto.md, "Error values"). The values are fixed by the
/// protocol, not by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Errno {
    /// The export is read-only.
    NotPermitted = 1,
    /// Input/output error.
    Io = 5,
    /// Out of memory; a server should not answer this.
    NoMemory = 12,
    /// The request is malformed, misaligned or unknown.
    Invalid = 22,
    /// A write beyond the end, or the medium is full.
    NoSpace = 28,
    /// Too long for one reply.
    Overflow = 75,
    /// A fast zero that would not be fast.
    NotSupported = 95,
    /// The server is going away; the client should disconnect.
    Shutdown = 108,
}

impl Errno {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 8] = [
        Self::NotPermitted,
        Self::Io,
        Self::NoMemory,
        Self::Invalid,
        Self::NoSpace,
        Self::Overflow,
        Self::NotSupported,
        Self::Shutdown,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u32 {
        self as u32
    }

    /// The error for a number from the wire. An unexpected one counts as `Invalid`
    /// ("The client SHOULD treat an unexpected error value as if it had been `NBD_EINVAL`").
    /// `None` for zero: success.
    #[must_use]
    pub fn from_wire(value: u32) -> Option<Self> {
        if value == 0 {
            return None;
        }
        Some(
            Self::ALL
                .into_iter()
                .find(|e| e.to_wire() == value)
                .unwrap_or(Self::Invalid),
        )
    }

    /// The error to answer for an error of this host: `EDQUOT` and `EFBIG` are "no space", what the
    /// protocol has no number for is an I/O error.
    #[must_use]
    pub fn from_os(raw_os_error: i32) -> Self {
        match raw_os_error {
            libc::EPERM | libc::EACCES | libc::EROFS => Self::NotPermitted,
            libc::ENOMEM => Self::NoMemory,
            libc::EINVAL => Self::Invalid,
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Self::NoSpace,
            libc::ESHUTDOWN => Self::Shutdown,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPermitted => "operation not permitted (EPERM)",
            Self::Io => "input/output error (EIO)",
            Self::NoMemory => "cannot allocate memory (ENOMEM)",
            Self::Invalid => "invalid argument (EINVAL)",
            Self::NoSpace => "no space left on device (ENOSPC)",
            Self::Overflow => "value too large (EOVERFLOW)",
            Self::NotSupported => "operation not supported (ENOTSUP)",
            Self::Shutdown => "server is shutting down (ESHUTDOWN)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_protocol() {
        let values: Vec<u32> = Errno::ALL.iter().map(|e| e.to_wire()).collect();
        assert_eq!(values, [1, 5, 12, 22, 28, 75, 95, 108]);
        for errno in Errno::ALL {
            assert_eq!(Errno::from_wire(errno.to_wire()), Some(errno));
        }
        assert_eq!(Errno::from_wire(0), None);
        assert_eq!(Errno::from_wire(38), Some(Errno::Invalid));
    }

    #[test]
    fn host_errors_map_to_those_of_the_protocol() {
        assert_eq!(Errno::from_os(libc::EDQUOT), Errno::NoSpace);
        assert_eq!(Errno::from_os(libc::EFBIG), Errno::NoSpace);
        assert_eq!(Errno::from_os(libc::EROFS), Errno::NotPermitted);
        assert_eq!(Errno::from_os(libc::ENODEV), Errno::Io);
    }
}
