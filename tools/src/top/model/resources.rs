//! Resources as this node has them.

use twindisk_agent::words::services;
use twindisk_agent::{ResourceSummary, Services};
use twindisk_control::{
    protocol::ResourceStatus,
    units::Bytes,
    words::{connection, disk, protocol, role},
};
use twindisk_core::{ConnectionState, DiskState, OnPeerLoss, PeerStatus, Progress, Role, Status};

use super::{
    super::view::{Bar, Resource, Stage, Tone, Word, word},
    takers,
};
use crate::{
    table::duration,
    top::{
        history::{History, Rates},
        snapshot::Snapshot,
    },
};

/// Every resource of this node.
pub(super) fn all(snapshot: &Snapshot, history: &History) -> Vec<Resource> {
    let Ok(status) = &snapshot.serve else {
        return Vec::new();
    };
    let resources = status.resources.iter();
    resources
        .map(|one| {
            let summary = snapshot.agent.as_ref().ok().and_then(|agent| {
                let mut watched = agent.status.resources.iter();
                watched.find(|watched| watched.name == one.name)
            });
            match &one.replica {
                Some(replica) => there(one, replica, summary, (snapshot, history)),
                None => absent(one),
            }
        })
        .collect()
}

fn absent(one: &ResourceStatus) -> Resource {
    let state = if one.running {
        "does not answer"
    } else {
        "NOT RUNNING"
    };
    Resource {
        name: one.name.clone(),
        role: word(state, Tone::Bad),
        troubles: one.why.iter().map(|why| word(why, Tone::Bad)).collect(),
        facts: vec![("backing", format!("{} ({})", one.backing, one.io))],
        ..Resource::default()
    }
}

fn there(
    one: &ResourceStatus,
    replica: &Status,
    summary: Option<&ResourceSummary>,
    (snapshot, history): (&Snapshot, &History),
) -> Resource {
    Resource {
        name: one.name.clone(),
        role: role_word(replica.role),
        disk: disk_word(replica.disk),
        sync: sync(replica),
        services: summary
            .filter(|_| snapshot.with_services.contains(&one.name))
            .map(|summary| services_word(summary.services)),
        rates: history.rates(&one.name).map_or_else(String::new, rates),
        takers: takers::all(snapshot, &one.name, replica),
        troubles: troubles(replica, summary),
        bars: replica
            .peers
            .iter()
            .filter_map(|peer| {
                let rate = history.progress_rate(&one.name, &peer.name);
                Some(bar(peer, peer.progress.as_ref()?, rate))
            })
            .collect(),
        facts: facts(one, replica),
        peers: peers(replica),
        stages: stages(&one.name, replica, history),
    }
}

pub(super) fn role_word(state: Role) -> Word {
    word(
        role(state),
        match state {
            Role::Primary => Tone::Good,
            Role::Standby => Tone::Plain,
        },
    )
}

pub(super) fn disk_word(state: DiskState) -> Word {
    word(
        disk(state),
        match state {
            DiskState::UpToDate => Tone::Good,
            DiskState::Consistent | DiskState::Outdated | DiskState::Inconsistent => Tone::Look,
            DiskState::Diskless | DiskState::Failed => Tone::Bad,
        },
    )
}

pub(super) fn connection_word(state: ConnectionState) -> Word {
    word(
        connection(state),
        match state {
            ConnectionState::Established => Tone::Good,
            ConnectionState::SyncSource | ConnectionState::SyncTarget => Tone::Look,
            ConnectionState::Standalone
            | ConnectionState::Connecting
            | ConnectionState::Negotiating
            | ConnectionState::Waiting => Tone::Look,
            ConnectionState::SplitBrain | ConnectionState::Unrelated => Tone::Bad,
        },
    )
}

fn services_word(state: Services) -> Word {
    word(
        format!("services {}", services(state)),
        match state {
            Services::Up => Tone::Good,
            Services::Down | Services::Unknown => Tone::Plain,
            Services::Starting | Services::Stopping => Tone::Look,
            Services::Failed => Tone::Bad,
        },
    )
}

/// With whom this node's copy is in sync, as far as it knows. Who is counted on and not there is waited for.
fn sync(replica: &Status) -> Word {
    let names = |wanted: &dyn Fn(&PeerStatus) -> bool| {
        let peers = replica.peers.iter().filter(|peer| wanted(peer));
        let names: Vec<&str> = peers.map(|peer| &*peer.name).collect();
        names.join(", ")
    };
    let there = |peer: &PeerStatus| peer.connection == ConnectionState::Established;
    let kinds = [
        (
            "in sync with",
            names(&|peer| peer.in_sync && there(peer)),
            Tone::Good,
        ),
        (
            "counts on absent",
            names(&|peer| peer.in_sync && !there(peer)),
            Tone::Bad,
        ),
        ("NOT in sync with", names(&|peer| !peer.in_sync), Tone::Look),
    ];
    let kinds: Vec<_> = kinds
        .into_iter()
        .filter(|(_, names, _)| !names.is_empty())
        .collect();
    let Some((_, _, tone)) = kinds.last() else {
        return word("no peers", Tone::Look);
    };
    let words: Vec<String> = kinds
        .iter()
        .map(|(kind, names, _)| format!("{kind} {names}"))
        .collect();
    word(words.join(", "), *tone)
}

fn rates(rates: Rates) -> String {
    let count = |rate: f64| match rate {
        ..9999.5 => format!("{rate:.0}"),
        _ => format!("{:.0}k", rate / 1000.0),
    };
    let bytes = |rate: f64| Bytes(rate as u64);
    format!(
        "w {}/s {}/s  r {}/s {}/s  f {}/s",
        count(rates.writes),
        bytes(rates.written_bytes),
        count(rates.reads),
        bytes(rates.read_bytes),
        count(rates.flushes),
    )
}

/// The worst first.
fn troubles(replica: &Status, summary: Option<&ResourceSummary>) -> Vec<Word> {
    let mut found = Vec::new();
    if let Some(waits) = &replica.suspended {
        let seconds = duration(waits.for_ms / 1000);
        found.push(word(
            format!(
                "I/O WAITS for {seconds}: {}; to release it: {}",
                waits.why, waits.release
            ),
            Tone::Bad,
        ));
    }
    if let Some(short) = &replica.no_space {
        found.push(word(
            format!(
                "{} writes WAIT: {}; {}",
                short.writes, short.why, short.release
            ),
            Tone::Bad,
        ));
    }
    for peer in &replica.peers {
        if let Some(conflict) = &peer.conflict {
            let text = format!("{} with {}: {}", conflict.kind, peer.name, conflict.why);
            found.push(word(text, Tone::Bad));
        }
    }
    let missing = summary.and_then(|summary| summary.missing.as_ref());
    found.extend(missing.map(|missing| word(missing, Tone::Bad)));
    let faults = summary.map_or(&[][..], |summary| &summary.faults);
    let mut all: Vec<&String> = faults.iter().chain(&replica.faults).collect();
    all.dedup();
    found.extend(all.into_iter().map(|fault| word(fault, Tone::Bad)));
    let ended = summary.and_then(|summary| summary.ended.as_ref());
    found.extend(ended.map(|ended| word(ended, Tone::Look)));
    if let Some(why) = &replica.disk_why
        && replica.disk != DiskState::UpToDate
    {
        found.push(word(
            format!("disk {}: {why}", disk(replica.disk)),
            Tone::Look,
        ));
    }
    if replica.on_peer_loss == OnPeerLoss::Continue {
        let text =
            "UNSAFE: on-peer-loss = \"continue\": acknowledged writes can be lost in a split brain";
        found.push(word(text, Tone::Look));
    }
    found.extend(replica.warnings.iter().map(|text| word(text, Tone::Look)));
    found
}

fn bar(peer: &PeerStatus, progress: &Progress, lately: Option<u64>) -> Bar {
    let what = format!("{} {}", progress.kind, peer.name);
    if progress.total_bytes == 0 && progress.kind == "resync-target" {
        return Bar {
            what,
            part: None,
            text: format!("how far it is, {} knows", peer.name),
        };
    }
    let since_start = progress.done_bytes * 1000 / progress.elapsed_ms.max(1);
    let rate = lately.unwrap_or(since_start);
    let left = progress.total_bytes.saturating_sub(progress.done_bytes);
    let mut text = format!("of {}, {}/s", Bytes(progress.total_bytes), Bytes(rate));
    if let Some(seconds) = left.checked_div(rate) {
        text += &format!(", {} left", duration(seconds));
    }
    if progress.different_bytes > 0 {
        text += &format!(", {} DIFFER", Bytes(progress.different_bytes));
    }
    let part = match progress.total_bytes {
        0 => 1.0,
        total => progress.done_bytes as f64 / total as f64,
    };
    Bar {
        what,
        part: Some(part),
        text,
    }
}

fn facts(one: &ResourceStatus, replica: &Status) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("size", Bytes(replica.size_bytes).to_string()),
        ("term", replica.term.to_string()),
        ("backing", format!("{} ({})", one.backing, one.io)),
        ("metadata", one.metadata.clone()),
    ];
    if replica.export_open {
        facts.extend(one.nbd.iter().map(|uri| ("open at", uri.clone())));
    }
    let activity = &replica.activity;
    facts.push((
        "under way",
        format!(
            "{} requests, the oldest {} ms; its disk {} ms",
            activity.requests, activity.oldest_ms, activity.disk_oldest_ms
        ),
    ));
    facts
}

fn peers(replica: &Status) -> Vec<Vec<Word>> {
    if replica.peers.is_empty() {
        return Vec::new();
    }
    let head = [
        "peer",
        "connection",
        "role",
        "disk",
        "in sync",
        "dirty",
        "unstable",
    ];
    let mut rows = vec![head.map(|name| word(name, Tone::Faint)).to_vec()];
    rows.extend(replica.peers.iter().map(|peer| {
        let unknown = || word("-", Tone::Faint);
        vec![
            word(
                format!("{} ({})", peer.name, protocol(peer.protocol)),
                Tone::Plain,
            ),
            connection_word(peer.connection),
            peer.role.map_or_else(unknown, role_word),
            peer.disk.map_or_else(unknown, disk_word),
            if peer.in_sync {
                word("yes", Tone::Good)
            } else {
                word("no", Tone::Look)
            },
            word(Bytes(peer.dirty_bytes).to_string(), Tone::Plain),
            word(Bytes(peer.unstable_bytes).to_string(), Tone::Plain),
        ]
    }));
    rows
}

fn stages(name: &str, replica: &Status, history: &History) -> Vec<Stage> {
    let stage = |text: &str, key: &str, part| Stage {
        name: text.to_owned(),
        part,
        means_ns: history.means_ns(name, key),
    };
    let kinds: &[&str] = match replica.role {
        Role::Primary => &["write", "flush", "read"],
        Role::Standby => &["apply"],
    };
    let mut found = Vec::new();
    for kind in kinds {
        found.push(stage(kind, kind, false));
        for own in ["wait", "disk"] {
            found.push(stage(own, &format!("{kind} {own}"), true));
        }
        if matches!(*kind, "write" | "flush") {
            for peer in &replica.peers {
                found.push(stage(&peer.name, &format!("{kind} {}", peer.name), true));
            }
        }
    }
    found
}
