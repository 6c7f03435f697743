//! `serve` dies and its host lives: nobody is shot for that.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    harness::{
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
    },
    observer::Observer,
    outages::Outages,
};

/// As a service manager waits.
pub(crate) const RESTART: Duration = Duration::from_millis(100);

#[test]
fn a_primary_that_is_restarted_at_once_stays_primary() {
    let mut arena = Arena::running(Plan::default());
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("SIGKILL of serve, started again after 100 ms");
    for _ in 0..3 {
        client.until_busy();
        let moment = Instant::now();
        arena.kill(ALPHA, What::Serve);
        thread::sleep(RESTART);
        arena.spawn(ALPHA, What::Serve, CONFIG);
        outages.until_accepted(&arena, &observer, ALPHA, moment);
        arena.cluster.until_in_sync(ALPHA);
    }
    outages.print();
    client.until_busy();
    assert_eq!(observer.end(), [ALPHA], "the role never moved");
    let connections = client.end(&arena.cluster.uri(ALPHA));
    assert!(connections >= 4, "the client connected {connections} times");
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    for node in [ALPHA, BETA] {
        let failovers = &arena.agent_says(node)["failovers"];
        assert_eq!(failovers.as_array().map(Vec::len), Some(0), "{failovers}");
    }
}

#[test]
fn a_primary_that_is_not_restarted_is_replaced_without_a_shot() {
    let mut arena = Arena::running(Plan::default());
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("SIGKILL of serve, not started again");
    let moment = Instant::now();
    arena.kill(ALPHA, What::Serve);
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("release: "), "{receipt}");
    client.until_busy();
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());

    arena.serve(ALPHA);
    arena.cluster.until_in_sync(BETA);
    assert_eq!(arena.cluster.replica(ALPHA)["role"], "standby");
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

#[test]
fn a_standby_that_is_not_restarted_is_left_behind_without_a_shot() {
    let mut arena = Arena::running(Plan::default());
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("SIGKILL of the standby's serve, not started again");
    let moment = Instant::now();
    arena.kill(BETA, What::Serve);
    outages.until_accepted(&arena, &observer, ALPHA, moment);
    outages.print();
    client.until_busy();
    arena.serve(BETA);
    arena.cluster.until_in_sync(ALPHA);
    assert_eq!(observer.end(), [ALPHA]);
    client.end(&arena.cluster.uri(ALPHA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
