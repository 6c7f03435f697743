//! `twindisk demote`: this node becomes standby.

use std::{
    thread,
    time::{Duration, Instant},
};

use twindisk_control::protocol::Ask;
use twindisk_core::RefusalCode;

use crate::{
    ask::{Context, Decides, Form, Where},
    exit::Failure,
    input::time,
};

/// Clients are closed once everything in flight is done and stable.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Do not wait for suspended writes: drop them; their clients never had an answer
    #[arg(long)]
    abandon: bool,
    /// The same, but only when they are still suspended after so long
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "abandon")]
    abandon_after: Option<Duration>,
    #[command(flatten)]
    decides: Decides,
    #[command(flatten)]
    form: Form,
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.may_decide(&resource, args.decides)?;
    let outcome = match args.abandon_after {
        Some(after) => demote_or_abandon(&context, &resource, after),
        None => context.done(ask(&resource, args.abandon)),
    };
    args.form.say(outcome)
}

fn ask(resource: &str, abandon: bool) -> Ask {
    let resource = resource.to_owned();
    Ask::Demote { resource, abandon }
}

fn demote_or_abandon(
    context: &Context,
    resource: &str,
    after: Duration,
) -> Result<String, Failure> {
    let deadline = Instant::now() + after;
    loop {
        let late = Instant::now() >= deadline;
        match context.done(ask(resource, late)) {
            Err(Failure::Refused {
                code: Some(RefusalCode::Suspended | RefusalCode::Busy),
                ..
            }) if !late => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}
