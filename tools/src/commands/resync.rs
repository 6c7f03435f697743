//! `twindisk resync`: a peer is brought up to date from here.

use twindisk_control::{protocol::Ask, units::Bytes};

use super::watch::{Watch, complete, number};
use crate::{
    ask::{Form, Where},
    exit::Failure,
    out,
};

/// It runs by itself whenever a peer comes back; this starts it again, or compares everything.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The peer that becomes the target [default: the only one]
    #[arg(long, value_name = "NODE")]
    peer: Option<String>,
    /// Compare the whole device, not only what is known to differ
    #[arg(long)]
    full: bool,
    /// Wait for the end
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let watch = args
        .wait
        .then(|| Watch::begin(&context, &resource))
        .transpose()?;
    let ask = Ask::Resync {
        resource: resource.clone(),
        peer: args.peer,
        full: args.full,
    };
    context.tell(ask, args.form)?;
    let Some(watch) = watch else {
        return Ok(());
    };
    let ended = watch.wait_for(&["resync-ended"])?;
    out::say!(
        "{}: {} sent, {} were equal already",
        context.node_name(number(&ended, "peer")),
        Bytes(number(&ended, "sent-blocks") * 4096),
        Bytes(number(&ended, "equal-blocks") * 4096),
    );
    if complete(&ended) {
        return Ok(());
    }
    Err(Failure::Error(
        "the resync did not get to its end: `twindisk status` says why; it goes on when the peer is back".to_owned(),
    ))
}
