//! `twindisk resize`: the device grows on line.

use twindisk_control::protocol::Ask;

use crate::{
    ask::{Form, Where},
    exit::Failure,
    input::size,
};

/// Grow the backing devices on every node first (lvextend, truncate …); on the primary, with every peer connected.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The new size, like 20GiB; a multiple of 4096 [default: as large as every backing device allows]
    #[arg(long, value_parser = size)]
    size: Option<u64>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let ask = Ask::Resize {
        resource,
        size_bytes: args.size,
    };
    context.tell(ask, args.form)
}
