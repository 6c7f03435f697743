//! `twindisk outdate`: this standby records that it is old, so that the primary may go on without it.

use std::sync::Arc;

use twindisk_control::{protocol::Ask, words};
use twindisk_engine::store::{Access, Backing, Metadata, StoreError};
use twindisk_format::{layout::Layout, superblock::StoredDisk};

use crate::{
    ask::{Context, Form, Where},
    exit::Failure,
    out,
};

/// Only a resync ends it. Afterwards `twindisk receipt --released --about THIS-NODE` is true on the other node.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Its `twindisk serve` is dead and its host is not: write it into the metadata, under its lock
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    if args.offline {
        return offline(&context, args.resource.as_deref());
    }
    let resource = context.name(args.resource.as_deref())?;
    context.tell(Ask::Outdate { resource }, args.form)
}

/// The lock proves that no process serves the replica; the record, once durable, that none ever will as it is.
fn offline(context: &Context, resource: Option<&str>) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    let served = || Failure::Refused {
        code: None,
        why: format!("{} is being served on this node", resource.name),
        next: format!("twindisk outdate {} (without --offline)", resource.name),
    };
    if context.is_served(&resource.name) {
        return Err(served());
    }
    let in_use = |error| match error {
        StoreError::InUse { .. } => served(),
        other => Failure::error(other),
    };
    // Both locks: a process that is starting holds one of them before the other.
    let backing = Backing::open(&member.backing, Access::Exclusive)
        .map(Arc::new)
        .map_err(in_use)?;
    let metadata = match &member.metadata {
        Some(path) => Metadata::external(path, Access::Exclusive),
        None => Metadata::internal(&backing),
    }
    .map_err(in_use)?;
    let loaded = metadata
        .load()
        .map_err(|error| Failure::Damaged(error.to_string()))?;
    let mut superblock = loaded.superblock;
    if superblock.peers.iter().any(|peer| peer.conflict.is_some()) {
        // R11: which of the two it is the older one of is for a person to say.
        return Err(Failure::Refused {
            code: None,
            why: format!(
                "{} is in conflict with another replica, and no person has decided yet whose data counts",
                resource.name
            ),
            next: format!(
                "twindisk serve, then `twindisk status {}` says how",
                resource.name
            ),
        });
    }
    if resource.arbiter.keeps_record() && superblock.went_on_alone() {
        // R8: the other one lives, perhaps, and would take the record for its right to go on.
        return Err(Failure::Refused {
            code: None,
            why: format!(
                "{} went on here without the other node: nobody else has what was acknowledged since",
                resource.name
            ),
            next: "twindisk serve, and let the two connect".to_owned(),
        });
    }
    if superblock.disk > StoredDisk::Outdated {
        superblock.disk = StoredDisk::Outdated;
        let counter = loaded.counter + 1;
        metadata
            .write(
                Layout::superblock_block(counter),
                &superblock.encode(counter),
            )
            .and_then(|()| metadata.sync())
            .map_err(Failure::at(metadata.on().path()))?;
    }
    out::say!(
        "{} on {} is recorded as {} in term {}. Now true on the other node: twindisk receipt {} --released --about {}",
        resource.name,
        context.node.name,
        words::stored_disk(superblock.disk),
        superblock.term,
        resource.name,
        context.node.name
    );
    Ok(())
}
