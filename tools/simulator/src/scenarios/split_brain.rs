//! Two histories (R11): refused, and resolved by a person.

use twindisk_core::{Command, ConnectionState, DiskState, Mark, RefusalCode, Role};
use twindisk_format::{ids::GenerationId, lineage::Lineage};

use super::Run;
use crate::{
    disk::DataDisk,
    metadisk::MetaDisk,
    node::{slot_of, superblock},
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{Seed, Swarm},
    trace::Telling,
};

/// A person who vouches for what nobody knows.
fn force() -> Command {
    Command::Promote {
        force: Some("the scenario wants it".to_owned()),
    }
}

pub(super) const ALL: &[(&str, Run)] = &[
    (
        "forced-split-brain-is-refused-and-resolved",
        forced_split_brain,
    ),
    ("split-brain-is-decided-by-a-person", split_brain_is_decided),
    (
        "split-brain-is-decided-from-the-other-side",
        split_brain_decided_from_afar,
    ),
    (
        "forced-promotion-of-an-outdated-copy",
        forced_promotion_of_an_outdated_copy,
    ),
    ("no-split-brain-to-decide", no_split_brain_to_decide),
    ("strangers-refuse-each-other", strangers),
    ("no-first-copy-anywhere", no_first_copy),
    ("no-promotion-while-giving-up", no_promotion_while_giving_up),
];

fn forced_split_brain(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.lossy = true;
    let mut script = Script::new(swarm, telling);
    script.load(40);
    script.load_done();
    script.part();
    script.wait_lost(1, 0);
    script.must(
        1,
        Command::Promote {
            force: Some("the scenario wants it".to_owned()),
        },
    );
    script.load(40);
    script.pass(2000);
    script.join();
    script.pass(2000);
    script.finish()
}

/// Two nodes that both went on, connected again.
pub(super) fn split(seed: Seed, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.lossy = true;
    let mut script = Script::new(swarm, telling);
    script.serve(40);
    script.part();
    script.wait_lost(1, 0);
    script.wait_lost(0, 1);
    script.receipt(0, 1, twindisk_format::superblock::ReceiptKind::Operator);
    script.must(1, force());
    script.load(60);
    script.pass(1000);
    script.join();
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script
}

/// A person gives one side up: only a standby can be, what it changed is kept first, and then it follows.
fn split_brain_is_decided(seed: Seed, telling: Telling) -> Outcome {
    let mut script = split(seed, telling);
    let keep = Command::Discard {
        peer: None,
        keep: Some(slot_of(1, 0)),
    };
    script.must_refuse(1, keep.clone(), RefusalCode::WrongRole);
    script.must(1, DEMOTE);
    script.world.nodes[1].trouble.fail_saves = 1;
    script.must_refuse(1, keep.clone(), RefusalCode::Interrupted);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.must(1, keep);
    script.wait_disk(1, DiskState::UpToDate);
    script.expect_role(0, Role::Primary);
    script.expect_decided(Mark::SplitBrainResolved);
    script.finish()
}

/// The side that is kept tells the other to give up; a primary refuses to.
fn split_brain_decided_from_afar(seed: Seed, telling: Telling) -> Outcome {
    let mut script = split(seed, telling);
    let give_up = Command::Discard {
        peer: Some(slot_of(0, 1)),
        keep: None,
    };
    script.must(0, give_up.clone());
    script.pass(100);
    script.expect_decided(Mark::DiscardUnable);
    script.must(1, DEMOTE);
    script.must(0, give_up);
    script.wait_disk(1, DiskState::UpToDate);
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// An old copy is promoted by force while the newest one is away: the fork is recorded, and both refuse each other.
fn forced_promotion_of_an_outdated_copy(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.lossy = true;
    let mut script = Script::new(swarm, telling);
    let peer = slot_of(1, 0);
    script.must(1, Command::Disconnect { peer });
    script.serve(40);
    script.must_refuse(1, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.must(1, force());
    script.must(1, Command::Connect { peer });
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.expect_disk(1, DiskState::UpToDate);
    // To disconnect is no decision: the two still refuse each other afterwards.
    script.must(1, Command::Disconnect { peer });
    script.must(1, Command::Connect { peer });
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.finish()
}

/// There is nothing to give up between two that are equal.
fn no_split_brain_to_decide(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    let discard = Command::Discard {
        peer: None,
        keep: None,
    };
    script.must_refuse(0, discard.clone(), RefusalCode::NothingToDo);
    script.must_refuse(1, discard, RefusalCode::NothingToDo);
    script.serve(20);
    script.finish()
}

/// Two nodes with data of their own and nothing in common: neither touches the other. Initialised anew, one follows.
fn strangers(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.lossy = true;
    swarm.alone = false; // Two devices in one book: each holds what was acknowledged at its own.
    let fresh = MetaDisk::new(&superblock(1, &swarm));
    let mut other = swarm.clone();
    other.first = 1;
    let mut stranger = superblock(1, &other);
    let mut generations = stranger.lineage.generations().to_vec();
    generations
        .iter_mut()
        .for_each(|generation| generation.id = GenerationId(77));
    stranger.lineage = Lineage::new(generations);
    let mut script = Script::bare(swarm, telling, |world| {
        world.nodes[1].meta = MetaDisk::new(&stranger);
    });
    script.wait_link(0, 1, ConnectionState::Unrelated);
    script.wait_link(1, 0, ConnectionState::Unrelated);
    script.must_refuse(0, PROMOTE, RefusalCode::Conflict);
    script.must(0, force());
    script.serve(20);
    script.crash(1);
    script.world.nodes[1].disk = DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = fresh;
    script.start(1);
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// Nobody was given the first copy: both wait, and neither can be promoted.
fn no_first_copy(seed: Seed, telling: Telling) -> Outcome {
    let swarm = Swarm::calm(seed);
    let first = MetaDisk::new(&superblock(0, &swarm));
    let mut nobody = swarm.clone();
    nobody.first = 1;
    let mut script = Script::bare(swarm, telling, |world| {
        world.nodes[0].meta = MetaDisk::new(&superblock(0, &nobody));
    });
    script.wait_link(0, 1, ConnectionState::Waiting);
    script.must_refuse(0, PROMOTE, RefusalCode::DiskNotUpToDate);
    script.must_refuse(1, force(), RefusalCode::DiskNotUpToDate);
    script.crash(0);
    script.world.nodes[0].meta = first;
    script.start(0);
    script.must(0, PROMOTE);
    script.wait_all_equal();
    script.serve(20);
    script.finish()
}

/// Who is giving up its changes is not promoted before it follows.
fn no_promotion_while_giving_up(seed: Seed, telling: Telling) -> Outcome {
    let mut script = split(seed, telling);
    script.must(0, DEMOTE);
    script.must(1, DEMOTE);
    script.pass(200);
    let keep = Command::Discard {
        peer: None,
        keep: Some(slot_of(1, 0)),
    };
    script.world.command(1, keep.clone());
    let promote = script.world.command(1, PROMOTE);
    let again = script.world.command(1, keep);
    script.wait("all are answered", |world| {
        world.answer(promote).is_some() && world.answer(again).is_some()
    });
    for id in [promote, again] {
        let code = script.world.refusal(id).map(|refusal| refusal.code);
        script.expect(code == Some(RefusalCode::Busy), "it is busy");
    }
    script.wait_all_equal();
    script.finish()
}
