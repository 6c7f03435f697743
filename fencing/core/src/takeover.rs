//! A standby that is to go on: when it asks the peer's agent to let go, when the peer has to be off, when it is promoted.

use crate::{
    Agent, BeatResource, Order, PeerIndex, ReplicaView, ResourceIndex, Role, Services, Serving,
    mutants::Mutant,
    resource::{Asking, Reason},
};

impl Agent {
    /// Why `peer` has to be fenced now, as far as this node knows.
    pub(crate) fn fence_reasons(&self, peer: PeerIndex) -> Vec<Reason> {
        // It said goodbye: a person is at work there, and its silence says nothing.
        if self.peers[peer].has_left() {
            return Vec::new();
        }
        self.reasons_to_be_off(peer)
    }

    /// Why `peer` would have to be off, whoever sees to that.
    pub(crate) fn reasons_to_be_off(&self, peer: PeerIndex) -> Vec<Reason> {
        if self.memory.maintenance || self.leaving {
            return Vec::new();
        }
        self.resources
            .keys()
            .filter(|resource| self.config.resources[*resource].peer == peer)
            // R8: where a witness grants the next term nobody is fenced for it.
            .filter(|resource| !self.config.resources[*resource].arbiter)
            .filter(|resource| self.resources[*resource].right.is_none())
            .filter(|resource| !self.in_conflict(*resource)) // R11
            .filter_map(|resource| {
                let why = self.reason(resource)?;
                Some(Reason { resource, why })
            })
            .collect()
    }

    pub(crate) fn reason(&self, resource: ResourceIndex) -> Option<&'static str> {
        let state = &self.resources[resource];
        let view = state.view.as_ref()?;
        let (silent, mute) = (self.is_silent(resource), self.was_asked_in_vain(resource));
        let hung = view.role == Role::Standby && self.has_hung_primary(resource);
        match view.role {
            Role::Primary if self.is_held_up(resource) && (silent || mute) => {
                Some("its services are not known to be down, and those of this node wait for that")
            }
            Role::Primary if self.waits_in_vain(resource) => {
                Some("it is in sync, and I/O has waited for its replica for too long")
            }
            Role::Primary if view.linked || !view.suspended || !view.peer_in_sync => None,
            Role::Primary if silent => Some("it was in sync and is silent on every path"),
            Role::Primary => mute.then_some(MUTE),
            // One that releases its replica to the peer, or has just done so, does not shoot it as well.
            Role::Standby if !state.known || self.releases(resource) => None,
            Role::Standby if !view.linked && self.would_take_over(resource, view) => {
                match (silent, hung, mute) {
                    (true, ..) => Some("it was primary and is silent on every path"),
                    (false, true, _) => {
                        Some("its I/O stands still, and its process can't be killed")
                    }
                    (false, false, mute) => mute.then_some(MUTE),
                }
            }
            Role::Standby => {
                let lasting = self.waits_for_services(resource, view) && (silent || mute);
                lasting.then_some("its services of an earlier time are not known to be down")
            }
        }
    }

    fn releases(&self, resource: ResourceIndex) -> bool {
        matches!(self.resources[resource].order, Some(Order::Outdate { .. }))
    }

    /// Nothing is heard of the peer, or it hears nothing of this node: then it takes this one for dead, and can be asked for
    /// nothing.
    pub(crate) fn is_silent(&self, resource: ResourceIndex) -> bool {
        let peer = &self.peers[self.config.resources[resource].peer];
        let dead = self.config.profile.dead();
        // One that was never heard has as long from the moment when its replica was missed.
        let since = peer.heard().or(self.resources[resource].lost);
        let long = |since| self.now.since(since) >= dead;
        since.is_some_and(long) || peer.deaf.is_some_and(long)
    }

    fn was_asked_in_vain(&self, resource: ResourceIndex) -> bool {
        let said = self.said(resource);
        let patience = 2 * self.config.profile.dead();
        self.resources[resource].asking.is_some_and(|asking| {
            let answered = said.is_some_and(|said| said.released == asking.question);
            !answered && self.now.since(asking.since) >= patience
        })
    }

    /// What the peer's agent says of a resource now: never of another one.
    pub(crate) fn said_exactly(&self, resource: ResourceIndex) -> Option<&BeatResource> {
        let config = &self.config.resources[resource];
        self.peers[config.peer].says(self.now, self.config.profile.dead(), &config.name)
    }

    /// What the peer's agent says of a resource now.
    pub(crate) fn said(&self, resource: ResourceIndex) -> Option<&BeatResource> {
        let config = &self.config.resources[self.or_first(Mutant::SaidOfFirst, resource)];
        self.peers[config.peer].says(self.now, self.config.profile.dead(), &config.name)
    }

    /// A standby that has everything, whose primary is lost.
    pub(crate) fn would_take_over(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        view.up_to_date
            && !view.can_promote
            && view.peer_in_sync
            && !self.memory.blocked
            && self.own_services_fit(resource, view)
    }

    /// A standby that lacks nothing but that the services of the peer are known to be down (R12, R17).
    pub(crate) fn waits_for_services(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let grace = self.config.profile.restart_grace();
        let since = self.resources[resource].promotable;
        let lasting = since.is_some_and(|since| self.now.since(since) >= grace);
        lasting
            && !self.memory.blocked
            && !self.is_elsewhere(resource, view)
            && self.own_services_fit(resource, view)
            && !self.peer_services_down(resource, view)
    }

    /// What the peer's agent says of its replica, and what it is asked for.
    pub(crate) fn look_at_peer(&mut self, resource: ResourceIndex) {
        let now = self.now;
        let said = self.said(resource).cloned();
        let gone = |said: &BeatResource| said.serving == Serving::No;
        let only_gone = self.mutant(Mutant::AskOnlyTheGone);
        let idle = said
            .as_ref()
            .is_some_and(|said| if only_gone { gone(said) } else { is_idle(said) });
        let hung = said.as_ref().is_some_and(|said| {
            said.hung && said.role == Role::Primary && said.serving == Serving::Yes
        });
        let state = &mut self.resources[resource];
        state.peer_idle = idle.then(|| state.peer_idle.unwrap_or(now));
        state.peer_hung = hung.then(|| state.peer_hung.unwrap_or(now));
        self.note_freed(resource);
        let wants = said.as_ref().is_some_and(|said| self.wants(resource, said));
        let state = &self.resources[resource];
        let met = state.view.as_ref().map_or(0, |view| view.met);
        self.resources[resource].asking = match state.asking {
            None if wants => {
                self.beat_now = true;
                Some(Asking {
                    question: self.question(),
                    since: now,
                    met,
                })
            }
            before => before.filter(|asking| wants && asking.met == met),
        };
        if let Some(said) = said
            && said.role == Role::Primary
            && said.serving == Serving::Yes
        {
            self.seen_elsewhere(resource, &said);
        }
    }

    /// Whether the peer's agent is to record its replica as Outdated, and to take its services down.
    fn wants(&self, resource: ResourceIndex, said: &BeatResource) -> bool {
        let state = &self.resources[resource];
        let Some(view) = state.view.as_ref() else {
            return false;
        };
        if self.memory.maintenance || state.right.is_some() {
            return false;
        }
        match view.role {
            Role::Primary => {
                let receipt = !view.linked && view.suspended && view.peer_in_sync;
                receipt || self.is_held_up(resource)
            }
            Role::Standby => {
                let receipt = !view.linked && self.would_take_over(resource, view);
                let lacks = receipt || self.waits_for_services(resource, view);
                lacks && self.nobody_else_goes_on(resource, said)
            }
        }
    }

    /// The peer's replica was not primary for as long as a process has to come back. Where both could go on, the lower number
    /// asks first: two that release themselves to each other would both be lost.
    fn nobody_else_goes_on(&self, resource: ResourceIndex, said: &BeatResource) -> bool {
        let both = said.ready && !self.is_first(resource);
        let grace = self.config.profile.restart_grace() * if both { 2 } else { 1 };
        let since = self.resources[resource].peer_idle;
        since.is_some_and(|since| self.now.since(since) >= grace)
    }

    /// This node has the lower number.
    pub(crate) fn is_first(&self, resource: ResourceIndex) -> bool {
        let peer = &self.config.peers[self.config.resources[resource].peer];
        self.config.node < peer.node
    }

    fn seen_elsewhere(&mut self, resource: ResourceIndex, said: &BeatResource) {
        let here = self.resources[resource].view.as_ref();
        if here.is_some_and(|view| view.role == Role::Standby && view.term <= said.term) {
            self.hold(resource, false);
        }
    }

    /// The peer asks this node to let go: its services go down, then its replica is recorded as Outdated.
    pub(crate) fn answer_to_ask(&mut self, resource: ResourceIndex) -> Answer {
        let peer = &self.peers[self.config.resources[resource].peer];
        let state = &self.resources[resource];
        let Some(ask) = self.said(resource).map(|said| said.ask) else {
            return Answer::Nothing;
        };
        if self.in_conflict(resource) {
            return Answer::Nothing; // R11: a fork releases nobody.
        }
        // Who went on alone has what nobody else has.
        let alone = |view: &ReplicaView| !view.linked && !view.peer_in_sync && view.up_to_date;
        if self.config.resources[resource].arbiter && state.view.as_ref().is_some_and(alone) {
            return Answer::Nothing;
        }
        // Two that ask each other: the lower number goes on.
        let first = state.asking.is_some() && self.is_first(resource);
        let firing = matches!(peer.fencing, crate::fence::Fencing::Firing { .. });
        if !ask.is_asked() || ask == state.released || state.right.is_some() || firing || first {
            return Answer::Nothing;
        }
        let offline = match &state.view {
            None => Some(true),
            Some(view) if view.role == Role::Primary => return Answer::Nothing,
            // It goes on itself, at once.
            Some(view) if view.linked && self.should_promote(resource, view) => {
                return Answer::Nothing;
            }
            // What is connected needs no record: it grants the term itself.
            Some(view) if view.linked => None,
            Some(_) => Some(false),
        };
        let has_services = self.config.resources[resource].has_services;
        let runs = has_services && self.own_services(resource) != Services::Down;
        if runs && !self.mutant(Mutant::ReleaseWithServices) {
            self.hold(resource, false); // They go down first: the other node starts them right after.
            return Answer::Waits;
        }
        match offline {
            Some(offline) => {
                self.resources[resource].outdating = ask;
                Answer::Order(Order::Outdate { offline })
            }
            None => Answer::Nothing,
        }
    }

    fn is_elsewhere(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let said = self.said(resource);
        view.peer_role == Some(Role::Primary)
            || said.is_some_and(|said| {
                said.role == Role::Primary && said.serving == Serving::Yes && said.term >= view.term
            })
    }

    /// Whether the local replica is to become primary now.
    pub(crate) fn should_promote(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let state = &self.resources[resource];
        let Some(since) = state.promotable else {
            return false;
        };
        if view.role == Role::Primary || self.is_elsewhere(resource, view) {
            return false;
        }
        // R17, R12: clients of an earlier time come first, those of this node and those of the other one.
        if !self.own_services_fit(resource, view) {
            return false;
        }
        // Where the arbiter has granted the term the device opens at once, and the services wait.
        let granted = state.right.is_some() && state.right_is_granted;
        if !granted && !self.peer_services_down(resource, view) {
            return false;
        }
        if state.yielded.is_some() {
            return false; // Its process is just being stopped.
        }
        if self.holds(resource) || state.right.is_some() {
            return true; // It died and came back, or takes over.
        }
        // Nobody is primary: a cold start, or a takeover that ended half way. Who wants it so says `maintenance` first.
        let settled = self.now.since(since) >= self.config.profile.dead();
        let other_can_not = self.said(resource).is_some_and(|said| !said.can_promote);
        settled && (!view.linked || self.is_first(resource) || other_can_not)
    }
}

/// What is done about a question of the peer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing is asked, or nothing is to be done.
    Nothing,
    /// Services go down first.
    Waits,
    /// This comes next.
    Order(Order),
}

/// Its replica is not primary, and is not known to become so: it has no process, or is standby.
fn is_idle(said: &BeatResource) -> bool {
    match said.serving {
        Serving::No => true,
        Serving::Yes => said.role == Role::Standby,
        Serving::Silent => false,
    }
}

const MUTE: &str = "its agent lives, and its replica is neither connected nor gone";
