//! `serve` is killed beneath the disk of a virtual machine: QEMU's block layer connects again by itself, and what uses the
//! disk, fio here, sees a pause and no error.

use std::{
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use crate::{
    harness::{
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
        eventually,
        fio::longest_gap,
        process::pause,
        programs::{command, have, told},
        random::{Random, number, seed},
    },
    outages::MOST,
    process_death::RESTART,
};

/// Seconds that fio runs for each kill: enough to be in sync again in between.
const EACH: u64 = 6;

#[test]
fn fio_on_a_virtual_disk_sees_a_pause_when_serve_is_killed() {
    let rounds = number("TWINDISK_FAILOVER_ROUNDS").unwrap_or(3);
    if !have(&["fio", "qemu-storage-daemon"]) {
        return;
    }
    let mut random = Random::new(seed("TWINDISK_FAILOVER_SEED"));
    let mut arena = Arena::running(Plan::default());
    let disk = VirtualDisk::start(&arena);
    let mut fio = disk.fio(EACH * rounds);
    for round in 0..rounds {
        until_written(&arena);
        pause(&mut random, Duration::ZERO, Duration::from_millis(300));
        let ended = fio.try_wait().expect("it is ours");
        assert!(ended.is_none(), "fio ended before round {round}");
        arena.kill(ALPHA, What::Serve);
        thread::sleep(RESTART);
        arena.spawn(ALPHA, What::Serve, CONFIG);
        arena.until_primary(ALPHA);
        arena.cluster.until_in_sync(ALPHA);
    }
    until_written(&arena);
    let output = fio.wait_with_output().expect("it is ours");
    let told = told(&output);
    assert!(output.status.success(), "{told}\n{}", arena.logs());
    assert!(!told.contains("verify:"), "{told}");
    let (gap, completed) = disk.longest_gap();
    println!(
        "SIGKILL of serve under fio on a disk of QEMU, {rounds} times: {completed} requests, the longest time without \
         one {:.2} s (QEMU tries again at once, and then after a second)",
        gap.as_secs_f64()
    );
    assert!(gap < MOST, "{gap:?}\n{}", arena.logs());

    let roles = arena.cluster.events_of(BETA, "role");
    assert!(
        roles.iter().all(|event| event["role"] == "standby"),
        "{roles:?}"
    );
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
    for node in [ALPHA, BETA] {
        let failovers = &arena.agent_says(node)["failovers"];
        assert_eq!(failovers.as_array().map(Vec::len), Some(0), "{failovers}");
    }
    drop(disk);
    arena.cluster.until_in_sync(ALPHA);
    arena.cluster.compare_images();
}

/// Waits until a good deal was written since now.
fn until_written(arena: &Arena) {
    let writes = || arena.cluster.replica(ALPHA)["activity"]["writes"].as_u64();
    let before = writes().expect("a count");
    eventually(
        "fio writes",
        || arena.logs(),
        || (writes() > Some(before + 100)).then_some(()),
    );
}

/// QEMU's block layer as a process of its own, which serves what it sees of the device.
struct VirtualDisk {
    folder: PathBuf,
    process: Child,
}

impl VirtualDisk {
    fn start(arena: &Arena) -> Self {
        let folder = arena.cluster.dir.path().to_owned();
        let socket = folder.join("disk.sock");
        let from = arena.cluster.path(&format!("{ALPHA}/r0.sock"));
        let process = command("qemu-storage-daemon")
            .arg("--blockdev")
            .arg(format!(
                "driver=nbd,node-name=disk,server.type=unix,server.path={},export=r0,reconnect-delay=60",
                from.display()
            ))
            .arg("--nbd-server")
            .arg(format!("addr.type=unix,addr.path={}", socket.display()))
            .args([
                "--export",
                "type=nbd,id=disk,node-name=disk,name=disk,writable=on",
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon runs");
        let disk = Self { folder, process };
        eventually("QEMU serves its disk", String::new, || {
            socket.exists().then_some(())
        });
        disk
    }

    /// Writes and verifies for so many seconds.
    fn fio(&self, seconds: u64) -> Child {
        let socket = self.folder.join("disk.sock");
        command("fio")
            .args(["--name=disk", "--ioengine=nbd"])
            .arg(format!(
                "--uri=nbd+unix:///disk?socket={}",
                socket.display()
            ))
            .args(["--rw=randwrite", "--bsrange=4k-64k", "--size=24m"])
            .args(["--iodepth=8", "--fsync=64", "--loops=1000", "--time_based"])
            .arg(format!("--runtime={seconds}"))
            .args(["--verify=crc32c", "--verify_fatal=1"])
            .args(["--verify_backlog=256", "--verify_state_save=0"])
            .args(["--write_lat_log=disk", "--disable_slat=1"])
            .arg("--disable_clat=1")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fio runs")
    }

    fn longest_gap(&self) -> (Duration, usize) {
        longest_gap(&self.folder.join("disk_lat.1.log"))
    }
}

impl Drop for VirtualDisk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
