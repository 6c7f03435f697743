//! Nobody takes writes: after a while a person is told, with everything that is missing.

use crate::{
    Agent, Level, MemberIndex, ReplicaView, ResourceIndex, Role, Serving, WhyNot, mutants::Mutant,
};

impl Agent {
    /// Whether somebody takes writes of a resource, as far as this node knows.
    fn is_served(&self, resource: ResourceIndex) -> bool {
        let view = self.resources[resource].view.as_ref();
        let here = view.is_some_and(|view| match view.role {
            Role::Primary => view.open && !view.suspended,
            Role::Standby => view.follows(),
        });
        let there = self.members(resource).any(|member| {
            let said = self.said(resource, member);
            said.is_some_and(|said| said.role == Role::Primary && said.serving != Serving::No)
        });
        let suspended = view.is_some_and(|view| view.role == Role::Primary);
        here || there && !suspended
    }

    pub(crate) fn look_at_service(&mut self) {
        for resource in self.resources.keys() {
            let (now, served) = (self.now, self.is_served(resource));
            let state = &mut self.resources[resource];
            state.unserved = (!served).then(|| state.unserved.unwrap_or(now));
            if served && std::mem::take(&mut state.unserved_told) {
                let what = "somebody takes writes again";
                self.report(Level::Info, Some(resource), what.into());
            }
            let Some(missing) = self.missing(resource) else {
                continue;
            };
            let state = &mut self.resources[resource];
            if !std::mem::replace(&mut state.unserved_told, true) {
                self.report(Level::Alarm, Some(resource), missing);
            }
        }
    }

    /// What keeps everybody from taking writes, if nobody has for a while.
    pub(crate) fn missing(&self, resource: ResourceIndex) -> Option<String> {
        let since = self.resources[resource].unserved?;
        if self.now.since(since) < self.config.profile.unserved()
            || self.mutant(Mutant::SilentWithoutService)
        {
            return None;
        }
        Some(format!(
            "nobody takes writes: {}",
            self.what_is_missing(resource).join("; ")
        ))
    }

    fn what_is_missing(&self, resource: ResourceIndex) -> Vec<String> {
        let state = &self.resources[resource];
        let me = &self.config.name;
        let mut missing = Vec::new();
        if self.memory.maintenance {
            missing.push(
                "this agent is in maintenance and decides nothing: twindisk agent maintenance off"
                    .to_owned(),
            );
        }
        match &state.view {
            None => missing.push(format!("`twindisk serve` does not run on {me}: start it")),
            Some(view) => missing.extend(self.of_replica(resource, view)),
        }
        let members = self.members(resource);
        missing.extend(members.filter_map(|member| self.of_member(resource, member)));
        missing
    }

    fn of_replica(&self, resource: ResourceIndex, view: &ReplicaView) -> Vec<String> {
        let me = &self.config.name;
        let mut missing = Vec::new();
        if view.role == Role::Primary {
            missing.push(if view.suspended {
                let peers = self.names(resource, |member| view.peers[member].awaited);
                format!("{me} is primary, and its I/O waits for {peers}, or for a receipt about it")
            } else {
                format!("{me} is primary, and its device is not open yet")
            });
            return missing;
        }
        if !self.own_services_fit(resource, view) {
            missing.push(format!(
                "services of an earlier time are still up on {me}, whose caches are older than the device, so it is not \
                 promoted (R17): stop them, or restart the host"
            ));
        }
        if self.memory.blocked && !view.can_promote {
            missing.push("automatic failover is blocked: twindisk agent clear".to_owned());
        }
        if view.can_promote && view.up_to_date {
            let up = self
                .members(resource)
                .filter(|member| !self.member_services_down(resource, view, *member));
            for peer in up.map(|member| self.member_name(resource, member)) {
                missing.push(format!(
                    "the services on {peer}, which was primary last, are not known to be down (R12): start its agent, or switch \
                     it off and say so: twindisk fence confirm {peer} --is-off {peer}"
                ));
            }
        } else {
            let needs = if view.needs.is_empty() {
                "its disk is not UpToDate".to_owned()
            } else {
                view.needs.join(", ")
            };
            missing.push(format!("{me} can't be promoted: {needs}"));
        }
        missing
    }

    fn of_member(&self, resource: ResourceIndex, member: MemberIndex) -> Option<String> {
        let name = self.member_name(resource, member);
        if let Some((code, why)) = self.absence(resource, member) {
            return Some(if code == WhyNot::AgentStopped {
                format!(
                    "{why}: start it, or switch {name} off and say so: twindisk fence confirm {name} --is-off {name}"
                )
            } else {
                why
            });
        }
        let said = self.said(resource, member)?;
        (!said.can_promote).then(|| format!("{name} says that it can't be promoted either"))
    }
}
