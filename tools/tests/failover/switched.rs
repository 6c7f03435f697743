//! A switchover through the agent: services down, role over, services up there, and back.

use std::time::Instant;

use crate::{
    client::Client,
    harness::{
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
    },
    observer::Observer,
    outages::Outages,
    services::Marker,
};

#[test]
fn services_go_down_on_one_node_before_they_come_up_on_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = Arena::running(Plan {
        resource: marker.config(),
        ..Plan::default()
    });
    let services_up = |node| {
        arena.until_agent(node, "its services are up", |said| {
            said["resources"][0]["services"] == "up"
        });
    };
    services_up(ALPHA);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let wrong = arena.cluster.run(BETA, &["switchover"]);
    assert_eq!(wrong.code, 11, "beta is not primary: {wrong:?}");
    let mut outages = Outages::new("switchover with a service of 0.7 s");
    for (from, to) in [(ALPHA, BETA), (BETA, ALPHA)] {
        client.until_busy();
        arena.cluster.until_in_sync(from);
        let term = arena.cluster.replica(from)["term"].as_u64();
        let moment = Instant::now();
        arena.cluster.ok(from, &["switchover"]);
        outages.until_accepted(&arena, &observer, to, moment);
        services_up(to);
        assert!(arena.cluster.replica(to)["term"].as_u64() > term);
        assert_eq!(arena.cluster.replica(from)["role"], "standby");
    }
    outages.print();
    client.until_busy();
    assert_eq!(
        marker.history(),
        [
            "up on alpha",
            "down on alpha",
            "up on beta",
            "down on beta",
            "up on alpha"
        ]
    );
    assert_eq!(observer.end(), [ALPHA, BETA, ALPHA]);
    client.end(&arena.cluster.uri(ALPHA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    for node in [ALPHA, BETA] {
        let failovers = &arena.agent_says(node)["failovers"];
        assert_eq!(failovers.as_array().map(Vec::len), Some(0), "{failovers}");
    }
}

#[test]
fn switchovers_follow_each_other_without_a_pause() {
    let arena = Arena::running(Plan::default());
    let observer = Observer::start(&arena.cluster);
    for from in [ALPHA, BETA].repeat(4) {
        arena.cluster.ok(from, &["switchover"]);
    }
    // Its looks are too far apart to see each of them: never two at once is what it is here for.
    observer.end();
    assert_eq!(arena.cluster.replica(ALPHA)["role"], "primary");
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
