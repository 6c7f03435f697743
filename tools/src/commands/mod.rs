//! The subcommands, one file each.

pub(crate) mod agent;
pub(crate) mod arbiter;
pub(crate) mod attach;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod demote;
pub(crate) mod events;
pub(crate) mod fence;
pub(crate) mod fenced;
pub(crate) mod generate;
pub(crate) mod init;
pub(crate) mod link;
pub(crate) mod metadata;
pub(crate) mod outdate;
pub(crate) mod presence;
pub(crate) mod promote;
pub(crate) mod receipt;
pub(crate) mod resize;
pub(crate) mod resolve;
pub(crate) mod resync;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod switchover;
pub(crate) mod top;
pub(crate) mod trust;
pub(crate) mod verify;
mod watch;
pub(crate) mod witness;

use crate::{
    cli::{Cli, Command},
    exit::Failure,
};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let place = &cli.place;
    match cli.command {
        Command::Setup(args) => setup::run(place, &args),
        Command::Init(args) => init::run(place, &args),
        Command::Serve(args) => serve::run(place, &args),
        Command::Agent(args) => agent::run(place, &args),
        Command::Arbiter(args) => arbiter::run(place, args),
        Command::Witness(args) => witness::run(&args),
        Command::Fence(args) => fence::run(place, args),
        Command::Fenced(args) => fenced::run(place, &args),
        Command::Score(args) => score::run(place, &args),
        Command::Trust(args) => trust::run(place, args),
        Command::Status(args) => status::run(place, &args),
        Command::Top(args) => top::run(place, &args),
        Command::Up(args) => presence::up(place, &args),
        Command::Down(args) => presence::down(place, &args),
        Command::Promote(args) => promote::run(place, args),
        Command::Demote(args) => demote::run(place, &args),
        Command::Switchover(args) => switchover::run(place, &args),
        Command::Connect(args) => link::connect(place, args),
        Command::Disconnect(args) => link::disconnect(place, args),
        Command::Receipt(args) => receipt::run(place, args),
        Command::Outdate(args) => outdate::run(place, &args),
        Command::Verify(args) => verify::run(place, &args),
        Command::Resync(args) => resync::run(place, args),
        Command::Resolve(args) => resolve::run(place, args),
        Command::Resize(args) => resize::run(place, &args),
        Command::Metadata(args) => metadata::run(place, &args),
        Command::Config(args) => config::run(place, &args),
        Command::Events(args) => events::run(place, args),
        Command::Attach(args) => attach::run(place, &args),
        Command::Detach(args) => attach::detach(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
    }
}
