//! A host that loses its power.

use std::time::Instant;

use crate::{
    harness::cluster::{ALPHA, BETA},
    outages::{Outages, rounds},
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
