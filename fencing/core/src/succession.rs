//! Who would take a resource over if its primary were lost now, and who would not, and why, as far as this node knows: each
//! node's answer is its own. Nothing is decided here: it only reads what decides (`hang`, `takeover`, `fence`, `arbiter`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Agent, Level, MemberIndex, PeerIndex, ReplicaView, ResourceIndex, Role, Services, Serving,
    fence::Fencing,
};

/// So often it is looked at who could take over.
pub(crate) const ROLL: Duration = Duration::from_secs(20);

/// A person is told when nobody could at so many looks: for a minute, or one look longer.
const MANY: u8 = 4;

/// Who would take a resource over if its primary were lost now, as one node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Succession {
    /// Who is primary, if this node knows of one.
    pub primary: Option<String>,
    /// The nodes that would take over, in the order in which they would.
    pub successors: Vec<String>,
    /// Why the others would not, each with everything that this node knows.
    pub obstacles: Vec<Obstacle>,
}

/// Why a node would not take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Obstacle {
    /// Which node.
    pub node: String,
    /// For programs.
    pub code: WhyNot,
    /// In a sentence.
    pub why: String,
}

/// What keeps a node from taking over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyNot {
    /// Its replica is not connected, and I/O goes on without it.
    NotConnected,
    /// Its replica is connected and not in sync.
    NotInSync,
    /// Its disk is not UpToDate.
    NotUpToDate,
    /// Its I/O stands still.
    Hangs,
    /// `twindisk serve` does not run there.
    ServeNotRunning,
    /// `twindisk serve` does not answer there.
    ServeSilent,
    /// It is powered off.
    Off,
    /// Its agent is not heard, or leaves this resource alone.
    NotHeard,
    /// Its agent was stopped by a person.
    AgentStopped,
    /// Its agent, or its replica, is just being stopped.
    BeingStopped,
    /// Its agent is in maintenance.
    Maintenance,
    /// Its agent has seen too many failovers.
    Blocked,
    /// Two replicas are in conflict, or the nodes do not agree on who decides.
    Conflict,
    /// Services of an earlier time are not known to be down there (R17).
    Services,
    /// It says so itself, and not why.
    NotReady,
    /// There is no way to power a node off that would have to be off.
    NoFenceDevice,
    /// There is one, and it did not work when it was asked last, or fired last.
    FenceDeviceFailed,
    /// The agent of a node that would have to be off was stopped by a person: nobody fences that one.
    NotFenced,
    /// The agent's memory can't be stored: it fires at nobody.
    Memory,
    /// The arbiter does not answer.
    ArbiterSilent,
    /// The arbiter answers no claim.
    ArbiterRefuses,
    /// The arbiter holds no record.
    NoRecord,
    /// The arbiter's record does not name it.
    NotNamed,
}

impl Succession {
    /// In a sentence: who could take over; or that nobody could, and why.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut whys: Vec<&str> = Vec::new();
        for one in &self.obstacles {
            if !whys.contains(&&*one.why) {
                whys.push(&one.why);
            }
        }
        let Some((first, then)) = self.successors.split_first() else {
            return format!("nobody could take over: {}", whys.join("; "));
        };
        let then: String = then.iter().map(|one| format!(", then {one}")).collect();
        let whys: String = whys.iter().map(|why| format!("; {why}")).collect();
        format!("{first} could take over{then}{whys}")
    }
}

/// Nobody could take over from this node, which is primary.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unmatched {
    /// At so many looks, one after the other.
    looks: u8,
    told: bool,
}

impl WhyNot {
    /// Its own alarm tells of it.
    const fn has_alarm(self) -> bool {
        matches!(
            self,
            Self::Conflict | Self::Hangs | Self::ArbiterSilent | Self::ArbiterRefuses
        )
    }
}

/// What is found against a node.
type Found = Vec<(WhyNot, String)>;

impl Agent {
    /// Who would take over; `None` while the local replica says nothing.
    pub(crate) fn succession(&self, resource: ResourceIndex) -> Option<Succession> {
        let view = self.resources[resource].view.as_ref()?;
        let here = view.role == Role::Primary;
        let mut members = self.members(resource);
        let leader = members.find(|member| !here && self.leads(resource, view, *member));
        let mut found = Succession {
            primary: match leader {
                Some(leader) => Some(self.member_name(resource, leader).to_owned()),
                None => here.then(|| self.config.name.clone()),
            },
            ..Succession::default()
        };
        let (before, after): (Vec<_>, Vec<_>) = self
            .members(resource)
            .filter(|member| Some(*member) != leader)
            .partition(|member| self.config.resources[resource].members[*member].preferred);
        let other = |member: MemberIndex| {
            let name = self.member_name(resource, member);
            (name, self.against_member(resource, view, member))
        };
        let own = (!here).then(|| {
            let against = self.against_this(resource, view, leader);
            (&*self.config.name, against)
        });
        let before = before.into_iter().map(other);
        for (node, against) in before.chain(own).chain(after.into_iter().map(other)) {
            if against.is_empty() {
                found.successors.push(node.to_owned());
            }
            let obstacles = against.into_iter().map(|(code, why)| Obstacle {
                node: node.to_owned(),
                code,
                why,
            });
            found.obstacles.extend(obstacles);
        }
        Some(found)
    }

    /// Why a member would not take over: what its agent and the local replica say of it.
    fn against_member(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        member: MemberIndex,
    ) -> Found {
        let name = self.member_name(resource, member);
        let node = self.config.peers[self.peer_of(resource, member)].node;
        let peer = &view.peers[member];
        let mut found = Vec::new();
        if !self.successors(resource).any(|one| one == member) {
            if !peer.in_sync {
                found.push(if peer.linked {
                    let why = format!(
                        "{name} is connected and not in sync: it is being resynced, or its disk is not UpToDate"
                    );
                    (WhyNot::NotInSync, why)
                } else {
                    (
                        WhyNot::NotConnected,
                        format!("{name} is not connected, and not in sync"),
                    )
                });
            }
            found.extend(self.absence(resource, member));
            if found.is_empty() {
                found = self.not_ready(resource, member);
            }
        }
        // Of three, two that are in conflict do not keep the third one.
        let only = view.peers.len() == 1;
        if self.in_conflict(resource) && (only || !peer.in_sync) {
            found.push(self.conflict_of(resource));
        }
        found.extend(self.arbiter_against(resource, (node, name)));
        found
    }

    /// Why nothing is said of a replica by a member's agent.
    pub(crate) fn absence(
        &self,
        resource: ResourceIndex,
        member: MemberIndex,
    ) -> Option<(WhyNot, String)> {
        let peer = &self.peers[self.peer_of(resource, member)];
        let name = self.member_name(resource, member);
        match self.said(resource, member).map(|said| said.serving) {
            None if peer.proof.is_some() => Some((WhyNot::Off, format!("{name} is off"))),
            None if peer.has_left() => {
                let why = format!("the agent of {name} was stopped by a person");
                Some((WhyNot::AgentStopped, why))
            }
            None if peer.is_heard(self.now, self.config.profile.dead()) => {
                let resource = &self.config.resources[resource].name;
                let why = format!("the agent of {name} says nothing of {resource}");
                Some((WhyNot::NotHeard, why))
            }
            None => Some((WhyNot::NotHeard, format!("{name} is not heard"))),
            Some(Serving::No) => {
                let why = format!("`twindisk serve` does not run on {name}: start it");
                Some((WhyNot::ServeNotRunning, why))
            }
            Some(Serving::Silent) => {
                let why = format!("`twindisk serve` on {name} does not answer");
                Some((WhyNot::ServeSilent, why))
            }
            Some(Serving::Yes) => None,
        }
    }

    /// A member is there, and says that it would not: what else it says tells why, or it does not.
    fn not_ready(&self, resource: ResourceIndex, member: MemberIndex) -> Found {
        let name = self.member_name(resource, member);
        let mut found = Vec::new();
        let Some(said) = self.said(resource, member) else {
            return found;
        };
        if Duration::from_millis(said.oldest_ms) >= self.config.profile.hang() {
            let why = format!("the disk of {name} answers nothing, or its process says nothing");
            found.push((WhyNot::Hangs, why));
        }
        if self.config.resources[resource].has_services && said.services != Services::Down {
            let why = format!("services of an earlier time are not known to be down on {name}");
            found.push((WhyNot::Services, why));
        }
        if found.is_empty() {
            let why = format!(
                "{name} says that it would not take over: `twindisk agent status` there says why"
            );
            found.push((WhyNot::NotReady, why));
        }
        found
    }

    /// Why this node, which is standby, would not take over.
    fn against_this(
        &self,
        resource: ResourceIndex,
        view: &ReplicaView,
        leader: Option<MemberIndex>,
    ) -> Found {
        let me = &self.config.name;
        let mut found = Vec::new();
        if self.memory.maintenance {
            let why = format!(
                "the agent of {me} is in maintenance and decides nothing: twindisk agent maintenance off"
            );
            found.push((WhyNot::Maintenance, why));
        }
        if self.memory.blocked {
            let why = format!("automatic failover is blocked on {me}: twindisk agent clear");
            found.push((WhyNot::Blocked, why));
        }
        if self.leaving || self.resources[resource].yielded.is_some() {
            let why = format!("the agent or the replica of {me} is just being stopped");
            found.push((WhyNot::BeingStopped, why));
        }
        if self.in_conflict(resource) {
            found.push(self.conflict_of(resource));
        }
        if !view.up_to_date {
            found.push((
                WhyNot::NotUpToDate,
                format!("the disk of {me} is not UpToDate"),
            ));
        }
        if self.is_stuck(resource) {
            let why = format!("the disk of {me} answers nothing, or its process says nothing");
            found.push((WhyNot::Hangs, why));
        }
        if !self.own_services_fit(resource, view) {
            let why = format!(
                "services of an earlier time are still up on {me} (R17): stop them, or restart the host"
            );
            found.push((WhyNot::Services, why));
        }
        if view.can_promote {
            return found; // It needs no right about anybody.
        }
        for member in self.members(resource) {
            let peer = &view.peers[member];
            let lost = leader == Some(member) || !peer.linked;
            if lost && peer.in_sync && self.member(resource, member).right.is_none() {
                found.extend(self.against_right(resource, member));
            }
        }
        if found.is_empty() && !self.is_ready(resource) {
            let why = format!("{me} can't be promoted: {}", view.needs.join(", "));
            found.push((WhyNot::NotReady, why));
        }
        found
    }

    /// Why this node would get no right to go on without a member, if that were lost.
    fn against_right(&self, resource: ResourceIndex, member: MemberIndex) -> Found {
        let at = self.peer_of(resource, member);
        let (peer, name) = (&self.peers[at], self.member_name(resource, member));
        let mut found = Vec::new();
        if peer.proof.is_some() {
            return found;
        }
        if peer.has_left() {
            let why =
                format!("the agent of {name} was stopped by a person, so nobody fences {name}");
            found.push((WhyNot::NotFenced, why));
        }
        if self.config.resources[resource].arbiter {
            let this = (self.config.node, &*self.config.name);
            found.extend(self.arbiter_against(resource, this));
            return found;
        }
        found.extend(self.against_device(at));
        if let Some(why) = self.memory_fault() {
            let me = &self.config.name;
            let why =
                format!("the memory of {me}'s agent can't be stored, so it fires at nobody: {why}");
            found.push((WhyNot::Memory, why));
        }
        found
    }

    /// What is wrong with the fence devices of a peer.
    fn against_device(&self, at: PeerIndex) -> Option<(WhyNot, String)> {
        let (peer, config) = (&self.peers[at], &self.config.peers[at]);
        let name = &config.name;
        if !config.can_fence {
            let why = format!("there is no fence device for {name}");
            return Some((WhyNot::NoFenceDevice, why));
        }
        if peer.by_hand {
            let why = format!("no fence device can power {name} off without a person");
            return Some((WhyNot::NoFenceDevice, why));
        }
        if let Fencing::Waiting { failed: 1.., .. } = peer.fencing {
            let why = format!("fencing {name} has failed");
            return Some((WhyNot::FenceDeviceFailed, why));
        }
        let why = peer.fault.as_ref()?;
        let why = format!("the fence device of {name} does not work: {why}");
        Some((WhyNot::FenceDeviceFailed, why))
    }

    fn conflict_of(&self, resource: ResourceIndex) -> (WhyNot, String) {
        let conflict = self.resources[resource].conflict.as_ref();
        let why = conflict.map_or("the nodes name different arbiters", |why| why);
        let why = format!("a person has to decide a conflict first: {why}");
        (WhyNot::Conflict, why)
    }

    /// Tells once that nobody could take over from this node for a while, and when that is over.
    pub(crate) fn look_at_succession(&mut self) {
        if self.now < self.next_roll {
            return;
        }
        self.next_roll = self.now.after(ROLL);
        for resource in self.resources.keys() {
            let view = self.resources[resource].view.as_ref();
            let here = view.is_some_and(|view| view.role == Role::Primary);
            let found = (here && !self.memory.maintenance)
                .then(|| self.succession(resource))
                .flatten();
            let state = &mut self.resources[resource].unmatched;
            let Some(found) = found else {
                *state = Unmatched::default();
                continue;
            };
            if !found.successors.is_empty() {
                if std::mem::take(state).told {
                    self.report(Level::Info, Some(resource), found.in_words());
                }
                continue;
            }
            state.looks = MANY.min(state.looks + 1);
            let news = found.obstacles.iter().any(|one| !one.code.has_alarm());
            if !state.told && news && state.looks == MANY {
                state.told = true;
                self.report(Level::Warning, Some(resource), found.in_words());
            }
        }
    }
}
