//! Disks that have failed or hang, on either node: a person is told on both at once, while there is a choice.

use std::time::Duration;

use crate::{Agent, Level, ResourceIndex, Role};

impl Agent {
    /// What is wrong with the disks of a resource, as far as this node knows.
    fn faults(&self, resource: ResourceIndex) -> Vec<String> {
        let state = &self.resources[resource];
        let mut faults = state
            .view
            .as_ref()
            .map_or_else(Vec::new, |view| view.faults.clone());
        let standby = state
            .view
            .as_ref()
            .is_some_and(|view| view.role == Role::Standby);
        // Of a primary `hang` tells, with what comes next.
        if standby && self.is_stuck(resource) {
            faults.push(
                "the disk of this standby answers nothing, or its process says nothing: a failover to it would hang"
                    .to_owned(),
            );
        }
        let hang = self.config.profile.hang();
        for member in self.members(resource) {
            let said = self.said(resource, member);
            if said.is_some_and(|said| Duration::from_millis(said.oldest_ms) >= hang) {
                let peer = self.member_name(resource, member);
                faults.push(format!(
                    "the disk of {peer} answers nothing, or its process says nothing"
                ));
            }
        }
        faults
    }

    /// Tells of faults that are new, and of those that are over.
    pub(crate) fn look_at_faults(&mut self) {
        for resource in self.resources.keys() {
            let faults = self.faults(resource);
            if faults == self.resources[resource].faults {
                continue;
            }
            let before = std::mem::replace(&mut self.resources[resource].faults, faults.clone());
            for fault in faults.iter().filter(|fault| !before.contains(fault)) {
                self.report(Level::Alarm, Some(resource), fault.clone());
            }
            for fault in before.iter().filter(|fault| !faults.contains(fault)) {
                self.report(Level::Info, Some(resource), format!("it is over: {fault}"));
            }
        }
    }
}
