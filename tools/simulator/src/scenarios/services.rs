//! Services where the role goes over without the agents, so that nobody has seen to them, and those that end by themselves.

use std::time::Duration;

use twindisk_core::{OnDiskError, Role};
use twindisk_fencing_core::Recovery;

use super::Run;
use crate::{
    agents::{AgentWorld, WitnessWorld},
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("replicas-hand-over-while-services-run", while_services_run),
    (
        "replicas-hand-over-and-the-agent-there-is-gone",
        and_the_agent_is_gone,
    ),
    ("services-end-too-often", end_too_often),
    ("services-stay-and-the-watchdog-ends-them", stay),
];

/// The role and the services are on the first node, whose services need so long to go down. Then its disk fails, and the
/// replicas hand the role over by themselves.
fn handed_over(seed: Seed, takes: u64, telling: Telling, between: fn(&mut Script)) -> Script {
    let mut swarm = Swarm::calm(seed);
    let mut agents = AgentWorld::calm();
    agents.services.takes = takes;
    swarm.agents = Some(agents);
    swarm.on_disk_error = OnDiskError::FailOver;
    let mut script = Script::new(swarm, telling);
    script.wait_all_equal();
    script.wait("the role and the services are on the first node", |world| {
        let role = world.status_of(0).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(0)
    });
    script.serve(20);
    script.pass(takes / MS);
    between(&mut script);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(20);
    script.wait("the role is on the other node", |world| {
        let status = world.status_of(1);
        status.is_some_and(|status| status.role == Role::Primary && status.export_open)
    });
    script
}

/// Beside a witness a primary is cut off, and its services can't be stopped. Nobody fences it: its watchdog resets it, once.
fn stay(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    let mut agents = AgentWorld::calm();
    agents.watchdog = Some(10 * SEC);
    swarm.agents = Some(agents);
    swarm.have_witness(WitnessWorld::calm());
    let mut script = Script::new(swarm, telling);
    script.wait_all_equal();
    script.wait("the role and the services are on the first node", |world| {
        let role = world.status_of(0).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(0)
    });
    script.world.services_cannot_be_stopped();
    let host = script.world.nodes[0].host;
    let until = script.world.now + 60 * SEC;
    script.world.isolate(0, until);
    script.wait("the services run on the other node alone", |world| {
        world.services_run_on(1) && !world.services_run_on(0)
    });
    script.pass(60_000);
    let resets = script.world.nodes[0].host.0 - host.0;
    script.expect(resets == 1, "the watchdog resets it once");
    script.finish()
}

/// Services that end by themselves are started again, so often; then the role goes to the other node. When that has to give
/// them up, too, they stay there, and are started again once the first end is over.
fn end_too_often(seed: Seed, telling: Telling) -> Outcome {
    let window = 20 * SEC;
    let mut swarm = Swarm::calm(seed);
    let mut agents = AgentWorld::calm();
    agents.recovery = Some(Recovery {
        restarts: 2,
        window: Duration::from_nanos(window),
    });
    swarm.agents = Some(agents);
    let mut script = Script::new(swarm, telling);
    script.wait_all_equal();
    for number in 0..2 {
        for _ in 0..2 {
            end(&mut script, number);
            script.wait("they are started again", |world| {
                world.services_run_on(number)
            });
        }
        end(&mut script, number);
    }
    script.pass(window / 2 / MS);
    script.expect_role(1, Role::Primary);
    let again = script.world.services_run_on(1);
    script.expect(!again, "they are not started for ever");
    script.wait("they are started once more", |world| {
        world.services_run_on(1)
    });
    script.expect(script.world.shots() == 0, "nobody is shot");
    script.finish()
}

/// The role and the services are on a node, where they end by themselves.
fn end(script: &mut Script, number: usize) {
    script.wait("the role and the services are on the node", |world| {
        let role = world.status_of(number).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(number)
    });
    script.serve(20);
    script.pass(200);
    script.world.end_services(number, true);
}

fn have_come(script: &mut Script) {
    script.wait("the services have come, too", |world| {
        world.services_run_on(1)
    });
}

/// They go down first.
fn while_services_run(seed: Seed, telling: Telling) -> Outcome {
    let mut script = handed_over(seed, SEC, telling, |_| ());
    let before = script.world.now;
    have_come(&mut script);
    let soon = script.world.now - before < 3 * SEC;
    script.expect(soon, "they start as soon as the others are down");
    let shots = script.world.shots();
    script.expect(shots == 0, "nobody is shot");
    script.load_done();
    script.finish()
}

/// Nobody takes them down, and nobody says what became of them: their host is powered off first.
fn and_the_agent_is_gone(seed: Seed, telling: Telling) -> Outcome {
    let mut script = handed_over(seed, SEC, telling, |script| {
        script.world.stop_agent(0, false)
    });
    have_come(&mut script);
    let shots = script.world.shots();
    script.expect(shots == 1, "where they were is shot");
    script.load_done();
    script.finish()
}
