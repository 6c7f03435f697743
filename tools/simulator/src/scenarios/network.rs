//! Connections that break, flap, stall, corrupt, or work one way only.

use twindisk_core::{Command, Role};

use super::Run;
use crate::{
    node::slot_of,
    run::Outcome,
    script::Script,
    swarm::{MS, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("flapping-connection", flapping_connection),
    ("one-way-cuts", one_way_cuts),
    ("slow-network", slow_network),
    ("bits-flipped-on-the-wire", bits_flipped),
    ("cut-while-connecting", cut_while_connecting),
    ("both-disconnect-at-once", both_disconnect_at_once),
    (
        "link-breaks-in-a-flush-of-nothing",
        link_breaks_in_a_flush_of_nothing,
    ),
];

/// The connection breaks again and again: nobody changes roles, and the service goes on.
fn flapping_connection(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(400);
    for turn in 0..40 {
        script.cut();
        script.pass(7 + turn * 3);
    }
    script.load_done();
    script.expect_role(0, Role::Primary);
    script.expect_role(1, Role::Standby);
    script.finish()
}

/// Only one direction works, each in turn: writes wait, nobody is promoted, and everything goes on afterwards.
fn one_way_cuts(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for side in 0..2 {
        script.load(60);
        script.pass(5);
        script.world.block((0, 1), side, u64::MAX);
        script.wait_suspended(0);
        script.expect_role(1, Role::Standby);
        script.join();
        script.load_done();
        script.wait_all_equal();
    }
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Everything takes long: that is no death.
fn slow_network(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.timings.ping_interval = core::time::Duration::from_millis(300);
    swarm.timings.peer_timeout = core::time::Duration::from_secs(4);
    swarm.timings.request_timeout = core::time::Duration::from_secs(20);
    swarm.net.delay = 10 * MS;
    swarm.net.bytes = false;
    let mut script = Script::new(swarm, telling);
    script.serve(100);
    let suspended = script.world.coverage.count("report", "suspended");
    script.expect(suspended == 0, "nobody is taken for dead");
    script.finish()
}

/// Altered frames are refused, never applied.
fn bits_flipped(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.net.bytes = true;
    swarm.net.flips = 3000;
    let mut script = Script::new(swarm, telling);
    script.serve(300);
    let found = script
        .world
        .coverage
        .count("fault", "bit flipped on the wire");
    script.expect(found > 0, "a frame was altered and refused");
    script.finish()
}

/// The connection breaks at every step of its beginning, with and without blocks to move.
fn cut_while_connecting(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(200);
    for step in 0..24 {
        script.cut();
        script.wait("they meet again", |world| world.is_linked((0, 1)));
        script.pass_us(step * step * 15);
    }
    script.load_done();
    script.wait_all_equal();
    script.finish()
}

/// Both sides part at the same moment, and come back.
fn both_disconnect_at_once(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let (there, here) = (slot_of(0, 1), slot_of(1, 0));
    for turn in 0..6 {
        script.load(20);
        script.pass(5);
        let first = script.world.command(0, Command::Disconnect { peer: there });
        script.pass_us(turn * 40);
        let second = script.world.command(1, Command::Disconnect { peer: here });
        script.wait("both are answered", |world| {
            world.answer(first).is_some() && world.answer(second).is_some()
        });
        script.pass(300);
        script.must(0, Command::Connect { peer: there });
        script.must(1, Command::Connect { peer: here });
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// Clients do nothing but flush, and the connection breaks: the primary waits for no answer that will never come.
fn link_breaks_in_a_flush_of_nothing(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 1000;
    (swarm.load.reads, swarm.load.zeros) = (0, 0);
    let mut script = Script::new(swarm, telling);
    for step in 0..30 {
        let (primary, next) = ((step % 2) as usize, 1 - (step % 2) as usize);
        script.pause(primary, 400);
        script.load(2);
        script.pass(step * 20);
        script.cut();
        script.wait_all_equal();
        script.load_done();
        script.take_over(next);
    }
    script.finish()
}
