//! Nodes: this one, and the others as this one hears them.

use twindisk_agent::PeerSummary;
use twindisk_agent::{AgentReply, words::profile};
use twindisk_control::words::{connection, disk, role};

use super::super::view::{Node, Tone, Word, word};
use crate::{table::duration, top::snapshot::Snapshot};

/// This node first.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Node> {
    let agent = snapshot.agent.as_ref().ok();
    let mut nodes = vec![this(snapshot, agent)];
    let mut names: Vec<&String> = Vec::new();
    let heard = agent.map_or(&[][..], |agent| &agent.status.peers);
    names.extend(heard.iter().map(|peer| &peer.name));
    for (_, peer) in connections(snapshot) {
        if !names.contains(&&peer.name) {
            names.push(&peer.name);
        }
    }
    nodes.extend(names.into_iter().map(|name| {
        let peer = heard.iter().find(|peer| peer.name == *name);
        other(snapshot, name, peer)
    }));
    nodes
}

/// Each resource with each of its peers.
fn connections(snapshot: &Snapshot) -> impl Iterator<Item = (&str, &twindisk_core::PeerStatus)> {
    let resources = snapshot.serve.iter().flat_map(|status| &status.resources);
    resources.flat_map(|one| {
        let peers = one.replica.iter().flat_map(|replica| &replica.peers);
        peers.map(|peer| (&*one.name, peer))
    })
}

fn this(snapshot: &Snapshot, agent: Option<&AgentReply>) -> Node {
    let state = match &snapshot.serve {
        Ok(status) => word(
            format!(
                "this node; serve {} up {}",
                status.program,
                duration(status.uptime_s)
            ),
            Tone::Good,
        ),
        Err(_) => word("this node; serve says NOTHING", Tone::Bad),
    };
    let mut lines = Vec::new();
    match agent {
        Some(agent) if agent.status.maintenance => lines.push(word(
            "agent in MAINTENANCE: it decides nothing until `twindisk agent maintenance off`",
            Tone::Look,
        )),
        Some(agent) if agent.status.blocked => lines.push(word(
            "agent BLOCKED: too many failovers; `twindisk agent clear` lets it go on",
            Tone::Bad,
        )),
        Some(agent) => lines.push(word(
            format!("agent decides, profile {}", profile(agent.status.profile)),
            Tone::Good,
        )),
        None if snapshot.agents => {
            let why = snapshot.agent.as_ref().err().map_or("", |why| why);
            lines.push(word(format!("NO AGENT: {why}"), Tone::Bad));
        }
        None => lines.push(word("no agents: failover is by hand", Tone::Faint)),
    }
    if let Some(agent) = agent
        && agent.status.clients_reachable == Some(false)
    {
        let text = "no ping target answers: it seems to be cut off from its clients";
        lines.push(word(text, Tone::Bad));
    }
    Node {
        name: snapshot.node.clone(),
        state,
        lines,
    }
}

fn other(snapshot: &Snapshot, name: &str, peer: Option<&PeerSummary>) -> Node {
    let mut lines: Vec<Word> = Vec::new();
    if let Some(peer) = peer {
        lines.push(fence(peer));
        lines.extend(peer.paths.iter().map(|path| {
            let (heard, mut tone) = match path.silent_ms {
                Some(ms) => (format!("heard {ms} ms ago"), Tone::Good),
                None => ("never heard".to_owned(), Tone::Look),
            };
            let mut text = format!("path {}  {heard}", path.path);
            if !path.heard_there {
                text += ", does not hear this node over it";
                tone = Tone::Look;
            }
            word(text, tone)
        }));
    }
    for (resource, peer) in connections(snapshot).filter(|(_, peer)| peer.name == name) {
        let mut parts = vec![connection(peer.connection).to_owned()];
        parts.extend(peer.role.map(|state| role(state).to_owned()));
        parts.extend(peer.disk.map(|state| disk(state).to_owned()));
        parts.push(
            if peer.in_sync {
                "in sync"
            } else {
                "not in sync"
            }
            .to_owned(),
        );
        let tone = if peer.in_sync {
            Tone::Plain
        } else {
            Tone::Look
        };
        lines.push(word(format!("{resource}: {}", parts.join(", ")), tone));
    }
    let state = match peer {
        Some(peer) if peer.state == "heard" => word("its agent is heard", Tone::Good),
        Some(peer) => word(&peer.state, Tone::Bad),
        None => word("no agent here hears it", Tone::Faint),
    };
    Node {
        name: name.to_owned(),
        state,
        lines,
    }
}

fn fence(peer: &PeerSummary) -> Word {
    match (peer.can_fence, peer.needs_fence) {
        (true, _) => {
            let text = format!("fence device answers in {} ms", peer.fence_latency_ms);
            word(text, Tone::Good)
        }
        (false, true) => word(
            "no fence device: a person must say that it is off",
            Tone::Look,
        ),
        (false, false) => word("no fence device: an arbiter decides", Tone::Faint),
    }
}
