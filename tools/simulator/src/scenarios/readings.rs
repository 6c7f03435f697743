//! Power that is read as off, and a node that has been switched on again since.

use twindisk_core::Role;

use super::Run;
use crate::{
    agents::{AgentWorld, Readings},
    disk::Loss,
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("power-that-is-off-needs-no-shot", no_shot),
    (
        "a-node-is-heard-before-its-power-has-been-read",
        heard_again,
    ),
    ("a-node-has-met-before-its-power-has-been-read", met_again),
];

/// How long the device takes for a reading.
const TAKES: u64 = 400;
/// The role and the services are on the first node; agents read power, by a device that tells the truth.
fn settled(seed: Seed, takes: u64, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    let mut agents = AgentWorld::calm();
    agents.device.latency = takes * MS;
    agents.readings = Some(Readings {
        seed: seed.number,
        glitches: 0,
        faults: 0,
        cycles: 0,
    });
    swarm.agents = Some(agents);
    let mut script = Script::new(swarm, telling);
    script.wait_all_equal();
    script.wait("the role and the services are on the first node", |world| {
        let role = world.status_of(0).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(0)
    });
    script.serve(20);
    script.pass(500);
    script
}

/// It is taken over from before it counts as dead, and nobody fires.
fn no_shot(seed: Seed, telling: Telling) -> Outcome {
    let mut script = settled(seed, 20, telling);
    script.power_off(0, Loss::All);
    script.pass(950);
    script.expect_role(1, Role::Primary);
    script.expect(script.world.shots() == 0, "nobody is shot");
    script.finish()
}

/// The node boots and is heard, and its replica does not reach the other one, while the answer of a moment ago is on its way.
/// Then it is cut off.
fn heard_again(seed: Seed, telling: Telling) -> Outcome {
    let mut script = settled(seed, TAKES, telling);
    script.power_off(0, Loss::All);
    let until = (script.world.now + 20 * SEC) & !1; // The heartbeats have another cable.
    for side in 0..2 {
        script.world.block((0, 1), side, until);
    }
    back_while_read(&mut script);
    script.pass(500 + seed.number * 100);
    script.world.cut_heartbeats(0, script.world.now + 900 * MS);
    script.pass(900);
    script.join();
    script.finish()
}

/// The same, and the agents hear nothing of each other all the while: only the replicas meet, and lose each other again.
fn met_again(seed: Seed, telling: Telling) -> Outcome {
    let mut script = settled(seed, TAKES, telling);
    script.power_off(0, Loss::All);
    script.world.cut_heartbeats(0, script.world.now + 20 * SEC);
    back_while_read(&mut script);
    script.wait_all_equal();
    script.somebody_primary();
    script.serve(20);
    script.pass(seed.number * 30);
    script.part();
    script.load(100);
    script.pass(900);
    script.join();
    script.world.cut_heartbeats(0, 0);
    script.finish()
}

/// The first node is switched on when the second reading has found it off, and nobody has heard of that yet.
fn back_while_read(script: &mut Script) {
    script.wait("it was found off twice", |world| world.found_off(1, 0) == 2);
    script.start(0);
}
