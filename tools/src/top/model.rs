//! A snapshot, and what went before it, as what is shown.

mod alarms;
mod nodes;
mod resources;
mod takers;

use super::{history::History, snapshot::Snapshot, view::View};
use crate::table::duration;

/// What is shown of it.
pub(super) fn view(snapshot: &Snapshot, history: &History) -> View {
    let node = &snapshot.node;
    let title = match &snapshot.serve {
        Ok(status) => format!(
            "cluster {}  node {node} ({})  up {}",
            status.cluster,
            status.node_id,
            duration(status.uptime_s),
        ),
        Err(_) => format!("node {node}"),
    };
    View {
        title,
        time: seconds(&snapshot.time),
        silent: snapshot.serve.as_ref().err().cloned(),
        node: node.clone(),
        resources: resources::all(snapshot, history),
        nodes: nodes::all(snapshot),
        alarms: alarms::all(snapshot),
        events: alarms::events(snapshot),
    }
}

/// A moment near `now` as short as it can be: without its date on the same day, and without the year.
fn short(time: &str, now: &str) -> String {
    let time = seconds(time);
    let time = time.trim_end_matches('Z');
    match (time.split_once('T'), now.split_once('T')) {
        (Some((day, clock)), Some((today, _))) if day == today => clock.to_owned(),
        (Some((day, clock)), _) => {
            let (_, day) = day.split_once('-').unwrap_or(("", day));
            format!("{day} {clock}")
        }
        (None, _) => time.to_owned(),
    }
}

/// A moment of an event without its fractions: they say nothing to eyes.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}
