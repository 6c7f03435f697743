//! A resource, as this node sees it: what it needs, and what it may do.

use std::time::Duration;

use crate::{
    Action, Agent, Failover, Level, Looking, MemberIndex, Order, PeerIndex, Question, ReplicaView,
    ResourceIndex, Role, Services, Table, Time,
    arbiter::Arbiter,
    as_ms,
    member::{Asking, Member, Right},
    mutants::Mutant,
    promoted::Hook,
    recovery::Ends,
    services::Yielded,
    succession::Unmatched,
    takeover::Answer,
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
    /// What is known of each other node that has a copy.
    pub(crate) members: Table<MemberIndex, Member>,
    /// Since when it could be promoted.
    pub(crate) promotable: Option<Time>,
    /// Whose question the local replica is being outdated for, and which.
    pub(crate) outdating: Option<(MemberIndex, Question)>,
    /// The services of this node.
    pub(crate) services: Services,
    /// The term of the role that they belong to, while they are not known to be down; 0: not known (R17).
    pub(crate) services_term: u64,
    pub(crate) services_not_before: Time,
    /// How they have ended by themselves.
    pub(crate) ends: Ends,
    /// How far what is to be run after a promotion is.
    pub(crate) hook: Hook,
    /// The same as `services_not_before`, for those that did not go down.
    pub(crate) stop_not_before: Time,
    /// They were to go down last, and did not.
    pub(crate) stop_failed: bool,
    /// Since when they would be started if those of the other nodes were known to be down (R12).
    pub(crate) held_up: Option<Time>,
    /// That was reported.
    pub(crate) held_up_told: bool,
    /// It is being promoted by this agent, which knew then that the services of the other nodes were down.
    pub(crate) promotes: bool,
    /// The newest term in which the local replica was seen.
    pub(crate) seen_term: u64,
    /// A person wants the role to go over to this one.
    pub(crate) switching: Option<MemberIndex>,
    /// The replica is in conflict with another one: see `conflict`.
    pub(crate) conflict: Option<String>,
    /// Its writes wait for space: see `no_space`.
    pub(crate) no_space: Option<String>,
    /// What was told of disks that have failed or hang.
    pub(crate) faults: Vec<String>,
    /// The process is about to be stopped.
    pub(crate) yielded: Option<Yielded>,
    /// What is known of its arbiter.
    pub(crate) arbiter: Arbiter,
    /// Since when nobody takes writes.
    pub(crate) unserved: Option<Time>,
    /// That was reported.
    pub(crate) unserved_told: bool,
    /// Whether somebody could take over from this node: see `succession`.
    pub(crate) unmatched: Unmatched,
}

/// Why a peer is to be fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) resource: ResourceIndex,
    /// The peer, as a member of that.
    pub(crate) member: MemberIndex,
    pub(crate) why: &'static str,
}

impl Resource {
    /// This agent stood still: nothing that it waited for had its time.
    pub(crate) fn forgive(&mut self, now: Time) {
        for member in self.members.iter_mut() {
            member.forgive(now);
        }
        // What was told stays true until somebody takes writes.
        self.unserved = self
            .unserved
            .map(|since| if self.unserved_told { since } else { now });
        self.held_up = self.held_up.map(|_| now);
        self.moved = now;
        self.arbiter.forget();
    }

    /// A right was earned since a member was lost.
    pub(crate) fn takes_over(&self) -> bool {
        self.members.iter().any(|member| member.right.is_some())
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
        let other = is.is_some_and(ReplicaView::follows);
        let same_run = was.zip(is).is_some_and(|(was, is)| was.run == is.run);
        let gave_up = same_run && !primary && was.is_some_and(|was| was.role == Role::Primary);
        let is_suspended = is.is_some_and(|view| view.suspended);
        let can_promote = is.is_some_and(|view| view.can_promote && view.up_to_date && !primary);
        // What the other node would do if this one fell silent depends on it.
        let role = |view: &ReplicaView| view.role;
        let follows = |view: &ReplicaView| view.follows();
        let follows_another = state.members.len() > 1 && was.map(follows) != is.map(follows);
        self.beat_now |= was.map(role) != is.map(role) || follows_another;
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
        state.promotable = can_promote.then(|| state.promotable.unwrap_or(now));
        let moved = state.moved;
        state.moved = moved.max(now.before(oldest.unwrap_or_default()));
        // A takeover that is seen before its order is answered is counted with the answer.
        let promoting = state.order == Some(Order::Promote);
        let several = state.members.len() > 1;
        let mut back = Vec::new();
        for (at, member) in state.members.entries_mut() {
            let peer = state.view.as_ref().map(|view| &view.peers[at]);
            let linked = peer.is_some_and(|peer| peer.linked);
            if led_changed {
                member.idle = member.idle.map(|_| now);
            }
            if member.lost.is_none() {
                member.moved_before = moved;
            }
            member.lost = (!linked).then(|| member.lost.unwrap_or(now));
            let waits = primary && peer.is_some_and(|peer| peer.awaited && peer.in_sync);
            member.waits = waits.then(|| member.waits.unwrap_or(now));
            // They may have met and lost each other between two looks.
            let has_met = |right: &Right| peer.is_some_and(|peer| peer.met != right.met);
            // R14: of three, two that meet may learn of a newer set from each other, and what was earned for the old one is void.
            let void = several && !promoting && peer.is_some_and(|peer| !peer.has_receipt);
            let over = linked || void || primary && !is_suspended && !promoting;
            member.right.take_if(|right| over || has_met(right));
            if let Some(peer) = peer {
                back.extend((member.is_out && peer.in_sync).then_some(at));
                member.is_out = !peer.in_sync;
            }
        }
        for member in back {
            self.forget_power(resource, member);
        }
        let state = &self.resources[resource];
        let handing = matches!(state.order, Some(Order::HandOver { .. }));
        if state.switching.is_some() && standby && !handing {
            self.resources[resource].switching = None;
            let what = "the switchover is given up: this node is not primary any more";
            self.report(Level::Warning, Some(resource), what.into());
        }
        for member in self.members(resource) {
            if self.is_linked(resource, member) {
                self.forget_old_proof(resource, member);
            }
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
        let outdating = self.resources[resource].outdating.take();
        if let Err(why) = result {
            let words = match order {
                Order::Promote => "could not be promoted",
                Order::ReceiptFenced { .. } | Order::ReceiptReleased { .. } => {
                    "did not take the receipt"
                }
                Order::ReceiptGranted { .. } => "did not take the receipt",
                Order::StepDown => "could not give up the role",
                Order::Outdate { .. } => "could not be recorded as outdated",
                Order::HandOver { .. } => "could not be handed over",
            };
            self.resources[resource].not_before = now.after(ORDER_RETRY);
            if matches!(order, Order::HandOver { .. }) {
                self.resources[resource].switching = None;
            }
            self.report(Level::Warning, Some(resource), format!("{words}: {why}"));
            return self.decide();
        }
        match order {
            Order::Promote => self.promoted(resource),
            Order::ReceiptFenced { about, detail, met } => {
                let right = Right::new("fence", &detail, met);
                self.entitled(resource, about, right);
            }
            Order::ReceiptReleased { about, detail, met } => {
                let right = Right::new("release", &detail, met);
                self.entitled(resource, about, right);
            }
            Order::ReceiptGranted { about, detail, met } => {
                let right = Right {
                    is_granted: true,
                    ..Right::new("arbiter", &detail, met)
                };
                self.entitled(resource, about, right);
            }
            Order::StepDown => {
                let what = "has given up the role: the arbiter has granted the next term to the other node";
                self.report(Level::Warning, Some(resource), what.into());
            }
            Order::Outdate { .. } => {
                if let Some((member, question)) = outdating {
                    self.member_mut(resource, member).released = question;
                }
                self.beat_now = true; // I/O of the peer waits for it.
            }
            Order::HandOver { .. } => self.resources[resource].switching = None,
        }
        self.decide();
    }

    /// The replica has stored a receipt. One of before they met again, which its disk took too long to store, is no right.
    fn entitled(&mut self, resource: ResourceIndex, about: PeerIndex, right: Right) {
        let Some(member) = self.config.resources[resource].member(about) else {
            return;
        };
        let state = &mut self.resources[resource];
        let met = state.view.as_ref().map(|view| view.peers[member].met);
        if met.is_none_or(|met| met == right.met) {
            state.members[member].right = Some(right);
        }
    }

    /// Takes a resource one step further.
    pub(crate) fn decide_resource(&mut self, resource: ResourceIndex) {
        for member in self.members(resource) {
            self.look_at_member(resource, member);
        }
        self.decide_arbiter(resource);
        self.decide_services(resource);
        self.decide_hook(resource);
        let state = &self.resources[resource];
        if state.order.is_some() || !state.known || self.now < state.not_before || self.leaving {
            return;
        }
        if let Some(order) = self.due_order(resource) {
            let view = self.resources[resource].view.as_ref();
            let mut members = self.members(resource);
            let free = view.is_some_and(|view| {
                members.all(|member| self.is_known_free(resource, view, member))
            });
            self.resources[resource].promotes = free && order == Order::Promote;
            self.resources[resource].order = Some(order.clone());
            self.act(Action::Order(resource, order));
        }
    }

    fn due_order(&mut self, resource: ResourceIndex) -> Option<Order> {
        for member in self.members(resource) {
            match self.answer_to_ask(resource, member) {
                Answer::Nothing => {}
                Answer::Waits => return None,
                Answer::Order(order) => return Some(order),
            }
        }
        if self.memory.maintenance {
            return None;
        }
        if let Some(to) = self.resources[resource].switching {
            return self.due_handover(resource, to);
        }
        let state = &self.resources[resource];
        let view = state.view.as_ref()?;
        if self.in_conflict(resource) {
            return None; // R11
        }
        if let Some(order) = self.due_word(resource, view) {
            return Some(order);
        }
        let mut lacking = self.members(resource).filter(|member| {
            view.is_missing(*member) && self.member(resource, *member).right.is_none()
        });
        let receipt = lacking.find_map(|member| self.due_receipt(resource, view, member));
        if receipt.is_some() {
            return receipt;
        }
        self.should_promote(resource, view)
            .then_some(Order::Promote)
    }

    fn due_handover(&mut self, resource: ResourceIndex, to: MemberIndex) -> Option<Order> {
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
        if let Err(why) = self.peer_is_free(resource, to) {
            self.resources[resource].switching = None;
            let what = format!("the switchover is given up: {why}");
            self.report(Level::Warning, Some(resource), what);
            return None;
        }
        let to = self.peer_of(resource, to);
        Some(Order::HandOver { to })
    }

    /// What the replica is to be told of a member: that it was released, or powered off.
    fn due_receipt(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> Option<Order> {
        let state = self.member(resource, member);
        let about = self.peer_of(resource, member);
        let said = self.said(resource, member);
        let answered = |asking: &Asking| {
            self.has_released_other(resource, member)
                || said.is_some_and(|said| said.released == asking.question)
        };
        if let Some(Asking { met, .. }) = state.asking.filter(answered) {
            let name = &self.config.peers[about].name;
            let detail = format!("{name}'s agent recorded it as outdated");
            return Some(Order::ReceiptReleased { about, detail, met });
        }
        let needs = match view.role {
            Role::Primary => view.peers[member].awaited,
            Role::Standby => self.would_take_over(resource, view, member),
        };
        let holds = needs && state.fired_met == view.peers[member].met;
        let about_any = || self.peers.iter().find_map(|peer| peer.proof.as_ref());
        if let Some(proof) = about_any().filter(|_| needs && self.mutant(Mutant::ProofOfAny)) {
            return Some(Order::ReceiptFenced {
                about,
                detail: proof.detail.clone(),
                met: view.peers[member].met,
            });
        }
        let holds = holds && !self.is_proof_over(resource, about);
        let proof = self.peers[about].proof.as_ref().filter(|_| holds)?;
        Some(Order::ReceiptFenced {
            about,
            detail: proof.detail.clone(),
            met: state.fired_met,
        })
    }

    fn promoted(&mut self, resource: ResourceIndex) {
        let led = self.led_member(resource);
        let mut rights = Vec::new();
        for (member, state) in self.resources[resource].members.entries_mut() {
            let right = state.right.take();
            rights.extend(right.map(|right| (member, right.what, state.lost)));
        }
        // From who was primary, if a right was needed about that one.
        let from = rights.iter().find(|(member, ..)| Some(*member) == led);
        let Some(&(from, _, lost)) = from.or(rights.first()) else {
            return self.report(Level::Info, Some(resource), "is primary here".into());
        };
        let receipts: Vec<_> = rights.into_iter().map(|(_, what, _)| what).collect();
        let failover = Failover {
            resource: self.config.resources[resource].name.clone(),
            from: self.member_name(resource, from).to_owned(),
            at: self.wall,
            took_ms: lost.map_or(0, |lost| as_ms(self.now.since(lost))),
            receipt: receipts.join("; "),
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
