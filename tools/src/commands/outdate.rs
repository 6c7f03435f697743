//! `twindisk outdate`: this standby records that it is old, so that the primary may go on without it.

use twindisk_control::protocol::Ask;

use crate::{ask::Where, exit::Failure};

/// Only a resync ends it. Afterwards `twindisk receipt --released --about THIS-NODE` is true on the primary.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.tell(Ask::Outdate { resource })
}
