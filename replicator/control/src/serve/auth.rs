//! Proving the shared secret over a socket before anything else is said. The proof itself is `twindisk_format::auth`.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use twindisk_format::{
    auth::{
        AuthError, Channel, Dialer, HELLO_BYTES, Link, Listener, Local, Nonce, PROTOCOL_VERSIONS,
        Progress, Secret, Session,
    },
    ids::{BootId, NodeId, ResourceId},
};

use super::start::random_u64;
use crate::{
    config::{Config, ConfigError, Node},
    identity::cluster_id,
    limits,
};

/// What this node says of itself, and the secret it proves.
pub(crate) struct Identity {
    local: Local,
    secret: Secret,
}

/// A peer that proved itself.
pub(crate) struct Proved {
    pub(crate) session: Session,
    pub(crate) leftover: Vec<u8>,
}

impl Identity {
    /// Of this run of the process.
    pub(crate) fn new(config: &Config, node: &Node) -> Result<Self, ConfigError> {
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
    socket: &mut TcpStream,
    identity: &Identity,
    resource: ResourceId,
    peer: NodeId,
) -> Result<Proved, String> {
    let link = Link { resource, peer };
    let local = identity.local.clone();
    let (mut dialer, first) = Dialer::new(
        local,
        link,
        identity.secret.clone(),
        nonce()?,
        Channel::Clear,
    );
    exchange(socket, first, |bytes| dialer.handle_bytes(bytes)).await
}

/// Has a dialer prove itself, then proves this node to it. `shared` says which links there are.
pub(crate) async fn welcome(
    socket: &mut TcpStream,
    identity: &Identity,
    shared: impl Fn(Link) -> bool,
) -> Result<Proved, String> {
    let directory = |link| shared(link).then(|| identity.secret.clone());
    let mut listener = Listener::new(identity.local.clone(), directory, nonce()?, Channel::Clear);
    let first = Progress {
        need: HELLO_BYTES,
        ..Progress::default()
    };
    exchange(socket, first, |bytes| listener.handle_bytes(bytes)).await
}

/// Carries bytes to and fro until the peer is proven. Never reads more than is needed for the next step.
async fn exchange(
    socket: &mut TcpStream,
    first: Progress,
    mut handle: impl FnMut(&[u8]) -> Result<Progress, AuthError>,
) -> Result<Proved, String> {
    let mut progress = first;
    let mut buffer = vec![0; limits::MAX_AUTH_BYTES];
    loop {
        if !progress.send.is_empty() {
            socket
                .write_all(&progress.send)
                .await
                .map_err(|error| error.to_string())?;
        }
        let want = progress.need.clamp(1, buffer.len());
        let into = buffer.get_mut(..want).unwrap_or_default();
        let read = socket.read(into).await.map_err(|error| error.to_string())?;
        if read == 0 {
            return Err(
                "the peer closed the connection before it proved itself: its log says why"
                    .to_owned(),
            );
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        progress = handle(bytes).map_err(|error| error.to_string())?;
        if let Some(session) = progress.done {
            if !progress.send.is_empty() {
                socket
                    .write_all(&progress.send)
                    .await
                    .map_err(|error| error.to_string())?;
            }
            return Ok(Proved {
                session,
                leftover: bytes.get(progress.used..).unwrap_or_default().to_vec(),
            });
        }
    }
}

fn nonce() -> Result<Nonce, String> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|error| format!("no random numbers: {error}"))?;
    Ok(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn identity(node: u8, secret: &str) -> Identity {
        let text = format!(
            "cluster = \"t\"\nsecret = \"{secret}\"\n[nodes.n]\nid = {node}\naddress = \"127.0.0.1:1\""
        );
        let config = Config::parse(std::path::Path::new("t.toml"), &text).unwrap();
        Identity::new(&config, &config.nodes[0]).unwrap()
    }

    async fn meet(dialer: Identity, listener: Identity) -> [Result<Proved, String>; 2] {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let resource = ResourceId(7);
        let peer = listener.local.node;
        let dialling = async {
            let mut socket = TcpStream::connect(address).await.unwrap();
            dial(&mut socket, &dialer, resource, peer).await
        };
        let listening = async {
            let (mut socket, _) = socket.accept().await.unwrap();
            welcome(&mut socket, &listener, |link| link.resource == resource).await
        };
        let (dialled, listened) = tokio::join!(dialling, listening);
        [dialled, listened]
    }

    #[tokio::test]
    async fn the_same_secret_lets_both_in() {
        let secret = "0123456789abcdef";
        let [dialled, listened] = meet(identity(1, secret), identity(2, secret)).await;
        let (dialled, listened) = (dialled.unwrap().session, listened.unwrap().session);
        assert_eq!((dialled.peer, listened.peer), (NodeId(2), NodeId(1)));
        assert_eq!(dialled.send_seed, listened.receive_seed);
    }

    #[tokio::test]
    async fn another_secret_lets_nobody_in() {
        let dialer = identity(1, "0123456789abcdef");
        let listener = identity(2, "fedcba9876543210");
        let [dialled, listened] = meet(dialer, listener).await;
        assert!(dialled.err().unwrap().contains("its log says why"));
        assert!(listened.err().unwrap().contains("secret"));
    }
}
