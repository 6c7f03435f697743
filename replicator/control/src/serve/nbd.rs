//! NBD clients: accepted, led through the negotiation, then handed to their resource's thread.

use std::{cell::Cell, io, os::fd::OwnedFd, rc::Rc, time::Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::timeout,
};
use twindisk_engine::{Input, NbdConnection, Origin};
use twindisk_nbd::{Handshake, Outcome};

use super::{
    exports::{exports, resource_of},
    node::Node,
    replica::Replica,
    roster::Absent,
};
use crate::limits;

/// What a listener serves, and how many clients it may have.
#[derive(Clone)]
pub(crate) struct Served {
    /// Whose resources, each an export of its name.
    pub(crate) node: Rc<Node>,
    /// Only this one.
    pub(crate) only: Option<String>,
    /// A listener's own: who fills one keeps nobody out of another.
    pub(crate) negotiating: Rc<Negotiating>,
}

impl Served {
    /// All of a node, and for one client that needs no place.
    pub(crate) fn all_of(node: &Rc<Node>) -> Self {
        Self {
            node: Rc::clone(node),
            only: None,
            negotiating: Rc::new(Negotiating::new(0)),
        }
    }

    fn serves(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    fn replicas(&self) -> Vec<Rc<Replica>> {
        let mut replicas = self.node.roster.replicas();
        replicas.retain(|replica| self.serves(replica.name()));
        replicas
    }

    fn absent(&self) -> Vec<Absent> {
        let mut absent = self.node.roster.absent();
        absent.retain(|absent| self.serves(&absent.name));
        absent
    }
}

/// Clients of one listener in their negotiation, counted: those handed over are counted by the engine.
pub(crate) struct Negotiating {
    now: Cell<usize>,
    most: usize,
    /// For want of a place, since that was told last, and when it was.
    turned_away: Cell<u64>,
    told: Cell<Option<Instant>>,
}

impl Negotiating {
    /// At most so many at once.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            now: Cell::new(0),
            most,
            turned_away: Cell::new(0),
            told: Cell::new(None),
        }
    }

    /// Whoever knocks in a loop must not fill the log.
    fn turn_away(&self, from: &str) {
        self.turned_away.set(self.turned_away.get() + 1);
        let recent = |told: Instant| told.elapsed() < limits::KNOCK_INTERVAL;
        if self.told.get().is_some_and(recent) {
            return;
        }
        self.told.set(Some(Instant::now()));
        let count = self.turned_away.take();
        tracing::warn!(
            %from,
            count,
            "NBD clients were turned away, this one the last: nbd-max-connections of its listener are negotiating"
        );
    }

    fn enter(self: &Rc<Self>) -> Option<Place> {
        if self.now.get() >= self.most {
            return None;
        }
        self.now.set(self.now.get() + 1);
        Some(Place(Rc::clone(self)))
    }
}

/// One client's place among the negotiating ones.
struct Place(Rc<Negotiating>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.set(self.0.now.get().saturating_sub(1));
    }
}

/// Accepts clients on a Unix socket for ever.
pub(crate) async fn accept_unix(listener: &UnixListener, served: Served) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => begin(socket, "a local client".to_owned(), &served),
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Accepts clients on TCP for ever.
pub(crate) async fn accept_tcp(listener: TcpListener, served: Served) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                // Without it each small reply waits for the acknowledgement of the one before: 40 ms.
                if let Err(error) = socket.set_nodelay(true) {
                    tracing::debug!(%address, %error, "a client left at once");
                    continue;
                }
                begin(socket, address.to_string(), &served);
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Leads one client through its negotiation, in a task of its own.
fn begin<S: ClientSocket>(socket: S, from: String, served: &Served) {
    let Some(place) = served.negotiating.enter() else {
        return served.negotiating.turn_away(&from);
    };
    let served = served.clone();
    tokio::task::spawn_local(async move {
        let _place = place;
        let outcome = timeout(
            twindisk_nbd::limits::HANDSHAKE_TIMEOUT,
            negotiate(socket, &served),
        );
        match outcome.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%from, %error, "an NBD client did not get through"),
            Err(_) => tracing::info!(%from, "an NBD client was too slow to negotiate"),
        }
    });
}

/// From the greeting to the hand-over.
pub(crate) async fn negotiate<S: ClientSocket>(mut socket: S, served: &Served) -> io::Result<()> {
    let mut handshake = Handshake::new();
    let mut buffer = vec![0; limits::NBD_READ_BYTES];
    let leftover = loop {
        if let Some(output) = handshake.poll_output() {
            socket.write_all(&output).await?;
        }
        let read = socket.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        let taken = handshake.handle_bytes(bytes, &exports(&served.replicas(), &served.absent()));
        if handshake.outcome().is_some() {
            break bytes.get(taken..).unwrap_or_default().to_vec();
        }
    };
    if let Some(output) = handshake.poll_output() {
        socket.write_all(&output).await?;
    }
    match handshake.outcome() {
        Some(Outcome::Transmission(negotiated)) => {
            let (resource, bound) = resource_of(&negotiated.export);
            let found = (served.replicas().into_iter())
                .find(|replica| replica.name() == resource)
                .ok_or_else(|| io::Error::other("the export is gone"))?;
            let connection = NbdConnection {
                socket: socket.into_fd()?,
                negotiated: negotiated.clone(),
                bound,
                leftover,
                origin: S::ORIGIN,
            };
            found.send(Input::Nbd(connection)).map_err(io::Error::other)
        }
        Some(Outcome::HardClose(error)) => Err(io::Error::other(error.to_string())),
        Some(Outcome::Aborted) | None => Ok(()),
    }
}

/// A socket that can be taken out of the runtime.
pub(crate) trait ClientSocket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Where its clients come from.
    const ORIGIN: Origin;

    /// The descriptor, in blocking mode or not.
    fn into_fd(self) -> io::Result<OwnedFd>;
}

impl ClientSocket for UnixStream {
    const ORIGIN: Origin = Origin::Local;

    fn into_fd(self) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

impl ClientSocket for TcpStream {
    const ORIGIN: Origin = Origin::Network;

    fn into_fd(self) -> io::Result<OwnedFd> {
        self.into_std().map(OwnedFd::from)
    }
}

/// Out of descriptors or memory: trying again at once would only burn the processor.
pub(crate) async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(limits::DIAL_MIN).await;
}
