//! Disks that fail, lie still, or can't be read; metadata that can't be written.

use twindisk_core::{Command, DiskState, Mark, OnDiskError, RefusalCode, Role, Timings};

use super::Run;
use crate::{
    disk::Loss,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("failed-flush-on-the-standby", failed_flush_on_the_standby),
    ("failed-write-on-the-primary", failed_write_on_the_primary),
    ("unreadable-block-is-repaired", unreadable_block),
    ("diskless-primary-keeps-its-last-replica", diskless_primary),
    (
        "disk-fails-during-the-promotion",
        disk_fails_during_the_promotion,
    ),
    (
        "metadata-fails-during-the-promotion",
        metadata_fails_during_the_promotion,
    ),
    (
        "metadata-fails-on-the-primary",
        metadata_fails_on_the_primary,
    ),
    ("failing-disk-hands-over", failing_disk_hands_over),
    ("stuck-disk-on-the-standby", stuck_disk_on_the_standby),
    ("stuck-disk-on-the-primary", stuck_disk_on_the_primary),
    ("unreadable-edges-come-from-the-peer", unreadable_edges),
    ("unreadable-everywhere", unreadable_everywhere),
    ("failed-disk-is-made-anew", failed_disk_is_made_anew),
    ("outdating-a-node-without-a-disk", outdating_without_a_disk),
    ("detach-killed-at-every-step", detach_killed),
    (
        "metadata-fails-on-the-standby",
        metadata_fails_on_the_standby,
    ),
    (
        "protocol-a-standby-loses-its-disk",
        protocol_a_standby_loses_its_disk,
    ),
    (
        "standby-fails-with-its-metadata",
        standby_fails_with_its_metadata,
    ),
];

fn failed_flush_on_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(20);
    script.world.nodes[1].trouble.fail_flushes = 1;
    script.load_done();
    script.wait("the standby's disk has failed", |world| {
        world.coverage.count("disk", "UpToDate to Failed") > 0
    });
    script.finish()
}

fn failed_write_on_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(20);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(100);
    script.load_done();
    script.finish()
}

fn unreadable_block(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4;
    swarm.load.hot_blocks = 4;
    swarm.load.reads = 600;
    let mut script = Script::new(swarm, telling);
    script.load(50);
    script.load_done();
    for block in 0..4 {
        script.world.nodes[0].disk.spoil(block);
    }
    script.load(200);
    script.load_done();
    let bad = script.world.nodes[0].disk.bad();
    script.expect(bad < 4, "what was read from the peer is written back");
    script.finish()
}

/// A primary without a disk loses the last replica: it must not go on without it, whoever vouches for what.
fn diskless_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.pass(20);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(50);
    script.load_done();
    let verify = Command::Verify {
        first: 0,
        blocks: None,
        repair: false,
    };
    script.must_refuse(0, verify, RefusalCode::DiskNotUpToDate);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(10);
    script.pass(500);
    script.start(1);
    script.finish()
}

/// The candidate's flush fails while the new term is being stored: it must not serve from that disk.
fn disk_fails_during_the_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.reads = 0;
    swarm.load.flushes = 0;
    swarm.load.fua = 0;
    swarm.timings.flush_interval = core::time::Duration::from_secs(60);
    swarm.disk.flush = MS / 2;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.power_off(0, Loss::Nothing);
    let until = script.world.now + SEC;
    let trouble = &mut script.world.nodes[1].trouble;
    trouble.spares_nobody = true;
    trouble.fail_flushes = 1;
    trouble.slow_until = until;
    trouble.slowness = 1000;
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.command(1, PROMOTE);
    script.wait_disk(1, DiskState::Failed);
    script.expect_role(1, Role::Standby);
    script.start(0);
    script.wait_disk(0, DiskState::UpToDate);
    script.must(0, PROMOTE);
    script.finish()
}

/// The new term can't be stored: the promotion is refused, and the other one can be promoted.
fn metadata_fails_during_the_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    script.must(0, DEMOTE);
    script.pass(200);
    script.world.nodes[1].trouble.fail_meta = 1;
    script.must_refuse(1, PROMOTE, RefusalCode::Metadata);
    script.command(0, PROMOTE);
    script.expect_role(0, Role::Standby);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.must(0, PROMOTE);
    script.serve(20);
    script.finish()
}

/// The primary's metadata can't be written any more: it goes on through its standby.
fn metadata_fails_on_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.al_extents = 1;
    swarm.size_blocks = 8192;
    swarm.load.hot_blocks = 8192;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.world.nodes[0].trouble.fail_meta = 1;
    script.load(200);
    script.wait_disk(0, DiskState::Failed);
    script.load_done();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Configured so, a primary whose disk fails hands over to its standby.
fn failing_disk_hands_over(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.on_disk_error = OnDiskError::FailOver;
    let mut script = Script::new(swarm, telling);
    script.load(60);
    script.pass(10);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(100);
    script.wait_role(1, Role::Primary);
    script.load_done();
    script.finish()
}

/// The standby answers pings but its disk is stuck: its silence about requests counts, and writes wait for it visibly.
fn stuck_disk_on_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(20);
    script.world.nodes[1].trouble.stuck_until = script.world.now + 15 * SEC;
    script.load(60);
    script.wait_suspended(0);
    script.expect_decided(Mark::Unanswered);
    assert!(oldest_of_the_disk(&script, 0) < 100, "its own disk is well");
    assert!(oldest_of_the_disk(&script, 1) > 0);
    script.pass(15_000);
    script.load_done();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Age of the oldest operation of a node's disk, milliseconds.
fn oldest_of_the_disk(script: &Script, number: usize) -> u64 {
    let status = script.world.status_of(number).expect("it runs");
    status.activity.disk_oldest_ms
}

/// The primary's own disk is stuck: nobody takes over, and everything goes on when it moves again.
fn stuck_disk_on_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(20);
    script.world.nodes[0].trouble.stuck_until = script.world.now + 5 * SEC;
    script.load(60);
    script.pass(4000);
    let oldest = oldest_of_the_disk(&script, 0);
    assert!((3000..4100).contains(&oldest), "{oldest} ms");
    script.pass(2000);
    script.load_done();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Unaligned writes into blocks that can't be read here take the rest of each block from the peer.
fn unreadable_edges(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4;
    swarm.load.hot_blocks = 4;
    swarm.load.reads = 0;
    swarm.load.zeros = 0;
    swarm.load.flushes = 0;
    swarm.load.unaligned = 1000;
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    for _ in 0..10 {
        for block in 0..4 {
            script.world.nodes[0].disk.spoil(block);
        }
        script.serve(20);
    }
    let filled = script
        .world
        .coverage
        .count("action", "disk: fill edges from a buffer");
    script.expect(filled > 0, "edges were filled from the peer");
    script.finish()
}

/// A block that nobody can read fails, and says so; it never reads as something else.
fn unreadable_everywhere(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4;
    swarm.load.hot_blocks = 4;
    swarm.load.reads = 900;
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    for block in 0..4 {
        script.world.nodes[0].disk.spoil(block);
        script.world.nodes[1].disk.spoil(block);
    }
    script.serve(60);
    let failed = script.world.coverage.count("failure", "Io");
    script.expect(failed > 0, "reads fail");
    script.finish()
}

/// A disk whose flush failed is written anew as a whole: that it reads equal proves nothing.
fn failed_disk_is_made_anew(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(60);
    script.world.nodes[1].trouble.fail_flushes = 1;
    script.load(60);
    script.wait("the standby's disk has failed", |world| {
        world.coverage.count("disk", "UpToDate to Failed") > 0
    });
    script.load_done();
    script.pass(500);
    script.crash(1);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    let moved = script.world.coverage.count("report", "resync-ended");
    script.expect(moved > 0, "it is brought up anew");
    script.finish()
}

/// A standby whose disk has failed can't record that it does not count.
fn outdating_without_a_disk(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    // A write that crosses the word of the failure would end the connection, and the next one brings a resync.
    (swarm.load.clients, swarm.load.depth, swarm.load.burst) = (1, 1, 1);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.world.nodes[1].trouble.fail_writes = 1;
    script.load(40);
    script.wait_disk(1, DiskState::Failed);
    script.must_refuse(1, Command::Outdate, RefusalCode::Metadata);
    script.wait_link(1, 0, twindisk_core::ConnectionState::Waiting);
    script.must_refuse(1, PROMOTE, RefusalCode::PeerIsPrimary);
    script.load_done();
    script.finish()
}

/// The primary's disk fails, and the primary dies at every step of going on without it: the standby has everything.
fn detach_killed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..14 {
        script.load(20);
        script.pass(5);
        let Some(primary) = script.primary() else {
            break;
        };
        script.world.nodes[primary].trouble.fail_writes = 1;
        script.load(10);
        script.pass_us(step * step * 40);
        script.crash(primary);
        script.world.nodes[primary].trouble.fail_writes = 0;
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The standby's metadata can't be written any more: it takes no resync, and the primary goes on with proof. Restarted
/// with metadata that can be written, it follows again.
fn metadata_fails_on_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = crate::node::slot_of(1, 0);
    script.serve(20);
    script.world.nodes[1].trouble.fail_meta = 1;
    script.command(1, Command::Disconnect { peer });
    script.wait("the standby's disk counts as failed", |world| {
        world.coverage.count("disk", "UpToDate to Failed")
            + world.coverage.count("disk", "Outdated to Failed")
            > 0
    });
    script.must(1, Command::Connect { peer });
    script.pass(2000);
    script.expect_disk(1, DiskState::Failed);
    script.expect_role(0, Role::Primary);
    script.power_off(1, Loss::All);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.serve(20);
    script.finish()
}

/// The disk of a protocol A standby fails: nobody waited for it, and it is brought up anew.
fn protocol_a_standby_loses_its_disk(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = twindisk_core::Protocol::A;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.wait_disk(1, DiskState::Consistent);
    script.world.nodes[1].trouble.spares_nobody = true;
    script.world.nodes[1].trouble.fail_writes = 1;
    script.load(60);
    script.wait("its disk has failed", |world| {
        world.coverage.count("disk", "Consistent to Failed") > 0
    });
    script.load_done();
    script.crash(1);
    script.start(1);
    script.finish()
}

/// The standby's disk fails, and the metadata on it can't say so: the primary is told at once, and goes on without it for as
/// long as that process lives, and for good once it has.
fn standby_fails_with_its_metadata(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    // Nothing else may part the two: it is a matter of this one failure.
    swarm.timings = Timings::default();
    swarm.net.flips = 0;
    let mut script = Script::new(swarm, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.load(50);
    script.load_done();
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.fail_writes, trouble.fail_meta) = (1, 1);
    script.load(100);
    script.wait_disk(1, DiskState::Failed);
    // As soon as its own disk, which may be slow, has everything.
    script.wait("the primary goes on alone", |world| {
        world
            .status_of(0)
            .is_some_and(|status| status.suspended.is_none() && status.in_sync == [0])
    });
    script.load_done();
    script.world.break_link((0, 1), "the scenario wants it");
    script.pass(3000);
    script.expect_disk(1, DiskState::Failed);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}
