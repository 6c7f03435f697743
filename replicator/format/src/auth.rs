//! Peers prove to each other that they hold the resource's secret, before anything else is said.
//!
//! ```text
//! dialer                                             listener
//!   hello: nonce, versions              ───────────▶
//!                                       ◀───────────  hello: nonce, versions
//!   identity, HMAC(all of the above)    ───────────▶  verifies; closes without a word if it must
//!                                       ◀───────────  identity, HMAC(all of the above)
//!   verifies
//! ```
//!
//! Pure state machines: bytes in, bytes out; nonces are given. Each proof covers the role and every byte before it,
//! so that none can be reflected, replayed on another connection, or made to agree on an older version. Whoever
//! can't prove the secret learns that Twindisk answers here and which versions it speaks, nothing else. Whoever sits
//! at a peer's address sees the dialer's identity (hashes and numbers, no names) and one proof, against which a weak
//! secret could be tried: hence [`Secret::MIN_BYTES`].
//!
//! It does not protect what follows: one who can alter packets in flight needs no secret afterwards. TLS does that,
//! and then the proofs cover the TLS channel as well ([`Channel::Tls`]): both ends hold the same one, or both see it.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod dialer;
mod listener;
pub(crate) mod messages;

use core::{fmt, ops::RangeInclusive};

use thiserror::Error;

use self::messages::{Identity, Role, Transcript};
pub use self::{
    dialer::Dialer,
    listener::Listener,
    messages::{HELLO_BYTES, IDENTITY_BYTES},
};
use crate::ids::{BootId, ClusterId, NodeId, ResourceId};

/// The versions of the replication protocol that this crate speaks.
pub const PROTOCOL_VERSIONS: RangeInclusive<u16> = 1..=1;

/// Random bytes that make each connection's proofs unlike any other's.
pub type Nonce = [u8; 32];

/// What carries the handshake and what follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Nothing that could be told from another connection.
    Clear,
    /// TLS 1.3, named by its exporter (`tls-exporter` of RFC 9266): no two channels have the same, whoever may stand
    /// between.
    Tls([u8; 32]),
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "Clear",
            Self::Tls(_) => "Tls(not shown)",
        })
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: NodeId,
    /// This run of the process.
    pub boot: BootId,
    /// Versions it speaks: [`PROTOCOL_VERSIONS`], or fewer.
    pub versions: RangeInclusive<u16>,
    /// Optional parts of the protocol that it can do, one bit each. None is defined yet.
    pub features: u64,
}

/// What the secrets are kept for: both ends of a replication link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The resource.
    pub resource: ResourceId,
    /// The other node.
    pub peer: NodeId,
}

/// What both sides know once each has proven the secret to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The other node.
    pub peer: NodeId,
    /// Its run.
    pub peer_boot: BootId,
    /// The resource that the connection is for.
    pub resource: ResourceId,
    /// The newest version that both speak.
    pub version: u16,
    /// The features that both have.
    pub features: u64,
    /// For the [`crate::wire::ChainEncoder`] of this end.
    pub send_seed: u32,
    /// For the [`crate::wire::ChainDecoder`] of this end.
    pub receive_seed: u32,
}

/// What to do after bytes were handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Send these bytes.
    pub send: Vec<u8>,
    /// The peer is proven. What it sends from now on are frames.
    pub done: Option<Session>,
    /// So many of the given bytes were used. Less than all only when `done`: the rest are frames.
    pub used: usize,
    /// So many bytes are still missing before anything can go on; 0 when `done`.
    pub need: usize,
}

/// A shared secret. Never shown, never compared but through proofs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Shorter ones could be guessed from one overheard proof.
    pub const MIN_BYTES: usize = 16;

    /// Takes random bytes for a secret.
    ///
    /// # Errors
    /// When there are fewer than [`Secret::MIN_BYTES`].
    pub fn new(bytes: &[u8]) -> Result<Self, SecretTooShort> {
        if bytes.len() < Self::MIN_BYTES {
            return Err(SecretTooShort { bytes: bytes.len() });
        }
        Ok(Self(bytes.into()))
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// A secret that could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the secret has {bytes} bytes, at least {min} random ones are needed: make one with `openssl rand -base64 32`",
    min = Secret::MIN_BYTES
)]
pub struct SecretTooShort {
    /// Its length.
    pub bytes: usize,
}

/// Why a peer is not let in. For the local log only: the peer sees a closed connection.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// The first bytes are not ours.
    #[error("the other end does not speak Twindisk's replication protocol: check address and port")]
    NotTwindisk,
    /// A message that no Twindisk sends.
    #[error("the other end sent an impossible handshake: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The versions don't overlap.
    #[error(
        "no common protocol version: we speak {}..{}, the peer {}..{}: upgrade {}",
        ours.start(), ours.end(), theirs.start(), theirs.end(),
        if ours.end() < theirs.start() { "this node" } else { "the peer" }
    )]
    NoCommonVersion {
        /// Ours.
        ours: RangeInclusive<u16>,
        /// The peer's.
        theirs: RangeInclusive<u16>,
    },
    /// It is of another cluster.
    #[error(
        "node {node} is of another cluster: check addresses and the cluster's name on both nodes"
    )]
    OtherCluster {
        /// What it calls itself.
        node: NodeId,
    },
    /// It means another resource.
    #[error(
        "node {node} answered for another resource: check addresses and ports of both resources"
    )]
    OtherResource {
        /// What it calls itself.
        node: NodeId,
    },
    /// It means another node.
    #[error("node {node} looks for node {wanted} here, but this is node {me}: check addresses")]
    NotMe {
        /// What it calls itself.
        node: NodeId,
        /// Whom it looks for.
        wanted: NodeId,
        /// This node.
        me: NodeId,
    },
    /// Another node answered than was dialled.
    #[error("node {node} answered at the address of node {wanted}: check addresses")]
    OtherNode {
        /// Who answered.
        node: NodeId,
        /// Who was dialled.
        wanted: NodeId,
    },
    /// It has this node's number.
    #[error(
        "the other end calls itself node {node}, which is this node: two nodes have the same number, or it dialled itself"
    )]
    Myself {
        /// The number.
        node: NodeId,
    },
    /// There is no secret for it.
    #[error("node {node} asks for resource {:032x}, which is not shared with it here: check the configuration of both nodes", resource.0)]
    NotShared {
        /// What it calls itself.
        node: NodeId,
        /// What it asks for.
        resource: ResourceId,
    },
    /// The proof is wrong.
    #[error(
        "what calls itself node {node} can't prove the secret: the nodes have different secrets, or it is an impostor"
    )]
    WrongSecret {
        /// What it calls itself.
        node: NodeId,
    },
    /// Each end has a TLS channel of its own.
    #[error(
        "the TLS channel is not the same on both sides: somebody stands between them (a proxy that ends TLS, or an \
         attacker); connect the nodes directly, and look for who answers at their addresses"
    )]
    OtherChannel,
    /// The handshake is over, well or not.
    #[error("the handshake with this peer is over; no more bytes are taken")]
    Over,
}

struct Agreed {
    version: u16,
    features: u64,
    theirs: Identity,
}

fn session(transcript: &Transcript, secret: &Secret, own: Role, agreed: &Agreed) -> Session {
    Session {
        peer: agreed.theirs.node,
        peer_boot: agreed.theirs.boot,
        resource: agreed.theirs.resource,
        version: agreed.version,
        features: agreed.features,
        send_seed: transcript.chain_seed(secret, own),
        receive_seed: transcript.chain_seed(secret, own.other()),
    }
}

fn check_cluster(local: &Local, theirs: &Identity) -> Result<(), AuthError> {
    let node = theirs.node;
    if theirs.cluster != local.cluster {
        return Err(AuthError::OtherCluster { node });
    }
    if node == local.node {
        return Err(AuthError::Myself { node });
    }
    Ok(())
}

fn common_version(
    ours: &RangeInclusive<u16>,
    theirs: &RangeInclusive<u16>,
) -> Result<u16, AuthError> {
    let newest = *ours.end().min(theirs.end());
    if newest < *ours.start().max(theirs.start()) {
        return Err(AuthError::NoCommonVersion {
            ours: ours.clone(),
            theirs: theirs.clone(),
        });
    }
    Ok(newest)
}

/// Collects one message of fixed size: the little memory that an unproven peer is given.
#[derive(Debug, Default)]
struct Inbox(Vec<u8>);

impl Inbox {
    const fn len(&self) -> usize {
        self.0.len()
    }

    /// Moves bytes from the front of `rest` until there are `N`, which it then gives out.
    fn take<const N: usize>(&mut self, rest: &mut &[u8]) -> Option<[u8; N]> {
        let missing = N - self.0.len();
        let (front, behind) = rest.split_at(missing.min(rest.len()));
        self.0.extend_from_slice(front);
        *rest = behind;
        let message = self.0.as_slice().try_into().ok()?;
        self.0.clear();
        Some(message)
    }
}

#[cfg(test)]
mod tests;
