//! Processes that die and nodes that lose their power.

use std::{cell::Cell, time::Duration};

use twindisk_core::{Command, ConnectionState, DiskState, Mark, Protocol, RefusalCode};

use super::Run;
use crate::{
    checker::image,
    disk::Loss,
    rng::Rng,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{Seed, Swarm},
    trace::Telling,
    write_log::WriteLog,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("standby-lost-its-cache", standby_lost_its_cache),
    ("stale-node-rejoins", stale_node_rejoins),
    ("cold-start-primary-first", cold_start_primary_first),
    ("cold-start-standby-first", cold_start_standby_first),
    ("blackout-under-load", blackout_under_load),
    ("standby-killed-ten-times", standby_killed_ten_times),
    ("primary-killed-ten-times", primary_killed_ten_times),
    ("first-flush-after-a-restart", first_flush_after_a_restart),
    ("failover-there-and-back", failover_there_and_back),
    ("crash-is-compared-first", crash_is_compared_first),
    ("one-after-the-other", one_after_the_other),
    ("only-one-lost-its-power", only_one_lost_its_power),
    ("outdated-in-vain", outdated_in_vain),
    (
        "crashed-leader-has-written-to-a-cache",
        crashed_leader_has_a_cache,
    ),
    ("standby-could-lose-its-power-at-any-moment", power_cuts),
];

/// The standby loses power with writes in its cache that were acknowledged but not flushed; the primary dies next.
fn standby_lost_its_cache(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.load_done();
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.start(1);
    script.pass(2000);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.promote(1);
    script.load(30);
    script.pass(500);
    script.start(0);
    script.finish()
}

/// A standby is away while the primary goes on with proof; it comes back and must get what it missed.
fn stale_node_rejoins(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

fn cold_start(seed: Seed, telling: Telling, first: usize) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(80);
    script.pass(50);
    script.power_off(0, Loss::Some);
    script.power_off(1, Loss::Some);
    script.start(first);
    script.pass(500);
    script.must_refuse(first, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(1 - first);
    script.wait_disk(first, DiskState::UpToDate);
    script.must(first, PROMOTE);
    script.load(40);
    script.finish()
}

fn cold_start_primary_first(seed: Seed, telling: Telling) -> Outcome {
    cold_start(seed, telling, 0)
}

fn cold_start_standby_first(seed: Seed, telling: Telling) -> Outcome {
    cold_start(seed, telling, 1)
}

fn blackout_under_load(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for _ in 0..4 {
        script.load(100);
        script.pass(70);
        script.power_off(1, Loss::Some);
        script.power_off(0, Loss::Some);
        script.start(0);
        script.start(1);
        script.wait_disk(1, DiskState::UpToDate);
        script.promote(1);
        script.wait_disk(0, DiskState::UpToDate);
        script.must(1, DEMOTE);
        script.must(0, PROMOTE);
    }
    script.finish()
}

fn standby_killed_ten_times(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..10 {
        script.load(20);
        script.pass(3 + turn * 7);
        if turn % 2 == 0 {
            script.crash(1);
        } else {
            script.power_off(1, Loss::Some);
        }
        script.pass(turn * 20);
        script.start(1);
        script.pass(300);
    }
    script.finish()
}

fn primary_killed_ten_times(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..10 {
        script.load(20);
        script.pass(3 + turn * 7);
        script.crash(0);
        script.pass(turn * 20);
        script.start(0);
        script.wait_disk(0, DiskState::UpToDate);
        script.must(0, PROMOTE);
    }
    script.finish()
}

/// What was written before the process was restarted is in the cache only: the first flush must cover it.
fn first_flush_after_a_restart(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 300;
    let mut script = Script::new(swarm, telling);
    for _ in 0..4 {
        script.load(40);
        script.pass(30);
        script.crash(0);
        script.start(0);
        script.must(0, PROMOTE);
        script.load(30);
        script.load_done();
        script.power_off(1, Loss::All);
        script.power_off(0, Loss::All);
        script.start(0);
        script.start(1);
        script.must(0, PROMOTE);
    }
    script.finish()
}

/// Failover after failover: each time the survivor has everything.
fn failover_there_and_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..6 {
        script.load(60);
        script.pass(20 + turn);
        let Some(primary) = script.primary() else {
            break;
        };
        let other = 1 - primary;
        script.power_off(primary, Loss::All);
        script.wait_lost(other, primary);
        script.fenced(other, primary);
        script.must(other, PROMOTE);
        script.serve(20);
        script.start(primary);
        script.wait_all_equal();
    }
    script.finish()
}

/// A crashed primary is brought up from the extents that were active, compared before they are sent.
fn crash_is_compared_first(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 2048;
    let mut script = Script::new(swarm, telling);
    script.load(60);
    script.pass(10);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.start(0);
    script.wait_all_equal();
    let compared = script.world.coverage.count("action", "send: Hash");
    script.expect(compared > 0, "hashes are compared before blocks are sent");
    script.finish()
}

/// The primary loses its power, and its standby some time later, before anybody was promoted: the standby has every
/// acknowledged write, and both know it when they come back.
fn one_after_the_other(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for first in [0, 1] {
        script.load(80);
        script.pass(30);
        script.power_off(0, Loss::All);
        script.wait_lost(1, 0);
        script.pass(3000);
        script.power_off(1, Loss::All);
        script.start(first);
        script.pass(100);
        script.start(1 - first);
        script.wait_all_equal();
        script.expect_decided(Mark::SurvivorByBitmap);
        script.must(0, PROMOTE);
        script.load_done();
    }
    script.finish()
}

/// A primary's process dies with writes in its disk's cache. The next one leads the standby, and takes the marks of what
/// may differ away; then the power goes.
fn crashed_leader_has_a_cache(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::A;
    swarm.size_blocks = 8 << 10;
    // No background flush makes stable what the crash is to leave in the cache.
    swarm.timings.flush_interval = Duration::from_secs(1);
    let mut script = Script::new(swarm, telling);
    for turn in 0..6 {
        script.load(40);
        script.pass(20 + turn);
        script.crash(0);
        script.start(0);
        script.step_until(|script| {
            script.status(0).peers[0].connection == ConnectionState::Established
        });
        script.pass(0);
        script.power_off(0, Loss::All);
        script.wait_lost(1, 0);
        script.start(0);
        script.wait_link(0, 1, ConnectionState::Established);
        script.must(0, PROMOTE);
        script.load_done();
    }
    script.wait_all_equal();
    script.finish()
}

/// Both go down under load: the primary with its host, the standby's process alone. That one has what was acknowledged.
fn only_one_lost_its_power(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.load(60);
        script.pass(15 + turn);
        let Some(primary) = script.primary() else {
            break;
        };
        script.crash(1 - primary);
        script.power_off(primary, Loss::All);
        script.start(primary);
        script.start(1 - primary);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// The standby records itself as Outdated, but the primary never comes to use that: the primary's process has died, and its
/// host loses its power with what was not flushed. The standby's process dies too, and its host lives: it has everything.
fn outdated_in_vain(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 0;
    swarm.timings.flush_interval = Duration::from_secs(60);
    let mut script = Script::new(swarm, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.load(100);
    script.load_done();
    script.part();
    script.wait_lost(1, 0);
    script.must(1, Command::Outdate);
    script.crash(1);
    script.power_off(0, Loss::All);
    script.join();
    script.start(0);
    script.start(1);
    script.somebody_primary();
    script.wait_all_equal();
    script.finish()
}

/// The scenario that also runs for real, on a disk under the kernel's `dm-log-writes` (`tools/tests/vm_log_writes`).
/// Records the standby's disk under load, makes the image of every moment at which its power could have gone, and
/// checks it: what was acknowledged as stable by then is there, and a prefix of flushes explains the rest. Then the
/// power does go, under load.
fn power_cuts(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 200;
    let mut script = Script::new(swarm, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.wait("the standby's disk is at rest", |world| {
        WriteLog::begin(&world.nodes[1].disk).is_some()
    });
    script.world.nodes[1].log = WriteLog::begin(&script.world.nodes[1].disk);
    script.load(200);
    // A standby that has left the in-sync set is promised nothing.
    let until = Cell::new(0);
    script.wait("clients are done, or the standby has left", |world| {
        let counted_on = world
            .status_of(0)
            .is_some_and(|status| status.peers[0].in_sync);
        if counted_on {
            until.set(world.now);
        }
        let done = world.clients.issued >= world.clients.budget && world.clients.waiting() == 0;
        done || !counted_on
    });
    if let Some(log) = script.world.nodes[1].log.take() {
        let book = &script.world.book;
        let looked = log.replay(until.get(), &mut Rng::new(seed.number), |moment, image| {
            let peek = |sector: u64| image[sector as usize];
            book.check_stable(moment, peek)?;
            image::check(book, 1, peek)
        });
        match looked {
            Ok(looks) => script.expect(looks > 0, "there are moments to look at"),
            Err(violation) => script.world.violate(violation),
        }
    }
    script.load_done();
    script.load(100);
    script.pass(40);
    script.power_off(1, Loss::Some);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.load_done();
    script.finish()
}
