//! What an agent says of itself. Field names are stable.

use serde::{Deserialize, Serialize};

use crate::{
    Agent, Failover, KeeperSummary, PeerIndex, Profile, ResourceIndex, Services, Succession, as_ms,
    fence::Fencing,
};

/// Everything a person may want to know of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentStatus {
    /// The node.
    pub node: String,
    /// How fast it judges.
    pub profile: Profile,
    /// A person has told it to decide nothing.
    pub maintenance: bool,
    /// Too many failovers: a person must look first.
    pub blocked: bool,
    /// Why the agent's memory can't be stored, if it can't: it fires at nobody meanwhile.
    #[serde(default)]
    pub memory_fault: Option<String>,
    /// Ping targets answer; `None`: there are none.
    pub clients_reachable: Option<bool>,
    /// Each peer.
    pub peers: Vec<PeerSummary>,
    /// Each resource.
    pub resources: Vec<ResourceSummary>,
    /// The newest failovers to this node.
    pub failovers: Vec<Failover>,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerSummary {
    /// Its name.
    pub name: String,
    /// Each heartbeat path.
    pub paths: Vec<PathStatus>,
    /// In a sentence.
    pub state: String,
    /// There is a way to fence it.
    pub can_fence: bool,
    /// A failover waits for that; where witnesses decide, none does.
    #[serde(default = "needed")]
    pub needs_fence: bool,
    /// How long its fence device took to answer last.
    pub fence_latency_ms: u64,
}

/// An agent of an earlier version knows power switches alone.
const fn needed() -> bool {
    true
}

/// A heartbeat path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PathStatus {
    /// Where it leads.
    pub path: String,
    /// Since when nothing came over it; `None`: nothing ever did.
    pub silent_ms: Option<u64>,
    /// The peer hears this node over it.
    pub heard_there: bool,
}

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceSummary {
    /// Its name.
    pub name: String,
    /// In a sentence.
    pub state: String,
    /// What keeps everybody from taking writes, if nobody has for a while.
    #[serde(default)]
    pub missing: Option<String>,
    /// What has failed, or hangs, of its disks on either node, a sentence each.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Who would take over if its primary were lost now, and who would not and why; `None` while its replica says nothing.
    #[serde(default)]
    pub succession: Option<Succession>,
    /// What the record of its arbiter says, in a sentence, if it has one.
    #[serde(default)]
    pub arbiter: Option<String>,
    /// The same for programs.
    #[serde(default)]
    pub keeper: Option<KeeperSummary>,
    /// Its services on this node.
    pub services: Services,
    /// How often they have ended by themselves lately, and what that leads to, if they have.
    #[serde(default)]
    pub ended: Option<String>,
    /// It is in conflict with another replica: a person has to decide whose data counts, and this agent decides nothing.
    #[serde(default)]
    pub conflict: Option<String>,
    /// Its writes wait for space beneath this node: what would release them.
    #[serde(default)]
    pub no_space: Option<String>,
}

impl Agent {
    /// What it would tell a person now.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        AgentStatus {
            node: self.config.name.clone(),
            profile: self.config.profile,
            maintenance: self.memory.maintenance,
            blocked: self.memory.blocked,
            memory_fault: self.memory_fault().map(str::to_owned),
            clients_reachable: self.clients_reachable,
            peers: self.peers.keys().map(|at| self.peer_summary(at)).collect(),
            resources: self
                .resources
                .keys()
                .map(|at| self.resource_summary(at))
                .collect(),
            failovers: self.memory.failovers.clone(),
        }
    }

    fn peer_summary(&self, at: PeerIndex) -> PeerSummary {
        let (state, config) = (&self.peers[at], &self.config.peers[at]);
        let dead = self.config.profile.dead();
        let their = state
            .beat
            .as_ref()
            .filter(|_| state.is_heard(self.now, dead));
        let hears = their.map_or(0, |beat| beat.hears);
        let words = match (&state.fencing, &state.proof) {
            (Fencing::Firing { .. }, _) => "being fenced".to_owned(),
            (
                Fencing::Waiting {
                    until, failed: 0, ..
                },
                _,
            ) => {
                format!("to be fenced in {} ms", as_ms(until.since(self.now)))
            }
            (Fencing::Waiting { until, failed, .. }, _) => format!(
                "fencing has failed {failed} times; next attempt in {} ms",
                as_ms(until.since(self.now))
            ),
            (Fencing::Storing { .. }, _) => "to be fenced".to_owned(),
            (Fencing::Idle, Some(proof)) => format!("fenced: {}", proof.detail),
            (Fencing::Idle, None) => match (state.heard(), their) {
                (None, _) => "not heard since this agent started".to_owned(),
                (Some(_), _) if state.has_left() => {
                    "its agent was stopped: it is not fenced, whatever becomes of it".to_owned()
                }
                (Some(_), Some(_)) => match state.check.fault() {
                    Some(fault) => format!("heard; {fault}"),
                    None => "heard".to_owned(),
                },
                (Some(heard), None) => {
                    format!(
                        "silent on every path for {} ms",
                        as_ms(self.now.since(heard))
                    )
                }
            },
        };
        PeerSummary {
            name: config.name.clone(),
            paths: state
                .paths
                .iter()
                .zip(&config.paths)
                .enumerate()
                .map(|(bit, (path, name))| PathStatus {
                    path: name.clone(),
                    silent_ms: path.heard.map(|heard| as_ms(self.now.since(heard))),
                    heard_there: bit < 8 && hears >> bit & 1 != 0,
                })
                .collect(),
            state: words,
            can_fence: config.can_fence,
            needs_fence: (self.config.resources.iter())
                .any(|one| one.member(at).is_some() && !one.arbiter),
            fence_latency_ms: as_ms(state.latency),
        }
    }

    fn resource_summary(&self, at: ResourceIndex) -> ResourceSummary {
        let (state, config) = (&self.resources[at], &self.config.resources[at]);
        let linked = |member| self.is_linked(at, member);
        let (here, gone) = (self.names(at, linked), self.names(at, |one| !linked(one)));
        let words = match &state.view {
            None if !state.seen => "not looked at yet".to_owned(),
            None => "its process is not running".to_owned(),
            Some(_) if state.order.is_some() => "something is being changed".to_owned(),
            Some(view) if view.conflict.is_some() && view.role == crate::Role::Primary => {
                "primary here, in CONFLICT: a person has to decide".to_owned()
            }
            Some(view) if view.conflict.is_some() => {
                "standby, in CONFLICT: a person has to decide".to_owned()
            }
            Some(view) if view.role == crate::Role::Primary && self.is_stuck(at) => {
                let seconds = state.stands_still(self.now).as_secs();
                format!("its I/O has stood still for {seconds} s")
            }
            Some(view) if view.no_space.is_some() => match view.role {
                crate::Role::Primary => {
                    "primary here, writes wait: NO SPACE beneath this node".to_owned()
                }
                crate::Role::Standby => "standby, NO SPACE beneath this node".to_owned(),
            },
            Some(view) if view.suspended => {
                let peers = self.names(at, |member| view.peers[member].awaited);
                format!("I/O waits for {peers}, or for a receipt about it")
            }
            Some(view) => match (view.role, gone.is_empty()) {
                (crate::Role::Primary, true) => format!("primary here, {here} connected"),
                (crate::Role::Primary, false) => format!("primary here, without {gone}"),
                (crate::Role::Standby, true) => format!("standby, {here} connected"),
                (crate::Role::Standby, false) if !view.up_to_date => {
                    format!("standby without {gone}, not to be promoted: its disk is not UpToDate")
                }
                (crate::Role::Standby, false) if self.memory.blocked => {
                    "standby; automatic failover is blocked: twindisk agent clear".to_owned()
                }
                (crate::Role::Standby, false) => format!("standby, {gone} lost"),
            },
        };
        ResourceSummary {
            name: config.name.clone(),
            state: words,
            missing: self.missing(at),
            faults: state.faults.clone(),
            succession: self.succession(at),
            arbiter: self.arbiter_in_words(at),
            keeper: self.keeper(at),
            services: state.services,
            ended: self.ended_in_words(at),
            conflict: state.conflict.clone(),
            no_space: state.no_space.clone(),
        }
    }
}
