//! Who could take over from whom, and why not, as this node knows it.

use twindisk_agent::AgentReply;
use twindisk_control::words::{connection, disk};
use twindisk_core::{ConnectionState, DiskState, PeerStatus, Protocol, Role, Status};

use super::super::view::{Tone, Word, word};
use crate::top::snapshot::Snapshot;

/// A sentence about every node that is not primary.
pub(super) fn all(snapshot: &Snapshot, resource: &str, replica: &Status) -> Vec<Word> {
    let agent = snapshot.agent.as_ref().ok();
    let here = (replica.role == Role::Standby).then(|| this(snapshot, resource, replica));
    let there = replica
        .peers
        .iter()
        .filter(|peer| peer.role != Some(Role::Primary));
    let there = there.map(|peer| other(agent, resource, peer));
    here.into_iter().chain(there).collect()
}

fn this(snapshot: &Snapshot, resource: &str, replica: &Status) -> Word {
    let name = &snapshot.node;
    let primary = replica
        .peers
        .iter()
        .find(|peer| peer.role == Some(Role::Primary));
    let number = snapshot.serve.as_ref().map_or(0, |status| status.node_id);
    let in_sync = replica.in_sync.contains(&number);
    let mut peers = replica.peers.iter();
    let conflict = peers.find_map(|peer| peer.conflict.as_ref());
    match primary {
        _ if conflict.is_some() => {
            let kind = conflict.map_or("", |conflict| &conflict.kind);
            could_not(name, &format!("it is in conflict ({kind})"))
        }
        Some(_) if replica.disk == DiskState::UpToDate && !in_sync => {
            could_not(name, "it is not in sync")
        }
        Some(_) if replica.disk == DiskState::UpToDate => {
            could(name, &by_whom(snapshot.agent.as_ref().ok(), resource, name))
        }
        Some(_) => {
            let why = replica.disk_why.as_deref().unwrap_or("it is not in sync");
            could_not(name, &format!("its disk is {}: {why}", disk(replica.disk)))
        }
        None if replica.promote_needs.is_empty() => {
            word(format!("{name} could be promoted now"), Tone::Good)
        }
        None => could_not(
            name,
            &format!("it needs: {}", replica.promote_needs.join("; ")),
        ),
    }
}

/// What would make a node that could take over do so, as the agent of this one knows.
fn by_whom(agent: Option<&AgentReply>, resource: &str, name: &str) -> String {
    let Some(agent) = agent else {
        return "by hand: no agent runs here".to_owned();
    };
    let mut resources = agent.status.resources.iter();
    let Some(looked_after) = resources.find(|one| one.name == resource) else {
        return "by hand: its agent leaves this resource alone".to_owned();
    };
    let Some(succession) = &looked_after.succession else {
        return "by hand: the agent here knows nothing of its replica".to_owned();
    };
    if succession.successors.iter().any(|one| one == name) {
        let granted = looked_after.arbiter.is_some();
        let how = if granted {
            ", if its arbiter grants it"
        } else {
            ""
        };
        return format!("by itself{how}");
    }
    let obstacles = succession.obstacles.iter();
    let whys = obstacles.filter(|one| one.node == name);
    let whys: Vec<&str> = whys.map(|one| &*one.why).collect();
    format!("by hand: {}", whys.join("; "))
}

fn other(agent: Option<&AgentReply>, resource: &str, peer: &PeerStatus) -> Word {
    let name = &peer.name;
    if let Some(conflict) = &peer.conflict {
        return could_not(name, &format!("it is in conflict ({})", conflict.kind));
    }
    if peer.connection != ConnectionState::Established {
        let state = connection(peer.connection);
        return could_not(name, &format!("{state}: {}", peer.connection_why));
    }
    match peer.disk {
        Some(DiskState::UpToDate) => {}
        Some(state) => return could_not(name, &format!("its disk is {}", disk(state))),
        None => return could_not(name, "its disk is not known"),
    }
    if peer.protocol == Protocol::A {
        return could_not(
            name,
            "protocol A: only with a person's word, and it may lack writes",
        );
    }
    if !peer.in_sync {
        let why = peer.joining_why.as_deref().unwrap_or("it is not in sync");
        return could_not(name, why);
    }
    could(name, &by_whom(agent, resource, name))
}

fn could(name: &str, how: &str) -> Word {
    word(format!("{name} could: in sync; {how}"), Tone::Good)
}

fn could_not(name: &str, why: &str) -> Word {
    word(format!("{name} could NOT: {why}"), Tone::Look)
}
