//! Who is who: strangers, forks and their terms; conflicts that are remembered; replicas that were rolled back.

use twindisk_core::{Command, ConnectionState, DiskState, Mark, RefusalCode, Role};
use twindisk_format::{
    ids::{GenerationId, Term},
    lineage::Lineage,
    superblock::Superblock,
};

use super::Run;
use crate::{
    disk::{DataDisk, Loss},
    metadisk::MetaDisk,
    node::{slot_of, superblock},
    rng::Rng,
    run::Outcome,
    script::{DEMOTE, PROMOTE, Script},
    swarm::{MS, Seed, Swarm},
    trace::Telling,
};

/// A person who decides.
fn force() -> Command {
    Command::Promote {
        force: Some("the scenario wants it".to_owned()),
    }
}

pub(super) const ALL: &[(&str, Run)] = &[
    ("a-stranger-dethrones-nobody", stranger_dethrones_nobody),
    (
        "a-stranger-of-another-size-is-a-stranger",
        stranger_of_another_size,
    ),
    ("a-stranger-releases-nobody", stranger_releases_nobody),
    ("a-fork-dethrones-nobody", fork_dethrones_nobody),
    ("a-conflict-is-remembered", conflict_is_remembered),
    ("a-blank-node-has-no-authority", blank_has_no_authority),
    ("a-term-that-can-not-be", impossible_term),
    ("a-standby-is-rolled-back", standby_rolled_back),
    (
        "a-standby-is-rolled-back-by-a-little",
        standby_rolled_back_a_little,
    ),
    ("a-primary-is-rolled-back", primary_rolled_back),
    (
        "a-primary-is-rolled-back-and-goes-on",
        rolled_back_and_gone_on,
    ),
    ("a-clone-shows-up", clone_shows_up),
];

/// What `twindisk init --first` makes on a node by itself.
fn stranger(number: usize, swarm: &Swarm, term: Term) -> Superblock {
    let mut apart = swarm.clone();
    apart.first = number;
    let mut superblock = superblock(number, &apart);
    let mut generations = superblock.lineage.generations().to_vec();
    for generation in &mut generations {
        generation.id = GenerationId(77);
        generation.term = term;
    }
    superblock.lineage = Lineage::new(generations);
    superblock.term = term;
    superblock
}

/// Both report a conflict, which no seed without force may do.
fn apart(seed: Seed) -> Swarm {
    let mut swarm = Swarm::calm(seed);
    swarm.lossy = true;
    swarm.alone = false; // Each side holds what was acknowledged at its own.
    swarm
}

/// A primary was initialised anew and serves clients. Then comes the old standby, whose term has grown for months. Nothing
/// of what it has is related: it is refused, and the primary goes on. Both remember it, also without each other.
fn stranger_dethrones_nobody(seed: Seed, telling: Telling) -> Outcome {
    let swarm = apart(seed);
    let blank = MetaDisk::new(&superblock(1, &swarm));
    let mut script = Script::new(swarm.clone(), telling);
    script.serve(20);
    script.power_off(1, Loss::Nothing);
    script.receipt(0, 1, twindisk_format::superblock::ReceiptKind::Fence);
    let term = script.status(0).term;
    script.world.nodes[1].meta = MetaDisk::new(&stranger(1, &swarm, Term(term + 50)));
    script.start(1);
    script.wait_link(0, 1, ConnectionState::Unrelated);
    script.wait_link(1, 0, ConnectionState::Unrelated);
    script.pass(1000);
    script.expect_role(0, Role::Primary);
    script.expect(
        script.status(0).term < term + 50,
        "a stranger's term is not stored",
    );
    script.serve(20);
    script.must_refuse(1, PROMOTE, RefusalCode::PeerIsPrimary);
    // The primary is lost: the stranger is nobody's heir.
    script.power_off(0, Loss::Nothing);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::Conflict);
    script.crash(1);
    script.start(1);
    script.must_refuse(1, PROMOTE, RefusalCode::Conflict);
    script.power_off(1, Loss::Nothing);
    // Nor is the primary its own, as long as nobody has decided.
    script.start(0);
    script.must_refuse(0, PROMOTE, RefusalCode::Conflict);
    script.must(0, force());
    script.world.nodes[1].disk = DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = blank;
    script.start(1);
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    let conflicts = [0, 1].map(|node| script.status(node).peers[0].conflict.is_some());
    script.expect(conflicts == [false, false], "the conflict is over");
    script.expect_decided(Mark::ConflictStored);
    script.finish()
}

/// Its device is too small beside: growing it would not make the two one, and it is nobody's heir.
fn stranger_of_another_size(seed: Seed, telling: Telling) -> Outcome {
    let swarm = apart(seed);
    let blank = MetaDisk::new(&superblock(1, &swarm));
    let mut script = Script::new(swarm.clone(), telling);
    script.serve(20);
    script.power_off(1, Loss::Nothing);
    script.receipt(0, 1, twindisk_format::superblock::ReceiptKind::Fence);
    let mut small = stranger(1, &swarm, Term(3));
    (small.size_blocks, small.max_size_blocks) = (16, 16);
    script.world.nodes[1].meta = MetaDisk::new(&small);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::Unrelated);
    script.wait_link(1, 0, ConnectionState::Unrelated);
    script.pass(500);
    script.power_off(0, Loss::Nothing);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::Conflict);
    script.power_off(1, Loss::Nothing);
    script.start(0);
    script.must(0, force());
    script.world.nodes[1].disk = DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = blank;
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// A stranger has the number of a lost replica of the set, and its disk fails: that says nothing of the lost one.
fn stranger_releases_nobody(seed: Seed, telling: Telling) -> Outcome {
    let swarm = apart(seed);
    let mut script = Script::new(swarm.clone(), telling);
    script.serve(20);
    let blank = MetaDisk::new(&superblock(1, &swarm));
    script.crash(1);
    script.world.nodes[1].meta = MetaDisk::new(&stranger(1, &swarm, Term(1)));
    script.world.nodes[1].trouble.fail_flushes = 1;
    script.world.nodes[1].trouble.spares_nobody = true;
    script.start(1);
    script.wait("its disk has failed", |world| {
        world
            .status_of(1)
            .is_some_and(|status| status.disk == DiskState::Failed)
    });
    script.wait_link(1, 0, ConnectionState::Unrelated);
    script.pass(2000);
    let waits = script.status(0).suspended.is_some();
    script.expect(waits, "nothing was learned of the replica that is lost");
    script.crash(1);
    script.world.nodes[1].trouble.fail_flushes = 0;
    script.world.nodes[1].disk = DataDisk::new(64, |_| 0);
    script.world.nodes[1].meta = blank;
    script.start(1);
    script.finish()
}

/// Both went on, and one of them through many terms more: the other one stays primary of its own fork. When it is lost, no
/// proof makes the other fork primary, only a person.
fn fork_dethrones_nobody(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(apart(seed), telling);
    script.serve(40);
    script.part();
    script.wait_lost(1, 0);
    script.wait_lost(0, 1);
    script.receipt(0, 1, twindisk_format::superblock::ReceiptKind::Operator);
    for _ in 0..4 {
        script.must(1, force());
        script.pass(100);
        script.must(1, DEMOTE);
    }
    script.join();
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.pass(1000);
    script.expect_role(0, Role::Primary);
    let higher = script.status(1).term > script.status(0).term;
    script.expect(higher, "the term of a fork is not stored");
    script.serve(20);
    script.power_off(0, Loss::Nothing);
    script.wait_lost(1, 0);
    script.must_refuse(1, PROMOTE, RefusalCode::Conflict);
    script.start(0);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.must_refuse(0, PROMOTE, RefusalCode::Conflict);
    script.must(0, force());
    script.must(
        1,
        Command::Discard {
            peer: None,
            keep: Some(slot_of(1, 0)),
        },
    );
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.expect_decided(Mark::ConflictOver);
    script.finish()
}

/// A conflict outlives connections and processes, on both sides, and what a person decides ends it.
fn conflict_is_remembered(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(apart(seed), telling);
    script.serve(40);
    script.part();
    script.wait_lost(1, 0);
    script.wait_lost(0, 1);
    script.receipt(0, 1, twindisk_format::superblock::ReceiptKind::Operator);
    script.must(1, force());
    script.pass(300);
    script.join();
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.pass(200);
    script.part();
    for node in [0, 1] {
        script.crash(node);
        script.start(node);
    }
    script.pass(500);
    for node in [0, 1] {
        let status = script.status(node);
        script.expect(
            status.peers[0].conflict.is_some(),
            "the conflict is remembered",
        );
        script.expect(!status.promote_needs.is_empty(), "and said");
        script.must_refuse(node, PROMOTE, RefusalCode::Conflict);
    }
    script.must(0, force());
    let over = script.status(0).peers[0].conflict.is_none();
    script.expect(over, "a person has decided");
    script.join();
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.must(
        1,
        Command::Discard {
            peer: None,
            keep: Some(slot_of(1, 0)),
        },
    );
    script.wait_all_equal();
    script.finish()
}

/// A node without data carries the term of a former life: no primary steps down for it, and it is brought up.
fn blank_has_no_authority(seed: Seed, telling: Telling) -> Outcome {
    let swarm = Swarm::calm(seed);
    let mut blank = superblock(1, &swarm);
    blank.term = Term(700);
    let mut script = Script::bare(swarm, telling, |world| {
        world.nodes[1].meta = MetaDisk::new(&blank);
    });
    script.must(0, PROMOTE);
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.expect(script.status(0).term < 700, "its term is not stored");
    script.serve(20);
    script.finish()
}

/// A term that nobody could ever come after is not believed, whoever says it.
fn impossible_term(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(20);
    script.power_off(1, Loss::Nothing);
    script.fenced(0, 1);
    script.pass(300);
    let was = script.world.nodes[1].meta.superblock();
    script.world.nodes[1]
        .meta
        .edit(|superblock| superblock.term = Term(u64::MAX - 1));
    script.start(1);
    script.pass(2000);
    script.expect_role(0, Role::Primary);
    script.expect(script.status(0).term < 700, "such a term is not stored");
    script.expect_decided(Mark::TermJump);
    script.serve(20);
    script.crash(1);
    let term = was.map_or(Term(1), |superblock| superblock.term);
    script.world.nodes[1]
        .meta
        .edit(|superblock| superblock.term = term);
    script.start(1);
    script.wait_all_equal();
    script.finish()
}

/// What a node has on its disks now, to come back to.
pub(super) struct Snapshot {
    node: usize,
    disk: DataDisk,
    meta: MetaDisk,
}

impl Snapshot {
    /// At a quiet moment.
    pub(super) fn of(script: &mut Script, node: usize) -> Self {
        script.pass(2500);
        let mut meta = script.world.nodes[node].meta.clone();
        // A peer's news may be on its way to it all the same.
        meta.crash(&mut Rng::new(node as u64));
        Self {
            node,
            disk: script.world.nodes[node].disk.clone(),
            meta,
        }
    }

    /// The node is off, and comes up as it was.
    pub(super) fn restore(&self, script: &mut Script) {
        script.world.nodes[self.node].disk = self.disk.clone();
        script.world.nodes[self.node].meta = self.meta.clone();
        script.world.nodes[self.node].rewound = true;
        script.start(self.node);
    }
}

/// The standby's host is rolled back to a snapshot of its disk and its metadata, of the same generation. What was written
/// on both after that no bitmap knows: the two notice, and every block is compared.
fn standby_rolled_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    let snapshot = Snapshot::of(&mut script, 1);
    script.serve(40);
    script.pass(2500);
    script.power_off(1, Loss::Nothing);
    script.fenced(0, 1);
    script.serve(20);
    snapshot.restore(&mut script);
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.expect_decided(Mark::PeerRewound);
    script.expect_decided(Mark::Rewound);
    script.serve(20);
    // Once noticed it is made good, and no reason for anything any more.
    let before = script.decided(Mark::PeerRewound);
    script.crash(1);
    script.start(1);
    script.wait_all_equal();
    let again = script.decided(Mark::PeerRewound);
    script.expect(again == before, "it is noticed once");
    script.finish()
}

/// The same by so little that the standby has not told of anything since: nobody can notice. What it wrote is dirty all the
/// same when it is lost, although it was stable.
fn standby_rolled_back_a_little(seed: Seed, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    (swarm.load.clients, swarm.load.think) = (2, 2 * MS);
    (swarm.load.flushes, swarm.load.reads) = (300, 50);
    let mut script = Script::new(swarm, telling);
    for step in 0..24 {
        script.load(400);
        script.pass(20 + 7 * step);
        if script.world.keep_snapshot(1) {
            script.pass(10 + 5 * step);
            script.world.rewind(1);
        }
        script.pass(1000);
        script.wait_all_equal();
        script.load_done();
    }
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// The primary dies and is rolled back before anybody was promoted: the standby has everything, and leads.
fn primary_rolled_back(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    let snapshot = Snapshot::of(&mut script, 0);
    script.serve(40);
    script.pass(2500);
    script.power_off(0, Loss::Nothing);
    script.wait_lost(1, 0);
    snapshot.restore(&mut script);
    script.wait_all_equal();
    script.expect_decided(Mark::RewoundByHashes);
    script.somebody_primary();
    script.serve(20);
    script.finish()
}

/// The primary is rolled back while the other one is away, a person promotes it, and clients go on. Then the other one
/// comes, which has what the clients were told before: neither is overwritten, whichever is given up.
fn rolled_back_and_gone_on(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::new(apart(seed), telling);
    script.serve(40);
    let snapshot = Snapshot::of(&mut script, 0);
    script.serve(40);
    script.pass(2500);
    script.power_off(1, Loss::Nothing);
    script.power_off(0, Loss::Nothing);
    snapshot.restore(&mut script);
    script.must(0, force());
    script.load(20);
    script.pass(1000);
    script.start(1);
    script.wait_link(0, 1, ConnectionState::SplitBrain);
    script.wait_link(1, 0, ConnectionState::SplitBrain);
    script.expect_role(0, Role::Primary);
    script.expect_decided(Mark::RewoundConflict);
    script.must_refuse(1, PROMOTE, RefusalCode::PeerIsPrimary);
    script.must(
        1,
        Command::Discard {
            peer: None,
            keep: Some(slot_of(1, 0)),
        },
    );
    script.wait_all_equal();
    script.expect_role(0, Role::Primary);
    script.finish()
}

/// A standby's machine is copied, and the copy runs under the same number while the original is away; then the original
/// comes back. Each of them is noticed to know less than the other one had said.
fn clone_shows_up(seed: Seed, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.serve(40);
    let copy = Snapshot::of(&mut script, 1);
    script.serve(40);
    script.pass(2500);
    script.crash(1);
    let original = Snapshot::of(&mut script, 1);
    copy.restore(&mut script);
    script.wait_all_equal();
    script.serve(40);
    script.pass(2500);
    script.crash(1);
    original.restore(&mut script);
    script.wait_all_equal();
    let noticed = script.decided(Mark::PeerRewound);
    script.expect(noticed >= 2, "both were noticed");
    script.serve(20);
    script.finish()
}
