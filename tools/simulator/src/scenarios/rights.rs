//! Who may go on, and who may not: receipts, silence, leaving in good order (R1 to R5, R9, R10).

use twindisk_core::{Command, ConnectionState, DiskState, Mark, RefusalCode, Role};
use twindisk_format::superblock::ReceiptKind;

use super::Run;
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, Seed, Swarm},
    trace::Telling,
};

pub(super) const ALL: &[(&str, Run)] = &[
    ("failover-without-proof-is-refused", failover_without_proof),
    (
        "stale-node-is-not-promoted-after-fencing",
        stale_node_is_not_promoted,
    ),
    ("partition-freezes-and-thaws", partition_freezes_and_thaws),
    ("going-alone-killed-at-every-step", going_alone_killed),
    ("demote-while-suspended", demote_while_suspended),
    ("stop-while-suspended", stop_while_suspended),
    (
        "stopped-primary-leaves-a-right",
        stopped_primary_leaves_a_right,
    ),
    ("stopped-standby-lets-the-primary-go-on", stopped_standby),
    (
        "disconnected-standby-is-the-outdated-one",
        disconnected_standby,
    ),
    ("disconnected-by-the-primary", disconnected_by_the_primary),
    ("outdated-over-another-path", outdated_over_another_path),
    ("primary-stands-still", primary_stands_still),
    ("standby-stands-still", standby_stands_still),
    ("reads-end-with-their-lease", reads_end_with_their_lease),
    ("receipts-that-are-refused", receipts_that_are_refused),
    ("too-many-wait", too_many_wait),
    ("stopped-twice", stopped_twice),
    (
        "receipt-that-can-not-be-stored",
        receipt_that_can_not_be_stored,
    ),
    (
        "receipt-from-before-a-meeting",
        receipt_from_before_a_meeting,
    ),
];

fn failover_without_proof(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.load_done();
    script.part();
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    script.expect_role(0, Role::Primary);
    script.join();
    script.finish()
}

/// The same, but the primary is gone when the stale one comes back: fencing alone is not enough (R5).
fn stale_node_is_not_promoted(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.power_off(0, Loss::All);
    script.start(1);
    script.pass(200);
    script.fenced(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.finish()
}

fn partition_freezes_and_thaws(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(10);
    script.part();
    script.pass(5000);
    script.expect(
        script.status(0).suspended.is_some(),
        "writes wait while the standby is lost without proof",
    );
    script.join();
    script.load_done();
    script.finish()
}

/// The primary dies at every step between a receipt and going on without its standby.
fn going_alone_killed(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..14 {
        script.load(20);
        script.pass(10);
        let Some(primary) = script.primary() else {
            break;
        };
        let other = 1 - primary;
        script.power_off(other, Loss::Some);
        script.wait_lost(primary, other);
        script.world.command(
            primary,
            Command::Receipt {
                met: None,
                about: slot_of(primary, other),
                kind: ReceiptKind::Fence,
                detail: "switched off".to_owned(),
            },
        );
        script.pass_us(step * step * 20);
        script.crash(primary);
        script.start(primary);
        script.pass(20);
        script.start(other);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// A suspended primary does not give its role up in order; told to abandon what was never acknowledged, it does.
fn demote_while_suspended(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(5);
    script.part();
    script.wait_suspended(0);
    script.must_refuse(0, DEMOTE, RefusalCode::Suspended);
    let to = Some(slot_of(0, 1));
    script.must_refuse(0, Command::Switchover { to }, RefusalCode::PeerNotConnected);
    script.expect_role(0, Role::Primary);
    script.must(0, Command::Demote { abandon: true });
    script.expect_role(0, Role::Standby);
    script.must_refuse(1, PROMOTE, RefusalCode::NoRight);
    script.join();
    script.somebody_primary();
    script.finish()
}

/// A suspended primary can be stopped, always.
fn stop_while_suspended(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(5);
    script.part();
    script.wait_suspended(0);
    script.must(0, Command::Stop);
    script.wait("it has stopped", |world| world.status_of(0).is_none());
    script.join();
    script.start(0);
    script.somebody_primary();
    script.finish()
}

/// A primary that is stopped in good order leaves a right behind: nobody has to be fenced.
fn stopped_primary_leaves_a_right(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(60);
    script.pass(10);
    script.must(0, Command::Stop);
    script.must(1, PROMOTE);
    script.serve(60);
    script.start(0);
    script.wait_disk(0, DiskState::UpToDate);
    script.expect_role(0, Role::Standby);
    script.finish()
}

/// A standby that is stopped in good order is not waited for.
fn stopped_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(60);
    script.pass(10);
    script.must(1, Command::Stop);
    script.serve(60);
    let alone = script.status(0).in_sync == [0];
    script.expect(alone, "the primary goes on alone");
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// Who is disconnected by hand is outdated: the other one never looks so, and goes on.
fn disconnected_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = slot_of(1, 0);
    script.load(30);
    script.pass(10);
    script.must(1, Command::Disconnect { peer });
    script.wait_disk(1, DiskState::Outdated);
    script.serve(50);
    script.expect_disk(0, DiskState::UpToDate);
    // While the connection is being closed, its other end is a primary that is connected.
    script.wait_link(1, 0, ConnectionState::Standalone);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.must(1, Command::Connect { peer });
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// The same from the primary's side.
fn disconnected_by_the_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let peer = slot_of(0, 1);
    script.load(30);
    script.pass(10);
    script.must(0, Command::Disconnect { peer });
    script.wait_disk(1, DiskState::Outdated);
    script.serve(50);
    script.expect_disk(0, DiskState::UpToDate);
    script.must(0, Command::Connect { peer });
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// The link is cut, both are alive: the standby is told to record that it does not count, over another path; then the
/// primary may go on. The outdated one is not promoted, also not after a fencing (R3).
fn outdated_over_another_path(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(60);
    script.pass(10);
    script.part();
    script.wait_lost(0, 1);
    script.wait_lost(1, 0);
    script.must_refuse(0, Command::Outdate, RefusalCode::WrongRole);
    script.must(1, Command::Outdate);
    script.receipt(0, 1, ReceiptKind::Release);
    script.serve(40);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.power_off(0, Loss::All);
    script.receipt(1, 0, ReceiptKind::Fence);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.join();
    script.somebody_primary();
    script.wait_all_equal();
    script.finish()
}

/// The primary's process stands still for a while, and nobody has proof of anything: it goes on when it wakes up.
fn primary_stands_still(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for ms in [20, 200, 6000] {
        script.load(50);
        script.pass(5);
        script.pause(0, ms);
        script.pass(ms / 2);
        script.command(1, PROMOTE);
        script.expect_role(1, Role::Standby);
        script.pass(ms);
        script.load_done();
        script.expect_role(0, Role::Primary);
    }
    script.finish()
}

/// The standby stands still: writes wait, and go on when it is back. It judges nobody when it wakes up.
fn standby_stands_still(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for ms in [20, 200, 6000] {
        script.load(50);
        script.pass(5);
        script.pause(1, ms);
        script.pass(ms + 50);
        script.load_done();
        script.expect_role(0, Role::Primary);
        script.expect_role(1, Role::Standby);
    }
    script.finish()
}

/// A primary that is cut off answers reads for as long as nobody else can have been promoted, and no longer (R9).
fn reads_end_with_their_lease(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.reads = 950;
    swarm.load.flushes = 0;
    swarm.load.clients = 4;
    swarm.load.depth = 32;
    swarm.load.think = MS;
    swarm.net.notice = MS;
    swarm.timings.read_lease = core::time::Duration::from_millis(600);
    let mut script = Script::new(swarm, telling);
    script.serve(20);
    // A connection alone is no lease: a ping must have been answered.
    script.wait("a ping is answered", |world| {
        world.coverage.count("action", "send: Pong") > 1
    });
    script.pass(50);
    script.part();
    script.cut();
    script.wait_suspended(0);
    script.load(40);
    script.pass(100);
    script.expect_decided(Mark::ReadByLease);
    script.pass(1000);
    script.load(400);
    script.pass(1000);
    script.expect_decided(Mark::ReadHeld);
    script.join();
    script.load_done();
    script.finish()
}

/// What proves nothing is not taken: a receipt about a connected node, or about one that is not counted on.
fn receipts_that_are_refused(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let receipt = |kind| Command::Receipt {
        met: None,
        about: slot_of(0, 1),
        kind,
        detail: "too early".to_owned(),
    };
    script.must_refuse(0, receipt(ReceiptKind::Fence), RefusalCode::PeerAnswers);
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.serve(20);
    script.must_refuse(0, receipt(ReceiptKind::Operator), RefusalCode::NothingToDo);
    script.start(1);
    script.finish()
}

/// More requests wait than a suspended primary holds: the rest fail, and nothing is lost.
fn too_many_wait(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.clients = 4;
    swarm.load.depth = 2000;
    swarm.load.burst = 64;
    swarm.load.think = MS;
    swarm.load.reads = 0;
    swarm.load.max_blocks = 1;
    let mut script = Script::new(swarm, telling);
    script.part();
    script.load(20);
    script.wait_suspended(0);
    script.load(6000);
    script.wait("so many were begun", |world| {
        world.clients.issued >= world.clients.budget
    });
    script.expect_decided(Mark::HeldTooMany);
    script.join();
    script.load_done();
    script.finish()
}

/// A node that is being stopped is told to stop once more, sooner or later: it says that it does, and stops once.
fn stopped_twice(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for step in 0..16 {
        script.serve(10);
        let Some(primary) = script.primary() else {
            break;
        };
        script.world.command(primary, Command::Stop);
        script.pass_us(step * step * 60);
        script.world.command(primary, Command::Stop);
        script.wait("it has stopped", |world| world.status_of(primary).is_none());
        script.start(primary);
        script.somebody_primary();
        script.wait_all_equal();
    }
    script.finish()
}

/// The metadata fails just when a receipt is to be stored: whoever gave it hears so.
fn receipt_that_can_not_be_stored(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let receipt = Command::Receipt {
        met: None,
        about: slot_of(0, 1),
        kind: ReceiptKind::Fence,
        detail: "switched off".to_owned(),
    };
    script.serve(20);
    script.pass(2000);
    script.power_off(1, Loss::Nothing);
    script.wait_lost(0, 1);
    script.pass(500);
    script.world.nodes[0].trouble.fail_meta = 1;
    script.world.nodes[0].trouble.spares_nobody = true;
    script.must_refuse(0, receipt, RefusalCode::Metadata);
    script.start(1);
    script.finish()
}

/// A standby records itself as outdated when asked to, meets the primary, is equal again, and is lost again: what it said
/// before that is no right any more.
fn receipt_from_before_a_meeting(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let about = slot_of(0, 1);
    script.serve(20);
    script.part();
    script.wait_lost(0, 1);
    script.wait_lost(1, 0);
    let met = Some(script.status(0).peers[0].met);
    script.must(1, Command::Outdate);
    script.join();
    script.wait_all_equal();
    script.part();
    script.wait_lost(0, 1);
    let receipt = |met| Command::Receipt {
        about,
        kind: ReceiptKind::Release,
        detail: "it was recorded as outdated".into(),
        met,
    };
    script.must_refuse(0, receipt(met), RefusalCode::PeerAnswers);
    script.must(1, Command::Outdate);
    let met = Some(script.status(0).peers[0].met);
    script.must(0, receipt(met));
    script.join();
    script.wait_all_equal();
    script.finish()
}
