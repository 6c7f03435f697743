//! Nodes that can't keep up: a receiver that has stopped reading, a connection that fails again and again.

use core::time::Duration;

use twindisk_core::{ConnectionState, DiskState, Mark, Role, Timings};

use super::Run;
use crate::{
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Seed, Swarm, US},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("standby-that-has-stopped-reading", stopped_reading),
    ("standby-reads-nothing-for-too-long", reads_nothing),
    ("slow-disk-fails-every-connection", slow_disk_backs_off),
    ("lease-ends-though-answers-lay-unread", lease_of_old_answers),
];

/// Little room for what peers send, and a timeout of requests that is far longer than that of silence.
fn narrow(seed: Seed) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    swarm.receive_blocks = 8;
    swarm.load.max_blocks = 4;
    swarm.load.hot_blocks = 64;
    (swarm.load.think, swarm.load.burst, swarm.load.depth) = (MS, 16, 32);
    (swarm.load.reads, swarm.load.zeros, swarm.load.fua) = (0, 0, 0);
    swarm.timings = Timings {
        ping_interval: Duration::from_millis(50),
        peer_timeout: Duration::from_millis(200),
        request_timeout: Duration::from_millis(2000),
        read_lease: Duration::from_millis(100),
        flush_interval: Duration::from_millis(100),
        stop_timeout: Duration::from_millis(1000),
    };
    swarm.net.delay = 100 * US;
    swarm.net.notice = 50 * MS;
    swarm.net.dial = 5 * MS;
    swarm
}

/// The standby's disk is slow, its buffers are full, and it reads no further for much longer than a peer may be silent:
/// nobody is lost, by either side.
fn stopped_reading(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(narrow(seed), telling);
    script.serve(20);
    for _ in 0..3 {
        script.world.nodes[1].trouble.stuck_until = script.world.now + SEC;
        script.load(100);
        script.pass(1500);
    }
    script.load_done();
    script.expect_decided(Mark::Unread);
    for mark in [Mark::Silent, Mark::Unanswered, Mark::NotRead] {
        let never = script.decided(mark) == 0;
        script.expect(never, &format!("nobody decides: {}", mark.text()));
    }
    script.expect_disk(1, DiskState::UpToDate);
    script.finish()
}

/// The standby reads nothing for as long as a request may take, and its primary can't tell it anything any more: it
/// gives the connection up, or a receipt about the primary would be refused for ever.
fn reads_nothing(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(narrow(seed), telling);
    script.serve(20);
    script.world.nodes[1].trouble.stuck_until = script.world.now + 8 * SEC;
    script.load(100);
    script.step_until(|script| {
        let link = script.world.pairs[&(0, 1)].link.as_ref();
        link.is_some_and(|link| link.sides[1].paused)
    });
    script.part();
    script.wait_lost(1, 0);
    script.expect_decided(Mark::NotRead);
    script.pass(8000);
    script.join();
    script.finish()
}

/// Every write takes longer than a request may: each connection fails like the one before, and they come ever more rarely.
fn slow_disk_backs_off(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = narrow(seed);
    swarm.timings.request_timeout = Duration::from_millis(400);
    swarm.disk.io = MS;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.slow_until, trouble.slowness) = (script.world.now + 20 * SEC, 3000);
    script.load(60);
    script.pass(10_000);
    script.expect_decided(Mark::Unanswered);
    script.expect_decided(Mark::BackOff);
    script.expect_role(0, Role::Primary);
    let drops = script.decided(Mark::Unanswered);
    script.expect(drops < 20, "the connection is made anew ever more rarely");
    script.finish()
}

/// The answers of the standby were long on their way: what they prove is as old as the questions.
fn lease_of_old_answers(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = narrow(seed);
    swarm.load.reads = 900;
    swarm.net.delay = 20 * MS;
    swarm.timings.peer_timeout = Duration::from_millis(5000);
    swarm.timings.request_timeout = Duration::from_millis(6000);
    swarm.timings.read_lease = Duration::from_millis(60);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.load(400);
    script.pass(500);
    script
        .world
        .lose_power(1, crate::disk::Loss::Nothing, crate::node::Power::Fenced);
    script.wait_link(0, 1, ConnectionState::Connecting);
    script.wait_suspended(0);
    script.pass(1000);
    script.start(1);
    script.load_done();
    script.finish()
}
