//! The command line: what there is. What each command does is in its file.

use clap::{Parser, Subcommand};

use crate::{ask::Where, commands, exit::EXIT_CODES};

/// A replicated block device in user space: every write is on the standby before it is acknowledged
#[derive(Parser, Debug)]
#[command(name = "twindisk", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Write the configuration and the secret of a new pair, and say what to run next
    Setup(commands::setup::Args),
    /// Prepare this node's replica of a resource: metadata, and the backing file if it is one
    Init(commands::init::Args),
    /// Serve this node's replicas: to the peers, to NBD clients, to the other commands
    Serve(commands::serve::Args),
    /// Watch over this node's resources: notice a lost primary, have it fenced, take over; or talk to the agent that does
    Agent(commands::agent::Args),
    /// Keep the record of each resource on a third host, or show what is kept there
    Witness(commands::witness::Args),
    /// Say that the record of a witness may begin anew
    Arbiter(commands::arbiter::Args),
    /// Prove that another node can be powered off, or say that it is off
    Fence(commands::fence::Args),
    /// Say that another node was powered off, for all resources at once
    Fenced(commands::fenced::Args),
    /// Say how good a primary this node would be, for cluster managers
    Score(commands::score::Args),
    /// Show how it stands: roles, disks, connections, what is missing and why
    Status(commands::status::Args),
    /// Watch how it stands, live: resources, nodes, alarms, events
    Top(commands::top::Args),
    /// Start this node's replica of a resource, when it is down
    Up(commands::presence::Args),
    /// Stop this node's replica of a resource in good order, while the others are served
    Down(commands::presence::Args),
    /// Make this node primary
    Promote(commands::promote::Args),
    /// Make this node standby
    Demote(commands::demote::Args),
    /// Hand the primary role over in good order
    Switchover(commands::switchover::Args),
    /// Connect to the peers, and keep connected
    Connect(commands::link::Args),
    /// Part from the peers in good order, and stay apart
    Disconnect(commands::link::Args),
    /// Say what proves that another node can take no more writes
    Receipt(commands::receipt::Args),
    /// Record this standby as Outdated, so that the primary may go on without it
    Outdate(commands::outdate::Args),
    /// Say that this Consistent copy is the newest, when the others do not come back
    Trust(commands::trust::Args),
    /// Compare the replicas on line, block by block
    Verify(commands::verify::Args),
    /// Bring a peer up to date from here
    Resync(commands::resync::Args),
    /// End a split brain: say whose changes are given up (they are kept in a file)
    Resolve(commands::resolve::Args),
    /// Grow the device on line, on every node
    Resize(commands::resize::Args),
    /// Look at, check or repair metadata while nothing serves it
    Metadata(commands::metadata::Args),
    /// Look at the configuration
    Config(commands::config::Args),
    /// Show what happened, one JSON object a line
    Events(commands::events::Args),
    /// Make a resource a block device of this host, /dev/nbdN
    Attach(commands::attach::Args),
    /// Take a device down
    Detach(commands::attach::DetachArgs),
    /// Try it: two nodes on this machine, a killed primary, a promotion, and proof that nothing was lost
    Demo(commands::demo::Args),
    /// Print a completion script for a shell
    Completions(commands::generate::CompletionArgs),
    /// Write the man pages
    Man(commands::generate::ManArgs),
}
