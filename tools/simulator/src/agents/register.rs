//! A witness in place of the fence device (R8): the register that runs in production, with ways to it that delay, lose and
//! cut, and a keeper that dies. What it holds is judged whenever it changes: see `checker/alone.rs`.

use twindisk_arbiter::{Answer, Ask, Register, Version};

use super::{AgentEv, OfWitness, WitnessWorld};
use crate::{
    bug::Mutant,
    checker::Violation,
    node::name,
    swarm::{MS, SEC},
    trace::tell,
    world::World,
};

/// A witness that keeps a record of each resource.
#[derive(Debug)]
pub(crate) struct Witness {
    world: WitnessWorld,
    kept: Vec<Kept>,
    /// It does not run until then.
    down_until: u64,
    /// Which node does not reach it until when.
    cut_until: [u64; 2],
    /// Questions that were asked.
    questions: u64,
    /// Cuts and deaths to come: at what time, of which node.
    plan: Vec<(u64, Option<usize>)>,
}

/// What it keeps of one resource.
#[derive(Debug, Default)]
struct Kept {
    register: Register,
    /// What stood there before the last write, and when that was.
    before: Option<(Register, u64)>,
    /// When each node asked last.
    asked: [Option<u64>; 2],
}

/// A question on its way.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    run: u64,
    serial: u64,
    known: Option<Version>,
    ask: Ask,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    answer: Answer,
    seen: Vec<(u8, u64)>,
}

impl Witness {
    pub(super) fn new(world: WitnessWorld, resources: usize) -> Self {
        Self {
            world,
            kept: (0..resources).map(|_| Kept::default()).collect(),
            down_until: world.down_until,
            cut_until: [0; 2],
            questions: 0,
            plan: Vec::new(),
        }
    }

    /// Faults end.
    pub(super) fn heal(&mut self) {
        (self.world.lost, self.world.late) = (0, 0);
        (self.down_until, self.cut_until) = (0, [0; 2]);
        self.plan.clear();
    }
}

impl World {
    pub(crate) fn has_witness(&self) -> bool {
        self.agents
            .as_ref()
            .is_some_and(|agents| agents.witness.is_some())
    }

    fn witness(&mut self) -> &mut Witness {
        self.agents()
            .witness
            .as_mut()
            .expect("this cluster has a witness")
    }

    /// Draws when it dies, and when it is not reached.
    pub(crate) fn plan_witness(&mut self) {
        if !self.has_witness() {
            return;
        }
        let (from, end) = (self.now, self.swarm.duration);
        let world = self.witness().world;
        let mut plan = Vec::new();
        for count in 0..world.restarts + world.cuts {
            let die = &mut self.dice.agent;
            let at = die.between(from, end);
            let whom = (count >= world.restarts).then(|| die.index(2));
            plan.push((at, whom));
        }
        self.witness().plan = plan;
    }

    /// What was planned up to now happens.
    fn trouble_witness(&mut self) {
        let now = self.now;
        let due: Vec<_> = self
            .witness()
            .plan
            .extract_if(.., |(at, _)| *at <= now)
            .collect();
        for (_, whom) in due {
            let lasts = self.dice.agent.between(50 * MS, 6 * SEC);
            match whom {
                Some(node) => {
                    tell!(self, ">> {} does not reach the witness", name(node));
                    self.witness().cut_until[node] = now + lasts;
                }
                None => {
                    tell!(self, ">> the witness dies");
                    self.witness().down_until = now + lasts;
                    self.forget_fsync();
                }
            }
        }
    }

    fn has_bug(&self, bug: OfWitness) -> bool {
        self.swarm.mutant.and_then(Mutant::of_witness) == Some(bug)
    }

    /// With a bug: what was written in the last seconds is gone with its host.
    fn forget_fsync(&mut self) {
        if !self.has_bug(OfWitness::ForgetsItsFsync) {
            return;
        }
        let now = self.now;
        for kept in &mut self.witness().kept {
            if let Some((before, _)) = kept.before.take_if(|(_, at)| now < *at + 5 * SEC) {
                kept.register = before;
            }
        }
    }

    /// An agent asks it something about the resource in hand.
    pub(super) fn ask_witness(&mut self, number: usize, known: Option<Version>, ask: Ask) {
        self.trouble_witness();
        let patience = twindisk_fencing_core::as_ms(self.agents().world.profile.dead()) / 2 * MS;
        let run = self.agents().nodes[number].run;
        let resource = self.resource;
        let healed = self.healed;
        let witness = self.witness();
        witness.questions += 1;
        let (serial, world) = (witness.questions, witness.world);
        self.ward().sides[number].asking = Some(serial);
        let result = Err("it has not answered in time".to_owned());
        let event = AgentEv::Answered {
            run,
            serial,
            result,
        };
        self.agent_later(patience, number, event);
        if !self.reaches_witness(number) {
            return;
        }
        let mut delay = self.dice.agent.between(MS / 10, world.delay);
        if !healed && self.dice.agent.chance(world.late) {
            delay += self.dice.agent.between(100 * MS, 8 * SEC);
        }
        tell!(
            self,
            "{}: asks the witness of r{resource}: {ask:?}",
            name(number)
        );
        let question = Box::new(Question {
            run,
            serial,
            known,
            ask,
        });
        self.agent_later(delay, number, AgentEv::Asked { question });
    }

    /// Whether a node and the witness hear each other.
    pub(super) fn reaches_witness(&self, number: usize) -> bool {
        let witness = self
            .agents
            .as_ref()
            .and_then(|agents| agents.witness.as_ref());
        witness.is_some_and(|witness| {
            witness.down_until <= self.now && witness.cut_until[number] <= self.now
        }) && !self.is_isolated(number)
    }

    /// The question reaches the witness, however late.
    pub(super) fn witness_asked(&mut self, number: usize, question: Question) {
        if self.witness().down_until > self.now {
            return;
        }
        let Question {
            run,
            serial,
            known,
            ask,
        } = question;
        let (resource, now) = (self.resource, self.now);
        let careless = self.has_bug(OfWitness::SetsWithoutComparing);
        let kept = &mut self.witness().kept[resource];
        let (mut next, mut answer) = kept.register.ask(known, &ask);
        if let (true, Ask::Swap { to, .. }) = (careless, &ask) {
            next.record = Some(to.clone());
            answer = Answer::Done(to.clone());
        }
        kept.asked[number] = Some(now);
        let changed = next != kept.register;
        if changed {
            kept.before = Some((std::mem::replace(&mut kept.register, next), now));
        }
        let ago = |at: u64| (now - at) / MS;
        let seen = kept.asked.iter().enumerate();
        let seen = seen
            .filter_map(|(node, at)| Some((node as u8, ago((*at)?))))
            .collect();
        let (lost, most) = (self.witness().world.lost, self.witness().world.delay);
        if changed {
            let register = format!("{:?}", self.witness().kept[resource].register);
            tell!(self, "the witness of r{resource} holds {register}");
            for node in 0..self.nodes.len() {
                self.ask_alone(node);
            }
            self.check_all_alone();
        }
        let lost = !self.healed && self.dice.agent.chance(lost);
        if lost || !self.reaches_witness(number) {
            return;
        }
        let delay = self.dice.agent.between(MS / 10, most);
        let result = Ok(Box::new(Said { answer, seen }));
        let event = AgentEv::Answered {
            run,
            serial,
            result,
        };
        self.agent_later(delay, number, event);
    }

    /// The agent hears what the witness says, or that nothing came.
    pub(super) fn witness_answered(
        &mut self,
        number: usize,
        serial: u64,
        result: Result<Box<Said>, String>,
    ) {
        let side = &mut self.ward().sides[number];
        if side.asking != Some(serial) {
            return;
        }
        side.asking = None;
        let (now, index) = (self.agent_time(number), self.its_index());
        let result = result.map(|said| (said.answer, said.seen));
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_arbiter(now, index, result);
        }
    }

    /// Whether the record of the resource in hand names a node.
    pub(crate) fn is_named(&self, number: usize) -> bool {
        let witness = self
            .agents
            .as_ref()
            .and_then(|agents| agents.witness.as_ref());
        let register = witness.map(|witness| &witness.kept[self.resource].register);
        register.is_some_and(|register| {
            let record = register
                .record
                .as_ref()
                .filter(|_| register.doubt.is_none());
            record.is_some_and(|record| record.names(number as u8))
        })
    }

    /// R8: who says that it was granted the next term is alone in the record.
    pub(super) fn check_grant(&mut self, number: usize) {
        if !self.is_named(number) || self.is_named(1 - number) {
            let story = format!(
                "{} goes on by the witness's word, which does not name it alone",
                name(number)
            );
            self.violate(Violation::new("R8", story));
        }
    }

    /// Services of a node that is cut off go down in time, and not at once.
    pub(super) fn may_overlap(&self) -> bool {
        let hear = (0..2).all(|side| self.pairs[&(0, 1)].blocked[side] <= self.now);
        let fails = || self.may_overstay().is_none();
        self.has_witness() && (fails() || !hear || self.is_isolated(0) || self.is_isolated(1))
    }

    /// Once faults have ended the record names both.
    pub(super) fn record_settled(&self) -> Result<(), String> {
        if self.has_witness() && !(self.is_named(0) && self.is_named(1)) {
            return Err("the witness's record does not name both nodes".to_owned());
        }
        Ok(())
    }
}
