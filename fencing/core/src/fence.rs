//! A shot at a peer: intent, delay, a last look at the reason, the shot, its end (R6, R7).

use std::time::Duration;

use crate::{
    Action, Agent, Intent, Level, PeerIndex, Role, Time, as_ms, mutants::Mutant, resource::Reason,
};

/// After so many shots within [`DAMPING_WINDOW`] each further one waits.
const UNDAMPED: usize = 2;
const DAMPING_WINDOW: Duration = Duration::from_secs(10 * 60);
const DAMPING: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// Places in the race.
const PLACES: u32 = 6;
/// The least between attempts with a device that fails, or to store the memory.
pub(crate) const RETRY: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(60),
];

/// Where a shot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fencing {
    /// None is wanted.
    Idle,
    /// The intent is being stored.
    Storing {
        /// With this version of the memory.
        version: u64,
        /// Attempts that failed before.
        failed: usize,
    },
    /// The other side gets its chance, if it should have one.
    Waiting {
        /// Until when.
        until: Time,
        /// Attempts that failed before.
        failed: usize,
        /// When it may fire at all.
        table: Timetable,
    },
    /// The fence agent runs.
    Firing {
        /// Attempts that failed before.
        failed: usize,
        /// When it may fire again.
        table: Timetable,
    },
}

/// R7: the one time table of a race, for the first shot and for every further one: rounds of [`PLACES`] slots, each a whole
/// delay long. A node fires only in its own slot of a round, or its retry would meet the other one in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timetable {
    /// When the first round began: both nodes count from when they lost each other.
    from: Time,
    /// How long a slot is: at least twice as long as the fence device takes.
    delay: Duration,
    /// How long the device takes.
    latency: Duration,
}

impl Timetable {
    /// The first moment in the slot of a place that is not before `earliest`.
    fn next(self, place: u32, earliest: Time) -> Time {
        let round = self.delay.saturating_mul(PLACES);
        let first = self.from.after(self.delay.saturating_mul(place));
        let into = as_ms(earliest.since(first)) % as_ms(round).max(1);
        let slot = earliest.max(first).before(Duration::from_millis(into));
        if self.is_open(slot, earliest) {
            return slot.max(earliest);
        }
        slot.after(round)
    }

    /// A shot that begins so late in its slot has hit before the next slot begins, with time to spare.
    fn is_open(self, slot: Time, now: Time) -> bool {
        now.since(slot) <= self.delay.saturating_sub(self.latency) / 2
    }
}

impl Agent {
    /// No level of a peer's fence devices can power it off without a person.
    pub fn handle_by_hand(&mut self, peer: PeerIndex) {
        self.peers[peer].by_hand = true;
    }

    /// Whether a shot at `peer` that was asked for is still to be fired.
    #[must_use]
    pub fn still_wants(&self, peer: PeerIndex) -> bool {
        matches!(self.peers[peer].fencing, Fencing::Firing { .. })
            && (self.mutant(Mutant::FireWithoutLastLook) || !self.fence_reasons(peer).is_empty())
    }

    /// A shot has ended: what was done, or why it is not known to have worked.
    pub fn handle_fenced(&mut self, now: Time, peer: PeerIndex, result: Result<String, String>) {
        self.advance(now);
        let Fencing::Firing { failed, table } = self.peers[peer].fencing else {
            return;
        };
        let name = self.config.peers[peer].name.clone();
        let result = match result {
            Err(why) if self.mutant(Mutant::FailedShotIsProof) => Ok(why),
            result => result,
        };
        match result {
            Ok(detail) => {
                self.report(Level::Info, None, format!("{name} is fenced: {detail}"));
                let state = &mut self.peers[peer];
                state.fencing = Fencing::Idle;
                state.shots.push(now);
                // It was off. A run that was heard since is a new one, and is not: it must not be taken for the one that ended.
                if state.fired_boot == state.boot {
                    self.prove(peer, detail);
                }
                self.forget_intent(&name);
            }
            // It was given up: nothing is wrong with the device.
            Err(_) if self.fence_reasons(peer).is_empty() => {
                let what = format!("{name} is not to be fenced any more");
                self.report(Level::Info, None, what);
                self.peers[peer].fencing = Fencing::Idle;
                self.forget_intent(&name);
            }
            Err(why) => {
                let until = self.next_slot(peer, table, RETRY[failed.min(RETRY.len() - 1)]);
                let next = format!(
                    "fencing {name} has failed: {why}. Next attempt in {} s. Nothing is promoted before it works, or before \
                     a person who has switched {name} off says so: twindisk fence confirm {name} --is-off {name}",
                    until.since(now).as_secs()
                );
                self.report(Level::Alarm, None, next);
                self.peers[peer].fencing = Fencing::Waiting {
                    until,
                    failed: failed + 1,
                    table,
                };
            }
        }
        self.decide();
    }

    /// The power of a peer reads as off, where that alone is no proof: the shot need not wait.
    pub(crate) fn end_wait(&mut self, peer: PeerIndex) {
        let now = self.now;
        let first = !self.leaves_to_another(peer);
        if let Fencing::Waiting {
            until,
            failed: 0,
            table,
        } = &mut self.peers[peer].fencing
            && *until > now
        {
            // Who comes first among the standbys goes on at once, and this one only if nothing comes of that.
            let turn = if first { now } else { now.after(table.delay) };
            *until = turn.min(*until);
            let name = &self.config.peers[peer].name;
            let what = format!("the power of {name} is off already: nobody has to be waited for");
            self.report(Level::Info, None, what);
        }
    }

    /// Takes every shot one step further.
    pub(crate) fn decide_fencing(&mut self) {
        for peer in self.peers.keys() {
            while self.fencing_step(peer) {}
        }
    }

    fn fencing_step(&mut self, peer: PeerIndex) -> bool {
        let reasons = self.fence_reasons(peer);
        let name = self.config.peers[peer].name.clone();
        let now = self.now;
        match self.peers[peer].fencing.clone() {
            Fencing::Idle => {
                if reasons
                    .iter()
                    .any(|reason| self.forget_old_proof(reason.resource, reason.member))
                {
                    return true;
                }
                let over = |reason: &Reason| self.is_proof_over(reason.resource, peer);
                if reasons.iter().any(over) {
                    self.peers[peer].proof = None;
                    return true;
                }
                if let Some(proof) = &self.peers[peer].proof {
                    let needless = self.nobody_needs_it_off(peer);
                    // In maintenance somebody may be at work inside it.
                    let due = !proof.turned_on && !self.memory.maintenance && needless;
                    if due && self.config.peers[peer].can_fence {
                        self.act(Action::PowerOn(peer));
                    }
                    if let Some(proof) = &mut self.peers[peer].proof {
                        proof.turned_on |= due;
                        proof.is_over |= needless;
                    }
                    return false;
                }
                if self.peers[peer].has_left() {
                    self.tell_of_goodbye(peer);
                }
                if reasons.is_empty() {
                    return false;
                }
                if !self.config.peers[peer].can_fence {
                    self.alarm_once(peer, format!(
                        "{name} is lost and there is no way to fence it: {}. Configure a fence device, or switch it off and say so: \
                         twindisk fence confirm {name} --is-off {name}",
                        self.in_words(&reasons)
                    ));
                    return false;
                }
                let why = self.in_words(&reasons);
                self.report(
                    Level::Warning,
                    None,
                    format!("{name} is to be fenced: {why}"),
                );
                let intent = Intent {
                    node: name,
                    why,
                    at: self.wall,
                };
                self.remember(|memory| memory.intents.push(intent));
                self.peers[peer].fencing = Fencing::Storing {
                    version: self.memory.version,
                    failed: 0,
                };
                true
            }
            _ if self.peers[peer].proof.is_some()
                && !matches!(self.peers[peer].fencing, Fencing::Firing { .. }) =>
            {
                self.peers[peer].fencing = Fencing::Idle;
                self.forget_intent(&name);
                true
            }
            // The last word on the reason comes right before the shot: `still_wants`.
            Fencing::Firing { .. } => false,
            _ if reasons.is_empty() => {
                self.report(
                    Level::Info,
                    None,
                    format!("{name} is not to be fenced any more"),
                );
                self.peers[peer].fencing = Fencing::Idle;
                self.forget_intent(&name);
                true
            }
            Fencing::Storing { version, failed }
                if version <= self.stored || self.mutant(Mutant::FireBeforeIntentStored) =>
            {
                let table = self.timetable(peer, &reasons);
                let until = self.next_slot(peer, table, self.damping(peer));
                if until > now && !self.config.peers[peer].reads_power {
                    self.read_power(peer);
                }
                self.peers[peer].fencing = Fencing::Waiting {
                    until,
                    failed,
                    table,
                };
                true
            }
            // It was kept from looking: its slot is over.
            Fencing::Waiting {
                until,
                failed,
                table,
            } if !table.is_open(until, now) => {
                let until = self.next_slot(peer, table, Duration::ZERO);
                self.peers[peer].fencing = Fencing::Waiting {
                    until,
                    failed,
                    table,
                };
                until <= now
            }
            Fencing::Waiting {
                until,
                failed,
                table,
            } if until <= now => {
                self.peers[peer].fencing = Fencing::Firing { failed, table };
                self.peers[peer].reading.break_off();
                self.peers[peer].check.break_off();
                self.peers[peer].fired_boot = self.peers[peer].boot;
                self.note_meetings(peer);
                if self.mutant(Mutant::ForgetIntentEarly) {
                    self.forget_intent(&name);
                }
                self.act(Action::Fence(peer));
                true
            }
            Fencing::Storing { .. } | Fencing::Waiting { .. } => false,
        }
    }

    /// R7: of two that live and have lost each other the primary fires at once, unless it has lost its clients, too.
    /// Every two places in the race are a whole delay apart.
    fn timetable(&self, peer: PeerIndex, reasons: &[Reason]) -> Timetable {
        let state = &self.peers[peer];
        let theirs = state.beat.as_ref().map_or(0, |beat| beat.fence_latency);
        let latency = state.latency.max(Duration::from_millis(theirs));
        let delay = self.config.profile.fence_delay();
        // Who could not want it at once (its own services had to go first, or its memory could not be stored) has no race of
        // its own: it waits for its place in the one that the other node is in since then.
        let dead = self.config.profile.dead();
        let silent = state.lost_since().map(|since| since.after(dead));
        let table = |from| Timetable {
            from,
            delay: delay.max(latency.saturating_mul(2)),
            latency,
        };
        let lost = reasons.iter().filter_map(|reason| {
            let member = self.member(reason.resource, reason.member);
            let noticed = silent?.max(member.lost?);
            // One that stood still (its disk hung, say) notices later than the other one, which is in a slot of its own by now.
            let earliest = silent?.max(member.moved_before);
            let in_time = table(earliest).is_open(earliest, noticed);
            Some(if in_time || self.mutant(Mutant::LateForTheRace) {
                noticed
            } else {
                earliest
            })
        });
        table(lost.min().map_or(self.now, |lost| lost.min(self.now)))
    }

    /// When this node may fire, at least so long from now.
    fn next_slot(&self, peer: PeerIndex, table: Timetable, wait: Duration) -> Time {
        let place = self.place_in_race(peer, table.delay);
        if self.mutant(Mutant::NoPlaceInRace) {
            return self.now.after(wait);
        }
        table.next(place, self.now.after(wait))
    }

    /// Fence loops are damped.
    fn damping(&self, peer: PeerIndex) -> Duration {
        let recent = |shot: &&Time| self.now.since(**shot) < DAMPING_WINDOW;
        let shots = self.peers[peer].shots.iter().filter(recent).count();
        shots
            .checked_sub(UNDAMPED)
            .map_or(Duration::ZERO, |over| DAMPING[over.min(DAMPING.len() - 1)])
    }

    /// How many delays this node lets pass. What a node was, the other one knows from its last beat; where both are
    /// primary of something, or none is, their numbers decide.
    fn place_in_race(&self, peer: PeerIndex, delay: Duration) -> u32 {
        let shared = || {
            let resources = self.resources.iter().zip(&self.config.resources);
            resources
                .filter(|(_, config)| config.member(peer).is_some())
                .map(|(state, config)| (state.view.as_ref().map(|view| view.role), &config.name))
        };
        let here = shared().any(|(role, _)| role == Some(Role::Primary));
        // What is primary here is not primary there, whatever was said before. One that was never heard is primary, for
        // all that is known, of what is standby here.
        let there = shared().any(|(role, name)| match &self.peers[peer].beat {
            Some(beat) => {
                let mut said = beat.resources.iter();
                role != Some(Role::Primary)
                    && said.any(|said| said.role == Role::Primary && said.name == *name)
            }
            None => role == Some(Role::Standby),
        });
        let lower = self.config.node < self.config.peers[peer].node;
        let place = match (here, there) {
            (true, false) => 0,
            (true, true) => u32::from(!lower),
            (false, true) => 1 + u32::from(self.leaves_to_another(peer)),
            (false, false) => 1 + u32::from(!lower),
        };
        // A shot that was decided while this node stood still must have hit, or be known not to come.
        let dead = self.config.profile.dead();
        let late = self
            .stood_still
            .is_some_and(|at| self.now.since(at) < delay.saturating_add(2 * dead));
        let hangs = self
            .resources
            .keys()
            .any(|resource| self.is_stuck(resource));
        let isolated = self.clients_reachable == Some(false) || late || hangs;
        // Behind all three places of a healthy one: what each was, the other may not have heard.
        place + if isolated { 3 } else { 0 }
    }

    fn tell_of_goodbye(&mut self, peer: PeerIndex) {
        let reasons = self.reasons_to_be_off(peer);
        if !reasons.is_empty() {
            let name = &self.config.peers[peer].name;
            let what = format!(
                "{name} is needed and its agent was stopped by a person, so it is not fenced: {}. Start its agent, or switch it \
                 off and say so: twindisk fence confirm {name} --is-off {name}",
                self.in_words(&reasons)
            );
            self.alarm_once(peer, what);
        }
    }

    /// What the peer was shot for is done: its resources go on here, or can't.
    fn nobody_needs_it_off(&self, peer: PeerIndex) -> bool {
        self.resources.keys().all(|resource| {
            let Some(member) = self.config.resources[resource].member(peer) else {
                return true;
            };
            let view = self.resources[resource].view.as_ref();
            view.is_some_and(|view| match view.role {
                Role::Primary => !view.peers[member].awaited,
                Role::Standby => {
                    !view.up_to_date || self.has_another_leader(resource, view, member)
                }
            })
        })
    }

    pub(crate) fn forget_intent(&mut self, name: &str) {
        if self.memory.intents.iter().any(|intent| intent.node == name) {
            self.remember(|memory| memory.intents.retain(|intent| intent.node != name));
        }
    }

    fn in_words(&self, reasons: &[Reason]) -> String {
        let words: Vec<String> = reasons
            .iter()
            .map(|reason| {
                let name = &self.config.resources[reason.resource].name;
                format!("{name} ({})", reason.why)
            })
            .collect();
        words.join(", ")
    }
}
