//! Scenarios about what a resync moves.

use std::cell::Cell;

use twindisk_core::{DiskState, Progress};

use crate::{
    checker::Violation,
    disk::Loss,
    run::Outcome,
    script::Script,
    swarm::{MS, SEC, Swarm},
    trace::Telling,
    world::World,
};

pub(super) const ALL: &[(&str, super::Run)] =
    &[("cut-resync-goes-on-by-hashes", cut_resync_goes_on_by_hashes)];

/// A resync that was cut goes on by comparing hashes: its target is Inconsistent, but has never failed. Blocks that only
/// stand in an active extent were sent as they were otherwise, a whole activity log of them.
fn cut_resync_goes_on_by_hashes(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4096;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4096;
    let mut script = Script::new(swarm, telling);
    script.load(100);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    // From now on the target is Inconsistent on its disk.
    watch(&mut script, "blocks are compared", |world| {
        progress(world).is_some_and(|progress| progress.done_bytes > 0)
    });
    script.crash(1);
    watch(&mut script, "the cut is noticed", |world| {
        progress(world).is_none()
    });
    script.start(1);
    let equal = Cell::new(0);
    watch(&mut script, "the resync is done", |world| {
        if let Some(progress) = progress(world) {
            equal.set(equal.get().max(progress.equal_bytes));
        }
        world
            .status_of(1)
            .is_some_and(|status| status.disk == DiskState::UpToDate)
    });
    script.expect(equal.get() > 0, "equal blocks were found and not sent");
    script.finish()
}

fn progress(world: &World) -> Option<Progress> {
    world.status_of(0)?.peers[0].progress.clone()
}

/// Waits like [`Script::wait`], and looks so often that no short state is missed.
fn watch(script: &mut Script, what: &str, until: impl Fn(&World) -> bool) {
    let limit = script.world.now + 30 * SEC;
    while !until(&script.world) && script.world.violation.is_none() {
        if script.world.now > limit {
            let story = format!("30 s are not enough: {what}");
            script.world.violate(Violation::new("scenario", story));
        }
        script.world.run_until(script.world.now + MS / 50);
    }
}
