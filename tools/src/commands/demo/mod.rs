//! `twindisk demo`: the main job in one command, on a bare machine, with proof.

mod book;
mod configuration;
mod failover;
mod load;
mod pair;
mod power;
mod process;
mod story;
mod witness;

use std::{path::PathBuf, time::Duration};

use crate::{exit::Failure, input::size};

/// Two nodes on loopback with file-backed disks in a temporary directory, an agent on each, and a power switch that
/// really kills; a client that writes, flushes and keeps the book. The primary freezes in the middle of it; the other
/// agent has it powered off, reads that it is off, and takes over by itself; every acknowledged write is there; the
/// fenced node comes back as a standby; both images are compared byte by byte. With --manual there are no agents: the
/// primary is killed and the standby promoted by hand.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Size of the device
    #[arg(long, value_parser = size, default_value = "256MiB")]
    size: u64,
    /// How long each of the two clients writes
    #[arg(long, value_name = "SECONDS", default_value = "5")]
    seconds: u64,
    /// Without agents: promotion by hand, with the receipt that it needs
    #[arg(long)]
    manual: bool,
    /// With a witness, a third process, in place of the power switch: nobody kills the frozen primary, and when it goes on
    /// it finds that it is none any more
    #[arg(long, conflicts_with = "manual")]
    witness: bool,
    /// Leave the pair running at the end, and say how to use it
    #[arg(long)]
    keep: bool,
    /// Where to put disks, sockets and logs [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What the client's choices derive from, to repeat them
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => getrandom::u64().map_err(Failure::error)?,
    };
    let plan = story::Plan {
        size_blocks: (args.size / book::BLOCK_BYTES as u64).max(MIN_BLOCKS),
        load: Duration::from_secs(args.seconds.clamp(1, 3600)),
        keep: args.keep,
        decides: match (args.manual, args.witness) {
            (true, _) => story::Decides::Person,
            (false, true) => story::Decides::Witness,
            (false, false) => story::Decides::Switch,
        },
        dir: args.dir.clone(),
        seed,
    };
    story::tell(&plan)
}

/// 16 MiB: enough for the client to find free blocks at any depth.
const MIN_BLOCKS: u64 = 4096;
