//! What thousands of seeds found in a few of them: the moment before something is stable, or known to everybody.

use std::time::Duration;

use twindisk_core::{Command, ConnectionState, DiskState, Mark, Protocol};
use twindisk_format::superblock::ReceiptKind;

use super::{Run, identity::Snapshot};
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    (
        "power-lost-before-the-last-flush",
        power_lost_before_the_last_flush,
    ),
    ("half-a-promotion-is-no-fork", half_a_promotion),
    ("stopped-with-what-another-lacks", stopped_with_more),
    ("standbys-part-under-a-primary", standbys_part),
    ("standby-leads-under-writes", standby_leads_under_writes),
    ("disconnect-at-every-step", disconnect_at_every_step),
    (
        "standbys-differ-in-what-came-last",
        standbys_differ_in_what_came_last,
    ),
    (
        "lost-member-shows-up-for-a-moment",
        lost_member_shows_up_for_a_moment,
    ),
    (
        "primary-dies-while-standbys-compare",
        primary_dies_while_standbys_compare,
    ),
    (
        "at-rest-is-stored-after-a-write-came",
        at_rest_is_stored_late,
    ),
    ("rolled-back-and-its-primary-dies", its_primary_dies),
];

/// The standby comes back and is to be resynced, so the primary goes on alone; its disk is slow, and it loses its power
/// before what it had acknowledged is stable. The standby had it: it must lead when the two meet.
fn power_lost_before_the_last_flush(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..16 {
        script.load(30);
        script.load_done();
        let Some(primary) = script.primary() else {
            break;
        };
        let trouble = &mut script.world.nodes[primary].trouble;
        (trouble.slow_until, trouble.slowness) = (u64::MAX, 50);
        script.cut();
        script.pass(10 + step * 10);
        script.power_off(primary, Loss::All);
        script.world.nodes[primary].trouble.slow_until = 0;
        script.pass(200);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// A promotion is stored by the candidate and not by its peer, which goes on after the candidate was fenced. Nothing was
/// written in the generation that only the candidate has: it is no fork.
fn half_a_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..24 {
        script.serve(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let candidate = 1 - primary;
        script.must(primary, DEMOTE);
        script.world.command(candidate, PROMOTE);
        script.pass_us(200 + step * 100);
        script.cut();
        script.part();
        script.pass(2 + step % 8);
        script.power_off(candidate, Loss::Some);
        script.join();
        script.wait_lost(primary, candidate);
        say_fenced(&mut script, primary, candidate);
        script.must(primary, PROMOTE);
        script.serve(10);
        script.start(candidate);
        script.wait_all_equal();
    }
    script.finish()
}

/// A standby is stopped with writes that the other one has not got, and the primary loses its power: nobody was told of
/// them. The other one takes over by truthful rights, and the two are equal in the end.
fn stopped_with_more(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for _ in 0..4 {
        script.serve(20);
        script.wait_all_equal();
        script.world.block((0, 1), 0, u64::MAX);
        script.load(10);
        script.pass(20);
        script.command(2, Command::Stop);
        script.pass(20);
        script.power_off(0, Loss::All);
        script.join();
        script.wait_lost(1, 0);
        script.fenced(1, 0);
        script.power_off(2, Loss::Nothing);
        script.fenced(1, 2);
        script.must(1, PROMOTE);
        script.load_done();
        script.start(2);
        script.start(0);
        script.wait_all_equal();
        script.take_over(0);
    }
    script.finish()
}

/// A standby is disconnected from another one. The primary goes on counting on both, and both can be promoted.
fn standbys_part(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    let peer = slot_of(2, 1);
    script.must(2, Command::Disconnect { peer });
    script.serve(30);
    script.expect_disk(2, DiskState::UpToDate);
    script.must(2, Command::Connect { peer });
    script.wait_all_equal();
    script.finish()
}

/// A standby brings another one up while the primary writes to it: what it sent is old by the time it is confirmed.
fn standby_leads_under_writes(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4;
    let mut script = Script::new(swarm, telling);
    for _ in 0..12 {
        let Some(primary) = script.primary() else {
            break;
        };
        let (standby, stale) = ((primary + 1) % 3, (primary + 2) % 3);
        script.power_off(stale, Loss::All);
        script.wait_lost(primary, stale);
        script.wait_lost(standby, stale);
        say_fenced(&mut script, primary, stale);
        script.serve(40);
        script.must(primary, DEMOTE);
        script.start(stale);
        script.pass(1);
        script.world.command(primary, PROMOTE);
        script.load(60);
        script.pass(2000);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// A standby that comes back is disconnected while it is compared with, brought up to date, or joins.
fn disconnect_at_every_step(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..24 {
        script.power_off(1, Loss::All);
        script.wait_lost(0, 1);
        say_fenced(&mut script, 0, 1);
        script.serve(20);
        script.start(1);
        script.step_until(|script| script.world.is_linked((0, 1)));
        script.pass_us(step * 150);
        let (node, peer) = ((step % 2) as usize, 1 - (step % 2) as usize);
        let peer = slot_of(node, peer);
        script.must(node, Command::Disconnect { peer });
        script.pass(20);
        script.must(node, Command::Connect { peer });
        script.wait_all_equal();
    }
    script.finish()
}

/// The primary's last writes reach one standby and not the other, and it loses its power: the two compare, and the one
/// that is promoted brings the other one up to date.
fn standbys_differ_in_what_came_last(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    (swarm.load.clients, swarm.load.burst, swarm.load.depth) = (4, 16, 32);
    (swarm.load.hot_blocks, swarm.load.think) = (32, MS);
    (swarm.load.reads, swarm.load.flushes) = (50, 0);
    let mut script = Script::new(swarm, telling);
    for turn in 0..6 {
        let Some(primary) = script.primary() else {
            break;
        };
        let (first, second) = ((primary + 1) % 3, (primary + 2) % 3);
        script.load(60);
        script.pass(10 + turn);
        let (pair, side) = if primary < second {
            ((primary, second), 0)
        } else {
            ((second, primary), 1)
        };
        script.world.block(pair, side, u64::MAX);
        script.pass(20);
        script.power_off(primary, Loss::All);
        script.join();
        script.wait_lost(first, primary);
        script.wait_lost(second, primary);
        script.wait_link(first, second, ConnectionState::Established);
        // One of them was brought up from the other, which is the one that counts until every member knows.
        let newest = script.status(first).disk == DiskState::UpToDate;
        let survivor = if newest { first } else { second };
        script.fenced(survivor, primary);
        script.must(survivor, PROMOTE);
        script.start(primary);
        script.wait_all_equal();
        script.load_done();
    }
    script.expect_decided(Mark::RecentLost);
    script.finish()
}

/// A member of the in-sync set is lost with writes on their way, comes back, and is lost again before it is equal. The
/// primary goes on without it, and dies: the other standby must know what that one lacks.
fn lost_member_shows_up_for_a_moment(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    // Flushes come often and take their time: of what the three have, some is stable on two of them.
    swarm.timings.flush_interval = Duration::from_millis(20);
    (swarm.disk.flush, swarm.net.delay) = (5 * MS, 20 * US);
    // Many writes are under way, and few are written again later.
    (swarm.load.clients, swarm.load.depth, swarm.load.hot_blocks) = (2, 8, 26);
    (swarm.load.fua, swarm.load.think) = (0, 5 * MS);
    let mut script = Script::new(swarm, telling);
    for step in (0..8).cycle().take(24) {
        let Some(primary) = script.primary() else {
            break;
        };
        let (standby, lost) = ((primary + 1) % 3, (primary + 2) % 3);
        let pair = |one: usize, other: usize| (one.min(other), one.max(other));
        script.load(60);
        script.pass_us(3000 + step * 300);
        for side in 0..2 {
            script.world.block(pair(standby, lost), side, u64::MAX);
        }
        script.power_off(lost, Loss::All);
        script.wait_lost(primary, lost);
        script.start(lost);
        script.step_until(|script| script.world.is_linked(pair(primary, lost)));
        script.pass_us(100 + step * 30);
        script.power_off(lost, Loss::All);
        script.wait_lost(primary, lost);
        say_fenced(&mut script, primary, lost);
        script.wait("the standby to hear of it", |world| {
            world.nodes[standby].in_sync.len() == 2 || world.nodes[primary].in_sync.len() == 2
        });
        script.pass(20);
        script.crash(primary);
        script.join();
        script.start(lost);
        script.wait_link(standby, lost, ConnectionState::Established);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// Two standbys meet while writes are under way, and lose their primary before they have found each other equal.
fn primary_dies_while_standbys_compare(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for step in 0..12 {
        script.load(100);
        script.pass(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let (one, other) = ((primary + 1) % 3, (primary + 2) % 3);
        let pair = (one.min(other), one.max(other));
        script.world.break_link(pair, "the scenario wants it");
        script.step_until(|script| script.world.is_linked(pair));
        script.pass_us(step * 40);
        let other_pair = (primary.min(one), primary.max(one));
        script.world.break_link(other_pair, "the scenario wants it");
        script.crash(primary);
        script.wait_lost(one, primary);
        script.wait_link(one, other, ConnectionState::Established);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// A receipt, which is not needed if the victim had left the set in good order.
fn say_fenced(script: &mut Script, survivor: usize, victim: usize) {
    let receipt = Command::Receipt {
        met: None,
        about: slot_of(survivor, victim),
        kind: ReceiptKind::Fence,
        detail: "the scenario says so".into(),
    };
    script.command(survivor, receipt);
}

fn three(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    Script::new(swarm, telling)
}

/// Protocol A: ann asks bob, on whom nobody counts, for the term, and gives up: the answer is late. Bob hears that, and comes to
/// rest, which takes long to be stored. Ann asks once more, has the answer to the first question, and writes: nothing of that
/// is in bob's cache before bob is recorded as at work.
fn at_rest_is_stored_late(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::A;
    // Nothing breaks the connection, and no flush makes stable what is written meanwhile.
    swarm.net.flips = 0;
    swarm.timings.peer_timeout = Duration::from_secs(5);
    swarm.timings.request_timeout = Duration::from_secs(10);
    swarm.timings.stop_timeout = Duration::from_secs(1);
    swarm.timings.flush_interval = Duration::from_secs(3);
    (swarm.load.reads, swarm.load.flushes, swarm.load.fua) = (0, 0, 0);
    (swarm.load.clients, swarm.load.burst, swarm.load.think) = (1, 1, 5 * MS);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.must(0, DEMOTE);
    script.wait("bob is at rest", |world| {
        let stored = world.nodes[1].meta.superblock();
        stored.is_some_and(|stored| !stored.active)
    });
    let term = script.status(0).term;
    script.world.block((0, 1), 1, u64::MAX);
    let first = script.world.command(0, PROMOTE);
    script.pass(990);
    // Before bob has heard of it.
    script.step_until(|script| script.world.answer(first) == Some(false));
    let granted = script.world.nodes[1].meta.superblock();
    let granted = granted.is_some_and(|stored| stored.active && stored.term.0 > term);
    script.expect(granted, "bob has granted the term");
    let until = script.world.now + SEC;
    script.world.let_metadata_die(1, true, until);
    script.pass(20);
    let second = script.world.command(0, PROMOTE);
    script.pass(20);
    script.join();
    script.wait("ann is promoted", |world| {
        world.answer(second) == Some(true)
    });
    script.load(1000);
    script.wait("bob's metadata works", |world| world.now > until);
    script.load(0);
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

/// A standby was rolled back by a little and is made whole, which takes so long that it hears how far its primary comes. That
/// one dies before it has stored how far the standby is: nothing is lost, and the standby is promoted.
fn its_primary_dies(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.net.delay = 10 * MS;
    swarm.size_blocks = 1024;
    swarm.resync_bufs = 1;
    let mut script = Script::new(swarm, telling);
    for step in 0..8 {
        script.wait_all_equal();
        let snapshot = Snapshot::of(&mut script, 1);
        script.serve(20);
        script.pass(1000);
        script.power_off(1, Loss::Nothing);
        script.wait_lost(0, 1);
        snapshot.restore(&mut script);
        script.wait_link(0, 1, ConnectionState::Established);
        script.pass(5 * step);
        script.power_off(0, Loss::Nothing);
        script.wait_lost(1, 0);
        script.fenced(1, 0);
        script.must(1, PROMOTE);
        script.serve(20);
        script.start(0);
        script.wait_all_equal();
        script.take_over(0);
    }
    script.finish()
}
