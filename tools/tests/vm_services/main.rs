//! The services of a resource on the real kernel: the agent attaches `/dev/nbd0`, mounts the filesystem and starts a
//! command where the resource is primary, and takes them down in reverse where it ceases to be.

#[path = "../harness/mod.rs"]
mod harness;

mod power;
mod site;

use std::{
    fs,
    time::{Duration, Instant},
};

use harness::{fio::longest_gap, programs::have, vm::PROGRAMS};
use site::{SIZE, Site};

/// How fio ends when it was stopped by SIGINT and had no error.
const STOPPED: i32 = 128;

#[test]
fn services_follow_the_primary() {
    let needed = [PROGRAMS, &["mkfs.ext4", "e2fsck", "mount", "fio"]].concat();
    if !have(&needed) {
        return;
    }
    let mut site = Site::running();
    site.call(1, "mounted && attached");
    site.call(2, "is_detached");
    serve_is_killed_beneath_fio(&site, 2);
    the_supervisor_of_the_device_is_killed(&site);
    power_is_lost(&mut site);
    there_is_a_switchover(&site);
    a_process_keeps_the_mount_busy(&site);
    a_mount_keeps_the_mount_busy(&site);
    serve_is_killed_and_stays_dead(&mut site);
    assert_eq!(site.reigns(), [1, 2, 1, 2, 1, 2]);
    assert_eq!(site.power.shots(), ["node1", "node1"]);
    all_is_there_in_the_end(site);
}

/// Nobody stops or starts a service: the device waits, and so does whoever uses it.
fn serve_is_killed_beneath_fio(site: &Site, times: u32) {
    // It runs until it is stopped: how long two kills take is not known.
    let fio = site.lab.machines[0].start_call(
        "fio --name=file --directory=/srv --ioengine=libaio --direct=1 --clocksource=clock_gettime \
            --rw=randwrite --bs=4k --size=16m --iodepth=4 --rate_iops=200 --fsync=32 --loops=100000 --time_based --runtime=1d \
            --verify=crc32c --verify_fatal=1 --verify_backlog=64 --verify_state_save=0 \
            --write_lat_log=/job/shared/fio --disable_slat=1 --disable_clat=1 &
        echo $! >/run/fio
        wait $!",
    );
    for _ in 0..times {
        site.until_written(1);
        assert_eq!(fio.ended(), None, "{}", fio.output());
        site.call(1, "kill_server; sleep 0.1; serve");
        site.until_written(1);
        site.until_in_sync(1);
    }
    site.call(1, "kill -INT $(cat /run/fio)");
    let code = harness::eventually("fio ends", || fio.output(), || fio.ended());
    assert_eq!(code, STOPPED, "{}\n{}", fio.output(), site.logs());
    let (gap, completed) = longest_gap(&site.lab.shared().join("fio_lat.1.log"));
    println!(
        "SIGKILL of serve under fio on ext4 on /dev/nbd0, {times} times: {completed} requests, the longest time without \
         one {:.2} s",
        gap.as_secs_f64()
    );
    // The kernel would look after what was under way on the dead connection after 30 s.
    assert!(gap < Duration::from_secs(20), "{gap:?}");
    site.call(1, "! grep 'stops service' /run/twindisk/node1-agent.log");
    site.check(1);
}

/// Nobody would replace the device's connection any more: the agent sees to it that somebody does.
fn the_supervisor_of_the_device_is_killed(site: &Site) {
    site.call(1, "kill -9 $(supervisors); kill_server; sleep 0.1; serve");
    let moment = Instant::now();
    site.until_written(1);
    println!(
        "SIGKILL of serve and of the device's supervisor: files are written again after {:.1} s",
        moment.elapsed().as_secs_f64()
    );
    site.call(1, "test $(supervisors | wc -l) = 1");
    site.until_in_sync(1);
    site.call(1, "! grep 'stops service' /run/twindisk/node1-agent.log");
    site.call(1, "! dmesg | grep 'I/O error'");
    site.check(1);
}

fn power_is_lost(site: &mut Site) {
    let moment = Instant::now();
    site.lose_power(1);
    tell("power loss", site.until_written(2) - moment);
    site.call(2, "mounted && attached");
    site.call(2, "dmesg | grep 'EXT4-fs (nbd0): recovery complete'");
    let files = site.check(2);
    println!("the journal was replayed; all {files} files that were synced are there");
    site.come_home(1);
}

fn there_is_a_switchover(site: &Site) {
    tell("switchover", switch(site, 2));
    site.call(2, "is_detached");
    assert_eq!(
        stopped(site, 2),
        ["writer", "mount /srv", "attach /dev/nbd0"]
    );
    site.call(1, "mounted && attached");
    site.call(1, "! dmesg | grep 'EXT4-fs (nbd0): recovery complete'");
    site.check(1);
}

/// It does not listen to SIGTERM.
fn a_process_keeps_the_mount_busy(site: &Site) {
    site.until_in_sync(1);
    site.call(
        1,
        "(trap '' TERM; cd /srv/files; exec setsid sleep 1000 >/dev/null 2>&1) &
        echo $! >/run/holder",
    );
    tell("switchover with a busy mount", switch(site, 1));
    site.call(1, "! kill -0 $(cat /run/holder)");
    site.call(
        1,
        "grep 'does not stop when asked: forced' /run/twindisk/node1-agent.log",
    );
    site.call(1, "is_detached");
    site.check(2);
}

/// Nothing can be killed to unmount it: the service goes on where it was.
fn a_mount_keeps_the_mount_busy(site: &Site) {
    site.until_in_sync(2);
    site.call(2, "mkdir /srv/inner; mount -t tmpfs inner /srv/inner");
    site.call(2, "! twindisk switchover");
    let given_up = "agent_says 'the switchover is given up: its services did not go down'";
    site.until(2, "the switchover is given up", given_up);
    site.until_written(2);
    site.call(1, "is_detached");
    site.call(2, "umount /srv/inner");
    switch(site, 2);
    site.check(1);
}

/// The filesystem cannot be unmounted while nobody answers for its device: only a shot ends that.
fn serve_is_killed_and_stays_dead(site: &mut Site) {
    site.until_in_sync(1);
    let moment = Instant::now();
    site.call(1, "kill_server");
    tell(
        "serve stays dead beneath a mount",
        site.until_written(2) - moment,
    );
    site.check(2);
    site.come_home(1);
}

fn all_is_there_in_the_end(mut site: Site) {
    site.call(1, "agent_stops");
    site.call(
        2,
        "agent_stops
        /job/shared/writer stop
        umount /srv
        e2fsck -fn /dev/nbd0
        twindisk detach /dev/nbd0
        twindisk demote",
    );
    for number in [1, 2] {
        site.call(number, "stop");
        site.lab.machines[number - 1].shut_down();
    }
    let disks = [1, 2].map(|number| fs::read(site.lab.disk(number, 0)).expect("a disk"));
    assert!(
        disks[0][..SIZE] == disks[1][..SIZE],
        "the disks differ, though both were in sync and at rest"
    );
}

/// Moves the role away from a machine. How long nobody wrote.
fn switch(site: &Site, from: usize) -> Duration {
    let moment = Instant::now();
    let switched = site.lab.machines[from - 1].start_call("twindisk switchover");
    let written = site.until_written(3 - from);
    let code = harness::eventually("an answer", String::new, || switched.ended());
    assert_eq!(code, 0, "{}", switched.output());
    written - moment
}

fn tell(what: &str, outage: Duration) {
    println!(
        "{what}: files are written on the other node after {:.1} s",
        outage.as_secs_f64()
    );
}

/// The services that the agent of a machine has stopped, in order.
fn stopped(site: &Site, number: usize) -> Vec<String> {
    let script = format!("grep -o 'stops service=.*' /run/twindisk/node{number}-agent.log");
    let lines = site.call(number, &script);
    let names = lines.lines().filter_map(|line| line.split('"').nth(1));
    names.map(str::to_owned).collect()
}
