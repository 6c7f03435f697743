//! Cables between the nodes are cut.

use std::time::Instant;

use crate::{
    harness::cluster::{ALPHA, BETA},
    outages::{Outages, each_anew, rounds},
    site::Site,
};

/// The agents still hear each other.
#[test]
fn the_replication_link_is_cut() {
    let Some(site) = Site::start("link") else {
        return;
    };
    let mut outages = Outages::new("replication link cut");
    for _ in 0..rounds() {
        let moment = Instant::now();
        site.namespaces().cut_replication();
        site.until_alone(ALPHA);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.namespaces().heal_replication();
        site.until_in_sync(ALPHA);
        site.arena.until_agents_see(ALPHA, BETA);
    }
    outages.print();
    assert_eq!(site.arena.switch.shots(), 0, "{}", site.logs());
    site.end(ALPHA);
}

/// Nothing is heard any more, and both live: the primary shoots first.
#[test]
fn all_links_are_cut() {
    each_anew("links", "all links cut", |mut site, outages| {
        let moment = Instant::now();
        site.namespaces().cut();
        site.arena.await_death(BETA);
        outages.enter(&site, moment, Instant::now());
        site.check();
        site.namespaces().heal();
        site.come_home(BETA, ALPHA);
        assert_eq!(site.arena.switch.shots(), 1, "{}", site.logs());
        site.end(ALPHA);
    });
}
