//! `twindisk trust`: a person says that this copy is the newest that there is.

use twindisk_control::protocol::Ask;

use crate::{
    ask::{Form, Where},
    exit::Failure,
    input::confirm,
};

/// After a boot a copy is Consistent until it has met the others: one of them may have gone on alone. When they do not come
/// back, your word makes it UpToDate, and a cluster manager or `twindisk promote` goes on from there; receipts about the
/// others are needed all the same. If you are wrong, what was written on the other node is found to be a fork when it is back.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Why you are sure; kept in the event log
    #[arg(long, value_name = "TEXT")]
    reason: String,
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
            "This makes the copy of {resource} on {} the newest one. What another node has written alone meanwhile is a fork then.",
            context.node.name
        ),
    )?;
    let reason = args.reason;
    context.tell(Ask::Trust { resource, reason }, args.form)
}
