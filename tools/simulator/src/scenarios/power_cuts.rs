//! The standby could lose its power at any moment: the scenario that also runs for real, on a disk under the kernel's
//! `dm-log-writes` (`tools/tests/vm_log_writes`).

use std::cell::Cell;

use twindisk_core::DiskState;

use crate::{
    checker::image, disk::Loss, rng::Rng, run::Outcome, script::Script, swarm::Swarm,
    trace::Telling, write_log::WriteLog,
};

pub(super) const ALL: &[(&str, super::Run)] =
    &[("standby-could-lose-its-power-at-any-moment", power_cuts)];

/// Records the standby's disk under load, makes the image of every moment at which its power could have gone, and
/// checks it: what was acknowledged as stable by then is there, and a prefix of flushes explains the rest. Then the
/// power does go, under load.
fn power_cuts(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 200;
    let mut script = Script::new(swarm, telling);
    script.wait_disk(1, DiskState::UpToDate);
    script.wait("the standby's disk is at rest", |world| {
        WriteLog::begin(&world.nodes[1].disk).is_some()
    });
    script.world.nodes[1].log = WriteLog::begin(&script.world.nodes[1].disk);
    script.load(200);
    // A standby that has left the in-sync set is promised nothing.
    let until = Cell::new(0);
    script.wait("clients are done, or the standby has left", |world| {
        let counted_on = world
            .status_of(0)
            .is_some_and(|status| status.peers[0].in_sync);
        if counted_on {
            until.set(world.now);
        }
        let done = world.clients.issued >= world.clients.budget && world.clients.waiting() == 0;
        done || !counted_on
    });
    if let Some(log) = script.world.nodes[1].log.take() {
        let book = &script.world.book;
        let looked = log.replay(until.get(), &mut Rng::new(seed), |moment, image| {
            let peek = |sector: u64| image[sector as usize];
            book.check_stable(moment, peek)?;
            image::check(book, 1, peek)
        });
        match looked {
            Ok(looks) => script.expect(looks > 0, "there are moments to look at"),
            Err(violation) => script.world.violate(violation),
        }
    }
    script.load_done();
    script.load(100);
    script.pass(40);
    script.power_off(1, Loss::Some);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.load_done();
    script.finish()
}
