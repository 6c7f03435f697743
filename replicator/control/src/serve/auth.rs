//! Proving the shared secret over a socket before anything else is said. The proof itself is `twindisk_format::auth`.

use std::io::{self, ErrorKind};

use rustls::Connection;
use thiserror::Error;
use tokio::net::TcpStream;
use twindisk_format::{
    auth::{
        AuthError, Channel, Dialer, HELLO_BYTES, Link, Listener, Local, Nonce, PROTOCOL_VERSIONS,
        Progress, Secret, Session,
    },
    ids::{BootId, NodeId, ResourceId},
};

use super::{
    start::random_u64,
    tls::{Carrier, Tls},
};
use crate::{
    config::{Config, ConfigError, Node},
    identity::cluster_id,
    limits,
};

/// What this node says of itself, and the secret it proves.
pub(crate) struct Identity {
    local: Local,
    secret: Secret,
    /// What it goes through, if not in the clear.
    tls: Option<Tls>,
}

/// A peer that proved itself.
pub(crate) struct Proved {
    pub(crate) session: Session,
    pub(crate) leftover: Vec<u8>,
    pub(crate) socket: TcpStream,
    pub(crate) tls: Option<Box<Connection>>,
}

impl Proved {
    fn new(session: Session, leftover: Vec<u8>, carrier: Carrier) -> Self {
        let (socket, tls) = carrier.into_parts();
        Self {
            session,
            leftover,
            socket,
            tls,
        }
    }
}

impl Identity {
    /// Of this run of the process.
    pub(crate) fn new(config: &Config, node: &Node, tls: Option<Tls>) -> Result<Self, ConfigError> {
        let bytes = config.secret.read()?;
        let secret = Secret::new(&bytes).map_err(|_| ConfigError::SecretLength {
            place: "secret".to_owned(),
            bytes: bytes.len(),
            min: limits::MIN_SECRET_BYTES,
            max: limits::MAX_SECRET_BYTES,
        })?;
        Ok(Self {
            local: Local {
                cluster: cluster_id(&config.cluster),
                node: node.id,
                boot: new_boot(),
                versions: PROTOCOL_VERSIONS,
                features: 0,
            },
            secret,
            tls,
        })
    }
}

/// Names a run: of the process, or of a replica in it, which may come up more than once. What is remembered of one must not be
/// taken for the other's.
pub(crate) fn new_boot() -> BootId {
    // Without randomness a run can't be told from another; the process's number and the moment are the next best.
    BootId(random_u64().unwrap_or_else(|_| {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        since.map_or(1, |since| since.as_micros() as u64) << 16 | u64::from(std::process::id())
    }))
}

/// Proves this node to a listener, and has it prove itself.
pub(crate) async fn dial(
    socket: TcpStream,
    identity: &Identity,
    resource: ResourceId,
    peer: NodeId,
) -> Result<Proved, String> {
    let link = Link { resource, peer };
    let local = identity.local.clone();
    let mut carrier = Carrier::dial(socket, identity.tls.as_ref()).await?;
    let channel = carrier.channel()?;
    let secret = identity.secret.clone();
    let (mut dialer, first) = Dialer::new(local, link, secret, nonce()?, channel);
    let proved = exchange(&mut carrier, first, |bytes| dialer.handle_bytes(bytes)).await;
    let (session, leftover) = proved.map_err(|lack| match (lack, channel) {
        (Lack::Ended { unheard: true }, Channel::Clear) => format!(
            "{ENDED}; perhaps it takes nothing but TLS: `tls` must be the same on both nodes"
        ),
        (lack, _) => lack.to_string(),
    })?;
    Ok(Proved::new(session, leftover, carrier))
}

/// Has a dialer prove itself, then proves this node to it. `shared` says which links there are.
pub(crate) async fn welcome(
    socket: TcpStream,
    identity: &Identity,
    shared: impl Fn(Link) -> bool,
) -> Result<Proved, String> {
    let mut carrier = Carrier::welcome(socket, identity.tls.as_ref()).await?;
    let directory = |link| shared(link).then(|| identity.secret.clone());
    let channel = carrier.channel()?;
    let mut listener = Listener::new(identity.local.clone(), directory, nonce()?, channel);
    let first = Progress {
        need: HELLO_BYTES,
        ..Progress::default()
    };
    let proved = exchange(&mut carrier, first, |bytes| listener.handle_bytes(bytes)).await;
    let (session, leftover) = proved.map_err(|lack| match lack {
        // The dialer saw it, too, and left.
        Lack::Ended { .. } if listener.sees_other_channel() => AuthError::OtherChannel.to_string(),
        lack => lack.to_string(),
    })?;
    Ok(Proved::new(session, leftover, carrier))
}

/// Carries bytes to and fro until the peer is proven. Never reads more than is needed for the next step.
async fn exchange(
    carrier: &mut Carrier,
    first: Progress,
    mut handle: impl FnMut(&[u8]) -> Result<Progress, AuthError>,
) -> Result<(Session, Vec<u8>), Lack> {
    let mut progress = first;
    let mut buffer = vec![0; limits::MAX_AUTH_BYTES];
    let mut unheard = true;
    let lost = |error: io::Error, unheard| match error.kind() {
        // One that closes without reading resets.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
            Lack::Ended { unheard }
        }
        _ => Lack::Lost(error),
    };
    loop {
        if !progress.send.is_empty() {
            let sent = carrier.write_all(&progress.send).await;
            sent.map_err(|error| lost(error, unheard))?;
        }
        let want = progress.need.clamp(1, buffer.len());
        let into = buffer.get_mut(..want).unwrap_or_default();
        let read = carrier.read(into).await;
        let read = read.map_err(|error| lost(error, unheard))?;
        if read == 0 {
            return Err(Lack::Ended { unheard });
        }
        unheard = false;
        let bytes = buffer.get(..read).unwrap_or_default();
        progress = handle(bytes)?;
        if let Some(session) = progress.done {
            if !progress.send.is_empty() {
                let sent = carrier.write_all(&progress.send).await;
                sent.map_err(|error| lost(error, unheard))?;
            }
            let leftover = bytes.get(progress.used..).unwrap_or_default().to_vec();
            return Ok((session, leftover));
        }
    }
}

/// Why a peer is not proven.
#[derive(Debug, Error)]
enum Lack {
    /// It said something wrong.
    #[error(transparent)]
    Wrong(#[from] AuthError),
    /// It has closed the connection; `unheard`: without having said anything.
    #[error("{ENDED}")]
    Ended { unheard: bool },
    /// The connection broke.
    #[error(transparent)]
    Lost(io::Error),
}

const ENDED: &str = "the peer closed the connection before it proved itself: its log says why";

fn nonce() -> Result<Nonce, String> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests;
