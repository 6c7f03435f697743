//! Liveness: whenever a replica could serve with what is at hand, it does within a stated time; and whenever nobody takes
//! writes for longer than that, some agent has raised an alarm that says what is missing.

use twindisk_core::{ConnectionState, DiskState, Role};
use twindisk_fencing_core::{Services, as_ms};

use crate::{
    checker::Violation,
    node::{Power, name, slot_of},
    swarm::{MS, SEC},
    world::World,
};

/// Since when nobody takes writes, and why somebody could.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    /// Nobody takes writes, while this agent was there to see it: for each node.
    unseen: Vec<Option<Since>>,
    /// This node could, by all that they can find out without a shot.
    able: Vec<Option<Since>>,
    /// This node could: its agent has powered off who is not here, and knows it.
    alone: Vec<Option<Since>>,
    /// This node could: the other one is down, the witness names this one and hears it.
    named: Vec<Option<Since>>,
}

impl Idle {
    pub(super) fn new(nodes: usize) -> Self {
        let never = vec![None; nodes];
        Self {
            unseen: never.clone(),
            able: never.clone(),
            alone: never.clone(),
            named: never,
        }
    }
}

/// The first node of which that is so for longer than `limit`.
fn longer(than: &[Option<Since>], limit: u64, now: u64) -> Option<usize> {
    let late = |since: &Option<Since>| since.as_ref().is_some_and(|since| now > since.at + limit);
    than.iter().position(late)
}

/// Since when, while no agent was started, no node stood still, and no device was opened.
#[derive(Clone, Debug)]
struct Since {
    span: Span,
    at: u64,
}

/// Of each node the run of its agent, the end of its last pause, and when its device was opened last: between two looks
/// somebody may have served.
type Span = Vec<(u64, u64, u64)>;

impl Since {
    /// Goes on counting if that `holds` still.
    fn count(before: &mut Option<Self>, holds: bool, span: &Span, now: u64) {
        before.take_if(|since| !holds || since.span != *span);
        if holds {
            before.get_or_insert_with(|| Self {
                span: span.clone(),
                at: now,
            });
        }
    }
}

impl World {
    /// Why the agents have more to do.
    pub(crate) fn agents_settled(&self) -> Result<(), String> {
        let Some(agents) = &self.agents else {
            return Ok(());
        };
        for (number, node) in agents.nodes.iter().enumerate() {
            if node.agent.is_none() {
                return Err(format!("the agent of {} is down", name(number)));
            }
            if !node.aims.is_empty() {
                return Err(format!("a shot of {} is on its way", name(number)));
            }
            self.record_settled()?;
            let primary = self.nodes[number]
                .status(self.now)
                .is_some_and(|status| status.role == Role::Primary);
            if primary != self.its_ward().sides[number].services.run() {
                let name = name(number);
                return Err(format!("services and the primary role of {name} differ"));
            }
        }
        Ok(())
    }

    /// Both judgements, as often as an agent looks at its clock.
    pub(super) fn check_liveness(&mut self) {
        let now = self.now;
        let nodes = self.nodes.len();
        let served = (0..nodes).any(|number| self.takes_writes(number));
        let span: Span = (0..nodes)
            .map(|number| {
                let agents = self.agents.as_ref().expect("agents");
                let run = agents.nodes[number].run;
                let opened = self.its_ward().opened[number];
                (run, self.nodes[number].paused_until, opened)
            })
            .collect();
        let mut idle = self.ward().idle.clone();
        for number in 0..nodes {
            let watched = !served && self.watches(number);
            Since::count(&mut idle.unseen[number], watched, &span, now);
            let able = !served && self.is_able(number);
            Since::count(&mut idle.able[number], able, &span, now);
            let alone = !served && self.is_alone(number);
            Since::count(&mut idle.alone[number], alone, &span, now);
            let named = !served && self.is_granted(number);
            Since::count(&mut idle.named[number], named, &span, now);
        }
        self.ward().idle = idle.clone();
        let (told, limit) = self.limits();
        let silent = longer(&idle.unseen, told, now)
            .filter(|_| !(0..nodes).any(|number| self.has_alarm(number)));
        if let Some(number) = silent {
            let story = format!(
                "nobody takes writes for more than {} ms, and the agent of {} raises no alarm",
                told / MS,
                name(number)
            );
            self.violate(Violation::new("liveness", story));
        }
        let stuck = longer(&idle.able, limit, now);
        if let Some(number) = stuck {
            let story = format!(
                "nobody takes writes for more than {} ms, though {} could: its agent and the other one hear each other \
                 ({})",
                limit / MS,
                name(number),
                self.what_it_lacks(number)
            );
            self.violate(Violation::new("liveness", story));
        }
        self.check_who_is_alone(told, &idle);
        self.check_who_is_named(&idle);
    }

    /// One node and the register: a primary within the time after which silence is death and the standby's delay, and what
    /// services and lost answers take.
    fn check_who_is_named(&mut self, idle: &Idle) {
        let profile = self.agents().world.profile;
        let takes = 2 * self.agents().world.services.takes;
        let limit = as_ms(4 * profile.dead() + profile.fence_delay()) * MS + takes + 10 * SEC;
        let stuck = longer(&idle.named, limit, self.now);
        if let Some(number) = stuck {
            let story = format!(
                "nobody takes writes for more than {} ms, though the witness names {} and hears it ({})",
                limit / MS,
                name(number),
                self.what_it_lacks(number)
            );
            self.violate(Violation::new("liveness", story));
        }
    }

    /// Whether the node could go on by the witness's word: the other one is down, and this one is named and heard.
    fn is_granted(&self, number: usize) -> bool {
        self.has_witness()
            && self.nodes[1 - number].power != Power::On
            && self.reaches_witness(number)
            && self.is_named(number)
            && self.decides(number)
            && !self.may_stay_up(number)
            && self.could_serve(number)
    }

    /// Whoever has powered the other node off, and knows it, serves. A shot that was on its way when the two met is no proof:
    /// one more is fired.
    fn check_who_is_alone(&mut self, told: u64, idle: &Idle) {
        let limit = told + 2 * self.agents().world.services.takes + self.late_shot();
        let stuck = longer(&idle.alone, limit, self.now);
        if let Some(number) = stuck {
            let story = format!(
                "nobody takes writes for more than {} ms, though {} has powered off who is not here ({})",
                limit / MS,
                name(number),
                self.what_it_lacks(number)
            );
            self.violate(Violation::new("liveness", story));
        }
    }

    /// What a replica that does not serve says of that.
    fn what_it_lacks(&self, number: usize) -> String {
        let Some(status) = self.nodes[number].status(self.now) else {
            return "its process is gone".to_owned();
        };
        let needs = status.promote_needs.join(", ");
        let suspended = status.suspended.map(|suspended| suspended.why);
        format!(
            "needs: {needs}; suspended: {}",
            suspended.unwrap_or_default()
        )
    }

    /// When an alarm is due, and when somebody who could has to serve.
    fn limits(&mut self) -> (u64, u64) {
        let shot = self.late_shot();
        let world = &self.agents().world;
        let told = as_ms(world.profile.unserved()) * MS;
        // The other node's services go down first, or fail to and are tried again; an order may be refused and is given again.
        let limit = 2 * told
            + 2 * world.services.takes
            + as_ms(world.profile.hung()) * MS
            + shot
            + 25 * SEC;
        (told + 4 * SEC, limit)
    }

    /// How long a shot takes for which the place in the round has passed: that waits for the next one.
    fn late_shot(&mut self) -> u64 {
        let world = &self.agents().world;
        let place = (as_ms(world.profile.fence_delay()) * MS).max(2 * world.device.latency);
        (2 + 6) * place + 6 * world.device.latency
    }

    /// A primary whose clients are served, or at least a process that may be doing so: those that hang are judged elsewhere.
    fn takes_writes(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        let stands = node.paused_until.max(node.stopped_until) > self.now;
        node.status(self.now).is_some_and(|status| {
            status.role == Role::Primary
                && (stands || status.export_open && status.suspended.is_none())
        })
    }

    /// Whether the node's agent sees what is: of a process that stands still it sees what that was before.
    fn watches(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        agents.nodes[number].agent.is_some()
            && self.nodes[number].paused_until <= self.now
            && self.nodes.iter().all(|node| node.stopped_until <= self.now)
    }

    fn has_alarm(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        let agent = agents.nodes[number].agent.as_ref();
        agent.is_some_and(|agent| agent.status().resources[self.resource].missing.is_some())
    }

    /// Whether the node's replica has all that a right needs: another node is off, this agent was told so, and who is left is
    /// connected and well.
    fn is_alone(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        let off = |other: usize| {
            self.nodes[other].power == Power::Fenced
                && agents.nodes[number].told_off.contains(&other)
        };
        let others = || self.others(number);
        others().any(off)
            && others().all(|other| off(other) || self.is_beside(number, other))
            && self.decides(number)
            && !self.may_stay_up(number)
            && self.could_serve(number)
    }

    /// Whether two replicas are connected and equal, and both nodes decide.
    fn is_beside(&self, number: usize, other: usize) -> bool {
        let slot = slot_of(number, other);
        let status = self.nodes[number].status(self.now);
        let equal = status.is_some_and(|status| {
            status.peers[slot.index()].connection == ConnectionState::Established
        });
        equal
            && self.hear_each_other(number, other)
            && self.decides(other)
            && !self.may_stay_up(other)
            && self.could_serve(other)
    }

    fn hear_each_other(&self, number: usize, other: usize) -> bool {
        let pair = (number.min(other), number.max(other));
        (0..2).all(|side| self.pairs[&pair].blocked[side] <= self.now)
            && !self.is_isolated(number)
            && !self.is_isolated(other)
    }

    /// Whether services of the node may not go down, or its agent does not know that they are.
    pub(super) fn may_stay_up(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        let agent = agents.nodes[number].agent.as_ref();
        let failed = agent.is_some_and(|agent| {
            agent.status().resources[self.resource].services == Services::Failed
        });
        let runs = self.its_ward().sides[number].services.run();
        agents.world.services.fail_stop > 0 && (failed || runs)
    }

    /// Whether the node's agent lives and decides.
    pub(super) fn decides(&self, number: usize) -> bool {
        let node = &self.nodes[number];
        let agents = self.agents.as_ref().expect("agents");
        let agent = agents.nodes[number].agent.as_ref();
        let status = agent.map(twindisk_fencing_core::Agent::status);
        node.power == Power::On
            && node.paused_until.max(node.stopped_until) <= self.now
            && status.is_some_and(|status| {
                !status.maintenance && !status.blocked && status.memory_fault.is_none()
            })
    }

    /// Whether the node's replica has the newest data, and nothing keeps its disk or a person.
    fn could_serve(&self, number: usize) -> bool {
        self.nodes[number].status(self.now).is_some_and(|status| {
            let slow = status.activity.disk_oldest_ms > 0;
            let conflict = status.peers.iter().any(|peer| peer.conflict.is_some());
            status.disk == DiskState::UpToDate && !status.still_writing && !slow && !conflict
        })
    }

    /// Whether the node's replica could serve, or go on serving, and nothing but what agents see to is in its way: both agents
    /// live, hear each other and decide, the disk is UpToDate, the other node is not primary.
    fn is_able(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        let mut all = 0..self.nodes.len();
        // What can't be brought down needs a shot.
        if all.clone().any(|at| self.may_stay_up(at)) {
            return false;
        }
        let hear = all.clone().all(|at| {
            let mut others = self.others(at);
            others.all(|other| self.hear_each_other(at, other))
        });
        if !hear || !all.all(|at| self.decides(at)) {
            return false;
        }
        let role = |at: usize| self.nodes[at].status(self.now).map(|status| status.role);
        let Some(status) = self.nodes[number].status(self.now) else {
            return false;
        };
        // One that is connected and gets nothing done is shot.
        let device = agents.world.device;
        let shoots = if self.has_witness() {
            self.reaches_witness(number) && self.is_named(number)
        } else {
            device.dead_until <= self.now
                && device.dead_for != Some(number)
                && device.lies == 0
                && device.wakes == 0
        };
        let waits = status.suspended.is_some() && !shoots;
        let mut others = self.others(number);
        self.could_serve(number) && !waits && others.all(|other| role(other) != Some(Role::Primary))
    }
}
