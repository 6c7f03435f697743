//! Resync, interrupted in every way.

use std::{cell::Cell, time::Duration};

use twindisk_core::{Command, DiskIo, DiskState, Mark, Progress, Protocol, RefusalCode, Role};

use super::Run;
use crate::{
    checker::Violation,
    disk::Loss,
    node::{Trouble, slot_of},
    run::Outcome,
    script::{PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::Telling,
    world::World,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("target-dies-in-resync", target_dies_in_resync),
    ("source-dies-in-resync", source_dies_in_resync),
    ("writes-during-a-resync", writes_during_a_resync),
    ("received-is-written-before-a-resync", received_is_written),
    ("brief-resyncs", brief_resyncs),
    ("nothing-missed-nothing-moved", nothing_missed),
    ("interrupted-resync-goes-on", interrupted_resync),
    ("most-of-a-resync-is-kept", most_is_kept),
    ("target-refuses-promotion", target_refuses_promotion),
    ("source-becomes-target", source_becomes_target),
    ("resync-asked-for", resync_asked_for),
    (
        "resync-of-an-equal-peer-is-refused",
        resync_of_an_equal_peer,
    ),
    ("clients-have-the-most-of-it", clients_have_the_most),
    ("rotten-bits-are-all-dirty", torn_bitmap),
    ("unreadable-block-in-a-resync", unreadable_block_in_a_resync),
    ("source-lost-at-the-end-of-a-resync", source_lost_at_the_end),
    ("target-disk-fails-in-a-resync", target_disk_fails),
    ("cut-resync-goes-on-by-hashes", cut_resync_goes_on_by_hashes),
];

/// A cluster whose standby missed so much that its resync takes a while.
fn in_resync(seed: Seed, telling: Telling) -> Script {
    resync_of(Swarm::calm(seed), telling)
}

fn resync_of(mut swarm: Swarm, telling: Telling) -> Script {
    swarm.size_blocks = 4096;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4096;
    swarm.load.max_blocks = 256;
    let mut script = Script::new(swarm, telling);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    script.wait_disk(1, DiskState::Inconsistent);
    script
}

fn target_dies_in_resync(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.load(50);
    script.crash(1);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::Inconsistent);
    script.power_off(1, Loss::All);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

fn source_dies_in_resync(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.load(50);
    script.power_off(0, Loss::Some);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.fenced(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.finish()
}

/// Protocol B: the standby has received what it has not written yet, its disk is slow, and the primary's process dies and
/// comes back. When the standby has taken it out of the in-sync set it has written everything: then it may die, too.
fn received_is_written(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::B;
    (swarm.disk.io, swarm.disk.flush) = (100 * US, 100 * US);
    (swarm.load.depth, swarm.load.burst, swarm.load.reads) = (32, 16, 0);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    let until = script.world.now + SEC;
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.slow_until, trouble.slowness) = (until, 300);
    script.load(60);
    script.pass(60);
    script.crash(0);
    script.start(0);
    script.step_until(|script| script.status(1).in_sync == [1]);
    script.crash(1);
    script.world.nodes[1].trouble = Trouble::default();
    script.pass(100);
    script.start(1);
    script.somebody_primary();
    script.load_done();
    script.finish()
}

/// Clients write where the resync is, before it and behind it.
fn writes_during_a_resync(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.load(400);
    script.wait_disk(1, DiskState::UpToDate);
    script.load_done();
    script.finish()
}

/// The standby misses a write or two, again and again, and comes back into the middle of others.
fn brief_resyncs(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = slot_of(1, 0);
    for turn in 0..16 {
        script.load(8);
        script.must(1, Command::Disconnect { peer });
        script.pass(turn);
        script.must(1, Command::Connect { peer });
        script.pass_us(turn * 150);
        script.load(8);
        script.wait_all_equal();
    }
    script.load_done();
    script.finish()
}

/// The connection breaks while nothing is written: the two are equal at once.
fn nothing_missed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    script.pass(2000);
    let before = script.world.coverage.count("report", "resync-started");
    for _ in 0..5 {
        script.cut();
        script.pass(3000);
        script.wait_all_equal();
    }
    let after = script.world.coverage.count("report", "resync-started");
    script.expect(before == after, "no resync is needed");
    script.expect_decided(Mark::PrimaryEqual);
    script.finish()
}

/// The connection breaks during a resync, again and again: it does not begin from the start each time.
fn interrupted_resync(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    let left = |script: &Script| script.status(0).peers[0].dirty_bytes;
    let begun = left(&script);
    for turn in 0..8 {
        script.pass(4 + turn);
        script.cut();
        script.pass(100);
    }
    script.wait_disk(1, DiskState::UpToDate);
    script.expect(begun > 0, "blocks had to move");
    script.finish()
}

/// The connection breaks near the end of a resync that takes seconds: what the target has said to be stable long ago is not
/// sent once more.
fn most_is_kept(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.timings.flush_interval = Duration::from_millis(20);
    let mut script = resync_of(swarm, telling);
    let left = |script: &Script| script.status(0).peers[0].dirty_bytes;
    let begun = left(&script);
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.slow_until, trouble.slowness) = (u64::MAX, 250);
    let mut half = None;
    while script.world.violation.is_none() && left(&script) > begun / 8 {
        script.pass(20);
        if left(&script) < begun / 2 {
            half.get_or_insert(script.world.now);
        }
    }
    // Dice may have one slow flush make the most of it stable.
    let long_ago = half.is_some_and(|half| script.world.now - half > SEC);
    script.cut();
    script.pass(50);
    let again = left(&script);
    let story = format!("of {begun} bytes half was stable long ago, and {again} are left now");
    script.expect(again < begun - begun / 4 || !long_ago, &story);
    script.world.nodes[1].trouble.slow_until = 0;
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// A target is neither the one nor the other: no promotion, whatever was fenced, before its resync has ended (R3).
fn target_refuses_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.must_refuse(1, PROMOTE, RefusalCode::PeerIsPrimary);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.somebody_primary();
    script.expect_role(0, Role::Primary);
    script.wait_disk(1, DiskState::UpToDate);
    script.must(
        0,
        Command::Switchover {
            to: Some(slot_of(0, 1)),
        },
    );
    script.wait_role(1, Role::Primary);
    script.finish()
}

/// Who was the source of a resync is brought up from its target after the roles have changed.
fn source_becomes_target(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.serve(30);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.serve(60);
    script.start(0);
    script.wait_disk(0, DiskState::UpToDate);
    script.expect_role(1, Role::Primary);
    script.finish()
}

/// A person asks for a resync of everything: blocks are compared, and only what differs moves.
fn resync_asked_for(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::with_protocol(seed, Protocol::A, telling);
    let peer = slot_of(0, 1);
    script.serve(40);
    script.pass(500);
    for full in [false, true] {
        script.must(0, Command::Resync { peer, full });
        script.pass(1000);
        script.wait_all_equal();
    }
    script.expect_decided(Mark::ResyncAsked);
    script.finish()
}

/// A peer that is counted on is not resynced behind its back.
fn resync_of_an_equal_peer(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = slot_of(0, 1);
    script.must_refuse(
        0,
        Command::Resync { peer, full: true },
        RefusalCode::BadArgument,
    );
    script.finish()
}

/// While clients work blocks are compared in small steps, one at a time and with pauses; when they are silent, in large
/// ones.
fn clients_have_the_most(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 8192;
    swarm.resync_bufs = 4;
    (swarm.disk.io, swarm.disk.flush, swarm.net.delay) = (100 * US, 100 * US, 100 * US);
    (swarm.load.hot_blocks, swarm.load.think) = (8192, MS);
    let mut script = Script::new(swarm, telling);
    let everything = Command::Verify {
        first: 0,
        blocks: None,
        repair: false,
    };
    let comparing = |script: &Script| {
        let ops = script.world.nodes[0].ops.values();
        ops.filter(|op| matches!(op.io, DiskIo::Hash { .. }))
            .count()
    };
    // From now on nothing takes a hundred times as long by chance.
    script.world.healed = true;
    script.load(1_000_000);
    script.pass(500);
    script.must(0, everything.clone());
    let (looks, mut compared) = (2000, 0);
    for _ in 0..looks {
        script.pass_us(20);
        let steps = comparing(&script);
        script.expect(steps <= 1, "one step at a time");
        compared += steps;
    }
    script.expect(compared > 0, "it goes on");
    // Steps take a third of the time; most of a step is the network's and the peer's.
    script.expect(compared * 5 <= looks, "most of the time is the clients'");
    script.wait_report("verify-ended", 1);
    script.load(0);
    script.load_done();
    script.pass(2000);
    let comparisons = |script: &Script| script.world.coverage.count("action", "disk: hash");
    let before = comparisons(&script);
    script.must(0, everything);
    script.wait_report("verify-ended", 2);
    let steps = (comparisons(&script) - before) / 2;
    script.expect(steps == 8192 / 256, "with the largest steps");
    script.finish()
}

/// The pages of dirty bits rot while their node is down: they count as dirty, never as clean.
fn torn_bitmap(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.serve(40);
    script.crash(0);
    let (node, die) = (&mut script.world.nodes[0], &mut script.world.dice.nemesis);
    // Often enough to hit each page of dirty bits and of the activity log.
    for _ in 0..64 {
        node.meta.rot(false, die);
    }
    script.start(0);
    let dirty = script.status(0).peers[0].dirty_bytes;
    let size = script.status(0).size_bytes;
    script.expect(dirty == size, "every block counts as dirty");
    script.start(1);
    script.somebody_primary();
    script.wait_all_equal();
    script.finish()
}

/// The source can't read a block that the target needs: the resync begins again until it can, and leaks nothing.
fn unreadable_block_in_a_resync(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    for block in 0..4096 {
        script.world.nodes[0].disk.spoil(block);
    }
    script.wait_report("warning", 3);
    script.expect_decided(Mark::Unreadable);
    script.world.nodes[0].disk.recover();
    script.wait_disk(1, DiskState::UpToDate);
    script.serve(20);
    script.finish()
}

/// The source dies when the target has just become equal, a little earlier or later each time: a target that has
/// everything is whole, one that has not is not.
fn source_lost_at_the_end(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = slot_of(1, 0);
    for step in 0..20 {
        script.must(1, Command::Disconnect { peer });
        script.serve(10);
        script.must(1, Command::Connect { peer });
        script.wait_disk(1, DiskState::Inconsistent);
        script.pass_us(step * 700);
        script.crash(0);
        script.pass(step);
        script.start(0);
        script.wait_all_equal();
        script.must(0, PROMOTE);
    }
    script.finish()
}

/// The target's disk fails in the middle of its resync; it is brought up anew afterwards.
fn target_disk_fails(seed: Seed, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.world.nodes[1].trouble.spares_nobody = true;
    script.world.nodes[1].trouble.fail_writes = 1;
    script.wait("the target's disk has failed", |world| {
        world.coverage.count("disk", "Inconsistent to Failed") > 0
    });
    script.crash(1);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.serve(20);
    script.finish()
}

/// A resync that was cut goes on by comparing hashes: its target is Inconsistent, but has never failed. Blocks that only
/// stand in an active extent were sent as they were otherwise, a whole activity log of them.
fn cut_resync_goes_on_by_hashes(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4096;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4096;
    let mut script = Script::new(swarm, telling);
    script.load(100);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    // From now on the target is Inconsistent on its disk.
    watch(&mut script, "blocks are compared", |world| {
        progress(world).is_some_and(|progress| progress.done_bytes > 0)
    });
    script.crash(1);
    watch(&mut script, "the cut is noticed", |world| {
        progress(world).is_none()
    });
    script.start(1);
    let equal = Cell::new(0);
    watch(&mut script, "the resync is done", |world| {
        if let Some(progress) = progress(world) {
            equal.set(equal.get().max(progress.equal_bytes));
        }
        world
            .status_of(1)
            .is_some_and(|status| status.disk == DiskState::UpToDate)
    });
    script.expect(equal.get() > 0, "equal blocks were found and not sent");
    script.finish()
}

fn progress(world: &World) -> Option<Progress> {
    world.status_of(0)?.peers[0].progress.clone()
}

/// Waits like [`Script::wait`], and looks so often that no short state is missed.
fn watch(script: &mut Script, what: &str, until: impl Fn(&World) -> bool) {
    let limit = script.world.now + 30 * SEC;
    while !until(&script.world) && script.world.violation.is_none() {
        if script.world.now > limit {
            let story = format!("30 s are not enough: {what}");
            script.world.violate(Violation::new("scenario", story));
        }
        script.world.run_until(script.world.now + MS / 50);
    }
}
