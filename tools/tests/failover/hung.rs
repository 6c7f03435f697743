//! The I/O of a primary stands still and its host lives, with its agent: heartbeats alone would never tell.

use std::{
    process::Command,
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
    outages::Outages,
};

/// Of the fast profile: a primary that hangs for so long is killed.
const HUNG: Duration = Duration::from_secs(20);

/// That, and far more than a takeover takes.
const MOST: Duration = Duration::from_secs(45);

const FAST: &str = "profile = \"fast\"";

#[test]
fn a_primary_that_hangs_is_killed_by_its_own_agent_and_replaced_without_a_shot() {
    let mut arena = Arena::running(Plan {
        agent: FAST,
        ..Plan::default()
    });
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    client.until_busy();
    let mut outages = Outages::bounded("serve stands still, its agent lives", MOST);
    let moment = Instant::now();
    arena.freeze_one(ALPHA, What::Serve);
    let said = arena.cluster.run(ALPHA, &["status"]);
    assert!(said.err.contains("says nothing"), "{}", said.err);
    assert!(moment.elapsed() < HUNG, "status waits for no hang to end");
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    assert!(moment.elapsed() > HUNG, "a slow disk is no hang");
    arena.await_death_of(ALPHA, What::Serve);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("release: "), "{receipt}");
    let told = arena.told(ALPHA).join("\n");
    assert!(told.contains("its process is killed"), "{told}");
    client.until_busy();

    arena.serve(ALPHA);
    arena.cluster.until_in_sync(BETA);
    assert_eq!(arena.cluster.replica(ALPHA)["role"], "standby");
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

/// An agent that can't see the process stands for a process that the kernel does not let go of.
#[test]
fn a_primary_that_hangs_and_can_not_be_killed_is_shot_by_the_other_node() {
    let unshared = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "true"])
        .output();
    if !unshared.is_ok_and(|output| output.status.success()) {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "CI=true, and no process namespace can be made");
        println!("NOT TESTED: no process namespace can be made here (it needs root)");
        return;
    }
    let mut arena = Arena::running(Plan {
        agent: FAST,
        ..Plan::default()
    });
    arena.stop(ALPHA, What::Agent);
    arena.agent_apart(ALPHA);
    arena.until_agents_see(ALPHA, BETA);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    client.until_busy();
    let mut outages = Outages::bounded("serve stands still and can't be killed", MOST);
    let moment = Instant::now();
    arena.freeze_one(ALPHA, What::Serve);
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    assert!(moment.elapsed() > HUNG, "a slow disk is no hang");
    arena.await_death(ALPHA);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("fence: "), "{receipt}");
    let told = arena.told(BETA).join("\n");
    assert!(told.contains("its I/O stands still"), "{told}");
    assert_eq!(arena.switch.shots_at(ALPHA), 1, "{}", arena.logs());
    client.until_busy();
    arena.come_home(ALPHA, BETA);
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
}

#[test]
fn a_standby_that_hangs_costs_its_primary_nothing() {
    let arena = Arena::running(Plan {
        agent: FAST,
        ..Plan::default()
    });
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    client.until_busy();
    let mut outages = Outages::new("the standby's serve stands still, its agent lives");
    let moment = Instant::now();
    arena.freeze_one(BETA, What::Serve);
    outages.until_accepted(&arena, &observer, ALPHA, moment);
    outages.print();
    thread::sleep(HUNG + Duration::from_secs(3));
    client.until_busy();
    assert_eq!(observer.end(), [ALPHA]);
    client.end(&arena.cluster.uri(ALPHA));
    let told = arena.told(ALPHA).join("\n");
    assert!(!told.contains("killed"), "{told}");
}

#[test]
fn an_agent_that_hangs_keeps_no_status_waiting() {
    let arena = Arena::running(Plan::default());
    arena.freeze_one(ALPHA, What::Agent);
    let said = arena.cluster.run(ALPHA, &["agent", "status"]);
    assert!(said.err.contains("says nothing"), "{}", said.err);
    let said = arena.cluster.run(ALPHA, &["status"]);
    assert!(
        said.out
            .contains("`twindisk agent` of node alpha says nothing"),
        "{}",
        said.out
    );
    assert!(said.out.contains("primary"), "{}", said.out);
    arena.thaw(ALPHA);
    arena.until_agents_see(ALPHA, BETA);
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
