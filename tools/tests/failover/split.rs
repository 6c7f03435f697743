//! Both live and the cable between them is cut: exactly one goes on. Where one alone has lost its clients, the other.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    harness::{
        LOOK,
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        eventually,
        namespaces::{Namespaces, PING},
        process::pause,
        random::{Random, number, seed},
    },
    observer::Observer,
    outages::{MOST, Outages},
};

#[test]
fn a_cut_link_costs_exactly_one_node() {
    let rounds = number("TWINDISK_FAILOVER_ROUNDS").unwrap_or(3);
    let slow = number("TWINDISK_FAILOVER_SLOW").unwrap_or(1);
    // Silence, off, and twice status: three times as slow as the device, and a little more.
    let most = MOST + 3 * Duration::from_secs(slow);
    let mut outages = Outages::bounded(&format!("cut link, a fence device of {slow} s"), most);
    let mut fenced = Vec::new();
    for _ in 0..rounds {
        // Each time another pair: one node that shoots the other again and again is damped.
        let Some(arena) = with_a_cable("cut", slow, quick_to_lose()) else {
            return;
        };
        fenced.push(one_is_fenced_when_the_link_is_cut(
            arena,
            slow,
            &mut outages,
        ));
    }
    outages.print();
    println!("fenced: {}", fenced.join(", "));
}

/// Which one.
fn one_is_fenced_when_the_link_is_cut(
    mut arena: Arena,
    slow: u64,
    outages: &mut Outages,
) -> &'static str {
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    until_known(&arena, slow);
    client.until_busy();
    arena.namespaces.as_ref().unwrap().cut();
    let moment = Instant::now();
    let survivor = await_one_death(&mut arena, slow);
    let fenced = if survivor == ALPHA { BETA } else { ALPHA };
    outages.until_accepted(&arena, &observer, survivor, moment);
    assert!(arena.is_primary(survivor), "{}", arena.logs());
    arena.await_death(fenced);
    arena.namespaces.as_ref().unwrap().heal();
    arena.come_home(fenced, survivor);
    let expected: &[&str] = if survivor == ALPHA {
        &[ALPHA]
    } else {
        &[ALPHA, BETA]
    };
    assert_eq!(observer.end(), expected);
    client.end(&arena.cluster.uri(survivor));
    assert_eq!(arena.switch.shots(), 1, "{}", arena.logs());
    fenced
}

#[test]
fn a_link_that_is_cut_right_after_a_switchover_costs_exactly_one_node() {
    let Some(mut arena) = with_a_cable("switched", 1, quick_to_lose()) else {
        return;
    };
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    until_known(&arena, 1);
    arena.cluster.ok(ALPHA, &["switchover"]);
    arena.namespaces.as_ref().unwrap().cut();
    let moment = Instant::now();
    let survivor = await_one_death(&mut arena, 1);
    let mut outages = Outages::new("link cut right after a switchover, a fence device of 1 s");
    outages.until_accepted(&arena, &observer, survivor, moment);
    outages.print();
    assert_eq!(survivor, BETA, "the primary fires first\n{}", arena.logs());
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots(), 1, "{}", arena.logs());
}

#[test]
fn a_primary_that_has_lost_its_clients_leaves_the_shot_to_the_other() {
    let rounds = number("TWINDISK_FAILOVER_ROUNDS").unwrap_or(2);
    let plan = Plan {
        agent: &format!("max-failovers = 1000\n{PING}"),
        ..Plan::default()
    };
    let Some(mut arena) = with_a_cable("isolated", 1, plan) else {
        return;
    };
    let mut random = Random::new(seed("TWINDISK_FAILOVER_SEED"));
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("isolated primary, ping targets, a fence device of 1 s");
    let (mut primary, mut standby) = (ALPHA, BETA);
    let mut expected = vec![ALPHA];
    for _ in 0..rounds {
        until_known(&arena, 1);
        arena.until_agents_see(primary, standby);
        client.until_busy();
        // Whatever the targets have last answered to.
        pause(&mut random, Duration::ZERO, Duration::from_secs(1));
        let before = arena.switch.shots_at(standby);
        arena.namespaces.as_ref().unwrap().isolate(primary);
        let moment = Instant::now();
        let survivor = await_one_death(&mut arena, 1);
        assert_eq!(
            survivor,
            standby,
            "the one that clients reach was shot\n{}",
            arena.logs()
        );
        outages.until_accepted(&arena, &observer, standby, moment);
        arena.await_death(primary);
        assert_eq!(
            arena.switch.shots_at(standby),
            before,
            "a shot was fired at {standby}\n{}",
            arena.logs()
        );
        arena.namespaces.as_ref().unwrap().rejoin(primary);
        arena.come_home(primary, standby);
        (primary, standby) = (standby, primary);
        expected.push(primary);
    }
    outages.print();
    assert_eq!(observer.end(), expected);
    client.end(&arena.cluster.uri(primary));
    assert_eq!(arena.switch.shots() as u64, rounds, "{}", arena.logs());
}

/// A lost peer is noticed by its silence alone, so that is the larger part of the outage.
fn quick_to_lose() -> Plan<'static> {
    Plan {
        agent: "max-failovers = 1000",
        resource: "ping-interval = \"500ms\"\npeer-timeout = \"2s\"\nread-lease = \"2s\""
            .to_owned(),
        ..Plan::default()
    }
}

/// Two nodes in namespaces of their own, alpha primary, with a fence device that takes so many seconds for each answer.
fn with_a_cable(name: &str, slow: u64, plan: Plan<'_>) -> Option<Arena> {
    let mut arena = Arena::new(Plan {
        namespaces: Some(Namespaces::new(name)?),
        ..plan
    });
    arena.switch.slow_down(slow);
    for node in [ALPHA, BETA] {
        arena.boot(node);
    }
    arena.until_primary(ALPHA);
    arena.cluster.until_in_sync(ALPHA);
    Some(arena)
}

/// The device was asked how fast it is, on both sides.
fn until_known(arena: &Arena, slow: u64) {
    for node in [ALPHA, BETA] {
        arena.until_agent(node, "it knows how slow the device is", |said| {
            said["peers"][0]["fence-latency-ms"].as_u64() >= Some(1000 * slow)
        });
    }
}

/// Waits until one node is dead, and for some time for the other not to be. Which one lives.
fn await_one_death(arena: &mut Arena, slow: u64) -> &'static str {
    let alive = std::cell::RefCell::new([true, true]);
    let arena = std::cell::RefCell::new(arena);
    eventually(
        "one of the two is fenced",
        || arena.borrow().logs(),
        || {
            let mut arena = arena.borrow_mut();
            *alive.borrow_mut() = [ALPHA, BETA].map(|node| arena.lives(node));
            alive.borrow().contains(&false).then_some(())
        },
    );
    // Longer than the other's delay and its shot together.
    let until = Instant::now() + Duration::from_secs(5 + 3 * slow);
    while Instant::now() < until {
        let alive = [ALPHA, BETA].map(|node| arena.borrow_mut().lives(node));
        assert_ne!(
            alive,
            [false, false],
            "BOTH WERE SHOT\n{}",
            arena.borrow().logs()
        );
        thread::sleep(LOOK);
    }
    if alive.into_inner()[0] { ALPHA } else { BETA }
}
