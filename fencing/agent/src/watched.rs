//! Looks whether services that were brought up still are. What has ended by itself the core hears of, which has it started
//! again; people are told where it is not to (`on-service-end = "alarm"`).

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc},
    time::{MissedTickBehavior, interval},
};
use twindisk_fencing_core::{Agent, Level, ResourceIndex, Services};
use twindisk_services::{Role, ServiceState, Stack, config::Services as Configured};

use crate::run::Input;

/// Between two looks. What is down at two of them is told.
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
    let mut last: Vec<String> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    loop {
        tick.tick().await;
        let now = down(&services, &stack, resource, &agent).await;
        let Some(now) = now else {
            // They come up or go down, or are none of its business.
            last.clear();
            told.clear();
            continue;
        };
        let twice: Vec<String> = now
            .iter()
            .filter(|one| last.contains(one))
            .cloned()
            .collect();
        last = now;
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
            resource,
            what,
        });
    }
}

/// Those that should be up and are not, for certain. `None`: they need not be up.
async fn down(
    services: &Configured,
    stack: &Mutex<Stack>,
    resource: ResourceIndex,
    agent: &RefCell<Agent>,
) -> Option<Vec<String>> {
    if !should_be_up(agent, resource) {
        return None;
    }
    let host = stack.try_lock().ok()?.host().clone();
    // Asked without a lock: a status that hangs keeps no stop waiting.
    let looked_at = Stack::new(services, host);
    looked_at.tend().await;
    let lines = looked_at.status(Role::Primary).await;
    let down = lines
        .into_iter()
        .filter(|line| line.state == ServiceState::Down);
    let down = down.map(|line| line.service).collect();
    // Somebody may have begun to stop them meanwhile.
    should_be_up(agent, resource).then_some(down)
}

fn should_be_up(agent: &RefCell<Agent>, resource: ResourceIndex) -> bool {
    let status = agent.borrow().status();
    let ours = status.resources.get(resource.index());
    !status.maintenance && ours.is_some_and(|ours| ours.services == Services::Up)
}
