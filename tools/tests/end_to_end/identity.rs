//! Who is who, with real processes: strangers and forks with a higher term, replicas that were rolled back or cloned, and
//! backing devices that are not the one that the metadata belongs to.

use std::{fs, process::Command};

use serde_json::Value;
use twindisk_nbd::client::Fua;

use crate::harness::{
    LOOK,
    cluster::{ALPHA, BETA, Cluster},
    process::{Said, said},
};

const SIZE: usize = 8 << 20;

/// Alpha was made anew from its data and is primary; what beta has is of its former life.
fn strangers() -> Cluster {
    let mut cluster = Cluster::pair("8MiB", "");
    // Beta's term grows, as it does in months.
    for _ in 0..4 {
        // Not while the in-sync set is being changed.
        cluster.wait_for(ALPHA, "demoted", |cluster| {
            (cluster.run(ALPHA, &["demote"]).code == 0).then_some(())
        });
        cluster.ok(ALPHA, &["promote"]);
    }
    cluster.stop(ALPHA);
    cluster.stop(BETA);
    cluster.ok(ALPHA, &["init", "--first", "--force-overwrite"]);
    cluster.serve(ALPHA);
    cluster.ok(ALPHA, &["promote"]);
    cluster
}

fn until_connection(cluster: &Cluster, state: &str) {
    for node in [ALPHA, BETA] {
        cluster.until(node, state, |replica| {
            replica["peers"][0]["connection"] == state
        });
    }
}

/// Both know of the conflict, and neither is promoted but by a person's force.
fn nobody_is_promoted(cluster: &Cluster, nodes: &[&str]) {
    for node in nodes {
        let refusal = cluster.refused(node, &["promote"]);
        assert!(refusal.contains("a person has to decide"), "{refusal}");
        let conflict = &cluster.replica(node)["peers"][0]["conflict"];
        assert!(conflict.is_object(), "{conflict}");
    }
}

fn kept(cluster: &Cluster, filled: u8) {
    let mut bytes = vec![0; 1 << 20];
    cluster.client(ALPHA).read(0, &mut bytes).unwrap();
    assert!(
        bytes.iter().all(|byte| *byte == filled),
        "it was overwritten"
    );
}

#[test]
fn a_stranger_with_a_higher_term_dethrones_nobody() {
    let mut cluster = strangers();
    let term = cluster.replica(ALPHA)["term"].as_u64();
    let mut client = cluster.client(ALPHA);
    client.write(0, &[0x33; 1 << 20], Fua::No).unwrap();
    cluster.serve(BETA);
    assert!(
        cluster.replica(BETA)["term"].as_u64() > term,
        "beta's term is higher"
    );
    until_connection(&cluster, "unrelated");
    client.write(1 << 20, &[0x34; 4096], Fua::No).unwrap();
    client.flush().unwrap();
    let replica = cluster.replica(ALPHA);
    assert_eq!(replica["role"], "primary");
    assert_eq!(
        replica["term"].as_u64(),
        term,
        "a stranger's term is not taken over"
    );
    kept(&cluster, 0x33);
    drop(client);

    // It is remembered by both, without the other one and over a restart.
    cluster.kill(ALPHA);
    cluster.say_gone(ALPHA, BETA);
    nobody_is_promoted(&cluster, &[BETA]);
    cluster.kill(BETA);
    cluster.serve(BETA);
    nobody_is_promoted(&cluster, &[BETA]);
    cluster.stop(BETA);
    cluster.serve(ALPHA);
    nobody_is_promoted(&cluster, &[ALPHA]);
    let force = [
        "promote",
        "--force",
        "--confirm",
        "r0",
        "--reason",
        "the test decides",
    ];
    cluster.ok(ALPHA, &force);
    kept(&cluster, 0x33);
}

#[test]
fn two_first_copies_are_never_both_primary() {
    let mut cluster = Cluster::new(&[ALPHA, BETA], "");
    for node in [ALPHA, BETA] {
        cluster.ok(node, &["init", "--first", "--size", "8MiB"]);
    }
    cluster.serve(ALPHA);
    cluster.serve(BETA);
    until_connection(&cluster, "unrelated");
    nobody_is_promoted(&cluster, &[ALPHA, BETA]);
    // Nor when neither can see the other one any more.
    for node in [ALPHA, BETA] {
        cluster.stop(ALPHA);
        cluster.stop(BETA);
        cluster.serve(node);
        nobody_is_promoted(&cluster, &[node]);
        cluster.serve(if node == ALPHA { BETA } else { ALPHA });
    }
    // Standing still is not gone either.
    cluster.pause(BETA);
    nobody_is_promoted(&cluster, &[ALPHA]);
    cluster.resume(BETA);
}

/// What a node has on its disks, copied while its process stands still.
struct Snapshot;

impl Snapshot {
    fn of(cluster: &Cluster, name: &str) -> Self {
        let to = cluster.path(name);
        fs::create_dir(&to).unwrap();
        for part in [BETA.to_owned(), format!("{BETA}.img")] {
            copy(&cluster.path(&part), &to.join(part));
        }
        Self
    }

    /// Beta does not run, and will come up as it was.
    fn restore(&self, cluster: &Cluster, name: &str) {
        fs::remove_dir_all(cluster.path(BETA)).unwrap();
        fs::remove_file(cluster.image(BETA)).unwrap();
        for part in [BETA.to_owned(), format!("{BETA}.img")] {
            copy(&cluster.path(name).join(&part), &cluster.path(&part));
        }
    }
}

/// With its attributes, as a snapshot has them.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.unwrap().success());
}

fn write(cluster: &Cluster, at: u64, fill: u8) {
    let mut client = cluster.client(ALPHA);
    client.write(at, &vec![fill; 1 << 20], Fua::No).unwrap();
    client.flush().unwrap();
}

/// Beta is back, equal, and both images are the same bytes.
fn until_equal(cluster: &mut Cluster) {
    cluster.until_in_sync(ALPHA);
    cluster.stop(BETA);
    cluster.stop(ALPHA);
    cluster.compare_images();
}

fn warned(cluster: &Cluster, node: &str, part: &str) -> bool {
    let warnings = cluster.events_of(node, "warning");
    warnings
        .iter()
        .any(|event| event.to_string().contains(part))
}

#[test]
fn a_standby_that_was_rolled_back_is_noticed_and_brought_up_whole() {
    let mut cluster = Cluster::pair("8MiB", "");
    write(&cluster, 0, 0x11);
    cluster.pause(BETA);
    let snapshot = Snapshot::of(&cluster, "snapshot");
    cluster.resume(BETA);
    cluster.until_in_sync(ALPHA);
    // On both, and in no bitmap.
    write(&cluster, 0, 0x22);
    cluster.until_remembered();
    cluster.kill(BETA);
    cluster.say_fenced(BETA, ALPHA);
    write(&cluster, 4 << 20, 0x33);
    snapshot.restore(&cluster, "snapshot");
    cluster.serve(BETA);
    cluster.until_in_sync(ALPHA);
    assert!(warned(&cluster, ALPHA, "beta was rolled back"));
    assert!(warned(&cluster, BETA, "this node was rolled back"));
    until_equal(&mut cluster);
}

/// So little that beta may not have told that it has written anything: whether it is noticed or not, nothing is missing.
#[test]
fn a_standby_that_was_rolled_back_by_a_little_lacks_nothing() {
    let mut cluster = Cluster::pair("8MiB", "");
    for round in 0..4_u8 {
        cluster.pause(BETA);
        let name = format!("snapshot-{round}");
        let snapshot = Snapshot::of(&cluster, &name);
        let mut client = cluster.client(ALPHA);
        cluster.resume(BETA);
        client
            .write(u64::from(round) << 20, &[round + 1; 4096], Fua::No)
            .unwrap();
        client.flush().unwrap();
        cluster.kill(BETA);
        snapshot.restore(&cluster, &name);
        cluster.serve(BETA);
        cluster.until_in_sync(ALPHA);
    }
    until_equal(&mut cluster);
}

/// A copy of beta's machine runs under its number while the original is away; then the original is back.
#[test]
fn a_clone_under_the_same_number_and_its_original_are_told_apart() {
    let mut cluster = Cluster::pair("8MiB", "");
    write(&cluster, 0, 0x11);
    cluster.stop(BETA);
    let clone = Snapshot::of(&cluster, "clone");
    cluster.serve(BETA);
    cluster.until_in_sync(ALPHA);
    write(&cluster, 1 << 20, 0x22);
    cluster.stop(BETA);
    let original = Snapshot::of(&cluster, "original");
    for (copy, name, at) in [(&clone, "clone", 2), (&original, "original", 3)] {
        let before = cluster.events_of(ALPHA, "warning").len();
        copy.restore(&cluster, name);
        cluster.serve(BETA);
        cluster.until_in_sync(ALPHA);
        let told = &cluster.events_of(ALPHA, "warning")[before..];
        let told = told.iter().map(ToString::to_string).collect::<String>();
        assert!(told.contains("is a clone or an old copy"), "{name}: {told}");
        write(&cluster, at << 20, 0x33);
        cluster.stop(BETA);
    }
    cluster.serve(BETA);
    until_equal(&mut cluster);
}

#[test]
fn a_device_that_was_swapped_is_blank_or_is_older_than_its_metadata_is_refused() {
    let mut cluster = Cluster::pair("8MiB", "");
    write(&cluster, 0, 0x11);
    cluster.stop(BETA);
    if !is_marked(&cluster) {
        eprintln!("left out: no extended attributes here");
        return;
    }
    let image = cluster.image(BETA);
    let right = cluster.path("right.img");
    let metadata = cluster.path("beta/r0.meta");
    let old = fs::read(&metadata).unwrap();
    fs::rename(&image, &right).unwrap();

    let refused = |holds: &str| {
        let said = serve_ends(&cluster);
        for part in [
            "beta.img is not the device",
            holds,
            "metadata tie",
            "init --force-overwrite",
        ] {
            assert!(said.err.contains(part), "{part} is not in {said:?}");
        }
    };
    fs::write(&image, vec![0; SIZE]).unwrap();
    refused("it is blank");
    let mut other = vec![0; SIZE];
    other[1080..1082].copy_from_slice(&[0x53, 0xef]);
    other[1144..1152].copy_from_slice(b"precious");
    fs::write(&image, &other).unwrap();
    refused("ext4 file system");
    assert_eq!(fs::read(&image).unwrap(), other, "it was touched");

    // Its data was copied to a new disk: a person says so.
    fs::copy(&right, &image).unwrap();
    refused("it has no mark");
    assert_eq!(
        cluster.run(BETA, &["metadata", "tie"]).code,
        2,
        "needs --confirm"
    );
    cluster.ok(BETA, &["metadata", "tie", "--confirm", "r0"]);
    cluster.serve(BETA);
    until_equal(&mut cluster);

    // The metadata alone was rolled back: it says of the device what is long over.
    fs::write(&metadata, old).unwrap();
    let said = serve_ends(&cluster);
    assert!(said.err.contains("it has the mark"), "{said:?}");
    cluster.serve(ALPHA);
    cluster.ok(ALPHA, &["promote"]);
    cluster.ok(BETA, &["init", "--force-overwrite"]);
    cluster.serve(BETA);
    until_equal(&mut cluster);
}

/// It is refused; where it is not, it would go on.
fn serve_ends(cluster: &Cluster) -> Said {
    let command = cluster.command(BETA, &["serve"]);
    let output = Command::new("timeout")
        .arg("20")
        .arg(command.get_program())
        .args(command.get_args())
        .output();
    let said = said(&output.unwrap());
    assert_eq!(said.code, 1, "{said:?}");
    said
}

fn is_marked(cluster: &Cluster) -> bool {
    let dump = cluster.ok(BETA, &["metadata", "dump", "--json"]);
    let dump: Value = serde_json::from_str(&dump).unwrap();
    dump["superblock"]["device"]["tie"]["Mark"].is_u64()
}

impl Cluster {
    /// Waits until `node` knows that a killed one is gone.
    fn say_gone(&self, dead: &str, node: &str) {
        assert!(!self.is_running(dead));
        std::thread::sleep(LOOK);
        self.until(node, "it has lost the other one", |replica| {
            replica["peers"][0]["connection"] == "connecting"
        });
    }
}
