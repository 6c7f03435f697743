//! Verify: what it finds and repairs, and what ends it.

use twindisk_core::{Command, Mark, RefusalCode};

use super::Run;
use crate::{
    node::slot_of,
    run::Outcome,
    script::Script,
    swarm::{Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("verify-finds-and-repairs", verify_finds_and_repairs),
    ("verify-stopped", verify_stopped),
    ("peer-leaves-a-verify", peer_leaves_a_verify),
];

/// A block of the standby changes by itself: a verify finds it, and repairs it when asked to.
fn verify_finds_and_repairs(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    // The book knows nothing of rot.
    swarm.lossy = true;
    let mut script = Script::new(swarm, telling);
    let verify = |repair| Command::Verify {
        first: 0,
        blocks: None,
        repair,
    };
    script.serve(60);
    script.pass(500);
    script.must(0, verify(false));
    script.wait_report("verify-ended", 1);
    let found = script.world.coverage.count("report", "difference");
    script.expect(found == 0, "equal disks are equal");
    script.world.nodes[1].disk.rot(3);
    script.must(0, verify(true));
    script.wait_report("verify-ended", 2);
    let found = script.world.coverage.count("report", "difference");
    script.expect(found == 1, "the rotten block is found");
    script.must(0, verify(false));
    script.wait_report("verify-ended", 3);
    let found = script.world.coverage.count("report", "difference");
    script.expect(found == 1, "and repaired");
    script.must_refuse(1, verify(false), RefusalCode::WrongRole);
    script.finish()
}

/// A verify is stopped, or its peer is lost in the middle: it ends, and nothing else does.
fn verify_stopped(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 8192;
    swarm.resync_bufs = 1;
    let mut script = Script::new(swarm, telling);
    let verify = |first| Command::Verify {
        first,
        blocks: Some(8192),
        repair: false,
    };
    script.must_refuse(0, Command::VerifyStop, RefusalCode::NothingToDo);
    script.must_refuse(0, verify(8192), RefusalCode::BadArgument);
    script.load(40);
    script.must(0, verify(0));
    script.must_refuse(0, verify(0), RefusalCode::PeerNotConnected);
    script.must(0, Command::VerifyStop);
    script.wait_report("verify-ended", 1);
    script.must(0, verify(64));
    script.cut();
    script.pass(3000);
    script.wait_all_equal();
    script.load_done();
    script.finish()
}

/// The peer leaves while it is compared with, or its disk fails: the verify ends, and the primary goes on.
fn peer_leaves_a_verify(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 8192;
    swarm.resync_bufs = 2;
    let mut script = Script::new(swarm, telling);
    let peer = slot_of(1, 0);
    let verify = Command::Verify {
        first: 0,
        blocks: None,
        repair: false,
    };
    script.serve(20);
    for step in 0..6 {
        script.must(0, verify.clone());
        script.pass_us(step * 50);
        script.must(1, Command::Disconnect { peer });
        script.serve(10);
        script.must(1, Command::Connect { peer });
        script.wait_all_equal();
    }
    script.expect_decided(Mark::LeftDuringSweep);
    script.load(60);
    script.must(0, verify);
    script.world.nodes[1].trouble.fail_writes = 1;
    script.load_done();
    script.finish()
}
