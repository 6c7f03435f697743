//! The end of an agent that a person, or a service manager, stops.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use twindisk_fencing_core::Operator;

use crate::{
    news, replica,
    run::{Driver, Input},
};

/// It looks at its replicas once more for at most so long.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// What it is about to store gets so long: it may be what a person has just asked for.
const LAST_STORE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(20);

impl Driver {
    /// Says goodbye: nobody is to shoot because of the silence that follows.
    pub(crate) async fn leave(&mut self) {
        let now = self.now();
        let left = self
            .agent
            .borrow_mut()
            .handle_operator(now, Operator::Leave);
        if let Err(why) = left {
            warn!("{why}");
        }
        self.settle();
        // Its last word counts for as long as it is away, so it is of now: `serve` may have been stopped right before.
        let mut watch = replica::Watch::default();
        let look = watch.look(&self.settings.control_socket);
        if let Ok(look) = tokio::time::timeout(LAST_LOOK, look).await {
            for (resource, view) in news::views(&self.settings, &look) {
                let looking = self.agent.borrow().looking(resource);
                if let Some(view) = view {
                    self.take(Input::Replica {
                        resource,
                        looking,
                        view,
                    });
                }
            }
        }
        self.settle();
        info!(
            node = self.settings.name,
            "the agent stops; its services and replicas go on"
        );
        let until = Instant::now() + LAST_STORE;
        loop {
            sleep(POLL).await;
            let stores = self.storing.as_ref().is_some_and(|it| !it.is_finished());
            if !stores || Instant::now() >= until {
                break;
            }
        }
        let _ = std::fs::remove_file(&self.settings.socket);
    }
}
