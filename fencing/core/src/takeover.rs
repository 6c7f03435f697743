//! A standby that is to go on: when it asks the peer's agent to let go, when the peer has to be off, when it is promoted.

use std::time::Duration;

use crate::{
    Agent, BeatResource, MemberIndex, Order, PeerIndex, ReplicaView, ResourceIndex, Role, Services,
    Serving, member::Asking, mutants::Mutant, resource::Reason,
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
        self.reasons_after(peer, self.config.profile.dead())
    }

    /// The same where silence of so long counts.
    pub(crate) fn reasons_after(&self, peer: PeerIndex, silence: Duration) -> Vec<Reason> {
        if self.memory.maintenance || self.leaving {
            return Vec::new();
        }
        self.resources
            .keys()
            // R8: where a witness grants the next term nobody is fenced for it.
            .filter(|resource| !self.config.resources[*resource].arbiter)
            .filter(|resource| !self.in_conflict(*resource)) // R11
            .filter_map(|resource| {
                let member = self.config.resources[resource].member(peer)?;
                let has_right = self.member(resource, member).right.is_some();
                let why = self.reason(resource, member, silence);
                let why = why.filter(|_| !has_right)?;
                Some(Reason {
                    resource,
                    member,
                    why,
                })
            })
            .collect()
    }

    /// Why a member would have to be off, where silence of so long counts.
    pub(crate) fn reason(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
        silence: Duration,
    ) -> Option<&'static str> {
        let state = &self.resources[resource];
        let view = state.view.as_ref()?;
        let silent = self.is_silent_for(resource, member, silence);
        let mute = self.was_asked_in_vain(resource, member);
        let hung = view.role == Role::Standby && self.has_hung_primary(resource, member);
        match view.role {
            Role::Primary
                if self.is_held_up(resource)
                    && !self.may_start_beside(resource, view, member)
                    && (silent || mute) =>
            {
                Some("its services are not known to be down, and those of this node wait for that")
            }
            Role::Primary if self.waits_in_vain(resource, member) => {
                Some("it is in sync, and I/O has waited for its replica for too long")
            }
            Role::Primary if !view.is_missing(member) || !view.peers[member].awaited => None,
            Role::Primary if silent => Some("it was in sync and is silent on every path"),
            Role::Primary => mute.then_some(MUTE),
            // One that releases its replica to the peer, or has just done so, does not shoot it as well.
            Role::Standby if !state.known || self.releases(resource) => None,
            Role::Standby
                if view.is_missing(member) && self.would_take_over(resource, view, member) =>
            {
                match (silent, hung, mute) {
                    (true, ..) => Some("it was primary and is silent on every path"),
                    (false, true, _) => {
                        Some("its I/O stands still, and its process can't be killed")
                    }
                    (false, false, mute) => mute.then_some(MUTE),
                }
            }
            Role::Standby => {
                let lacks = self.waits_for_services(resource, view, member);
                let lasting = lacks && (silent || mute);
                lasting.then_some("its services of an earlier time are not known to be down")
            }
        }
    }

    fn releases(&self, resource: ResourceIndex) -> bool {
        matches!(self.resources[resource].order, Some(Order::Outdate { .. }))
    }

    /// Nothing is heard of a member, or it hears nothing of this node: then it takes this one for dead, and can be asked for
    /// nothing.
    pub(crate) fn is_silent(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        self.is_silent_for(resource, member, self.config.profile.dead())
    }

    fn is_silent_for(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
        silence: Duration,
    ) -> bool {
        let peer = &self.peers[self.peer_of(resource, member)];
        // One that was never heard has as long from the moment when its replica was missed.
        let since = peer.heard().or(self.member(resource, member).lost);
        let long = |since| self.now.since(since) >= silence;
        since.is_some_and(long) || peer.deaf.is_some_and(long)
    }

    fn was_asked_in_vain(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let said = self.said(resource, member);
        let patience = 2 * self.config.profile.dead();
        self.member(resource, member).asking.is_some_and(|asking| {
            let answered = said.is_some_and(|said| said.released == asking.question);
            !answered && self.now.since(asking.since) >= patience
        })
    }

    /// What a member's agent says of a resource now: never of another one.
    pub(crate) fn said_exactly(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> Option<&BeatResource> {
        self.said_by(self.peer_of(resource, member), resource)
    }

    /// What a member's agent says of a resource now.
    pub(crate) fn said(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> Option<&BeatResource> {
        let about = self.or_first(Mutant::SaidOfFirst, resource);
        self.said_by(self.peer_of(resource, member), about)
    }

    fn said_by(&self, peer: PeerIndex, resource: ResourceIndex) -> Option<&BeatResource> {
        let name = &self.config.resources[resource].name;
        self.peers[peer].says(self.now, self.config.profile.dead(), name)
    }

    /// A standby that has everything, whose primary is lost, and which lacks a right about this member.
    pub(crate) fn would_take_over(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        view.up_to_date
            && !view.can_promote
            && view.peers[member].in_sync
            && !self.memory.blocked
            && self.own_services_fit(resource, view)
            && !self.has_another_leader(resource, view, member)
            && self.is_next(resource, view, member)
    }

    /// A standby that lacks nothing but that the services of a member are known to be down (R12, R17).
    pub(crate) fn waits_for_services(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        let grace = self.config.profile.restart_grace();
        let since = self.resources[resource].promotable;
        let lasting = since.is_some_and(|since| self.now.since(since) >= grace);
        lasting
            && !self.memory.blocked
            && !self.is_elsewhere(resource, view)
            && self.own_services_fit(resource, view)
            && !self.member_services_down(resource, view, member)
    }

    /// What a member's agent says of its replica, and what it is asked for.
    pub(crate) fn look_at_member(&mut self, resource: ResourceIndex, member: MemberIndex) {
        let now = self.now;
        let said = self.said(resource, member).cloned();
        let gone = |said: &BeatResource| said.serving == Serving::No;
        let only_gone = self.mutant(Mutant::AskOnlyTheGone);
        let idle = said
            .as_ref()
            .is_some_and(|said| if only_gone { gone(said) } else { is_idle(said) });
        let hung = said.as_ref().is_some_and(|said| {
            said.hung && said.role == Role::Primary && said.serving == Serving::Yes
        });
        let state = self.member_mut(resource, member);
        state.idle = idle.then(|| state.idle.unwrap_or(now));
        state.hung = hung.then(|| state.hung.unwrap_or(now));
        self.note_freed(resource, member);
        let wants = |said: &BeatResource| self.wants(resource, member, said);
        let wants = said.as_ref().is_some_and(wants);
        let view = self.resources[resource].view.as_ref();
        let met = view.map_or(0, |view| view.peers[member].met);
        self.member_mut(resource, member).asking = match self.member(resource, member).asking {
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

    /// Whether a member's agent is to record its replica as Outdated, and to take its services down.
    fn wants(&self, resource: ResourceIndex, member: MemberIndex, said: &BeatResource) -> bool {
        let Some(view) = self.resources[resource].view.as_ref() else {
            return false;
        };
        if self.memory.maintenance || self.member(resource, member).right.is_some() {
            return false;
        }
        let missing = view.is_missing(member);
        match view.role {
            Role::Primary => {
                let holds_up =
                    self.is_held_up(resource) && !self.may_start_beside(resource, view, member);
                missing && view.peers[member].awaited || holds_up
            }
            Role::Standby => {
                let receipt = missing && self.would_take_over(resource, view, member);
                let lacks = receipt || self.waits_for_services(resource, view, member);
                lacks && self.nobody_else_goes_on(resource, member, said)
            }
        }
    }

    /// A member's replica was not primary for as long as a process has to come back. Where both could go on, the lower number
    /// asks first: two that release themselves to each other would both be lost.
    fn nobody_else_goes_on(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
        said: &BeatResource,
    ) -> bool {
        let both = said.ready && !self.is_first(resource, member);
        let times = 1 + u32::from(both) + u32::from(self.another_comes_first(resource, member));
        let grace = self.config.profile.restart_grace() * times;
        let state = self.member(resource, member);
        let led = self.led_member(resource);
        // Who was a standby all along has as long since the two lost each other.
        let parted = state.lost.filter(|_| led.is_some_and(|led| led != member));
        let since = state
            .idle
            .map(|idle| parted.map_or(idle, |parted| idle.max(parted)));
        since.is_some_and(|since| self.now.since(since) >= grace)
    }

    /// This node has the lower number of the two.
    pub(crate) fn is_first(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        self.config.node < self.config.peers[self.peer_of(resource, member)].node
    }

    fn seen_elsewhere(&mut self, resource: ResourceIndex, said: &BeatResource) {
        let here = self.resources[resource].view.as_ref();
        if here.is_some_and(|view| view.role == Role::Standby && view.term <= said.term) {
            self.hold(resource, false);
        }
    }

    /// A member asks this node to let go: its services go down, then its replica is recorded as Outdated.
    pub(crate) fn answer_to_ask(&mut self, resource: ResourceIndex, member: MemberIndex) -> Answer {
        let peer = &self.peers[self.peer_of(resource, member)];
        let state = &self.resources[resource];
        let Some(ask) = self.said(resource, member).map(|said| said.ask) else {
            return Answer::Nothing;
        };
        if self.in_conflict(resource) {
            return Answer::Nothing; // R11: a fork releases nobody.
        }
        // Who went on alone has what nobody else has.
        let alone = |view: &ReplicaView| {
            let peer = &view.peers[member];
            !peer.linked && !peer.in_sync && view.up_to_date
        };
        if self.config.resources[resource].arbiter && state.view.as_ref().is_some_and(alone) {
            return Answer::Nothing;
        }
        // Two that ask each other: the lower number goes on.
        let about = self.member(resource, member);
        let first = about.asking.is_some() && self.is_first(resource, member);
        let firing = matches!(peer.fencing, crate::fence::Fencing::Firing { .. });
        // R3: a question of an earlier time, recorded, would outdate this replica for good.
        if !peer.answers {
            return Answer::Nothing;
        }
        if !ask.is_asked() || ask == about.released || about.right.is_some() || firing || first {
            return Answer::Nothing;
        }
        let linked = self.is_linked(resource, member);
        let offline = match &state.view {
            None => Some(true),
            Some(view) if view.role == Role::Primary => return Answer::Nothing,
            // It goes on itself, at once.
            Some(view) if linked && self.should_promote(resource, view) => {
                return Answer::Nothing;
            }
            // What is connected needs no record: it grants the term itself.
            Some(_) if linked => None,
            // It can't be recorded beside a third one that is connected: only a goodbye to that one says so.
            Some(view) if view.peers.iter().any(|peer| peer.linked) => None,
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
                self.resources[resource].outdating = Some((member, ask));
                Answer::Order(Order::Outdate { offline })
            }
            None => Answer::Nothing,
        }
    }

    fn is_elsewhere(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let mut members = self.members(resource);
        members.any(|member| {
            self.leads(resource, view, member) || self.has_leader(resource, view, member)
        })
    }

    /// A member is primary, by the word of its replica or of its agent.
    pub(crate) fn leads(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        let said = self.said(resource, member);
        view.peers[member].role == Some(Role::Primary)
            || said.is_some_and(|said| {
                said.role == Role::Primary && said.serving == Serving::Yes && said.term >= view.term
            })
    }

    /// Another node than this member is primary, or follows one: then that one sees to the member.
    pub(crate) fn has_another_leader(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        let mut others = self.members(resource).filter(|other| *other != member);
        others.any(|other| {
            self.leads(resource, view, other) || self.has_leader(resource, view, other)
        })
    }

    /// A member's replica is connected to a primary, as its agent says, and gets something done.
    fn has_leader(&self, resource: ResourceIndex, view: &ReplicaView, member: MemberIndex) -> bool {
        let said = self.said(resource, member);
        said.is_some_and(|said| {
            let elsewhere = said.follows.is_some_and(|node| node != self.config.node);
            let alive = Duration::from_millis(said.oldest_ms) < self.config.profile.dead();
            elsewhere && alive && said.serving == Serving::Yes && said.term >= view.term
        }) && !self.mutant(Mutant::IgnoreWhoFollows)
    }

    /// Another standby comes before this node to go on without the peer, of whatever it is to be off for.
    pub(crate) fn leaves_to_another(&self, peer: PeerIndex) -> bool {
        let reasons = self.reasons_to_be_off(peer);
        let is_left = |reason: &Reason| {
            let view = self.resources[reason.resource].view.as_ref();
            view.is_some_and(|view| view.role == Role::Standby)
                && self.another_comes_first(reason.resource, reason.member)
        };
        !reasons.is_empty() && reasons.iter().all(is_left)
    }

    /// Of the standbys that are connected and could take over from this member, another one comes before this node.
    pub(crate) fn another_comes_first(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let mut others = self.config.resources[resource].members.entries();
        others.any(|(other, config)| {
            let said = self.said(resource, other);
            other != member
                && config.preferred
                && self.is_linked(resource, other)
                && said.is_some_and(|said| said.ready && said.role == Role::Standby)
        })
    }

    /// Who was primary comes first: while it is not known to be gone nobody else is set aside, who could go on as well.
    fn is_next(&self, resource: ResourceIndex, view: &ReplicaView, member: MemberIndex) -> bool {
        self.led_member(resource).is_none_or(|led| {
            led == member || !view.is_missing(led) || self.member(resource, led).right.is_some()
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
        let rights = || state.members.iter().filter_map(|one| one.right.as_ref());
        let granted = rights().any(|right| right.is_granted);
        if !granted && !self.services_down_elsewhere(resource, view) {
            return false;
        }
        if state.yielded.is_some() {
            return false; // Its process is just being stopped.
        }
        if self.holds(resource) {
            return true; // It died and came back.
        }
        let takes_over = state.takes_over();
        let waited = self.now.since(since);
        // Nobody is primary: a cold start, or a takeover that ended half way. Who wants it so says `maintenance` first.
        let settled = takes_over || waited >= self.config.profile.dead();
        // Of several that could, one that does not makes room.
        let late = state.members.len() > 1
            && waited >= self.config.profile.dead() + self.config.profile.succession()
            && !self.mutant(Mutant::WaitForEver);
        let mut members = self.config.resources[resource].members.entries();
        settled
            && members.all(|(member, config)| {
                let said = self.said(resource, member);
                // Who takes over has a right, which the other one may be about to get.
                let can_not =
                    said.is_some_and(|said| !(said.can_promote || takes_over && said.ready));
                late || !view.peers[member].linked || !config.preferred || can_not
            })
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
