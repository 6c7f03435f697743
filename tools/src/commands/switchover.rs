//! `twindisk switchover`: the primary role moves in good order.

use std::{
    thread,
    time::{Duration, Instant},
};

use twindisk_agent::{AgentAsk, AgentReply};
use twindisk_control::protocol::Ask;
use twindisk_core::{Role, Status};

use crate::{
    ask::{Context, Where},
    commands::agent,
    exit::Failure,
    out,
};

/// On the primary it goes to --to (or the only peer); on a standby it comes here. Returns when it is done.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The resource [default: the only one]
    resource: Option<String>,
    /// The node that shall be primary
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
}

/// Beyond the configured `stop-timeout`, within which the old primary lets go.
const GRACE: Duration = Duration::from_secs(10);

/// A promotion that another node has already told of is shown here within this time.
const NEWS: Duration = Duration::from_secs(1);

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(place: &Where, args: Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    let mut before = replica(&context, &resource)?.role;
    let to = args.to.clone();
    if agent::if_running(&context).is_some_and(|agent| looks_after(&agent, &resource)) {
        let patience = Instant::now() + NEWS;
        while before == Role::Standby && Instant::now() < patience {
            thread::sleep(LOOK);
            before = replica(&context, &resource)?.role;
        }
        if before == Role::Standby {
            return Err(Failure::Refused {
                why: format!("an agent looks after {resource}: it has services to take down first"),
                next: format!("twindisk switchover {resource} on the node that is primary"),
            });
        }
        let resource = Some(resource.clone());
        agent::tell(&context, &AgentAsk::Switchover { resource })?;
    } else {
        let message = context.done(Ask::Switchover {
            resource: resource.clone(),
            to: args.to,
        })?;
        out::say!("{message}");
    }
    let stop_timeout = context.pick(Some(&resource))?.0.timings.stop_timeout;
    let deadline = Instant::now() + stop_timeout + GRACE;
    loop {
        let now = replica(&context, &resource)?;
        if let Some(done) = done(&now, before, to.as_deref()) {
            out::say!("{done}");
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Error(format!(
                "the switchover of {resource} was not done in {} s: `twindisk status` and `twindisk events` on both nodes say how far it came",
                (stop_timeout + GRACE).as_secs()
            )));
        }
        thread::sleep(LOOK);
    }
}

/// Whether the agent decides about the resource now.
fn looks_after(agent: &AgentReply, resource: &str) -> bool {
    let resources = &agent.status.resources;
    !agent.status.maintenance && resources.iter().any(|one| one.name == resource)
}

/// What is true once the role has moved.
fn done(now: &Status, before: Role, to: Option<&str>) -> Option<String> {
    match (before, now.role) {
        (Role::Standby, Role::Primary) if now.export_open => {
            Some(format!("this node is primary in term {}", now.term))
        }
        (Role::Primary, Role::Standby) => now
            .peers
            .iter()
            .filter(|peer| to.is_none_or(|to| to == peer.name))
            .find(|peer| peer.role == Some(Role::Primary))
            .map(|peer| format!("{} is primary in term {}", peer.name, now.term)),
        (Role::Standby, _) | (Role::Primary, Role::Primary) => None,
    }
}

fn replica(context: &Context, resource: &str) -> Result<Status, Failure> {
    let status = context.client()?.status(Some(resource))?;
    let found = status.resources.into_iter().next();
    let found = found.ok_or_else(|| Failure::Error(format!("there is no resource {resource}")))?;
    found
        .replica
        .ok_or_else(|| Failure::Error(found.why.unwrap_or_default()))
}
