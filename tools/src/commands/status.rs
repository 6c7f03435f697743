//! `twindisk status`: how it stands.

use std::{thread, time::Duration};

use crate::{ask::Where, commands::agent, exit::Failure, input::time, out, table};

/// A table for eyes; with --json an object with stable names and exact numbers.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this resource
    resource: Option<String>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Again and again
    #[arg(long, short)]
    watch: bool,
    /// How often with --watch
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "1s")]
    interval: Duration,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    loop {
        let answer = context.client().and_then(|mut client| {
            if let Some(name) = &args.resource {
                // A name that is not there is a mistake, not an empty table.
                context.name(Some(name))?;
            }
            Ok(client.status(args.resource.as_deref())?)
        });
        let text = match answer {
            Ok(status) if args.json => {
                serde_json::to_string(&status).map_err(Failure::error)? + "\n"
            }
            Ok(status) => table::node(&status) + &agent::glance(&context),
            Err(failure) if !args.watch => return Err(failure),
            Err(Failure::NotRunning(text)) => text + "\n",
            Err(failure) => return Err(failure),
        };
        let clear = if args.watch && !args.json {
            "\x1b[H\x1b[J"
        } else {
            ""
        };
        if !out::bytes(format!("{clear}{text}").as_bytes()) || !args.watch {
            return Ok(());
        }
        thread::sleep(args.interval);
    }
}
