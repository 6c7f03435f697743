//! `twindisk serve`: a node at work.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use twindisk_control::serve::{self, Options};

use crate::{ask::Where, exit::Failure, input::size};

mod ephemeral;

/// Ends in good order on SIGTERM and SIGINT. Says READY to systemd and takes its listening sockets for NBD.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One NBD client on standard input and output; ends with it
    #[arg(long)]
    stdio: bool,
    /// Log as JSON, one object a line
    #[arg(long)]
    log_json: bool,
    /// What to log: error, warn, info, debug, or filters like `twindisk_control=debug`
    #[arg(
        long,
        value_name = "FILTER",
        env = "TWINDISK_LOG",
        default_value = "info"
    )]
    log: String,
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
    log_to_stderr(args)?;
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

fn log_to_stderr(args: &Args) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| Failure::Usage(format!("--log {:?}: {error}", args.log)))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if args.log_json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    Ok(())
}
