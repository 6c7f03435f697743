//! An agent beside its replica: what it was told, what is on its way to it, and what it remembers.

use std::time::Duration;

use twindisk_core::CommandId;
use twindisk_fencing_core::{
    Agent, Beat, Config, HungIo, Looking, MemberConfig, Memory, Mutant, PeerConfig, PeerIndex,
    ReplicaView, ResourceConfig, ResourceIndex, Time,
};
use twindisk_view::{Look, news};

use super::{Failover, PROFILE, name, tasks::Task};

/// The one resource.
pub(super) const RESOURCE: ResourceIndex = ResourceIndex::new(0);

/// The other node.
pub(super) const PEER: PeerIndex = PeerIndex::new(0);

/// An agent, or none, and what is around it.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) agent: Option<Agent>,
    /// Counts starts of it.
    runs: u64,
    mutant: Option<Mutant>,
    /// What is durable.
    pub(super) memory: Memory,
    /// The newest beat on its way here.
    pub(super) beat: Option<Beat>,
    /// What its replica was when it answered: on its way here.
    pub(super) look: Option<(Looking, Option<ReplicaView>)>,
    /// What it was told last of it.
    pub(super) seen: Option<Option<ReplicaView>>,
    /// What is under way for it.
    pub(super) tasks: Vec<Task>,
    /// The command that its replica has not answered.
    pub(super) asked: Option<CommandId>,
    /// Services may run here.
    pub(super) services: bool,
    /// And did already when the other node opened its device last (R17).
    pub(super) stale: bool,
    /// The device of this node was open when it was looked at last.
    pub(super) was_open: bool,
    /// The node was shot, and has not booted since.
    pub(super) shot: bool,
    /// It was told that the other node is off.
    pub(super) told_off: bool,
}

impl Guard {
    pub(super) fn new(number: usize, mutant: Option<Mutant>) -> Self {
        Self {
            agent: None,
            runs: 1000 * number as u64,
            mutant,
            memory: Memory::default(),
            beat: None,
            look: None,
            seen: None,
            tasks: Vec::new(),
            asked: None,
            services: false,
            stale: false,
            was_open: number == 0,
            shot: false,
            told_off: false,
        }
    }

    pub(super) fn start(&mut self, number: usize, now: Time) {
        self.runs += 1;
        self.told_off = false;
        let peer = 1 - number;
        let config = Config {
            name: name(number).into(),
            node: number as u8,
            profile: PROFILE,
            hung_io: HungIo::Act,
            host: "a boot".into(),
            peers: vec![PeerConfig {
                name: name(peer).into(),
                node: peer as u8,
                paths: vec!["cable".to_owned()].into(),
                can_fence: true,
                // Seeds do: here it makes more states than can be visited.
                reads_power: false,
            }]
            .into(),
            resources: vec![ResourceConfig {
                name: "r0".into(),
                members: vec![MemberConfig {
                    peer: PEER,
                    preferred: peer < number,
                }]
                .into(),
                has_services: true,
                after_promote: true,
                arbiter: false,
                arbiter_id: String::new(),
            }]
            .into(),
            max_failovers: 100,
            failover_window: Duration::from_secs(3600),
            recovery: None,
        };
        let memory = self.memory.clone();
        let agent = Agent::new(now, config, memory, self.runs, now.0 * 1000 + 1);
        self.agent = Some(agent.with_mutant(self.mutant));
        self.seen = None;
    }

    /// The agent is gone. Commands that have left it are carried out all the same; nobody hears what came of them.
    pub(super) fn die(&mut self) {
        self.agent = None;
        (self.beat, self.look, self.asked) = (None, None, None);
        self.tasks.retain(Task::outlives_agent);
    }

    /// The host is gone, and everything that ran on it.
    pub(super) fn lose_power(&mut self) {
        self.die();
        self.tasks.retain(Task::outlives_host);
        (self.services, self.stale) = (false, false);
    }

    /// The shot that is on its way does nothing.
    pub(super) fn misfire(&mut self) {
        if let Some(at) = self.tasks.iter().position(|task| *task == Task::Hit) {
            self.tasks[at] = Task::Shot(Err("its power was read as on".into()));
        }
    }
}

impl Failover {
    /// The clock of both agents.
    pub(super) fn time(&self) -> Time {
        Time(self.world.now.0 / 1_000_000)
    }

    /// What a replica would say of itself now.
    pub(super) fn view(&self, number: usize) -> Option<ReplicaView> {
        let status = self.world.status(number);
        let run = self.world.nodes[number].run();
        let look = status
            .as_ref()
            .map_or(Look::Gone, |status| Look::Said { run, status });
        news(&look, &[1 - number as u8]).unwrap_or_default()
    }

    pub(super) fn look(&mut self, number: usize) {
        let view = self.view(number);
        let guard = &mut self.guards[number];
        if let Some(agent) = &guard.agent {
            guard.look = Some((agent.looking(RESOURCE), view));
        }
    }

    pub(super) fn see(&mut self, number: usize) -> Result<(), String> {
        let Some((looking, view)) = self.guards[number].look.take() else {
            return Ok(());
        };
        self.guards[number].seen = Some(view.clone());
        self.tell(number, |agent, now| {
            agent.handle_replica(now, RESOURCE, looking, view);
        })
    }

    pub(super) fn hear(&mut self, number: usize) -> Result<(), String> {
        let Some(beat) = self.guards[number].beat.take() else {
            return Ok(());
        };
        self.tell(number, |agent, now| {
            let path = twindisk_fencing_core::PathIndex::new(0);
            let _ = agent.handle_beat(now, PEER, path, &beat);
        })
    }

    /// An agent hears something, and what it wants is begun.
    pub(super) fn tell(
        &mut self,
        number: usize,
        event: impl FnOnce(&mut Agent, Time),
    ) -> Result<(), String> {
        let now = self.time();
        let Some(agent) = &mut self.guards[number].agent else {
            return Ok(());
        };
        event(agent, now);
        while let Some(agent) = &mut self.guards[number].agent {
            let Some(action) = agent.poll_action() else {
                break;
            };
            self.begin(number, action)?;
        }
        Ok(())
    }
}
