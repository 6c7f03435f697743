//! Two machines with real kernels: the primary's is unplugged under a mounted filesystem, the other one takes over.

mod harness;

use std::{fs, path::Path, time::Duration};

use harness::{
    eventually,
    process::pause,
    programs::have,
    random::{Random, seed},
    vm::{Job, Lab, Machine, PROGRAMS},
};

/// The device; the rest of each disk is metadata.
const SIZE: usize = 128 << 20;

const DISK: u64 = 160 << 20;

#[test]
fn a_mounted_filesystem_outlives_its_machine() {
    let needed = [PROGRAMS, &["mkfs.ext4", "e2fsck", "mount"]].concat();
    if !have(&needed) {
        return;
    }
    let mut random = Random::new(seed("TWINDISK_VM_SEED"));
    let mut lab = Lab::new(2, &[DISK]);
    let shared = lab.shared();
    lab.prepare(CONFIGURATION, FUNCTIONS);
    let [one, two] = &mut lab.machines[..] else {
        unreachable!("two machines")
    };
    for machine in [&mut *one, &mut *two] {
        machine.power_on();
    }
    for machine in [&mut *one, &mut *two] {
        machine.until_ready();
    }

    twindisk(one, "init --first --size 128MiB");
    twindisk(two, "init --size 128MiB");
    one.call("serve");
    two.call("serve");
    twindisk(one, "promote");
    one.call("until_in_sync");
    println!("node1 is primary, node2 in sync");

    one.call("attach; mkfs.ext4 -q -E nodiscard /dev/nbd0; mount /dev/nbd0 /srv");
    let writer = one.start_call("write_for_ever");
    let promised = shared.join("promised");
    until_written(&promised, &writer, 20);

    // The server dies and is started again: its kernel client only sees a pause.
    one.call("kill_server; serve; until_promotable; twindisk promote");
    until_written(&promised, &writer, 10);
    println!("the server of the mounted filesystem was killed and restarted");

    // So does its supervisor, at the same time. Whoever attaches the resource again gets the same device.
    one.call("kill -9 $(supervisors); kill_server; serve; until_promotable; twindisk promote");
    one.call("test $(twindisk attach r0) = /dev/nbd0; test $(twindisk attach r0 0) = /dev/nbd0; ! twindisk attach r0 1");
    until_written(&promised, &writer, 10);
    one.call("test $(supervisors | wc -l) = 1; ! dmesg | grep 'I/O error'");
    println!("the supervisor of its device was killed, and the device adopted");

    pause(&mut random, Duration::ZERO, Duration::from_millis(1500));
    one.cut_power();
    println!("unplugged after {} files were synced", count(&promised));

    two.call("until_lost");
    twindisk(two, "receipt --fenced --about node1 --reason unplugged");
    twindisk(two, "promote");
    two.call("attach; mount /dev/nbd0 /srv; check");
    two.run("umount /srv; e2fsck -fn /dev/nbd0");
    two.run("mount /dev/nbd0 /srv; echo later >/srv/later; umount /srv; sync");
    println!("all are on node2; the filesystem is clean");

    one.power_on();
    one.until_ready();
    one.call("serve");
    two.call("until_in_sync");
    two.call("twindisk detach /dev/nbd0; twindisk demote");
    one.call("stop");
    two.call("stop");
    for machine in [&mut *one, &mut *two] {
        machine.shut_down();
    }
    let disks = [1, 2].map(|number| fs::read(lab.disk(number, 0)).expect("a disk"));
    assert!(
        disks[0][..SIZE] == disks[1][..SIZE],
        "the disks differ, though both were in sync and at rest"
    );
    println!("node1 came back and was brought up to date; both disks are equal");
}

/// Waits until so many files more are promised.
fn until_written(promised: &Path, writer: &Job, more: usize) {
    let before = count(promised);
    eventually(
        "files are written",
        || writer.output(),
        || {
            assert_eq!(writer.ended(), None, "{}", writer.output());
            (count(promised) >= before + more).then_some(())
        },
    );
}

fn twindisk(machine: &mut Machine, arguments: &str) {
    machine.call(&format!("twindisk {arguments}"));
}

/// Lines that are whole.
fn count(path: &Path) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.matches('\n').count()
}

const CONFIGURATION: &str = r#"
cluster = "machines"
secret = "0123456789abcdef0123456789abcdef"

[nodes.node1]
id = 1
address = "10.77.0.1:7800"

[nodes.node2]
id = 2
address = "10.77.0.2:7800"

[resource.r0]
client-buffers = "64MiB"
peer-buffers = "32MiB"
on.node1 = { backing = "/dev/ubda", metadata = "internal" }
on.node2 = { backing = "/dev/ubda", metadata = "internal" }
"#;

/// What the scripts in the machines call.
const FUNCTIONS: &str = r#"
supervisors() {
    pgrep -f 'attach r0 .*--supervise'
}

# File N holds the line N a thousand times. Its number is told once it is synced.
write_for_ever() {
    number=0
    while :; do
        number=$((number + 1))
        yes "line $number" | head -n 1000 >/srv/$number
        sync /srv/$number
        echo $number >>/job/shared/promised
    done
}

check() {
    while read -r number; do
        yes "line $number" | head -n 1000 | cmp - /srv/$number
    done </job/shared/promised
}
"#;
