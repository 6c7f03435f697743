//! Three nodes: what a third one knows, has, and lacks.

use std::time::Duration;

use twindisk_core::{Command, ConnectionState, DiskState, Mark, RefusalCode, Role};
use twindisk_format::superblock::ReceiptKind;

use super::Run;
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, Seed, Swarm},
    trace::Telling,
};

fn three(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    Script::new(swarm, telling)
}

pub(super) const ALL: &[(&str, Run)] = &[
    ("three-nodes-lose-two", three_nodes_lose_two),
    (
        "two-standbys-of-a-lost-primary",
        two_standbys_of_a_lost_primary,
    ),
    (
        "standby-of-a-primary-grants-nothing",
        standby_of_a_primary_grants_nothing,
    ),
    ("three-switchovers", three_switchovers),
    ("three-promotions-at-once", three_promotions_at_once),
    (
        "resync-goes-on-from-another-source",
        resync_from_another_source,
    ),
    ("three-nodes-cold-start", three_nodes_cold_start),
    (
        "primary-dies-in-a-resync-of-one",
        primary_dies_in_a_resync_of_one,
    ),
    ("protocol-a-standby-crashes", protocol_a_standby_crashes),
    ("set-grew-while-a-member-was-away", set_grew_unheard),
    ("who-overwrites-another-is-at-rest", overwrites_at_rest),
    ("member-meets-a-follower", member_meets_a_follower),
    ("handover-while-standbys-meet", handover_while_standbys_meet),
    ("half-a-promotion-of-three", half_a_promotion),
    ("first-write-confirms-a-promotion", first_write_confirms),
    ("a-fork-meets-an-idle-member", fork_meets_an_idle_member),
];

/// Two of three are lost one after the other: the last one has everything.
fn three_nodes_lose_two(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.load(100);
    script.pass(30);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.wait_lost(2, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.wait_link(1, 2, ConnectionState::Established);
    script.serve(60);
    script.power_off(1, Loss::All);
    script.wait_lost(2, 1);
    script.must_refuse(2, PROMOTE, RefusalCode::NoRight);
    script.fenced(2, 1);
    script.must(2, PROMOTE);
    script.serve(60);
    script.start(0);
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// The primary dies with writes on their way: its two standbys may differ, and find out before either is promoted.
fn two_standbys_of_a_lost_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for turn in 0..4 {
        script.load(80);
        script.pass(8 + turn);
        let Some(primary) = script.primary() else {
            break;
        };
        let next = (primary + 1) % 3;
        script.power_off(primary, Loss::All);
        script.wait_lost(next, primary);
        // The two standbys compare first: what each of them says of the set may be news to the other.
        script.pass(200);
        let other = (primary + 2) % 3;
        script.wait_link(next, other, ConnectionState::Established);
        // Who was brought up from the other one is not counted on before every member knows: the other one is promoted.
        let of = |script: &Script, number| script.status(number).disk == DiskState::UpToDate;
        let survivor = if of(&script, next) { next } else { other };
        script.wait_lost(survivor, primary);
        script.fenced(survivor, primary);
        script.must(survivor, PROMOTE);
        script.start(primary);
        script.wait_all_equal();
        script.load_done();
    }
    script.expect_decided(Mark::RecentLost);
    script.finish()
}

/// A standby that has lost the primary, and believes a person that it is gone, asks the third node. That one is
/// connected to the primary, and grants nothing.
fn standby_of_a_primary_grants_nothing(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.lossy = true;
    let mut script = Script::new(swarm, telling);
    script.serve(30);
    script.pass(3000);
    for side in 0..2 {
        script.world.block((0, 2), side, u64::MAX);
    }
    script.wait_lost(2, 0);
    script.wait_link(2, 1, ConnectionState::Established);
    script.receipt(2, 0, ReceiptKind::Operator);
    script.must_refuse(2, PROMOTE, RefusalCode::PeerRefused);
    script.expect_decided(Mark::GrantFollows);
    script.expect_role(0, Role::Primary);
    script.join();
    script.finish()
}

/// The role goes round; who shall have it must be said when several could.
fn three_switchovers(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for turn in 0..6 {
        let (from, to) = (turn % 3, (turn + 1) % 3);
        script.load(40);
        script.pass(10);
        let nobody = Command::Switchover { to: None };
        script.must_refuse(from, nobody, RefusalCode::BadArgument);
        script.take_over(to);
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// All three are told to be primary at the same time: one is, at most.
fn three_promotions_at_once(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for turn in 0..6 {
        script.serve(10);
        let Some(primary) = script.primary() else {
            break;
        };
        script.must(primary, DEMOTE);
        let mut asked = Vec::new();
        for number in 0..3 {
            asked.push(script.world.command(number, PROMOTE));
            script.pass_us(turn * 50);
        }
        for id in &asked {
            script.wait("a command is answered", |world| world.answer(*id).is_some());
        }
        let obeyed = asked
            .iter()
            .filter(|id| script.world.answer(**id) == Some(true))
            .count();
        script.expect(obeyed <= 1, "one is promoted at most");
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The source of a resync dies; the next primary brings the target up.
fn resync_from_another_source(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.size_blocks = 4096;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4096;
    swarm.load.max_blocks = 256;
    let mut script = Script::new(swarm, telling);
    script.power_off(2, Loss::Some);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.serve(100);
    script.start(2);
    script.wait_link(2, 0, ConnectionState::SyncTarget);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.wait_link(1, 2, ConnectionState::Established);
    script.serve(30);
    script.start(0);
    script.wait_all_equal();
    script.finish()
}

/// All three lose their power. They find out among themselves who has the newest data, in whatever order they start.
fn three_nodes_cold_start(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for first in 0..3 {
        script.load(60);
        script.pass(20);
        for number in 0..3 {
            script.power_off(number, Loss::Some);
        }
        for number in 0..3 {
            script.start((first + number) % 3);
            script.pass(150);
        }
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// The primary dies while it brings one standby up: the other one knows what that one may lack.
fn primary_dies_in_a_resync_of_one(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for turn in 0..6 {
        let peer = slot_of(2, 0);
        script.must(2, Command::Disconnect { peer });
        script.serve(20);
        script.must(2, Command::Connect { peer });
        script.load(40);
        script.pass_us(turn * 900);
        script.power_off(0, Loss::All);
        script.wait_lost(1, 0);
        script.fenced(1, 0);
        script.must(1, PROMOTE);
        script.start(0);
        script.wait_all_equal();
        script.load_done();
        script.take_over(0);
        script.wait_all_equal();
    }
    script.finish()
}

/// A protocol A standby that had nothing to write crashes, and meets the other one: the two are equal.
fn protocol_a_standby_crashes(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.protocol = twindisk_core::Protocol::A;
    let mut script = Script::bare(swarm, telling, |_| ());
    script.must(0, PROMOTE);
    script.wait_link(0, 1, ConnectionState::Established);
    script.wait_link(0, 2, ConnectionState::Established);
    script.crash(2);
    script.start(2);
    script.wait_link(0, 2, ConnectionState::Established);
    script.pass(1000);
    script.serve(20);
    script.finish()
}

/// A node comes back while a member is away without a right: it is made equal, and not counted on, so that it can't be
/// promoted once everybody else is gone. Truthful fencings do not change that.
fn set_grew_unheard(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.wait("the set to shrink", |world| {
        world.nodes[0].in_sync == [0, 2]
    });
    script.power_off(2, Loss::All);
    script.wait_lost(0, 2);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::Established);
    script.pass(500);
    script.expect(
        !script.world.nodes[0].in_sync.contains(&1),
        "the set does not grow while a member is away",
    );
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.wait_link(0, 1, ConnectionState::Established);
    script.pass(500);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(2);
    script.wait_all_equal();
    script.somebody_primary();
    script.serve(40);
    script.finish()
}

/// The role is handed over while the other standby is just being met again: the new primary waits for that one.
fn handover_while_standbys_meet(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    // A broken connection may be noticed late, and a disk slow after that: neither is what a handover is to fail for here.
    swarm.timings.stop_timeout = Duration::from_secs(10);
    let mut script = Script::new(swarm, telling);
    for turn in 0..6 {
        script.serve(20);
        // Until a rollback would be noticed that takes from anybody what was written: then the standbys meet as equals, and
        // none of them is the other one's target.
        script.pass(1000);
        let Some(primary) = script.primary() else {
            break;
        };
        let (to, other) = ((primary + 1) % 3, (primary + 2) % 3);
        let pair = (to.min(other), to.max(other));
        script.world.break_link(pair, "the scenario wants it");
        script.pass_us(turn * 300);
        // The first try may be answered with what went wrong on the way, and lead to the same end.
        script.take_over(to);
        script.wait_all_equal();
    }
    script.finish()
}

/// Three nodes under writes that no flush makes stable.
fn three_unflushed(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.load.clients = 4;
    (swarm.load.depth, swarm.load.burst) = (8, 4);
    (swarm.load.reads, swarm.load.flushes, swarm.load.fua) = (0, 0, 0);
    swarm.load.think = MS;
    swarm.timings.flush_interval = Duration::from_secs(3);
    let mut script = Script::new(swarm, telling);
    script.load(100_000);
    script.pass(40 + seed.number % 7);
    script
}

/// Ann loses its power, and what it had not flushed. Bob leads cid, who is recorded as outdated and being overwritten when
/// bob loses its power too. Ann, who was primary last, is back first, and leads cid. Bob has everything, and knows it.
fn overwrites_at_rest(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three_unflushed(seed, telling);
    script.power_off(0, Loss::All);
    script.load(0);
    script.step_until(|script| script.status(2).disk == DiskState::Inconsistent);
    script.power_off(1, Loss::All);
    script.wait_lost(2, 1);
    script.start(0);
    script.wait_link(0, 2, ConnectionState::Established);
    script.start(1);
    script.wait_all_equal();
    script.somebody_primary();
    script.serve(20);
    script.wait_all_equal();
    script.finish()
}

/// Cid has lost the primary, and meets bob, who has not. Bob will do nothing without the primary: if cid were recorded as
/// outdated for it, nobody could take over from the two although cid has everything.
fn member_meets_a_follower(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three_unflushed(seed, telling);
    for side in 0..2 {
        script.world.block((0, 2), side, u64::MAX);
    }
    script.wait_lost(2, 0);
    script.wait_link(2, 1, ConnectionState::Waiting);
    script.load(0);
    script.expect_decided(Mark::PeersPrimaryMakesEqual);
    script.power_off(0, Loss::All);
    script.power_off(1, Loss::All);
    script.wait_lost(2, 1);
    script.fenced(2, 0);
    script.fenced(2, 1);
    script.must(2, PROMOTE);
    script.serve(20);
    script.join();
    script.start(0);
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// A promotion is stored by the candidate and by one of its two members; the other one goes on after both were fenced.
/// Nothing was written in the generation that it does not know: it is no fork.
fn half_a_promotion(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    for step in 0..16 {
        script.serve(10);
        script.wait_all_equal();
        let Some(primary) = script.primary() else {
            break;
        };
        let (candidate, member) = ((primary + 1) % 3, (primary + 2) % 3);
        script.must(primary, DEMOTE);
        script.pass(20);
        let term = script.status(primary).term;
        script.world.command(candidate, PROMOTE);
        let granted = (0..20_000).any(|_| {
            script.pass_us(5);
            script.status(primary).term > term
        });
        if !granted {
            // It had not heard yet that nobody is primary.
            script.somebody_primary();
            continue;
        }
        // It has granted the term, and never hears what became of that.
        for other in [candidate, member] {
            let pair = (primary.min(other), primary.max(other));
            let from = usize::from(other > primary);
            script.world.block(pair, from, u64::MAX);
        }
        script.pass(2 + 2 * step);
        for lost in [candidate, member] {
            script.power_off(lost, Loss::Some);
        }
        script.join();
        for lost in [candidate, member] {
            script.wait_lost(primary, lost);
            script.fenced(primary, lost);
        }
        script.must(primary, PROMOTE);
        script.serve(10);
        // The member alone has to say what became of the generation.
        script.start(member);
        script.wait_link(primary, member, ConnectionState::Established);
        script.start(candidate);
        script.wait_all_equal();
    }
    script.finish()
}

/// A member of a promotion has written what its primary had acknowledged. Whoever was promoted by force, and does not know
/// that generation, is the other side of a split brain.
fn first_write_confirms(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.nodes, swarm.lossy) = (3, true);
    let mut script = Script::new(swarm, telling);
    script.serve(10);
    script.wait_all_equal();
    script.must(0, DEMOTE);
    script.power_off(2, Loss::Nothing);
    script.wait_lost(1, 2);
    script.fenced(1, 2);
    script.must(1, PROMOTE);
    script.serve(40);
    script.power_off(1, Loss::Nothing);
    script.power_off(0, Loss::Nothing);
    script.start(2);
    script.pass(100);
    let force = Command::Promote {
        force: Some("the others are lost for good".into()),
    };
    script.must(2, force);
    script.start(0);
    script.wait_link(0, 2, ConnectionState::SplitBrain);
    script.expect_decided(Mark::SplitBrain);
    script.finish()
}

/// A member of a promotion has heard of no write yet, and a fork in a higher term connects to it: its primary goes on.
fn fork_meets_an_idle_member(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.nodes, swarm.lossy) = (3, true);
    let mut script = Script::new(swarm, telling);
    script.serve(10);
    script.wait_all_equal();
    script.load_done();
    script.must(0, DEMOTE);
    script.power_off(2, Loss::Nothing);
    script.wait_lost(1, 2);
    script.fenced(1, 2);
    script.must(1, PROMOTE);
    for pair in [(0, 2), (1, 2)] {
        (0..2).for_each(|side| script.world.block(pair, side, u64::MAX));
    }
    script.start(2);
    script.pass(100);
    let force = Command::Promote {
        force: Some("the others are lost for good".into()),
    };
    script.must(2, force);
    for _ in 0..3 {
        script.must(2, DEMOTE);
        script.must(2, PROMOTE);
    }
    // It hears the member, and not its primary.
    for side in 0..2 {
        script.world.pair_mut((0, 2)).blocked[side] = 0;
        script.world.unblock((0, 2), side);
    }
    script.wait_link(0, 2, ConnectionState::SplitBrain);
    script.pass(2000);
    script.expect_role(1, Role::Primary);
    script.expect_role(2, Role::Primary);
    script.finish()
}
