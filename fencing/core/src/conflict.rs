//! A replica that is in conflict with another one (split brain, unrelated, rolled back): a person decides whose data
//! counts. Until then this agent promotes, releases and shoots for it nobody, and says so (R11).

use crate::{Agent, Level, ResourceIndex, mutants::Mutant, resource::Resource};

impl Agent {
    /// Whether the replica was in conflict with another one when it said something last.
    pub(crate) fn in_conflict(&self, resource: ResourceIndex) -> bool {
        let any = |one: &Resource| one.conflict.is_some();
        any(&self.resources[resource])
            || self.mutant(Mutant::ConflictOfAny) && self.resources.iter().any(any)
    }

    /// The replica has said something of itself. What it said last holds while its process is gone.
    pub(crate) fn look_at_conflict(&mut self, resource: ResourceIndex) {
        let state = &mut self.resources[resource];
        let Some(view) = &state.view else { return };
        if state.conflict == view.conflict {
            return;
        }
        let before = std::mem::replace(&mut state.conflict, view.conflict.clone());
        match (before, state.conflict.clone()) {
            (None, Some(why)) => {
                let what = format!("decides nothing any more, a person has to: {why}");
                self.report(Level::Alarm, Some(resource), what);
            }
            (Some(_), None) => {
                let what = "its conflict is over: decides again";
                self.report(Level::Info, Some(resource), what.into());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}
