//! `twindisk promote`: this node becomes primary.

use std::{
    thread,
    time::{Duration, Instant},
};

use twindisk_control::protocol::Ask;
use twindisk_core::RefusalCode;

use crate::{
    ask::{Context, Decides, Form, Where},
    exit::Failure,
    input::{confirm, time},
};

/// Without --force it is refused unless it is proven that no other node can acknowledge writes; the refusal says what
/// is missing and how to get it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Try for so long, as long as a right may still come or something else is under way; at once an end when only a
    /// resync or a person helps
    #[arg(long, value_name = "TIME", value_parser = time)]
    wait: Option<Duration>,
    /// Unsafe: promote without proof, on your word. If another node still takes writes, both sides go on and one of
    /// them has to be discarded
    #[arg(long, requires = "reason", conflicts_with = "wait")]
    force: bool,
    /// Why you are sure; kept in the event log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The resource's name once more, instead of typing it at the prompt
    #[arg(long, value_name = "RESOURCE")]
    confirm: Option<String>,
    #[command(flatten)]
    decides: Decides,
    #[command(flatten)]
    form: Form,
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.may_decide(&resource, args.decides)?;
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
    let ask = Ask::Promote { resource, force };
    args.form
        .say(promote(&context, &ask, args.wait.unwrap_or_default()))
}

fn promote(context: &Context, ask: &Ask, wait: Duration) -> Result<String, Failure> {
    let deadline = Instant::now() + wait;
    loop {
        match context.done(ask.clone()) {
            Err(failure) if may_pass(&failure) && Instant::now() + PAUSE < deadline => {
                thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Whether time, or a receipt that somebody brings, can end it. A primary that is connected may be dead: whoever fences it
/// knows that first.
fn may_pass(failure: &Failure) -> bool {
    let Failure::Refused {
        code: Some(code), ..
    } = failure
    else {
        return false;
    };
    match code {
        RefusalCode::NoRight
        | RefusalCode::PeerIsPrimary
        | RefusalCode::PeerNotConnected
        | RefusalCode::PeerRefused
        | RefusalCode::Busy
        | RefusalCode::Interrupted => true,
        RefusalCode::WrongRole
        | RefusalCode::DiskNotUpToDate
        | RefusalCode::Conflict
        | RefusalCode::PeerAnswers
        | RefusalCode::NothingToDo
        | RefusalCode::BadArgument
        | RefusalCode::Suspended
        | RefusalCode::Metadata => false,
    }
}
