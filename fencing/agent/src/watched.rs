//! Looks whether services that were brought up still are. What has ended by itself the core hears of, which has it started
//! again; people are told where it is not to (`on-service-end = "alarm"`).

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval},
};
use twindisk_fencing_core::{Agent, Level, ResourceIndex, Services};
use twindisk_services::{Ended, Io, Stack, config::Services as Configured};

use crate::run::Input;

/// Between two looks. What is down at two of them is told; at one, where nobody but this agent would start it again.
const LOOK: Duration = Duration::from_secs(5);

/// The services of a resource on this node, for ever.
pub(crate) async fn watch(
    resource: ResourceIndex,
    services: Configured,
    stack: Rc<Mutex<Stack>>,
    recovers: bool,
    agent: Rc<RefCell<Agent>>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watched = Watched {
        services,
        stack,
        resource,
        agent,
        own: None,
    };
    let mut last: Vec<String> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = watched.until_a_process_ends() => tick.reset(),
        }
        let Some(now) = watched.ended().await else {
            // They come up or go down, or are none of its business.
            last.clear();
            told.clear();
            continue;
        };
        let twice: Vec<String> = now
            .iter()
            .filter(|one| one.for_good || last.contains(&one.what))
            .map(|one| one.what.clone())
            .collect();
        last = now.into_iter().map(|one| one.what).collect();
        if twice == told {
            continue;
        }
        if recovers && !twice.is_empty() {
            last.clear();
            let what = twice.join(", ");
            let _ = inputs.send(Input::ServicesEnded { resource, what });
            continue;
        }
        let (level, what) = if twice.is_empty() {
            (Level::Info, "all its services are up again".to_owned())
        } else {
            let what = format!(
                "ended by itself, and nobody starts it again: {}. Start it, or move the role with `twindisk switchover`",
                twice.join(", ")
            );
            (Level::Alarm, what)
        };
        told = twice;
        let _ = inputs.send(Input::Noticed {
            level,
            resource: Some(resource),
            what,
        });
    }
}

/// What is looked at, and by what.
struct Watched {
    services: Configured,
    /// Brings them up and down; only asked which term they belong to.
    stack: Rc<Mutex<Stack>>,
    resource: ResourceIndex,
    agent: Rc<RefCell<Agent>>,
    /// Asks without a lock, for this term: a status that hangs keeps no stop waiting. It knows since when one is silent.
    own: Option<(u64, Stack)>,
}

impl Watched {
    /// Those that should be up and are not, for certain. `None`: they need not be up.
    async fn ended(&mut self) -> Option<Vec<Ended>> {
        if !should_be_up(&self.agent, self.resource) {
            self.own = None;
            return None;
        }
        let host = self.stack.try_lock().ok()?.host().clone();
        let own = self.own.take().filter(|(term, _)| *term == host.term);
        let (_, own) = self
            .own
            .insert(own.unwrap_or_else(|| (host.term, Stack::new(&self.services, host))));
        own.tend().await;
        let io = if self.agent.borrow().io_waits(self.resource) {
            Io::Waits
        } else {
            Io::Flows
        };
        let ended = own.ended(io).await;
        // Somebody may have begun to stop them meanwhile.
        should_be_up(&self.agent, self.resource).then_some(ended)
    }

    async fn until_a_process_ends(&self) {
        match &self.own {
            Some((_, own)) => own.until_a_process_ends().await,
            None => std::future::pending().await,
        }
    }
}

fn should_be_up(agent: &RefCell<Agent>, resource: ResourceIndex) -> bool {
    let status = agent.borrow().status();
    let ours = status.resources.get(resource.index());
    !status.maintenance && ours.is_some_and(|ours| ours.services == Services::Up)
}
