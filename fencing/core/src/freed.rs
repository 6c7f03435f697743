//! What is known of the services on the other nodes (R12): they are down before this node is promoted, and before its own
//! start.
//!
//! A role may come without this agent: the replicas hand it over by themselves when the primary's disk or metadata dies, a
//! person promotes, an order is refused and carried out. Then nobody has seen to the services where it was.

use crate::{
    Agent, Level, MemberIndex, Order, ReplicaView, ResourceIndex, Role, Services, Serving,
    arbiter::OTHER, mutants::Mutant,
};

impl Agent {
    /// R12, R17: nothing runs on another node that was a client of the role while that one had it. A goodbye of its replica, or
    /// one that has released itself, says nothing of that: only its agent's word counts, and its power.
    pub(crate) fn services_down_elsewhere(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
    ) -> bool {
        let mut members = self.members(resource);
        let is_down = |member| self.member_services_down(resource, view, member);
        if self.mutant(Mutant::FreedOfAny) {
            return members.any(is_down);
        }
        members.all(is_down)
    }

    /// The same of one member.
    pub(crate) fn member_services_down(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        let here = view.led.is_some_and(|led| led.node == self.config.node);
        !self.config.resources[resource].has_services
            || here // What runs there keeps the own ones from being started, no more.
            || self.is_known_free(resource, view, member)
    }

    /// A member's services are known to be down since the role was taken last, whoever took it.
    pub(crate) fn is_known_free(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        let freed = view
            .led
            .is_none_or(|led| self.is_freed(resource, member, led.term)); // Or nobody ever was primary.
        freed
            || self.is_out_of_the_way(resource, member)
            || self.mutant(Mutant::IgnorePeersServices)
    }

    /// R12: the services of this node, which is primary, may be started.
    pub(crate) fn may_start(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let mut members = self.members(resource);
        let may_start = |member| self.may_start_beside(resource, view, member);
        if self.mutant(Mutant::FreedOfAny) {
            return members.any(may_start);
        }
        members.all(may_start)
    }

    /// The same, as far as those of one member go.
    pub(crate) fn may_start_beside(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> bool {
        // Some were started there, and were not seen to be down since: what is known of an earlier moment is nothing beside
        // that. (Of what an agent found when it started, and nobody has started, that moment says more.)
        let runs = self
            .said(resource, member)
            .is_some_and(|said| said.services != Services::Down && said.services_term != 0);
        self.mutant(Mutant::StartBesidePeers)
            || self.is_out_of_the_way(resource, member)
            || self.is_known_free(resource, view, member) && !runs
    }

    /// Fenced since it was lost, or released by its agent.
    fn is_out_of_the_way(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let right = self.member(resource, member).right.as_ref();
        let own = right.is_some_and(|right| !right.is_granted);
        let proof = &self.peers[self.peer_of(resource, member)].proof;
        proof.is_some() || own || self.had_time_to_go(resource, member)
    }

    /// A member's services were down after this term of the role began, or after a later one.
    fn is_freed(&self, resource: ResourceIndex, member: MemberIndex, term: u64) -> bool {
        let config = &self.config.resources[resource];
        let node = self.member_name(resource, member);
        let is_only = config.members.len() == 1;
        let freed = self.memory.freed_on(&config.name, node, is_only);
        freed.is_some_and(|freed| freed >= term)
    }

    /// What a member's agent says of its services outlives it: it may be gone, in good order, when it matters.
    pub(crate) fn note_freed(&mut self, resource: ResourceIndex, member: MemberIndex) {
        let view = self.resources[resource].view.as_ref();
        let Some(led) = view.and_then(|view| view.led) else {
            return;
        };
        let has_services = self.config.resources[resource].has_services;
        if !has_services || self.is_freed(resource, member, led.term) {
            return;
        }
        let free = if self.led_member(resource) == Some(member) {
            self.says_freed(resource, member, led.term)
        } else {
            // Not this member was primary: nor in between, if its services were down in the term before.
            led.term <= 1
                || self.is_freed(resource, member, led.term - 1)
                || self.is_out_of_the_way(resource, member)
                || self.is_vouched_free(resource, led.term)
                || self.says_free(resource, member, led.term)
        };
        if free {
            self.free(resource, member, led.term);
        }
    }

    /// Who was primary in this term has services of it, and so had seen to those of all others (R12).
    fn is_vouched_free(&self, resource: ResourceIndex, term: u64) -> bool {
        let led = self.led_member(resource);
        let said = led.and_then(|led| self.said_exactly(resource, led));
        said.is_some_and(|said| said.services != Services::Down && said.services_term == term)
    }

    /// Remembers that a member's services were down in this term.
    fn free(&mut self, resource: ResourceIndex, member: MemberIndex, term: u64) {
        let name = self.config.resources[resource].name.clone();
        let node = self.member_name(resource, member).to_owned();
        self.remember(|memory| memory.free(name, node, term));
    }

    /// A member, which was primary in this term, says that its services are down.
    fn says_freed(&self, resource: ResourceIndex, member: MemberIndex, term: u64) -> bool {
        let peer = &self.peers[self.peer_of(resource, member)];
        let dead = self.config.profile.dead();
        // Who is just being promoted has none yet: it must have stayed so for a while, or decide nothing any more.
        let settled = self
            .member(resource, member)
            .idle
            .is_some_and(|since| peer.has_left() || self.now.since(since) >= dead);
        let down = self.said_exactly(resource, member).is_some_and(|said| {
            let of_that_term = said.serving == Serving::No || said.services_term >= term;
            said.services == Services::Down && of_that_term
        });
        // Not by what was recorded in an earlier time.
        settled && down && peer.answers
    }

    /// A member says that its services are down, and has seen that another node is primary in this term. Who can't see that is
    /// believed when it has been saying so for longer than any status is under way to its agent.
    fn says_free(&self, resource: ResourceIndex, member: MemberIndex, term: u64) -> bool {
        let peer = &self.peers[self.peer_of(resource, member)];
        let grace = self.config.profile.restart_grace();
        let idle = self.member(resource, member).idle;
        let settled = idle.is_some_and(|since| peer.has_left() || self.now.since(since) >= grace);
        self.said_exactly(resource, member).is_some_and(|said| {
            let sees = idle.is_some() && said.services_term >= term;
            said.services == Services::Down && (sees || settled)
        }) && peer.answers
    }

    /// This node was promoted, as its agent had ordered when it knew that the services of the other nodes were down.
    pub(crate) fn note_promotion(&mut self, resource: ResourceIndex, led_changed: bool) {
        let state = &mut self.resources[resource];
        let ordered = state.order == Some(Order::Promote);
        let Some(view) = state.view.as_ref().filter(|_| state.promotes) else {
            return;
        };
        let here = view.led.filter(|led| led.node == self.config.node);
        let done = here.filter(|_| view.role == Role::Primary);
        state.promotes = ordered && done.is_none() && !led_changed;
        let done = done.filter(|_| self.config.resources[resource].has_services);
        for member in self.members(resource) {
            if let Some(led) = done
                && !self.is_freed(resource, member, led.term)
            {
                self.free(resource, member, led.term);
            }
        }
    }

    /// The services of this node would be started, but for those of another one; or they would not.
    pub(crate) fn hold_up(&mut self, resource: ResourceIndex, held_up: bool) {
        let now = self.now;
        let state = &mut self.resources[resource];
        let before = state.held_up.filter(|_| held_up);
        state.held_up = held_up.then(|| before.unwrap_or(now));
        state.held_up_told &= held_up;
        if !self.is_held_up(resource) || self.resources[resource].held_up_told {
            return;
        }
        self.resources[resource].held_up_told = true;
        let view = self.resources[resource].view.as_ref();
        let names = self.names(resource, |member| {
            view.is_none_or(|view| !self.may_start_beside(resource, view, member))
        });
        let name = if names.contains(' ') { "NODE" } else { &names };
        let what = format!(
            "its services are not started: those on {names} are not known to be down (R12): `twindisk agent status` there says \
             why; or switch it off and say so: twindisk fence confirm {name} --is-off {name}"
        );
        self.report(Level::Alarm, Some(resource), what);
    }

    /// The services of this node have waited for those of another one for longer than these take to go down by themselves.
    pub(crate) fn is_held_up(&self, resource: ResourceIndex) -> bool {
        let grace = self.config.profile.restart_grace();
        let since = self.resources[resource].held_up;
        since.is_some_and(|since| self.now.since(since) >= grace)
    }

    /// Beside a witness another node may go on, or has: a primary that for so long has had neither its standby nor a word of
    /// the witness, or that can't be asked while the other node is silent, or that the other one has overruled. Its services
    /// go down before those are started there.
    pub(crate) fn is_cut_off(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let dead = self.config.profile.dead();
        let view = state.view.as_ref();
        let other = &state.members[OTHER];
        let apart = view.is_some_and(|view| !view.peers[OTHER].linked) && other.right.is_none();
        let waits = apart
            && other
                .waits
                .is_some_and(|since| self.now.since(since) >= dead);
        // A process that has come back since is standby, and waits as well.
        let came_back = |view: &ReplicaView| view.role == Role::Standby && apart;
        let mute = view.is_none_or(came_back) || state.stands_still(self.now) >= dead;
        let alone = waits || mute && self.is_silent(resource, OTHER);
        self.config.resources[resource].arbiter && (alone || self.is_overruled(resource))
    }

    /// The other node says that it is primary, in a later term.
    pub(crate) fn is_overruled(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let view = state.view.as_ref();
        let term = view.map_or(state.services_term, |view| view.term);
        self.said(resource, OTHER).is_some_and(|said| {
            said.role == Role::Primary && said.serving == Serving::Yes && said.term > term
        })
    }

    /// Whether the services of the other node, which may live and know nothing, have had their time to go down: it is
    /// silent, and takes them down once it has had nobody to go on with for `dead`.
    pub(crate) fn had_time_to_go(&self, resource: ResourceIndex, member: MemberIndex) -> bool {
        let peer = &self.peers[self.peer_of(resource, member)];
        let grace = self.config.profile.restart_grace();
        let since = peer.heard().or(self.member(resource, member).lost);
        self.config.resources[resource].arbiter
            && since.is_some_and(|since| self.now.since(since) >= grace)
    }
}
