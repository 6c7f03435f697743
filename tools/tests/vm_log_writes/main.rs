//! Is the simulated disk honest? The same is done to a real one: both nodes run in a machine with a kernel of its own, a
//! filesystem is on the device, and the kernel's `dm-log-writes` records what reaches the standby's disk. Then, for
//! every flush and every write with FUA in that record, the image that a loss of power would have left at that moment is
//! made and checked: all that was unflushed is gone, or any part of it, sector by sector, is there.
//!
//! What the simulated disk assumes (`tools/simulator/src/disk.rs`; its scenario of the same kind is
//! `standby-could-lose-its-power-at-any-moment`), and how it shows here:
//!
//! - *A flush covers what had completed before it was issued, and nothing else.* `dm-log-writes` logs by this rule, so an
//!   image cut behind a flush holds what the rule promises and no more. Every sector that the client knew to be stable is
//!   there; a second log, of the client's side, says which those are.
//! - *FUA makes the write itself stable, no other one.* Writes with FUA stand before older, unflushed ones in the log. The
//!   client's, and those of the metadata, are cut behind like flushes.
//! - *What is unflushed is lost, kept or torn sector by sector, in any order.* The cuts in between do just that. The
//!   filesystem then mounts and is clean, the metadata is readable and says UpToDate. One block is left whole, that of
//!   ext4's superblock: its checksum spans two sectors, it is overwritten in place, and ext4 reads it before its journal,
//!   so it counts on a disk that does not tear blocks of 4 KiB.
//! - *The end of a process takes nothing from the disk; a loss of power takes what is unflushed.* In the second act the
//!   standby's process is killed under load, part of what it had not flushed is taken from the disk, and it comes back:
//!   the primary has remembered what was unstable there, and both disks become equal.

#[path = "../harness/mod.rs"]
mod harness;
mod replay;
mod steps;

use std::{fs, os::unix::fs::FileExt, path::Path, thread, time::Duration};

use harness::{
    process::pause,
    programs::have,
    random::{Random, number, seed},
    vm::{Lab, Machine, PROGRAMS, pair_configuration},
    write_log::{Entry, SECTOR, WriteLog},
};
use replay::{Replay, Tally};
use steps::Steps;

/// The device; the rest of each disk is metadata.
const SIZE: usize = 64 << 20;

const DISK: usize = 80 << 20;

/// Room for a log.
const LOG: u64 = 1 << 30;

#[test]
fn the_standby_could_lose_its_power_at_any_moment() {
    let needed = ["dmsetup", "mkfs.ext4", "e2fsck", "debugfs", "mount"];
    if !have(&[PROGRAMS, &needed].concat()) {
        return;
    }
    let seed = seed("TWINDISK_LOG_SEED");
    let mut random = Random::new(seed);
    let count = number("TWINDISK_LOG_STEPS").unwrap_or(40);
    let steps = Steps::new(usize::try_from(count).expect("few"), &mut random);

    let mut lab = Lab::new(1, &[DISK as u64, DISK as u64, LOG, LOG]);
    lab.prepare(
        &configuration("/dev/ubda", "/dev/mapper/standby"),
        FUNCTIONS,
    );
    let paths = [1, 2, 3].map(|index| lab.disk(1, index));
    let [disk, standby_log, client_log] = &paths;
    let machine = &mut lab.machines[0];
    machine.power_on();
    machine.until_ready();
    record(machine, &steps);
    lose_power(machine, disk, standby_log, &mut random);
    end(machine);
    machine.shut_down();
    let (standby, client) = (WriteLog::read(standby_log), WriteLog::read(client_log));
    let disks = [0, 1].map(|index| fs::read(lab.disk(1, index)).expect("a disk"));
    assert!(
        disks[0][..SIZE] == disks[1][..SIZE],
        "the disks differ, though both were in sync and at rest"
    );
    println!("the standby came back and was brought up to date; both disks are equal");

    let until = standby.mark("over");
    let tally = check(&standby, &client, &steps, &lab.shared(), seed, until);
    println!("{tally:?}");
    assert!(tally.points > steps.count(), "{tally:?}");
    assert!(tally.torn > steps.count() / 2, "{tally:?}");
    assert!(tally.fua > 0, "{tally:?}");
}

/// Brings the cluster up and does the steps on a filesystem on the device.
fn record(machine: &mut Machine, steps: &Steps) {
    machine.call(
        "device_mapper standby \"0 $(blockdev --getsz /dev/ubdb) log-writes /dev/ubdb /dev/ubdc\"
        start_pair --size 64MiB
        device_mapper client \"0 $(blockdev --getsz /dev/nbd0) log-writes /dev/nbd0 /dev/ubdd\"",
    );
    machine.call("mkfs.ext4 -q -E nodiscard /dev/mapper/client; mount /dev/mapper/client /srv");
    for script in steps.scripts() {
        machine.call(&script);
    }
    // What the second act writes has its place already.
    machine.call(
        "dmsetup message standby 0 mark over
        head -c 16M /dev/zero >/srv/big; sync /srv/big",
    );
    println!("{} steps on a filesystem were recorded", steps.count());
}

/// Kills the standby under load and takes from its disk some of what it had not flushed.
fn lose_power(machine: &mut Machine, disk: &Path, log: &Path, random: &mut Random) {
    let load = machine.start_call(
        "while [ ! -e /run/enough ]; do
            dd if=/dev/urandom of=/srv/big bs=64k count=64 seek=$((RANDOM % 192)) oflag=direct conv=notrunc status=none
            touch /run/loaded
        done",
    );
    machine.call("until_true [ -e /run/loaded ]");
    pause(random, Duration::ZERO, Duration::from_millis(1500));
    machine.call("on beta kill_server; until_true dmsetup remove standby");
    take_unflushed(disk, &WriteLog::read(log), random);
    assert_eq!(load.ended(), None, "{}", load.output());
    machine.call(
        "device_mapper standby \"0 $(blockdev --getsz /dev/ubdb) linear /dev/ubdb 0\"
        on beta serve
        on alpha until_in_sync
        touch /run/enough",
    );
    harness::eventually("the load ends", || load.output(), || load.ended());
    assert_eq!(load.ended(), Some(0), "{}", load.output());
}

/// Makes of a disk what a loss of power may have left of it, by the log of everything that was written to it.
fn take_unflushed(disk: &Path, log: &WriteLog, random: &mut Random) {
    let mut image = vec![0; DISK];
    for entry in &log.entries {
        log.apply(entry, &mut image);
    }
    let found = fs::read(disk).expect("a disk");
    let disputed = log.disputed();
    let differ = (0..DISK)
        .step_by(SECTOR)
        .find(|at| found[*at..at + SECTOR] != image[*at..at + SECTOR] && !disputed.contains(at));
    assert_eq!(
        differ, None,
        "the log does not tell everything that is on the disk"
    );

    let flush = log.entries.iter().rposition(|entry| *entry == Entry::Flush);
    let flush = flush.expect("there were flushes");
    let lost = log.entries[flush..]
        .iter()
        .filter(|entry| !entry.range().is_empty())
        .count();
    assert!(lost > 0, "nothing was unflushed");
    image.fill(0);
    for entry in &log.entries[..flush] {
        log.apply(entry, &mut image);
    }
    log.cut_power(flush..log.entries.len(), &mut image, &(0..0), random);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(disk)
        .expect("a disk");
    let mut changed = 0;
    for (index, (old, new)) in found.chunks(4096).zip(image.chunks(4096)).enumerate() {
        if old != new {
            file.write_all_at(new, index as u64 * 4096).expect("a disk");
            changed += 1;
        }
    }
    println!(
        "the standby lost power with {lost} unflushed writes; {changed} blocks are not as they were"
    );
}

fn end(machine: &mut Machine) {
    machine.call(
        "cd /; umount /srv
        until_true dmsetup remove client
        on alpha twindisk detach /dev/nbd0
        on alpha twindisk demote
        on alpha stop
        on beta stop
        until_true dmsetup remove standby",
    );
}

/// Checks every moment, with two workers.
fn check(
    standby: &WriteLog,
    client: &WriteLog,
    steps: &Steps,
    folder: &Path,
    seed: u64,
    until: usize,
) -> Tally {
    const WORKERS: usize = 2;
    let tallies = thread::scope(|scope| {
        let workers = [0, 1].map(|worker| {
            let scratch = folder.join(format!("worker{worker}"));
            fs::create_dir(&scratch).expect("a folder");
            scope.spawn(move || {
                let replay = Replay {
                    standby,
                    client,
                    steps,
                    scratch: &scratch,
                    seed,
                };
                replay.check(until, worker, WORKERS)
            })
        });
        workers.map(|worker| worker.join())
    });
    let mut sum = Tally::default();
    for tally in tallies {
        let tally = tally.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        sum.points += tally.points;
        sum.filesystems += tally.filesystems;
        sum.torn += tally.torn;
        sum.fua += tally.fua;
        sum.sectors += tally.sectors;
    }
    sum
}

fn configuration(alpha: &str, beta: &str) -> String {
    pair_configuration(
        [alpha, beta].map(|disk| format!("backing = \"{disk}\", metadata = \"internal\"")),
    )
}

/// What the scripts in the machine call.
const FUNCTIONS: &str = r#"
# The marks come after everything that was acknowledged, on both logs.
promise() {
    dmsetup message client 0 mark "$1"
    dmsetup message standby 0 mark "$1"
}
"#;
