//! What should be looked at, and what happened.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use twindisk_agent::Level;
use twindisk_agent::words::level;
use twindisk_control::clock::seconds_text;

use super::{
    super::view::{Alarm, Event, Tone, Word, word},
    seconds, short,
};
use crate::top::snapshot::Snapshot;

/// What holds now, then what the agent told, the newest first.
pub(super) fn all(snapshot: &Snapshot) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut now = |text: String, level| {
        alarms.push(Alarm {
            time: None,
            level: level_word(level),
            text,
        });
    };
    if let Err(why) = &snapshot.serve {
        now(why.clone(), Level::Alarm);
    }
    if let (Err(why), true) = (&snapshot.agent, snapshot.agents) {
        now(why.clone(), Level::Alarm);
    }
    if let Ok(agent) = &snapshot.agent {
        if let Some(why) = &agent.status.memory_fault {
            let text = format!("the agent's memory can't be stored, so it fires at nobody: {why}");
            now(text, Level::Alarm);
        }
        for warning in &agent.warnings {
            now(warning.clone(), Level::Warning);
        }
        let told = agent
            .told
            .iter()
            .rev()
            .filter(|told| told.level != Level::Info);
        for told in told {
            let about = told.resource.as_ref();
            let about = about.map_or_else(String::new, |name| format!("{name}: "));
            alarms.push(Alarm {
                time: Some(short(&seconds_text(told.at), &snapshot.time)),
                level: level_word(told.level),
                text: about + &told.what,
            });
        }
    }
    alarms
}

fn level_word(state: Level) -> Word {
    word(
        level(state),
        match state {
            Level::Info => Tone::Plain,
            Level::Warning => Tone::Look,
            Level::Alarm => Tone::Bad,
        },
    )
}

/// Events of `serve` and what the agent told, the newest first.
pub(super) fn events(snapshot: &Snapshot) -> Vec<Event> {
    let names = names(snapshot);
    let mut events: Vec<Event> = snapshot
        .events
        .iter()
        .map(|line| Event {
            time: seconds(&line.time),
            resource: line.resource.clone(),
            text: sentence(&line.event, &names),
        })
        .collect();
    if let Ok(agent) = &snapshot.agent {
        events.extend(agent.told.iter().map(|told| Event {
            time: seconds_text(told.at),
            resource: told.resource.clone(),
            text: format!("agent: {}", told.what),
        }));
    }
    // Of one second in the order in which they came.
    events.sort_by(|one, other| one.time.cmp(&other.time));
    events.reverse();
    for event in &mut events {
        event.time = short(&event.time, &snapshot.time);
    }
    events
}

/// What nodes are called that events have by their numbers.
fn names(snapshot: &Snapshot) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    if let Ok(status) = &snapshot.serve {
        names.insert(status.node_id.into(), status.node.clone());
        let replicas = status.resources.iter().flat_map(|one| &one.replica);
        for peer in replicas.flat_map(|replica| &replica.peers) {
            names.insert(peer.node.into(), peer.name.clone());
        }
    }
    names
}

/// Its kind, its fields, and why.
fn sentence(event: &Map<String, Value>, names: &BTreeMap<u64, String>) -> String {
    let called = |value: &Value| {
        let name = value.as_u64().and_then(|number| names.get(&number));
        name.map_or_else(|| value.to_string(), String::clone)
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        // A command, with what it was asked with: its name says enough.
        Value::Object(fields) => match fields.get("command") {
            Some(Value::String(name)) => name.clone(),
            _ => value.to_string(),
        },
        other => other.to_string(),
    };
    let kind = event.get("event").map(text).unwrap_or_default();
    let fields: Vec<String> = event
        .iter()
        .filter(|(name, _)| !matches!(&***name, "event" | "why" | "what"))
        .map(|(name, value)| match (&**name, value) {
            ("peer" | "about", Value::Number(_)) => format!("{name} {}", called(value)),
            ("nodes" | "joining", Value::Array(nodes)) => {
                let nodes: Vec<String> = nodes.iter().map(called).collect();
                format!("{name} [{}]", nodes.join(", "))
            }
            _ => format!("{name} {}", text(value)),
        })
        .collect();
    let mut sentence = kind;
    if !fields.is_empty() {
        sentence += &format!(" ({})", fields.join(", "));
    }
    for name in ["why", "what"] {
        if let Some(value) = event.get(name) {
            sentence += &format!(": {}", text(value));
        }
    }
    sentence
}
