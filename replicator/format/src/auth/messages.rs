//! The handshake's messages and what is proven about them. `FORMAT.md` draws them.
//!
//! The hello message keeps its layout in every protocol version: it is where versions are compared.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use core::ops::RangeInclusive;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, LE, U16, U64, U128, Unaligned};

use super::{AuthError, Channel, Link, Local, Nonce, Secret};
use crate::ids::{BootId, ClusterId, NodeId, ResourceId};

/// Bytes of the first message of each side.
pub const HELLO_BYTES: usize = size_of::<HelloLayout>();

/// Bytes of the second message of each side.
pub const IDENTITY_BYTES: usize = size_of::<IdentityLayout>() + size_of::<Proof>();

pub(super) type Proof = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    Dialer = 1,
    Listener = 2,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Hello(HelloLayout);

impl Hello {
    pub(super) fn new(versions: &RangeInclusive<u16>, nonce: Nonce, channel: Channel) -> Self {
        Self(HelloLayout {
            magic: MAGIC,
            oldest: U16::new(*versions.start()),
            newest: U16::new(*versions.end()),
            channel: hint(channel),
            nonce,
        })
    }

    /// Whether the sender speaks of this channel. It proves nothing, the proofs do; it tells who stands between from who has
    /// another secret. In the clear anything is taken, and proven.
    pub(super) fn hints_at(&self, channel: Channel) -> bool {
        match channel {
            Channel::Clear => true,
            Channel::Tls(_) => self.0.channel == hint(channel),
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        self.0.as_bytes().to_vec()
    }

    pub(super) fn from_bytes(bytes: &[u8; HELLO_BYTES]) -> Result<Self, AuthError> {
        let layout: HelloLayout = zerocopy::transmute!(*bytes);
        if layout.magic != MAGIC {
            return Err(AuthError::NotTwindisk);
        }
        if layout.oldest.get() > layout.newest.get() {
            return Err(AuthError::Malformed {
                what: "its oldest version is above its newest",
            });
        }
        Ok(Self(layout))
    }

    pub(super) const fn versions(&self) -> RangeInclusive<u16> {
        self.0.oldest.get()..=self.0.newest.get()
    }
}

/// What a side says of itself under its proof.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) cluster: ClusterId,
    pub(super) resource: ResourceId,
    pub(super) features: u64,
    pub(super) boot: BootId,
    pub(super) node: NodeId,
    pub(super) peer: NodeId,
}

impl Identity {
    pub(super) const fn new(local: &Local, link: Link) -> Self {
        Self {
            cluster: local.cluster,
            resource: link.resource,
            features: local.features,
            boot: local.boot,
            node: local.node,
            peer: link.peer,
        }
    }

    pub(super) fn from_bytes(bytes: &[u8; IDENTITY_BYTES]) -> Result<(Self, Proof), AuthError> {
        let (layout, proof): (IdentityLayout, Proof) = {
            let message: IdentityMessage = zerocopy::transmute!(*bytes);
            (message.identity, message.proof)
        };
        if layout.reserved != [0; 6] {
            return Err(AuthError::Malformed {
                what: "reserved bytes are not zero",
            });
        }
        let identity = Self {
            cluster: ClusterId(layout.cluster.get()),
            resource: ResourceId(layout.resource.get()),
            features: layout.features.get(),
            boot: BootId(layout.boot.get()),
            node: NodeId(layout.node),
            peer: NodeId(layout.peer),
        };
        Ok((identity, proof))
    }

    const fn layout(&self) -> IdentityLayout {
        IdentityLayout {
            cluster: U128::new(self.cluster.0),
            resource: U128::new(self.resource.0),
            features: U64::new(self.features),
            boot: U64::new(self.boot.0),
            node: self.node.0,
            peer: self.peer.0,
            reserved: [0; 6],
        }
    }
}

/// Everything said on the connection so far, and what it was said on: what the next proof is about.
#[derive(Clone, Debug)]
pub(super) struct Transcript {
    said: Vec<u8>,
    channel: Channel,
}

impl Transcript {
    pub(super) fn new(dialer: &Hello, listener: &Hello, channel: Channel) -> Self {
        let mut said = dialer.to_bytes();
        said.extend(listener.to_bytes());
        Self { said, channel }
    }

    /// The second message of `role`, which is part of the transcript from now on.
    pub(super) fn prove(&mut self, secret: &Secret, role: Role, identity: &Identity) -> Vec<u8> {
        let identity = identity.layout();
        let proof = self.proof(secret, role, &identity);
        self.add(&identity, &proof);
        IdentityMessage { identity, proof }.as_bytes().to_vec()
    }

    /// Whether `role` knows the secret. Its message is part of the transcript from now on.
    pub(super) fn verify(
        &mut self,
        secret: &Secret,
        role: Role,
        identity: &Identity,
        proof: &Proof,
    ) -> bool {
        let identity = identity.layout();
        let expected = self.proof(secret, role, &identity);
        self.add(&identity, proof);
        expected.ct_eq(proof).into()
    }

    /// What the chain of headers sent by `sender` starts from.
    pub(super) fn chain_seed(&self, secret: &Secret, sender: Role) -> u32 {
        let key = mac(secret.bytes(), &[SESSION_LABEL, &self.said]);
        let seed = mac(&key, &[CHAIN_LABEL, &[sender as u8]]);
        let [a, b, c, d, ..] = seed;
        u32::from_le_bytes([a, b, c, d])
    }

    fn proof(&self, secret: &Secret, role: Role, identity: &IdentityLayout) -> Proof {
        let role = [role as u8];
        let (said, identity) = (self.said.as_slice(), identity.as_bytes());
        match &self.channel {
            Channel::Clear => mac(secret.bytes(), &[PROOF_LABEL, &role, said, identity]),
            // The channel is said to nobody: each end takes its own.
            Channel::Tls(channel) => mac(
                secret.bytes(),
                &[TLS_PROOF_LABEL, &role, channel, said, identity],
            ),
        }
    }

    fn add(&mut self, identity: &IdentityLayout, proof: &Proof) {
        self.said.extend_from_slice(identity.as_bytes());
        self.said.extend_from_slice(proof);
    }
}

/// What a hello says of its channel.
fn hint(channel: Channel) -> [u8; 4] {
    match channel {
        Channel::Clear => [0; 4],
        Channel::Tls(channel) => {
            let [a, b, c, d, ..] = mac(&channel, &[HINT_LABEL]);
            [a, b, c, d]
        }
    }
}

/// Every part has a fixed length within its label's use, so joining them is unambiguous.
fn mac(key: &[u8], parts: &[&[u8]]) -> Proof {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct HelloLayout {
    pub(crate) magic: [u8; 8],
    pub(crate) oldest: U16<LE>,
    pub(crate) newest: U16<LE>,
    pub(crate) channel: [u8; 4],
    pub(crate) nonce: Nonce,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct IdentityLayout {
    pub(crate) cluster: U128<LE>,
    pub(crate) resource: U128<LE>,
    pub(crate) features: U64<LE>,
    pub(crate) boot: U64<LE>,
    pub(crate) node: u8,
    pub(crate) peer: u8,
    pub(crate) reserved: [u8; 6],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct IdentityMessage {
    pub(crate) identity: IdentityLayout,
    pub(crate) proof: Proof,
}

const MAGIC: [u8; 8] = *b"TWDKPEER";
const PROOF_LABEL: &[u8] = b"twindisk proof\0";
const TLS_PROOF_LABEL: &[u8] = b"twindisk proof over tls\0";
const HINT_LABEL: &[u8] = b"twindisk channel\0";
const SESSION_LABEL: &[u8] = b"twindisk session\0";
const CHAIN_LABEL: &[u8] = b"twindisk chain\0";

const _: () = assert!(HELLO_BYTES == 48);
const _: () = assert!(size_of::<IdentityLayout>() == 56);
const _: () = assert!(IDENTITY_BYTES == 88);
const _: () = assert!(size_of::<IdentityMessage>() == IDENTITY_BYTES);
