//! A stranger or another fork beneath an agent: the primary goes on, nobody is promoted by himself, and a person is told.

use std::{fs, time::Duration};

use twindisk_nbd::client::Fua;

use crate::harness::{
    arena::{Arena, Plan, What},
    cluster::{ALPHA, BETA},
};

/// Longer than any takeover would have taken.
const LONG: Duration = Duration::from_secs(8);

const FORCE: [&str; 6] = [
    "promote",
    "--force",
    "--confirm",
    "r0",
    "--reason",
    "the test decides",
];

/// Both serve, alpha is primary, beta in sync; no agent runs.
fn without_agents() -> Arena {
    let mut arena = Arena::new(Plan::default());
    arena.serve(ALPHA);
    arena.serve(BETA);
    arena.cluster.ok(ALPHA, &["promote"]);
    arena.cluster.until_in_sync(ALPHA);
    arena
}

fn write(arena: &Arena, node: &str, fill: u8) {
    let mut client = arena.cluster.client(node);
    client.write(0, &[fill; 1 << 20], Fua::Yes).unwrap();
}

fn kept(arena: &Arena, node: &str, filled: u8) {
    let mut bytes = vec![0; 1 << 20];
    arena.cluster.client(node).read(0, &mut bytes).unwrap();
    assert!(
        bytes.iter().all(|byte| *byte == filled),
        "it was overwritten"
    );
}

/// Beta is in conflict with alpha, the primary, which lives and is then lost: neither makes beta primary.
fn only_a_person_decides(mut arena: Arena, state: &str) {
    for node in [ALPHA, BETA] {
        arena.cluster.until(node, state, |replica| {
            replica["peers"][0]["connection"] == state
        });
        arena.until_agent(node, "an alarm", |said| {
            let told = said["told"].as_array().expect("reports").iter();
            told.into_iter().any(|told| {
                told["level"] == "alarm" && told["what"].to_string().contains("a person has to")
            })
        });
    }
    arena.stays_standby(BETA, Duration::from_secs(2));
    assert!(arena.is_primary(ALPHA), "{}", arena.logs());
    kept(&arena, ALPHA, 0x33);
    arena.lose_power(ALPHA);
    arena.stays_standby(BETA, LONG);

    // It is on again: its data is not that of anybody's choice either, unless a person says so.
    arena.switch.restore(ALPHA);
    arena.boot(ALPHA);
    arena.stays_standby(ALPHA, Duration::from_secs(3));
    arena.stays_standby(BETA, Duration::from_secs(1));
    arena.cluster.ok(ALPHA, &FORCE);
    arena.until_primary(ALPHA);
    kept(&arena, ALPHA, 0x33);
}

/// Alpha was made anew from its data and serves clients; then comes the old beta, whose term has grown.
#[test]
fn a_stranger_with_a_higher_term_is_promoted_by_no_agent() {
    let mut arena = without_agents();
    for _ in 0..4 {
        // Not while the in-sync set is being changed.
        arena.cluster.wait_for(ALPHA, "demoted", |cluster| {
            (cluster.run(ALPHA, &["demote"]).code == 0).then_some(())
        });
        arena.cluster.ok(ALPHA, &["promote"]);
    }
    arena.stop(ALPHA, What::Serve);
    arena.stop(BETA, What::Serve);
    arena
        .cluster
        .ok(ALPHA, &["init", "--first", "--force-overwrite"]);
    arena.serve(ALPHA);
    arena.cluster.ok(ALPHA, &["promote"]);
    arena.agent(ALPHA);
    arena.until_primary(ALPHA);
    write(&arena, ALPHA, 0x33);
    arena.boot(BETA);
    only_a_person_decides(arena, "unrelated");
}

/// A split brain that nobody has resolved: alpha serves clients, beta has the other fork.
#[test]
fn the_other_fork_of_a_split_brain_is_promoted_by_no_agent() {
    let mut arena = without_agents();
    arena.kill(ALPHA, What::Serve);
    arena.cluster.until(BETA, "it has lost alpha", |replica| {
        replica["peers"][0]["connection"] == "connecting"
    });
    arena.cluster.ok(BETA, &FORCE);
    write(&arena, BETA, 0x22);
    arena.cluster.ok(BETA, &["demote"]);
    arena.kill(BETA, What::Serve);
    arena.serve(ALPHA);
    arena.cluster.ok(ALPHA, &FORCE);
    write(&arena, ALPHA, 0x33);
    arena.boot(BETA);
    arena.agent(ALPHA);
    only_a_person_decides(arena, "split-brain");
}

/// Two first copies that have met once, and whose cable is cut: each by itself had all it needs to be primary.
#[test]
fn two_first_copies_are_never_both_made_primary() {
    let mut arena = Arena::new(Plan::default());
    // Of another size, which hides nothing.
    fs::write(arena.cluster.image(BETA), vec![0; 8 << 20]).unwrap();
    arena
        .cluster
        .ok(BETA, &["init", "--first", "--force-overwrite"]);
    arena.serve(ALPHA);
    arena.serve(BETA);
    for node in [ALPHA, BETA] {
        arena.cluster.until(node, "unrelated", |replica| {
            replica["peers"][0]["connection"] == "unrelated"
        });
    }
    arena.agent(ALPHA);
    arena.agent(BETA);
    arena.stays_standby(BETA, Duration::from_secs(2));
    // The cable alone is cut: heartbeats go on.
    arena.freeze_one(BETA, What::Serve);
    arena.stays_standby(ALPHA, LONG);
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    arena.thaw(BETA);
    arena.stays_standby(BETA, Duration::from_secs(2));
}
