//! `twindisk init`: this node's replica is prepared: metadata, and the backing file if it is one.

mod backing;

use std::{path::Path, sync::Arc};

use twindisk_control::{
    config::{Member, Resource},
    identity::{cluster_id, resource_id},
    units::Bytes,
};
use twindisk_engine::store::{Access, Backing, Metadata, StoreError, contents, device};
use twindisk_format::{
    ids::{BootId, Epoch, GenerationId, Term},
    limits::{BLOCK_BYTES, MAX_DEVICE_BLOCKS, MAX_PEERS},
    lineage::{Generation, Lineage},
    superblock::{Device, Lack, PeerRecord, Runs, StoredDisk, Superblock, Tie},
};

use crate::{ask::Where, exit::Failure, input::size, out};

/// Without --first the replica is empty and waits for a full resync from the node that has the data. On exactly one
/// node of a new resource say --first: what its backing device holds now becomes the data.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// This node's backing device holds the initial data
    #[arg(long)]
    first: bool,
    /// Size of the device, like 10GiB. A backing file that does not exist is made and written with zeros
    /// [default: the size of the backing device]
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    /// How far the device can grow later; costs 32 MiB of metadata and memory per TiB and peer
    /// [default: twice the size, at least 1 GiB]
    #[arg(long, value_parser = size, value_name = "SIZE")]
    max_size: Option<u64>,
    /// Slots for so many peers, so that nodes can be added later [default: as many as are configured]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=MAX_PEERS as i64))]
    peers: Option<u8>,
    /// Destroy metadata, or whatever else lies where it goes; without --first whatever the backing device holds
    #[arg(long)]
    force_overwrite: bool,
}

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Plan<'c> {
    pub(crate) cluster: &'c str,
    pub(crate) resource: &'c Resource,
    pub(crate) member: &'c Member,
    /// What the backing device holds is the data.
    pub(crate) first: bool,
    /// In bytes; `None`: as large as the backing device.
    pub(crate) size: Option<u64>,
    /// In bytes; `None`: by default.
    pub(crate) max_size: Option<u64>,
    /// Slots for so many peers; `None`: as many as are configured.
    pub(crate) peers: Option<u8>,
    /// What is there may be destroyed.
    pub(crate) overwrite: bool,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let (resource, member) = context.pick(args.resource.as_deref())?;
    let made = make(&Plan {
        cluster: &context.config.cluster,
        resource,
        member,
        first: args.first,
        size: args.size,
        max_size: args.max_size,
        peers: args.peers,
        overwrite: args.force_overwrite,
    })?;
    for warning in &made.warnings {
        out::err!("warning: {warning}");
    }
    let blocks = made.superblock.size_blocks;
    out::say!(
        "{} on {}: {} in {}, metadata in {}",
        resource.name,
        context.node.name,
        Bytes(blocks * BLOCK_BYTES as u64),
        member.backing.display(),
        made.metadata,
    );
    if let Some(holds) = &made.holds {
        out::say!("it holds {holds}");
    }
    if args.first {
        out::say!(
            "its data is the initial data. Next: `twindisk serve` here and on the other nodes, then `twindisk promote {}`",
            resource.name
        );
    } else {
        out::say!(
            "a resync makes it equal to the first copy: what differs is overwritten. Next: `twindisk serve`"
        );
    }
    Ok(())
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) superblock: Superblock,
    pub(crate) metadata: String,
    pub(crate) warnings: Vec<String>,
    /// What the backing device held.
    pub(crate) holds: Option<String>,
}

/// Makes the backing file if it is missing, then the metadata.
pub(crate) fn make(plan: &Plan<'_>) -> Result<Made, Failure> {
    let path = &plan.member.backing;
    let mut warnings = Vec::new();
    if let Some(size) = plan.size {
        backing::create_if_missing(path, size, plan)?;
    }
    let device = Arc::new(Backing::open(path, Access::Exclusive).map_err(|error| {
        let hint = match (&error, plan.size) {
            (StoreError::Missing { .. }, None) => " --size SIZE makes a file there",
            _ => "",
        };
        Failure::Error(format!("{error}{hint}"))
    })?);
    warnings.extend(backing::warnings(&device));
    let holds = contents::found(&device).map_err(Failure::error)?;
    if let Some(holds) = holds.as_ref().filter(|_| !plan.first && !plan.overwrite) {
        return Err(Failure::Refused {
            code: None,
            why: format!("{} holds {holds}", path.display()),
            next: format!(
                "if that is the data of {0}: twindisk init {0} --first, on this node alone; to have it overwritten by a \
                 resync: twindisk init {0} --force-overwrite",
                plan.resource.name
            ),
        });
    }
    if let Some(tail) = backing::tail(path)?.filter(|_| plan.size.is_none()) {
        if tail.used && plan.first && plan.member.metadata.is_some() {
            return Err(tail.refusal(path));
        }
        warnings.push(tail.warning(path));
    }
    let mut superblock = superblock(plan, &device)?;
    let metadata = match &plan.member.metadata {
        Some(path) => {
            refuse_overwriting(path, plan)?;
            superblock.device = tie(&device, Place::Beside)?;
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(Failure::at(folder))?;
            }
            Metadata::create_external(path, &superblock).map_err(Failure::error)?;
            path.display().to_string()
        }
        None => {
            refuse_overwriting_tail(&device, plan, &superblock)?;
            superblock.device = tie(&device, Place::Inside)?;
            Metadata::create_internal(&device, &superblock).map_err(Failure::error)?;
            "its tail".to_owned()
        }
    };
    if superblock.device.tie == Tie::Size {
        warnings.push(format!(
            "nothing tells {} from another device of its size: see to it that no other one takes its place",
            path.display()
        ));
    }
    Ok(Made {
        superblock,
        metadata,
        warnings,
        holds,
    })
}

/// Where the metadata of a backing device lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At its end.
    Inside,
    /// In a file or on a device of its own.
    Beside,
}

/// What the backing device will be known by.
pub(crate) fn tie(device: &Backing, place: Place) -> Result<Device, Failure> {
    let mark = getrandom::u64().map_err(Failure::error)?;
    device::tie(device, place == Place::Inside, mark).map_err(Failure::error)
}

/// What the new replica says of itself.
fn superblock(plan: &Plan<'_>, device: &Backing) -> Result<Superblock, Failure> {
    let me = plan.member.id;
    let peers: Vec<PeerRecord> = plan
        .resource
        .peers_of(me)
        .map(|peer| PeerRecord::new(peer.id))
        .collect();
    let slots = plan.peers.map_or(peers.len(), usize::from);
    let spare_slots = slots.checked_sub(peers.len()).ok_or_else(|| {
        Failure::Usage(format!(
            "--peers {slots} is fewer than the {} peers that are configured",
            peers.len()
        ))
    })?;
    let (size_blocks, max_size_blocks) = sizes(plan, device, slots)?;
    let first = Generation {
        term: Term(1),
        id: GenerationId(getrandom::u64().map_err(Failure::error)?.max(1)),
        node: me,
    };
    let (term, lineage, disk) = if plan.first {
        (Term(1), vec![first], StoredDisk::UpToDate)
    } else {
        (Term(0), Vec::new(), StoredDisk::Inconsistent)
    };
    Ok(Superblock {
        cluster: cluster_id(plan.cluster),
        resource: resource_id(plan.cluster, &plan.resource.name),
        node: me,
        size_blocks,
        max_size_blocks,
        term,
        epoch: Epoch(0),
        lineage: Lineage::new(lineage),
        disk,
        primary: false,
        lack: Lack::Nothing,
        active: false,
        host: BootId(0),
        binding: None,
        unconfirmed: false,
        suspect: false,
        rewound: false,
        device: Device::default(),
        runs: Runs::default(),
        peers,
        spare_slots: u8::try_from(spare_slots).map_err(Failure::error)?,
    })
}

/// Size and largest size in blocks.
fn sizes(plan: &Plan<'_>, device: &Backing, peers: usize) -> Result<(u64, u64), Failure> {
    let block = BLOCK_BYTES as u64;
    let room = match plan.member.metadata {
        Some(_) => device.blocks(),
        None => Metadata::internal_data_blocks(device, peers),
    }
    .map_err(Failure::error)?;
    let size = match plan.size {
        // Internal metadata takes its part of a file that was made with this size.
        Some(bytes) if plan.member.metadata.is_none() => (bytes / block).min(room),
        Some(bytes) => bytes / block,
        None => room,
    };
    if size == 0 || size > room || size > MAX_DEVICE_BLOCKS {
        return Err(Failure::Error(format!(
            "{}: a device of {} does not fit: there is room for {}",
            device.path().display(),
            Bytes(size * block),
            Bytes(room * block),
        )));
    }
    if plan.member.metadata.is_none() {
        return Ok((size, room));
    }
    let max = plan.max_size.map_or_else(
        || (size * 2).max((1 << 30) / block),
        |bytes| bytes.div_ceil(block),
    );
    if max < size {
        return Err(Failure::Usage(format!(
            "--max-size {} is smaller than the device ({})",
            Bytes(max * block),
            Bytes(size * block)
        )));
    }
    Ok((size, max.min(MAX_DEVICE_BLOCKS)))
}

/// Metadata, or anything else, is only destroyed when it was said so.
fn refuse_overwriting(path: &Path, plan: &Plan<'_>) -> Result<(), Failure> {
    if plan.overwrite || !path.exists() {
        return Ok(());
    }
    let how = format!(
        "to destroy it: twindisk init {} --force-overwrite",
        plan.resource.name
    );
    let found = Metadata::external(path, Access::Exclusive)
        .map_err(|error| Failure::Error(format!("the metadata {error}")))?;
    if found.load().is_ok() {
        return Err(Failure::Refused {
            code: None,
            why: format!("{} holds valid metadata of a replica", path.display()),
            next: how,
        });
    }
    let blocks = found.on().blocks().map_err(Failure::error)?;
    let used = (0..blocks.min(2)).any(|block| {
        found
            .read(block)
            .map_or(true, |data| data.iter().any(|byte| *byte != 0))
    });
    if used {
        return Err(Failure::Refused {
            code: None,
            why: format!("{} is not empty: is the path right?", path.display()),
            next: how,
        });
    }
    Ok(())
}

/// The same for metadata at the tail of the device.
fn refuse_overwriting_tail(
    device: &Arc<Backing>,
    plan: &Plan<'_>,
    superblock: &Superblock,
) -> Result<(), Failure> {
    if plan.overwrite {
        return Ok(());
    }
    let how = format!(
        "to destroy it: twindisk init {} --force-overwrite",
        plan.resource.name
    );
    let path = device.path().display();
    if Metadata::internal(device).is_ok_and(|found| found.load().is_ok()) {
        return Err(Failure::Refused {
            code: None,
            why: format!("{path} holds valid metadata of a replica at its tail"),
            next: how,
        });
    }
    let end = device.blocks().map_err(Failure::error)?;
    for block in superblock.max_size_blocks..end {
        let data = device
            .read_block(block)
            .map_err(|error| Failure::Error(format!("{path}: {error}")))?;
        if data.0.iter().any(|byte| *byte != 0) {
            return Err(Failure::Refused {
                code: None,
                why: format!(
                    "the last {} of {path}, where metadata would go, are in use (a filesystem that fills the device?)",
                    Bytes((end - superblock.max_size_blocks) * BLOCK_BYTES as u64)
                ),
                next: format!(
                    "shrink what is there, or keep the metadata in a file (`metadata = \"...\"`); {how}"
                ),
            });
        }
    }
    Ok(())
}
