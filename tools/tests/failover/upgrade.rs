//! Agents that are stopped and started again, as an upgrade does: nobody is shot, nothing is forgotten.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    harness::{
        arena::{Arena, Plan, What},
        cluster::{ALPHA, BETA},
    },
    observer::Observer,
    outages::{MOST, Outages},
    services::Marker,
};

/// Longer than any silence that is tolerated, with the delay of a shot.
const LONG: Duration = Duration::from_secs(6);

#[test]
fn agents_that_are_stopped_shoot_nobody_and_find_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let mut arena = Arena::running(Plan {
        resource: marker.config(),
        ..Plan::default()
    });
    let services_up = |arena: &Arena, node| {
        arena.until_agent(node, "its services are up", |said| {
            said["resources"][0]["services"] == "up"
        });
    };
    services_up(&arena, ALPHA);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let term = arena.cluster.replica(ALPHA)["term"].clone();

    // One after the other, then both at once.
    for nodes in [&[BETA][..], &[ALPHA], &[ALPHA, BETA]] {
        for node in nodes {
            arena.stop(node, What::Agent);
        }
        let before = client.acknowledged();
        thread::sleep(LONG);
        client.until_busy();
        assert!(client.acknowledged() > before);
        for node in nodes {
            arena.agent(node);
        }
        for node in [ALPHA, BETA] {
            arena.until_agent(node, "it hears the other", |said| {
                said["peers"][0]["state"] == "heard"
            });
        }
        services_up(&arena, ALPHA);
        arena.until_agent(BETA, "its services are down", |said| {
            said["resources"][0]["services"] == "down"
        });
        assert_eq!(arena.cluster.replica(ALPHA)["term"], term);
    }
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    assert_eq!(marker.history(), ["up on alpha"], "nobody touched it");

    // They are as good as before.
    let mut outages = Outages::new("power loss after an upgrade of the agents");
    let moment = Instant::now();
    arena.lose_power(ALPHA);
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    services_up(&arena, BETA);
    assert!(moment.elapsed() < 2 * MOST);
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
}
