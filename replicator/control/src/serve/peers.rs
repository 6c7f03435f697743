//! Connections between replicas: of two nodes the one with the lower number dials, the other listens. Both prove that
//! they know the shared secret before anything else is said; then the connection is handed to the resource's thread.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use twindisk_engine::{Input, PeerLink};
use twindisk_format::auth::Link;

use super::{
    auth::{self, Identity},
    events::Happened,
    nbd::pause_after,
    node::Node,
    replica::{Peer, Replica},
    strangers::{self, Strangers},
};
use crate::{config::Endpoint, limits};

/// Accepts peers for ever.
pub(crate) async fn accept(listener: TcpListener, node: Rc<Node>) {
    let strangers = Strangers::new(&node.whole);
    let knocks = Rc::new(Knocks::default());
    loop {
        match listener.accept().await {
            Ok((socket, from)) => {
                let place = strangers.enter(from.ip()).await;
                let (node, knocks) = (Rc::clone(&node), Rc::clone(&knocks));
                tokio::task::spawn_local(async move {
                    let outcome = tokio::select! {
                        biased;
                        outcome = welcome(socket, &node) => outcome,
                        () = place.evicted() => Err(strangers::EVICTED.to_owned()),
                    };
                    drop(place);
                    if let Err(why) = outcome {
                        knocks.tell(&node, from, why);
                    }
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Keeps a connection to a peer that this node dials.
pub(crate) async fn keep_dialling(
    node: Rc<Node>,
    replica: Rc<Replica>,
    index: usize,
    address: Endpoint,
) {
    let Some(peer) = replica.peers.get(index) else {
        return;
    };
    let mut said = String::new();
    let mut wait = limits::DIAL_MIN;
    loop {
        tokio::select! {
            () = peer.until_missing() => {}
            () = replica.until_halted() => return,
        }
        if !peer.waits_for().is_zero() {
            sleep(peer.waits_for()).await;
            continue;
        }
        match timeout(
            limits::CONNECT_TIMEOUT,
            dial(&replica, peer, &address, &node.identity),
        )
        .await
        {
            Ok(Ok(())) => {
                said.clear();
                wait = limits::DIAL_MIN;
                // A peer that takes and drops the connection at once must not be dialled in a tight loop.
                sleep(limits::DIAL_MIN).await;
                continue;
            }
            failed => {
                let why = match failed {
                    Ok(Err(why)) => why,
                    _ => format!("no answer within {} s", limits::CONNECT_TIMEOUT.as_secs()),
                };
                if said != why {
                    said.clone_from(&why);
                    let happened = Happened::PeerUnreachable {
                        peer: peer.name.clone(),
                        why: format!("{address}: {why}"),
                    };
                    node.events.emit(Some(replica.name()), &happened);
                }
            }
        }
        sleep(jitter(wait)).await;
        wait = (wait * 2).min(limits::DIAL_MAX);
    }
}

async fn dial(
    replica: &Replica,
    peer: &Peer,
    address: &Endpoint,
    identity: &Identity,
) -> Result<(), String> {
    let connect = TcpStream::connect((address.host.as_str(), address.port));
    let socket = connect.await.map_err(|error| error.to_string())?;
    prepare(&socket).map_err(|error| error.to_string())?;
    let proved = auth::dial(socket, identity, replica.id, peer.node).await?;
    hand_over(replica, peer, proved)
}

async fn welcome(socket: TcpStream, node: &Node) -> Result<(), String> {
    prepare(&socket).map_err(|error| error.to_string())?;
    // One that is to be left alone for a while is turned away before it has a connection that it would lose at once.
    let early = Cell::new(false);
    let shared = |link: Link| {
        let Some((replica, index)) = node.find_peer(link.resource, link.peer) else {
            return false;
        };
        let waits = |peer: &Peer| !peer.waits_for().is_zero();
        early.set(replica.peers.get(index).is_some_and(waits));
        !early.get()
    };
    let proof = auth::welcome(socket, &node.identity, shared);
    let proved = timeout(limits::HANDSHAKE_TIMEOUT, proof)
        .await
        .map_err(|_| "it did not prove itself in time".to_owned())?;
    if early.get() {
        tracing::info!("a peer connects too early: connections to it have come to nothing lately");
        return Ok(());
    }
    let proved = proved?;
    let (replica, index) = node
        .find_peer(proved.session.resource, proved.session.peer)
        .ok_or("it asks for a resource that is not here")?;
    let peer = replica.peers.get(index).ok_or("it has no slot")?;
    if !peer.wanted() {
        // Nothing wrong: an operator disconnected this side.
        return Ok(());
    }
    hand_over(&replica, peer, proved)
}

fn hand_over(replica: &Replica, peer: &Peer, proved: auth::Proved) -> Result<(), String> {
    let socket = proved.socket.into_std();
    let link = PeerLink {
        peer: peer.slot,
        socket: socket.map_err(|error| error.to_string())?.into(),
        session: proved.session,
        leftover: proved.leftover,
        tls: proved.tls,
    };
    peer.handed_over();
    replica.send(Input::Peer(link))
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    // Without it each small frame waits for the acknowledgement of the one before: 40 ms.
    socket.set_nodelay(true)
}

/// Refusals told lately: whoever knocks in a loop must not wash everything else out of the event log.
#[derive(Default)]
struct Knocks {
    last: Cell<Option<Instant>>,
    untold: Cell<u64>,
}

impl Knocks {
    fn tell(&self, node: &Node, from: SocketAddr, why: String) {
        let now = Instant::now();
        let recent = |last| now.duration_since(last) < limits::KNOCK_INTERVAL;
        if self.last.get().is_some_and(recent) {
            self.untold.set(self.untold.get() + 1);
            return;
        }
        self.last.set(Some(now));
        let happened = Happened::PeerRefused {
            from: from.to_string(),
            why,
            untold_before: self.untold.take(),
        };
        node.events.emit(None, &happened);
    }
}

/// Between three and five quarters of `wait`: two nodes that lost each other do not dial in step with others.
fn jitter(wait: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness there is just no jitter.
    let _ = getrandom::fill(&mut byte);
    let [byte] = byte;
    wait.mul_f64(0.75 + f64::from(byte) / 512.0)
}
