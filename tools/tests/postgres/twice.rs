//! A second loss of power before the first one is mended.

use std::time::{Duration, Instant};

use crate::{
    harness::{
        cluster::{ALPHA, BETA},
        eventually,
        process::pause,
        random::{Random, seed},
    },
    outages::each_anew,
};

/// What a standby that comes back has missed takes its time on this.
const SLOW: &str = "2mbit";

/// What the old primary has is no whole copy until the new one is back.
#[test]
fn the_new_primary_loses_its_power_while_the_old_one_resyncs() {
    each_anew(
        "resync",
        "power loss of the new primary in a resync",
        |mut site, outages| {
            let moment = Instant::now();
            site.lose_power(ALPHA);
            site.until_served(Instant::now());
            site.until_served(Instant::now());
            let switch = &site.arena.switch;
            eventually(
                "alpha is switched on",
                || site.logs(),
                || switch.is_on(ALPHA).then_some(()),
            );
            site.namespaces().slow_down(BETA, SLOW);
            site.boot(ALPHA);
            site.arena
                .cluster
                .until(BETA, "a resync is under way", |replica| {
                    !replica["peers"][0]["progress"].is_null()
                });
            site.lose_power(BETA);
            site.namespaces().speed_up(BETA);
            site.arena.stays_standby(ALPHA, Duration::from_secs(4));
            site.switch_on(BETA);
            outages.enter(&site, moment, Instant::now());
            site.check();
            site.until_in_sync(BETA);
            site.end(BETA);
        },
    );
}

#[test]
fn both_lose_their_power_and_the_primary_is_back_first() {
    both(
        "both-one",
        "power loss of both, the primary is back first",
        [ALPHA, BETA],
    );
}

#[test]
fn both_lose_their_power_and_the_standby_is_back_first() {
    both(
        "both-two",
        "power loss of both, the standby is back first",
        [BETA, ALPHA],
    );
}

/// Within a second; what was committed was flushed.
fn both(test: &str, of: &'static str, order: [&'static str; 2]) {
    let random = std::cell::RefCell::new(Random::new(seed("TWINDISK_POSTGRES_SEED")));
    each_anew(test, of, |mut site, outages| {
        let mut random = random.borrow_mut();
        let moment = Instant::now();
        site.lose_power(ALPHA);
        pause(&mut random, Duration::ZERO, Duration::from_millis(900));
        site.lose_power(BETA);
        for node in order {
            site.switch_on(node);
            pause(&mut random, Duration::ZERO, Duration::from_secs(3));
        }
        outages.enter(&site, moment, Instant::now());
        site.check();
        let primary = site.primary();
        site.until_in_sync(primary);
        site.end(primary);
    });
}
