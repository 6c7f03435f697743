//! The programs of this crate do what they are for, on little data and for moments, and leave nothing behind.
#![allow(
    clippy::unwrap_used,
    reason = "in tests a panic is an answer, in their helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use twindisk_benches::{
    contestants::{Contestant, Kind},
    fio,
    house::Process,
    loads,
};

#[test]
fn a_comparison_gives_a_table_json_and_a_picture_and_leaves_nothing() {
    if !have(&[
        "fio",
        "nbdkit",
        "qemu-storage-daemon",
        "qemu-nbd",
        "setpriv",
    ]) {
        return;
    }
    let Some(twindisk) = twindisk() else { return };
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    let mut peers = peers(dir.path());
    peers
        .args(["--rounds", "2", "--only", "write-4k-d1", "--contestants"])
        .arg("bare,two-files,quorum,twindisk,twindisk-a,twindisk-alone,twindisk-resync")
        .arg("--twindisk")
        .arg(twindisk);
    let output = peers.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for word in [
        "p99.9 us",
        ": quorum",
        ": two-files",
        "| twindisk-alone",
        "load average",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }

    let results: Value = serde_json::from_slice(&fs::read(at("p.json")).unwrap()).unwrap();
    let turns = results["turns"].as_array().unwrap();
    // Nobody has a second turn before everybody had one.
    let rounds: Vec<u64> = turns
        .iter()
        .map(|turn| turn["round"].as_u64().unwrap())
        .collect();
    assert_eq!(rounds, [[1; 7], [2; 7]].concat());
    for turn in turns {
        assert!(turn["rate"].as_f64().unwrap() > 0.0, "{turn}");
        let cpu = &turn["cpu_us"];
        // On a busy machine a client may come to nothing in so short a time.
        assert!(cpu["client"].as_f64() >= Some(0.0), "{turn}");
        let servers = ["server", "second"].map(|process| cpu[process].as_f64());
        match turn["contestant"].as_str().unwrap() {
            "bare" | "two-files" => assert_eq!(servers, [None, None], "{turn}"),
            // Whoever has left takes no part.
            "twindisk-alone" => assert!(servers[0] > servers[1].map(|cpu| 20.0 * cpu), "{turn}"),
            _ => assert!(servers.iter().all(|cpu| *cpu > Some(0.0)), "{turn}"),
        }
    }
    assert!(fs::read_to_string(at("p.svg")).unwrap().contains("</svg>"));
    nothing_is_left(dir.path());
}

#[test]
fn a_load_on_two_files_writes_both_of_them_and_is_not_read() {
    if !have(&["fio", "setpriv"]) {
        return;
    }
    let dir = scratch();
    let two = Contestant::start(Kind::TwoFiles, None, dir.path(), 4).unwrap();
    let read = || -> Vec<Vec<u8>> {
        let files = two.images.iter();
        files.map(|file| fs::read(file).unwrap()).collect()
    };
    let before = read();
    assert_eq!(before.len(), 2);
    let load = loads::matching("write-4k-d16").unwrap()[0];
    let plan = fio::Plan {
        load: &load,
        target: &two.target,
        mib: 4,
        time: Duration::from_millis(200),
        jobs: 1,
        dir: dir.path(),
    };
    let ran = fio::run(&plan).unwrap();
    assert!(ran.rate > 0.0 && ran.p99_us > 0.0, "{ran:?}");
    for (before, after) in before.iter().zip(read()) {
        assert!(*before != after, "one file of the two was not written");
    }
    fs::remove_dir_all(dir.path().join(&two.name)).unwrap();

    let mut peers = peers(dir.path());
    peers.args([
        "--rounds",
        "1",
        "--only",
        "d1",
        "--contestants",
        "two-files,bare",
    ]);
    let output = peers.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let results = fs::read(dir.path().join("p.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    let turns = results["turns"].as_array().unwrap().iter();
    let turns: Vec<[&str; 2]> = turns
        .map(|turn| ["load", "contestant"].map(|key| turn[key].as_str().unwrap()))
        .collect();
    assert!(turns.contains(&["read-4k-d1", "bare"]), "{turns:?}");
    assert!(turns.contains(&["write-4k-d1", "two-files"]), "{turns:?}");
    assert!(!turns.contains(&["read-4k-d1", "two-files"]), "{turns:?}");
    nothing_is_left(dir.path());
}

#[test]
fn nothing_is_left_of_a_comparison_that_is_broken_off() {
    if !have(&["fio", "qemu-nbd", "setpriv"]) {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let dir = scratch();
        let mut peers = peers(dir.path());
        peers.args(["--rounds", "10000", "--contestants", "qemu-nbd"]);
        let mut peers = peers
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // It measures when the first results are there.
        eventually("results", || dir.path().join("p.json").exists());
        assert!(!ours(dir.path()).is_empty());
        kill(Pid::from_raw(peers.id().cast_signed()), signal).unwrap();
        peers.wait().unwrap();
        if signal == Signal::SIGKILL {
            // Nobody was there any more to remove files.
            eventually("their death", || ours(dir.path()).is_empty());
        } else {
            nothing_is_left(dir.path());
        }
    }
}

#[test]
fn what_does_not_end_is_not_waited_for() {
    if !have(&["setpriv", "sleep"]) {
        return;
    }
    let dir = scratch();
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let mut sleep = Process::start("sleep", &sleep, &dir.path().join("log")).unwrap();
    let why = sleep.end_within(Duration::from_millis(100)).unwrap_err();
    assert!(why.0.contains("sleep: no end within"), "{why}");
    kill(sleep.pid(), Signal::SIGTERM).unwrap();
    let status = sleep.end_within(Duration::from_secs(60)).unwrap();
    assert!(!status.success(), "{status}");
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let dir = scratch();
    let output = peers(dir.path())
        .args(["--contestants", "drbd"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(told(&output).contains("quorum-direct"), "{}", told(&output));
}

#[test]
fn an_interruption_is_seen() {
    if !have(&["nbdkit", "qemu-storage-daemon", "ip", "tc", "setpriv"]) {
        return;
    }
    let Some(twindisk) = twindisk() else { return };
    if !nix::unistd::geteuid().is_root() {
        missing("root, for a cable that can be cut");
        return;
    }
    let dir = scratch();
    let outage = |who: &str, patience: &str| {
        let mut stalls = Command::new(env!("CARGO_BIN_EXE_stalls"));
        stalls
            .args([
                "--only",
                "hangs",
                "--contestants",
                who,
                "--patience",
                patience,
            ])
            .args(["--seconds", "6", "--size", "16", "--dir"])
            .arg(dir.path())
            .arg("--json")
            .arg(dir.path().join("s.json"))
            .arg("--twindisk")
            .arg(&twindisk);
        let output = stalls.output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let results = fs::read(dir.path().join("s.json")).unwrap();
        let results: Value = serde_json::from_slice(&results).unwrap();
        let outcome = &results["outcomes"][0];
        assert!(outcome["before"]["writes"].as_u64() > Some(10), "{outcome}");
        outcome["outage_seconds"].as_f64()
    };
    assert_eq!(outage("quorum", "8"), None, "it waits for ever");
    // One second of silence comes before the shot.
    let seconds = outage("fast-agents", "90");
    assert!(seconds > Some(0.9), "{seconds:?}");
    nothing_is_left(dir.path());
}

#[test]
fn what_grows_is_measured() {
    if !have(&["fio", "setpriv"]) {
        return;
    }
    let Some(twindisk) = twindisk() else { return };
    let dir = scratch();
    let mut scale = Command::new(env!("CARGO_BIN_EXE_scale"));
    scale
        .args([
            "connections",
            "device",
            "resync",
            "resources",
            "--contestants",
            "bare",
        ])
        .args(["--largest", "16", "--resources", "1", "--seconds", "0.2"])
        .args(["--rounds", "1", "--size", "16", "--dir"])
        .arg(dir.path())
        .arg("--json")
        .arg(dir.path().join("c.json"))
        .arg("--svg")
        .arg(dir.path().join("c.svg"))
        .arg("--twindisk")
        .arg(twindisk);
    let output = scale.output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let results = fs::read(dir.path().join("c.json")).unwrap();
    let results: Value = serde_json::from_slice(&results).unwrap();
    let curves = results["curves"].as_array().unwrap();
    let rows = |title: &str| -> Vec<Value> {
        let named = |curve: &&Value| curve["title"].as_str().unwrap().contains(title);
        let curve = curves.iter().find(named).unwrap();
        curve["rows"].as_array().unwrap().clone()
    };
    assert_eq!(rows("by connections").len(), 4);
    assert_eq!(rows("by number of resources").len(), 1);
    let picture = fs::read_to_string(dir.path().join("c.svg")).unwrap();
    let lines = picture.matches("<polyline").count();
    assert_eq!(lines, 2, "a rate and a p99 by connections: {picture}");
    for row in rows("A resync") {
        // It may be over before the application begins: the second column tells.
        let known = if row["name"] == "no application" {
            0..2
        } else {
            2..8
        };
        let values = row["values"].as_array().unwrap().get(known).unwrap();
        assert!(
            values.iter().all(|value| value.as_f64() > Some(0.0)),
            "{row}"
        );
    }
    let sizes = rows("by size of the device");
    let names: Vec<&str> = sizes
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["1 GiB", "16 GiB"]);
    for row in &sizes {
        let values = row["values"].as_array().unwrap();
        assert!(
            values.iter().all(|value| value.as_f64() >= Some(0.0)),
            "{row}"
        );
    }
    // 32 KiB of bitmap per GiB.
    let metadata = |row: &Value| row["values"][3].as_f64().unwrap();
    let more = metadata(&sizes[1]) - metadata(&sizes[0]);
    assert!(more > 0.45, "{results}");
    nothing_is_left(dir.path());
}

/// A comparison on 16 MiB, its turns a fifth of a second.
fn peers(dir: &Path) -> Command {
    let mut peers = Command::new(env!("CARGO_BIN_EXE_peers"));
    peers
        .args(["--seconds", "0.2", "--size", "16", "--dir"])
        .arg(dir)
        .arg("--json")
        .arg(dir.join("p.json"))
        .arg("--svg")
        .arg(dir.join("p.svg"));
    peers
}

/// On the disk of the tree: the default place of temporary files may know no direct I/O.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Neither a process nor a directory.
fn nothing_is_left(dir: &Path) {
    assert_eq!(ours(dir), Vec::<String>::new());
    let folders = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    assert_eq!(folders, Vec::<PathBuf>::new());
}

/// Command lines of processes that name a scratch directory of a program.
fn ours(dir: &Path) -> Vec<String> {
    let mark = dir.join("twindisk-bench.").display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    processes.filter(|line| line.contains(&mark)).collect()
}

/// The binary that the tests of `tools` run.
fn twindisk() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_peers")).parent().unwrap();
    let found = Some(target.join("twindisk")).filter(|path| path.exists());
    if found.is_none() {
        missing("twindisk: `cargo build` makes it");
    }
    found
}

fn have(programs: &[&str]) -> bool {
    let lacking = programs.iter().find(|program| {
        let told = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        !told.unwrap().status.success()
    });
    lacking.is_none_or(|program| missing(program))
}

/// Aloud, and never in CI.
fn missing(what: &str) -> bool {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "CI=true, and this is missing: {what}");
    println!("NOT TESTED: this is missing here: {what}");
    false
}

fn eventually(what: &str, look: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < deadline, "{what}: not in a minute");
        thread::sleep(Duration::from_millis(10));
    }
}

fn told(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams
        .map(|stream| String::from_utf8_lossy(stream).into_owned())
        .concat()
}
