//! Metadata that dies in silence, on nodes that have nothing to store, and disks that hang: found while there is a choice, and
//! said on both nodes.

use twindisk_core::{Command, ConnectionState, DiskState, Mark, Protocol, RefusalCode, Role};

use super::Run;
use crate::{
    disk::Loss,
    node::{Trouble, slot_of},
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("quiet-standby-with-dead-metadata", quiet_standby),
    ("standby-that-withdrew-starts-anew", starts_anew),
    ("metadata-hangs-on-the-standby", hangs_on_the_standby),
    ("quiet-primary-with-dead-metadata", quiet_primary),
    ("metadata-hangs-on-the-primary", hangs_on_the_primary),
    ("last-copy-is-not-probed", last_copy),
    ("three-nodes-and-one-withdraws", one_of_three),
    ("disk-hangs-on-the-standby", disk_hangs),
    ("metadata-dies-before-a-leave", dies_before_a_leave),
    ("metadata-dies-before-a-write-a", dies_before_a_write),
    ("metadata-dies-before-a-handover-a", dies_before_a_handover),
    ("parts-while-it-grants", parts_while_it_grants),
];

const FOR_EVER: u64 = u64::MAX;

/// A pair that was served and has nothing to do.
fn quiet(seed: Seed, telling: Telling) -> Script {
    let mut script = Script::calm(seed, telling);
    script.serve(20);
    script.pass(2000);
    script
}

/// As long as a probe may take, and a little more.
fn limit_ms(script: &Script) -> u64 {
    let limit = script.world.swarm.timings.request_timeout.as_millis();
    limit as u64 + 500
}

/// Both nodes say what is wrong.
fn both_say_so(script: &mut Script) {
    for node in [0, 1] {
        let said = !script.status(node).faults.is_empty();
        script.expect(said, &format!("node {node} says that something has failed"));
    }
}

/// Whose metadata has died stands alone, and the primary goes on alone, without a person.
fn goes_on_alone(script: &mut Script) {
    let status = script.status(0);
    script.expect(status.in_sync == [0], "the standby has left the set");
    script.expect(status.suspended.is_none(), "the primary goes on");
    both_say_so(script);
    script.load(20);
    script.load_done();
}

fn repair(script: &mut Script, node: usize) {
    script.world.nodes[node].trouble = Trouble::default();
    script.crash(node);
    script.start(node);
    script.wait_all_equal();
    let calm = (0..2).all(|node| script.status(node).faults.is_empty());
    script.expect(calm, "nothing is wrong any more");
    script.serve(20);
    // That it withdrew once is no right any more.
    script.part();
    script.wait_suspended(0);
    script.join();
    script.wait_all_equal();
}

/// Nothing is written, and the standby's metadata takes no writes any more. It leaves the set before it is needed.
fn quiet_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    script.world.let_metadata_die(1, false, FOR_EVER);
    let limit = limit_ms(&script);
    script.pass(limit);
    script.expect_disk(1, DiskState::Failed);
    script.expect_decided(Mark::MetadataProbed);
    script.expect_decided(Mark::MemberWithdraws);
    goes_on_alone(&mut script);
    // It comes back as it is: that is no standby, and is said.
    script.cut();
    script.pass(limit);
    script.expect_disk(1, DiskState::Failed);
    both_say_so(&mut script);
    repair(&mut script, 1);
    script.finish()
}

/// The standby has withdrawn, and could not store that. Its metadata works again, its process is a new one, and the
/// primary, which has gone on without it, is off: that it is fenced is not enough (R5).
fn starts_anew(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    let hangs = seed.number.is_multiple_of(2);
    script.world.let_metadata_die(1, hangs, FOR_EVER);
    let limit = limit_ms(&script);
    script.pass(if hangs { 2 * limit } else { limit });
    goes_on_alone(&mut script);
    script.crash(1);
    script.world.nodes[1].trouble = Trouble::default();
    script.power_off(0, Loss::All);
    script.start(1);
    script.wait_disk(1, DiskState::Consistent);
    script.fenced(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.somebody_primary();
    script.wait_all_equal();
    script.finish()
}

/// Writes of the standby's metadata do not come back for long. It withdraws, and is back by itself when they do.
fn hangs_on_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    let limit = limit_ms(&script);
    let until = script.world.now + 4 * limit * 1_000_000;
    script.world.let_metadata_die(1, true, until);
    script.pass(2 * limit);
    script.expect_decided(Mark::MetadataHangs);
    script.expect_disk(1, DiskState::Outdated);
    goes_on_alone(&mut script);
    script.cut();
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

/// The primary's metadata takes no writes any more: it goes on through the standby, which has everything.
fn quiet_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    script.world.let_metadata_die(0, false, FOR_EVER);
    let limit = limit_ms(&script);
    script.pass(limit);
    script.expect_disk(0, DiskState::Failed);
    script.expect_role(0, Role::Primary);
    let status = script.status(1);
    script.expect(status.in_sync == [1], "the standby has the only copy");
    both_say_so(&mut script);
    script.load(20);
    script.load_done();
    script.finish()
}

/// Writes of the primary's metadata do not come back: what is under way on a disk that hangs is not to be left behind, so
/// whether it goes on is for its agent to say. A person is told.
fn hangs_on_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    let limit = limit_ms(&script);
    let until = script.world.now + 3 * limit * 1_000_000;
    script.world.let_metadata_die(0, true, until);
    script.pass(2 * limit);
    script.expect_role(0, Role::Primary);
    script.expect_disk(0, DiskState::UpToDate);
    let said = !script.status(0).faults.is_empty();
    script.expect(said, "the primary says that its device hangs");
    script.wait_all_equal();
    script.pass(2 * limit);
    let over = script.status(0).faults.is_empty();
    script.expect(over, "and that it does no more");
    script.serve(20);
    script.finish()
}

/// The primary has lost its disk and serves through the standby. That one is not asked whether it could store anything: if it
/// could not, nobody would have the data.
fn last_copy(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(20);
    script.world.nodes[0].trouble.fail_flushes = 1;
    script.world.swarm.load.flushes = 200;
    script.load(40);
    script.wait_disk(0, DiskState::Failed);
    script.load_done();
    script.pass(2000);
    let limit = limit_ms(&script);
    let until = script.world.now + 3 * limit * 1_000_000;
    let hangs = seed.number.is_multiple_of(2);
    script.world.let_metadata_die(1, hangs, until);
    script.pass(3 * limit + 500);
    script.expect_disk(1, DiskState::UpToDate);
    script.load(20);
    script.load_done();
    script.finish()
}

/// One of two standbys withdraws: the other one stays, and has everything.
fn one_of_three(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.pass(2000);
    let hangs = seed.number.is_multiple_of(2);
    script.world.let_metadata_die(1, hangs, FOR_EVER);
    let limit = limit_ms(&script);
    script.pass(if hangs { 2 * limit } else { limit });
    let status = script.status(0);
    script.expect(status.in_sync == [0, 2], "one has left, the other is in");
    script.load(20);
    script.load_done();
    script.power_off(0, Loss::All);
    script.crash(1);
    script.world.nodes[1].trouble = Trouble::default();
    script.start(1);
    script.wait_lost(2, 0);
    script.fenced(2, 0);
    script.must(2, PROMOTE);
    script.load(20);
    script.load_done();
    script.start(0);
    script.wait_all_equal();
    script.finish()
}

/// The standby's disk hangs under a write: both nodes say so before it is taken for lost.
fn disk_hangs(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.load.reads, swarm.load.flushes) = (0, 0);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    let limit = limit_ms(&script);
    script.world.nodes[1].trouble.stuck_until = script.world.now + 4 * limit * 1_000_000 + SEC;
    script.load(20);
    script.pass((limit - 500) * 2 / 3);
    both_say_so(&mut script);
    script.wait_link(0, 1, ConnectionState::Established);
    script.load_done();
    script.finish()
}

/// The connection breaks under writes, and what the standby lacks makes it release itself: the primary is to go on without it,
/// and can't store that. Nothing is acknowledged then: after a restart nobody would know that the standby was left.
fn dies_before_a_leave(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.load.reads, swarm.load.depth, swarm.load.burst) = (0, 32, 16);
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    for _ in 0..5 {
        script.load(60);
        script.pass(3);
        let until = script.world.now + 2 * SEC;
        script.world.let_metadata_die(0, false, until);
        script.cut();
        script.pass(2500);
        script.crash(0);
        script.start(0);
        script.somebody_primary();
        script.load_done();
        script.wait_all_equal();
        if script.primary() != Some(0) {
            break;
        }
    }
    script.finish()
}

/// The metadata of a primary that nobody is counted beside dies when a write is to be noted in the activity log: the standby
/// gets no write of which this node, started anew, would know nothing.
fn dies_before_a_write(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::A;
    swarm.size_blocks = 8192;
    (swarm.load.hot_blocks, swarm.load.reads) = (8192, 0);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.wait_all_equal();
    script.world.let_metadata_die(0, false, FOR_EVER);
    script.load(10);
    script.wait_disk(0, DiskState::Failed);
    script.load_done();
    script.crash(0);
    script.world.nodes[0].trouble = Trouble::default();
    script.start(0);
    script.wait_all_equal();
    script.must(0, PROMOTE);
    script.serve(10);
    script.finish()
}

/// A standby is asked for the term, and ordered to part from the candidate while it stores that. What it grants is what it
/// has stored with the grant: that it counts no more it may say when that is stored too.
fn parts_while_it_grants(seed: Seed, telling: Telling) -> Outcome {
    let mut script = quiet(seed, telling);
    script.must(0, DEMOTE);
    script.pass(500);
    let until = script.world.now + SEC;
    script.world.let_metadata_die(1, true, until);
    let promoted = script.world.command(0, PROMOTE);
    script.pass(200);
    let peer = slot_of(1, 0);
    let parted = script.world.command(1, Command::Disconnect { peer });
    script.wait_disk(1, DiskState::Outdated);
    script.wait("both are answered", |world| {
        world.answer(promoted).is_some() && world.answer(parted).is_some()
    });
    script.must(1, Command::Connect { peer });
    script.somebody_primary();
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

/// The metadata of the only copy that counts dies when the role is to be handed over: the next process there would know of
/// no other copy, so that there is none.
fn dies_before_a_handover(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::with_protocol(seed, Protocol::A, telling);
    script.serve(20);
    script.wait_all_equal();
    script.pass(1500);
    script.world.let_metadata_die(0, false, FOR_EVER);
    script.command(1, Command::Switchover { to: None });
    script.pass(1000);
    script.promote(1);
    if script.primary() == Some(1) {
        script.serve(20);
    }
    script.crash(0);
    script.world.nodes[0].trouble = Trouble::default();
    script.start(0);
    script.wait_all_equal();
    script.somebody_primary();
    script.serve(20);
    script.finish()
}
