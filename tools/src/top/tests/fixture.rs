//! A pair as its sockets describe it.

use std::time::Duration;

use serde_json::{Value, json};
use twindisk_core::Status;

use crate::top::{history::History, model, snapshot::Snapshot, view::View};

/// Two snapshots, half a second apart.
pub(super) struct Scene {
    pub(super) first: Snapshot,
    pub(super) last: Snapshot,
}

impl Scene {
    /// alpha is primary and takes writes while beta is brought up to date.
    pub(super) fn resync() -> Self {
        let snapshot = |half_seconds: u64| {
            let writes = 1000 + 300 * half_seconds;
            let mut peer = peer("beta", 2, "standby");
            peer["connection"] = json!("sync-source");
            peer["connection-why"] = json!("its data is of an older generation");
            peer["disk"] = json!("Inconsistent");
            peer["in-sync"] = json!(false);
            peer["dirty-bytes"] = json!(96 << 20);
            peer["joining-why"] = json!("it is being brought up to date");
            peer["progress"] = json!({
                "kind": "resync-source", "done-bytes": (32 + 32 * half_seconds) << 20, "total-bytes": 160 << 20,
                "elapsed-ms": 1000, "sent-bytes": 0, "equal-bytes": 0, "different-bytes": 0,
            });
            peer["latency"]["write"] = histogram(writes, 400_000);
            let mut replica = replica("primary", peer);
            replica["in-sync"] = json!([1]);
            replica["export-open"] = json!(true);
            replica["warnings"] =
                json!(["no other node has the newest data: if this one is lost, it is lost"]);
            replica["activity"] = json!({"requests": 8, "oldest-ms": 2, "disk-oldest-ms": 1, "writes": writes,
                "written-bytes": writes * 4096});
            replica["latency"] = json!({"write": {
                "wait": histogram(writes, 10_000), "disk": histogram(writes, 90_000), "total": histogram(writes, 500_000),
            }});
            node("alpha", 1, replica, half_seconds)
        };
        Self {
            first: snapshot(0),
            last: snapshot(1),
        }
    }

    /// beta is standby and in sync.
    pub(super) fn standby() -> Self {
        let snapshot = |half_seconds| {
            let mut replica = replica("standby", peer("alpha", 1, "primary"));
            replica["promote-needs"] = json!([
                "alpha is primary and connected: use `twindisk switchover` to hand the role over"
            ]);
            node("beta", 2, replica, half_seconds)
        };
        Self {
            first: snapshot(0),
            last: snapshot(1),
        }
    }

    /// Neither `serve` nor an agent runs.
    pub(super) fn nothing() -> Self {
        let mut scene = Self::standby();
        for one in [&mut scene.first, &mut scene.last] {
            one.serve = Err("no `twindisk serve` is running".to_owned());
            one.agent = Err("no `twindisk agent` is running".to_owned());
            one.events.clear();
        }
        scene
    }

    pub(super) fn view(&self) -> View {
        let mut history = History::default();
        history.take(&self.first);
        history.take(&self.last);
        model::view(&self.last, &history)
    }

    /// Changes the only replica.
    pub(super) fn change(&mut self, change: impl Fn(&mut Status)) {
        for one in [&mut self.first, &mut self.last] {
            let status = one.serve.as_mut().expect("it answers");
            change(status.resources[0].replica.as_mut().expect("it runs"));
        }
    }
}

fn histogram(count: u64, each_ns: u64) -> Value {
    json!({"up-to-us": {"512": count}, "sum-ns": count * each_ns})
}

fn peer(name: &str, number: u8, role: &str) -> Value {
    json!({
        "node": number, "name": name, "protocol": "C", "connection": "established",
        "connection-why": "equal, and kept equal", "role": role, "disk": "UpToDate", "in-sync": true,
        "dirty-bytes": 0, "unstable-bytes": 0, "in-flight": 0, "receipt": null, "progress": null, "latency": {
            "write": {"up-to-us": {}, "sum-ns": 0}, "flush": {"up-to-us": {}, "sum-ns": 0}},
    })
}

fn replica(role: &str, peer: Value) -> Value {
    json!({
        "role": role, "term": 4, "disk": "UpToDate", "disk-why": null, "size-bytes": 256 << 20, "export-open": false,
        "suspended": null, "generation": "4/de4103abd9489f93/1", "generations": 4, "in-sync": [1, 2],
        "promote-needs": [], "on-peer-loss": "suspend", "peers": [peer], "activity": {}, "warnings": [],
    })
}

fn node(name: &str, number: u8, replica: Value, half_seconds: u64) -> Snapshot {
    let status = json!({
        "version": 1, "program": "0.1.0", "cluster": "demo", "node": name, "node-id": number, "pid": 4711,
        "uptime-s": 75, "resources": [{
            "name": "r0", "backing": "/dev/vg/r0", "io": "direct", "metadata": "/var/lib/twindisk/r0.meta",
            "nbd": ["nbd+unix:///r0?socket=/run/twindisk/r0.sock"], "running": true, "why": null, "replica": replica,
        }],
    });
    let other = if name == "alpha" { "beta" } else { "alpha" };
    let succession = match name {
        "alpha" => json!({"primary": "alpha", "successors": [], "obstacles": [
            {"node": "beta", "code": "not-in-sync", "why": "beta is being resynced"},
        ]}),
        _ => json!({"primary": "alpha", "successors": ["beta"], "obstacles": []}),
    };
    let agent = json!({
        "node": name, "profile": "default", "maintenance": false, "blocked": false, "clients-reachable": null,
        "peers": [{"name": other, "state": "heard", "can-fence": true, "fence-latency-ms": 3, "paths": [
            {"path": "10.0.0.1:7790", "silent-ms": 86, "heard-there": true},
            {"path": "10.9.9.1:7790", "silent-ms": null, "heard-there": false},
        ]}],
        "resources": [{"name": "r0", "state": "", "services": "up", "succession": succession}], "failovers": [], "warnings": [],
        "told": [
            {"at": 1_793_263_440_u64, "level": "info", "resource": null, "what": "beta is heard again"},
            {"at": 1_793_263_381_u64, "level": "warning", "resource": null, "what": "alpha is not heard over 10.9.9.1:7790"},
            {"at": 1_793_176_981_u64, "level": "alarm", "resource": "r0",
                "what": "nobody takes writes, and nobody will: its fence device does not answer, and no person has said that it is off; \
                         look at the device, then at the other node"},
        ],
    });
    let events = json!([
        {"time": "2026-10-29T08:44:00.842Z", "node": name, "resource": "r0", "event": "connection", "peer": 2,
            "state": "sync-source", "why": "its data is of an older generation"},
        {"time": "2026-10-29T08:44:01.278Z", "node": name, "resource": "r0", "event": "in-sync", "joining": [],
            "nodes": [1, 2], "term": 4, "why": "promoted"},
        {"time": "2026-10-29T08:44:02.278Z", "node": name, "event": "command", "uid": 0, "outcome": "done",
            "command": {"command": "promote", "resource": "r0"}},
    ]);
    Snapshot {
        since: Duration::from_millis(500 * half_seconds),
        time: "2026-10-29T08:44:20.842Z".to_owned(),
        node: name.to_owned(),
        serve: Ok(serde_json::from_value(status).expect("as serve answers")),
        agents: true,
        with_services: vec!["r0".to_owned()],
        agent: Ok(serde_json::from_value(agent).expect("as an agent answers")),
        events: serde_json::from_value(events).expect("as serve tells them"),
    }
}
