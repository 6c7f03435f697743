//! A replica whose writes wait for space beneath it: a person is told what frees it. It has failed in nothing, and nobody is
//! shot or promoted for it (R13).

use crate::{Agent, Level, ResourceIndex};

impl Agent {
    /// The replica has said something of itself.
    pub(crate) fn look_at_space(&mut self, resource: ResourceIndex) {
        let state = &mut self.resources[resource];
        let now = state.view.as_ref().and_then(|view| view.no_space.clone());
        let before = std::mem::replace(&mut state.no_space, now.clone());
        match (before, now) {
            (None, Some(what)) => self.report(Level::Alarm, Some(resource), what),
            (Some(_), None) if self.resources[resource].view.is_some() => {
                let what = "what waited for space is written";
                self.report(Level::Info, Some(resource), what.into());
            }
            (Some(_), _) | (None, None) => {}
        }
    }
}
