//! `twindisk top`: how it stands, live.

use std::time::Duration;

use crate::{ask::Where, exit::Failure, input::time, top::screen};

/// Resources, who could take over and why not, heartbeat paths, alarms and events, as this node knows them. Keys: `?`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Begin with this resource
    resource: Option<String>,
    /// Print one frame without escapes, and end; it is as wide as COLUMNS says [default: 80]
    #[arg(long)]
    once: bool,
    /// How often it is looked
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    interval: Duration,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = args.resource.as_deref();
    if resource.is_some() {
        context.name(resource)?;
    }
    // Faster than that, looking takes more time than there is between two looks.
    let interval = args.interval.max(FASTEST);
    if args.once {
        screen::once(&context, resource, interval)
    } else {
        screen::live(context, resource, interval)
    }
}

const FASTEST: Duration = Duration::from_millis(100);
