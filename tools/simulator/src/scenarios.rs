//! Scenarios written by hand: what other systems got wrong, and every bug that was found here.
//!
//! Sources: the failures that DRBD's tests and change log name (appendices B and C of the survey that this project
//! began with), and what its quorum code did to data that a rejoining node had missed.

mod failing_disks;
mod power_cuts;
mod resyncs;

use twindisk_core::{Command, DiskState, Protocol, Role};
use twindisk_format::superblock::ReceiptKind;

use crate::{
    disk::Loss, node::slot_of, run::Outcome, script::Script, swarm::Swarm, trace::Telling,
};

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// In a few words.
    pub name: &'static str,
    /// Lives through it with the dice of a seed.
    pub run: fn(u64, Telling) -> Outcome,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "switchover-under-load",
        run: switchover_under_load,
    },
    Scenario {
        name: "failover-after-fencing",
        run: failover_after_fencing,
    },
    Scenario {
        name: "failover-without-proof-is-refused",
        run: failover_without_proof,
    },
    Scenario {
        name: "standby-lost-its-cache",
        run: standby_lost_its_cache,
    },
    Scenario {
        name: "stale-node-rejoins",
        run: stale_node_rejoins,
    },
    Scenario {
        name: "stale-node-is-not-promoted-after-fencing",
        run: stale_node_is_not_promoted,
    },
    Scenario {
        name: "cold-start-primary-first",
        run: cold_start_primary_first,
    },
    Scenario {
        name: "cold-start-standby-first",
        run: cold_start_standby_first,
    },
    Scenario {
        name: "blackout-under-load",
        run: blackout_under_load,
    },
    Scenario {
        name: "target-dies-in-resync",
        run: target_dies_in_resync,
    },
    Scenario {
        name: "source-dies-in-resync",
        run: source_dies_in_resync,
    },
    Scenario {
        name: "standby-killed-ten-times",
        run: standby_killed_ten_times,
    },
    Scenario {
        name: "primary-killed-ten-times",
        run: primary_killed_ten_times,
    },
    Scenario {
        name: "partition-freezes-and-thaws",
        run: partition_freezes_and_thaws,
    },
    Scenario {
        name: "forced-split-brain-is-refused-and-resolved",
        run: forced_split_brain,
    },
    Scenario {
        name: "failed-flush-on-the-standby",
        run: failed_flush_on_the_standby,
    },
    Scenario {
        name: "failed-write-on-the-primary",
        run: failed_write_on_the_primary,
    },
    Scenario {
        name: "unreadable-block-is-repaired",
        run: unreadable_block,
    },
    Scenario {
        name: "protocol-a-clean-handover",
        run: protocol_a_handover,
    },
    Scenario {
        name: "three-nodes-failover",
        run: three_nodes_failover,
    },
    Scenario {
        name: "diskless-primary-keeps-its-last-replica",
        run: diskless_primary,
    },
    Scenario {
        name: "promote-while-joining",
        run: promote_while_joining,
    },
    Scenario {
        name: "handover-cut-in-the-middle",
        run: handover_cut,
    },
    Scenario {
        name: "first-flush-after-a-restart",
        run: first_flush_after_a_restart,
    },
    Scenario {
        name: "standby-could-lose-its-power-at-any-moment",
        run: power_cuts::power_cuts,
    },
    Scenario {
        name: "standby-fails-with-its-metadata",
        run: failing_disks::standby_fails_with_its_metadata,
    },
    Scenario {
        name: "cut-resync-goes-on-by-hashes",
        run: resyncs::cut_resync_goes_on_by_hashes,
    },
];

fn switchover_under_load(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..6 {
        script.load(60);
        script.pass(20);
        let (from, to) = (turn % 2, 1 - turn % 2);
        script.must(
            from,
            Command::Switchover {
                to: Some(slot_of(from, to)),
            },
        );
        script.wait("the other one is primary", |world| {
            world
                .status_of(to)
                .is_some_and(|status| status.role == Role::Primary)
        });
    }
    script.finish()
}

fn failover_after_fencing(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(60);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.must(1, Command::Promote { force: None });
    script.load(100);
    script.load_done();
    script.start(0);
    script.finish()
}

fn failover_without_proof(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.load_done();
    script.part();
    script.wait_lost(1, 0);
    script.must_refuse(1, Command::Promote { force: None });
    script.expect_role(0, Role::Primary);
    script.join();
    script.finish()
}

/// The standby loses power with writes in its cache that were acknowledged but not flushed; the primary dies next.
fn standby_lost_its_cache(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.load_done();
    script.power_off(1, Loss::All);
    script.wait_lost(0, 1);
    script.start(1);
    script.pass(2000);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.fenced(1, 0);
    script.promote(1);
    script.load(30);
    script.pass(500);
    script.start(0);
    script.finish()
}

/// A standby is away while the primary goes on with proof; it comes back and must get what it missed.
fn stale_node_rejoins(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

/// The same, but the primary is gone when the stale one comes back: fencing alone is not enough (R5).
fn stale_node_is_not_promoted(seed: u64, telling: Telling) -> Outcome {
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
    script.must_refuse(1, Command::Promote { force: None });
    script.start(0);
    script.finish()
}

fn cold_start(seed: u64, telling: Telling, first: usize) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(80);
    script.pass(50);
    script.power_off(0, Loss::Some);
    script.power_off(1, Loss::Some);
    script.start(first);
    script.pass(500);
    script.must_refuse(first, Command::Promote { force: None });
    script.start(1 - first);
    script.wait_disk(first, DiskState::UpToDate);
    script.must(first, Command::Promote { force: None });
    script.load(40);
    script.finish()
}

fn cold_start_primary_first(seed: u64, telling: Telling) -> Outcome {
    cold_start(seed, telling, 0)
}

fn cold_start_standby_first(seed: u64, telling: Telling) -> Outcome {
    cold_start(seed, telling, 1)
}

fn blackout_under_load(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for _ in 0..4 {
        script.load(100);
        script.pass(70);
        script.power_off(1, Loss::Some);
        script.power_off(0, Loss::Some);
        script.start(0);
        script.start(1);
        script.wait_disk(1, DiskState::UpToDate);
        script.promote(1);
        script.wait_disk(0, DiskState::UpToDate);
        script.must(1, Command::Demote { abandon: false });
        script.must(0, Command::Promote { force: None });
    }
    script.finish()
}

/// A cluster whose standby missed so much that its resync takes a while.
fn in_resync(seed: u64, telling: Telling) -> Script {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4096;
    swarm.resync_bufs = 1;
    swarm.load.hot_blocks = 4096;
    swarm.load.max_blocks = 256;
    let mut script = Script::new(swarm, telling);
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.fenced(0, 1);
    script.load(100);
    script.load_done();
    script.start(1);
    script.wait_disk(1, DiskState::Inconsistent);
    script
}

fn target_dies_in_resync(seed: u64, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.load(50);
    script.crash(1);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::Inconsistent);
    script.power_off(1, Loss::All);
    script.pass(100);
    script.start(1);
    script.wait_disk(1, DiskState::UpToDate);
    script.finish()
}

fn source_dies_in_resync(seed: u64, telling: Telling) -> Outcome {
    let mut script = in_resync(seed, telling);
    script.load(50);
    script.power_off(0, Loss::Some);
    script.wait_lost(1, 0);
    script.must_refuse(1, Command::Promote { force: None });
    script.fenced(1, 0);
    script.must_refuse(1, Command::Promote { force: None });
    script.start(0);
    script.finish()
}

fn standby_killed_ten_times(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..10 {
        script.load(20);
        script.pass(3 + turn * 7);
        if turn % 2 == 0 {
            script.crash(1);
        } else {
            script.power_off(1, Loss::Some);
        }
        script.pass(turn * 20);
        script.start(1);
        script.pass(300);
    }
    script.finish()
}

fn primary_killed_ten_times(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..10 {
        script.load(20);
        script.pass(3 + turn * 7);
        script.crash(0);
        script.pass(turn * 20);
        script.start(0);
        script.wait_disk(0, DiskState::UpToDate);
        script.must(0, Command::Promote { force: None });
    }
    script.finish()
}

fn partition_freezes_and_thaws(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(10);
    script.part();
    script.pass(5000);
    let suspended = script
        .world
        .status_of(0)
        .is_some_and(|status| status.suspended.is_some());
    script.expect(
        suspended,
        "writes wait while the standby is lost without proof",
    );
    script.join();
    script.load_done();
    script.finish()
}

fn forced_split_brain(seed: u64, telling: Telling) -> Outcome {
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

fn failed_flush_on_the_standby(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(20);
    script.world.nodes[1].trouble.fail_flushes = 1;
    script.load_done();
    script.wait("the standby's disk has failed", |world| {
        world.coverage.count("disk", "Failed") > 0
    });
    script.finish()
}

fn failed_write_on_the_primary(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(100);
    script.pass(20);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(100);
    script.load_done();
    script.finish()
}

fn unreadable_block(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.size_blocks = 4;
    swarm.load.hot_blocks = 4;
    swarm.load.reads = 600;
    let mut script = Script::new(swarm, telling);
    script.load(50);
    script.load_done();
    for block in 0..4 {
        script.world.nodes[0].disk.spoil(block);
    }
    script.load(200);
    script.load_done();
    let bad = script.world.nodes[0].disk.bad();
    script.expect(bad < 4, "what was read from the peer is written back");
    script.finish()
}

fn protocol_a_handover(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::with_protocol(seed, Protocol::A, telling);
    script.load(100);
    script.pass(30);
    script.must(
        0,
        Command::Switchover {
            to: Some(slot_of(0, 1)),
        },
    );
    script.wait("the other one is primary", |world| {
        world
            .status_of(1)
            .is_some_and(|status| status.role == Role::Primary)
    });
    script.load(100);
    script.load_done();
    script.finish()
}

fn three_nodes_failover(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.nodes = 3;
    let mut script = Script::new(swarm, telling);
    script.load(100);
    script.pass(40);
    script.power_off(0, Loss::All);
    script.wait_lost(1, 0);
    script.wait_lost(2, 0);
    script.fenced(1, 0);
    script.must(1, Command::Promote { force: None });
    script.load(100);
    script.load_done();
    script.start(0);
    script.finish()
}

/// A primary without a disk loses the last replica: it must not go on without it, whoever vouches for what.
fn diskless_primary(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    script.load(50);
    script.pass(20);
    script.world.nodes[0].trouble.fail_writes = 1;
    script.load(50);
    script.load_done();
    script.power_off(1, Loss::Some);
    script.wait_lost(0, 1);
    script.command(
        0,
        Command::Receipt {
            about: slot_of(0, 1),
            kind: ReceiptKind::Fence,
            detail: "switched off".to_owned(),
        },
    );
    script.load(10);
    script.pass(500);
    script.start(1);
    script.finish()
}

/// A promotion is asked for at every moment of a standby's return.
fn promote_while_joining(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.load(20);
        script.load_done();
        script.crash(1);
        script.crash(0);
        script.start(0);
        script.start(1);
        script.pass(turn * 3);
        script.promote(1);
        script.somebody_primary();
        script.wait_disk(1, DiskState::UpToDate);
    }
    script.finish()
}

/// The connection is cut at every moment of a handover.
fn handover_cut(seed: u64, telling: Telling) -> Outcome {
    let mut script = Script::calm(seed, telling);
    for turn in 0..8 {
        script.load(20);
        script.pass(10);
        let primary = usize::from(
            script
                .world
                .status_of(1)
                .is_some_and(|status| status.role == Role::Primary),
        );
        let to = Some(slot_of(primary, 1 - primary));
        script.world.command(primary, Command::Switchover { to });
        script.pass(turn);
        script.world.break_link((0, 1), "the scenario wants it");
        script.pass(1500);
        script.promote(0);
        script.promote(1);
        script.pass(500);
    }
    script.finish()
}

/// What was written before the process was restarted is in the cache only: the first flush must cover it.
fn first_flush_after_a_restart(seed: u64, telling: Telling) -> Outcome {
    let mut swarm = Swarm::calm(seed);
    swarm.load.flushes = 300;
    let mut script = Script::new(swarm, telling);
    for _ in 0..4 {
        script.load(40);
        script.pass(30);
        script.crash(0);
        script.start(0);
        script.must(0, Command::Promote { force: None });
        script.load(30);
        script.load_done();
        script.power_off(1, Loss::All);
        script.power_off(0, Loss::All);
        script.start(0);
        script.start(1);
        script.must(0, Command::Promote { force: None });
    }
    script.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_holds() {
        for scenario in ALL {
            for seed in 1..=5 {
                let outcome = (scenario.run)(seed, Telling::Silent);
                if let Some(violation) = outcome.violation {
                    panic!("{} with seed {seed}: {violation}", scenario.name);
                }
            }
        }
    }
}
