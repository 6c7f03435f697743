//! `twindisk up` and `down`: one resource of this node, while its process serves the others.

use twindisk_control::protocol::Ask;

use crate::{
    ask::{Form, Where},
    exit::Failure,
};

/// For both. Of `twindisk down`: in good order, also when I/O is suspended; what was never acknowledged is dropped then.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn up(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.tell(Ask::Up { resource }, args.form)
}

pub(crate) fn down(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.tell(Ask::Down { resource }, args.form)
}
