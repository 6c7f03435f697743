//! What is known of the services on the peer (R12): they are down before this node is promoted, and before its own start.
//!
//! A role may come without this agent: the replicas hand it over by themselves when the primary's disk or metadata dies, a
//! person promotes, an order is refused and carried out. Then nobody has seen to the services where it was.

use crate::{
    Agent, Level, Order, ReplicaView, ResourceIndex, Role, Services, Serving,
    memory::{set_term, term_of},
    mutants::Mutant,
};

impl Agent {
    /// R12, R17: nothing runs on the peer that was a client of the role while the peer had it. A goodbye of its replica, or
    /// one that has released itself, says nothing of that: only its agent's word counts, and its power.
    pub(crate) fn peer_services_down(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let here = view.led.is_some_and(|led| led.node == self.config.node);
        !self.config.resources[resource].has_services
            || here // What runs there keeps the own ones from being started, no more.
            || self.is_known_free(resource, view)
    }

    /// The peer's services are known to be down since the role was taken last, whoever took it.
    pub(crate) fn is_known_free(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let freed = view.led.is_none_or(|led| self.is_freed(resource, led.term)); // Or nobody ever was primary.
        freed || self.is_out_of_the_way(resource) || self.mutant(Mutant::IgnorePeersServices)
    }

    /// R12: the services of this node, which is primary, may be started.
    pub(crate) fn may_start(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        // Some were started there, and were not seen to be down since: what is known of an earlier moment is nothing beside
        // that. (Of what an agent found when it started, and nobody has started, that moment says more.)
        let runs = self
            .said(resource)
            .is_some_and(|said| said.services != Services::Down && said.services_term != 0);
        self.mutant(Mutant::StartBesidePeers)
            || self.is_out_of_the_way(resource)
            || self.is_known_free(resource, view) && !runs
    }

    /// Fenced since it was lost, or released by its agent.
    fn is_out_of_the_way(&self, resource: ResourceIndex) -> bool {
        let peer = self.config.resources[resource].peer;
        let state = &self.resources[resource];
        let right = state.right.is_some() && !state.right_is_granted;
        self.peers[peer].proof.is_some() || right || self.had_time_to_go(resource)
    }

    /// The peer's services were down after this term of the role began, or after a later one.
    fn is_freed(&self, resource: ResourceIndex, term: u64) -> bool {
        let name = &self.config.resources[resource].name;
        term_of(&self.memory.freed, name).is_some_and(|freed| freed >= term)
    }

    /// What the peer's agent says of its services outlives it: it may be gone, in good order, when it matters.
    pub(crate) fn note_freed(&mut self, resource: ResourceIndex) {
        let view = self.resources[resource].view.as_ref();
        let Some(led) = view.and_then(|view| view.led) else {
            return;
        };
        if !self.config.resources[resource].has_services || self.is_freed(resource, led.term) {
            return;
        }
        let free = if led.node == self.config.node {
            // Nobody was primary in between.
            led.term <= 1
                || self.is_freed(resource, led.term - 1)
                || self.is_out_of_the_way(resource)
                || self.says_free(resource, led.term)
        } else {
            self.says_freed(resource, led.term)
        };
        if free {
            self.free(resource, led.term);
        }
    }

    /// Remembers that the peer's services were down in this term.
    fn free(&mut self, resource: ResourceIndex, term: u64) {
        let name = self.config.resources[resource].name.clone();
        self.remember(|memory| set_term(&mut memory.freed, &name, Some(term)));
    }

    /// The peer, which was primary in this term, says that its services are down.
    fn says_freed(&self, resource: ResourceIndex, term: u64) -> bool {
        let peer = &self.peers[self.config.resources[resource].peer];
        let dead = self.config.profile.dead();
        // Who is just being promoted has none yet: it must have stayed so for a while, or decide nothing any more.
        let settled = self.resources[resource]
            .peer_idle
            .is_some_and(|since| peer.has_left() || self.now.since(since) >= dead);
        let down = self.said_exactly(resource).is_some_and(|said| {
            let of_that_term = said.serving == Serving::No || said.services_term >= term;
            said.services == Services::Down && of_that_term
        });
        settled && down
    }

    /// The peer says that its services are down, and has seen that this node is primary in this term. Who can't see that is
    /// believed when it has been saying so for longer than any status is under way to its agent.
    fn says_free(&self, resource: ResourceIndex, term: u64) -> bool {
        let peer = &self.peers[self.config.resources[resource].peer];
        let grace = self.config.profile.restart_grace();
        let idle = self.resources[resource].peer_idle;
        let settled = idle.is_some_and(|since| peer.has_left() || self.now.since(since) >= grace);
        self.said_exactly(resource).is_some_and(|said| {
            let sees = idle.is_some() && said.services_term >= term;
            said.services == Services::Down && (sees || settled)
        })
    }

    /// This node was promoted, as its agent had ordered when it knew that the peer's services were down.
    pub(crate) fn note_promotion(&mut self, resource: ResourceIndex, led_changed: bool) {
        let state = &mut self.resources[resource];
        let ordered = state.order == Some(Order::Promote);
        let Some(view) = state.view.as_ref().filter(|_| state.promotes) else {
            return;
        };
        let here = view.led.filter(|led| led.node == self.config.node);
        let done = here.filter(|_| view.role == Role::Primary);
        state.promotes = ordered && done.is_none() && !led_changed;
        if let Some(led) = done
            && self.config.resources[resource].has_services
            && !self.is_freed(resource, led.term)
        {
            self.free(resource, led.term);
        }
    }

    /// The services of this node would be started, but for those of the peer; or they would not.
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
        let name = &self.config.peers[self.config.resources[resource].peer].name;
        let what = format!(
            "its services are not started: those on {name} are not known to be down (R12): `twindisk agent status` there says \
             why; or switch it off and say so: twindisk fence confirm {name} --is-off {name}"
        );
        self.report(Level::Alarm, Some(resource), what);
    }

    /// The services of this node have waited for those of the peer for longer than these take to go down by themselves.
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
        let apart = view.is_some_and(|view| !view.linked) && state.right.is_none();
        let waits = apart
            && state
                .waits
                .is_some_and(|since| self.now.since(since) >= dead);
        let mute = view.is_none() || state.stands_still(self.now) >= dead;
        let term = view.map_or(state.services_term, |view| view.term);
        let overruled = self.said(resource).is_some_and(|said| {
            said.role == Role::Primary && said.serving == Serving::Yes && said.term > term
        });
        self.config.resources[resource].arbiter
            && (waits || mute && self.is_silent(resource) || overruled)
    }

    /// Whether the services of the other node, which may live and know nothing, have had their time to go down: it is
    /// silent, and takes them down once it has had nobody to go on with for `dead`.
    pub(crate) fn had_time_to_go(&self, resource: ResourceIndex) -> bool {
        let peer = &self.peers[self.config.resources[resource].peer];
        let grace = self.config.profile.restart_grace();
        let since = peer.heard().or(self.resources[resource].lost);
        self.config.resources[resource].arbiter
            && since.is_some_and(|since| self.now.since(since) >= grace)
    }
}
