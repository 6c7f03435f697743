//! R14 and R15: the in-sync set grows only when every member knows, and a right is looked at when it is used.

use twindisk_core::{Command, ConnectionState, DiskState, Mark, Protocol, RefusalCode, Role};
use twindisk_format::superblock::{ReceiptKind, Standing};

use super::Run;
use crate::{
    disk::Loss,
    node::slot_of,
    run::Outcome,
    script::{PROMOTE, Script},
    swarm::{Seed, Swarm},
    trace::Telling,
};

/// How often a race is run in a scenario that needs luck.
const ROUNDS: usize = 6;

pub(super) const ALL: &[(&str, Run)] = &[
    (
        "set-would-grow-while-a-member-goes-on-primary",
        member_went_on_primary,
    ),
    (
        "set-would-grow-while-a-member-goes-on-standby",
        member_went_on_standby,
    ),
    ("equal-copy-waits-for-a-member", equal_copy_waits),
    ("right-that-went-away", right_that_went_away),
    ("handover-a-taken-back", handover_taken_back),
    ("flagged-and-never-equal", flagged_and_never_equal),
    ("joiner-does-not-know-yet", joiner_does_not_know),
    ("joiner-is-no-copy-yet", joiner_is_no_copy),
    (
        "unconfirmed-generation-is-handed-on",
        unconfirmed_is_handed_on,
    ),
    ("leader-hears-of-a-newer-set", leads_in_a_newer_set),
];

fn three(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    Script::new(swarm, telling)
}

/// Nothing passes between two nodes.
fn cut(script: &mut Script, pair: (usize, usize)) {
    for side in 0..2 {
        script.world.block(pair, side, u64::MAX);
    }
}

/// It passes again.
fn open(script: &mut Script, pair: (usize, usize)) {
    for side in 0..2 {
        script.world.pair_mut(pair).blocked[side] = 0;
        script.world.unblock(pair, side);
    }
}

/// Ann is primary with bob; cid is out, comes back, and reaches ann only, which has just lost bob.
fn grown_unheard(script: &mut Script) {
    script.serve(30);
    script.power_off(2, Loss::Some);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.serve(30);
    script.wait_lost(1, 2);
    cut(script, (0, 1));
    cut(script, (1, 2));
    script.wait_lost(0, 1);
    script.wait_lost(1, 0);
    script.start(2);
    script.wait_link(0, 2, ConnectionState::Established);
    script.pass(500);
}

/// Bob goes on alone by a truthful fencing of ann. Cid has never been counted on: it is not promoted.
fn member_went_on_primary(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    grown_unheard(&mut script);
    script.power_off(0, Loss::Some);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.serve(60);
    script.power_off(1, Loss::Some);
    script.wait_lost(2, 0);
    for other in 0..2 {
        // One that it does not count on needs no receipt.
        let receipt = Command::Receipt {
            met: None,
            about: slot_of(2, other),
            kind: ReceiptKind::Fence,
            detail: "switched off".to_owned(),
        };
        script.command(2, receipt);
    }
    script.must_refuse(2, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.start(1);
    script.join();
    script.wait_all_equal();
    script.finish()
}

/// The same without a primary: a standby that leads another one takes nobody in while a member is away.
fn member_went_on_standby(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    script.power_off(2, Loss::Some);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.serve(30);
    script.must(0, Command::Demote { abandon: false });
    cut(&mut script, (0, 1));
    cut(&mut script, (1, 2));
    script.wait_lost(0, 1);
    script.wait_lost(1, 0);
    script.start(2);
    script.wait_link(0, 2, ConnectionState::Established);
    script.pass(500);
    script.power_off(0, Loss::Some);
    script.fenced(1, 0);
    script.must(1, PROMOTE);
    script.serve(60);
    script.power_off(1, Loss::Some);
    script.wait_lost(2, 0);
    script.must_refuse(2, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.start(0);
    script.start(1);
    script.join();
    script.wait_all_equal();
    script.finish()
}

/// What the copy waits for is said; a right about the member that is away ends it, and so would its return.
fn equal_copy_waits(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    grown_unheard(&mut script);
    let status = script.status(0);
    let peer = &status.peers[slot_of(0, 2).index()];
    script.expect(
        peer.standing == Standing::Joining && !peer.in_sync,
        "cid is a whole copy that is not counted on",
    );
    let why = peer.joining_why.clone().unwrap_or_default();
    script.expect(why.contains("bob"), "the status says whom it waits for");
    script.expect_decided(Mark::GrowthWaits);
    let by_return = seed.number.is_multiple_of(2);
    if by_return {
        script.join();
    } else {
        script.power_off(1, Loss::Some);
        script.fenced(0, 1);
    }
    script.wait("cid is taken in", |world| {
        world.nodes[0].in_sync.contains(&2)
    });
    script.serve(30);
    if !by_return {
        script.start(1);
        script.join();
    }
    script.wait_all_equal();
    script.expect_decided(Mark::SetGrew);
    script.finish()
}

/// Nobody is primary, bob has left in good order. Ann is asked to be primary and stands still, while cid brings bob back:
/// what bob had said before is no right any more.
fn right_that_went_away(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    script.must(0, Command::Demote { abandon: false });
    script.pass(200);
    script.must(1, Command::Stop);
    script.wait("bob has stopped", |world| world.status_of(1).is_none());
    script.start(1);
    script.step_until(|script| {
        let peer = script.status(1).peers[slot_of(1, 2).index()].connection;
        peer != ConnectionState::Connecting
    });
    let asked = script.world.command(0, PROMOTE);
    script.pause(0, 20);
    script.pass_us(seed.number * 777 % 5000);
    cut(&mut script, (0, 1));
    script.wait("an answer", |world| world.answer(asked).is_some());
    script.pass(300);
    if script.world.answer(asked) == Some(true) {
        script.expect(
            script.status(0).in_sync != [0],
            "cid is there, and stays in",
        );
        script.serve(20);
    }
    script.join();
    script.somebody_primary();
    script.serve(30);
    script.wait_all_equal();
    script.finish()
}

/// Protocol A: the role is handed to a standby that stands still while it stores it. Who gave it takes it back by a right
/// only.
fn handover_taken_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::with_protocol(seed, Protocol::A, telling);
    script.serve(40);
    let to = Some(slot_of(0, 1));
    script.world.command(0, Command::Switchover { to });
    script.step_until(|script| {
        let superblock = script.world.nodes[1].meta.superblock();
        script.status(0).role == Role::Standby && superblock.is_some_and(|s| s.term.0 > 0)
    });
    script.pass_us(seed.number * 131 % 2000);
    script.pause(1, 12_000);
    script.part();
    script.wait_lost(0, 1);
    script.pass(200);
    let kept = script.world.nodes[0]
        .meta
        .superblock()
        .is_some_and(|superblock| superblock.peers[0].standing.is_counted());
    script.expect(kept, "who takes over is in the set of who hands over");
    script.must_refuse(0, PROMOTE, RefusalCode::NoRight);
    script.pass(13_000);
    script.join();
    script.somebody_primary();
    script.serve(40);
    script.finish()
}

/// A peer is lost just when it is told that it is in: it is counted on, since it may have heard it, and is shown as joining,
/// since it never said that it has everything.
fn flagged_and_never_equal(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(20);
    for other in [1, 2] {
        script.power_off(other, Loss::Some);
        script.wait_lost(0, other);
        script.fenced(0, other);
    }
    script.serve(20);
    script.start(1);
    script.step_until(|script| {
        script.status(0).peers[slot_of(0, 1).index()].standing == Standing::Joining
            && script.status(0).peers[slot_of(0, 1).index()].in_sync
    });
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    let peer = script.status(0).peers[slot_of(0, 1).index()].clone();
    script.expect(
        peer.standing == Standing::Joining,
        "bob is not shown as in sync",
    );
    script.start(2);
    script.wait_link(0, 2, ConnectionState::Established);
    script.pass(300);
    script.expect(
        !script.world.nodes[0].in_sync.contains(&1),
        "bob was never reported to be in sync",
    );
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// A primary takes a whole copy into the set, and dies before that one has heard of it. What was acknowledged just before
/// that, by the two others alone, it lacks: it does not lead, though the primary counts on it and has crashed.
fn joiner_does_not_know(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    swarm.load.clients = 4;
    (swarm.load.depth, swarm.load.burst, swarm.load.reads) = (8, 4, 0);
    swarm.load.think = crate::swarm::MS;
    let mut script = Script::new(swarm, telling);
    // It takes writes under way at the very moment.
    for _ in 0..ROUNDS {
        script.serve(20);
        let Some(primary) = script.primary() else {
            break;
        };
        let (member, joiner) = ((primary + 1) % 3, (primary + 2) % 3);
        script.power_off(joiner, Loss::Some);
        script.wait_lost(primary, joiner);
        script.fenced(primary, joiner);
        script.serve(20);
        script.load(100_000);
        script.start(joiner);
        let slot = slot_of(primary, joiner).index();
        script.step_until(|script| {
            script.status(primary).peers[slot].connection == ConnectionState::Established
        });
        cut(&mut script, (primary.min(joiner), primary.max(joiner)));
        // As the primary has stored it.
        script.step_until(|script| {
            let stored = script.world.nodes[primary].meta.superblock();
            stored.is_some_and(|stored| stored.peers[slot].standing.is_counted())
        });
        script.load(0);
        script.crash(primary);
        script.power_off(member, Loss::All);
        script.wait_lost(joiner, primary);
        script.join();
        script.start(primary);
        script.wait_link(joiner, primary, ConnectionState::Established);
        script.start(member);
        script.somebody_primary();
        script.serve(20);
        script.wait_all_equal();
    }
    script.finish()
}

/// Cid is being taken into the set of ann and bob, and is lost before it has heard so; then ann's disk fails, and bob is
/// fenced. Ann does not go on for cid alone, which has no idea that it is counted on: bob leads when it is back.
fn joiner_is_no_copy(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(20);
    script.power_off(2, Loss::All);
    script.wait_lost(0, 2);
    script.fenced(0, 2);
    script.serve(20);
    script.load(100_000);
    script.start(2);
    let slot = slot_of(0, 2);
    script.step_until(|script| {
        let peer = &script.status(0).peers[slot.index()];
        peer.standing == Standing::Joining
    });
    script.crash(2);
    script.world.nodes[0].trouble.fail_flushes = 1;
    script.wait_disk(0, DiskState::Failed);
    script.load(0);
    script.wait_lost(0, 2);
    script.pass(200);
    script.power_off(1, Loss::Nothing);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.pass(200);
    script.expect(
        script.status(0).suspended.is_some(),
        "nobody who is left has the data",
    );
    script.start(1);
    script.somebody_primary();
    script.load_done();
    script.start(2);
    script.finish()
}

/// Ann begins a generation without bob while cid, a member, is away: nothing is acknowledged in it. Cid goes on from the one
/// before by truthful fencings. Back as standbys, ann makes bob equal, and bob meets cid first: that is no split brain.
fn unconfirmed_is_handed_on(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    script.wait_all_equal();
    cut(&mut script, (0, 2));
    cut(&mut script, (1, 2));
    script.wait_lost(0, 2);
    script.wait_suspended(0);
    script.crash(1);
    script.wait_lost(0, 1);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::SyncSource);
    script.pass(200);
    for node in [0, 1] {
        script.power_off(node, Loss::Some);
        script.fenced(2, node);
    }
    script.must(2, PROMOTE);
    script.serve(30);
    script.start(0);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::Established);
    open(&mut script, (1, 2));
    script.pass(300);
    script.join();
    script.wait_all_equal();
    script.serve(30);
    script.finish()
}

/// Bob has left in good order when ann's process dies, and brings ann up: it takes ann out first, which makes a newer set. Cid
/// has everything, and has not heard of that set. It leads bob all the same, by a number above.
fn leads_in_a_newer_set(seed: Seed, telling: Telling) -> Outcome {
    let mut script = three(seed, telling);
    script.serve(30);
    script.wait_all_equal();
    // Until everybody knows that all is stable everywhere: bob and cid are equal.
    script.pass(3000);
    for pair in [(0, 1), (0, 2), (1, 2)] {
        cut(&mut script, pair);
    }
    script.wait_lost(1, 0);
    script.wait_lost(2, 0);
    script.wait_lost(2, 1);
    script.must(1, Command::Outdate);
    script.crash(0);
    script.start(0);
    open(&mut script, (0, 1));
    script.wait_link(1, 0, ConnectionState::Established);
    script.power_off(0, Loss::Nothing);
    let epoch = |number: usize| {
        let stored = script.world.nodes[number].meta.superblock();
        stored.map(|stored| stored.epoch)
    };
    let newer = epoch(1) > epoch(2);
    script.expect(newer, "bob has stored a newer set than cid");
    open(&mut script, (1, 2));
    script.wait_link(2, 1, ConnectionState::Established);
    script.join();
    script.start(0);
    script.somebody_primary();
    script.serve(30);
    script.wait_all_equal();
    script.finish()
}
