//! `twindisk demote`: this node becomes standby.

use twindisk_control::protocol::Ask;

use crate::{ask::Where, exit::Failure};

/// Clients are closed once everything in flight is done and stable.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Do not wait for suspended writes: drop them; their clients never had an answer
    #[arg(long)]
    abandon: bool,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let abandon = args.abandon;
    context.tell(Ask::Demote { resource, abandon })
}
