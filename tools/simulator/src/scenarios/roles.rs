//! Promotion, demotion, handing over: in order, at once, and killed at every step.

use twindisk_core::{Command, DiskState, Mark, Protocol, RefusalCode, Role};

use super::Run;
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("switchover-under-load", switchover_under_load),
    ("failover-after-fencing", failover_after_fencing),
    ("protocol-a-clean-handover", protocol_a_handover),
    ("promote-while-joining", promote_while_joining),
    ("handover-cut-in-the-middle", handover_cut),
    ("three-nodes-failover", three_nodes_failover),
    ("concurrent-promotions", concurrent_promotions),
    ("promotion-killed-at-every-step", promotion_killed),
    ("demotion-killed-at-every-step", demotion_killed),
    ("switchover-with-a-dying-end", switchover_with_a_dying_end),
    (
        "switchover-asked-by-the-standby",
        switchover_asked_by_the_standby,
    ),
    ("old-primary-comes-back", old_primary_comes_back),
    ("lost-primary-after-no-writes", lost_primary_after_no_writes),
    ("protocol-a-under-cuts", protocol_a_under_cuts),
    (
        "promotion-at-every-step-of-a-join",
        promotion_at_every_step_of_a_join,
    ),
    (
        "handover-to-a-node-that-stops",
        handover_to_a_node_that_stops,
    ),
];

fn switchover_under_load(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..6 {
        script.load(60);
        script.pass(20);
        let (from, to) = (turn % 2, 1 - turn % 2);
        script.must(
            from,
            Command::Switchover {
                to: Some(slot_of(from, to)),
            },
        );
        script.wait_role(to, Role::Primary);
    }
    script.finish()
}

fn failover_after_fencing(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(60);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.load(100);
    script.load_done();
    script.start(0);
    script.finish()
}

fn protocol_a_handover(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::with_protocol(seed, Protocol::A, telling);
    script.load(100);
    script.pass(30);
    script.must(
        0,
        Command::Switchover {
            to: Some(slot_of(0, 1)),
        },
    );
    script.wait_role(1, Role::Primary);
    script.load(100);
    script.load_done();
    script.finish()
}

/// A promotion is asked for at every moment of a standby's return.
fn promote_while_joining(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.load(20);
        script.load_done();
        script.crash(1);
        script.crash(0);
        script.start(0);
        script.start(1);
        script.pass(turn * 3);
        script.promote(1);
        script.somebody_primary();
        script.wait_disk(1, DiskState::UpToDate);
    }
    script.finish()
}

/// The connection is cut at every moment of a handover.
fn handover_cut(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.load(20);
        script.pass(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let to = Some(slot_of(primary, 1 - primary));
        script.world.command(primary, Command::Switchover { to });
        script.pass(turn);
        script.world.break_link((0, 1), "the scenario wants it");
        script.pass(1500);
        script.promote(0);
        script.promote(1);
        script.pass(500);
    }
    script.finish()
}

fn three_nodes_failover(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    let mut script = Script::new(swarm, telling);
    script.load(100);
    script.pass(40);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.wait_lost(2, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.load(100);
    script.load_done();
    script.start(0);
    script.finish()
}

/// Both are told to be primary at the same time: exactly one is.
fn concurrent_promotions(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.serve(20);
        let Some(primary) = script.primary() else {
            break;
        };
        script.must(primary, DEMOTE);
        let first = script.world.command(0, PROMOTE);
        script.pass_us(turn * 60);
        let second = script.world.command(1, PROMOTE);
        script.wait("both are answered", |world| {
            world.answer(first).is_some() && world.answer(second).is_some()
        });
        let obeyed = [first, second].map(|id| script.world.answer(id) == Some(true));
        script.expect(obeyed[0] != obeyed[1], "one of the two is promoted");
        script.somebody_primary();
    }
    script.finish()
}

/// The candidate dies at every step of its promotion.
fn promotion_killed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..20 {
        script.serve(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let candidate = 1 - primary;
        script.must(primary, DEMOTE);
        script.world.command(candidate, PROMOTE);
        script.pass_us(step * step * 20);
        if step % 2 == 0 {
            script.crash(candidate);
        } else {
            script.power_off(candidate, Loss::All);
        }
        script.pass(step);
        script.start(candidate);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The primary dies at every step of giving its role up.
fn demotion_killed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..20 {
        script.load(20);
        script.pass(5);
        let Some(primary) = script.primary() else {
            break;
        };
        script.world.command(primary, DEMOTE);
        script.pass_us(step * step * 20);
        if step % 2 == 0 {
            script.crash(primary);
        } else {
            script.power_off(primary, Loss::Some);
        }
        script.pass(step);
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// One of the two dies at every step of a switchover, the target and the source in turn.
fn switchover_with_a_dying_end(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..20 {
        script.load(20);
        script.pass(5);
        let Some(primary) = script.primary() else {
            break;
        };
        let to = Some(slot_of(primary, 1 - primary));
        script.world.command(primary, Command::Switchover { to });
        script.pass_us(step * step * 20);
        let victim = if step % 2 == 0 { primary } else { 1 - primary };
        script.crash(victim);
        script.pass(step);
        script.start(victim);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// A standby asks for the role and gets it.
fn switchover_asked_by_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(60);
    script.pass(10);
    script.take_over(1);
    script.wait_role(0, Role::Standby);
    script.must_refuse(0, PROMOTE, RefusalCode::PeerIsPrimary);
    script.load_done();
    script.finish()
}

/// After a failover the old primary comes back: it follows, and what only it had is gone.
fn old_primary_comes_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(30);
    script.power_off(0, Loss::Nothing);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.serve(60);
    script.start(0);
    script.wait_all_equal();
    script.expect_role(0, Role::Standby);
    script.expect_role(1, Role::Primary);
    script.expect_decided(Mark::AheadByBitmap);
    script.finish()
}

/// The primary is lost before it has written anything: the next one has everything, and nothing moves afterwards.
fn lost_primary_after_no_writes(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    script.must(0, DEMOTE);
    script.must(1, PROMOTE);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.must(0, PROMOTE);
    script.serve(20);
    script.start(1);
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Protocol A, flushes, and a connection that breaks with writes held back on the standby for their flush.
fn protocol_a_under_cuts(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.protocol = Protocol::A;
    swarm.load.flushes = 200;
    swarm.load.depth = 8;
    let mut script = Script::new(swarm, telling);
    script.load(400);
    for turn in 0..20 {
        script.pass(5 + turn);
        script.cut();
    }
    script.load_done();
    script.wait_all_equal();
    script.finish()
}

/// A standby that is just joining is told to be primary, again and again: it waits until it knows what it has.
fn promotion_at_every_step_of_a_join(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for _ in 0..3 {
        script.serve(20);
        script.crash(0);
        script.crash(1);
        script.start(0);
        script.start(1);
        let limit = script.world.now + 20 * crate::swarm::SEC;
        while script.primary().is_none() && script.world.now < limit {
            script.world.command(1, PROMOTE);
            script.pass_us(60);
        }
        script.wait_all_equal();
    }
    script.expect_role(1, Role::Primary);
    script.finish()
}

/// The one that is to take over is being stopped at that moment: it says no, and somebody is primary afterwards.
fn handover_to_a_node_that_stops(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..24 {
        script.load(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let other = 1 - primary;
        let to = Some(slot_of(primary, other));
        script.world.command(primary, Command::Switchover { to });
        script.pass_us(step * 150);
        script.world.command(other, Command::Stop);
        script.pass(3000);
        script.start(other);
        script.somebody_primary();
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}
