//! The arbiter of a resource (R8): what its record means to this node, and what this node has it hold.
//!
//! *Whoever the record names, and whose own copy is not known to be old, has every acknowledged write.* So a node that goes
//! on without the other one takes that one out of the record **first**, and a primary puts a standby into it **after** it is
//! equal. Of two claims of one record one wins; the loser reads on, and follows. A claim that is granted and not used, since
//! the two have met again, is given back by who made it. Nothing here is a right: the replica is given one, about this
//! very connection, and refuses it if the two have met since.

mod words;

use std::time::Duration;

use twindisk_arbiter::{Answer, Ask, Nonce, Record, Version};

use crate::{
    Action, Agent, Level, MemberIndex, Order, ReplicaView, ResourceIndex, Role, Time, as_ms,
    memory::{Seen, seen_of},
    mutants::Mutant,
};

pub use words::{KeeperSummary, RecordSummary};

/// The other node: where there is an arbiter, it is the only one.
pub(crate) const OTHER: MemberIndex = MemberIndex::new(0);

/// A person is told when it has not answered for so long.
const MISSED_MS: u64 = 60_000;

/// What is known of the arbiter of a resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arbiter {
    /// What it held when it answered last; `None`: it never answered, or holds nothing.
    record: Option<Record>,
    /// When the question was asked that it answered last.
    answered: Option<Time>,
    /// It answers no claim: why.
    refused: Option<String>,
    /// What it is asked now, and since when.
    asking: Option<(Asked, Time)>,
    /// No question before.
    not_before: Time,
    /// When the other node asked it last, as it says.
    other_asked: Option<Time>,
    /// The last connection of the replicas when this node was granted the next term.
    granted: Option<u64>,
    /// A person wants its record adopted.
    adopts: bool,
    /// That it does not answer, or refuses, was reported.
    told: bool,
    /// Since when it was asked in vain.
    missed: Option<Time>,
}

/// What a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// To know what it holds.
    Look,
    /// The next term, in place of the other node that was connected last so.
    Claim { met: u64 },
    /// That both have everything.
    Publish,
    /// A person's word, that both have everything.
    Adopt,
}

impl Agent {
    /// The arbiter has answered, and which nodes have asked it how many milliseconds ago; or it is not known what it has
    /// done.
    pub fn handle_arbiter(
        &mut self,
        now: Time,
        resource: ResourceIndex,
        result: Result<(Answer, Vec<(u8, u64)>), String>,
    ) {
        self.advance(now);
        let state = &mut self.resources[resource].arbiter;
        let Some((asked, since)) = state.asking.take() else {
            return;
        };
        let interval = self.config.profile.interval();
        match result {
            Ok((answer, seen)) => {
                state.missed = None;
                state.answered = Some(since);
                let other = self.other(resource);
                let ago = seen.iter().find(|(node, _)| *node == other);
                // The answer was under way: it asked then, or later.
                let at = ago.map(|(_, ms)| since.before(Duration::from_millis(*ms)));
                self.resources[resource].arbiter.other_asked = at;
                self.heard_record(resource, asked, answer);
            }
            Err(why) => {
                // Whether it is done is not known: read again.
                state.missed.get_or_insert(since);
                state.not_before = now.after(interval);
                state.answered = None;
                self.miss(resource, &why);
            }
        }
        self.decide();
    }

    fn heard_record(&mut self, resource: ResourceIndex, asked: Asked, answer: Answer) {
        let interval = self.config.profile.interval();
        let now = self.now;
        let state = &mut self.resources[resource].arbiter;
        let was_refused = state.refused.take();
        match answer {
            Answer::Held(record) | Answer::Lost(record) => {
                // The other one was quicker, or an earlier question of this node came late.
                state.record = record;
            }
            Answer::Done(record) => {
                state.record = Some(record);
                state.adopts &= asked != Asked::Adopt;
                if let Asked::Claim { met } = asked {
                    state.granted = Some(met);
                }
            }
            Answer::Refused { why, record } => {
                state.record = record;
                state.adopts &= asked != Asked::Adopt;
                state.not_before = now.after(interval);
                if was_refused.is_none() {
                    let what = format!("the arbiter answers no claim: {why}");
                    self.report(Level::Alarm, Some(resource), what);
                }
                self.resources[resource].arbiter.refused = Some(why);
                return;
            }
        }
        if was_refused.is_some() || self.resources[resource].arbiter.told {
            self.resources[resource].arbiter.told = false;
            let what = "the arbiter answers again".to_owned();
            self.report(Level::Info, Some(resource), what);
        }
        let version = self.resources[resource].arbiter.version();
        let name = self.config.resources[resource].name.clone();
        if version > seen_of(&self.memory.records, &name)
            && let Some(version) = version
        {
            self.remember(|memory| {
                memory.records.retain(|one| one.resource != name);
                memory.records.push(Seen {
                    resource: name,
                    version,
                });
            });
        }
    }

    fn miss(&mut self, resource: ResourceIndex, why: &str) {
        let state = &mut self.resources[resource].arbiter;
        let long = state
            .missed
            .is_some_and(|since| as_ms(self.now.since(since)) >= MISSED_MS);
        if long && !std::mem::replace(&mut state.told, true) {
            let what = format!(
                "the arbiter has not answered for a minute: nobody could take over now. {why}"
            );
            self.report(Level::Alarm, Some(resource), what);
        }
    }

    /// Asks the arbiter what is due. One question at a time: what an earlier one has done is known, or read.
    pub(crate) fn decide_arbiter(&mut self, resource: ResourceIndex) {
        if !self.config.resources[resource].arbiter {
            return;
        }
        self.drop_grant(resource);
        let state = &self.resources[resource].arbiter;
        if state.asking.is_some() || self.now < state.not_before || self.leaving {
            return;
        }
        let Some((asked, ask)) = self.due_question(resource) else {
            return;
        };
        let name = &self.config.resources[resource].name;
        let known =
            seen_of(&self.memory.records, name).max(self.resources[resource].arbiter.version());
        self.resources[resource].arbiter.asking = Some((asked, self.now));
        if let (Asked::Claim { met }, true) = (asked, self.mutant(Mutant::ActBeforeGrant)) {
            self.resources[resource].arbiter.granted = Some(met);
        }
        self.act(Action::Arbiter {
            resource,
            known,
            ask,
        });
    }

    /// A grant is about the last connection of the replicas: if they have met since, it will not be used.
    fn drop_grant(&mut self, resource: ResourceIndex) {
        let state = &mut self.resources[resource];
        let met = state
            .view
            .as_ref()
            .map(|view| &view.peers[OTHER])
            .filter(|peer| !peer.linked)
            .map(|peer| peer.met);
        if state.view.is_some() && state.arbiter.granted != met {
            state.arbiter.granted = None;
        }
    }

    fn due_question(&mut self, resource: ResourceIndex) -> Option<(Asked, Ask)> {
        let state = &self.resources[resource];
        let arbiter = &state.arbiter;
        let look = Some((Asked::Look, Ask::Read));
        let Some(answered) = arbiter.answered else {
            return look;
        };
        let view = state.view.clone().filter(|_| state.known);
        if let Some(view) = view.filter(|_| state.order.is_none() && !self.memory.maintenance) {
            if arbiter.adopts {
                return Some((Asked::Adopt, self.adoption(resource, &view)));
            }
            if arbiter.refused.is_none()
                && let Some(next) = self.due_swap(resource, &view)
            {
                return Some(next);
            }
            // What it held while the two were connected may have changed since.
            let parted = self
                .member(resource, OTHER)
                .lost
                .is_some_and(|lost| answered < lost);
            if parted && self.wants_claim(resource, &view) {
                return look;
            }
        }
        let period = self.config.profile.dead() / 2;
        let due = self.now.since(answered) >= period;
        due.then_some((Asked::Look, Ask::Read))
    }

    fn due_swap(&mut self, resource: ResourceIndex, view: &ReplicaView) -> Option<(Asked, Ask)> {
        let me = self.config.node;
        let record = self.resources[resource].arbiter.record.clone();
        if self.is_to_claim(resource, view) {
            let record = record?;
            let term = record.term.max(view.term) + 1;
            let to = record.next(self.nonce(), term, vec![me], me);
            let (from, met) = (Some(record.stamp), view.peers[OTHER].met);
            return Some((Asked::Claim { met }, Ask::Swap { from, to }));
        }
        if !self.both_have_everything(view) {
            return None;
        }
        let both = self.both(resource);
        let primary = match view.role {
            Role::Primary => me,
            Role::Standby => self.other(resource),
        };
        let Some(record) = record else {
            let name = &self.config.resources[resource].name;
            let never = seen_of(&self.memory.records, name).is_none();
            let first = (view.role == Role::Primary && never)
                .then(|| Record::first(self.nonce(), view.term, both, me))?;
            let ask = Ask::Swap {
                from: None,
                to: first,
            };
            return Some((Asked::Publish, ask));
        };
        let same = record.in_sync == both;
        // A claim of this node that was granted and not used; or the set has grown, as the primary knows in whose term
        // nobody has gone on since.
        let unused = record.in_sync == [me]
            && record.term > view.term
            && !self.mutant(Mutant::KeepUnusedGrant);
        let past = record.term > view.term && !self.mutant(Mutant::PublishPastTerm);
        let publishes = view.role == Role::Primary && !past && (!same || record.primary != me);
        if !unused && !publishes {
            return None;
        }
        let to = record.next(self.nonce(), view.term, both, primary);
        let from = Some(record.stamp);
        Some((Asked::Publish, Ask::Swap { from, to }))
    }

    /// The two are connected, one is primary, and the other has everything that was acknowledged.
    fn both_have_everything(&self, view: &ReplicaView) -> bool {
        let other = &view.peers[OTHER];
        let primary = view.role == Role::Primary || other.role == Some(Role::Primary);
        let equal = other.in_sync && !view.suspended;
        let early = self.mutant(Mutant::PublishEarly) && view.role == Role::Primary;
        other.linked && primary && equal || early && !view.suspended
    }

    /// This node would go on without the other one.
    fn wants_claim(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let state = &self.resources[resource];
        let needs = view.is_missing(OTHER) && view.up_to_date;
        let has_right = state.members[OTHER].right.is_some();
        let free = !has_right && state.arbiter.granted.is_none();
        if !needs || !free || self.memory.maintenance || self.in_conflict(resource) {
            return false;
        }
        match view.role {
            Role::Primary => view.suspended,
            Role::Standby => {
                let peer = self.peer_of(resource, OTHER);
                let lacks = self.would_take_over(resource, view, OTHER);
                let dead = self.config.profile.dead();
                lacks
                    && !self.peers[peer].has_left()
                    && self.reason(resource, OTHER, dead).is_some()
            }
        }
    }

    /// It would, the record names it, and the other one has had its chance.
    fn is_to_claim(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let arbiter = &self.resources[resource].arbiter;
        let named = |record: &Record| record.names(self.config.node);
        let named = arbiter.record.as_ref().is_some_and(named)
            || arbiter.record.is_some() && self.mutant(Mutant::ClaimUnnamed);
        named && self.wants_claim(resource, view) && self.is_its_turn(resource, view)
    }

    /// R7: of two that live the primary asks first. A standby lets it, unless it is silent to everybody; and so does a
    /// primary that has lost its clients, or stood still.
    fn is_its_turn(&self, resource: ResourceIndex, view: &ReplicaView) -> bool {
        let state = &self.resources[resource];
        let peer = &self.peers[self.peer_of(resource, OTHER)];
        let (dead, delay) = (
            self.config.profile.dead(),
            self.config.profile.fence_delay(),
        );
        let Some(lost) = state.members[OTHER].lost else {
            return false;
        };
        let stalled = self
            .stood_still
            .is_some_and(|at| self.now.since(at) < delay + 2 * dead);
        let behind = self.clients_reachable == Some(false) || stalled;
        if view.role == Role::Primary {
            return !behind || self.now.since(lost) >= dead + delay;
        }
        let speaks = peer.is_heard(self.now, dead);
        let silent = peer.lost_since().filter(|_| !speaks || peer.deaf.is_some());
        let from = silent.unwrap_or(lost);
        // Asked after it fell silent: then it lives.
        let slack = 2 * self.config.profile.interval();
        let asked = state.arbiter.other_asked;
        let lives = speaks || asked.is_some_and(|at| at > from.after(slack));
        // That is known of the time since then only from an answer to a later question.
        let looked = state
            .arbiter
            .answered
            .is_some_and(|at| at >= from.after(dead));
        let waits = if lives || behind { dead + delay } else { dead };
        looked && self.now.since(from) >= waits
    }

    /// What the replica is to be told: that the arbiter has granted this node the next term; or, of a primary, that another
    /// one was.
    pub(crate) fn due_word(&self, resource: ResourceIndex, view: &ReplicaView) -> Option<Order> {
        let state = &self.resources[resource];
        if !self.config.resources[resource].arbiter || !view.is_missing(OTHER) {
            return None;
        }
        let arbiter = &state.arbiter;
        if let Some(met) = arbiter.granted.filter(|met| *met == view.peers[OTHER].met)
            && state.members[OTHER].right.is_none()
        {
            let version = arbiter.version().unwrap_or(Version { epoch: 0, seq: 0 });
            let detail = format!(
                "by {}'s record {}.{}, in place of {}",
                self.keeper_of(resource),
                version.epoch,
                version.seq,
                self.member_name(resource, OTHER)
            );
            let about = self.peer_of(resource, OTHER);
            return Some(Order::ReceiptGranted { about, detail, met });
        }
        (view.role == Role::Primary && view.suspended && self.has_lost(resource))
            .then_some(Order::StepDown)
    }

    /// The record, read since the two lost each other, does not name this node: it is primary no more.
    pub(crate) fn has_lost(&self, resource: ResourceIndex) -> bool {
        let state = &self.resources[resource];
        let arbiter = &state.arbiter;
        let fresh = state.members[OTHER]
            .lost
            .zip(arbiter.answered)
            .is_some_and(|(lost, answered)| answered >= lost);
        let named = |record: &Record| record.names(self.config.node);
        fresh
            && arbiter.granted.is_none()
            && arbiter.refused.is_none()
            && arbiter.record.as_ref().is_some_and(|record| !named(record))
    }

    /// A person vouches for both replicas: the record begins anew.
    pub(crate) fn adopt(&mut self, resource: ResourceIndex) -> Result<(), String> {
        let config = &self.config.resources[resource];
        let name = config.name.clone();
        if !config.arbiter {
            return Err(format!("{name} has no arbiter that keeps a record"));
        }
        let view = self.resources[resource].view.as_ref();
        let both =
            |view: &ReplicaView| view.role == Role::Primary && self.both_have_everything(view);
        if !view.is_some_and(both) {
            return Err(format!(
                "{name} is not primary here with its standby connected and in sync: only both together know that nobody has more"
            ));
        }
        self.resources[resource].arbiter.adopts = true;
        Ok(())
    }

    fn adoption(&mut self, resource: ResourceIndex, view: &ReplicaView) -> Ask {
        if !self.both_have_everything(view) || view.role != Role::Primary {
            self.resources[resource].arbiter.adopts = false;
            return Ask::Read;
        }
        let arbiter = &self.resources[resource].arbiter;
        let from = arbiter.record.as_ref().map(|record| record.stamp);
        let known = seen_of(&self.memory.records, &self.config.resources[resource].name);
        let epoch = known
            .max(arbiter.version())
            .map_or(0, |version| version.epoch);
        let (me, both) = (self.config.node, self.both(resource));
        let mut to = Record::first(self.nonce(), view.term, both, me);
        to.stamp.version.epoch = epoch + 1;
        Ask::Adopt { from, to }
    }

    fn other(&self, resource: ResourceIndex) -> u8 {
        self.config.peers[self.peer_of(resource, OTHER)].node
    }

    fn both(&self, resource: ResourceIndex) -> Vec<u8> {
        let mut both = vec![self.config.node, self.other(resource)];
        both.sort_unstable();
        both
    }

    fn nonce(&mut self) -> Nonce {
        Nonce(u64::from(self.question()))
    }
}

impl Arbiter {
    fn version(&self) -> Option<Version> {
        self.record.as_ref().map(|record| record.stamp.version)
    }

    /// This agent stood still, or nobody is connected any more: what was known has to be read again.
    pub(crate) fn forget(&mut self) {
        self.answered = None;
    }
}
