//! `twindisk connect` and `disconnect`.

use twindisk_control::protocol::Ask;

use crate::{
    ask::{Form, Where},
    exit::Failure,
};

/// Which connection is meant.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Only this peer [default: all]
    #[arg(long, value_name = "NODE")]
    peer: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn connect(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let peer = args.peer;
    context.tell(Ask::Connect { resource, peer }, args.form)
}

pub(crate) fn disconnect(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let peer = args.peer;
    context.tell(Ask::Disconnect { resource, peer }, args.form)
}
