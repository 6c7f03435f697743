//! Processes die, and their host lives; and the role moves because somebody wants it to.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    harness::{
        arena::{CONFIG, What},
        cluster::{ALPHA, BETA},
    },
    outages::{Outages, each_anew, rounds},
    site::Site,
};

/// As a service manager waits.
const RESTART: Duration = Duration::from_millis(100);

#[test]
fn serve_is_killed_and_started_again() {
    let Some(mut site) = Site::start("serve") else {
        return;
    };
    let mut outages = Outages::new("SIGKILL of the primary's serve, started again after 100 ms");
    for _ in 0..rounds() {
        let primary = site.primary();
        let moment = Instant::now();
        site.arena.kill(primary, What::Serve);
        thread::sleep(RESTART);
        site.arena.spawn(primary, What::Serve, CONFIG);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.until_in_sync(site.primary());
    }
    outages.print();
    let primary = site.primary();
    site.end(primary);
}

#[test]
fn serve_is_killed_and_stays_dead() {
    each_anew(
        "dead",
        "SIGKILL of the primary's serve, which stays dead",
        |mut site, outages| {
            let moment = Instant::now();
            site.arena.kill(ALPHA, What::Serve);
            // What is mounted there can't be unmounted.
            site.arena.await_death_of(ALPHA, What::Agent);
            outages.enter(&site, moment, Instant::now());
            site.check();
            site.come_home(ALPHA, BETA);
            site.end(BETA);
        },
    );
}

#[test]
fn postgresql_is_killed() {
    let Some(site) = Site::start("database") else {
        return;
    };
    let mut outages = Outages::new("SIGKILL of every process of PostgreSQL");
    for _ in 0..rounds() {
        let moment = Instant::now();
        let killed = site.host(ALPHA).signal(Some("postgres"), Signal::SIGKILL);
        assert!(killed > 3, "{killed} processes of PostgreSQL");
        outages.enter(&site, moment, Instant::now());
        site.check();
    }
    outages.print();
    assert_eq!(site.arena.switch.shots(), 0, "{}", site.logs());
    site.end(ALPHA);
}

#[test]
fn the_role_is_switched_over_under_load() {
    let Some(site) = Site::start("switchover") else {
        return;
    };
    let mut outages = Outages::new("switchover");
    let (mut primary, mut standby) = (ALPHA, BETA);
    for _ in 0..rounds() {
        let moment = Instant::now();
        site.arena.cluster.ok(primary, &["switchover"]);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.until_in_sync(standby);
        site.arena.until_agents_see(standby, primary);
        (primary, standby) = (standby, primary);
    }
    outages.print();
    assert_eq!(site.arena.switch.shots(), 0, "{}", site.logs());
    site.end(primary);
}
