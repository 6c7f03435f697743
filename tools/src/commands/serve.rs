//! `twindisk serve`: a node at work.

use std::path::PathBuf;

use twindisk_control::serve::{self, Options};

use crate::{ask::Where, exit::Failure, input::size, log::Log};

mod ephemeral;

/// Ends in good order on SIGTERM and SIGINT. Says READY to systemd and takes its listening sockets for NBD.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One NBD client on standard input and output; ends with it
    #[arg(long)]
    stdio: bool,
    #[command(flatten)]
    log: Log,
    /// No configuration, no peers: serve a scratch disk of this size, or this file, from this process alone
    #[arg(long, value_name = "SIZE|FILE")]
    ephemeral: Option<String>,
    /// Where the scratch disk listens [default: an inherited socket, or --stdio]
    #[arg(long, value_name = "PATH", requires = "ephemeral")]
    unix: Option<PathBuf>,
    /// The scratch disk also listens here
    #[arg(long, value_name = "HOST:PORT", requires = "ephemeral")]
    tcp: Option<String>,
}

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    args.log.begin()?;
    let options = Options {
        stdio: args.stdio,
        ..Options::default()
    };
    if let Some(disk) = &args.ephemeral {
        let inherited = std::env::var_os("LISTEN_FDS").is_some();
        if !(args.stdio || inherited || args.unix.is_some() || args.tcp.is_some()) {
            return Err(Failure::Usage(
                "a scratch disk that nobody can reach: say where with --unix PATH, --tcp HOST:PORT or --stdio"
                    .to_owned(),
            ));
        }
        let disk = match size(disk) {
            Ok(bytes) => ephemeral::Disk::Scratch(bytes),
            Err(_) => ephemeral::Disk::File(PathBuf::from(disk)),
        };
        return ephemeral::serve(&disk, args.unix.as_deref(), args.tcp.as_deref(), options);
    }
    let context = place.load()?;
    serve::run(&context.config, &context.node, options)?;
    Ok(())
}
