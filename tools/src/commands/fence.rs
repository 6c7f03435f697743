//! `twindisk fence`: the way to power another node off, proved before it is needed; or a person's word.

use twindisk_agent::AgentAsk;

use crate::{ask::Where, commands::agent, exit::Failure};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Check the fence devices of a node: options, connection, power; without a shot
    Test {
        /// The node that they would power off
        // Not `node`: that is the option of every command, this node.
        #[arg(value_name = "NODE")]
        peer: String,
    },
    /// Say that you have powered a lost node off, and that it stays off
    Confirm {
        /// Which node
        #[arg(value_name = "NODE")]
        peer: String,
        /// The same once more: this word may cost data if it is wrong
        #[arg(long, value_name = "NODE")]
        is_off: String,
        /// Who says so
        #[arg(long, env = "USER", default_value = "an operator")]
        by: String,
    },
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let ask = match args.what {
        What::Test { peer } => return agent::fence_test(&context, peer),
        What::Confirm { peer, is_off, .. } if peer != is_off => {
            return Err(Failure::Usage(format!(
                "say it twice: twindisk fence confirm {peer} --is-off {peer}"
            )));
        }
        What::Confirm { peer, by, .. } => AgentAsk::Confirm { node: peer, by },
    };
    agent::tell(&context, &ask)
}
