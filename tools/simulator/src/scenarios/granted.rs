//! What an arbiter that keeps a record grants (R8), and what a primary may tell meanwhile (R9, S3).

use twindisk_core::{Arbiter, Command, DiskState, Mark, RefusalCode, Role};
use twindisk_format::superblock::ReceiptKind;

use super::Run;
use crate::{
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, SEC, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("arbiter-grants-the-primary", arbiter_grants_the_primary),
    ("arbiter-grants-the-standby", arbiter_grants_the_standby),
    ("granted-while-writes-wait", granted_while_writes_wait),
    ("granted-standby-waits-for-reads", granted_standby_waits),
];

/// The arbiter (R8) gives the primary the next term: it goes on, and the other one can't be promoted.
fn arbiter_grants_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.arbiter = Arbiter::Witness;
    let mut script = Script::new(swarm, telling);
    script.load(60);
    script.pass(10);
    script.part();
    script.wait_lost(0, 1);
    script.wait_lost(1, 0);
    let fence = Command::Receipt {
        about: slot_of(0, 1),
        kind: ReceiptKind::Fence,
        detail: "read as off".to_owned(),
        met: None,
    };
    script.must_refuse(0, fence, RefusalCode::BadArgument);
    script.receipt(0, 1, ReceiptKind::Arbiter);
    script.serve(40);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    // Nobody else has what it has acknowledged since, and somebody would take the record for a right to go on without it.
    script.must(0, DEMOTE);
    script.must_refuse(0, Command::Outdate, RefusalCode::BadArgument);
    script.must(0, PROMOTE);
    script.join();
    script.wait_disk(1, DiskState::UpToDate);
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// The arbiter (R8) gives the standby the next term while the primary stands still. When that one wakes up it must not
/// acknowledge anything, and steps down as soon as it hears of the term (R4).
fn arbiter_grants_the_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.arbiter = Arbiter::Witness;
    let mut script = Script::new(swarm, telling);
    script.load(200);
    script.pass(10);
    script.pause(0, 8000);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    script.receipt(1, 0, ReceiptKind::Arbiter);
    script.must(1, PROMOTE);
    script.pass(8000);
    script.wait_role(0, Role::Standby);
    script.load_done();
    script.expect_role(1, Role::Primary);
    script.expect_decided(Mark::HeardHigherTerm);
    script.finish()
}

/// S3: the disk of a primary hangs, and then its process. Its standby has the writes and is granted the next term. What the
/// disk says when both go on is no more this primary's to tell.
fn granted_while_writes_wait(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.arbiter = Arbiter::Witness;
    swarm.load.clients = 2;
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    script.wait_all_equal();
    let until = script.world.now + 12 * SEC;
    script.world.nodes[0].trouble.stuck_until = until;
    script.load(200);
    script.pass(50);
    script.world.hang_process(0, until);
    script.wait_lost(1, 0);
    script.receipt(1, 0, ReceiptKind::Arbiter);
    script.pass(5000);
    script.must(1, PROMOTE);
    script.world.move_client(1, 1);
    script.load(200);
    script.pass(9000);
    script.wait_role(0, Role::Standby);
    script.load_done();
    script.expect_role(1, Role::Primary);
    script.finish()
}

/// R9: what the old primary still reads, for all that is known, ends a lease after this node has last answered it. The
/// device opens no sooner, although the term is granted.
fn granted_standby_waits(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.arbiter = Arbiter::Witness;
    swarm.net.notice = MS;
    let lease = swarm.timings.read_lease.as_millis() as u64;
    let mut script = Script::new(swarm, telling);
    script.load(20);
    script.load_done();
    script.crash(0);
    script.wait_lost(1, 0);
    script.receipt(1, 0, ReceiptKind::Arbiter);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    script.pass(lease + lease / 50);
    script.must(1, PROMOTE);
    script.start(0);
    script.wait_all_equal();
    script.finish()
}
