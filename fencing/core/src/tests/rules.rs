//! A driver that believes nothing: it hands events to an agent, and holds every action against the rules.

mod reasons;

use super::bench::{
    BETA, DEAD, Duration, INTERVAL, ME, R0, RUN, ReplicaView, as_ms, power, resource,
};
use crate::{
    Action, Agent, Beat, BeatResource, Config, HungIo, Intent, Memory, Operator, Order, PathIndex,
    PeerConfig, Profile, Question, Recovery, ResourceIndex, Role, Services, Serving, Time,
};

/// No event makes an agent want more than this at once: a beat, a memory, a shot, and a few for each resource.
const MOST_ACTIONS: usize = 24;

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time passes in steps of at most 100 ms.
    Pass(u64),
    Stall(u64),
    /// A beat over a path.
    Beat(usize, Said),
    /// The peer goes on saying so for a while.
    Says(Said, u64),
    View(usize, Option<ReplicaView>),
    Stored(bool),
    Fenced(bool),
    Power(Option<bool>),
    Ping(bool),
    Monitored(u64),
    Ordered(usize, bool),
    Served(usize, bool),
    Ended(usize),
    Wish(Operator),
}

/// What a beat says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    /// Which run of the peer's agent, counted from the first.
    pub(super) run: u64,
    pub(super) hears: u8,
    /// It answers what the agent asked last.
    pub(super) answers: bool,
    /// It is being stopped by a person.
    pub(super) leaving: bool,
    pub(super) about: BeatResource,
}

/// The driver.
pub(super) struct Driver {
    pub(super) agent: Agent,
    pub(super) now: u64,
    seq: u64,
    /// The newest beat of the agent.
    sent: u64,
    views: Vec<Option<ReplicaView>>,
    orders: Vec<Option<Order>>,
    serving: Vec<bool>,
    storing: Option<Memory>,
    stored: Memory,
    firing: bool,
    /// The run of the peer that was heard last then.
    fired_run: Option<u64>,
    /// The last connections when the shot was asked for.
    fired_met: Vec<u64>,
    /// The peer was read as off, and was not switched on since.
    off: bool,
    /// It was read as off, and was not heard since.
    proven: bool,
    /// A replica has met it since: the agent may have forgotten that.
    doubted: bool,
    /// When the last new beat was believed, and what it said.
    heard: Option<(u64, Beat)>,
    ended: Vec<u64>,
    stalled: u64,
    /// When each replica was last seen to get something done, or to have nothing to do.
    moved: Vec<u64>,
    /// Since when the peer says without a break that its primary hangs.
    hung: Vec<Option<u64>>,
    /// Since when the I/O of each primary waits for the peer.
    waiting: Vec<Option<u64>>,
    /// Runs that were killed.
    killed: Vec<u64>,
    asked: Vec<Question>,
    switchovers: usize,
    /// What each replica was told of its peer since they were connected last.
    rights: Vec<bool>,
    /// The meeting that each is of.
    right_mets: Vec<u64>,
    /// The term for which the services of the first resource were started last.
    started: u64,
}

impl Driver {
    /// An agent with two resources, the first with services.
    pub(super) fn new() -> Self {
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
            resources: vec![resource("r0"), resource("r1")].into(),
            max_failovers: 3,
            failover_window: Duration::from_secs(3600),
            recovery: Some(Recovery {
                restarts: 1,
                window: Duration::from_secs(60),
            }),
            hung_io: HungIo::Act,
            host: "a boot".into(),
        };
        config.resources[R0].has_services = true;
        let now = 100_000;
        let agent = Agent::new(Time(now), config, Memory::default(), ME, 1);
        Self {
            agent,
            now,
            seq: 0,
            sent: 0,
            views: vec![None; 2],
            orders: vec![None; 2],
            serving: vec![false; 2],
            storing: None,
            stored: Memory::default(),
            firing: false,
            fired_run: None,
            fired_met: vec![0; 2],
            off: false,
            proven: false,
            doubted: false,
            heard: None,
            ended: Vec::new(),
            stalled: 0,
            moved: vec![now; 2],
            hung: vec![None; 2],
            waiting: vec![None; 2],
            killed: Vec::new(),
            asked: vec![Question::None; 2],
            switchovers: 0,
            rights: vec![false; 2],
            right_mets: vec![0; 2],
            started: 0,
        }
    }

    /// Something happens, and all that is wanted then keeps the rules.
    pub(super) fn on(&mut self, event: Event) {
        if let Event::Pass(ms) = event {
            let end = self.now + ms;
            while self.now < end {
                self.now = end.min(self.now + 100);
                self.agent.handle_time(Time(self.now), self.now / 1000);
                self.check();
                assert!(self.agent.next_deadline() > Time(self.now), "it would spin");
            }
            return;
        }
        if let Event::Says(said, ms) = event {
            let end = self.now + ms;
            while self.now < end {
                self.on(Event::Beat(0, said.clone()));
                self.on(Event::Pass(INTERVAL.min(end - self.now)));
            }
            return;
        }
        if let Event::Stall(ms) = event {
            self.now += ms;
            if ms > DEAD / 2 {
                self.stalled = self.now;
                self.moved = vec![self.now; 2];
                let hung = self.hung.iter_mut().flatten();
                hung.for_each(|since| *since = self.now);
            }
        }
        let now = Time(self.now);
        match event {
            Event::Pass(_) | Event::Says(..) => {}
            Event::Stall(_) => self.agent.handle_time(now, self.now / 1000),
            Event::Beat(path, said) => self.beat(path, &said),
            Event::View(at, view) => {
                self.moves(at, view.as_ref());
                let linked = view.as_ref().is_some_and(|view| view.linked);
                let met = view.as_ref().map(|view| view.met);
                let same = met.is_none_or(|met| met == self.right_mets[at]);
                // A primary that goes on has used it, unless it was promoted by it just now.
                let goes_on = |view: &ReplicaView| view.role == Role::Primary && !view.suspended;
                let used = view.as_ref().is_some_and(goes_on);
                let used = used && self.orders[at] != Some(Order::Promote);
                self.rights[at] &= same && !linked && !used;
                self.views[at].clone_from(&view);
                let resource = ResourceIndex::new(at);
                let looking = self.agent.looking(resource);
                let view = view.map(Into::into);
                self.agent.handle_replica(now, resource, looking, view);
            }
            Event::Stored(worked) => {
                if let Some(memory) = self.storing.take() {
                    let result = if worked { Ok(()) } else { Err("no".to_owned()) };
                    self.agent.handle_stored(now, memory.version, result);
                    if worked {
                        self.stored = memory;
                    }
                }
            }
            Event::Fenced(worked) => {
                // Who has booted since is not off any more.
                let is_off = worked && self.firing && self.fired_run == self.heard_run();
                self.off |= is_off;
                self.proven |= is_off;
                self.doubted &= !is_off;
                self.firing = false;
                let result = if worked { Ok("off") } else { Err("dead") };
                let result = result.map(str::to_owned).map_err(str::to_owned);
                self.agent.handle_fenced(now, BETA, result);
            }
            Event::Power(on) => self.agent.handle_power(now, BETA, power(on)),
            Event::Ping(answers) => self.agent.handle_ping(now, answers),
            Event::Monitored(latency) => {
                let latency = Duration::from_millis(latency);
                self.agent.handle_monitor(now, BETA, Ok(latency));
            }
            Event::Ordered(at, worked) => {
                let order = self.orders[at].take();
                // One of before they met again is no right.
                let met = self.views[at].as_ref().map(|view| view.met);
                let receipt = order.as_ref().and_then(receipt_of);
                let receipt = receipt.filter(|of| met.is_none_or(|met| met == *of));
                if let Some(of) = receipt.filter(|_| worked) {
                    (self.rights[at], self.right_mets[at]) = (true, of);
                }
                let result = if worked { Ok(()) } else { Err("no".to_owned()) };
                self.agent
                    .handle_ordered(now, ResourceIndex::new(at), result);
            }
            Event::Served(at, worked) => {
                self.serving[at] = false;
                let result = if worked { Ok(()) } else { Err("no".to_owned()) };
                self.agent
                    .handle_services(now, ResourceIndex::new(at), result);
                self.see_given_up();
            }
            Event::Ended(at) => {
                let at = ResourceIndex::new(at);
                self.agent.handle_services_ended(now, at, "all");
                self.see_given_up();
            }
            Event::Wish(wish) => {
                let taken = self.agent.handle_operator(now, wish).is_ok();
                if taken && wish == Operator::Confirm(BETA) {
                    (self.off, self.proven, self.doubted) = (true, true, false);
                    self.fired_met = self.mets();
                }
                self.switchovers +=
                    usize::from(taken && matches!(wish, Operator::Switchover { .. }));
            }
        }
        self.check();
    }

    fn moves(&mut self, at: usize, is: Option<&ReplicaView>) {
        let waits = is
            .is_some_and(|view| view.role == Role::Primary && view.suspended && view.peer_in_sync);
        self.waiting[at] = waits.then(|| self.waiting[at].unwrap_or(self.now));
        // R17: promoted again in place, its services belong to the new term.
        let again = |view: &&ReplicaView| view.role == Role::Primary && self.started != 0;
        let led = is.filter(again).and_then(|view| view.led);
        if at == 0 && led.is_some_and(|led| led.node == 1 && led.term == self.started + 1) {
            self.started += 1;
        }
        self.doubted |= is.is_some_and(|view| view.linked || view.met != self.fired_met[at]);
        let was = self.views[at].as_ref();
        let stands = was
            .zip(is)
            .filter(|(was, is)| was.run == is.run && was.progress == is.progress && !is.suspended);
        let oldest = stands.map_or(0, |(_, is)| as_ms(is.oldest));
        self.moved[at] = self.moved[at].max(self.now.saturating_sub(oldest));
    }

    fn beat(&mut self, path: usize, said: &Said) {
        self.seq += 1;
        let about = |at: usize| {
            let mut about = said.about.clone();
            about.name = format!("r{at}");
            about.released = if said.answers {
                self.asked[at]
            } else {
                Question::None
            };
            about
        };
        let beat = Beat {
            from: 2,
            to: 1,
            boot: RUN + said.run,
            started: 50 + said.run,
            seq: self.seq,
            echo: ME,
            echo_seq: self.sent,
            hears: said.hears,
            leaving: said.leaving,
            fence_latency: 0,
            resources: vec![about(0), about(1)],
        };
        let believed = self
            .agent
            .handle_beat(Time(self.now), BETA, PathIndex::new(path), &beat)
            .is_ok();
        if believed {
            assert!(!self.ended.contains(&said.run), "of a run that has ended");
            if let Some((_, last)) = self
                .heard
                .as_ref()
                .filter(|(_, last)| last.boot != beat.boot)
            {
                self.ended.push(last.boot - RUN);
            }
            for (since, said) in self.hung.iter_mut().zip(&beat.resources) {
                let hangs = said.hung && said.role == Role::Primary && said.serving == Serving::Yes;
                *since = hangs.then(|| since.unwrap_or(self.now));
            }
            self.heard = Some((self.now, beat));
            (self.off, self.proven) = (false, false);
        }
    }

    fn heard_run(&self) -> Option<u64> {
        self.heard.as_ref().map(|(_, beat)| beat.boot)
    }

    /// Services that ended too often let the role go over as a person's word does.
    fn see_given_up(&mut self) {
        let mut resources = self.agent.resources.iter();
        self.switchovers += usize::from(resources.any(|state| state.switching.is_some()));
    }

    fn check(&mut self) {
        let mut count = 0;
        while let Some(action) = self.agent.poll_action() {
            count += 1;
            assert!(count <= MOST_ACTIONS, "no end: {action:?}");
            self.keeps_the_rules(action);
        }
        if self.agent.still_wants(BETA) {
            assert!(self.firing, "nothing was asked for");
            self.may_fire();
        }
        let memory = &self.agent.memory;
        let shots = |one: &Intent| one.node == "beta";
        assert!(memory.intents.iter().filter(|one| shots(one)).count() <= 1);
        assert!(memory.holds.len() <= 2);
        let _ = self.agent.status();
    }

    fn keeps_the_rules(&mut self, action: Action) {
        match action {
            Action::Send { beat, .. } => {
                self.sent = beat.seq;
                self.asked = beat.resources.iter().map(|said| said.ask).collect();
            }
            Action::Store(memory) => {
                assert!(self.storing.is_none(), "one memory at a time");
                assert!(memory.version > self.stored.version);
                self.storing = Some(memory);
            }
            Action::ReadPower(BETA) | Action::Report { .. } => {}
            Action::Fence(BETA) => {
                assert!(!self.firing, "one shot at a time");
                let intended = self.stored.intents.iter().any(|one| one.node == "beta");
                assert!(intended, "R6: the intent is durable first");
                self.may_fire();
                self.firing = true;
                self.fired_run = self.heard_run();
                self.fired_met = self.mets();
            }
            Action::PowerOn(BETA) => {
                assert!(self.off, "it was not off, or is on already");
                assert!(!(0..2).any(|at| self.needs(at)), "it is needed off");
                assert!(!self.agent.memory.maintenance);
                self.off = false;
            }
            Action::Order(at, order) => self.order_keeps_the_rules(at.index(), order),
            Action::Kill { resource, run } => {
                self.may_kill(resource, run);
                self.killed.push(run);
            }
            Action::StartServices { resource: at, .. } | Action::StopServices(at) => {
                assert_eq!(at, R0, "the other one has none");
                let at = at.index();
                assert!(
                    !std::mem::replace(&mut self.serving[at], true),
                    "one at a time"
                );
                assert!(!self.agent.memory.maintenance && !self.agent.leaving);
                if let Action::StartServices { term, .. } = action {
                    let view = self.views[at].as_ref().expect("somebody who serves");
                    assert!(view.role == Role::Primary && view.open);
                    assert_eq!(view.led.map(|led| led.term), Some(term));
                    // R12: nothing runs on the other node, or these ran on while a process came back.
                    assert!(
                        term == self.started || self.may_start(view),
                        "it is not free"
                    );
                    self.started = term;
                }
            }
            other => panic!("{other:?} is of another peer"),
        }
    }

    fn order_keeps_the_rules(&mut self, at: usize, order: Order) {
        assert_eq!(self.orders[at], None, "one order at a time");
        assert!(!self.agent.leaving);
        let view = self.views[at].as_ref();
        let released = matches!(order, Order::Outdate { .. });
        assert!(
            released || !self.agent.memory.maintenance,
            "it decides nothing"
        );
        match &order {
            Order::Promote => {
                let view = view.expect("a replica");
                assert!(view.can_promote && view.up_to_date && view.role == Role::Standby);
                assert_ne!(view.peer_role, Some(Role::Primary));
                // R17: no client of an earlier time, neither here nor there.
                let services = self.agent.resources[ResourceIndex::new(at)].services;
                let ours = view.led.filter(|led| led.node == 1);
                let same = ours.is_some_and(|led| led.term == self.started);
                assert!(at == 1 || services == Services::Down || same);
                assert!(
                    self.peer_is_free(at, view),
                    "who was primary last is not free"
                );
            }
            Order::ReceiptFenced { met, .. } => {
                let view = view.expect("a replica");
                assert!(!view.linked && view.peer_in_sync && self.proven, "no proof");
                assert_eq!((*met, *met), (view.met, self.fired_met[at]));
            }
            Order::ReceiptReleased { met, .. } => {
                let view = view.expect("a replica");
                let (_, beat) = self.heard.as_ref().expect("an answer");
                assert!(!view.linked && view.peer_in_sync);
                assert_ne!(beat.resources[at].released, Question::None);
                assert_eq!(*met, view.met);
            }
            Order::Outdate { offline: true } => assert!(view.is_none()),
            Order::Outdate { offline: false } => {
                let view = view.expect("a replica");
                assert!(view.role == Role::Standby && !view.linked);
            }
            Order::ReceiptGranted { .. } | Order::StepDown => panic!("there is no witness"),
            Order::HandOver { to } => {
                assert_eq!(*to, BETA);
                let view = view.expect("a replica");
                assert_eq!(view.role, Role::Primary);
                assert!(self.switchovers > 0, "nobody has asked for it");
            }
        }
        if released || matches!(order, Order::HandOver { .. }) {
            let services = self.agent.resources[ResourceIndex::new(at)].services;
            assert!(at == 1 || services == Services::Down, "{services:?}");
        }
        self.orders[at] = Some(order);
    }
}

/// The meeting that a receipt is of.
const fn receipt_of(order: &Order) -> Option<u64> {
    match order {
        Order::ReceiptFenced { met, .. } | Order::ReceiptReleased { met, .. } => Some(*met),
        Order::ReceiptGranted { met, .. } => Some(*met),
        Order::Promote | Order::StepDown | Order::Outdate { .. } | Order::HandOver { .. } => None,
    }
}
