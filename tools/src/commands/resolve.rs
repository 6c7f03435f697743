//! `twindisk resolve`: a person ends a split brain.

use twindisk_control::protocol::Ask;

use crate::{
    ask::{Form, Where},
    exit::Failure,
    input::confirm,
};

/// Both nodes went on from a common state and refuse to mix. The blocks that the loser changed are kept in a file of
/// its state directory, then it is resynced from the other one.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The node whose changes are given up: this one or a peer
    #[arg(long, value_name = "NODE")]
    discard: String,
    /// The node whose data is kept, when there are several
    #[arg(long, value_name = "NODE")]
    keep: Option<String>,
    /// The resource's name once more, instead of typing it at the prompt
    #[arg(long, value_name = "RESOURCE")]
    confirm: Option<String>,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    confirm(
        &resource,
        args.confirm.as_deref(),
        &format!(
            "This gives up what {} wrote to {resource} since the fork (the changed blocks are kept in a file there).",
            args.discard
        ),
    )?;
    let ask = Ask::Resolve {
        resource,
        discard: args.discard,
        keep: args.keep,
    };
    context.tell(ask, args.form)
}
