//! A member of the set is rolled back, and a primary that can't bring it up, or has a generation that nobody else knows, has
//! to find that out.

use twindisk_core::{Command, ConnectionState, DiskState, Mark, RefusalCode, Role};

use twindisk_format::limits::EXTENT_BLOCKS;

use super::{Run, identity::Snapshot};
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, Seed, Swarm, US},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    (
        "rolled-back-under-a-primary-without-a-copy",
        under_a_primary_without_a_copy,
    ),
    (
        "rolled-back-in-the-generation-of-a-primary-without-a-copy",
        in_its_generation,
    ),
    (
        "rolled-back-as-only-the-primary-knew",
        as_only_the_primary_knew,
    ),
    (
        "rolled-back-by-a-little-under-a-lost-primary",
        by_a_little_under_a_lost_primary,
    ),
    ("rolled-back-and-found-by-two", found_by_two),
    ("a-statement-is-outrun", statement_is_outrun),
    (
        "rolled-back-and-made-whole-by-a-third",
        made_whole_by_a_third,
    ),
    (
        "rolled-back-made-whole-and-promoted",
        made_whole_and_promoted,
    ),
    (
        "rolled-back-as-the-third-one-still-knows",
        the_third_one_still_knows,
    ),
    ("rolled-back-as-who-leads-it-follows", who_leads_it_follows),
    (
        "a-generation-that-nobody-knows",
        generation_that_nobody_knows,
    ),
];

fn three(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    // A primary without a copy follows who comes back: nothing else is to part them.
    swarm.net.flips = 0;
    (swarm.load.clients, swarm.load.depth, swarm.load.burst) = (1, 1, 1);
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    script
}

/// Each write has an extent of its own, and the log has room for one: what is not being written is clean after a crash.
fn have_a_small_log(swarm: &mut Swarm) {
    (swarm.load.clients, swarm.load.think) = (2, 2 * MS);
    (swarm.size_blocks, swarm.al_extents) = (8 * EXTENT_BLOCKS, 1);
    swarm.load.hot_blocks = swarm.size_blocks;
    swarm.timings.flush_interval = core::time::Duration::from_millis(20);
}

/// A pair of nodes can't reach each other, or can again.
fn block(script: &mut Script, pair: (usize, usize), blocked: bool) {
    for side in 0..2 {
        if blocked {
            script.world.block(pair, side, u64::MAX);
        } else {
            script.world.pair_mut(pair).blocked[side] = 0;
            script.world.unblock(pair, side);
        }
    }
}

/// The primary goes on through its two standbys: its disk has failed.
///
/// `false`: a write on its way parted it from a standby just then, and it gave its role up for that one.
fn lose_the_disk(script: &mut Script) -> bool {
    script.world.nodes[0].trouble.fail_flushes = 1;
    script.world.swarm.load.flushes = 200;
    script.load(60);
    script.wait_disk(0, DiskState::Failed);
    script.pass(1000);
    script.somebody_primary();
    script.load_done();
    script.pass(2000);
    script.primary() == Some(0)
}

/// A standby is what it once was, and meets the others in either order.
fn rolled_back(script: &mut Script, seed: Seed, snapshot: &Snapshot) {
    script.serve(40);
    script.pass(2000);
    script.power_off(1, Loss::Nothing);
    script.wait_lost(0, 1);
    script.wait_lost(2, 1);
    let met_last = [(0, 1), (1, 2)][seed.number as usize % 2];
    block(script, met_last, true);
    snapshot.restore(script);
    script.pass(2000);
    block(script, met_last, false);
    // The primary goes on through the one that has everything, which can have the role.
    script.wait("I/O goes on", |world| {
        world
            .status_of(0)
            .is_some_and(|status| status.suspended.is_none() && status.in_sync == [2])
    });
    script.expect_role(0, Role::Primary);
    script.serve(20);
    script.take_over(2);
    script.wait_all_equal();
    script.serve(20);
}

/// The primary has lost its disk, and one of its two standbys is rolled back to before that. It is no copy, and nobody can
/// bring it up before the role goes to the other one: the primary hears so, and goes on without it.
fn under_a_primary_without_a_copy(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    let snapshot = Snapshot::of(&mut script, 1);
    if lose_the_disk(&mut script) {
        rolled_back(&mut script, seed, &snapshot);
    }
    script.finish()
}

/// The same within the generation that began when the disk failed.
fn in_its_generation(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    if lose_the_disk(&mut script) {
        let snapshot = Snapshot::of(&mut script, 1);
        rolled_back(&mut script, seed, &snapshot);
    }
    script.finish()
}

/// Two standbys can't reach each other, and have everything by the word of their primary. One is rolled back, and the primary
/// is gone: the other one notices, though it has heard nothing of that one itself.
fn as_only_the_primary_knew(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.wait_all_equal();
    let snapshot = Snapshot::of(&mut script, 2);
    block(&mut script, (1, 2), true);
    script.wait_lost(1, 2);
    script.serve(40);
    script.pass(2500);
    script.power_off(0, Loss::Nothing);
    script.power_off(2, Loss::Nothing);
    script.wait_lost(1, 0);
    block(&mut script, (1, 2), false);
    snapshot.restore(&mut script);
    script.pass(500);
    script.wait_link(1, 2, ConnectionState::Established);
    script.expect_decided(Mark::PeerRewound);
    script.start(0);
    script.somebody_primary();
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

/// A standby is rolled back by less than the time between two of its moments, and the primary of both is lost at the same time:
/// what the other one was told to be stable everywhere that one remembers.
fn by_a_little_under_a_lost_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    (swarm.load.flushes, swarm.load.reads) = (300, 50);
    have_a_small_log(&mut swarm);
    let mut script = Script::new(swarm, telling);
    for step in 0..24 {
        let Some(primary) = script.primary() else {
            break;
        };
        let (other, rewound) = ((primary + 1) % 3, (primary + 2) % 3);
        script.serve(30);
        script.pass(1500);
        script.load(20 + step);
        script.pass(10 + 2 * step);
        if script.world.keep_snapshot(2) && rewound == 2 {
            script.load_done();
            script.pass(10 + 6 * step);
            script.world.rewind(2);
        }
        if script.status(other).disk != DiskState::UpToDate {
            // A connection broke under load: the last whole copy is not the one to be lost.
            script.load_done();
            script.wait_all_equal();
            continue;
        }
        script.power_off(primary, Loss::Nothing);
        script.wait_lost(other, primary);
        script.pass(1500);
        script.wait_link(1, 2, ConnectionState::Established);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
        script.take_over(0);
    }
    script.finish()
}

/// A standby was rolled back, and the other one has made it whole while the primary was lost. The primary comes back and
/// finds the same, perhaps knowing more of it than the other one did, and perhaps before that one tells who is in the set.
fn found_by_two(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    // Statements cross while each is still storing what it has promised.
    (swarm.net.flips, swarm.net.delay, swarm.net.dial) = (0, 100 * US, 30 * MS);
    swarm.disk.flush = 10 * MS;
    have_a_small_log(&mut swarm);
    let mut script = Script::new(swarm, telling);
    for step in 0..12 {
        script.serve(30);
        script.pass(1500);
        let kept = script.world.keep_snapshot(2);
        // Long enough to be noticed.
        script.serve(30);
        script.pass(1500);
        let knows_more = step % 2 == 1;
        if knows_more {
            // The one that comes back knows more of it than the one that makes it whole: that is not over.
            script.serve(30);
            block(&mut script, (1, 2), true);
            script.world.break_link((1, 2), "a fault of the network");
            script.serve(5);
            script.pass(1500);
        }
        if kept {
            script.world.rewind(2);
        }
        script.command(0, DEMOTE);
        if knows_more {
            script.pass(40);
        }
        script.crash(0);
        block(&mut script, (1, 2), false);
        script.wait_lost(1, 0);
        script.pass(1500);
        script.wait_link(1, 2, ConnectionState::Established);
        script.pass(10 * step);
        block(&mut script, (0, 1), knows_more);
        script.start(0);
        if knows_more {
            script.pass(30 + 5 * step);
        }
        block(&mut script, (0, 1), false);
        script.somebody_primary();
        script.wait_all_equal();
        script.take_over(0);
    }
    script.finish()
}

/// Two standbys lose each other under load and meet again. What one of them says is late: the primary has told the other one
/// since that it has come further, and that all is equal. Nobody was rolled back, and the two find that they are equal.
fn statement_is_outrun(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.wait_all_equal();
    let before = script.decided(Mark::PeerRewound);
    for step in 0..16 {
        let (pair, late) = ((1, 2), step % 2);
        script.load(40);
        script.pass(50);
        script.world.break_link(pair, "a fault of the network");
        script.step_until(|script| !script.world.is_linked(pair));
        script.step_until(|script| script.world.is_linked(pair));
        let until = script.world.now + 250 * MS;
        script.world.block(pair, late, until);
        script.load_done();
        script.wait_all_equal();
    }
    let after = script.decided(Mark::PeerRewound);
    script.expect(before == after, "nobody is called rolled back");
    script.finish()
}

/// A standby was rolled back, and the primary has made it whole while the other one was away, which knows of the time that it
/// has forgotten. The primary makes that one equal, too, before the two meet: what it knew is over, and the first one is
/// promoted.
fn made_whole_by_a_third(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.wait_all_equal();
    let snapshot = Snapshot::of(&mut script, 2);
    script.serve(40);
    script.pass(2500);
    for lost in [1, 2] {
        script.power_off(lost, Loss::Nothing);
        script.wait_lost(0, lost);
        script.fenced(0, lost);
    }
    script.serve(20);
    block(&mut script, (1, 2), true);
    snapshot.restore(&mut script);
    script.wait_link(0, 2, ConnectionState::Established);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::Established);
    script.serve(20);
    script.pass(1000);
    script.must(0, DEMOTE);
    script.power_off(1, Loss::Nothing);
    script.wait_lost(0, 1);
    script.fenced(2, 1);
    script.must(2, PROMOTE);
    script.serve(20);
    block(&mut script, (1, 2), false);
    script.start(1);
    script.wait_all_equal();
    script.expect_role(2, Role::Primary);
    script.serve(20);
    script.finish()
}

/// A standby was rolled back while the last primary was off, which knows of the time before. The other one has made it whole,
/// and it is promoted: nothing is lost, so that it is in no conflict with the one that comes back.
fn made_whole_and_promoted(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.wait_all_equal();
    let snapshot = Snapshot::of(&mut script, 2);
    script.serve(40);
    script.pass(2500);
    script.must(0, DEMOTE);
    script.must(0, Command::Stop);
    script.wait_lost(1, 0);
    script.power_off(2, Loss::Nothing);
    script.wait_lost(1, 2);
    snapshot.restore(&mut script);
    script.wait_link(1, 2, ConnectionState::Established);
    script.expect_decided(Mark::Rewound);
    // It has forgotten that release.
    script.power_off(0, Loss::Nothing);
    script.fenced(2, 0);
    script.must(2, PROMOTE);
    script.serve(20);
    script.start(0);
    script.wait_all_equal();
    script.expect_role(2, Role::Primary);
    script.serve(20);
    script.finish()
}

/// The last node is rolled back, and the first one has heard more of it than the second one, before it parts in good order. That
/// one, which is primary, makes the last one whole and hands the role over to it.
fn make_whole(script: &mut Script) {
    script.take_over(1);
    script.wait_all_equal();
    let snapshot = Snapshot::of(script, 2);
    script.serve(40);
    block(script, (1, 2), true);
    script.wait_lost(1, 2);
    script.power_off(2, Loss::Nothing);
    script.fenced(1, 2);
    script.pass(1000);
    script.must(0, Command::Stop);
    script.wait_lost(1, 0);
    block(script, (1, 2), false);
    snapshot.restore(script);
    script.wait_link(1, 2, ConnectionState::Established);
    script.expect_decided(Mark::Rewound);
    script.serve(20);
    script.take_over(2);
    script.serve(20);
}

/// The same, and the first one is brought up by the second one, which has lost the last one for a moment. What is written
/// after that the second one has as well, and then it is lost: the first one must not lead because of what it knows of before.
fn the_third_one_still_knows(seed: Seed, telling: Telling) -> Outcome {
    still_knows(three(seed, telling), |script| {
        script.wait_link(0, 1, ConnectionState::Established);
        script.pass(500);
        block(script, (1, 2), false);
    })
}

/// The same, and the second one follows the last one again before the first one is whole: it tells that one all the same.
fn who_leads_it_follows(seed: Seed, telling: Telling) -> Outcome {
    still_knows(three(seed, telling), |script| {
        let trouble = &mut script.world.nodes[0].trouble;
        (trouble.slow_until, trouble.slowness) = (u64::MAX, 250);
        script.wait_link(0, 1, ConnectionState::SyncTarget);
        block(script, (1, 2), false);
        script.wait_link(1, 2, ConnectionState::Established);
        script.world.nodes[0].trouble.slow_until = 0;
        script.pass(2000);
    })
}

/// `meet` has the second one, which has just been asked by the first one, meet the last one.
fn still_knows(mut script: Script, meet: impl FnOnce(&mut Script)) -> Outcome {
    make_whole(&mut script);
    script.pass(1000);
    block(&mut script, (0, 2), true);
    block(&mut script, (1, 2), true);
    script.wait_lost(1, 2);
    script.start(0);
    meet(&mut script);
    script.wait_link(1, 2, ConnectionState::Established);
    script.serve(20);
    script.pass(1000);
    script.must(2, DEMOTE);
    script.power_off(1, Loss::Nothing);
    script.wait_lost(2, 1);
    script.crash(2);
    script.pass(500);
    block(&mut script, (0, 2), false);
    script.start(2);
    script.wait_link(2, 0, ConnectionState::Established);
    script.pass(500);
    script.start(1);
    script.somebody_primary();
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

fn discard(script: &mut Script, given_up: usize, kept: usize) {
    let keep = Some(slot_of(given_up, kept));
    script.must(given_up, Command::Discard { peer: None, keep });
}

/// A primary has begun a generation that its only member was never told of. That one was rolled back, and a person promoted
/// it: a conflict. The primary stays what it is until a person decides.
fn generation_that_nobody_knows(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.nodes, swarm.lossy) = (3, true);
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    let snapshot = Snapshot::of(&mut script, 1);
    script.serve(40);
    script.pass(2500);
    script.power_off(1, Loss::Nothing);
    script.power_off(2, Loss::Nothing);
    script.wait_lost(0, 1);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.pass(500);
    block(&mut script, (0, 1), true);
    snapshot.restore(&mut script);
    script.must(
        1,
        Command::Promote {
            force: Some("the scenario wants it".to_owned()),
        },
    );
    script.pass(500);
    block(&mut script, (0, 1), false);
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.expect_role(0, Role::Primary);
    script.expect_role(1, Role::Primary);
    script.expect_decided(Mark::RewoundConflict);
    // Either is given up: what the clients of the one were told, or what was forced.
    let (given_up, kept) = [(0, 1), (1, 0)][seed.number as usize % 2];
    // Nothing is under way that was acknowledged.
    script.must(given_up, Command::Demote { abandon: true });
    script.must_refuse(given_up, PROMOTE, RefusalCode::PeerIsPrimary);
    discard(&mut script, given_up, kept);
    script.start(2);
    if kept == 1 {
        // It knows more of that one as well.
        script.wait_link(2, kept, ConnectionState::SplitBrain);
        discard(&mut script, 2, kept);
    }
    script.wait_all_equal();
    script.expect_role(kept, Role::Primary);
    script.serve(20);
    script.finish()
}
