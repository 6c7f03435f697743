//! What `serve` and the agent of this node say at one moment.

use std::time::{Duration, Instant};

use twindisk_agent::AgentReply;
use twindisk_control::{
    clock::now_text,
    protocol::{Answer, Ask, EventLine, NodeStatus},
};

use crate::{ask::Context, commands::agent, exit::Failure};

/// Everything that a frame is made of.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Since the first one, by a clock that never goes back.
    pub(crate) since: Duration,
    /// When, as events have it.
    pub(crate) time: String,
    /// This node.
    pub(crate) node: String,
    /// What `serve` says, or why it says nothing.
    pub(crate) serve: Result<NodeStatus, String>,
    /// The configuration has agents.
    pub(crate) agents: bool,
    /// Resources that have services.
    pub(crate) with_services: Vec<String>,
    /// What the agent says, or why it says nothing.
    pub(crate) agent: Result<AgentReply, String>,
    /// The newest events of `serve`, oldest first.
    pub(crate) events: Vec<EventLine>,
}

/// How many events are asked for.
const EVENTS: usize = 200;

/// Asks both. Takes as long as they let one wait, at most some seconds.
pub(crate) fn take(context: &Context, began: Instant) -> Snapshot {
    let (serve, events) = match ask(context) {
        Ok((status, events)) => (Ok(status), events),
        Err(failure) => (Err(failure.text()), Vec::new()),
    };
    let agent = agent::status(context).map_err(|failure| failure.text());
    Snapshot {
        since: began.elapsed(),
        time: now_text(),
        node: context.node.name.clone(),
        agents: context.config.agent.is_some(),
        with_services: context.with_services(),
        serve,
        agent,
        events,
    }
}

fn ask(context: &Context) -> Result<(NodeStatus, Vec<EventLine>), Failure> {
    let mut client = context.client()?;
    let status = client.status(None)?;
    let mut events = Vec::new();
    let mut answer = client.ask(Ask::Events {
        resource: None,
        recent: EVENTS,
        follow: false,
    })?;
    while let Answer::Event(line) = answer {
        events.push(line);
        answer = client.next_answer()?;
    }
    Ok((status, events))
}
