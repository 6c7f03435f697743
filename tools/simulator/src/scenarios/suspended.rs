//! A primary that stays suspended (R10).

use twindisk_core::{Mark, OnNoQuorum, RefusalCode, Role};

use super::Run;
use crate::{
    run::Outcome,
    script::{PROMOTE, Script},
    swarm::{MS, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[("suspended-for-too-long", suspended_for_too_long)];

/// Where it is configured so, a primary that gets no right fails what waits and gives the role up; one that gets it in time goes
/// on. Nobody else is promoted for it.
fn suspended_for_too_long(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    let after = core::time::Duration::from_secs(2);
    swarm.on_no_quorum = OnNoQuorum::IoError { after };
    let mut script = Script::new(swarm, telling);
    for _ in 0..3 {
        script.load(40);
        script.pass(5);
        script.part();
        script.wait_suspended(0);
        script.pass(1000);
        script.join();
        script.wait_all_equal();
        script.expect_role(0, Role::Primary);
    }
    script.load(100);
    script.pass(5);
    script.part();
    script.wait_suspended(0);
    let since = script.world.now;
    script.wait_role(0, Role::Standby);
    let waited = script.world.now - since;
    script.expect(
        (1900 * MS..2500 * MS).contains(&waited),
        "after two seconds",
    );
    script.expect_decided(Mark::GaveUpSuspended);
    script.pass(500);
    script.must_refuse(0, PROMOTE, RefusalCode::NoRight);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    script.join();
    script.somebody_primary();
    script.finish()
}
