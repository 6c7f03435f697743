//! etcd in place of the power switch: the same as beside a witness, and a leader that dies in the middle.

use std::{thread, time::Instant};

use crate::{
    harness::{
        client::Client,
        cluster::{ALPHA, BETA},
        etcd::{Etcd, PROGRAMS, Plan},
        observer::Observer,
        programs::have,
    },
    outages::Outages,
    witnessed::{self, Keeper, arena, power_is_lost, the_primary_stands_still},
};

impl Keeper for Etcd {
    const NAME: &'static str = "etcd";

    fn run(&mut self) {
        self.run_all();
    }

    fn kill(&mut self) {
        self.kill_all();
    }

    fn place(&self) -> String {
        format!("etcd = {{ endpoints = {:?} }}", self.endpoints())
    }
}

#[test]
fn a_primary_that_is_gone_is_replaced_by_the_word_of_etcd() {
    if !have(PROGRAMS) {
        return;
    }
    power_is_lost(Etcd::start(Plan::ONE), "power loss, etcd");
}

#[test]
fn a_primary_that_stood_still_is_none_by_the_word_of_etcd() {
    if !have(PROGRAMS) {
        return;
    }
    the_primary_stands_still(&Etcd::start(Plan::THREE), "frozen primary, three of etcd");
}

#[test]
fn etcd_s_leader_is_killed_with_the_primary() {
    if !have(PROGRAMS) {
        return;
    }
    let mut etcd = Etcd::start(Plan::THREE);
    let mut arena = arena(&etcd);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new("power loss with etcd's leader");
    client.until_busy();
    let leader = etcd.leader();
    let moment = Instant::now();
    arena.lose_power(ALPHA);
    // When the claim is about to be made.
    thread::sleep(witnessed::DEAD);
    etcd.kill(leader);
    outages.until_accepted(&arena, &observer, BETA, moment);
    client.until_busy();
    etcd.run(leader);
    arena.switch.restore(ALPHA);
    arena.come_home(ALPHA, BETA);
    witnessed::until_both_named(&arena, BETA);
    outages.print();
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
