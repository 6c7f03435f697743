//! Backing files on filesystems that become full: writes wait, no copy is given up, and all goes on once there is room.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;
use twindisk_nbd::client::Fua;

use crate::harness::{
    cluster::{ALPHA, BETA, Cluster},
    process::assert_same,
    programs::{command, have, have_loop_and_fuse, run},
};

const MIB: u64 = 1 << 20;

/// A filesystem of its own with a sparse file in it.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        fs::File::create(&image)
            .and_then(|file| file.set_len(64 * MIB))
            .unwrap();
        let at = dir.path().join("mount");
        fs::create_dir(&at).unwrap();
        run(
            "mkfs.ext4",
            &["-q".as_ref(), "-m0".as_ref(), image.as_os_str()],
        );
        run(
            "mount",
            &["-oloop".as_ref(), image.as_os_str(), at.as_os_str()],
        );
        let small = Self { dir };
        fs::File::create(small.backing())
            .and_then(|file| file.set_len(32 * MIB))
            .unwrap();
        small
    }

    fn mount(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    fn backing(&self) -> PathBuf {
        self.mount().join("r0.img")
    }

    fn filler(&self) -> PathBuf {
        self.mount().join("filler")
    }

    /// Takes what room there is, to the last block.
    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).unwrap();
        for piece in [MIB as usize, 4096] {
            while file
                .write_all(&vec![1; piece])
                .and_then(|()| file.sync_all())
                .is_ok()
            {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = command("umount").arg("-l").arg(self.mount()).output();
    }
}

/// A pair, each on a filesystem of its own, with short times. It must be dropped before the filesystems.
fn pair(alpha: &Small, beta: &Small) -> Cluster {
    let times = "request-timeout = \"6s\"\nstop-timeout = \"2s\"";
    let mut cluster = Cluster::on(&[ALPHA, BETA], times, |node| {
        let small: &Path = &if node == ALPHA { alpha } else { beta }.backing();
        format!("backing = \"{}\"", small.display())
    });
    cluster.first_start(&[]);
    cluster
}

/// Writes, in a thread of its own: nothing is sent before it is answered.
fn write(cluster: &Cluster, offset: u64, byte: u8) -> mpsc::Receiver<bool> {
    let (answered, answer) = mpsc::channel();
    let mut client = cluster.client(ALPHA);
    thread::spawn(move || {
        let written = client.write(offset, &vec![byte; MIB as usize], Fua::Yes);
        let _ = answered.send(written.is_ok());
    });
    answer
}

fn until_short(cluster: &Cluster, node: &str) -> Value {
    cluster.until(node, "it has no space", |replica| {
        !replica["no-space"].is_null()
    })
}

fn is_there(cluster: &Cluster, offset: u64, byte: u8) {
    let mut data = vec![0; MIB as usize];
    let mut client = cluster.client(ALPHA);
    client.read(offset, &mut data).unwrap();
    assert!(data.iter().all(|&found| found == byte), "at {offset}");
}

fn no_disk_has_failed(cluster: &Cluster) {
    for node in [ALPHA, BETA] {
        let disks = cluster.events_of(node, "disk");
        assert!(
            disks.iter().all(|event| event["disk"] != "Failed"),
            "{disks:?}"
        );
    }
}

const PROGRAMS: &[&str] = &["mkfs.ext4", "mount", "umount", "losetup"];

#[test]
fn writes_wait_for_space_and_no_copy_is_given_up() {
    if !have(PROGRAMS) || !have_loop_and_fuse() {
        return;
    }
    let (alpha, beta) = (Small::new(), Small::new());
    let mut cluster = pair(&alpha, &beta);
    assert_eq!(write(&cluster, 0, 1).recv(), Ok(true));

    // The primary: its clients wait, it says why, and the standby is as good as ever.
    alpha.fill();
    let answer = write(&cluster, 4 * MIB, 2);
    let replica = until_short(&cluster, ALPHA);
    assert_eq!(replica["disk"], "UpToDate");
    let why = replica["no-space"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("no space on alpha: ") && why.contains("No space left on device"),
        "{why}"
    );
    let table = cluster.ok(ALPHA, &["status"]);
    assert!(
        table.contains("free room beneath the backing device of alpha"),
        "{table}"
    );
    let refused = cluster.refused(ALPHA, &["demote"]);
    assert!(refused.contains("no space on alpha"), "{refused}");
    is_there(&cluster, 0, 1);
    assert!(answer.try_recv().is_err(), "nobody was told anything");
    alpha.make_room();
    assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(true));
    cluster.until(ALPHA, "there is space", |replica| {
        replica["no-space"].is_null()
    });
    is_there(&cluster, 4 * MIB, 2);
    cluster.until_in_sync(ALPHA);

    // The standby: it leaves in good order, and the primary goes on without a proof or a pause.
    beta.fill();
    let answer = write(&cluster, 8 * MIB, 3);
    until_short(&cluster, BETA);
    assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(true));
    cluster.until(BETA, "its copy is whole, and old", |replica| {
        replica["disk"] == "Outdated"
    });
    assert_eq!(cluster.events_of(ALPHA, "suspended").len(), 0);
    assert_eq!(write(&cluster, 12 * MIB, 4).recv(), Ok(true));
    beta.make_room();
    cluster.until_in_sync(ALPHA);
    no_disk_has_failed(&cluster);
    cluster.stop(ALPHA);
    cluster.stop(BETA);
    assert_same(&alpha.backing(), &beta.backing());
}

#[test]
fn the_last_copy_is_there_whatever_has_no_space() {
    if !have(PROGRAMS) || !have_loop_and_fuse() {
        return;
    }
    let (alpha, beta) = (Small::new(), Small::new());
    let mut cluster = pair(&alpha, &beta);
    assert_eq!(write(&cluster, 0, 1).recv(), Ok(true));

    // Both have none in the same write, and their processes die.
    alpha.fill();
    beta.fill();
    let answer = write(&cluster, 4 * MIB, 2);
    until_short(&cluster, ALPHA);
    until_short(&cluster, BETA);
    cluster.kill(ALPHA);
    cluster.kill(BETA);
    assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(false));

    // One of them for good: the other one can be had by force, and serves what was flushed.
    cluster.serve(ALPHA);
    let reason = "beta is gone for good";
    let force = [
        "promote",
        "r0",
        "--force",
        "--confirm",
        "r0",
        "--reason",
        reason,
    ];
    cluster.ok(ALPHA, &force);
    is_there(&cluster, 0, 1);
    let answer = write(&cluster, 8 * MIB, 3);
    until_short(&cluster, ALPHA);

    // A stop ends, too, and what is left is promoted again.
    cluster.stop(ALPHA);
    assert_eq!(answer.recv_timeout(Duration::from_secs(60)), Ok(false));
    cluster.serve(ALPHA);
    cluster.ok(ALPHA, &["promote"]);
    is_there(&cluster, 0, 1);
    alpha.make_room();
    assert_eq!(write(&cluster, 8 * MIB, 4).recv(), Ok(true));
    cluster.serve(BETA);
    beta.make_room();
    cluster.until_in_sync(ALPHA);
    no_disk_has_failed(&cluster);
}
