//! A host that is gone, and one that hangs: the other takes over by itself.

use std::time::{Duration, Instant};

use crate::{
    client::Client,
    harness::{
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        random::number,
    },
    observer::Observer,
    outages::Outages,
};

#[test]
fn a_primary_that_loses_its_power_is_replaced_every_time() {
    let rounds = number("TWINDISK_FAILOVER_ROUNDS").unwrap_or(3);
    let mut arena = Arena::running(Plan {
        agent: "max-failovers = 1000",
        ..Plan::default()
    });
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("power loss, read off at the switch");
    let (mut primary, mut standby) = (ALPHA, BETA);
    let mut expected = vec![ALPHA];
    for _ in 0..rounds {
        client.until_busy();
        let moment = Instant::now();
        arena.lose_power(primary);
        outages.until_accepted(&arena, &observer, standby, moment);
        let receipt = arena.last_failover(standby)["receipt"].to_string();
        assert!(receipt.contains("read as off twice"), "{receipt}");
        client.until_busy();
        arena.come_home(primary, standby);
        (primary, standby) = (standby, primary);
        expected.push(primary);
    }
    outages.print();
    assert_eq!(observer.end(), expected);
    client.end(&arena.cluster.uri(primary));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    // The old primary would count as dead after 2 s.
    let least = outages.least();
    assert!(least < Duration::from_millis(1800), "{least:?}");
}

#[test]
fn a_primary_that_loses_its_power_is_shot_where_nobody_may_read_that() {
    let mut arena = Arena::running(Plan {
        agent: "read-power = false",
        ..Plan::default()
    });
    let client = Client::start(&arena.cluster);
    client.until_busy();
    arena.lose_power(ALPHA);
    arena.until_primary(BETA);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("off succeeded"), "{receipt}");
    assert_eq!(arena.switch.shots_at(ALPHA), 1, "{}", arena.logs());
    client.until_busy();
    client.end(&arena.cluster.uri(BETA));
}

#[test]
fn a_primary_that_hangs_is_fenced_before_it_is_replaced() {
    let mut arena = Arena::running(Plan::default());
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("frozen primary, read on at the switch");
    let moment = Instant::now();
    arena.freeze(ALPHA);
    arena.await_death(ALPHA);
    assert_eq!(
        observer.first_after(BETA, moment),
        None,
        "beta accepted writes before alpha was dead"
    );
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    client.until_busy();
    arena.come_home(ALPHA, BETA);
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots_at(ALPHA), 1);
    assert_eq!(arena.switch.shots_at(BETA), 0);
}

#[test]
fn too_many_failovers_need_a_person_to_go_on() {
    let mut arena = Arena::running(Plan {
        agent: "max-failovers = 1",
        ..Plan::default()
    });
    let client = Client::start(&arena.cluster);
    arena.lose_power(ALPHA);
    arena.until_primary(BETA);
    let said = arena.agent_says(BETA);
    assert_eq!(said["blocked"], true, "{said}");
    arena.come_home(ALPHA, BETA);
    // A person may move the role as often as he likes.
    arena.cluster.ok(BETA, &["switchover"]);
    arena.until_primary(ALPHA);
    arena.cluster.until_in_sync(ALPHA);
    client.until_busy();

    arena.lose_power(ALPHA);
    arena.stays_standby(BETA, Duration::from_secs(8));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    let said = arena.cluster.ok(BETA, &["agent", "status"]);
    assert!(said.contains("BLOCKED"), "{said}");
    assert!(said.contains("twindisk agent clear"), "{said}");
    // The block is not forgotten with the process.
    arena.stop(BETA, crate::harness::arena::What::Agent);
    arena.agent(BETA);
    assert_eq!(arena.agent_says(BETA)["blocked"], true);

    let moment = Instant::now();
    arena.cluster.ok(BETA, &["agent", "clear"]);
    arena.until_primary(BETA);
    assert!(moment.elapsed() < crate::outages::MOST);
    client.until_busy();
    client.end(&arena.cluster.uri(BETA));
}
