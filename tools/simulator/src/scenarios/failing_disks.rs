//! Disks that fail together with the metadata on them: what a node can't store, it must not say.

use twindisk_core::{DiskState, Timings};

use crate::{disk::Loss, run::Outcome, script::Script, swarm::Swarm, trace::Telling, world::World};

pub(super) const ALL: &[(&str, super::Run)] = &[(
    "standby-fails-with-its-metadata",
    standby_fails_with_its_metadata,
)];

/// The standby's disk fails, and the metadata on it can't say so: the primary is told at once, and that is no receipt,
/// not even when the two meet again.
fn standby_fails_with_its_metadata(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    // Nothing else may part the two: it is a matter of this one failure.
    swarm.timings = Timings::default();
    swarm.net.flips = 0;
    let mut script = Script::new(swarm, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.load(50);
    script.load_done();
    let trouble = &mut script.world.nodes[1].trouble;
    (trouble.fail_writes, trouble.fail_meta) = (1, 1);
    script.load(100);
    script.wait_disk(1, DiskState::Failed);
    script.pass(500);
    script.expect(holds(&script.world), "the primary knows at once, and holds");
    script.world.break_link((0, 1), "the scenario wants it");
    script.pass(3000);
    script.expect(holds(&script.world), "to meet again is no receipt");
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load_done();
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// Whether the primary's I/O waits for the standby, and no receipt about it is in force.
fn holds(world: &World) -> bool {
    world.status_of(0).is_some_and(|status| {
        let peer = &status.peers[0];
        status.suspended.is_some() && peer.in_sync && peer.receipt.is_none()
    })
}
