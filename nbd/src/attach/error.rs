//! What can go wrong when a device is attached, and what to do about it.

use std::io;

use thiserror::Error;

use crate::client::ClientError;

/// A failed attachment.
#[derive(Debug, Error)]
pub enum AttachError {
    /// The family is not there.
    #[error(
        "the kernel has no nbd driver: run `modprobe nbd` (and name it in /etc/modules-load.d to \
         have it after a boot), or serve without a kernel device"
    )]
    NoDriver,
    /// The kernel has no generic netlink at all.
    #[error("this kernel offers no generic netlink, by which nbd devices are made ({0})")]
    NoNetlink(io::Error),
    /// Missing privileges.
    #[error("{command} needs CAP_SYS_ADMIN in the first user namespace: run as root on the host")]
    NotPermitted {
        /// The command.
        command: &'static str,
    },
    /// The device is taken.
    #[error("/dev/nbd{index} is in use: choose another index, leave it out, or detach it first")]
    Busy {
        /// N of `/dev/nbdN`.
        index: u32,
    },
    /// The kernel says no.
    #[error(
        "the kernel refused {command}: {}{}; the kernel log says more",
        io::Error::from_raw_os_error(*.errno),
        .message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default()
    )]
    Kernel {
        /// The command.
        command: &'static str,
        /// The system's error number.
        errno: i32,
        /// The kernel's words, if it had any.
        message: Option<String>,
    },
    /// The kernel did not answer.
    #[error("the kernel did not answer {command} in time: the device may be busy; see its status")]
    TimedOut {
        /// The command.
        command: &'static str,
    },
    /// The netlink socket failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The kernel's answer makes no sense here.
    #[error(transparent)]
    Malformed(#[from] MalformedNetlink),
    /// The server cannot be reached, or refuses.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Several connections to a server that does not share its cache among them.
    #[error(
        "the server does not offer several connections (CAN_MULTI_CONN), as {connections} were \
         asked for: use one"
    )]
    NotMultiConn {
        /// How many were asked for.
        connections: usize,
    },
    /// No connection, or too many.
    #[error("{0} connections for a device: give between 1 and 128")]
    Connections(usize),
    /// The connections lead to different things.
    #[error(
        "the connections do not lead to the same export: size, flags or name differ; the export \
         changed in between: try again"
    )]
    Mismatch,
    /// The kernel's blocks do not fit the export.
    #[error(
        "the export's size of {size_bytes} bytes and its minimum block of {minimum_block_bytes} \
         do not fit kernel blocks of {block_size_bytes}: choose a block size that divides the \
         size, is a power of two from 512 to 4096, and is no smaller than the minimum"
    )]
    BlockSize {
        /// Of the export.
        size_bytes: u64,
        /// Of the export.
        minimum_block_bytes: u32,
        /// As asked for.
        block_size_bytes: u32,
    },
    /// The identifier cannot be told to the kernel.
    #[error("a backend identifier has 1 to 256 bytes and no NUL")]
    BackendIdentifier,
}

/// A netlink message that does not hold what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the kernel's answer is malformed: {0}")]
pub struct MalformedNetlink(pub &'static str);
