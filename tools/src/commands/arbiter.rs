//! `twindisk arbiter`: a person's word about the record that a witness keeps.

use twindisk_agent::AgentAsk;

use crate::{ask::Where, commands::agent, exit::Failure};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Let the record of a witness begin anew, which was rolled back, emptied or damaged: on the primary, with its standby
    /// connected and in sync
    Adopt {
        /// The resource [default: the only one]
        resource: Option<String>,
    },
}

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let What::Adopt { resource } = args.what;
    agent::tell(&context, &AgentAsk::Adopt { resource })
}
