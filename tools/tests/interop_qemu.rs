//! QEMU's programs and fio against a replicated device.

mod harness;

use std::{path::Path, thread, time::Duration};

use harness::{
    cluster::{ALPHA, BETA, Cluster},
    process::{pause, signal},
    programs::{command, have, output, run, told},
    random::{Random, seed},
};

#[test]
fn qemu_io_writes_and_reads_patterns() {
    if !have(&["qemu-io"]) {
        return;
    }
    let mut cluster = Cluster::pair("64MiB", "");
    qemu_io(
        &cluster.uri_text(ALPHA),
        &[
            "write -P 0xaa 0 1M",
            "write -f -P 0xbb 1M 64k",
            "write -P 0xcc 1049088 512",
            "aio_write -P 0xdd 4M 2M",
            "aio_write -P 0xee 8M 512k",
            "aio_flush",
            "write -z 16k 16k",
            "write -z -u 64k 64k",
            "discard 2M 1M",
            "flush",
        ],
    );
    let reads = [
        "read -P 0xaa 0 16k",
        "read -P 0 16k 16k",
        "read -P 0xaa 32k 32k",
        "read -P 0 64k 64k",
        "read -P 0xaa 128k 896k",
        "read -P 0xbb 1M 512",
        "read -P 0xcc 1049088 512",
        "read -P 0xbb 1049600 64512",
        "read -P 0xdd 4M 2M",
        "read -P 0xee 8M 512k",
    ];
    qemu_io(&cluster.uri_text(ALPHA), &reads);
    cluster.kill(ALPHA);
    cluster.fail_over(ALPHA, BETA);
    qemu_io(&cluster.uri_text(BETA), &reads);
}

fn qemu_io(uri: &str, commands: &[&str]) {
    let mut arguments = vec!["-f", "raw", uri];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    let text = run("qemu-io", &arguments);
    // It ends well even when a pattern is not found.
    assert!(
        !text.contains("fail") && !text.contains("rror"),
        "{commands:?}: {text}"
    );
}

#[test]
fn qemu_img_copies_and_compares() {
    if !have(&["qemu-img"]) {
        return;
    }
    let mut cluster = Cluster::pair("64MiB", "");
    let uri = cluster.uri_text(ALPHA);
    let file = cluster.path("patterns.raw");
    let bytes: Vec<u8> = {
        let mut random = Random::new(7);
        // A megabyte of noise, a megabyte of zeroes, and so on.
        (0..64_u64)
            .flat_map(|part| {
                let words = (1 << 20) / 8;
                let mut word = || if part % 2 == 0 { random.next() } else { 0 };
                (0..words)
                    .flat_map(|_| word().to_le_bytes())
                    .collect::<Vec<u8>>()
            })
            .collect()
    };
    std::fs::write(&file, bytes).expect("a file");
    let raw = ["-f", "raw", "-F", "raw"];
    let text = |path: &Path| path.display().to_string();
    let convert = ["convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw"];
    run("qemu-img", &[&convert[..], &[&text(&file), &uri]].concat());
    run(
        "qemu-img",
        &[&["compare"], &raw[..], &[&text(&file), &uri]].concat(),
    );
    // There and back through qcow2, which asks for extents and sends zeroes.
    let qcow = cluster.path("copy.qcow2");
    run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", &uri, &text(&qcow)],
    );
    run("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    let bench = [
        "bench",
        "-w",
        "-t",
        "none",
        "-f",
        "raw",
        "-c",
        "2000",
        "-d",
        "32",
        "--flush-interval=64",
    ];
    run("qemu-img", &[&bench[..], &[&uri]].concat());
    let back = ["convert", "-n", "-f", "qcow2", "-O", "raw"];
    run("qemu-img", &[&back[..], &[&text(&qcow), &uri]].concat());
    cluster.kill(ALPHA);
    cluster.fail_over(ALPHA, BETA);
    let uri = cluster.uri_text(BETA);
    run(
        "qemu-img",
        &[&["compare"], &raw[..], &[&text(&file), &uri]].concat(),
    );
}

#[test]
fn fio_verifies_while_the_standby_dies_and_returns() {
    if !have(&["fio"]) {
        return;
    }
    for io in ["direct", "cached"] {
        fio_verifies(io);
    }
}

fn fio_verifies(io: &str) {
    let times = 10;
    let mut random = Random::new(seed("TWINDISK_FIO_SEED"));
    let mut cluster = Cluster::pair_with("128MiB", "", |_| format!("io = \"{io}\""));
    let uri = cluster.uri_text(ALPHA);
    let fio = [
        "--name=verified",
        "--ioengine=nbd",
        &format!("--uri={uri}"),
        "--rw=randwrite",
        "--bsrange=4k-64k",
        "--size=96m",
        "--iodepth=16",
        "--fsync=64",
        "--verify=crc32c",
        "--verify_fatal=1",
        "--verify_backlog=512",
        "--verify_state_save=0",
        "--loops=1000",
        "--time_based",
        "--runtime=600",
    ];
    let mut running = command("fio")
        .args(fio)
        .current_dir(cluster.dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("fio runs");
    let writes = |cluster: &Cluster| {
        cluster.replica(ALPHA)["activity"]["writes"]
            .as_u64()
            .expect("a count")
    };
    for _ in 0..times {
        let before = writes(&cluster);
        cluster.wait_for(ALPHA, "writes go on", |cluster| {
            (writes(cluster) > before + 100).then_some(())
        });
        pause(&mut random, Duration::ZERO, Duration::from_millis(150));
        cluster.kill(BETA);
        cluster.until_suspended(ALPHA);
        cluster.serve(BETA);
        cluster.until_in_sync(ALPHA);
        assert!(
            running.try_wait().expect("it is ours").is_none(),
            "fio ended: {}",
            told(&running.wait_with_output().expect("it is ours"))
        );
    }
    // SIGINT: fio finishes what is in flight, verifies, and reports.
    signal(&running, nix::sys::signal::Signal::SIGINT);
    let told = told(&running.wait_with_output().expect("it is ours"));
    assert!(
        !told.contains("verify:") && told.contains("err= 0"),
        "{told}"
    );
    println!(
        "{}",
        told.lines()
            .filter(|line| line.contains("IOPS="))
            .collect::<Vec<_>>()
            .join("\n")
    );
    // All of it once more, written to the end and read back, and then on the other node.
    let whole = |uri: &str, what: &str| {
        let arguments = [
            "--name=whole",
            "--ioengine=nbd",
            &format!("--uri={uri}"),
            what,
            "--rw=write",
            "--bs=64k",
            "--size=96m",
            "--iodepth=8",
            "--end_fsync=1",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ];
        let done = output("fio", &arguments, Duration::from_secs(120));
        assert!(done.status.success(), "{}", harness::programs::told(&done));
    };
    whole(&uri, "--do_verify=1");
    thread::yield_now();
    cluster.kill(ALPHA);
    cluster.fail_over(ALPHA, BETA);
    whole(&cluster.uri_text(BETA), "--verify_only");
    cluster.serve(ALPHA);
    cluster.until_in_sync(BETA);
    cluster.compare_images();
}
