//! The status for eyes.

use std::fmt::Write;

use twindisk_control::{
    config::TlsMode,
    protocol::{NodeStatus, ResourceStatus},
    units::Bytes,
    words::{self, disk, role},
};
use twindisk_core::{
    ConnectionState, Histogram, OnPeerLoss, PeerStatus, Progress, Role, Stages, Status,
};

/// A node with all its resources.
pub(crate) fn node(status: &NodeStatus) -> String {
    let mut text = format!(
        "cluster {} · node {} (number {}) · up {} · twindisk {} · {}\n",
        status.cluster,
        status.node,
        status.node_id,
        duration(status.uptime_s),
        status.program,
        match status.tls {
            TlsMode::Secret => "TLS between the nodes",
            TlsMode::Off => "no TLS",
        }
    );
    for resource in &status.resources {
        text.push('\n');
        one(&mut text, resource);
    }
    text
}

/// A resync or verify in one line: how far, how fast, how long.
pub(crate) fn progress_line(peer: &str, progress: &Progress) -> String {
    // Only who sends knows what is left.
    if progress.total_bytes == 0 && progress.kind == "resync-target" {
        return format!("{} of {peer}: how far it is, {peer} knows", progress.kind);
    }
    let percent = match progress.total_bytes {
        0 => 100.0,
        total => progress.done_bytes as f64 * 100.0 / total as f64,
    };
    let rate = progress.done_bytes * 1000 / progress.elapsed_ms.max(1);
    let left = progress.total_bytes.saturating_sub(progress.done_bytes);
    let eta = left.checked_div(rate).map_or_else(String::new, |seconds| {
        format!(", {} left", duration(seconds))
    });
    let mut line = format!(
        "{} with {peer}: {percent:.1} % of {}, {}/s{eta}",
        progress.kind,
        Bytes(progress.total_bytes),
        Bytes(rate),
    );
    if progress.equal_bytes > 0 {
        let _ = write!(line, "; {} were equal", Bytes(progress.equal_bytes));
    }
    if progress.different_bytes > 0 {
        let _ = write!(line, "; {} DIFFER", Bytes(progress.different_bytes));
    }
    line
}

// Writing to a String cannot fail: the results of `write!` are dropped on purpose below.
fn one(text: &mut String, resource: &ResourceStatus) {
    let Some(replica) = &resource.replica else {
        let state = if resource.running {
            "does not answer"
        } else {
            "NOT RUNNING"
        };
        let why = resource.why.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{}  {state}: {why}", resource.name);
        return;
    };
    let _ = writeln!(
        text,
        "{}  {}  disk {}  {}  term {}",
        resource.name,
        role(replica.role),
        disk(replica.disk),
        Bytes(replica.size_bytes),
        replica.term
    );
    if let Some(why) = &replica.disk_why {
        let _ = writeln!(text, "    disk: {why}");
    }
    let _ = writeln!(
        text,
        "    on {} ({}), metadata {}",
        resource.backing, resource.io, resource.metadata
    );
    if replica.export_open {
        for uri in &resource.nbd {
            let _ = writeln!(text, "    open at {uri}");
        }
        if let Some(bound) = &resource.bound_export {
            let _ = writeln!(
                text,
                "    for clients that connect again by themselves: {bound} instead of {}",
                resource.name
            );
        }
    }
    if let Some(suspension) = &replica.suspended {
        let _ = writeln!(
            text,
            "    I/O IS SUSPENDED for {}: {}\n      to release it: {}",
            duration(suspension.for_ms / 1000),
            suspension.why,
            suspension.release
        );
    }
    peers(text, replica);
    if let Some(line) = latency(replica) {
        let _ = writeln!(text, "    {line}");
    }
    if replica.role == Role::Standby {
        match replica.promote_needs.as_slice() {
            [] => {
                let _ = writeln!(text, "    can be promoted now");
            }
            needs => {
                let _ = writeln!(text, "    to be promoted it needs:");
                for need in needs {
                    let _ = writeln!(text, "      - {need}");
                }
            }
        }
    }
    if replica.on_peer_loss == OnPeerLoss::Continue {
        let _ = writeln!(
            text,
            "    UNSAFE: on-peer-loss = \"continue\": acknowledged writes can be lost in a split brain"
        );
    }
    for warning in &replica.warnings {
        let _ = writeln!(text, "    warning: {warning}");
    }
}

fn peers(text: &mut String, replica: &Status) {
    if replica.peers.is_empty() {
        let _ = writeln!(text, "    no peers: nothing is mirrored");
        return;
    }
    let mut rows = vec![
        [
            "peer",
            "connection",
            "role",
            "disk",
            "in sync",
            "dirty",
            "unstable",
            "in flight",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    rows.extend(replica.peers.iter().map(row));
    let mut widths = vec![0; rows.first().map_or(0, Vec::len)];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let mut line = "   ".to_owned();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {cell:<width$} ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for peer in &replica.peers {
        if !matches!(peer.connection, ConnectionState::Established)
            && !peer.connection_why.is_empty()
        {
            let _ = writeln!(text, "    {}: {}", peer.name, peer.connection_why);
        }
        if let Some(progress) = &peer.progress {
            let _ = writeln!(text, "    {}", progress_line(&peer.name, progress));
        }
        if let Some(receipt) = &peer.receipt {
            let _ = writeln!(
                text,
                "    receipt about {} in force: {} (term {})",
                peer.name, receipt.kind, receipt.term
            );
        }
    }
}

fn row(peer: &PeerStatus) -> Vec<String> {
    vec![
        format!("{} ({})", peer.name, words::protocol(peer.protocol)),
        connection(peer.connection),
        peer.role.map_or("-", role).to_owned(),
        peer.disk.map_or("-", disk).to_owned(),
        if peer.in_sync { "yes" } else { "no" }.to_owned(),
        Bytes(peer.dirty_bytes).to_string(),
        Bytes(peer.unstable_bytes).to_string(),
        peer.in_flight.to_string(),
    ]
}

/// Where the time of requests goes; nothing before the first one. `status --json` knows more of it.
fn latency(replica: &Status) -> Option<String> {
    let latency = &replica.latency;
    let took = |what: &str, histogram: &Histogram| Some(format!("{what} {}", spread(histogram)?));
    let stages = |what: &str, stages: &Stages, peers: &[PeerStatus]| {
        let own = [("wait", &stages.wait), ("disk", &stages.disk)].into_iter();
        let peers = peers.iter().map(|peer| (&*peer.name, &peer.latency.write));
        let parts: Vec<_> = own
            .chain(peers)
            .filter_map(|(stage, histogram)| took(stage, histogram))
            .collect();
        Some(format!(
            "{} ({})",
            took(what, &stages.total)?,
            parts.join(", ")
        ))
    };
    let operations = match replica.role {
        Role::Primary => [
            stages("write", &latency.write, &replica.peers),
            took("flush", &latency.flush.total),
            took("read", &latency.read.total),
        ],
        Role::Standby => [stages("apply", &latency.apply, &[]), None, None],
    };
    let operations: Vec<_> = operations.into_iter().flatten().collect();
    let line = format!("p50/p99 in ms since the start: {}", operations.join(", "));
    (!operations.is_empty()).then_some(line)
}

/// Half of them took no longer than the first, 99 of 100 no longer than the second, in milliseconds.
fn spread(histogram: &Histogram) -> Option<String> {
    let part = |part| Some(histogram.quantile(part)?.as_secs_f64() * 1000.0);
    let text = |ms: f64| match ms {
        ..9.995 => format!("{ms:.2}"),
        ..99.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    };
    Some(format!("{}/{}", text(part(0.5)?), text(part(0.99)?)))
}

/// What only a person can end is written so that it is seen.
fn connection(state: ConnectionState) -> String {
    let word = words::connection(state);
    match state {
        ConnectionState::SplitBrain | ConnectionState::Unrelated => word.to_uppercase(),
        ConnectionState::Standalone
        | ConnectionState::Connecting
        | ConnectionState::Negotiating
        | ConnectionState::Waiting
        | ConnectionState::SyncSource
        | ConnectionState::SyncTarget
        | ConnectionState::Established => word.to_owned(),
    }
}

/// Seconds for eyes.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use twindisk_core::Time;

    use super::*;

    #[test]
    fn progress_tells_rate_and_time_left() {
        let progress = Progress {
            kind: "resync-source".into(),
            done_bytes: 100 << 20,
            total_bytes: 400 << 20,
            elapsed_ms: 1000,
            sent_bytes: 50 << 20,
            equal_bytes: 50 << 20,
            different_bytes: 0,
        };
        assert_eq!(
            progress_line("beta", &progress),
            "resync-source with beta: 25.0 % of 400 MiB, 100 MiB/s, 3 s left; 50 MiB were equal"
        );
    }

    #[test]
    fn a_target_claims_nothing_that_only_its_source_knows() {
        let progress = Progress {
            kind: "resync-target".into(),
            done_bytes: 0,
            total_bytes: 0,
            elapsed_ms: 0,
            sent_bytes: 0,
            equal_bytes: 0,
            different_bytes: 0,
        };
        assert_eq!(
            progress_line("alpha", &progress),
            "resync-target of alpha: how far it is, alpha knows"
        );
    }

    #[test]
    fn spreads_have_two_digits_that_mean_something() {
        let spread_of = |us: &[u64]| {
            let mut histogram = Histogram::default();
            for us in us {
                histogram.record(Time(0), Time(us * 1000));
            }
            spread(&histogram)
        };
        assert_eq!(spread_of(&[]), None);
        assert_eq!(spread_of(&[100; 200]).as_deref(), Some("0.10/0.13"));
        assert_eq!(spread_of(&[2, 20_000]).as_deref(), Some("0.01/32.4"));
        assert_eq!(spread_of(&[300_000]).as_deref(), Some("393/522"));
    }
}
