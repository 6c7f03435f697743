//! `twindisk fenced`: a node was powered off. What fence agents and cluster managers say, for all its resources at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use twindisk_control::protocol::{Ask, ReceiptWord};
use twindisk_core::RefusalCode;

use crate::{
    ask::{Context, Form, Where},
    exit::Failure,
};

/// A receipt about the node for each resource that this node shares with it. A node that is still connected is asked first: if
/// it answers within 300 ms, it is not off, and the receipt is refused with exit code 26.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The node that is off
    fenced: String,
    /// Who knows it: `device`, whose *off* was verified, or `human`, a person who vouches for it
    #[arg(long, value_enum, default_value_t = By::Device)]
    by: By,
    /// What was done, by whom; kept in the event log
    #[arg(long, value_name = "TEXT", default_value = "it was fenced")]
    reason: String,
    /// `met` of the node in `twindisk status --json` when that was done: void if the two have met since
    #[arg(long, value_name = "NUMBER")]
    met: Option<u64>,
    #[command(flatten)]
    form: Form,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum By {
    Device,
    Human,
}

/// A receipt that another one is in the way of is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(50);

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    args.form.say(everywhere(&context, args))
}

fn everywhere(context: &Context, args: &Args) -> Result<String, Failure> {
    let fenced = &args.fenced;
    let shared = context
        .config
        .resources_on(&context.node)
        .filter(|resource| {
            let mut peers = resource.peers_of(context.node.id);
            peers.any(|peer| peer.node == *fenced)
        });
    let mut said = Vec::new();
    let mut failed = None;
    for resource in shared {
        match receipt(context, args, &resource.name) {
            Ok(message) => said.push(format!("{}: {message}", resource.name)),
            Err(failure) => failed = failed.or(Some(failure)),
        }
    }
    match failed {
        Some(failure) => Err(failure),
        None if said.is_empty() => Err(Failure::Usage(format!(
            "{fenced:?} has no resource in common with {}",
            context.node.name
        ))),
        None => Ok(said.join("\n")),
    }
}

fn receipt(context: &Context, args: &Args, resource: &str) -> Result<String, Failure> {
    let ask = Ask::Receipt {
        resource: resource.to_owned(),
        about: Some(args.fenced.clone()),
        kind: match args.by {
            By::Device => ReceiptWord::Fenced,
            By::Human => ReceiptWord::Force,
        },
        detail: args.reason.clone(),
        met: args.met,
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match context.done(ask.clone()) {
            Err(Failure::Refused {
                code: Some(RefusalCode::Busy),
                ..
            }) if Instant::now() < deadline => thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}
