//! The seam between the control plane and a resource's thread: what is handed in, what comes out.

use std::{os::fd::OwnedFd, path::PathBuf, time::Duration};

use twindisk_core::{
    Command, CommandReply, Config, ExportState, LinkIntent, Refusal, Report, Status,
};
use twindisk_format::{
    binding::Binding,
    ids::{BootId, Slot},
};

use crate::store::IoMode;

/// What a resource's thread is started with.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Name of the resource, for logs.
    pub resource: String,
    /// Settings of the core. `resync_bufs` and `first_resync_buf` are set by the engine.
    pub config: Config,
    /// The backing device or file.
    pub backing: PathBuf,
    /// How its data is read and written.
    pub io: IoMode,
    /// The metadata file or device; `None`: internal, at the tail of the backing device.
    pub metadata: Option<PathBuf>,
    /// Where the blocks of a discarded fork are kept.
    pub discard_dir: PathBuf,
    /// This run of the process.
    pub boot: BootId,
    /// Seed of generation ids.
    pub seed: u64,
    /// Memory for payloads.
    pub buffers: BufferSizes,
    /// Spinning while I/O is in flight.
    pub busy_poll: BusyPoll,
}

/// Memory for payloads, set aside at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// For clients' requests; at least two of the largest (64 MiB).
    pub client_bytes: usize,
    /// For frames from peers.
    pub peer_bytes: usize,
    /// For resync and verify.
    pub resync_bytes: usize,
}

/// Spinning before sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyPoll {
    /// As long as it pays, at most 500 us: as long as the waits of late would have been spared by it.
    Auto,
    /// Never.
    Off,
    /// At most so long.
    For(Duration),
}

/// What the control plane hands to a resource's thread.
pub enum Input {
    /// A client that has finished its negotiation.
    Nbd(NbdConnection),
    /// A peer that has authenticated itself.
    Peer(PeerLink),
    /// An operator's command; `done` is called once, on the resource's thread.
    Command {
        /// What.
        command: Command,
        /// Takes the outcome.
        done: Box<dyn FnOnce(CommandOutcome) + Send>,
        /// Whether somebody still waits for it. A command that nobody waits for when its turn comes is not carried out.
        wanted: Box<dyn Fn() -> bool + Send>,
    },
    /// Takes a snapshot of the status; called once, on the resource's thread.
    Status(Box<dyn FnOnce(Status) + Send>),
}

/// How a command went.
pub type CommandOutcome = Result<CommandReply, Refusal>;

/// A client's connection in its transmission phase.
#[derive(Debug)]
pub struct NbdConnection {
    /// The socket, non-blocking or not.
    pub socket: OwnedFd,
    /// What was negotiated.
    pub negotiated: twindisk_nbd::Negotiated,
    /// The role that it is bound to, when it asked for one: in another it is sent away (R17).
    pub bound: Option<Binding>,
    /// Bytes that were read past the negotiation: the first requests.
    pub leftover: Vec<u8>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a client came from. Strangers of a network must not take the places of this host's own clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This host, by a Unix socket.
    Local,
    /// Anywhere, by TCP.
    Network,
}

/// A peer's authenticated connection.
#[derive(Debug)]
pub struct PeerLink {
    /// Which peer.
    pub peer: Slot,
    /// The socket.
    pub socket: OwnedFd,
    /// What the authentication agreed on: the peer's boot, the chain seeds.
    pub session: twindisk_format::auth::Session,
    /// Bytes that were read past the authentication.
    pub leftover: Vec<u8>,
    /// What everything on the socket goes through, when it is TLS: TLS 1.3, after its handshake.
    pub tls: Option<Box<rustls::Connection>>,
}

/// Takes what a resource's thread has to tell. Called on that thread: it must not block.
pub trait Host: Send {
    /// Something the control plane should know or do.
    fn notice(&mut self, notice: Notice);
}

/// What a resource's thread tells the control plane.
#[derive(Clone, Debug)]
pub enum Notice {
    /// For the event log.
    Report(Report),
    /// Have, drop or stop having a connection to a peer. After `Reconnect` and after a link that broke by itself
    /// (`LinkBroken`) the control plane dials again at its pace.
    Link {
        /// Which.
        peer: Slot,
        /// What.
        intent: LinkIntent,
    },
    /// The connection to a peer is gone.
    LinkBroken {
        /// Which.
        peer: Slot,
        /// What ended it.
        why: String,
    },
    /// Clients may connect, or not.
    Export(ExportState),
    /// Who is bound to this role, and no other, may connect besides those that are bound to none.
    Bound(Option<Binding>),
    /// The replica has stopped; the thread is about to end.
    Halted {
        /// Why.
        why: String,
    },
}
