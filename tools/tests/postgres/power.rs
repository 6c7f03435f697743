//! One host loses its power, or stands still.

use std::time::Instant;

use crate::{
    harness::cluster::{ALPHA, BETA},
    outages::{Outages, each_anew, rounds},
    site::Site,
};

#[test]
fn the_primary_loses_its_power() {
    let Some(mut site) = Site::start("power") else {
        return;
    };
    let mut outages = Outages::new("power loss of the primary");
    let (mut primary, mut standby) = (ALPHA, BETA);
    for _ in 0..rounds() {
        let moment = Instant::now();
        site.lose_power(primary);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.come_home(primary, standby);
        (primary, standby) = (standby, primary);
    }
    outages.print();
    site.end(primary);
}

#[test]
fn the_standby_loses_its_power() {
    let Some(mut site) = Site::start("standby") else {
        return;
    };
    let mut outages = Outages::new("power loss of the standby");
    for _ in 0..rounds() {
        let moment = Instant::now();
        site.lose_power(BETA);
        site.until_alone(ALPHA);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.come_home(BETA, ALPHA);
    }
    outages.print();
    site.end(ALPHA);
}

#[test]
fn everything_of_the_primary_stands_still() {
    each_anew(
        "frozen",
        "everything of the primary stands still",
        |mut site, outages| {
            let moment = Instant::now();
            site.freeze(ALPHA);
            site.arena.await_death(ALPHA);
            outages.enter(&site, moment, Instant::now());
            site.check();
            site.come_home(ALPHA, BETA);
            site.end(BETA);
        },
    );
}
