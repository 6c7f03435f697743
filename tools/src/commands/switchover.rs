//! `twindisk switchover`: the primary role moves in good order.

use twindisk_control::protocol::Ask;

use crate::{ask::Where, exit::Failure};

/// On the primary it goes to --to (or the only peer); on a standby it comes here.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The node that shall be primary
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.tell(Ask::Switchover {
        resource,
        to: args.to,
    })
}
