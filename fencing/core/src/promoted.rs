//! What an operator wants run once the services are up on a new primary: a proxy or a name server is told, for instance. It
//! decides nothing: what comes of it changes no role and no service.

use crate::{Action, Agent, Level, ResourceIndex, Services, Time};

/// How far that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hook {
    /// It has not run since the services were down last.
    #[default]
    Due,
    /// It runs, for this term.
    Runs(u64),
    /// It has run, whatever came of it.
    Over,
}

impl Agent {
    /// The hook of a resource has ended; `Err`: badly, or not in its time.
    pub fn handle_after_promote(
        &mut self,
        now: Time,
        resource: ResourceIndex,
        term: u64,
        result: Result<(), String>,
    ) {
        self.advance(now);
        let state = &mut self.resources[resource];
        if state.hook != Hook::Runs(term) {
            return; // The role has gone since, and it was ended.
        }
        state.hook = Hook::Over;
        if let Err(why) = result {
            let what = format!(
                "after-promote failed, and is not run again for this time of the role: {why}. The services are up all the same: do by \
                 hand what it is for"
            );
            self.report(Level::Alarm, Some(resource), what);
        }
        self.decide();
    }

    /// It runs once for each time that the services come up: not when they are started again in place, and never beside itself.
    pub(crate) fn decide_hook(&mut self, resource: ResourceIndex) {
        let state = &mut self.resources[resource];
        match state.services {
            // Whoever runs it ends it with the services.
            Services::Unknown | Services::Down | Services::Stopping => state.hook = Hook::Due,
            Services::Starting | Services::Failed | Services::Up => {}
        }
        let wanted = self.config.resources[resource].after_promote;
        let due = state.services == Services::Up && state.hook == Hook::Due;
        if !wanted || !due || self.memory.maintenance || self.leaving {
            return;
        }
        let term = state.services_term;
        state.hook = Hook::Runs(term);
        self.act(Action::AfterPromote { resource, term });
    }
}
