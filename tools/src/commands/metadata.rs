//! `twindisk metadata dump|check|repair|move`: off line, with the metadata locked.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::json;
use twindisk_control::{config::Member, units::Bytes};
use twindisk_engine::store::{Access, Backing, Metadata, StoreError, contents};
use twindisk_format::{
    layout::Layout,
    limits::BLOCK_BYTES,
    metadata::{self, Assumed},
};

use crate::{
    ask::{Context, Where},
    commands::init::{Place, tie},
    exit::Failure,
    input::{confirm, size},
    out,
};

/// Look at, check, repair or move metadata while nothing serves it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Show everything that the metadata says
    Dump {
        /// The resource [default: the only one]
        resource: Option<String>,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Say which blocks are damaged; exit code 13 when there are any
    Check {
        /// The resource [default: the only one]
        resource: Option<String>,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make true what damaged blocks are taken for: "all dirty", "all active", the other copy
    Repair {
        /// The resource [default: the only one]
        resource: Option<String>,
        /// The resource's name once more, instead of typing it at the prompt
        #[arg(long, value_name = "RESOURCE")]
        confirm: Option<String>,
    },
    /// Say that the backing device is the right one, though it is another one than before: its data was copied there,
    /// and nothing was written since. Touches no data
    Tie {
        /// The resource [default: the only one]
        resource: Option<String>,
        /// The resource's name once more, instead of typing it at the prompt
        #[arg(long, value_name = "RESOURCE")]
        confirm: Option<String>,
    },
    /// Move internal metadata to the new end of a backing device that has grown
    Move {
        /// The resource [default: the only one]
        resource: Option<String>,
        /// What size the backing device had, like 10GiB
        #[arg(long, value_name = "SIZE", value_parser = size)]
        was: u64,
    },
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    match &args.what {
        What::Dump { resource, json } => dump(&context, resource.as_deref(), *json),
        What::Check { resource, json } => check(&context, resource.as_deref(), *json),
        What::Repair { resource, confirm } => {
            repair(&context, resource.as_deref(), confirm.as_deref())
        }
        What::Tie { resource, confirm } => {
            tie_again(&context, resource.as_deref(), confirm.as_deref())
        }
        What::Move { resource, was } => move_to_end(&context, resource.as_deref(), *was),
    }
}

fn dump(context: &Context, resource: Option<&str>, json: bool) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    let access = if context.is_served(&resource.name) {
        out::err!("note: the replica is running: what is shown may be between two changes");
        Access::ReadOnly
    } else {
        Access::Exclusive
    };
    let found = open(member, access).map_err(broken)?;
    let dump =
        metadata::dump(|block| found.read(block)).map_err(|error| damaged(&found, &error))?;
    if json {
        out::say!(
            "{}",
            serde_json::to_string_pretty(&dump).map_err(Failure::error)?
        );
    } else {
        out::text(format_args!("{dump}"));
    }
    Ok(())
}

fn check(context: &Context, resource: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    let found = open_alone(context, &resource.name, member)?;
    let findings = metadata::check(|block| found.read(block));
    if as_json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({
                    "block": finding.block,
                    "place": finding.place.to_string(),
                    "fault": finding.fault.to_string(),
                    "assumed": finding.assumed.to_string(),
                })
            })
            .collect();
        out::say!(
            "{}",
            serde_json::to_string_pretty(&list).map_err(Failure::error)?
        );
    } else {
        for finding in &findings {
            out::say!("{finding}");
        }
    }
    if findings.is_empty() {
        if !as_json {
            out::say!(
                "{}: every block is as it should be",
                found.on().path().display()
            );
        }
        return Ok(());
    }
    let lost = findings
        .iter()
        .any(|finding| finding.assumed == Assumed::Nothing);
    Err(Failure::Damaged(format!(
        "{}: {} blocks are damaged; {}",
        found.on().path().display(),
        findings.len(),
        if lost {
            "the metadata cannot be used: initialise it anew (`twindisk init --force-overwrite`) and let a peer resync the whole device"
        } else {
            "`twindisk serve` works with the worst they can have held; `twindisk metadata repair` makes that true"
        }
    )))
}

fn repair(context: &Context, resource: Option<&str>, given: Option<&str>) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    let name = &resource.name;
    let found = open_alone(context, name, member)?;
    let blocks =
        metadata::repair(|block| found.read(block)).map_err(|error| damaged(&found, &error))?;
    if blocks.is_empty() {
        out::say!(
            "{}: there is nothing to repair",
            found.on().path().display()
        );
        return Ok(());
    }
    confirm(
        name,
        given,
        &format!(
            "This overwrites {} damaged blocks of the metadata of {name}.",
            blocks.len()
        ),
    )?;
    for (block, data) in &blocks {
        // Each is durable before the next: the order is what keeps a cut harmless.
        let written = found.write(*block, data).and_then(|()| found.sync());
        written.map_err(Failure::at(found.on().path()))?;
    }
    out::say!(
        "{}: {} blocks repaired",
        found.on().path().display(),
        blocks.len()
    );
    Ok(())
}

fn move_to_end(context: &Context, resource: Option<&str>, was: u64) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    if let Some(path) = &member.metadata {
        return Err(Failure::Refused {
            code: None,
            why: format!(
                "the metadata of {} is in {}, which does not move",
                resource.name,
                path.display()
            ),
            next: "grow the backing device, then `twindisk resize` on the primary".to_owned(),
        });
    }
    refuse_if_served(context, &resource.name)?;
    let backing = Backing::open(&member.backing, Access::Exclusive).map_err(broken)?;
    let moved =
        Metadata::move_to_end(&Arc::new(backing), was / BLOCK_BYTES as u64).map_err(broken)?;
    out::say!(
        "{}: the metadata is at its end; there is room for a device of {}. Next: `twindisk serve`; when every node has \
         grown, `twindisk resize {}` on the primary",
        member.backing.display(),
        Bytes(moved.first_block() * BLOCK_BYTES as u64),
        resource.name,
    );
    Ok(())
}

fn tie_again(
    context: &Context,
    resource: Option<&str>,
    given: Option<&str>,
) -> Result<(), Failure> {
    let (resource, member) = context.pick(resource)?;
    let name = &resource.name;
    refuse_if_served(context, &resource.name)?;
    let backing = Arc::new(Backing::open(&member.backing, Access::Exclusive).map_err(broken)?);
    let (found, place) = match &member.metadata {
        Some(path) => (Metadata::external(path, Access::Exclusive), Place::Beside),
        None => (Metadata::internal(&backing), Place::Inside),
    };
    let found = found.map_err(broken)?;
    let loaded = found.load().map_err(broken)?;
    let holds = contents::found(&backing).map_err(Failure::error)?;
    confirm(
        name,
        given,
        &format!(
            "{} will be taken for the device that the metadata of {name} belongs to. It holds {}.",
            member.backing.display(),
            holds.as_deref().unwrap_or("nothing but zeros at its start")
        ),
    )?;
    let mut superblock = loaded.superblock;
    superblock.device = tie(&backing, place)?;
    let counter = loaded.counter + 1;
    found
        .write(
            Layout::superblock_block(counter),
            &superblock.encode(counter),
        )
        .and_then(|()| found.sync())
        .map_err(Failure::at(found.on().path()))?;
    out::say!(
        "{name}: the metadata belongs to {} now. If anything may differ from what was there before: `twindisk resync \
         --full` on the primary, or `twindisk verify`",
        member.backing.display()
    );
    Ok(())
}

/// Alone, and at once refused when a process serves it.
fn open_alone(context: &Context, resource: &str, member: &Member) -> Result<Metadata, Failure> {
    refuse_if_served(context, resource)?;
    open(member, Access::Exclusive).map_err(broken)
}

fn refuse_if_served(context: &Context, resource: &str) -> Result<(), Failure> {
    if context.is_served(resource) {
        return Err(Failure::Error(format!(
            "{resource} is being served on node {}: `twindisk down {resource}`, or the end of `twindisk serve`, has to come first",
            context.node.name
        )));
    }
    Ok(())
}

fn open(member: &Member, access: Access) -> Result<Metadata, StoreError> {
    match &member.metadata {
        Some(path) => Metadata::external(path, access),
        None => Metadata::internal(&Arc::new(Backing::open(&member.backing, access)?)),
    }
}

fn broken(error: StoreError) -> Failure {
    match error {
        StoreError::Metadata { .. } | StoreError::NoInternalMetadata { .. } => {
            Failure::Damaged(error.to_string())
        }
        StoreError::InUse { .. } => Failure::Error(format!(
            "{error}: `twindisk serve` of this node has to be stopped for this"
        )),
        other => Failure::error(other),
    }
}

fn damaged(found: &Metadata, error: &metadata::LoadError) -> Failure {
    Failure::Damaged(format!("{}: {error}", found.on().path().display()))
}
