//! Three nodes: one of two standbys takes over, the other one follows it, and who was lost comes back.

use std::time::Instant;

use crate::{
    client::Client,
    harness::{
        arena::{Arena, Plan, What},
        cluster::{ALPHA, BETA, GAMMA},
        process::assert_same,
    },
    observer::Observer,
    outages::Outages,
};

fn three() -> Arena {
    Arena::running(Plan {
        third: true,
        agent: "max-failovers = 1000",
        ..Plan::default()
    })
}

/// `standby` replicates from `primary`.
fn follows(arena: &Arena, standby: &str, primary: &str) {
    arena.cluster.until(standby, "it follows", |replica| {
        let mut peers = replica["peers"].as_array().expect("peers").iter();
        peers.any(|peer| {
            peer["name"] == primary
                && peer["role"] == "primary"
                && peer["connection"] == "established"
        })
    });
}

#[test]
fn one_standby_takes_over_and_the_other_follows() {
    let mut arena = three();
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("three nodes: power loss of the primary, then of two");

    client.until_busy();
    let moment = Instant::now();
    arena.lose_power(ALPHA);
    outages.until_accepted(&arena, &observer, BETA, moment);
    let failover = arena.last_failover(BETA);
    assert_eq!(failover["from"], "alpha");
    assert!(
        failover["receipt"].to_string().contains("fence: "),
        "{failover}"
    );
    follows(&arena, GAMMA, BETA);
    client.until_busy();
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    arena.come_home(ALPHA, BETA);

    // Two at once: the last one needs a receipt about each of them.
    client.until_busy();
    let moment = Instant::now();
    arena.lose_power(BETA);
    arena.lose_power(ALPHA);
    outages.until_accepted(&arena, &observer, GAMMA, moment);
    let failover = arena.last_failover(GAMMA);
    assert_eq!(
        failover["receipt"].to_string().matches("fence: ").count(),
        2,
        "{failover}"
    );
    client.until_busy();
    for node in [ALPHA, BETA] {
        arena
            .cluster
            .wait_for(node, "it is switched on again", |_| {
                arena.switch.is_on(node).then_some(())
            });
        arena.boot(node);
    }
    arena.cluster.until_in_sync(GAMMA);

    outages.print();
    assert_eq!(observer.end(), [ALPHA, BETA, GAMMA]);
    client.end(&arena.cluster.uri(GAMMA));
    arena.cluster.until_in_sync(GAMMA);
    for node in [GAMMA, ALPHA, BETA] {
        arena.stop(node, What::Agent);
        arena.stop(node, What::Serve);
    }
    for node in [ALPHA, BETA] {
        assert_same(&arena.cluster.image(node), &arena.cluster.image(GAMMA));
    }
}

#[test]
fn the_role_goes_to_the_named_node() {
    let arena = three();
    let refused = arena.cluster.run(ALPHA, &["switchover", "--to", "delta"]);
    assert_eq!(refused.code, 11, "{refused:?}");
    assert!(refused.err.contains("there is beta, gamma"), "{refused:?}");
    let done = arena.cluster.ok(ALPHA, &["switchover", "--to", GAMMA]);
    assert!(done.contains("gamma is primary"), "{done}");
    arena.until_primary(GAMMA);
    follows(&arena, BETA, GAMMA);
    follows(&arena, ALPHA, GAMMA);
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
