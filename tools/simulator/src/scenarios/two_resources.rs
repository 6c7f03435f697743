//! Two resources under the same two agents: what happens to one of them must not be taken for the other's.

use twindisk_core::{ConnectionState, Role};
use twindisk_fencing_core::Operator;
use twindisk_format::{
    ids::{GenerationId, Term},
    lineage::Lineage,
};

use super::Run;
use crate::{
    agents::AgentWorld,
    disk::Loss,
    metadisk::MetaDisk,
    node::{Power, superblock},
    run::Outcome,
    script::Script,
    swarm::{Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("both-primaries-on-a-host-that-is-lost", both_on_one_host),
    ("one-primary-on-each-host-one-is-lost", one_on_each_host),
    ("switchover-beside-a-resource-under-load", switchover),
    (
        "a-conflict-of-one-keeps-not-the-other",
        conflict_beside_a_failover,
    ),
];

/// Two resources in sync; the first copy, and so the role, of each is where it is said.
fn pair(seed: Seed, firsts: [usize; 2], telling: Telling) -> Script {
    let mut script = Script::new(swarm(seed, firsts), telling);
    script.turn_to(1);
    script.wait_all_equal();
    for (resource, first) in firsts.into_iter().enumerate() {
        script.turn_to(resource);
        is_on(&mut script, first);
        script.serve(20);
    }
    script.turn_to(0);
    script
}

fn swarm(seed: Seed, firsts: [usize; 2]) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    swarm.first = firsts[0];
    swarm.agents = Some(AgentWorld::calm());
    let mut second = swarm.clone();
    second.first = firsts[1];
    swarm.second = Some(Box::new(second));
    swarm
}

/// The role and the services come to this node.
fn is_on(script: &mut Script, number: usize) {
    script.wait("the role and the services are where they belong", |world| {
        let role = world.status_of(number).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(number)
    });
}

fn shot_once(script: &mut Script) {
    let shots = script.world.shots();
    script.expect(shots <= 1, &format!("{shots} shots instead of one"));
}

/// The host that served both is lost: one shot is enough for both.
fn both_on_one_host(seed: Seed, telling: Telling) -> Outcome {
    let mut script = pair(seed, [0, 0], telling);
    script.world.lose_power(0, Loss::All, Power::Off);
    for resource in [1, 0] {
        script.turn_to(resource);
        is_on(&mut script, 1);
        script.serve(20);
    }
    shot_once(&mut script);
    script.finish()
}

/// Each host serves one, and one host is lost: the other one takes over what was there, and goes on with its own.
fn one_on_each_host(seed: Seed, telling: Telling) -> Outcome {
    let mut script = pair(seed, [0, 1], telling);
    script.turn_to(1);
    let before = script.world.opened_at(1);
    script.world.lose_power(0, Loss::All, Power::Off);
    script.serve(20);
    script.turn_to(0);
    is_on(&mut script, 1);
    script.serve(20);
    script.turn_to(1);
    let stayed = script.world.opened_at(1) == before;
    script.expect(stayed, "the device that was open stays open");
    is_on(&mut script, 1);
    shot_once(&mut script);
    script.finish()
}

/// A person has one of them go over, and later the other: each goes alone, and nobody is shot.
fn switchover(seed: Seed, telling: Telling) -> Outcome {
    let mut script = pair(seed, [0, 0], telling);
    for resource in [0, 1] {
        script.turn_to(1 - resource);
        let stays = resource; // The other one has gone over before, or not yet.
        script.load(200);
        script.turn_to(resource);
        let wish = Operator::Switchover {
            resource: script.world.its_index(),
            to: None,
        };
        let taken = script.world.tell_agent(0, wish);
        script.expect(taken, "the agent takes the order");
        is_on(&mut script, 1);
        script.turn_to(1 - resource);
        is_on(&mut script, stays);
        script.load_done();
    }
    let shots = script.world.shots();
    script.expect(shots == 0, "nobody is shot");
    script.finish()
}

/// One resource has two copies that never were one, and a person has to decide: the other one fails over all the same.
fn conflict_beside_a_failover(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = swarm(seed, [0, 0]);
    let mut other = swarm.clone();
    other.first = 1;
    let mut stranger = superblock(1, &other);
    let mut generations = stranger.lineage.generations().to_vec();
    for generation in &mut generations {
        (generation.id, generation.term) = (GenerationId(77), Term(1));
    }
    stranger.lineage = Lineage::new(generations);
    let mine = MetaDisk::new(&superblock(1, &swarm));
    if let Some(second) = &mut swarm.second {
        second.lossy = true; // There is a conflict to report.
        second.alone = false;
    }
    let mut script = Script::bare(swarm, telling, |world| {
        world.of(1, |world| world.nodes[1].meta = MetaDisk::new(&stranger));
    });
    script.wait_all_equal();
    is_on(&mut script, 0);
    script.serve(20);
    script.turn_to(1);
    script.wait_link(1, 0, ConnectionState::Unrelated);
    script.pass(500);
    script.turn_to(0);
    script.world.lose_power(0, Loss::All, Power::Off);
    is_on(&mut script, 1);
    script.serve(20);
    // A person gives the stranger up.
    script.turn_to(1);
    script.crash(1);
    script.world.nodes[1].disk = crate::disk::DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = mine;
    script.finish()
}
