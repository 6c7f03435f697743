//! Services of a resource: they follow the primary role, and belong to the term of it that they were started for (R12, R17).
//! Whoever was a client of an earlier time has caches that are older than the device: it must be gone before anybody is
//! promoted, on the node itself and on the other one.

use std::time::Duration;

use crate::{
    Action, Agent, Level, MemberIndex, ReplicaView, ResourceIndex, Role, Services, Time,
    arbiter::OTHER,
    memory::{Started, started_of},
    mutants::Mutant,
    resource::Resource,
};

/// Before services that failed are tried once more.
const SERVICES_RETRY: Duration = Duration::from_secs(10);

/// `twindisk serve` has so long to be stopped once the services are down for that.
const YIELD: Duration = Duration::from_secs(90);

/// `twindisk serve` is about to be stopped, and the services go first (R12).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Yielded {
    /// The run of the process when that was asked for.
    run: Option<u64>,
    /// A process that was not stopped by then goes on.
    until: Time,
}

impl Resource {
    /// A process of another run has taken the place of the one that was to be stopped.
    pub(crate) fn see_run(&mut self, run: u64) {
        self.yielded = self.yielded.filter(|yielded| yielded.run == Some(run));
    }
}

impl Agent {
    /// Services have come up or gone down, or could not.
    pub fn handle_services(
        &mut self,
        now: Time,
        resource: ResourceIndex,
        result: Result<(), String>,
    ) {
        self.advance(now);
        let state = &mut self.resources[resource];
        let starting = match state.services {
            Services::Starting => true,
            Services::Stopping => false,
            Services::Unknown | Services::Down | Services::Up | Services::Failed => return,
        };
        match result {
            Ok(()) if starting => {
                (state.services, state.stop_failed) = (Services::Up, false);
                state.ends.came_up();
            }
            Ok(()) => {
                (state.services, state.stop_failed) = (Services::Down, false);
                self.belong(resource, None);
                self.beat_now = true; // The other node may wait for it.
            }
            Err(why) => self.services_failed(resource, starting, &why),
        }
        self.decide();
    }

    fn services_failed(&mut self, resource: ResourceIndex, starting: bool, why: &str) {
        let has_role = self.has_their_role(resource);
        let state = &mut self.resources[resource];
        state.services = Services::Failed;
        state.services_not_before = self.now.after(SERVICES_RETRY);
        if !starting {
            // What did not come up goes down as soon as it has to.
            state.stop_not_before = state.services_not_before;
            state.stop_failed = !has_role;
        }
        let words = if starting {
            "did not come up"
        } else {
            "did not go down"
        };
        if !starting && state.switching.take().is_some() {
            let what = "the switchover is given up: its services did not go down";
            self.report(Level::Alarm, Some(resource), what.into());
        }
        let next = if self.overstays(resource) {
            "; the role may be another node's: a watchdog, if there is one, is fed no longer and resets this host"
        } else {
            ""
        };
        let what = format!("its services {words}: {why}{next}");
        self.report(Level::Alarm, Some(resource), what);
        if starting {
            self.did_not_come_up(resource);
        }
    }

    /// Starts and stops them as the role asks for.
    pub(crate) fn decide_services(&mut self, resource: ResourceIndex) {
        if !self.config.resources[resource].has_services || self.memory.maintenance || self.leaving
        {
            return self.hold_up(resource, false);
        }
        self.give_up_when_possible(resource);
        let state = &self.resources[resource];
        let has_role = self.has_their_role(resource);
        let goes = state.switching.is_some() || state.yielded.is_some();
        // What an order has made of the replica has to be seen first.
        let seen = state.view.as_ref().filter(|_| state.known);
        // Beside a witness nothing begins on a node that may be cut off.
        let waits = |view: &ReplicaView| self.config.resources[resource].arbiter && view.suspended;
        let open = |view: &&ReplicaView| view.role == Role::Primary && view.open && !waits(view);
        let term = seen.filter(open).map(|view| {
            let led = view.led.map_or(view.term, |led| led.term);
            led.max(1)
        });
        let term = term.filter(|_| !goes && !self.is_cut_off(resource));
        let stays = has_role && !goes;
        let due = self.now >= state.services_not_before && !self.mutant(Mutant::ServicesOnce);
        let may_stop = self.now >= state.stop_not_before && !self.mutant(Mutant::ServicesOnce);
        let wanted = state.services == Services::Down && term.is_some();
        let free = !wanted || seen.is_none_or(|view| self.may_start(resource, view));
        let next = match (state.services, term) {
            (Services::Down, Some(term)) => free.then_some(Some(term)),
            (Services::Unknown, Some(term)) if stays => Some(Some(term)),
            (Services::Failed, Some(term)) if stays && due => Some(Some(term)),
            (Services::Unknown | Services::Up, _) if !stays => Some(None),
            (Services::Failed, _) if !stays && (due || may_stop) => Some(None),
            (Services::Down | Services::Starting | Services::Stopping, _)
            | (Services::Unknown | Services::Up | Services::Failed, _) => None,
        };
        match next {
            Some(Some(term)) => {
                let state = &mut self.resources[resource];
                (state.held_up, state.stop_failed) = (None, false);
                state.services = Services::Starting;
                self.belong(resource, Some(term));
                self.act(Action::StartServices { resource, term });
            }
            Some(None) => {
                self.resources[resource].services = Services::Stopping;
                self.act(Action::StopServices(resource));
            }
            None => self.hold_up(resource, wanted),
        }
    }

    /// Whether the role that services of this node were started for is its own still. While its process comes back they stay:
    /// their clients wait.
    fn has_their_role(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let seen = state.view.as_ref().filter(|_| state.known);
        let ours = seen.is_none_or(|view| self.is_same_tenure(resource, view));
        self.holds(resource) && ours && !self.is_cut_off(resource)
    }

    /// Services of this node have to be gone, since another one may have the role, and did not go down. Beside a witness nobody
    /// fences this node: nothing but its watchdog ends them (R10). Those of before the last boot are gone, whatever their stop
    /// says: a reset would help nobody.
    pub(crate) fn overstays(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        if !state.stop_failed || !self.config.resources[resource].arbiter {
            return false;
        }
        let host = &self.config.host;
        let started = started_of(&self.memory.services, &self.config.resources[resource].name);
        let may_run = started.is_some_and(|one| one.host == *host) && !host.is_empty();
        let decides = !self.memory.maintenance && !self.leaving && !self.in_conflict(resource);
        let view = state.view.as_ref();
        let is_primary = view.is_some_and(|view| view.role == Role::Primary);
        let cut_off = self.is_cut_off(resource);
        // Who lacks what this node has acknowledged can't have the role.
        let safe = state.members[OTHER].is_out && !self.is_overruled(resource);
        let gone = if is_primary {
            cut_off
        } else {
            !self.has_their_role(resource)
        };
        may_run && decides && gone && !safe && !self.mutant(Mutant::FeedWhileServicesStay)
    }

    /// Remembers which term the services of this node belong to; `None`: they are down.
    pub(crate) fn belong(&mut self, at: ResourceIndex, term: Option<u64>) {
        self.resources[at].services_term = term.unwrap_or(0);
        let name = &self.config.resources[at].name;
        let is = term.map(|term| Started {
            resource: name.clone(),
            term,
            host: self.config.host.clone(),
        });
        if started_of(&self.memory.services, name) != is.as_ref() {
            let name = name.clone();
            self.remember(|memory| {
                memory.services.retain(|one| one.resource != name);
                memory.services.extend(is);
            });
        }
    }

    /// R17: the role was nowhere else since the services of this node were started. The process may have died and come
    /// back: then this node was promoted again, in the very next term.
    fn is_same_tenure(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let started = self.resources[resource].services_term;
        let Some(led) = view.led.filter(|led| led.node == self.config.node) else {
            return false;
        };
        let again = view.role == Role::Primary && led.term == started + 1;
        started != 0 && (led.term == started || again)
    }

    /// They belong to the term that their node was promoted in last, if nobody else was primary meanwhile.
    pub(crate) fn keep_services(&mut self, resource: ResourceIndex) {
        let state = &self.resources[resource];
        let Some(view) = state.view.as_ref() else {
            return;
        };
        let term = view.led.map_or(0, |led| led.term);
        if view.role == Role::Primary
            && term != state.services_term
            && self.is_same_tenure(resource, view)
        {
            self.belong(resource, Some(term));
        }
    }

    /// How the services of a resource are on this node.
    pub(crate) fn own_services(&self, resource: ResourceIndex) -> Services {
        self.resources[self.or_first(Mutant::ServicesOfFirst, resource)].services
    }

    /// R17: nothing runs on this node that was a client of an earlier time of the role.
    pub(crate) fn own_services_fit(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        !self.config.resources[resource].has_services
            || self.own_services(resource) == Services::Down
            || self.is_same_tenure(resource, view)
    }

    /// The process of the replicas is about to be stopped.
    pub(crate) fn yield_services(&mut self) -> Result<(), String> {
        if self.memory.maintenance || self.leaving {
            return Err(
                "this agent leaves services alone in maintenance, or while it is being stopped: stop them by hand first"
                    .to_owned(),
            );
        }
        let until = self.now.after(YIELD);
        for state in self.resources.iter_mut() {
            let run = state.view.as_ref().map(|view| view.run);
            state.yielded = Some(Yielded { run, until });
        }
        Ok(())
    }

    /// Whether all services of this node are down: `None` while they are going down.
    #[must_use]
    pub fn has_yielded(&self) -> Option<Result<(), String>> {
        let mut going = false;
        let resources = self.resources.iter().zip(&self.config.resources);
        for (state, config) in resources.filter(|(_, config)| config.has_services) {
            match state.services {
                Services::Down => {}
                Services::Failed => {
                    let why = format!(
                        "the services of {} did not go down: `twindisk agent status` says why",
                        config.name
                    );
                    return Some(Err(why));
                }
                Services::Unknown | Services::Starting | Services::Up | Services::Stopping => {
                    going = true;
                }
            }
        }
        (!going).then_some(Ok(()))
    }

    /// A process that was to be stopped and was not goes on, and so do its services.
    pub(crate) fn end_yields(&mut self) {
        for resource in self.resources.keys() {
            let state = &mut self.resources[resource];
            let over = state.view.is_some()
                && state
                    .yielded
                    .is_some_and(|yielded| yielded.until <= self.now);
            if over {
                state.yielded = None;
                let what = format!(
                    "twindisk serve was to be stopped and was not within {} s: services may run here again",
                    YIELD.as_secs()
                );
                self.report(Level::Warning, Some(resource), what);
            }
        }
    }

    /// Whether the role can be handed to a member: nothing of an earlier time runs there (R17).
    pub(crate) fn peer_is_free(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> Result<(), String> {
        let config = &self.config.resources[resource];
        if !config.has_services {
            return Ok(());
        }
        let name = self.member_name(resource, member);
        match self.said(resource, member) {
            None => Err(format!(
                "the agent of {name} is not heard: nobody would start the services of {} there",
                config.name
            )),
            Some(said) if said.services != Services::Down => Err(format!(
                "the services of {} are not known to be down on {name}: `twindisk agent status` there says why",
                config.name
            )),
            Some(_) => Ok(()),
        }
    }
}
