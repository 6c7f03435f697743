//! An agent on a bench: it is handed what a driver would bring, and what it wants done is collected.

pub(super) use std::time::Duration;

pub(super) use super::pair::{
    ReplicaView, alone, entitled, frozen, orphan, outdated, primary, standby,
};
use crate::{
    Action, Agent, Beat, BeatResource, Config, HungIo, Level, MemberConfig, Memory, Operator,
    Order, PathIndex, PeerConfig, PeerIndex, Power, Profile, ResourceConfig, ResourceIndex, Role,
    Services, Serving, Started, Time,
};
pub(super) use crate::{Question, as_ms};

/// Times of the profile that the bench uses.
pub(super) const INTERVAL: u64 = as_ms(Profile::Default.interval());
pub(super) const DEAD: u64 = as_ms(Profile::Default.dead());
pub(super) const DELAY: u64 = as_ms(Profile::Default.fence_delay());
pub(super) const GRACE: u64 = as_ms(Profile::Default.restart_grace());

/// Peer and resources of the bench.
pub(super) const BETA: PeerIndex = PeerIndex::new(0);
pub(super) const R0: ResourceIndex = ResourceIndex::new(0);
pub(super) const R1: ResourceIndex = ResourceIndex::new(1);

/// The run of the agent on the bench.
pub(super) const ME: u64 = 1001;
/// The boot of its host.
pub(super) const HOST: &str = "a boot";
/// The run of its peer.
pub(super) const RUN: u64 = 2001;
/// How often the clock is looked at while time passes, milliseconds.
pub(super) const TICK: u64 = 50;
const START: u64 = 100_000;
const WALL: u64 = 1_700_000_000;

/// The agent of alpha (1), whose peer is beta (2).
pub(super) struct Bench {
    pub(super) agent: Agent,
    pub(super) now: u64,
    /// What beta's agent says: each beat of it is a copy with the next number.
    pub(super) said: Beat,
    /// It has heard what the agent has sent last.
    pub(super) answers: bool,
    /// What was wanted done, without beats, memory and reports.
    acts: Vec<Action>,
    /// Beats to beta.
    pub(super) sent: Vec<Beat>,
    /// What was reported.
    pub(super) told: Vec<(Level, String)>,
    /// Memories that were to be stored.
    pub(super) stores: Vec<Memory>,
    /// What its fence devices say while beta is heard; `None`: no answer, and the question is among the acts.
    pub(super) checks: Option<Power>,
    /// They are stored at once.
    pub(super) stores_at_once: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    /// With other settings.
    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::remembering(Memory::default(), change)
    }

    /// A primary with services, which were started for term 5.
    pub(super) fn serving(change: impl FnOnce(&mut Config)) -> Self {
        let memory = Memory {
            version: 1,
            holds: vec!["r0".into()],
            services: vec![Started {
                resource: "r0".into(),
                term: 5,
                host: HOST.into(),
            }],
            ..Memory::default()
        };
        Self::remembering(memory, |config| {
            config.resources[R0].has_services = true;
            change(config);
        })
    }

    /// With what an earlier run of the agent has stored.
    pub(super) fn remembering(memory: Memory, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: "alpha".into(),
            node: 1,
            profile: Profile::Default,
            peers: vec![PeerConfig {
                name: "beta".into(),
                node: 2,
                paths: vec!["first".into(), "second".into()].into(),
                can_fence: true,
                reads_power: false,
            }]
            .into(),
            resources: vec![resource("r0")].into(),
            max_failovers: 3,
            failover_window: Duration::from_secs(3600),
            recovery: None,
            hung_io: HungIo::Act,
            host: HOST.into(),
        };
        change(&mut config);
        // As the configuration has it where nobody says otherwise: by their numbers.
        for resource in config.resources.iter_mut() {
            for member in resource.members.iter_mut() {
                member.preferred = config.peers[member.peer].node < config.node;
            }
        }
        let resources = config.resources.iter().map(|one| said(&one.name)).collect();
        let node = config.node;
        let agent = Agent::new(Time(START), config, memory, ME, WALL * 1_000_000);
        let mut bench = Self {
            agent,
            now: START,
            said: Beat {
                from: 3 - node,
                to: node,
                boot: RUN,
                started: 50,
                seq: 0,
                echo: ME,
                echo_seq: 0,
                hears: 3,
                leaving: false,
                fence_latency: 0,
                resources,
            },
            answers: true,
            acts: Vec::new(),
            sent: Vec::new(),
            told: Vec::new(),
            stores: Vec::new(),
            checks: Some(Power::On),
            stores_at_once: true,
        };
        bench.pass(0);
        bench.acts();
        bench
    }

    /// A primary whose standby is in sync, both heard and connected for a while.
    pub(super) fn primary() -> Self {
        let mut bench = Self::new();
        bench.meet(primary());
        bench
    }

    /// A standby that is in sync, both heard and connected for a while.
    pub(super) fn standby() -> Self {
        let mut bench = Self::new();
        bench.meet(standby());
        bench
    }

    /// The replica says this, and beta's agent is heard for a while.
    pub(super) fn meet(&mut self, view: ReplicaView) {
        if view.role == Role::Standby {
            self.said.resources[0].role = Role::Primary;
            self.said.resources[0].can_promote = false;
        }
        self.view(view);
        self.live(2 * INTERVAL);
        assert_eq!(self.acts(), [], "nothing is to be done in quiet times");
    }

    pub(super) fn time(&self) -> Time {
        Time(self.now)
    }

    /// What the agent wanted done since the last call, without beats, memory and reports.
    pub(super) fn acts(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.acts)
    }

    /// The orders among [`Self::acts`], of the first resource; nothing else was wanted.
    pub(super) fn order(&mut self) -> Option<Order> {
        let mut acts = self.acts();
        assert!(acts.len() <= 1, "{acts:?}");
        acts.pop().map(|act| match act {
            Action::Order(R0, order) => order,
            other => panic!("{other:?} is no order"),
        })
    }

    /// The order among [`Self::acts`], whatever else was wanted.
    pub(super) fn order_among(&mut self) -> Option<Order> {
        let mut acts = self.acts().into_iter();
        acts.find_map(|act| match act {
            Action::Order(R0, order) => Some(order),
            _ => None,
        })
    }

    /// Collects what the agent wants done.
    pub(super) fn settle(&mut self) {
        while let Some(action) = self.agent.poll_action() {
            match action {
                Action::Send { beat, .. } => self.sent.push(beat),
                Action::Report { level, what, .. } => self.told.push((level, what)),
                Action::Store(memory) => {
                    let version = memory.version;
                    self.stores.push(memory);
                    if self.stores_at_once {
                        self.agent.handle_stored(Time(self.now), version, Ok(()));
                    }
                }
                Action::CheckPower(_) if self.checks.is_some() => {
                    let power = self.checks.clone().expect("it is some");
                    self.agent.handle_checked(Time(self.now), BETA, power);
                }
                other => self.acts.push(other),
            }
        }
    }

    /// Time passes, and beta is silent.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.agent
                .handle_time(Time(self.now), WALL + self.now / 1000);
            self.settle();
            if self.now == end {
                return;
            }
            self.now = end.min(self.now + TICK);
        }
    }

    /// Time passes, and beta's agent goes on beating.
    pub(super) fn live(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.beat();
            if self.now == end {
                return;
            }
            self.pass(INTERVAL.min(end - self.now));
        }
    }

    /// The agent's process stands still.
    pub(super) fn stall(&mut self, ms: u64) {
        self.now += ms;
        self.pass(0);
    }

    /// Beta's agent says `said` over every path.
    pub(super) fn beat(&mut self) {
        let beat = self.next_beat();
        for path in 0..2 {
            assert_eq!(self.hear(path, &beat), Ok(()));
        }
    }

    /// The next beat of beta's agent.
    pub(super) fn next_beat(&mut self) -> Beat {
        self.said.seq += 1;
        if self.answers {
            self.said.echo_seq = self.sent.last().map_or(0, |sent| sent.seq);
        }
        self.said.clone()
    }

    /// A beat arrives.
    pub(super) fn hear(&mut self, path: usize, beat: &Beat) -> Result<(), &'static str> {
        let result = self
            .agent
            .handle_beat(self.time(), BETA, PathIndex::new(path), beat);
        self.settle();
        result
    }

    /// Beta's agent has been started anew.
    pub(super) fn new_run(&mut self) {
        self.said.boot += 1;
        self.said.started += 1000;
        self.said.seq = 0;
    }

    pub(super) fn view(&mut self, view: ReplicaView) {
        self.view_of(R0, Some(view));
    }

    /// The process of the replica is gone.
    pub(super) fn gone(&mut self) {
        self.view_of(R0, None);
    }

    pub(super) fn view_of(&mut self, resource: ResourceIndex, view: Option<ReplicaView>) {
        let looking = self.agent.looking(resource);
        self.agent
            .handle_replica(self.time(), resource, looking, view.map(Into::into));
        self.settle();
    }

    /// The order has been carried out.
    pub(super) fn obeyed(&mut self) {
        self.obeyed_of(R0);
    }

    pub(super) fn obeyed_of(&mut self, resource: ResourceIndex) {
        self.agent.handle_ordered(self.time(), resource, Ok(()));
        self.settle();
    }

    /// The order was refused.
    pub(super) fn refused(&mut self, why: &str) {
        let result = Err(why.to_owned());
        self.agent.handle_ordered(self.time(), R0, result);
        self.settle();
    }

    /// Beta was read as off.
    pub(super) fn fenced(&mut self) {
        let result = Ok("read as off".to_owned());
        self.agent.handle_fenced(self.time(), BETA, result);
        self.settle();
    }

    /// The fence device has failed.
    pub(super) fn misfired(&mut self) {
        let result = Err("no answer".to_owned());
        self.agent.handle_fenced(self.time(), BETA, result);
        self.settle();
    }

    /// The memory that is being stored is, or could not be.
    pub(super) fn stored(&mut self, result: Result<(), &str>) {
        let version = self.stores.last().expect("one is to be stored").version;
        let result = result.map_err(str::to_owned);
        self.agent.handle_stored(self.time(), version, result);
        self.settle();
    }

    pub(super) fn power(&mut self, on: Option<bool>) {
        self.agent.handle_power(self.time(), BETA, power(on));
        self.settle();
    }

    pub(super) fn monitored(&mut self, latency: u64) {
        self.agent
            .handle_monitor(self.time(), BETA, Ok(Duration::from_millis(latency)));
        self.settle();
    }

    pub(super) fn pinged(&mut self, reachable: bool) {
        self.agent.handle_ping(self.time(), reachable);
        self.settle();
    }

    pub(super) fn services(&mut self, result: Result<(), &str>) {
        let result = result.map_err(str::to_owned);
        self.agent.handle_services(self.time(), R0, result);
        self.settle();
    }

    pub(super) fn ended(&mut self) {
        self.agent.handle_services_ended(self.time(), R0, "db");
        self.settle();
    }

    pub(super) fn ask(&mut self, wish: Operator) -> Result<(), String> {
        let result = self.agent.handle_operator(self.time(), wish);
        self.settle();
        result
    }

    /// The last thing that the agent said of its resource.
    pub(super) fn says(&self) -> &BeatResource {
        &self.sent.last().expect("a beat").resources[0]
    }

    /// Whether something with these words was reported at that level since the last look; forgets all reports.
    pub(super) fn was_told(&mut self, level: Level, words: &str) -> bool {
        let mut told = std::mem::take(&mut self.told).into_iter();
        told.any(|(one, what)| one == level && what.contains(words))
    }

    /// The newest memory.
    pub(super) fn memory(&self) -> &Memory {
        &self.agent.memory
    }

    /// Passes time until something is wanted, and says after how long.
    pub(super) fn wait_for(&mut self, wanted: &Action, most: u64) -> u64 {
        let start = self.now;
        while self.now <= start + most {
            if self.acts().contains(wanted) {
                return self.now - start;
            }
            self.pass(TICK);
        }
        panic!("{wanted:?} was not wanted within {most} ms");
    }
}

pub(super) fn resource(name: &str) -> ResourceConfig {
    ResourceConfig {
        name: name.into(),
        members: vec![MemberConfig {
            peer: BETA,
            preferred: false,
        }]
        .into(),
        has_services: false,
        after_promote: false,
        arbiter: false,
        arbiter_id: String::new(),
    }
}

/// What was read of a power switch.
pub(super) fn power(on: Option<bool>) -> Power {
    match on {
        Some(true) => Power::On,
        Some(false) => Power::Off("the switch".into()),
        None => Power::Unknown,
    }
}

/// A person wants the role to go over, to whomever.
pub(super) const fn switchover(resource: ResourceIndex) -> Operator {
    Operator::Switchover { resource, to: None }
}

/// What starts the services of the first resource.
pub(super) fn start(term: u64) -> Action {
    Action::StartServices { resource: R0, term }
}

/// A standby that runs and is in sync.
pub(super) fn said(name: &str) -> BeatResource {
    BeatResource {
        name: name.into(),
        serving: Serving::Yes,
        role: Role::Standby,
        term: 5,
        can_promote: false,
        progress: 0,
        oldest_ms: 0,
        ready: false,
        hung: false,
        services: Services::Down,
        services_term: 5,
        witness: false,
        arbiter: String::new(),
        follows: None,
        gave_up: false,
        ask: Question::None,
        released: Question::None,
    }
}
