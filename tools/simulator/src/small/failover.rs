//! Failover of a small world: the same two replicas, each with the real agent beside it, and *every* order in which looks,
//! heartbeats, orders, shots and services of these can end.
//!
//! What the replicas do among themselves is over at once here; what orders of that can do is what
//! [`World`](super::World) is walked for. Time comes in strides of less than the silence that counts.
//!
//! All orders are too many. What is under way goes on in one order, and before anything else; whatever overtakes it
//! (another task, the other node, a person, time) is a *delay*, and of these there are so many as the bounds say. Faults
//! come at any moment. (Emmi, Qadeer, Rakamarić: Delay-bounded scheduling, POPL 2011.)

mod guard;
mod rules;
mod tasks;

use std::time::Duration;

use twindisk_fencing_core::{Mutant, Operator, Profile};

use super::{
    machine::name,
    search::{Walk, hashed},
    step::Step as ReplicaStep,
    world::{Ask, Bounds as ReplicaBounds, World},
};
use guard::{Guard, RESOURCE};
use tasks::Task;

/// Less than the silence of a path that is reported, and than half of one that counts as death.
const STRIDE: Duration = Duration::from_millis(900);

/// How fast agents judge.
const PROFILE: Profile = Profile::Default;

/// How large it is.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes and agents killed, nodes without power, cables cut, shots that fail: so many in all.
    pub faults: u8,
    /// Switchovers that a person asks an agent for.
    pub orders: u8,
    /// Strides of time.
    pub strides: u8,
    /// What is under way is overtaken by something else: so many times in all.
    pub delays: u8,
    /// The deliberate bug that the agents have.
    pub mutant: Option<Mutant>,
}

/// One thing that can happen. Nodes are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An agent asks what its replica is.
    Look(usize),
    /// The answer reaches it.
    See(usize),
    /// The newest heartbeat reaches a node.
    Beat(usize),
    /// What is so many down the list of a node's tasks goes on.
    Task(usize, usize),
    /// What is under way at the other node goes first from now on.
    Turn,
    /// Time passes, and the client writes.
    Stride,
    /// The process of a node starts.
    Serve(usize),
    /// The agent of a node starts.
    Watch(usize),
    /// A person switches a node on: it boots, and both start.
    PowerOn(usize),
    /// Cables are whole again.
    Heal,
    /// A person wants the role to go over from a node.
    SwitchOver(usize),
    /// The process of a node dies.
    Kill(usize),
    /// The agent of a node dies.
    KillAgent(usize),
    /// A node loses its power.
    PowerOff(usize),
    /// The replication cable is cut, and the one of heartbeats with it or not.
    Cut {
        /// With it.
        beats: bool,
    },
    /// A shot of a node that is on its way does nothing, and that is known.
    Misfire(usize),
}

impl Step {
    const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Kill(_)
                | Self::KillAgent(_)
                | Self::PowerOff(_)
                | Self::Cut { .. }
                | Self::Misfire(_)
        )
    }
}

/// The pair.
#[derive(Clone, Debug)]
pub struct Failover {
    world: World,
    guards: [Guard; 2],
    /// Cables of replication and of heartbeats.
    cut: [bool; 2],
    /// The node that goes first.
    turn: usize,
    faults: u8,
    orders: u8,
    strides: u8,
    delays: u8,
    bounds: Bounds,
}

impl Bounds {
    const fn budget(&self) -> [u8; 2] {
        [self.faults, self.orders]
    }
}

impl Failover {
    /// Node 0 is primary and has the services, node 1 is in sync, both agents have seen all of it.
    ///
    /// # Panics
    /// When it does not get there.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let world = World::new(&ReplicaBounds {
            protocol: twindisk_core::Protocol::C,
            script: vec![Ask::Write(0); 100],
            depth: 1,
            blocks: 1,
            faults: 0,
            orders: 0,
            links: u32::MAX,
            ticks: 0,
            mutant: None,
        });
        let mut pair = Self {
            world,
            guards: [0, 1].map(|number| Guard::new(number, bounds.mutant)),
            cut: [false; 2],
            turn: 0,
            faults: 0,
            orders: 0,
            strides: 0,
            delays: 0,
            bounds,
        };
        for number in 0..2 {
            pair.step(Step::Watch(number)).expect("an agent starts");
        }
        pair.settle(4).expect("nothing is broken at first");
        assert!(pair.serves(0), "the pair is not at work: {pair:?}");
        pair.faults = bounds.faults;
        pair.orders = bounds.orders;
        pair.strides = bounds.strides;
        pair.delays = bounds.delays;
        pair
    }

    /// Everything that is under way goes on, in one order, through so many strides.
    fn settle(&mut self, strides: u8) -> Result<(), String> {
        for _ in 0..strides {
            self.strides = 1;
            for _ in 0..1000 {
                let Some(step) = self.works().first().copied() else {
                    break;
                };
                self.step(step)?;
            }
            self.step(Step::Stride)?;
        }
        Ok(())
    }

    /// What may still happen to it from outside.
    const fn budget(&self) -> [u8; 2] {
        [self.faults, self.orders]
    }

    /// What goes on by itself.
    fn works(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for number in [self.turn, 1 - self.turn] {
            let guard = &self.guards[number];
            steps.extend((0..guard.tasks.len()).map(|index| Step::Task(number, index)));
            if guard.agent.is_none() {
                continue;
            }
            if guard.beat.is_some() {
                steps.push(Step::Beat(number));
            }
            if guard.look.is_some() {
                steps.push(Step::See(number));
            } else if guard.seen.as_ref() != Some(&self.view(number)) {
                steps.push(Step::Look(number));
            }
        }
        steps
    }

    fn next(&self) -> Vec<Step> {
        let works = self.works();
        let mut steps: Vec<Step> = works.first().copied().into_iter().collect();
        if works.is_empty() || self.delays > 0 {
            steps.extend(works.iter().skip(1));
            if !works.is_empty() {
                steps.push(Step::Turn);
            }
            steps.extend(self.others());
        }
        if self.faults > 0 {
            steps.extend(self.what_can_fail());
        }
        steps
    }

    /// What is no fault, and does not go on by itself.
    fn others(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for number in 0..2 {
            let node = &self.world.nodes[number];
            let agent = &self.guards[number].agent;
            if node.powered && node.replica.is_none() {
                steps.push(Step::Serve(number));
            }
            if node.powered && agent.is_none() {
                steps.push(Step::Watch(number));
            }
            if !node.powered {
                steps.push(Step::PowerOn(number));
            }
            if self.orders > 0 && agent.is_some() {
                steps.push(Step::SwitchOver(number));
            }
        }
        if self.cut != [false; 2] {
            steps.push(Step::Heal);
        }
        // Where nothing has happened yet, one stride is like the next.
        let is_calm = self.budget() == self.bounds.budget();
        if self.strides > 0 && !(is_calm && self.strides < self.bounds.strides) {
            steps.push(Step::Stride);
        }
        steps
    }

    fn what_can_fail(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for number in 0..2 {
            let (node, guard) = (&self.world.nodes[number], &self.guards[number]);
            if node.replica.is_some() {
                steps.push(Step::Kill(number));
            }
            if guard.agent.is_some() {
                steps.push(Step::KillAgent(number));
            }
            if node.powered {
                steps.push(Step::PowerOff(number));
            }
            if guard.tasks.contains(&Task::Hit) {
                steps.push(Step::Misfire(number));
            }
        }
        if self.cut == [false; 2] {
            steps.extend([false, true].map(|beats| Step::Cut { beats }));
        }
        steps
    }

    /// Time passes for everybody.
    fn stride(&mut self) -> Result<(), String> {
        self.strides -= 1;
        self.world.pass(STRIDE)?;
        if self.world.can_ask() {
            self.world.step(ReplicaStep::Ask)?;
        }
        for number in 0..2 {
            self.tell(number, |agent, now| agent.handle_time(now, 0))?;
        }
        Ok(())
    }

    fn watch(&mut self, number: usize) -> Result<(), String> {
        let now = self.time();
        self.guards[number].start(number, now);
        self.tell(number, |_, _| {})
    }

    /// A node gets power.
    fn boot(&mut self, number: usize) -> Result<(), String> {
        if self.world.nodes[number].powered {
            return Ok(());
        }
        self.guards[number].shot = false;
        self.world.step(ReplicaStep::Start(number))?;
        self.watch(number)
    }

    /// A node loses its power: everything but the command that has left it already.
    fn power_off(&mut self, number: usize) {
        self.guards[number].lose_power();
        self.world.die(number, true);
    }
}

impl Walk for Failover {
    type Step = Step;

    fn nodes(&self, _before: Option<(&[u128; 2], Step)>) -> [u128; 2] {
        let replicas = self.world.nodes(None);
        [0, 1].map(|number| hashed(&(replicas[number], &self.guards[number])))
    }

    fn surroundings(&self) -> u128 {
        let counters = (self.faults, self.orders, self.strides, self.delays);
        hashed(&(self.world.surroundings(), self.cut, self.turn, counters))
    }

    fn asked_of(&self, number: usize) -> u128 {
        self.world.asked_of(number)
    }

    fn question(&self, number: usize) -> Result<(), String> {
        self.world.question(number)
    }

    fn steps(&self) -> Vec<Step> {
        self.next()
    }

    fn at_rest(&self, steps: &[Step]) -> Result<(), String> {
        self.check()?;
        if steps.is_empty() {
            self.ends_well()?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        let first = self.works().first().copied();
        if !step.is_fault() && first.is_some_and(|first| first != step) {
            self.delays = self.delays.saturating_sub(1);
        }
        match step {
            Step::Look(number) => self.look(number),
            Step::See(number) => self.see(number)?,
            Step::Beat(number) => self.hear(number)?,
            Step::Task(number, index) => self.go_on(number, index)?,
            Step::Turn => self.turn = 1 - self.turn,
            Step::Stride => self.stride()?,
            Step::Serve(number) => self.world.step(ReplicaStep::Start(number))?,
            Step::Watch(number) => self.watch(number)?,
            Step::PowerOn(number) => self.boot(number)?,
            Step::Heal => {
                self.cut = [false; 2];
                self.world.join(true);
            }
            Step::SwitchOver(number) => {
                self.orders -= 1;
                let wish = Operator::Switchover {
                    resource: RESOURCE,
                    to: None,
                };
                self.tell(number, |agent, now| {
                    // It says why not; the person gives up.
                    let _ = agent.handle_operator(now, wish);
                })?;
            }
            Step::Kill(number) => {
                self.faults -= 1;
                self.world.die(number, false);
            }
            Step::KillAgent(number) => {
                self.faults -= 1;
                self.guards[number].die();
            }
            Step::PowerOff(number) => {
                self.faults -= 1;
                self.power_off(number);
            }
            Step::Cut { beats } => {
                self.faults -= 1;
                self.cut = [true, beats];
                self.world.join(false);
            }
            Step::Misfire(number) => {
                self.faults -= 1;
                self.guards[number].misfire();
            }
        }
        self.world.rest()?;
        self.take_replies();
        self.note_openings()
    }
}
