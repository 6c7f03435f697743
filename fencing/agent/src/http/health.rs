//! What a reverse proxy is told: whether this node is the one, and if not, why.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use twindisk_control::{protocol::ResourceStatus, words::disk};
use twindisk_core::{ConnectionState, DiskState, Role, Status};
use twindisk_fencing_core::{Level, Services, Succession};

use super::published::{FRESH, Member, View};
use crate::ask::Told;

/// The newest alarms that `/health` shows.
const ALARMS: usize = 10;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Clients belong here: it is primary, its I/O goes on, and its services are up.
    Primary,
    /// It could take over: it has everything that the primary has.
    Standby,
}

impl Question {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Primary => "/primary",
            Self::Standby => "/standby",
        }
    }
}

/// The answer about some resources.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict<'v> {
    node: &'v str,
    /// All of them are, and nothing speaks against this node.
    pub(crate) ok: bool,
    /// What speaks against this node.
    why: Vec<String>,
    resources: Vec<One<'v>>,
}

/// The answer about one resource.
#[derive(Debug, Serialize)]
struct One<'v> {
    name: &'v str,
    ok: bool,
    /// Why not.
    why: Vec<String>,
    role: Option<Role>,
    term: Option<u64>,
    disk: Option<DiskState>,
    /// Of this node; `None`: it has none.
    services: Option<Services>,
}

/// The answer about the node.
#[derive(Debug, Serialize)]
pub(crate) struct Health<'v> {
    node: &'v str,
    pub(crate) ok: bool,
    /// Why not.
    why: Vec<String>,
    /// A person has told the agent to decide nothing.
    maintenance: bool,
    /// Too many failovers: a person must look first.
    blocked: bool,
    /// Who could take each resource over, and who not and why, as far as this node knows.
    succession: BTreeMap<&'v str, &'v Succession>,
    /// Why automatic failover is not to be relied on.
    warnings: &'v [String],
    /// The newest, oldest first. They are not taken back when all is well again.
    alarms: Vec<&'v Told>,
}

/// Answers about one resource, or about all of them; `None`: there is no such resource.
pub(crate) fn judge<'v>(
    view: &View<'v>,
    question: Question,
    name: Option<&str>,
) -> Option<Verdict<'v>> {
    let mut why = faults(view);
    let wanted = view
        .members
        .iter()
        .filter(|one| name.is_none_or(|name| one.name == name));
    let resources: Vec<One<'v>> = wanted.map(|one| resource(view, question, one)).collect();
    if resources.is_empty() {
        if name.is_some() {
            return None;
        }
        why.push("this node takes part in no resource".to_owned());
    }
    Some(Verdict {
        node: &view.said.reply.status.node,
        ok: why.is_empty() && resources.iter().all(|one| one.ok),
        why,
        resources,
    })
}

/// Whether the agent decides, reaches `twindisk serve`, and somebody takes the writes of each resource.
pub(crate) fn health<'v>(view: &View<'v>) -> Health<'v> {
    let reply = &view.said.reply;
    let mut why = faults(view);
    why.extend(reply.status.resources.iter().filter_map(|one| {
        let missing = one.missing.as_ref()?;
        Some(format!("{}: {missing}", one.name))
    }));
    why.extend(reply.status.resources.iter().flat_map(|one| {
        let faults = one.faults.iter();
        faults.map(|fault| format!("{}: {fault}", one.name))
    }));
    let conflicts = reply.status.resources.iter();
    why.extend(
        conflicts.filter_map(|one| Some(format!("{}: {}", one.name, one.conflict.as_ref()?))),
    );
    let space = reply.status.resources.iter();
    why.extend(space.filter_map(|one| Some(format!("{}: {}", one.name, one.no_space.as_ref()?))));
    let alarms = reply.told.iter().filter(|told| told.level == Level::Alarm);
    let mut alarms: Vec<&Told> = alarms.rev().take(ALARMS).collect();
    alarms.reverse();
    Health {
        node: &reply.status.node,
        ok: why.is_empty(),
        why,
        maintenance: reply.status.maintenance,
        blocked: reply.status.blocked,
        succession: reply
            .status
            .resources
            .iter()
            .filter_map(|one| Some((&*one.name, one.succession.as_ref()?)))
            .collect(),
        warnings: &reply.warnings,
        alarms,
    }
}

/// What speaks against the whole node.
fn faults(view: &View<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let age = view.loop_age();
    if age >= FRESH {
        faults.push(format!(
            "the agent has decided nothing for {} ms",
            age.as_millis()
        ));
    }
    faults.extend(view.serve().err());
    faults
}

fn resource<'v>(view: &View<'v>, question: Question, member: &'v Member) -> One<'v> {
    let agent = &view.said.reply.status;
    let summary = agent.resources.iter().find(|one| one.name == member.name);
    let services = summary
        .filter(|_| member.has_services)
        .map(|one| one.services);
    let known = view.serve().ok().and_then(|status| {
        let mut resources = status.resources.iter();
        resources.find(|one| one.name == member.name)
    });
    let replica = known.and_then(|one| one.replica.as_ref());
    let why = match (view.serve().is_ok(), replica) {
        // Said of the whole node.
        (false, _) => Vec::new(),
        (true, None) => vec![no_replica(known)],
        (true, Some(replica)) => match question {
            Question::Primary => no_primary(replica, services, agent.profile.hang()),
            Question::Standby => no_standby(replica, services, agent.profile.hang()),
        },
    };
    One {
        name: &member.name,
        ok: replica.is_some() && why.is_empty(),
        why,
        role: replica.map(|one| one.role),
        term: replica.map(|one| one.term),
        disk: replica.map(|one| one.disk),
        services,
    }
}

fn no_replica(known: Option<&ResourceStatus>) -> String {
    match known {
        None => {
            "twindisk serve does not know it: was it started with another configuration?".to_owned()
        }
        Some(one) => match &one.why {
            Some(why) => format!("its replica does not run: {why}"),
            None => "its replica does not answer".to_owned(),
        },
    }
}

/// Why clients do not belong here.
fn no_primary(replica: &Status, services: Option<Services>, hang: Duration) -> Vec<String> {
    if replica.role != Role::Primary {
        return vec!["it is standby here".to_owned()];
    }
    let mut why = Vec::new();
    if !replica.export_open {
        why.push("its device is not open to clients".to_owned());
    }
    if let Some(suspended) = &replica.suspended {
        why.push(format!(
            "its I/O has been waiting for {} ms: {}",
            suspended.for_ms, suspended.why
        ));
    }
    let oldest = replica.activity.oldest_ms;
    if Duration::from_millis(oldest) >= hang {
        why.push(format!(
            "its I/O hangs: the oldest request is {oldest} ms old"
        ));
    }
    why.extend(services.and_then(not_up));
    why
}

fn not_up(services: Services) -> Option<String> {
    let words = match services {
        Services::Up => return None,
        Services::Unknown => {
            "its services were not looked at by this agent yet, which it does not do in maintenance"
        }
        Services::Down => "its services are down",
        Services::Starting => "its services are being started",
        Services::Stopping => "its services are being stopped",
        Services::Failed => "its services have failed to start or to stop",
    };
    Some(words.to_owned())
}

/// Why it could not take over as it is.
fn no_standby(replica: &Status, services: Option<Services>, hang: Duration) -> Vec<String> {
    if replica.role != Role::Standby {
        return vec!["it is primary here".to_owned()];
    }
    let mut why = Vec::new();
    if replica.disk != DiskState::UpToDate {
        let reason = replica.disk_why.as_deref().unwrap_or("no reason is given");
        why.push(format!("its disk is {}: {reason}", disk(replica.disk)));
    }
    let oldest = replica.activity.disk_oldest_ms;
    if Duration::from_millis(oldest) >= hang {
        why.push(format!(
            "its disk hangs: the oldest operation is {oldest} ms old"
        ));
    }
    let follows = replica.peers.iter().any(|peer| {
        peer.role == Some(Role::Primary) && peer.connection == ConnectionState::Established
    });
    if !follows {
        why.push("it is connected to no primary".to_owned());
    }
    if services == Some(Services::Failed) {
        why.push("its services have failed to stop: some may run".to_owned());
    }
    why
}

#[cfg(test)]
mod tests;
