//! The agent of a node.

use std::{collections::VecDeque, time::Duration};

use crate::{
    Action, Beat, BeatResource, Config, Level, MemberIndex, Memory, Operator, PathIndex, PeerIndex,
    Question, ResourceIndex, Role, Services, Serving, Table, Time, as_ms,
    fence::{Fencing, RETRY},
    member::Member,
    memory::started_of,
    mutants::{Mutant, Mutated},
    peer::Peer,
    resource::Resource,
    succession::ROLL,
};

/// More beats than come within `dead` in quiet times, several times over.
const MOST_SENT: usize = 256;

/// Decides for one node when to fence, to take over, and to come back.
#[derive(Clone, Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) now: Time,
    /// The wall clock, seconds since 1970: for people only.
    pub(crate) wall: u64,
    boot: u64,
    started: u64,
    seq: u64,
    /// Beats that were sent within the last `dead`, and when.
    sent: VecDeque<(Time, u64)>,
    numbers: u64,
    pub(crate) peers: Table<PeerIndex, Peer>,
    pub(crate) resources: Table<ResourceIndex, Resource>,
    pub(crate) memory: Memory,
    /// The newest version of the memory that is stored.
    pub(crate) stored: u64,
    storing: bool,
    /// Attempts to store it that have failed since the last one that worked, and what the last one said.
    unstored: Option<Unstored>,
    /// Whether ping targets answer; `None`: there are none.
    pub(crate) clients_reachable: Option<bool>,
    /// It stood still a while ago: the others may have decided meanwhile, and it has lost its advantage.
    pub(crate) stood_still: Option<Time>,
    next_beat: Time,
    /// Something is to be told at once.
    pub(crate) beat_now: bool,
    pub(crate) leaving: bool,
    alarmed: Table<PeerIndex, bool>,
    /// When it is looked at next who could take over.
    pub(crate) next_roll: Time,
    actions: VecDeque<Action>,
    #[cfg_attr(
        not(feature = "mutants"),
        expect(dead_code, reason = "without it there is nothing to read")
    )]
    pub(crate) mutated: Mutated,
}

/// A memory that could not be stored.
#[derive(Clone, Debug)]
struct Unstored {
    failed: usize,
    /// When it is tried again.
    next: Time,
    why: String,
}

impl Agent {
    /// A fresh run. `boot` is random and not 0, `started` is the wall clock in microseconds.
    #[must_use]
    pub fn new(now: Time, config: Config, memory: Memory, boot: u64, started: u64) -> Self {
        let peers = config.peers.iter().map(|peer| Peer::new(&peer.paths));
        let resources = config.resources.iter().map(|one| Resource {
            services_term: started_of(&memory.services, &one.name).map_or(0, |one| one.term),
            members: one.members.iter().map(|_| Member::default()).collect(),
            ..Resource::default()
        });
        Self {
            now,
            wall: started / 1_000_000,
            boot,
            started,
            seq: 0,
            sent: VecDeque::new(),
            numbers: boot,
            alarmed: config.peers.iter().map(|_| false).collect(),
            next_roll: now.after(ROLL),
            peers: peers.collect(),
            resources: resources.collect(),
            stored: memory.version,
            memory,
            storing: false,
            unstored: None,
            clients_reachable: None,
            stood_still: None,
            next_beat: now,
            beat_now: false,
            leaving: false,
            actions: VecDeque::new(),
            mutated: Mutated::default(),
            config,
        }
    }

    /// What is to be done next, if anything.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When it wants to look at the clock again.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let waits = self.peers.iter().filter_map(|peer| match peer.fencing {
            Fencing::Waiting { until, .. } => Some(until),
            _ => None,
        });
        let readings = self.peers.keys().filter_map(|peer| self.reading_due(peer));
        waits
            .chain(readings)
            .chain([self.next_beat])
            .min()
            .unwrap_or(self.next_beat)
    }

    /// Time has passed. `wall` is the wall clock, seconds since 1970.
    pub fn handle_time(&mut self, now: Time, wall: u64) {
        self.wall = wall;
        self.advance(now);
        self.warn_of_silence();
        self.look_at_hangs();
        self.look_at_faults();
        self.end_yields();
        self.decide();
        self.look_at_service();
        self.look_at_succession();
    }

    /// A beat has arrived and its authentication is right. Says why it is not believed.
    ///
    /// # Errors
    /// When it is for somebody else, or was sent before.
    pub fn handle_beat(
        &mut self,
        now: Time,
        peer: PeerIndex,
        path: PathIndex,
        beat: &Beat,
    ) -> Result<(), &'static str> {
        self.advance(now);
        if beat.from != self.config.peers[peer].node || beat.to != self.config.node {
            return Err("it is from, or for, another node");
        }
        let proof = self.peers[peer].proof.as_ref();
        if proof.is_some_and(|proof| proof.boot == beat.boot) {
            return Err("it is of a run that was powered off");
        }
        // It keeps its sender from being fenced for ever: the goodbye of an earlier time must not.
        let answers = self.answers(beat);
        if beat.leaving && !answers {
            return Err("it is a goodbye that answers nothing which this agent has sent lately");
        }
        let dead = self.config.profile.dead();
        self.peers[peer].hear(now, path, beat, self.boot, dead)?;
        if self.peers[peer].is_newest(beat) {
            self.peers[peer].answers = answers;
        }
        if self.peers[peer].proof.take().is_some() {
            let name = self.config.peers[peer].name.clone();
            self.report(Level::Info, None, format!("{name} is heard again"));
        }
        if self.peers[peer].fencing == Fencing::Idle {
            let name = self.config.peers[peer].name.clone();
            self.forget_intent(&name);
        }
        if !self.mutant(Mutant::ReadBesideBeats) {
            self.peers[peer].reading.interrupt();
        }
        self.alarmed[peer] = false;
        self.peers[peer].paths[path].warned = false;
        self.compare_arbiters(peer, beat);
        self.decide();
        Ok(())
    }

    /// The memory is stored up to a version, or could not be. Nothing that depends on it goes on before it is (R6), so it
    /// is tried again.
    pub fn handle_stored(&mut self, now: Time, version: u64, result: Result<(), String>) {
        self.advance(now);
        self.storing = false;
        match result {
            Ok(()) => {
                self.stored = self.stored.max(version);
                if self.unstored.take().is_some() {
                    let what = "its memory can be stored again";
                    self.report(Level::Info, None, what.into());
                }
            }
            Err(why) => {
                let failed = self.unstored.as_ref().map_or(0, |unstored| unstored.failed);
                let wait = RETRY[failed.min(RETRY.len() - 1)];
                let what = format!(
                    "its memory can't be stored, so it fires at nobody: {why}. Next attempt in {} s",
                    wait.as_secs()
                );
                self.report(Level::Alarm, None, what);
                self.unstored = Some(Unstored {
                    failed: failed + 1,
                    next: now.after(wait),
                    why,
                });
            }
        }
        self.decide();
    }

    /// Why the memory can't be stored, if it can't.
    pub(crate) fn memory_fault(&self) -> Option<&str> {
        self.unstored.as_ref().map(|unstored| unstored.why.as_str())
    }

    /// The fence device of a peer was asked whether it works: how long that took, or why it does not.
    pub fn handle_monitor(&mut self, now: Time, peer: PeerIndex, result: Result<Duration, String>) {
        self.advance(now);
        self.peers[peer].fault = result.as_ref().err().cloned();
        match result {
            Ok(latency) => self.peers[peer].latency = latency,
            Err(why) => {
                let name = &self.config.peers[peer].name;
                let what = format!("the fence device of {name} does not work: {why}");
                self.report(Level::Alarm, None, what);
            }
        }
    }

    /// Whether the ping targets answer.
    pub fn handle_ping(&mut self, now: Time, reachable: bool) {
        self.advance(now);
        if self.clients_reachable.replace(reachable) != Some(reachable) && !reachable {
            let what = "no ping target answers: this node seems to be cut off from its clients";
            self.report(Level::Warning, None, what.into());
        }
        self.decide();
    }

    /// A person asks for something.
    ///
    /// # Errors
    /// When it is not possible now: why, and what to do.
    pub fn handle_operator(&mut self, now: Time, wish: Operator) -> Result<(), String> {
        self.advance(now);
        match wish {
            Operator::Maintenance(on) => {
                self.remember(|memory| memory.maintenance = on);
                if on {
                    self.stop_giving_up();
                }
            }
            Operator::Confirm(peer) => {
                let name = self.config.peers[peer].name.clone();
                if self.peers[peer].is_heard(now, self.config.profile.dead()) {
                    return Err(format!("{name} is heard: it is not off"));
                }
                if self.reasons_to_be_off(peer).is_empty() {
                    return Err(format!("nothing waits for {name} to be off"));
                }
                let what = format!("a person says that {name} is off");
                self.report(Level::Warning, None, what.clone());
                self.note_meetings(peer);
                self.prove(peer, what);
            }
            Operator::Clear => {
                self.remember(|memory| memory.blocked = false);
                self.stop_giving_up();
                for state in self.resources.iter_mut() {
                    state.ends.clear();
                    state.services_not_before = self.now;
                }
            }
            Operator::Leave => {
                self.leaving = true;
                self.beat_now = true;
            }
            Operator::Switchover { resource, to } => {
                let name = &self.config.resources[resource].name;
                if self.memory.maintenance || self.leaving {
                    return Err(format!(
                        "{name} stays: this agent decides nothing in maintenance, or while it is being stopped: \
                         twindisk agent maintenance off"
                    ));
                }
                let to = self.successor(resource, to)?;
                self.resources[resource].switching = Some(to);
            }
            Operator::Adopt(resource) => self.adopt(resource)?,
            Operator::Yield => self.yield_services()?,
        }
        self.decide();
        Ok(())
    }

    /// Moves the clock, and notices when this process itself stood still: it judges nobody by that.
    pub(crate) fn advance(&mut self, now: Time) {
        let stood_still = now.since(self.now) > self.config.profile.dead() / 2;
        self.now = self.now.max(now);
        if stood_still {
            self.stood_still = Some(now);
            for peer in self.peers.iter_mut() {
                peer.forgive(now);
            }
            for resource in self.resources.iter_mut() {
                resource.forgive(now);
            }
            let what = "this agent stood still for a while: silence before now means nothing";
            self.report(Level::Warning, None, what.into());
        }
    }

    /// Everything that is possible now.
    pub(crate) fn decide(&mut self) {
        self.decide_readings();
        for resource in self.resources.keys() {
            self.decide_resource(resource);
        }
        self.decide_fencing();
        let due = self
            .unstored
            .as_ref()
            .is_none_or(|unstored| unstored.next <= self.now);
        if self.memory.version > self.stored && !self.storing && due {
            self.storing = true;
            self.act(Action::Store(self.memory.clone()));
        }
        if self.now >= self.next_beat || std::mem::take(&mut self.beat_now) {
            self.next_beat = self.now.after(self.config.profile.interval());
            self.send_beats();
        }
    }

    /// Whether whoever has sent a beat had heard one that this run of the agent has sent within the last `dead`: so it was not
    /// recorded before.
    fn answers(&self, beat: &Beat) -> bool {
        let dead = self.config.profile.dead();
        let mut lately = self.sent.iter();
        let oldest = lately.find(|(at, _)| self.now.since(*at) <= dead);
        let known = oldest.is_some_and(|(_, seq)| (*seq..=self.seq).contains(&beat.echo_seq));
        beat.echo == self.boot && known
    }

    fn send_beats(&mut self) {
        self.seq += 1;
        let dead = self.config.profile.dead();
        self.sent.retain(|(at, _)| self.now.since(*at) <= dead);
        if self.sent.len() == MOST_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((self.now, self.seq));
        for at in self.peers.keys() {
            let peer = &self.peers[at];
            let shared = self.config.resources.entries();
            let shared = shared.filter_map(|(resource, config)| {
                let member = config.member(at)?;
                Some(self.said_of(resource, member))
            });
            let beat = Beat {
                from: self.config.node,
                to: self.config.peers[at].node,
                boot: self.boot,
                started: self.started,
                seq: self.seq,
                echo: if peer.is_heard(self.now, dead) {
                    peer.boot
                } else {
                    0
                },
                echo_seq: peer.beat.as_ref().map_or(0, |beat| beat.seq),
                hears: peer.hears(self.now, self.config.profile.warn()),
                leaving: self.leaving,
                fence_latency: as_ms(peer.latency),
                resources: shared.collect(),
            };
            self.act(Action::Send { peer: at, beat });
        }
    }

    /// What is said of a resource to a member.
    fn said_of(&self, resource: ResourceIndex, member: MemberIndex) -> BeatResource {
        let state = &self.resources[resource];
        let view = state.view.as_ref();
        let has_services = self.config.resources[resource].has_services;
        let services = if has_services {
            state.services
        } else {
            Services::Down
        };
        BeatResource {
            name: self.config.resources[resource].name.clone(),
            serving: match (state.seen, view) {
                (_, Some(_)) => Serving::Yes,
                (true, None) => Serving::No,
                (false, None) => Serving::Silent,
            },
            role: view.map_or(Role::Standby, |view| view.role),
            term: view.map_or(0, |view| view.term),
            can_promote: view.is_some_and(|view| {
                view.can_promote && view.up_to_date && self.own_services_fit(resource, view)
            }),
            progress: view.map_or(0, |view| view.progress),
            oldest_ms: as_ms(state.stands_still(self.now)),
            ready: self.is_ready(resource),
            hung: self.is_hung(resource),
            services,
            services_term: match services {
                Services::Down => state.seen_term,
                Services::Unknown
                | Services::Starting
                | Services::Up
                | Services::Stopping
                | Services::Failed => state.services_term,
            },
            witness: self.config.resources[resource].arbiter,
            arbiter: self.config.resources[resource].arbiter_id.clone(),
            follows: self.follows(resource),
            gave_up: self.gave_up(resource),
            ask: state.members[member]
                .asking
                .map_or(Question::None, |asking| asking.question),
            released: state.members[member].released,
        }
    }

    fn warn_of_silence(&mut self) {
        let warn = self.config.profile.warn();
        for at in self.peers.keys() {
            for path in self.peers[at].paths.keys() {
                let state = &mut self.peers[at].paths[path];
                let silent = state
                    .heard
                    .is_some_and(|heard| self.now.since(heard) >= warn);
                if silent && !state.warned {
                    state.warned = true;
                    let config = &self.config.peers[at];
                    let what = format!("{} is not heard over {}", config.name, config.paths[path]);
                    self.report(Level::Warning, None, what);
                }
            }
        }
    }

    /// Whether this node was the primary of a resource last, as far as it knows.
    pub(crate) fn holds(&self, resource: ResourceIndex) -> bool {
        self.memory
            .holds
            .contains(&self.config.resources[resource].name)
    }

    pub(crate) fn hold(&mut self, resource: ResourceIndex, holds: bool) {
        if self.holds(resource) != holds {
            let name = self.config.resources[resource].name.clone();
            self.remember(|memory| {
                memory.holds.retain(|held| *held != name);
                if holds {
                    memory.holds.push(name);
                }
            });
        }
    }

    pub(crate) fn remember(&mut self, change: impl FnOnce(&mut Memory)) {
        change(&mut self.memory);
        self.memory.version += 1;
    }

    pub(crate) fn alarm_once(&mut self, peer: PeerIndex, what: String) {
        if !std::mem::replace(&mut self.alarmed[peer], true) {
            self.report(Level::Alarm, None, what);
        }
    }

    pub(crate) fn report(&mut self, level: Level, resource: Option<ResourceIndex>, what: String) {
        self.act(Action::Report {
            level,
            resource,
            what,
        });
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// With a number that nobody has seen before (splitmix64).
    pub(crate) fn question(&mut self) -> Question {
        self.numbers = self.numbers.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.numbers;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Question::from((mixed ^ (mixed >> 31)) | 1)
    }
}
