//! `twindisk events`: what happened and what happens, one JSON object a line.

use twindisk_control::protocol::{Answer, Ask};

use crate::{ask::Where, exit::Failure, out};

/// The whole past is in the event log file (`event-log` in the configuration); this shows the newest part of it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only of this resource
    resource: Option<String>,
    /// Go on with what happens from now on
    #[arg(long, short)]
    follow: bool,
    /// How many of the past, at most
    #[arg(long, value_name = "COUNT", default_value = "100")]
    recent: usize,
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let mut client = context.client()?;
    let mut answer = client.ask(Ask::Events {
        resource: args.resource,
        recent: args.recent,
        follow: args.follow,
    })?;
    loop {
        match answer {
            Answer::Event(line) => {
                let text = serde_json::to_string(&line).map_err(Failure::error)?;
                // A reader that went away (`| head`) is no error.
                if !out::bytes(format!("{text}\n").as_bytes()) {
                    return Ok(());
                }
            }
            Answer::Error(failed) => return Err(failed.into()),
            _ => return Ok(()),
        }
        answer = client.next_answer()?;
    }
}
