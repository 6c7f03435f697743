//! What a disk that has failed, or that lies, still says: nobody may believe it (R16). And what is only received is not
//! on a disk yet.

use core::time::Duration;

use twindisk_core::{Command, ConnectionState, DiskIo, DiskState, Mark, Protocol, RefusalCode};
use twindisk_format::superblock::StoredDisk;

use super::Run;
use crate::{
    disk::Loss,
    node::{Op, Trouble},
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::Telling,
    world::World,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("failed-disk-leads-a-resync", failed_disk_leads),
    ("failed-disk-serves-no-reads", failed_disk_serves_no_reads),
    ("failed-disk-fills-no-edges", failed_disk_fills_no_edges),
    ("failed-disk-compares-nothing", failed_disk_compares_nothing),
    ("failed-disk-verifies-nothing", failed_disk_verifies_nothing),
    ("failed-disk-saves-nothing", failed_disk_saves_nothing),
    ("disk-fails-with-nobody-there", disk_fails_with_nobody_there),
    ("received-is-not-written-b", received_is_not_written),
    ("received-is-not-offered-b", received_is_not_offered),
    ("received-is-no-copy-b", received_is_no_copy),
    ("outdated-member-of-one-without-disk", outdated_member),
    ("read-elsewhere-waits-its-turn", read_elsewhere_waits),
    (
        "read-elsewhere-shows-nothing-new",
        read_elsewhere_shows_nothing,
    ),
    ("reads-that-fail-for-a-moment", reads_that_fail),
    ("lying-device-is-found-by-a-verify", lying_device),
];

/// Nothing is flushed before a client asks: a failed flush takes much with it. Nothing else parts the two.
fn unflushed(swarm: &mut Swarm) {
    swarm.net.flips = 0;
    swarm.load.flushes = 0;
    swarm.load.fua = 0;
    swarm.timings.flush_interval = Duration::from_secs(60);
}

/// The next flush of a node fails. Clients do `operations` and flush often, until it has.
fn fail_a_flush(script: &mut Script, node: usize, operations: u64) {
    // It may have been slow enough for the two to have parted before it ends.
    let states = ["UpToDate", "Consistent", "Outdated", "Inconsistent"];
    let failed = |world: &World, state| world.coverage.count("disk", &format!("{state} to Failed"));
    let failures = |world: &World| -> u64 { states.map(|state| failed(world, state)).iter().sum() };
    let before = failures(&script.world);
    script.world.nodes[node].trouble.fail_flushes = 1;
    script.world.swarm.load.flushes = 150;
    for _ in 0..20 {
        script.load(operations);
        script.load_done();
        if failures(&script.world) > before {
            break;
        }
    }
    script.wait("a flush has failed", |world| failures(world) > before);
    script.world.nodes[node].trouble = Trouble::default();
    script.world.swarm.load.flushes = 0;
}

/// The primary brings a third node up when its disk fails: a flush, or a write. The service goes on through the standby,
/// and the third node gets nothing more from that disk.
fn failed_disk_leads(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.size_blocks = 2048;
    swarm.resync_bufs = 1;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (256, 32);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.power_off(2, Loss::All);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.serve(100);
    script.start(2);
    script.wait_disk(2, DiskState::Inconsistent);
    script.load(150);
    script.pass(2);
    let trouble = &mut script.world.nodes[0].trouble;
    if seed.number.is_multiple_of(2) {
        trouble.fail_writes = 2;
    } else {
        trouble.fail_flushes = 1;
    }
    script.world.swarm.load.flushes = 100;
    script.wait_disk(0, DiskState::Failed);
    script.expect_decided(Mark::SourceFailed);
    // If it loses the standby before that has the generation without its disk, the standby leads.
    script.pass(1000);
    script.somebody_primary();
    script.load_done();
    script.finish()
}

/// Every block of the primary is unreadable, so its reads go to the standby, whose flush fails under them.
fn failed_disk_serves_no_reads(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 8;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (8, 1);
    (swarm.load.reads, swarm.load.depth, swarm.load.burst) = (600, 32, 16);
    (swarm.load.unaligned, swarm.load.zeros) = (0, 0);
    // The standby answers every read from a disk that is slow: it has the time that this takes.
    swarm.timings.request_timeout = Duration::from_secs(10);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    for _ in 0..8 {
        script.serve(40);
        for block in 0..8 {
            script.world.nodes[0].disk.spoil(block);
        }
        let until = script.world.now + SEC;
        let trouble = &mut script.world.nodes[1].trouble;
        (trouble.slow_until, trouble.slowness) = (until, 30);
        fail_a_flush(&mut script, 1, 60);
        script.world.nodes[0].disk.recover();
        script.crash(1);
        script.start(1);
        script.wait_all_equal();
    }
    script.finish()
}

/// The primary's flush fails while it reads the rest of the blocks that clients write parts of.
fn failed_disk_fills_no_edges(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 16;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (16, 2);
    (swarm.load.reads, swarm.load.zeros) = (0, 0);
    (swarm.load.unaligned, swarm.load.depth, swarm.load.burst) = (1000, 32, 16);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    for _ in 0..6 {
        script.serve(60);
        let Some(primary) = script.primary() else {
            break;
        };
        let until = script.world.now + SEC;
        let trouble = &mut script.world.nodes[primary].trouble;
        (trouble.slow_until, trouble.slowness) = (until, 30);
        fail_a_flush(&mut script, primary, 60);
        script.crash(primary);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

const VERIFY: Command = Command::Verify {
    first: 0,
    blocks: None,
    repair: true,
};

fn verified(seed: Seed, telling: Telling, fails: usize) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 2048;
    swarm.resync_bufs = 2;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (2048, 256);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    for turn in 0..6 {
        script.serve(60);
        let Some(primary) = script.primary() else {
            break;
        };
        let failing = if fails == 0 { primary } else { 1 - primary };
        let until = script.world.now + SEC;
        script.must(primary, VERIFY);
        script.pass_us(turn * 300);
        let trouble = &mut script.world.nodes[failing].trouble;
        (trouble.slow_until, trouble.slowness) = (until, 5);
        fail_a_flush(&mut script, failing, 4);
        script.crash(failing);
        script.start(failing);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The standby's flush fails while its blocks are compared: what it has lost is no difference that anybody is told of.
fn failed_disk_compares_nothing(seed: Seed, telling: Telling) -> Outcome {
    verified(seed, telling, 1)
}

/// The primary's flush fails while it verifies: the standby is not "repaired" from that disk.
fn failed_disk_verifies_nothing(seed: Seed, telling: Telling) -> Outcome {
    verified(seed, telling, 0)
}

/// In a split brain, one side's disk fails while its changes are being kept: nothing is given up for a copy that may lack
/// some of them.
fn failed_disk_saves_nothing(seed: Seed, telling: Telling) -> Outcome {
    let mut script = super::split_brain::split(seed, telling);
    script.must(1, DEMOTE);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.crash(1);
    script.start(1);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    // The first flush after a start is due in the background.
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.fail_flushes, trouble.spares_nobody) = (1, true);
    let keep = Some(crate::node::slot_of(1, 0));
    let id = script
        .world
        .command(1, Command::Discard { peer: None, keep });
    script.wait("a command is answered", |world| world.answer(id).is_some());
    if script.status(1).disk == DiskState::Failed {
        let code = script.world.refusal(id).map(|refusal| refusal.code);
        let story = format!("nothing is given up by a disk that has failed: {code:?}");
        script.expect(code == Some(RefusalCode::Interrupted), &story);
    }
    script.finish()
}

/// The standby leaves in good order, and the primary's disk fails at the flush that has to come before it goes on
/// alone. Nobody is there to go on with: when the standby comes back, it has everything that was acknowledged, and leads.
fn disk_fails_with_nobody_there(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    script.serve(60);
    let trouble = &mut script.world.nodes[0].trouble;
    (trouble.fail_flushes, trouble.spares_nobody) = (1, true);
    script.command(1, Command::Stop);
    script.wait_disk(0, DiskState::Failed);
    script.load(20);
    script.pass(500);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.somebody_primary();
    script.wait_all_equal();
    script.load_done();
    script.finish()
}

/// A pair under protocol B whose standby has received writes that its disk, which stands still, has not written.
fn received(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::B;
    (swarm.disk.io, swarm.disk.flush) = (100 * US, 100 * US);
    (swarm.load.depth, swarm.load.burst, swarm.load.reads) = (32, 16, 0);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.world.nodes[1].trouble.stuck_until = script.world.now + SEC;
    script.load(60);
    script.pass(60);
    script.crash(0);
    script
}

/// Two processes are killed, both hosts live: the primary's, and after it has met the standby again that one's, with what
/// it had received and not written.
fn received_is_not_written(seed: Seed, telling: Telling) -> Outcome {
    let mut script = received(seed, telling);
    script.start(0);
    let limit = script.world.now + 700 * MS;
    let outdated = |script: &Script| {
        let superblock = script.world.nodes[0].meta.superblock();
        superblock.is_some_and(|superblock| superblock.disk == StoredDisk::Outdated)
    };
    script.step_until(|script| outdated(script) || script.world.now > limit);
    script.crash(1);
    script.world.nodes[1].trouble = Trouble::default();
    script.pass(100);
    script.start(1);
    script.somebody_primary();
    script.load_done();
    script.finish()
}

/// The primary has no disk any more, so that what its standby has only received is nowhere. The standby's process dies.
fn received_is_no_copy(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::B;
    (swarm.load.depth, swarm.load.burst, swarm.load.reads) = (32, 16, 0);
    unflushed(&mut swarm);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    fail_a_flush(&mut script, 0, 20);
    script.serve(20);
    script.world.nodes[1].trouble.stuck_until = script.world.now + SEC;
    script.load(60);
    script.pass(60);
    script.crash(1);
    script.pass(100);
    script.start(1);
    script.pass(500);
    script.somebody_primary();
    script.load_done();
    script.finish()
}

/// The standby does not offer its copy before it is written: nobody records the other side as outdated for it.
fn received_is_not_offered(seed: Seed, telling: Telling) -> Outcome {
    let mut script = received(seed, telling);
    script.wait_lost(1, 0);
    let offers = |script: &Script| {
        let status = script.status(1);
        status.disk == DiskState::UpToDate && !status.still_writing
    };
    let writes = |op: &Op| matches!(op.io, DiskIo::Write { .. } | DiskIo::Zero { .. });
    if script.world.nodes[1].ops.values().any(writes) {
        let offered = offers(&script);
        script.expect(!offered, "what is not written is not offered");
        script.must_refuse(1, PROMOTE, RefusalCode::Busy);
    }
    script.wait("its disk is done", |world| world.nodes[1].ops.is_empty());
    let offered = offers(&script);
    script.expect(offered, "what is written is");
    script.power_off(0, Loss::All);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.start(0);
    script.load_done();
    script.finish()
}

/// Unreadable blocks of the primary, whose disk is slow: a read that goes to the standby may find there what is not
/// written here yet, and the next one, of this disk, must not go back behind that.
fn read_elsewhere_waits(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (4, 4);
    (swarm.load.clients, swarm.load.depth, swarm.load.burst) = (4, 32, 16);
    (swarm.load.reads, swarm.load.flushes, swarm.load.think) = (600, 0, 5 * MS);
    (swarm.disk.io, swarm.disk.flush) = (100 * US, 500 * US);
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    let trouble = &mut script.world.nodes[0].trouble;
    (trouble.slow_until, trouble.slowness) = (u64::MAX, 20);
    for turn in 0..4000 {
        script.world.nodes[0].disk.spoil(turn % 4);
        script.load(4);
        script.pass(2);
    }
    script.load_done();
    script.finish()
}

/// A member is recorded as outdated while it is away, and then the disk of the primary fails. It can't bring that one up,
/// which knows nothing of the generation without the failed disk: the primary goes on with the other member.
fn outdated_member(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.load.flushes = 0;
    swarm.timings.flush_interval = Duration::from_secs(5);
    let mut script = Script::new(swarm, telling);
    script.serve(30);
    for pair in [(0, 2), (1, 2)] {
        for side in 0..2 {
            script.world.block(pair, side, u64::MAX);
        }
    }
    script.load(10);
    script.wait_suspended(0);
    script.wait_lost(2, 0);
    script.wait_lost(2, 1);
    script.must(2, Command::Outdate);
    script.world.nodes[0].trouble.fail_flushes = 1;
    // Should everything be stable, nothing fails.
    script.pass(6000);
    script.join();
    script.load_done();
    script.take_over(1);
    script.wait_all_equal();
    script.finish()
}

/// A primary without a disk reads through one standby while the other one is away, and lacks what was written last. Who
/// leads the two once the primary has stepped down need not have that: no client may have seen it.
fn read_elsewhere_shows_nothing(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.size_blocks = 4;
    (swarm.load.hot_blocks, swarm.load.max_blocks) = (4, 1);
    (swarm.load.clients, swarm.load.depth) = (2, 8);
    (swarm.load.reads, swarm.load.think) = (500, 2 * MS);
    (swarm.net.flips, swarm.load.flushes) = (0, 0);
    let mut script = Script::new(swarm, telling);
    for _ in 0..6 {
        script.serve(20);
        fail_a_flush(&mut script, 0, 20);
        script.load(20);
        served_by_somebody(&mut script);
        script.load(30);
        script.pass(3);
        script.world.break_link((0, 1), "the scenario wants it");
        served_by_somebody(&mut script);
        script.take_over(0);
        script.wait_all_equal();
    }
    script.finish()
}

/// Whoever has no disk steps down each time that it meets one who has: another one is promoted until clients are done.
fn served_by_somebody(script: &mut Script) {
    let busy =
        |world: &World| world.clients.issued < world.clients.budget || world.clients.waiting() > 0;
    while busy(&script.world) && script.world.violation.is_none() {
        script.pass(500);
        script.somebody_primary();
    }
}

/// Reads fail and would not a moment later: those of clients come from the peer, a resync or verify begins again.
fn reads_that_fail(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 1024;
    (swarm.load.hot_blocks, swarm.load.reads) = (1024, 400);
    let mut script = Script::new(swarm, telling);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.serve(60);
    script.start(1);
    script.wait_disk(1, DiskState::Inconsistent);
    script.world.nodes[0].trouble.fail_reads = 2;
    script.wait_all_equal();
    for node in [0, 1] {
        script.world.nodes[node].trouble.fail_reads = 3;
        script.serve(60);
        script.wait_all_equal();
    }
    script.finish()
}

/// A device that acknowledges flushes and keeps nothing: what is claimed is that a verify finds it, no more.
fn lying_device(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    // The book takes a device by its word.
    swarm.lossy = true;
    (swarm.load.flushes, swarm.load.reads, swarm.load.zeros) = (200, 0, 0);
    let mut script = Script::new(swarm, telling);
    script.world.nodes[1].disk.lies = true;
    script.serve(60);
    script.pass(2000);
    script.power_off(1, Loss::All);
    script.world.nodes[1].disk.lies = false;
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.wait_all_equal();
    script.must(0, VERIFY);
    script.wait_report("verify-ended", 1);
    let found = script.world.found_different;
    script.expect(found > 0, "a verify finds what the device has lost");
    script.must(0, VERIFY);
    script.wait_report("verify-ended", 2);
    let again = script.world.found_different;
    script.expect(again == found, "and has repaired it");
    script.finish()
}
