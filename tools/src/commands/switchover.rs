//! `twindisk switchover`: the primary role moves in good order.

use std::{
    thread,
    time::{Duration, Instant},
};

use twindisk_agent::{AgentAsk, AgentReply};
use twindisk_control::protocol::Ask;
use twindisk_core::{Role, Status};

use crate::{
    ask::{Context, Decides, Form, Where},
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
    #[command(flatten)]
    decides: Decides,
    #[command(flatten)]
    form: Form,
}

/// Beyond the configured `stop-timeout`, within which the old primary lets go.
const GRACE: Duration = Duration::from_secs(10);

/// A promotion that another node has already told of is shown here within this time.
const NEWS: Duration = Duration::from_secs(1);

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(place: &Where, args: &Args) -> Result<(), Failure> {
    let context = place.load()?;
    let resource = context.name(args.resource.as_deref())?;
    context.may_decide(&resource, args.decides)?;
    args.form.say(hand_over(&context, &resource, args))
}

fn hand_over(context: &Context, resource: &str, args: &Args) -> Result<String, Failure> {
    let mut before = context.replica(resource)?.role;
    let to = args.to.clone();
    if agent::if_running(context).is_some_and(|agent| looks_after(&agent, resource)) {
        let patience = Instant::now() + NEWS;
        while before == Role::Standby && Instant::now() < patience {
            thread::sleep(LOOK);
            before = context.replica(resource)?.role;
        }
        if before == Role::Standby {
            return Err(Failure::Refused {
                code: None,
                why: format!("an agent looks after {resource}: it has services to take down first"),
                next: format!("twindisk switchover {resource} on the node that is primary"),
            });
        }
        let resource = Some(resource.to_owned());
        let to = to.clone();
        agent::tell(context, &AgentAsk::Switchover { resource, to })?;
    } else {
        let message = context.done(Ask::Switchover {
            resource: resource.to_owned(),
            to: to.clone(),
        })?;
        if !args.form.json {
            out::say!("{message}");
        }
    }
    let stop_timeout = context.pick(Some(resource))?.0.timings.stop_timeout;
    let deadline = Instant::now() + stop_timeout + GRACE;
    loop {
        let now = context.replica(resource)?;
        if let Some(done) = done(&now, before, to.as_deref()) {
            return Ok(done);
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
