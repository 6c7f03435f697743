//! Liveness: whenever a replica could serve with what is at hand, it does within a stated time; and whenever nobody takes
//! writes for longer than that, some agent has raised an alarm that says what is missing.

use twindisk_core::{DiskState, Role};
use twindisk_fencing_core::{Services, as_ms};

use crate::{
    checker::Violation,
    node::{Power, name},
    swarm::{MS, SEC},
    world::World,
};

/// Since when nobody takes writes, and why somebody could.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle {
    /// Nobody takes writes, while this agent was there to see it: for each node.
    unseen: [Option<Since>; 2],
    /// This node could, by all that the two can find out without a shot.
    able: [Option<Since>; 2],
    /// This node could: its agent has powered the other one off, and knows it.
    alone: [Option<Since>; 2],
    /// This node could: the other one is down, the witness names this one and hears it.
    named: [Option<Since>; 2],
}

/// Since when, while no agent was started, no node stood still, and no device was opened.
#[derive(Clone, Copy, Debug)]
struct Since {
    span: Span,
    at: u64,
}

/// Of each node the run of its agent, the end of its last pause, and when its device was opened last: between two looks
/// somebody may have served.
type Span = [(u64, u64, u64); 2];

impl Since {
    /// Goes on counting if that `holds` still.
    fn count(before: Option<Self>, holds: bool, span: Span, now: u64) -> Option<Self> {
        let goes_on = before.filter(|since| since.span == span);
        holds.then(|| goes_on.unwrap_or(Self { span, at: now }))
    }
}

impl World {
    /// Both judgements, as often as an agent looks at its clock.
    pub(super) fn check_liveness(&mut self) {
        let now = self.now;
        let served = (0..2).any(|number| self.takes_writes(number));
        let span = [0, 1].map(|number| {
            let agents = self.agents.as_ref().expect("agents");
            let run = agents.nodes[number].run;
            let opened = self.its_ward().opened[number];
            (run, self.nodes[number].paused_until, opened)
        });
        let mut idle = self.ward().idle.clone();
        for number in 0..2 {
            let watched = !served && self.watches(number);
            idle.unseen[number] = Since::count(idle.unseen[number], watched, span, now);
            let able = !served && self.is_able(number);
            idle.able[number] = Since::count(idle.able[number], able, span, now);
            let alone = !served && self.is_alone(number);
            idle.alone[number] = Since::count(idle.alone[number], alone, span, now);
            let named = !served && self.is_granted(number);
            idle.named[number] = Since::count(idle.named[number], named, span, now);
        }
        self.ward().idle = idle.clone();
        let (told, limit) = self.limits();
        let silent = (0..2).find(|number| {
            let watched =
                |number: usize| idle.unseen[number].is_some_and(|since| now > since.at + told);
            watched(*number) && !self.has_alarm(0) && !self.has_alarm(1)
        });
        if let Some(number) = silent {
            let story = format!(
                "nobody takes writes for more than {} ms, and the agent of {} raises no alarm",
                told / MS,
                name(number)
            );
            self.violate(Violation::new("liveness", story));
        }
        let stuck = (0..2).find(|at| idle.able[*at].is_some_and(|since| now > since.at + limit));
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
        let stuck =
            (0..2).find(|at| idle.named[*at].is_some_and(|since| self.now > since.at + limit));
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
        let stuck =
            (0..2).find(|at| idle.alone[*at].is_some_and(|since| self.now > since.at + limit));
        if let Some(number) = stuck {
            let story = format!(
                "nobody takes writes for more than {} ms, though {} has powered {} off ({})",
                limit / MS,
                name(number),
                name(1 - number),
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

    /// Whether the node's replica has all that a right needs: the other node is off, and this agent was told so.
    fn is_alone(&self, number: usize) -> bool {
        let agents = self.agents.as_ref().expect("agents");
        self.nodes[1 - number].power == Power::Fenced
            && agents.nodes[number].told_off
            && self.decides(number)
            && !self.may_stay_up(number)
            && self.could_serve(number)
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
        let other = 1 - number;
        let agents = self.agents.as_ref().expect("agents");
        // What can't be brought down needs a shot.
        if self.may_stay_up(0) || self.may_stay_up(1) {
            return false;
        }
        let hear = (0..2).all(|side| self.pairs[&(0, 1)].blocked[side] <= self.now)
            && !self.is_isolated(0)
            && !self.is_isolated(1);
        if !hear || !self.decides(0) || !self.decides(1) {
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
        self.could_serve(number) && !waits && role(other) != Some(Role::Primary)
    }
}
