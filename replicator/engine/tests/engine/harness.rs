//! Nodes in scratch directories, clients over socket pairs, and waiting with a deadline.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use twindisk_core::{
    Command, Config, ConnectionState, ExportState, OnDiskError, OnNoQuorum, OnPeerLoss, PeerConfig,
    Protocol, Status, Timings,
};
use twindisk_engine::{
    BufferSizes, BusyPoll, CommandOutcome, Host, Input, InputSender, NbdConnection, Notice, Origin,
    PeerLink, ReplicaOptions, ReplicaThread, StartError, spawn,
    store::{IoMode, Metadata},
};
use twindisk_format::{
    auth::Session,
    ids::{BootId, ClusterId, Epoch, GenerationId, NodeId, ResourceId, Slot, Term},
    lineage::{Generation, Lineage},
    superblock::{Device, Lack, PeerRecord, Runs, Seen, Standing, StoredDisk, Superblock},
};
use twindisk_nbd::{
    Export, Handshake, Outcome,
    client::{Client, ConnectOptions},
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// All nodes of a test begin with the same data, in sync.
const GENERATION: Generation = Generation {
    term: Term(1),
    id: GenerationId(77),
    node: NodeId(1),
};

/// A node's files; its thread comes and goes.
pub(crate) struct Node {
    pub(crate) directory: TempDir,
    pub(crate) id: u8,
    pub(crate) blocks: u64,
    peers: Vec<u8>,
    running: Option<Running>,
    boots: u64,
}

struct Running {
    thread: ReplicaThread,
    notices: Receiver<Notice>,
}

struct Notices(mpsc::Sender<Notice>);

impl Host for Notices {
    fn notice(&mut self, notice: Notice) {
        let _ = self.0.send(notice);
    }
}

impl Node {
    /// Files of `blocks` blocks, with metadata of their own. Nothing runs.
    pub(crate) fn new(id: u8, peers: &[u8], blocks: u64) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let node = Self {
            directory,
            id,
            blocks,
            peers: peers.to_vec(),
            running: None,
            boots: 0,
        };
        fs::write(node.backing(), vec![0; blocks as usize * 4096]).expect("backing");
        Metadata::create_external(&node.metadata(), &node.superblock()).expect("metadata");
        node
    }

    pub(crate) fn backing(&self) -> PathBuf {
        self.directory.path().join("backing")
    }

    pub(crate) fn metadata(&self) -> PathBuf {
        self.directory.path().join("metadata")
    }

    pub(crate) fn superblock(&self) -> Superblock {
        Superblock {
            cluster: ClusterId(1),
            resource: ResourceId(2),
            node: NodeId(self.id),
            size_blocks: self.blocks,
            max_size_blocks: self.blocks,
            term: GENERATION.term,
            epoch: Epoch(1),
            lineage: Lineage::new(vec![GENERATION]),
            unconfirmed: false,
            suspect: false,
            rewound: false,
            device: Device::default(),
            runs: Runs::default(),
            disk: StoredDisk::UpToDate,
            primary: false,
            lack: Lack::Nothing,
            active: false,
            host: BootId(0),
            binding: None,
            peers: self
                .peers
                .iter()
                .map(|&peer| PeerRecord {
                    node: NodeId(peer),
                    base: Some(GENERATION.id),
                    standing: Standing::In,
                    receipt: None,
                    conflict: None,
                    seen: Seen::NEVER,
                })
                .collect(),
            spare_slots: 0,
        }
    }

    pub(crate) fn options(&self) -> ReplicaOptions {
        ReplicaOptions {
            resource: format!("node{}", self.id),
            config: Config {
                name: format!("node{}", self.id),
                peers: self
                    .peers
                    .iter()
                    .map(|&peer| PeerConfig {
                        node: NodeId(peer),
                        name: format!("node{peer}"),
                        protocol: Protocol::C,
                    })
                    .collect(),
                arbiter: twindisk_core::Arbiter::Fence,
                on_peer_loss: OnPeerLoss::Suspend,
                on_disk_error: OnDiskError::Detach,
                on_no_quorum: OnNoQuorum::Suspend,
                timings: Timings::default(),
                resync_bufs: 0,
                first_resync_buf: 0,
                al_extents: 64,
            },
            backing: self.backing(),
            io: IoMode::Direct,
            metadata: Some(self.metadata()),
            discard_dir: self.directory.path().join("discarded"),
            boot: BootId(u64::from(self.id) << 32 | (self.boots + 1)),
            seed: u64::from(self.id) + self.boots,
            buffers: BufferSizes {
                client_bytes: 0,
                peer_bytes: 0,
                resync_bytes: 0,
            },
            busy_poll: BusyPoll::Auto,
        }
    }

    pub(crate) fn start(&mut self) -> &mut Self {
        self.try_start(self.options()).expect("start");
        self
    }

    pub(crate) fn try_start(&mut self, options: ReplicaOptions) -> Result<(), StartError> {
        self.boots += 1;
        let (sender, notices) = mpsc::channel();
        let thread = spawn(options, Box::new(Notices(sender)))?;
        self.running = Some(Running { thread, notices });
        Ok(())
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("started")
    }

    pub(crate) fn sender(&self) -> InputSender {
        self.running().thread.sender()
    }

    /// The first notice from now on that `wanted` makes something of.
    pub(crate) fn wait<T>(&self, what: &str, mut wanted: impl FnMut(Notice) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        let mut others = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let notice = self
                .running()
                .notices
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("node {}: {what}: {error}; {others:#?}", self.id));
            others.push(notice.clone());
            if let Some(found) = wanted(notice) {
                return found;
            }
        }
    }

    pub(crate) fn status(&self) -> Status {
        let (answer, status) = mpsc::channel();
        let take = Box::new(move |status| {
            let _ = answer.send(status);
        });
        self.sender().send(Input::Status(take)).expect("running");
        status.recv_timeout(DEADLINE).expect("answered")
    }

    pub(crate) fn slot_of(&self, peer: u8) -> Slot {
        let index = self.peers.iter().position(|&other| other == peer);
        Slot::new(index.expect("a peer")).expect("few peers")
    }

    pub(crate) fn boot(&self) -> BootId {
        BootId(u64::from(self.id) << 32 | self.boots)
    }

    pub(crate) fn command(&self, command: Command) -> CommandOutcome {
        let (answer, outcome) = mpsc::channel();
        let done = Box::new(move |result| {
            let _ = answer.send(result);
        });
        self.sender()
            .send(Input::Command {
                command,
                done,
                wanted: Box::new(|| true),
            })
            .expect("running");
        outcome.recv_timeout(DEADLINE).expect("answered")
    }

    /// Becomes primary; the device is open when this returns.
    pub(crate) fn promote(&self) -> &Self {
        self.command(Command::Promote { force: None })
            .expect("promoted");
        self.wait("the device opens", |notice| match notice {
            Notice::Export(ExportState::Open { .. }) => Some(()),
            _ => None,
        });
        self
    }

    pub(crate) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let (answer, _outcome) = mpsc::channel();
            let done = Box::new(move |result| {
                let _ = answer.send(result);
            });
            let command = Command::Stop;
            let _ = running.thread.sender().send(Input::Command {
                command,
                done,
                wanted: Box::new(|| true),
            });
            running.thread.join();
        }
    }

    /// A client in its transmission phase.
    pub(crate) fn client(&self, options: &ConnectOptions) -> Client<UnixStream> {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        ours.set_read_timeout(Some(DEADLINE)).expect("timeout");
        let export = Export::new("r0", self.blocks * 4096).expect("name");
        let sender = self.sender();
        let server = thread::spawn(move || {
            let connection = negotiate(theirs, &export, Origin::Local);
            sender.send(Input::Nbd(connection)).expect("running");
        });
        let client = Client::negotiate(ours, "r0", options).expect("negotiated");
        server.join().expect("server");
        client
    }

    pub(crate) fn kernel_client(&self) -> Client<UnixStream> {
        self.client(&ConnectOptions::for_the_kernel())
    }

    pub(crate) fn structured_client(&self) -> Client<UnixStream> {
        self.client(&ConnectOptions::default())
    }

    /// The same over TCP.
    pub(crate) fn tcp_client(&self) -> Client<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let ours = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        ours.set_read_timeout(Some(DEADLINE)).expect("timeout");
        let (theirs, _) = listener.accept().expect("accept");
        let export = Export::new("r0", self.blocks * 4096).expect("name");
        let sender = self.sender();
        let server = thread::spawn(move || {
            let connection = negotiate(theirs, &export, Origin::Network);
            sender.send(Input::Nbd(connection)).expect("running");
        });
        let options = ConnectOptions::for_the_kernel();
        let client = Client::negotiate(ours, "r0", &options).expect("negotiated");
        server.join().expect("server");
        client
    }

    /// What the backing file holds.
    pub(crate) fn contents(&self) -> Vec<u8> {
        fs::read(self.backing()).expect("read")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            // What failed may also keep it from stopping; its state says more than a test that hangs.
            if let Some(running) = self.running.take() {
                let take = Box::new(|status| eprintln!("{status:#?}"));
                let _ = running.thread.sender().send(Input::Status(take));
                thread::sleep(Duration::from_millis(100));
            }
            return;
        }
        self.stop();
    }
}

/// The server's side of a negotiation, as the control plane does it.
fn negotiate<S: Read + Write + Into<OwnedFd>>(
    mut socket: S,
    export: &Export,
    origin: Origin,
) -> NbdConnection {
    let exports = std::slice::from_ref(export);
    let mut handshake = Handshake::new();
    let mut leftover = Vec::new();
    loop {
        if let Some(output) = handshake.poll_output() {
            socket.write_all(&output).expect("write");
        }
        match handshake.outcome() {
            None => {}
            Some(Outcome::Transmission(negotiated)) => {
                return NbdConnection {
                    bound: None,
                    negotiated: negotiated.clone(),
                    socket: socket.into(),
                    leftover,
                    origin,
                };
            }
            Some(other) => panic!("{other:?}"),
        }
        let mut bytes = [0; 512];
        let count = socket.read(&mut bytes).expect("read");
        let taken = handshake.handle_bytes(&bytes[..count], exports);
        leftover = bytes[taken..count].to_vec();
    }
}

/// Waits until `wanted` gives something.
pub(crate) fn until<T>(what: &str, mut wanted: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = wanted() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not in time");
        thread::yield_now();
    }
}

/// The two ends of an authenticated connection between two nodes.
pub(crate) fn link(one: &Node, other: &Node) -> (PeerLink, PeerLink) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    let end = |node: &Node, peer: &Node, socket: TcpStream, seeds: (u32, u32)| PeerLink {
        peer: node.slot_of(peer.id),
        socket: socket.into(),
        session: Session {
            peer: NodeId(peer.id),
            peer_boot: peer.boot(),
            resource: ResourceId(2),
            version: 1,
            features: 0,
            send_seed: seeds.0,
            receive_seed: seeds.1,
        },
        leftover: Vec::new(),
        tls: None,
    };
    (
        end(one, other, near, (11, 22)),
        end(other, one, far, (22, 11)),
    )
}

/// Connects two running nodes and waits until they replicate.
pub(crate) fn connect(one: &Node, other: &Node) {
    let (near, far) = link(one, other);
    one.sender().send(Input::Peer(near)).expect("running");
    other.sender().send(Input::Peer(far)).expect("running");
    for (node, peer) in [(one, other), (other, one)] {
        until("the peers replicate", || {
            let status = node.status();
            let peer = status.peers.iter().find(|status| status.node == peer.id)?;
            (peer.connection == ConnectionState::Established
                || peer.connection == ConnectionState::Waiting)
                .then_some(())
        });
    }
}
