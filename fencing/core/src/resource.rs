//! A resource with two nodes, as this one sees it: what it needs, and what it may do.

use std::time::Duration;

use crate::{
    Action, Agent, Failover, Level, Looking, Order, Question, ReplicaView, ResourceIndex, Role,
    Services, Time, arbiter::Arbiter, as_ms, mutants::Mutant, services::Yielded, takeover::Answer,
};

/// Before an order that failed is given once more.
const ORDER_RETRY: Duration = Duration::from_secs(1);

/// Failovers that are remembered, for people to see.
const FAILOVERS: usize = 100;

/// A resource.
#[derive(Clone, Debug, Default)]
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
    pub(crate) answered: u64,
    pub(crate) not_before: Time,
    /// Since when the two replicas are not connected.
    pub(crate) lost: Option<Time>,
    /// When it was last seen to get something done before that.
    pub(crate) moved_before: Time,
    /// Since when the peer's agent says that its replica is not primary: it has no process, or is standby.
    pub(crate) peer_idle: Option<Time>,
    /// Since when the peer's agent says that its primary hangs and can't be killed.
    pub(crate) peer_hung: Option<Time>,
    /// Since when the I/O of the local primary waits for the peer, whether it is connected or not.
    pub(crate) waits: Option<Time>,
    /// Since when it could be promoted.
    pub(crate) promotable: Option<Time>,
    /// What gave the right to take over since the peer was lost.
    pub(crate) right: Option<String>,
    /// The last connection of the replicas then.
    pub(crate) right_met: u64,
    /// What the peer's agent is asked, if it is.
    pub(crate) asking: Option<Asking>,
    /// The last connection of the replicas when the peer was fired at, or said to be off.
    pub(crate) fired_met: u64,
    /// The peer's question that the local replica is being outdated for.
    pub(crate) outdating: Question,
    /// The peer's question for which it was.
    pub(crate) released: Question,
    /// The services of this node.
    pub(crate) services: Services,
    /// The term of the role that they belong to, while they are not known to be down; 0: not known (R17).
    pub(crate) services_term: u64,
    pub(crate) services_not_before: Time,
    /// The same, for those that did not go down.
    pub(crate) stop_not_before: Time,
    /// Since when they would be started if those of the peer were known to be down (R12).
    pub(crate) held_up: Option<Time>,
    /// That was reported.
    pub(crate) held_up_told: bool,
    /// It is being promoted by this agent, which knew then that the peer's services were down.
    pub(crate) promotes: bool,
    /// The newest term in which the local replica was seen.
    pub(crate) seen_term: u64,
    /// A person wants the role to go over.
    pub(crate) switching: bool,
    /// The replica is in conflict with another one: see `conflict`.
    pub(crate) conflict: Option<String>,
    /// The other node's configuration names another arbiter: see `conflict`.
    pub(crate) arbiters_differ: bool,
    /// Its writes wait for space: see `no_space`.
    pub(crate) no_space: Option<String>,
    /// What was told of disks that have failed or hang.
    pub(crate) faults: Vec<String>,
    /// The process is about to be stopped.
    pub(crate) yielded: Option<Yielded>,
    /// What is known of its arbiter.
    pub(crate) arbiter: Arbiter,
    /// The right is the arbiter's: the other node may live.
    pub(crate) right_is_granted: bool,
    /// Since when nobody takes writes.
    pub(crate) unserved: Option<Time>,
    /// That was reported.
    pub(crate) unserved_told: bool,
}

/// The peer's agent is asked to let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    /// Since when.
    pub(crate) since: Time,
    /// The last connection of the replicas then.
    pub(crate) met: u64,
}

/// Why a peer is to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) resource: ResourceIndex,
    pub(crate) why: &'static str,
}

impl Resource {
    /// This agent stood still: nothing that it waited for had its time.
    pub(crate) fn forgive(&mut self, now: Time) {
        self.lost = self.lost.map(|_| now);
        self.peer_idle = self.peer_idle.map(|_| now);
        // What was told stays true until somebody takes writes.
        self.unserved = self
            .unserved
            .map(|since| if self.unserved_told { since } else { now });
        self.peer_hung = self.peer_hung.map(|_| now);
        self.waits = self.waits.map(|_| now);
        self.held_up = self.held_up.map(|_| now);
        self.asking = self.asking.map(|asking| Asking {
            since: now,
            ..asking
        });
        self.moved = now;
        self.arbiter.forget();
    }
}

impl Agent {
    /// The driver is about to ask the local replica what it is.
    #[must_use]
    pub fn looking(&self, resource: ResourceIndex) -> Looking {
        Looking(self.resources[resource].answered)
    }

    /// The local replica has said something of itself, or its process is gone. What was asked before an order was answered
    /// may be what the replica was before it was carried out: it says nothing.
    pub fn handle_replica(
        &mut self,
        now: Time,
        resource: ResourceIndex,
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
        self.look_at_conflict(resource);
        self.look_at_space(resource);
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
        // Who was just promoted may still be called a standby by what was said before: that counts from now on (R12).
        let led = |view: &ReplicaView| view.led;
        let led_changed = was.and_then(led) != is.and_then(led);
        // What its disk was asked before its oldest operation has been answered.
        let oldest = is.filter(|_| stands).map(|is| is.oldest);
        let state = &mut self.resources[resource];
        if let Some(view) = &state.view {
            state.seen_term = state.seen_term.max(view.term);
            let run = view.run;
            state.see_run(run);
        }
        let is = state.view.as_ref();
        let primary = is.is_some_and(|view| view.role == Role::Primary);
        if led_changed {
            state.peer_idle = state.peer_idle.map(|_| now);
        }
        if state.lost.is_none() {
            state.moved_before = state.moved;
        }
        state.moved = state.moved.max(now.before(oldest.unwrap_or_default()));
        state.lost = if linked {
            None
        } else {
            state.lost.or(Some(now))
        };
        let waits = primary && is_suspended && state.view.as_ref().is_some_and(|v| v.peer_in_sync);
        state.waits = waits.then(|| state.waits.unwrap_or(now));
        state.promotable = can_promote.then(|| state.promotable.unwrap_or(now));
        // A takeover that is seen before its order is answered is counted with the answer.
        let promoting = state.order == Some(Order::Promote);
        // They may have met and lost each other between two looks.
        let met = is.is_some_and(|view| view.met != state.right_met);
        if linked || met || primary && !is_suspended && !promoting {
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
        self.keep_services(resource);
        self.note_promotion(resource, led_changed);
        if primary {
            self.hold(resource, true);
        } else if other || gave_up {
            self.hold(resource, false);
        }
        self.decide();
    }

    /// The local replica has answered an order.
    pub fn handle_ordered(
        &mut self,
        now: Time,
        resource: ResourceIndex,
        result: Result<(), String>,
    ) {
        self.advance(now);
        let Some(order) = self.resources[resource].order.take() else {
            return;
        };
        self.resources[resource].answered += 1;
        // What the replica is now has to be seen first. An order that is refused may be carried out all the same, or half.
        self.resources[resource].known = false;
        let outdating = std::mem::take(&mut self.resources[resource].outdating);
        if let Err(why) = result {
            let words = match order {
                Order::Promote => "could not be promoted",
                Order::ReceiptFenced { .. } | Order::ReceiptReleased { .. } => {
                    "did not take the receipt"
                }
                Order::ReceiptGranted { .. } => "did not take the receipt",
                Order::StepDown => "could not give up the role",
                Order::Outdate { .. } => "could not be recorded as outdated",
                Order::HandOver => "could not be handed over",
            };
            self.resources[resource].not_before = now.after(ORDER_RETRY);
            self.resources[resource].switching &= order != Order::HandOver;
            self.report(Level::Warning, Some(resource), format!("{words}: {why}"));
            return self.decide();
        }
        match order {
            Order::Promote => self.promoted(resource),
            Order::ReceiptFenced { detail, met } => {
                self.entitled(resource, met, format!("fence: {detail}"));
            }
            Order::ReceiptReleased { detail, met } => {
                self.entitled(resource, met, format!("release: {detail}"));
            }
            Order::ReceiptGranted { detail, met } => {
                self.entitled(resource, met, format!("arbiter: {detail}"));
                self.resources[resource].right_is_granted = true;
            }
            Order::StepDown => {
                let what = "has given up the role: the arbiter has granted the next term to the other node";
                self.report(Level::Warning, Some(resource), what.into());
            }
            Order::Outdate { .. } => {
                self.resources[resource].released = outdating;
                self.beat_now = true; // I/O of the peer waits for it.
            }
            Order::HandOver => self.resources[resource].switching = false,
        }
        self.decide();
    }

    /// The replica has stored a receipt. One of before they met again, which its disk took too long to store, is no right.
    fn entitled(&mut self, resource: ResourceIndex, met: u64, right: String) {
        let state = &mut self.resources[resource];
        if state.view.as_ref().is_none_or(|view| view.met == met) {
            (state.right, state.right_met) = (Some(right), met);
            state.right_is_granted = false;
        }
    }

    /// Takes a resource one step further.
    pub(crate) fn decide_resource(&mut self, resource: ResourceIndex) {
        self.look_at_peer(resource);
        self.decide_arbiter(resource);
        self.decide_services(resource);
        let state = &self.resources[resource];
        if state.order.is_some() || !state.known || self.now < state.not_before || self.leaving {
            return;
        }
        if let Some(order) = self.due_order(resource) {
            let view = self.resources[resource].view.as_ref();
            let free = view.is_some_and(|view| self.is_known_free(resource, view));
            self.resources[resource].promotes = free && order == Order::Promote;
            self.resources[resource].order = Some(order.clone());
            self.act(Action::Order(resource, order));
        }
    }

    fn due_order(&mut self, resource: ResourceIndex) -> Option<Order> {
        match self.answer_to_ask(resource) {
            Answer::Nothing => {}
            Answer::Waits => return None,
            Answer::Order(order) => return Some(order),
        }
        if self.memory.maintenance {
            return None;
        }
        if self.resources[resource].switching {
            return self.due_handover(resource);
        }
        let state = &self.resources[resource];
        let view = state.view.as_ref()?;
        if self.in_conflict(resource) {
            return None; // R11
        }
        if let Some(order) = self.due_word(resource, view) {
            return Some(order);
        }
        if !view.linked && state.right.is_none() && view.peer_in_sync {
            let receipt = self.due_receipt(resource, view);
            if receipt.is_some() {
                return receipt;
            }
        }
        self.should_promote(resource, view)
            .then_some(Order::Promote)
    }

    fn due_handover(&mut self, resource: ResourceIndex) -> Option<Order> {
        let has_services = self.config.resources[resource].has_services;
        let state = &self.resources[resource];
        let down = !has_services
            || self.own_services(resource) == Services::Down
            || self.mutant(Mutant::HandOverWithServices);
        let primary = state
            .view
            .as_ref()
            .is_some_and(|view| view.role == Role::Primary);
        if !down || !primary {
            return None;
        }
        if let Err(why) = self.peer_is_free(resource) {
            self.resources[resource].switching = false;
            let what = format!("the switchover is given up: {why}");
            self.report(Level::Warning, Some(resource), what);
            return None;
        }
        Some(Order::HandOver)
    }

    /// What the replica is to be told of the peer: that it was released, or powered off.
    fn due_receipt(&self, resource: ResourceIndex, view: &ReplicaView) -> Option<Order> {
        let state = &self.resources[resource];
        let peer = self.config.resources[resource].peer;
        let said = self.said(resource);
        let answered = |asking: &Asking| {
            self.has_released_other(resource)
                || said.is_some_and(|said| said.released == asking.question)
        };
        if let Some(Asking { met, .. }) = state.asking.filter(answered) {
            let name = &self.config.peers[peer].name;
            let detail = format!("{name}'s agent recorded it as outdated");
            return Some(Order::ReceiptReleased { detail, met });
        }
        let needs = match view.role {
            Role::Primary => view.suspended,
            Role::Standby => self.would_take_over(resource, view),
        };
        let holds = needs && state.fired_met == view.met;
        let proof = self.peers[peer].proof.as_ref().filter(|_| holds)?;
        Some(Order::ReceiptFenced {
            detail: proof.detail.clone(),
            met: state.fired_met,
        })
    }

    fn promoted(&mut self, resource: ResourceIndex) {
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
            took_ms: lost.map_or(0, |lost| as_ms(self.now.since(lost))),
            receipt,
        };
        let what = format!(
            "taken over from {} after {} ms, by {}",
            failover.from, failover.took_ms, failover.receipt
        );
        self.report(Level::Warning, Some(resource), what);
        let window = self.config.failover_window.as_secs();
        let since = self.wall.saturating_sub(window);
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
                self.config.max_failovers, window
            );
            self.report(Level::Alarm, Some(resource), what);
        }
    }
}
