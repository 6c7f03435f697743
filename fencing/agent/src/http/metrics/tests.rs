//! The page byte by byte, and that every state has its label.

use std::time::Duration;

use twindisk_core::{Progress, Suspension, Time};
use twindisk_fencing_core::{Failover, KeeperSummary, RecordSummary};

use super::*;
use crate::http::{fixture::Scene, published::Tally};

#[test]
fn a_page_byte_by_byte() {
    let mut scene = Scene::primary();
    scene.said.reply.status.clients_reachable = Some(true);
    scene.said.reply.status.resources[0].keeper = Some(KeeperSummary {
        answers: true,
        record: Some(RecordSummary {
            epoch: 1,
            seq: 7,
            term: 3,
            names: vec!["alpha".into(), "beta".into()],
        }),
    });
    scene.now += Duration::from_millis(250);
    scene.replica().suspended = Some(Suspension {
        why: "beta is lost".into(),
        release: "a receipt".into(),
        for_ms: 1500,
        code: twindisk_core::SuspensionCode::PeerLost,
        missing: Vec::new(),
    });
    let peer = &mut scene.replica().peers[0];
    peer.dirty_bytes = 4096;
    peer.progress = Some(Progress {
        kind: "resync-source".into(),
        done_bytes: 1000,
        total_bytes: 5096,
        elapsed_ms: 2500,
        sent_bytes: 900,
        equal_bytes: 100,
        different_bytes: 0,
    });
    let page = render(&scene.view());
    let golden = include_str!("golden.txt");
    let differs = page.lines().zip(golden.lines()).find(|(is, was)| is != was);
    assert!(page == golden, "{differs:?}\n{page}");
}

#[test]
fn labels_are_escaped() {
    let mut page = Page::default();
    page.gauge("a", "b", [([("c", "d\\e\"f\ng{},=é")], 1.5)]);
    assert_eq!(
        page.0,
        "# HELP a b\n# TYPE a gauge\na{c=\"d\\\\e\\\"f\\ng{},=é\"} 1.5\n"
    );
    let mut page = Page::default();
    page.counter::<0>("a", "b", []);
    assert_eq!(page.0, "", "nothing is known");
    page.counter("a", "b", [([], (1_u64 << 53) as f64)]);
    assert!(page.0.ends_with("a 9007199254740992\n"), "{}", page.0);
}

#[test]
fn a_histogram_counts_up_to_each_bound_and_what_is_beyond() {
    let mut latency = Histogram::default();
    for us in [8, 9, 20_000_000] {
        latency.record(Time(0), Time(us * 1000));
    }
    let mut page = Page::default();
    let empty = Histogram::default();
    page.histogram(
        "d_seconds",
        "b",
        [([("c", "e")], &latency), ([("c", "f")], &empty)],
    );
    let lines: Vec<_> = page.0.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "# HELP d_seconds b",
            "# TYPE d_seconds histogram",
            "d_seconds_bucket{c=\"e\",le=\"0.000008\"} 1",
            "d_seconds_bucket{c=\"e\",le=\"0.000016\"} 2",
            "d_seconds_bucket{c=\"e\",le=\"0.000032\"} 2",
        ]
    );
    assert_eq!(
        lines[23..],
        [
            "d_seconds_bucket{c=\"e\",le=\"16.777216\"} 2",
            "d_seconds_bucket{c=\"e\",le=\"+Inf\"} 3",
            "d_seconds_sum{c=\"e\"} 20.000017",
            "d_seconds_count{c=\"e\"} 3",
        ]
    );
    let mut page = Page::default();
    page.histogram("a", "b", [([], &empty)]);
    assert_eq!(page.0, "", "nothing was recorded");
}

#[test]
fn what_is_not_known_is_not_said() {
    let mut scene = Scene::primary();
    scene.said.reply.status.peers[0].paths[1].silent_ms = None;
    scene.said.tally.monitors.clear();
    scene.said.reply.status.resources[0].succession = None;
    scene.serve_is_silent(Duration::from_secs(2));
    let page = render(&scene.view());
    for there in [
        "twindisk_serve_up 0\n",
        "twindisk_primary{resource=\"r0\"} 0\n",
        "twindisk_heartbeat_up{peer=\"beta\",path=\"10.0.2.2:7790\"} 0\n",
        "twindisk_services{resource=\"r0\",state=\"up\"} 1\n",
    ] {
        assert!(page.contains(there), "{there} is not in\n{page}");
    }
    for old in [
        "twindisk_role",
        "twindisk_term",
        "twindisk_writes_total",
        "twindisk_peer",
        "twindisk_fence_up",
        "silence_seconds{peer=\"beta\",path=\"10.0.2.2:7790\"}",
        "clients_reachable",
        "twindisk_agent_successors",
        "twindisk_agent_arbiter",
    ] {
        assert!(!page.contains(old), "{old} is in\n{page}");
    }
}

#[test]
fn a_count_of_failovers_never_goes_back() {
    let failover = |at: u64, resource: &str| Failover {
        resource: resource.to_owned(),
        from: "beta".to_owned(),
        at,
        took_ms: 1,
        receipt: String::new(),
    };
    let mut tally = Tally::default();
    let count = |tally: &Tally, name| tally.failovers.get(name).copied().unwrap_or(0);
    let old: Vec<_> = (0..5).map(|at| failover(at, "r0")).collect();
    tally.failovers(&old);
    tally.failovers(&old);
    assert_eq!((count(&tally, "r0"), count(&tally, "r1")), (5, 0));
    // The agent has forgotten the oldest.
    let mut newer = old[2..].to_vec();
    newer.extend([failover(5, "r0"), failover(5, "r1")]);
    tally.failovers(&newer);
    assert_eq!((count(&tally, "r0"), count(&tally, "r1")), (6, 1));
}
