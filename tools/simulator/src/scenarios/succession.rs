//! Three nodes with agents: one of two standbys goes on, by their order, and the other one follows it.

use twindisk_core::{ConnectionState, Role};

use super::Run;
use crate::{
    agents::AgentWorld,
    disk::Loss,
    node::{Power, name},
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("three-agents-lose-the-primary", primary_lost),
    ("three-agents-lose-two", two_lost),
    ("three-agents-lose-the-successor", successor_lost),
    ("three-agents-and-a-primary-cut-off", primary_cut_off),
    ("three-agents-and-a-standby-cut-off", standby_cut_off),
    ("a-successor-that-can-not-makes-room", successor_can_not),
];

/// Three nodes: the role and the services are on the first one.
fn three(seed: Seed, telling: Telling, change: impl FnOnce(&mut AgentWorld)) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    let mut agents = AgentWorld::calm();
    change(&mut agents);
    swarm.agents = Some(agents);
    let mut script = Script::new(swarm, telling);
    script.wait("the role and the services are on the first node", |world| {
        let role = world.status_of(0).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(0)
    });
    script.serve(20);
    script.pass(2000);
    script
}

/// The role and the services come to a node.
fn comes_to(script: &mut Script, number: usize) {
    script.wait(&format!("{} serves", name(number)), |world| {
        let status = world.status_of(number);
        let serves = |status: &twindisk_core::Status| {
            status.role == Role::Primary && status.export_open && status.suspended.is_none()
        };
        status.is_some_and(|status| serves(&status)) && world.services_run_on(number)
    });
}

fn shots_are(script: &mut Script, wanted: usize) {
    let shots = script.world.shots();
    script.expect(
        shots == wanted,
        &format!("{shots} shots instead of {wanted}"),
    );
}

/// The first standby takes over, the second one follows it, the old primary comes back behind both.
fn primary_lost(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling, |_| ());
    script.load(100);
    script.pass(seed.number % 50);
    script.power_off(0, Loss::All);
    comes_to(&mut script, 1);
    script.wait_link(1, 2, ConnectionState::Established);
    script.load_done();
    shots_are(&mut script, 0); // It had no power any more.
    script.wait_all_equal();
    script.finish()
}

/// Two at once: the last one needs both off, and gets both.
fn two_lost(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling, |_| ());
    script.load(100);
    script.pass(seed.number % 50);
    let (lost, left) = if seed.number.is_multiple_of(2) {
        (1, 2)
    } else {
        (2, 1)
    };
    script.power_off(0, Loss::All);
    script.power_off(lost, Loss::All);
    comes_to(&mut script, left);
    script.load_done();
    shots_are(&mut script, 0);
    script.wait_all_equal();
    script.finish()
}

/// The one that takes over dies at some moment of that.
fn successor_lost(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling, |_| ());
    script.load(100);
    script.power_off(0, Loss::All);
    script.wait("the primary is known to be off", |world| {
        world.nodes[0].power == Power::Fenced
    });
    script.pass(seed.number * 37 % 400);
    script.power_off(1, Loss::All);
    comes_to(&mut script, 2);
    script.load_done();
    script.wait_all_equal();
    script.finish()
}

/// The primary has lost its clients and both standbys, which hear each other: the first of them has it powered off.
fn primary_cut_off(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling, |agents| agents.pings = true);
    script.load(100);
    script.pass(seed.number % 50);
    script.world.isolate(0, script.world.now + 60 * SEC);
    comes_to(&mut script, 1);
    shots_are(&mut script, 1);
    let both = script.world.nodes[1].power == Power::On && script.world.nodes[2].power == Power::On;
    script.expect(both, "the standbys have power");
    script.load_done();
    script.finish()
}

/// A standby has lost the primary, and the other standby has not: nobody but the primary may have somebody powered off, even
/// where it can't.
fn standby_cut_off(seed: Seed, telling: Telling) -> Outcome {
    let can = seed.number.is_multiple_of(2);
    let mut script = three(seed, telling, |agents| {
        agents.device.dead_for = (!can).then_some(0);
    });
    script.load(100);
    let odd = 1; // Heartbeats do not pass, either.
    let until = (script.world.now + 21 * SEC) | odd;
    for side in 0..2 {
        script.world.block((0, 1), side, until);
    }
    if can {
        script.wait("the standby is off", |world| world.shots() > 0);
    } else {
        script.pass(20 * SEC / MS);
    }
    shots_are(&mut script, usize::from(can));
    comes_to(&mut script, 0);
    script.load_done();
    script.wait_all_equal();
    script.finish()
}

/// The first standby can't have the primary powered off: the second one does, one delay later, and does not wait for ever.
fn successor_can_not(seed: Seed, telling: Telling) -> Outcome {
    // With no write on its way both have all there is, and need not compare.
    let mut script = three(seed, telling, |agents| agents.device.dead_for = Some(1));
    script.power_off(0, Loss::All);
    script.load(100);
    comes_to(&mut script, 2);
    script.load_done();
    script.wait_all_equal();
    script.finish()
}
