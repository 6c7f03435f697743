//! Starting one resource: its metadata tells the order of its peers, the configuration the rest.

use std::{rc::Rc, sync::Arc};

use twindisk_core::{Config as CoreConfig, PeerConfig};
use twindisk_engine::{
    ReplicaOptions, ReplicaThread, spawn,
    store::{Access, Backing, Metadata, StoreError},
};
use twindisk_format::{
    ids::{BootId, Slot},
    limits::EXTENT_BLOCKS,
    metadata::Loaded,
};

use super::replica::{NoticeBox, NoticeSender, Parts, Peer, Replica};
use crate::{
    config::{Config, Member, Node, Resource},
    identity::{cluster_id, resource_id},
};

/// A replica and the thread that it lives on.
pub(crate) struct Started {
    pub(crate) replica: Rc<Replica>,
    pub(crate) thread: ReplicaThread,
}

/// Why a resource could not be started.
#[derive(Debug)]
pub(crate) struct NotStarted {
    /// What is wrong and what to do.
    pub(crate) why: String,
    /// Its metadata can't be trusted.
    pub(crate) damaged: bool,
}

impl<T: Into<String>> From<T> for NotStarted {
    fn from(why: T) -> Self {
        Self {
            why: why.into(),
            damaged: false,
        }
    }
}

/// Starts `resource` on `node`.
///
/// # Errors
/// When its metadata, its backing device or a thread can't be had, or its metadata is another's.
pub(crate) fn start(
    config: &Config,
    node: &Node,
    resource: &Resource,
    boot: BootId,
) -> Result<Started, NotStarted> {
    let member = resource
        .member(node.id)
        .ok_or("the configuration has no replica of it on this node")?;
    let loaded = load(member, &resource.name)?;
    let peers = peers_by_slot(config, node, resource, &loaded)?;
    let notices = Arc::<NoticeBox>::default();
    let options = ReplicaOptions {
        resource: resource.name.clone(),
        config: CoreConfig {
            name: node.name.clone(),
            peers: peers
                .iter()
                .map(|peer| PeerConfig {
                    node: peer.id,
                    name: peer.node.clone(),
                    protocol: peer.protocol,
                })
                .collect(),
            arbiter: resource.arbiter.into(),
            on_peer_loss: resource.on_peer_loss,
            on_disk_error: resource.on_disk_error,
            on_no_quorum: resource.on_no_quorum,
            timings: resource.timings,
            resync_bufs: 0,
            first_resync_buf: 0,
            al_extents: resource
                .al_extents
                .unwrap_or_else(|| default_al_extents(loaded.superblock.size_blocks)),
        },
        backing: member.backing.clone(),
        io: member.io,
        metadata: member.metadata.clone(),
        discard_dir: node.state_dir.clone(),
        boot,
        seed: random_u64()?,
        buffers: resource.buffers,
        busy_poll: resource.busy_poll,
    };
    let thread = spawn(options, Box::new(NoticeSender(Arc::clone(&notices))))
        .map_err(|error| error.to_string())?;
    let parts = Parts {
        id: resource_id(&config.cluster, &resource.name),
        resource: resource.clone(),
        member: member.clone(),
        peers: peers
            .iter()
            .enumerate()
            .filter_map(|(index, peer)| {
                Some(Peer::new(Slot::new(index)?, peer.id, peer.node.clone()))
            })
            .collect(),
    };
    let replica = Replica::new(parts, thread.sender(), notices);
    Ok(Started { replica, thread })
}

/// An eighth of the device, so that a database's busy part fits, but no less than 4 GiB and no more than 64 GiB: so
/// much is compared after the crash of a primary.
fn default_al_extents(size_blocks: u64) -> usize {
    let eighth = size_blocks / 8 / EXTENT_BLOCKS;
    usize::try_from(eighth.clamp(1024, 16_384)).unwrap_or(1024)
}

/// A random number that is not 0.
pub(crate) fn random_u64() -> Result<u64, String> {
    getrandom::u64()
        .map(|number| number.max(1))
        .map_err(|error| format!("the system gives no random numbers: {error}"))
}

/// The metadata as it is now, looked at without a lock: the thread takes it and checks it again.
fn load(member: &Member, resource: &str) -> Result<Loaded, NotStarted> {
    let metadata = match &member.metadata {
        Some(path) => Metadata::external(path, Access::ReadOnly),
        None => Backing::open(&member.backing, Access::ReadOnly)
            .map(Arc::new)
            .and_then(|backing| Metadata::internal(&backing)),
    };
    metadata
        .and_then(|metadata| metadata.load())
        .map_err(|error| NotStarted {
            damaged: matches!(
                error,
                StoreError::Metadata { .. } | StoreError::NoInternalMetadata { .. }
            ),
            why: match error {
                StoreError::Missing { path } => format!(
                    "{} does not exist: `twindisk init {resource}` makes it, if this node never had a replica",
                    path.display()
                ),
                error => format!("{error}; see `twindisk metadata check {resource}`"),
            },
        })
}

/// The configured peers in the order of the metadata's records.
fn peers_by_slot<'c>(
    config: &Config,
    node: &Node,
    resource: &'c Resource,
    loaded: &Loaded,
) -> Result<Vec<&'c Member>, String> {
    let superblock = &loaded.superblock;
    let name = &resource.name;
    if superblock.cluster != cluster_id(&config.cluster)
        || superblock.resource != resource_id(&config.cluster, name)
    {
        return Err(format!(
            "the metadata belongs to another resource than {name} of cluster {}: is the path right? `twindisk metadata dump {name}` shows whose it is",
            config.cluster
        ));
    }
    if superblock.node != node.id {
        return Err(format!(
            "the metadata belongs to node number {}, this node ({}) has number {}: give the node its number back, or name its own metadata",
            superblock.node, node.name, node.id
        ));
    }
    let mut found = Vec::new();
    for record in &superblock.peers {
        let peer = resource.member(record.node).ok_or_else(|| {
            format!(
                "the metadata has a peer with number {} which the configuration of {name} lacks: put it back, or initialise this node anew",
                record.node
            )
        })?;
        found.push(peer);
    }
    let new = |peer: &&Member| !superblock.peers.iter().any(|record| record.node == peer.id);
    found.extend(resource.peers_of(node.id).filter(new));
    if let Some(homeless) = found.get(superblock.slots()) {
        return Err(format!(
            "the configuration of {name} has a peer {} which the metadata has no slot for: initialise this node anew, with `--peers` as many as there may ever be (a full resync brings its data back)",
            homeless.node
        ));
    }
    Ok(found)
}
