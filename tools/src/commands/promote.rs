//! `twindisk promote`: this node becomes primary.

use twindisk_control::protocol::Ask;

use crate::{ask::Where, exit::Failure, input::confirm};

/// Without --force it is refused unless it is proven that no other node can acknowledge writes; the refusal says what
/// is missing and how to get it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Unsafe: promote without proof, on your word. If another node still takes writes, both sides go on and one of
    /// them has to be discarded
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why you are sure; kept in the event log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The resource's name once more, instead of typing it at the prompt
    #[arg(long, value_name = "RESOURCE")]
    confirm: Option<String>,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let force = args.reason.filter(|_| args.force);
    if force.is_some() {
        confirm(
            &resource,
            args.confirm.as_deref(),
            &format!(
                "This promotes {} for {resource} without proof that no other node is primary. If one is, the two fork and the changes of one will be lost.",
                context.node.name
            ),
        )?;
    }
    context.tell(Ask::Promote { resource, force })
}
