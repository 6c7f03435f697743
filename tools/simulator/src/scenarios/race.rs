//! Two agents that live and have lost each other: each fires in a slot of its own, or both nodes are shot.

use twindisk_core::Role;
use twindisk_fencing_core::{Profile, as_ms};

use super::Run;
use crate::{
    agents::AgentWorld,
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[("a-hung-primary-is-late-for-the-race", late_primary)];

/// The process of a primary hangs. Its standby is cut off from it meanwhile and has waited until its slot comes: then the
/// primary goes on, and sees what happened.
fn late_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.agents = Some(AgentWorld::calm());
    let mut script = Script::new(swarm, telling);
    script.wait_all_equal();
    script.wait("the role and the services are on the first node", |world| {
        let role = world.status_of(0).map(|status| status.role);
        role == Some(Role::Primary) && world.services_run_on(0)
    });
    script.serve(20);
    let (dead, delay) = (
        as_ms(Profile::Fast.dead()),
        as_ms(Profile::Fast.fence_delay()),
    );
    let (parted, offset) = (2000, seed.number * 40);
    let ends = parted + dead + delay - 120 + offset;
    script.world.hang_process(0, script.world.now + ends * MS);
    script.load(20);
    script.pass(parted);
    script.world.isolate(1, script.world.now + 30 * SEC);
    script.wait("somebody is shot", |world| world.shots() > 0);
    script.pass(2 * delay);
    let shots = script.world.shots();
    script.expect(shots == 1, &format!("{shots} shots instead of one"));
    script.finish()
}
