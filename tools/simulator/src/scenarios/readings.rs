//! Power that is read as off, and a node that has been switched on again since.

use twindisk_core::{PeerStatus, Role};
use twindisk_format::superblock::Standing;

use super::Run;
use crate::{
    agents::{AgentWorld, Readings, Wrong},
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
    ("a-node-that-was-off-is-a-member-again", member_again),
    ("a-plug-that-was-never-seen-to-be-on", never_on),
];

/// How long the device takes for a reading.
const TAKES: u64 = 400;

/// The role and the services are on the first node; agents read power, by a device that tells the truth.
fn settled(seed: Seed, takes: u64, telling: Telling) -> Script {
    settled_on(2, None, seed, takes, telling)
}

/// The same on so many nodes, one of them with a plug that is not its own.
fn settled_on(
    nodes: usize,
    wrong: Option<Wrong>,
    seed: Seed,
    takes: u64,
    telling: Telling,
) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = nodes;
    let mut agents = AgentWorld::calm();
    agents.device.latency = takes * MS;
    agents.readings = Some(Readings {
        seed: seed.number,
        glitches: 0,
        faults: 0,
        cycles: 0,
        wrong,
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

/// A standby loses its power and the cable to the other one, which reads it as off and has no use for that. The primary takes
/// it out, switches it on, and takes it in again. Then the primary dies: of two standbys that hear nothing of each other one
/// goes on, and not by what was read of the other one before.
fn member_again(seed: Seed, telling: Telling) -> Outcome {
    let mut script = settled_on(3, None, seed, 20, telling);
    script.load(20);
    script.pass(seed.number % 50);
    script.power_off(2, Loss::All);
    let odd = 1; // Heartbeats do not pass, either.
    let until = (script.world.now + 120 * SEC) | odd;
    for side in 0..2 {
        script.world.block((1, 2), side, until);
    }
    script.wait("the primary has read it as off", |world| {
        world.found_off(0, 2) == 2
    });
    script.wait("it is a member again", |world| {
        let status = world.status_of(0);
        let counts = |peer: &PeerStatus| peer.standing == Standing::In;
        status.is_some_and(|status| status.peers.iter().all(counts)) && world.status_of(2).is_some()
    });
    script.load_done();
    script.pass(3000 + seed.number * 20);
    script.power_off(0, Loss::All);
    script.load(200);
    script.wait("one of the standbys serves", |world| {
        [1, 2].into_iter().any(|number| {
            let status = world.status_of(number);
            status.is_some_and(|status| status.role == Role::Primary && status.export_open)
        })
    });
    script.load_done();
    script.join();
    script.finish()
}

/// The plug that should be the primary's belongs to nobody, and reads off. All cables of the primary are cut: that it reads off
/// now as well is no news. Somebody is shot before anybody goes on alone.
fn never_on(seed: Seed, telling: Telling) -> Outcome {
    let wrong = Wrong { of: 0, off: true };
    let mut script = settled_on(2, Some(wrong), seed, 20, telling);
    script.load(100);
    script.pass(seed.number % 50);
    script.world.isolate(0, script.world.now + 60 * SEC);
    script.wait("somebody is shot", |world| world.shots() > 0);
    script.load_done();
    script.finish()
}

/// The first node is switched on when the second reading has found it off, and nobody has heard of that yet.
fn back_while_read(script: &mut Script) {
    script.wait("it was found off twice", |world| world.found_off(1, 0) == 2);
    script.start(0);
}
