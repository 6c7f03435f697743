//! `twindisk verify`: are the replicas equal?

use twindisk_control::{protocol::Ask, units::Bytes};

use super::watch::{Watch, complete, number};
use crate::{
    ask::{Form, Where},
    exit::Failure,
    input::size,
    out,
};

/// Runs on line, on the primary, against every in-sync peer; the application's writes go on meanwhile.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// Rewrite differing blocks on the peer from here
    #[arg(long)]
    repair: bool,
    /// First byte, a multiple of 4096
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "0")]
    from: u64,
    /// Number of bytes, a multiple of 4096 [default: to the end]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    length: Option<u64>,
    /// Wait for the end and fail with exit code 14 when blocks differ
    #[arg(long, conflicts_with = "stop")]
    wait: bool,
    /// Stop a verify that is under way
    #[arg(long, conflicts_with_all = ["repair", "length"])]
    stop: bool,
    #[command(flatten)]
    form: Form,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    if args.stop {
        return context.tell(Ask::VerifyStop { resource }, args.form);
    }
    let watch = args
        .wait
        .then(|| Watch::begin(&context, &resource))
        .transpose()?;
    let ask = Ask::Verify {
        resource: resource.clone(),
        from_bytes: args.from,
        length_bytes: args.length,
        repair: args.repair,
    };
    context.tell(ask, args.form)?;
    let Some(watch) = watch else {
        return Ok(());
    };
    let mut different = 0;
    loop {
        let ended = watch.wait_for(&["verify-ended"])?;
        let (compared, differ) = (
            number(&ended, "compared-blocks"),
            number(&ended, "different-blocks"),
        );
        let repaired = number(&ended, "repaired-blocks");
        out::say!(
            "{}: {} compared, {differ} blocks differ, {repaired} repaired",
            context.node_name(number(&ended, "peer")),
            Bytes(compared * 4096),
        );
        if !complete(&ended) {
            return Err(Failure::Error(
                "the verify did not get to its end: `twindisk events` says why".to_owned(),
            ));
        }
        different += differ - repaired.min(differ);
        if !watch.busy()? {
            break;
        }
    }
    if different == 0 {
        return Ok(());
    }
    Err(Failure::Differences(format!(
        "{different} blocks of {resource} differ and were not repaired: run it again with --repair on the node whose data is right"
    )))
}
