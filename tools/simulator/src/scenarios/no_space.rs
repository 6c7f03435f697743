//! Disks without space (R13): what finds none waits, no copy is lost by it, and everything goes on once there is room.

use core::time::Duration;

use twindisk_core::{Command, DiskState, Mark, Protocol, RefusalCode, Role, Timings};

use super::Run;
use crate::{
    disk::Loss,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("no-space-on-the-standby", on_the_standby),
    ("no-space-on-the-primary", on_the_primary),
    ("no-space-on-both", on_both),
    ("no-space-beneath-a-lone-primary", beneath_a_lone_primary),
    ("no-space-on-a-resync-target", on_a_resync_target),
    ("no-space-and-a-demotion", in_a_demotion),
    ("no-space-and-a-switchover", in_a_switchover),
    ("no-space-and-a-stop", in_a_stop),
    ("no-space-and-a-promotion", in_a_promotion),
    ("no-space-for-what-was-received-b", for_what_was_received),
    ("no-space-for-a-repair", for_a_repair),
    ("no-space-then-the-disk-fails", then_the_disk_fails),
];

/// A standby that finds no space leaves after a second, a stop is cut short after another.
fn swarm(seed: Seed) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    swarm.timings = Timings {
        ping_interval: Duration::from_millis(50),
        peer_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_millis(2000),
        read_lease: Duration::from_millis(100),
        flush_interval: Duration::from_millis(100),
        stop_timeout: Duration::from_millis(1000),
    };
    swarm.net.delay = 100 * US;
    swarm.net.notice = 50 * MS;
    swarm.net.dial = 5 * MS;
    (swarm.load.reads, swarm.load.fua) = (100, 100);
    (swarm.load.clients, swarm.load.think) = (2, MS);
    swarm
}

/// Nothing finds space on a node any more.
fn fill(script: &mut Script, number: usize) {
    let trouble = &mut script.world.nodes[number].trouble;
    (trouble.full_until, trouble.full) = (script.world.now + 1000 * SEC, 1000);
}

/// There is room again.
fn make_room(script: &mut Script, number: usize) {
    script.world.nodes[number].trouble.full_until = 0;
}

fn wait_short(script: &mut Script, number: usize) {
    script.wait("it says that it has no space", |world| {
        world.status_of(number).is_some_and(|status| {
            let said = status.warnings.iter();
            let said = said.filter(|warning| warning.starts_with("no space on "));
            status.no_space.is_some() && said.count() == 1
        })
    });
}

fn expect_never_failed(script: &mut Script) {
    let failed: u64 = ["UpToDate", "Consistent", "Outdated", "Inconsistent"]
        .iter()
        .map(|before| {
            script
                .world
                .coverage
                .count("disk", &format!("{before} to Failed"))
        })
        .sum();
    script.expect(failed == 0, "no disk has failed");
}

/// For a moment: nobody notices but who waits. For long: the standby leaves in good order, its copy stays whole, and it is
/// brought up when there is room. The primary is never suspended.
fn on_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 1);
    script.pass(300);
    make_room(&mut script, 1);
    script.load_done();
    let left = script.decided(Mark::LeftForSpace);
    script.expect(left == 0, "it waits");
    script.expect_disk(1, DiskState::UpToDate);

    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 1);
    script.load_done();
    script.expect_decided(Mark::LeftForSpace);
    let lost = script.decided(Mark::InSyncLost) + script.decided(Mark::Unanswered);
    script.expect(lost == 0, "the primary is not suspended");
    script.wait("its resync waits for room", |world| {
        world.status_of(1).is_some_and(|status| {
            status.peers[0].connection_why.contains("no space on bob")
                && status.peers[0].connection_why.contains("resync")
        })
    });
    script.expect_disk(1, DiskState::Outdated);
    script.serve(40);
    script.expect_disk(1, DiskState::Outdated);
    script.expect_decided(Mark::ResyncForSpace);
    make_room(&mut script, 1);
    script.wait_all_equal();
    script.serve(20);
    expect_never_failed(&mut script);
    script.finish()
}

/// Clients wait, and are answered when there is room.
fn on_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    fill(&mut script, 0);
    script.load(40);
    wait_short(&mut script, 0);
    script.pass(8000);
    script.expect_role(0, Role::Primary);
    script.expect_disk(0, DiskState::UpToDate);
    script.expect_disk(1, DiskState::UpToDate);
    let waits = script.world.clients.waiting() > 0;
    script.expect(waits, "clients wait");
    make_room(&mut script, 0);
    script.load_done();
    script.wait_report("space-again", 1);
    expect_never_failed(&mut script);
    script.finish()
}

/// Both have none in the same write. They lose their power, come up without room, and what was flushed is there.
fn on_both(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(40);
    fill(&mut script, 0);
    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 0);
    script.pass(if seed.number.is_multiple_of(2) {
        300
    } else {
        4000
    });
    for number in 0..2 {
        script.power_off(number, Loss::Some);
    }
    script.pass(100);
    for number in 0..2 {
        script.start(number);
    }
    script.pass(4000);
    let whole = (0..2).any(|number| script.status(number).disk >= DiskState::Outdated);
    script.expect(whole, "a person can have a whole copy");
    for number in 0..2 {
        make_room(&mut script, number);
    }
    script.somebody_primary();
    script.load_done();
    script.serve(20);
    expect_never_failed(&mut script);
    script.finish()
}

/// The only copy has no space: it serves what it has, is stopped and promoted as ever, and goes on when there is room.
fn beneath_a_lone_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.serve(20);
    fill(&mut script, 0);
    script.load(30);
    wait_short(&mut script, 0);
    script.pass(3000);
    script.crash(0);
    script.start(0);
    script.must(0, PROMOTE);
    script.pass(1000);
    make_room(&mut script, 0);
    script.load_done();
    script.start(1);
    expect_never_failed(&mut script);
    script.finish()
}

/// The copy that is being made finds no space: it is not failed, and goes on when there is room.
fn on_a_resync_target(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.serve(60);
    fill(&mut script, 1);
    script.start(1);
    wait_short(&mut script, 1);
    script.expect_disk(1, DiskState::Inconsistent);
    script.serve(30);
    script.pass(6000);
    script.serve(30);
    script.expect_decided(Mark::LeftForSpace);
    make_room(&mut script, 1);
    script.wait_all_equal();
    expect_never_failed(&mut script);
    script.finish()
}

/// A demotion of a primary without space says why nothing comes of it; with `--abandon` it ends at once, the other one is
/// promoted, and goes on.
fn in_a_demotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    fill(&mut script, 0);
    script.load(40);
    wait_short(&mut script, 0);
    script.must_refuse(0, DEMOTE, RefusalCode::Suspended);
    script.expect_role(0, Role::Primary);
    script.must(0, Command::Demote { abandon: true });
    script.expect_role(0, Role::Standby);
    script.must(1, PROMOTE);
    script.load_done();
    script.pass(3000);
    make_room(&mut script, 0);
    script.wait_all_equal();
    script.serve(20);

    // And the same, to be promoted again although what was given up still waits.
    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 1);
    script.must(1, Command::Demote { abandon: true });
    script.must(1, PROMOTE);
    script.pass(500);
    make_room(&mut script, 1);
    script.load_done();
    expect_never_failed(&mut script);
    script.finish()
}

/// Nobody hands over what is not answered, and both stay what they are.
fn in_a_switchover(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    for full in 0..2 {
        script.serve(30);
        script.wait_all_equal();
        fill(&mut script, full);
        script.load(40);
        wait_short(&mut script, full);
        let switchover = Command::Switchover { to: None };
        if full == 0 {
            script.must_refuse(0, switchover, RefusalCode::Suspended);
        } else {
            // The standby leaves first, so that there is nobody to hand over to.
            script.command(0, switchover);
        }
        script.expect_role(0, Role::Primary);
        make_room(&mut script, full);
        script.load_done();
    }
    script.wait_all_equal();
    script.take_over(1);
    script.serve(20);
    expect_never_failed(&mut script);
    script.finish()
}

/// A stop ends, of the primary as of the standby. Nothing that was acknowledged is lost by it.
fn in_a_stop(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = swarm(seed);
    if seed.number.is_multiple_of(2) {
        swarm.protocol = Protocol::B;
    }
    let mut script = Script::new(swarm, telling);
    for stopped in [0, 1] {
        script.serve(30);
        script.wait_all_equal();
        fill(&mut script, stopped);
        script.load(40);
        wait_short(&mut script, stopped);
        script.must(stopped, Command::Stop);
        script.wait("its process has ended", move |world| {
            world.nodes[stopped].replica.is_none()
        });
        make_room(&mut script, stopped);
        script.start(stopped);
        script.somebody_primary();
        script.load_done();
        if script.primary() != Some(0) {
            script.wait_all_equal();
            script.take_over(0);
        }
    }
    script.wait_all_equal();
    expect_never_failed(&mut script);
    script.finish()
}

/// The primary is lost while its standby finds no space: what it never called written keeps nobody from promoting it.
fn in_a_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 1);
    script.power_off(0, Loss::Some);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.pass(1000);
    make_room(&mut script, 1);
    script.load_done();
    script.start(0);
    script.wait_all_equal();
    expect_never_failed(&mut script);
    script.finish()
}

/// Protocol B: what the standby has received may be acknowledged, and it finds no space for it. Only a person promotes it
/// so, and loses nothing by that: what waits is written when there is room, and a flush waits for it.
fn for_what_was_received(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = swarm(seed);
    swarm.protocol = Protocol::B;
    (swarm.load.reads, swarm.load.flushes, swarm.load.fua) = (0, 0, 0);
    let mut script = Script::new(swarm, telling);
    script.serve(30);
    fill(&mut script, 1);
    script.load(40);
    wait_short(&mut script, 1);
    script.power_off(0, Loss::Some);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::Busy);
    let force = Some("the scenario wants it".to_owned());
    // What waits is not on the disk yet.
    script.world.book.lossy = true;
    script.must(1, Command::Promote { force });
    script.pass(1000);
    make_room(&mut script, 1);
    script.wait("what waited is written", |world| {
        world
            .status_of(1)
            .is_some_and(|status| status.no_space.is_none())
    });
    script.serve(20);
    script.world.book.lossy = false;
    script.world.check_served(1);
    script.load_done();
    script.start(0);
    script.wait_all_equal();
    expect_never_failed(&mut script);
    script.finish()
}

/// What can't be read here is read from the peer, and there is no space to write it anew.
fn for_a_repair(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = swarm(seed);
    swarm.size_blocks = 4;
    swarm.load.hot_blocks = 4;
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    for block in 0..4 {
        script.world.nodes[0].disk.spoil(block);
    }
    fill(&mut script, 0);
    script.world.swarm.load.reads = 1000;
    script.serve(20);
    script.expect_decided(Mark::NoSpaceToRepair);
    make_room(&mut script, 0);
    script.world.swarm.load.reads = 300;
    script.serve(20);
    expect_never_failed(&mut script);
    script.finish()
}

/// A disk that has no space fails after all: what waited for space waits no longer.
fn then_the_disk_fails(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(swarm(seed), telling);
    script.serve(30);
    let trouble = &mut script.world.nodes[0].trouble;
    (trouble.full_until, trouble.full) = (script.world.now + 1000 * SEC, 700);
    script.load(60);
    wait_short(&mut script, 0);
    script.world.nodes[0].trouble.fail_flushes = 1;
    script.wait_disk(0, DiskState::Failed);
    let short = script.status(0).no_space.is_some();
    script.expect(!short, "nothing waits for a disk that has failed");
    script.load_done();
    script.finish()
}
