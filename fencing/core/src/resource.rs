//! A resource with two nodes, as this one sees it: what it needs, and what it may do.

use crate::{
    Action, Agent, BeatResource, Failover, Level, Looking, Order, ReplicaView, Role, Services,
    Serving, Time,
};

/// Before an order that failed is given once more, milliseconds.
const ORDER_RETRY: u64 = 1000;
/// Before services that failed are tried once more, milliseconds.
const SERVICES_RETRY: u64 = 10_000;

/// Failovers that are remembered, for people to see.
const FAILOVERS: usize = 100;

/// A resource.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    /// What the local replica says; `None`: its process is gone.
    pub(crate) view: Option<ReplicaView>,
    /// The driver has looked at it since it was told something.
    pub(crate) known: bool,
    /// The driver has looked at it at all.
    pub(crate) seen: bool,
    /// When it was last seen to get something done, or to have nothing to do.
    pub(crate) moved: Time,
    /// Its hanging was reported.
    pub(crate) hang_told: bool,
    /// Its process was killed because it hangs.
    pub(crate) killed: bool,
    /// What it was told and has not answered.
    pub(crate) order: Option<Order>,
    /// Orders that were answered: what was asked of the replica before the last answer is older than that.
    answered: u64,
    not_before: Time,
    /// Since when the two replicas are not connected.
    pub(crate) lost: Option<Time>,
    /// Since when the peer's agent says that its replica has no process.
    peer_gone: Option<Time>,
    /// Since when the peer's agent says that its primary hangs and can't be killed.
    pub(crate) peer_hung: Option<Time>,
    /// Since when it could be promoted.
    promotable: Option<Time>,
    /// What gave the right to take over since the peer was lost.
    right: Option<String>,
    /// The number that the peer is asked with; 0: it is not asked.
    pub(crate) ask: u64,
    asked: Time,
    /// The last connection of the replicas when the peer was asked.
    asked_met: u64,
    /// The last connection of the replicas when the peer was fired at, or said to be off.
    pub(crate) fired_met: u64,
    /// The number of the peer's question that the local replica is being outdated for.
    outdating: u64,
    /// The number of the peer's question for which it was.
    pub(crate) released: u64,
    /// The services of this node.
    pub(crate) services: Services,
    services_not_before: Time,
    /// A person wants the role to go over.
    pub(crate) switching: bool,
}

/// Why a peer is to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) resource: usize,
    pub(crate) why: &'static str,
}

impl Resource {
    /// This agent stood still: nothing that it waited for had its time.
    pub(crate) fn forgive(&mut self, now: Time) {
        self.lost = self.lost.map(|_| now);
        self.peer_gone = self.peer_gone.map(|_| now);
        self.peer_hung = self.peer_hung.map(|_| now);
        self.asked = now;
        self.moved = now;
    }
}

impl Agent {
    /// The driver is about to ask the local replica what it is.
    #[must_use]
    pub fn looking(&self, resource: usize) -> Looking {
        Looking(self.resources[resource].answered)
    }

    /// The local replica has said something of itself, or its process is gone. What was asked before an order was answered
    /// may be what the replica was before it was carried out: it says nothing.
    pub fn handle_replica(
        &mut self,
        now: Time,
        resource: usize,
        looking: Looking,
        view: Option<ReplicaView>,
    ) {
        self.advance(now);
        if looking.0 < self.resources[resource].answered {
            return;
        }
        let state = &mut self.resources[resource];
        let before = std::mem::replace(&mut state.view, view);
        (state.known, state.seen) = (true, true);
        let state = &self.resources[resource];
        let (was, is) = (before.as_ref(), state.view.as_ref());
        let primary = is.is_some_and(|view| view.role == Role::Primary);
        let standby = is.is_some_and(|view| view.role == Role::Standby);
        let other = is.is_some_and(|view| view.peer_role == Some(Role::Primary));
        let same_run = was.zip(is).is_some_and(|(was, is)| was.run == is.run);
        let gave_up = same_run && !primary && was.is_some_and(|was| was.role == Role::Primary);
        let linked = is.is_some_and(|view| view.linked);
        let is_suspended = is.is_some_and(|view| view.suspended);
        let can_promote = is.is_some_and(|view| view.can_promote && view.up_to_date && !primary);
        // What the other node would do if this one fell silent depends on it.
        let role = |view: &ReplicaView| view.role;
        self.beat_now |= was.map(role) != is.map(role);
        let stands = same_run
            && was
                .zip(is)
                .is_some_and(|(was, is)| was.progress == is.progress && !is.suspended);
        // What its disk was asked before its oldest operation has been answered.
        let oldest = is.filter(|_| stands).map_or(0, |is| is.oldest_ms);
        let state = &mut self.resources[resource];
        state.moved = state.moved.max(Time(now.0.saturating_sub(oldest)));
        state.lost = if linked {
            None
        } else {
            state.lost.or(Some(now))
        };
        state.promotable = can_promote.then(|| state.promotable.unwrap_or(now));
        // A takeover that is seen before its order is answered is counted with the answer.
        let promoting = state.order == Some(Order::Promote);
        if linked || primary && !is_suspended && !promoting {
            state.right = None;
        }
        let (switching, handing) = (state.switching, state.order == Some(Order::HandOver));
        if switching && standby && !handing {
            self.resources[resource].switching = false;
            let what = "the switchover is given up: this node is not primary any more";
            self.report(Level::Warning, Some(resource), what.into());
        }
        if linked {
            self.forget_old_proof(resource);
        }
        if primary {
            self.hold(resource, true);
        } else if other || gave_up {
            self.hold(resource, false);
        }
        self.decide();
    }

    /// The local replica has answered an order.
    pub fn handle_ordered(&mut self, now: Time, resource: usize, result: Result<(), String>) {
        self.advance(now);
        let Some(order) = self.resources[resource].order.take() else {
            return;
        };
        self.resources[resource].answered += 1;
        let outdating = std::mem::take(&mut self.resources[resource].outdating);
        if let Err(why) = result {
            let words = match order {
                Order::Promote => "could not be promoted",
                Order::ReceiptFenced { .. } | Order::ReceiptReleased { .. } => {
                    "did not take the receipt"
                }
                Order::Outdate { .. } => "could not be recorded as outdated",
                Order::HandOver => "could not be handed over",
            };
            self.resources[resource].not_before = now.after(ORDER_RETRY);
            self.resources[resource].switching &= order != Order::HandOver;
            self.report(Level::Warning, Some(resource), format!("{words}: {why}"));
            return self.decide();
        }
        // What the replica is now has to be seen first.
        self.resources[resource].known = false;
        match order {
            Order::Promote => self.promoted(resource),
            Order::ReceiptFenced { detail, .. } => {
                self.resources[resource].right = Some(format!("fence: {detail}"));
            }
            Order::ReceiptReleased { detail, .. } => {
                self.resources[resource].right = Some(format!("release: {detail}"));
            }
            Order::Outdate { .. } => {
                self.resources[resource].released = outdating;
                self.beat_now = true; // I/O of the peer waits for it.
            }
            Order::HandOver => self.resources[resource].switching = false,
        }
        self.decide();
    }

    /// Services have come up or gone down, or could not.
    pub fn handle_services(&mut self, now: Time, resource: usize, result: Result<(), String>) {
        self.advance(now);
        let state = &mut self.resources[resource];
        let starting = match state.services {
            Services::Starting => true,
            Services::Stopping => false,
            _ => return,
        };
        match result {
            Ok(()) if starting => state.services = Services::Up,
            Ok(()) => state.services = Services::Down,
            Err(why) => {
                state.services = Services::Failed;
                state.services_not_before = now.after(SERVICES_RETRY);
                let words = if starting {
                    "did not come up"
                } else {
                    "did not go down"
                };
                if !starting && state.switching {
                    state.switching = false;
                    let what = "the switchover is given up: its services did not go down";
                    self.report(Level::Alarm, Some(resource), what.into());
                }
                self.report(
                    Level::Alarm,
                    Some(resource),
                    format!("its services {words}: {why}"),
                );
            }
        }
        self.decide();
    }

    /// Why `peer` has to be fenced now, as far as this node knows.
    pub(crate) fn fence_reasons(&self, peer: usize) -> Vec<Reason> {
        // It said goodbye: a person is at work there, and its silence says nothing.
        if self.peers[peer].has_left() {
            return Vec::new();
        }
        self.reasons_to_be_off(peer)
    }

    /// Why `peer` would have to be off, whoever sees to that.
    pub(crate) fn reasons_to_be_off(&self, peer: usize) -> Vec<Reason> {
        if self.memory.maintenance || self.leaving {
            return Vec::new();
        }
        let resources = self.resources.iter().enumerate();
        resources
            .filter(|(at, _)| self.config.resources[*at].peer == peer)
            .filter_map(|(resource, state)| {
                let view = state.view.as_ref()?;
                let dead = self.config.profile.dead();
                // One that was never heard has as long from the moment when its replica was missed.
                let since = self.peers[peer].heard().or(state.lost);
                let long =
                    |since: Option<Time>| since.is_some_and(|since| self.now.since(since) >= dead);
                // One that hears nothing takes this node for dead, and can be asked for nothing.
                let silent = long(since) || long(self.peers[peer].deaf);
                let config = &self.config.resources[resource];
                let said = self.peers[peer].says(self.now, dead, &config.name);
                let answered = said.is_some_and(|said| said.released == state.ask);
                let mute = state.ask != 0 && !answered && self.now.since(state.asked) >= 2 * dead;
                let hung = view.role == Role::Standby && self.has_hung_primary(resource);
                if view.linked || !(silent || mute || hung) {
                    return None;
                }
                let why = match (view.role, silent) {
                    (Role::Primary, true) => "it was in sync and is silent on every path",
                    (Role::Standby, true) => "it was primary and is silent on every path",
                    (_, false) if hung => "its I/O stands still, and its process can't be killed",
                    (_, false) => "its agent lives, and its replica is neither connected nor gone",
                };
                let needed = match view.role {
                    Role::Primary => view.suspended && view.peer_in_sync,
                    // One that releases its replica to the peer, or has just done so, does not shoot it as well.
                    Role::Standby => {
                        let releases = matches!(state.order, Some(Order::Outdate { .. }));
                        state.known && !releases && self.would_take_over(view)
                    }
                };
                (needed && state.right.is_none()).then_some(Reason { resource, why })
            })
            .collect()
    }

    /// A standby that has everything, whose primary is lost.
    fn would_take_over(&self, view: &ReplicaView) -> bool {
        view.up_to_date && !view.can_promote && view.peer_in_sync && !self.memory.blocked
    }

    /// Takes a resource one step further.
    pub(crate) fn decide_resource(&mut self, resource: usize) {
        self.look_at_peer(resource);
        self.decide_services(resource);
        let state = &self.resources[resource];
        if state.order.is_some() || !state.known || self.now < state.not_before || self.leaving {
            return;
        }
        if let Some(order) = self.due_order(resource) {
            self.resources[resource].order = Some(order.clone());
            self.act(Action::Order(resource, order));
        }
    }

    /// What the peer's agent says of its replica, and what it is asked for.
    fn look_at_peer(&mut self, resource: usize) {
        let config = &self.config.resources[resource];
        let (dead, now) = (self.config.profile.dead(), self.now);
        let said = self.peers[config.peer]
            .says(now, dead, &config.name)
            .cloned();
        let state = &mut self.resources[resource];
        let gone = said
            .as_ref()
            .is_some_and(|said| said.serving == Serving::No);
        state.peer_gone = gone.then(|| state.peer_gone.unwrap_or(now));
        let hung = said.as_ref().is_some_and(|said| {
            said.hung && said.role == Role::Primary && said.serving == Serving::Yes
        });
        state.peer_hung = hung.then(|| state.peer_hung.unwrap_or(now));
        let grace = self.config.profile.restart_grace();
        let wants = !self.memory.maintenance
            && state.right.is_none()
            && said.is_some()
            && state.view.as_ref().is_some_and(|view| match view.role {
                _ if view.linked => false,
                Role::Primary => view.suspended && view.peer_in_sync,
                Role::Standby => {
                    let gone = state.peer_gone.is_some_and(|gone| now.since(gone) >= grace);
                    gone && view.up_to_date && !view.can_promote && !self.memory.blocked
                }
            });
        let asks = state.ask != 0;
        if wants && !asks {
            let ask = self.number();
            let state = &mut self.resources[resource];
            (state.ask, state.asked) = (ask, now);
            state.asked_met = state.view.as_ref().map_or(0, |view| view.met);
            self.beat_now = true;
        } else if !wants
            || state
                .view
                .as_ref()
                .is_some_and(|view| view.met != state.asked_met)
        {
            state.ask = 0;
        }
        if let Some(said) = said
            && said.role == Role::Primary
            && said.serving == Serving::Yes
        {
            self.seen_elsewhere(resource, &said);
        }
    }

    fn seen_elsewhere(&mut self, resource: usize, said: &BeatResource) {
        let here = self.resources[resource].view.as_ref();
        if here.is_some_and(|view| view.role == Role::Standby && view.term <= said.term) {
            self.hold(resource, false);
        }
    }

    fn due_order(&mut self, resource: usize) -> Option<Order> {
        let config = &self.config.resources[resource];
        let dead = self.config.profile.dead();
        let peer = &self.peers[config.peer];
        let said = peer.says(self.now, dead, &config.name);
        let state = &self.resources[resource];
        if let Some(said) = said
            && said.ask != 0
            && said.ask != state.released
            && state.right.is_none()
            && !matches!(peer.fencing, crate::fence::Fencing::Firing { .. })
        {
            let ask = said.ask;
            let offline = match &state.view {
                None => Some(true),
                Some(view) if view.role == Role::Standby && !view.linked => Some(false),
                Some(_) => None,
            };
            if let Some(offline) = offline {
                if config.has_services && state.services != Services::Down {
                    self.hold(resource, false); // They go down first: the other node starts them right after.
                    return None;
                }
                self.resources[resource].outdating = ask;
                return Some(Order::Outdate { offline });
            }
        }
        if self.memory.maintenance {
            return None;
        }
        let view = state.view.as_ref()?;
        let name = &self.config.peers[config.peer].name;
        if state.switching {
            let down = !config.has_services || state.services == Services::Down;
            return (down && view.role == Role::Primary).then_some(Order::HandOver);
        }
        if !view.linked && state.right.is_none() && view.peer_in_sync {
            let released = said.is_some_and(|said| state.ask != 0 && said.released == state.ask);
            if released {
                let detail = format!("{name}'s agent recorded it as outdated");
                let met = state.asked_met;
                return Some(Order::ReceiptReleased { detail, met });
            }
            let needs = match view.role {
                Role::Primary => view.suspended,
                Role::Standby => self.would_take_over(view),
            };
            let holds = needs && state.fired_met == view.met;
            if let Some(proof) = peer.proof.as_ref().filter(|_| holds) {
                let detail = proof.detail.clone();
                let met = state.fired_met;
                return Some(Order::ReceiptFenced { detail, met });
            }
        }
        self.should_promote(resource, view, said)
            .then_some(Order::Promote)
    }

    fn should_promote(
        &self,
        resource: usize,
        view: &ReplicaView,
        said: Option<&BeatResource>,
    ) -> bool {
        let state = &self.resources[resource];
        let elsewhere = view.peer_role == Some(Role::Primary)
            || said.is_some_and(|said| {
                said.role == Role::Primary && said.serving == Serving::Yes && said.term >= view.term
            });
        let Some(since) = state.promotable else {
            return false;
        };
        if view.role == Role::Primary || elsewhere {
            return false;
        }
        if self.holds(resource) || state.right.is_some() {
            return true; // It died and came back, or takes over.
        }
        // Nobody is primary: a cold start, or a takeover that ended half way. Who wants it so says `maintenance` first.
        let settled = self.now.since(since) >= self.config.profile.dead();
        let me = self.config.node;
        let peer = self.config.peers[self.config.resources[resource].peer].node;
        let first = !view.linked || me < peer || said.is_some_and(|said| !said.can_promote);
        settled && first
    }

    fn promoted(&mut self, resource: usize) {
        let state = &mut self.resources[resource];
        let lost = state.lost;
        let Some(receipt) = state.right.take() else {
            return self.report(Level::Info, Some(resource), "is primary here".into());
        };
        let config = &self.config.resources[resource];
        let failover = Failover {
            resource: config.name.clone(),
            from: self.config.peers[config.peer].name.clone(),
            at: self.wall,
            took_ms: lost.map_or(0, |lost| self.now.since(lost)),
            receipt,
        };
        let what = format!(
            "taken over from {} after {} ms, by {}",
            failover.from, failover.took_ms, failover.receipt
        );
        self.report(Level::Warning, Some(resource), what);
        let since = self.wall.saturating_sub(self.config.failover_window);
        // Enough of each resource to be counted.
        let most = FAILOVERS.max(self.resources.len() * self.config.max_failovers as usize);
        self.remember(|memory| {
            memory.failovers.push(failover);
            let old = memory.failovers.len().saturating_sub(most);
            memory.failovers.drain(..old);
        });
        let name = &self.config.resources[resource].name;
        let failovers = self.memory.failovers.iter();
        let recent = failovers.filter(|one| one.at >= since && one.resource == *name);
        if recent.count() >= self.config.max_failovers as usize {
            self.remember(|memory| memory.blocked = true);
            let what = format!(
                "{} failovers within {} s: the next one waits for a person: twindisk agent clear",
                self.config.max_failovers, self.config.failover_window
            );
            self.report(Level::Alarm, Some(resource), what);
        }
    }

    fn decide_services(&mut self, resource: usize) {
        if !self.config.resources[resource].has_services || self.memory.maintenance || self.leaving
        {
            return;
        }
        let holds = self.holds(resource);
        let state = &self.resources[resource];
        let primary = |view: &ReplicaView| view.role == Role::Primary && view.open;
        // What an order has made of the replica has to be seen first.
        let seen = state.view.as_ref().filter(|_| state.known);
        let here = seen.is_some_and(primary) && !state.switching;
        // While its process comes back the services stay: their clients wait.
        let gone = !holds || state.switching;
        let action = match state.services {
            Services::Down | Services::Unknown if here => {
                Some((Services::Starting, Action::StartServices(resource)))
            }
            Services::Up | Services::Unknown if gone => {
                Some((Services::Stopping, Action::StopServices(resource)))
            }
            Services::Failed if self.now >= state.services_not_before && here => {
                Some((Services::Starting, Action::StartServices(resource)))
            }
            Services::Failed if self.now >= state.services_not_before && gone => {
                Some((Services::Stopping, Action::StopServices(resource)))
            }
            _ => None,
        };
        if let Some((services, action)) = action {
            self.resources[resource].services = services;
            self.act(action);
        }
    }
}
