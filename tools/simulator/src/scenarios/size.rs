//! Growing the device, and devices that do not fit each other.

use twindisk_core::{Command, ConnectionState, RefusalCode, Role};

use super::Run;
use crate::{
    disk::{DataDisk, Loss},
    metadisk::MetaDisk,
    node::{slot_of, superblock},
    run::Outcome,
    script::{PROMOTE, Script},
    swarm::{SEC, Seed, Swarm},
    trace::Telling,
};

const GROW: Command = Command::Resize { size_blocks: None };

pub(super) const ALL: &[(&str, Run)] = &[
    ("growing-under-load", growing_under_load),
    ("growing-needs-everybody", growing_needs_everybody),
    ("growing-refused-by-a-smaller-peer", growing_refused),
    ("devices-of-different-sizes", devices_of_different_sizes),
    ("growing-with-a-silent-peer", growing_with_a_silent_peer),
    ("growing-ends-with-the-peer", growing_ends_with_the_peer),
    ("growing-killed-at-every-step", growing_killed),
    ("handover-at-every-step-of-growing", handover_in_growing),
    ("growing-ends-with-the-role", growing_ends_with_the_role),
];

fn with_room(seed: Seed) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    swarm.spare_blocks = 500;
    swarm.garbage = true;
    swarm
}

/// The device grows under load, step by step and then as far as it can; what is added reads as zeros everywhere.
fn growing_under_load(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    let to = |size_blocks| Command::Resize {
        size_blocks: Some(size_blocks),
    };
    script.load(100);
    script.pass(5);
    script.must(0, to(65));
    script.world.command(0, to(200));
    script.must_refuse(0, to(300), RefusalCode::Busy);
    script.wait("the first one is done", |world| {
        world
            .status_of(0)
            .is_some_and(|status| status.size_bytes == 200 * 4096)
    });
    script.must(0, GROW);
    let size = script.status(0).size_bytes;
    script.expect(size == 564 * 4096, "the device is as large as it can be");
    script.must_refuse(0, to(565), RefusalCode::BadArgument);
    script.must_refuse(0, to(64), RefusalCode::BadArgument);
    script.must_refuse(1, GROW, RefusalCode::WrongRole);
    script.load_done();
    script.finish()
}

/// Without its standby a primary does not grow the device.
fn growing_needs_everybody(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    script.serve(20);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.must_refuse(0, GROW, RefusalCode::WrongRole);
    script.fenced(0, 1);
    script.serve(20);
    script.must_refuse(0, GROW, RefusalCode::PeerNotConnected);
    script.start(1);
    script.wait_all_equal();
    script.must(0, GROW);
    script.finish()
}

/// The standby's backing device has no room: the size stays as it was, on both.
fn growing_refused(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = with_room(seed);
    swarm.garbage = false;
    let mut script = Script::bare(swarm, telling, |world| {
        world.nodes[1].disk = DataDisk::new(64, |_| 0);
    });
    script.somebody_primary();
    script.wait_all_equal();
    script.must_refuse(0, GROW, RefusalCode::PeerRefused);
    let sizes = [0, 1].map(|number| script.status(number).size_bytes);
    script.expect(sizes == [64 * 4096; 2], "the size is as before");
    script.world.nodes[1].disk = DataDisk::new(564, |_| 0);
    script.crash(1);
    script.start(1);
    script.finish()
}

/// A standby whose device is too small for the data is told so, and takes nothing; replaced by a large enough one it
/// follows.
fn devices_of_different_sizes(seed: Seed, telling: Telling) -> Outcome {
    let swarm = Swarm::calm(seed);
    let mut small = swarm.clone();
    small.size_blocks = 40;
    let large = MetaDisk::new(&superblock(1, &swarm));
    let mut script = Script::bare(swarm, telling, |world| {
        world.nodes[1].disk = DataDisk::new(40, |_| 0);
        world.nodes[1].meta = MetaDisk::new(&superblock(1, &small));
    });
    script.wait_link(0, 1, ConnectionState::Waiting);
    script.wait_link(1, 0, ConnectionState::Waiting);
    script.must(0, PROMOTE);
    script.serve(20);
    script.crash(1);
    script.world.nodes[1].disk = DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = large;
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// The peer falls silent while the device is to grow: the operator gets an answer, and the size is as it was.
fn growing_with_a_silent_peer(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    script.serve(20);
    script.part();
    script.must_refuse(0, GROW, RefusalCode::Interrupted);
    let size = script.status(0).size_bytes;
    script.expect(size == 64 * 4096, "the size is as before");
    script.join();
    script.wait_all_equal();
    script.must(0, GROW);
    script.serve(20);
    script.finish()
}

/// The peer dies with what the resize adds half zeroed, and is equal again when it is back: nothing waits for its answer. A
/// stop ends, and a resize that comes after that is its own.
fn growing_ends_with_the_peer(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    script.serve(20);
    script.wait_all_equal();
    for size_blocks in [80, 90] {
        let resize = Command::Resize {
            size_blocks: Some(size_blocks),
        };
        // Nothing else parts the two: all that the peer has it remembers. What it receives now it does not come to write.
        script.pass(1500);
        script.world.nodes[1].trouble.stuck_until = script.world.now + SEC;
        script.world.command(0, resize.clone());
        script.pass(50);
        script.crash(1);
        script.world.nodes[1].trouble.stuck_until = 0;
        script.start(1);
        script.wait_all_equal();
        script.expect(
            script.status(0).size_bytes == 64 * 4096,
            "the size is as before",
        );
    }
    script.must(0, GROW);
    script.serve(20);
    script.must(0, Command::Stop);
    script.wait("its process has ended", |world| {
        world.nodes[0].replica.is_none()
    });
    script.finish()
}

/// One of the two dies at every step of growing: both have the same size again afterwards.
fn growing_killed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    for step in 0..16 {
        script.load(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let victim = if step % 2 == 0 { primary } else { 1 - primary };
        let blocks = script.status(primary).size_bytes / 4096;
        let size_blocks = Some(blocks + 10);
        script
            .world
            .command(primary, Command::Resize { size_blocks });
        script.pass_us(step * step * 20);
        script.crash(victim);
        script.start(victim);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The role goes over while the device grows: one device is open, at most.
fn handover_in_growing(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    for step in 0..40 {
        let size_blocks = Some(66 + step);
        let (from, to) = ((step % 2) as usize, 1 - (step % 2) as usize);
        script.load(10);
        script.world.command(from, Command::Resize { size_blocks });
        script.pass_us(step * 200);
        script.world.command(to, Command::Switchover { to: None });
        script.take_over(to);
        script.wait_all_equal();
        script.load_done();
    }
    script.finish()
}

/// The role goes to the peer before that has said whether it has room: the resize comes to nothing, and who wanted it hears so.
fn growing_ends_with_the_role(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(with_room(seed), telling);
    script.serve(20);
    script.wait_all_equal();
    for side in 0..2 {
        script.world.block((0, 1), side, u64::MAX);
    }
    script.world.command(0, GROW);
    script.pass(5);
    let to = Some(slot_of(0, 1));
    script.world.command(0, Command::Switchover { to });
    script.pass(20);
    for side in 0..2 {
        script.world.pair_mut((0, 1)).blocked[side] = 0;
        script.world.unblock((0, 1), side);
    }
    script.wait_role(1, Role::Primary);
    script.must(1, GROW);
    script.serve(20);
    script.finish()
}
