//! Two nodes that replicate: roles, connections, verify, resize, events.

use std::fs;

use serde_json::Value;
use twindisk_nbd::client::Fua;

use crate::harness::{cluster::Cluster, process::assert_same};

#[test]
fn status_has_stable_names() {
    let cluster = Cluster::pair("32MiB", "");
    let text = cluster.ok("alpha", &["status", "--json"]);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["version"], 1);
    assert_eq!(status["cluster"], "test");
    assert_eq!(status["node"], "alpha");
    let resource = &status["resources"][0];
    assert_eq!(resource["name"], "r0");
    assert_eq!(resource["running"], true);
    let replica = &resource["replica"];
    assert_eq!(replica["role"], "primary");
    assert_eq!(replica["disk"], "UpToDate");
    assert_eq!(replica["size-bytes"], 32 << 20);
    assert_eq!(replica["export-open"], true);
    let peer = &replica["peers"][0];
    assert_eq!(peer["name"], "beta");
    assert_eq!(peer["in-sync"], true);
    assert_eq!(peer["disk"], "UpToDate");
    let table = cluster.ok("alpha", &["status"]);
    for part in [
        "primary",
        "UpToDate",
        "beta (C)",
        "established",
        "nbd+unix:///r0",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(
        !text.contains("0123456789abcdef"),
        "secrets never reach status"
    );
}

#[test]
fn latencies_are_told_on_both_sides() {
    let cluster = Cluster::pair("32MiB", "");
    let quiet = cluster.ok("beta", &["status"]);
    assert!(!quiet.contains("p50"), "nothing was done: {quiet}");
    let mut client = cluster.client("alpha");
    for _ in 0..10 {
        client.write(0, &[1; 4096], Fua::No).unwrap();
    }
    client.flush().unwrap();
    client.read(0, &mut [0; 4096]).unwrap();
    client.disconnect().unwrap();
    let count = |replica: &Value, at: &str| -> u64 {
        let histogram = replica.pointer(at).expect(at);
        let buckets = histogram["up-to-us"].as_object().expect(at);
        buckets.values().filter_map(Value::as_u64).sum()
    };
    let primary = cluster.replica("alpha");
    for (at, wanted) in [
        ("/latency/write/wait", 10),
        ("/latency/write/disk", 10),
        ("/latency/write/total", 10),
        ("/peers/0/latency/write", 10),
        ("/peers/0/latency/flush", 1),
        ("/latency/flush/total", 1),
        ("/latency/read/disk", 1),
        ("/latency/read/total", 1),
        ("/latency/apply/total", 0),
    ] {
        assert_eq!(count(&primary, at), wanted, "{at} of {primary}");
    }
    let standby = cluster.replica("beta");
    for (at, wanted) in [
        ("/latency/apply/wait", 10),
        ("/latency/apply/disk", 10),
        ("/latency/apply/total", 10),
        ("/latency/write/total", 0),
    ] {
        assert_eq!(count(&standby, at), wanted, "{at} of {standby}");
    }
    for (node, parts) in [
        ("alpha", ["ms since the start: write ", "(wait ", ", beta "]),
        ("beta", ["ms since the start: apply ", "(wait ", ", disk "]),
    ] {
        let table = cluster.ok(node, &["status"]);
        for part in parts {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
    }
}

#[test]
fn refusals_say_why_and_what_next() {
    let cluster = Cluster::pair("32MiB", "");
    let second = cluster.refused("beta", &["promote"]);
    assert!(second.contains("alpha"), "{second}");
    let nobody = cluster.refused("alpha", &["connect", "--peer", "gamma"]);
    assert!(nobody.contains("beta"), "{nobody}");
    let odd = cluster.refused("alpha", &["verify", "--from", "100"]);
    assert!(odd.contains("4096"), "{odd}");
    let unknown = cluster.run("alpha", &["promote", "r1"]);
    assert_eq!(unknown.code, 2, "{unknown:?}");
    let locked = cluster.run("alpha", &["metadata", "check"]);
    assert_eq!(locked.code, 1, "{locked:?}");
    assert!(
        locked.err.contains("is being served on node alpha"),
        "{locked:?}"
    );
    let twice = cluster.run("alpha", &["serve"]);
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(
        twice.err.contains("another process listens there"),
        "{twice:?}"
    );
}

#[test]
fn a_standby_lets_no_client_in_and_says_why() {
    let cluster = Cluster::pair("32MiB", "");
    let socket = cluster.path("beta/r0.sock");
    let uri = format!("nbd+unix:///r0?socket={}", socket.display())
        .parse()
        .unwrap();
    let refused = twindisk_nbd::client::Client::connect(&uri, &Default::default()).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("standby"), "{text}");
}

#[test]
fn switchover_there_and_back_keeps_the_data() {
    let mut cluster = Cluster::pair("32MiB", "");
    let mut client = cluster.client("alpha");
    client.write(4096, &[1; 8192], Fua::No).unwrap();
    client.flush().unwrap();
    client.disconnect().unwrap();
    let already = cluster.refused("alpha", &["switchover", "--to", "alpha"]);
    assert!(already.contains("primary already"), "{already}");
    let done = cluster.ok("alpha", &["switchover", "--to", "beta"]);
    assert!(done.contains("beta is primary in term"), "{done}");
    cluster.until("beta", "primary", |replica| replica["export-open"] == true);
    let standby = cluster.until("alpha", "standby", |replica| replica["role"] == "standby");
    assert_eq!(standby["disk"], "UpToDate");
    let mut client = cluster.client("beta");
    let mut data = vec![0; 8192];
    client.read(4096, &mut data).unwrap();
    assert_eq!(data, [1; 8192]);
    client.write(0, &[2; 4096], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.until_in_sync("beta");
    // Called on the standby it comes here.
    cluster.ok("alpha", &["switchover"]);
    cluster.until("alpha", "primary", |replica| replica["export-open"] == true);
    let mut data = vec![0; 4096];
    cluster.client("alpha").read(0, &mut data).unwrap();
    assert_eq!(data, [2; 4096]);
    cluster.ok("alpha", &["demote"]);
    cluster.stop("alpha");
    cluster.stop("beta");
    assert_same(&cluster.path("alpha.img"), &cluster.path("beta.img"));
}

#[test]
fn disconnected_it_goes_on_with_a_release_and_resyncs_when_connected() {
    let cluster = Cluster::pair("32MiB", "");
    cluster.ok("beta", &["disconnect"]);
    let primary = cluster.until("alpha", "alone", |replica| {
        replica["peers"][0]["in-sync"] == false
    });
    assert!(
        primary["suspended"].is_null(),
        "an orderly leave suspends nothing: {primary}"
    );
    let mut client = cluster.client("alpha");
    client.write(1 << 20, &[3; 65536], Fua::No).unwrap();
    client.flush().unwrap();
    let dirty = cluster.replica("alpha")["peers"][0]["dirty-bytes"]
        .as_u64()
        .unwrap();
    assert!(dirty >= 65536, "{dirty}");
    assert_eq!(cluster.replica("beta")["disk"], "Outdated");
    cluster.refused("beta", &["promote"]);
    cluster.ok("beta", &["connect"]);
    cluster.until_in_sync("alpha");
    assert_eq!(cluster.replica("alpha")["peers"][0]["dirty-bytes"], 0);
}

#[test]
fn verify_finds_what_was_changed_behind_its_back_and_repairs_it() {
    use std::os::unix::fs::FileExt;
    let mut cluster = Cluster::pair("32MiB", "");
    let equal_text = cluster.ok("alpha", &["verify", "--wait"]);
    assert!(equal_text.contains("0 blocks differ"), "{equal_text}");
    cluster.until_remembered();
    cluster.stop("beta");
    let image = fs::OpenOptions::new()
        .write(true)
        .open(cluster.path("beta.img"))
        .unwrap();
    image.write_all_at(&[9; 4096], 20 << 20).unwrap();
    image.sync_all().unwrap();
    drop(image);
    cluster.serve("beta");
    cluster.until_in_sync("alpha");
    let found = cluster.run("alpha", &["verify", "--wait"]);
    assert_eq!(found.code, 14, "{found:?}");
    assert!(found.out.contains("1 blocks differ"), "{found:?}");
    cluster.ok("alpha", &["verify", "--repair", "--wait"]);
    cluster.until_in_sync("alpha");
    cluster.ok("alpha", &["verify", "--wait"]);
    let in_sync = cluster.refused("alpha", &["resync", "--full"]);
    assert!(in_sync.contains("outdate"), "{in_sync}");
}

#[test]
fn it_grows_on_line() {
    let cluster = Cluster::pair("32MiB", "");
    for node in ["alpha", "beta"] {
        let image = fs::OpenOptions::new()
            .write(true)
            .open(cluster.path(&format!("{node}.img")))
            .unwrap();
        image.set_len(48 << 20).unwrap();
    }
    cluster.ok("alpha", &["resize"]);
    cluster.until("alpha", "the new size", |replica| {
        replica["size-bytes"] == 48 << 20
    });
    cluster.until("beta", "the new size", |replica| {
        replica["size-bytes"] == 48 << 20
    });
    cluster.until_in_sync("alpha");
    let mut client = cluster.client("alpha");
    assert_eq!(client.info().size_bytes, 48 << 20);
    client
        .write((48 << 20) - 4096, &[5; 4096], Fua::Yes)
        .unwrap();
}

#[test]
fn events_are_lines_of_json_in_the_file_and_live() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };
    let cluster = Cluster::pair("32MiB", "");
    let past = cluster.ok("alpha", &["events", "r0"]);
    let kinds: Vec<String> = past
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["event"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for kind in [
        "role",
        "connection",
        "resync-started",
        "resync-ended",
        "in-sync",
        "command",
    ] {
        assert!(
            kinds.iter().any(|found| found == kind),
            "{kind} is not in {kinds:?}"
        );
    }
    let mut follow = cluster
        .command("alpha", &["events", "--follow", "--recent", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    cluster.ok("alpha", &["demote"]);
    let demoted = lines
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|event| event["event"] == "role")
        .unwrap();
    assert_eq!(demoted["role"], "standby");
    follow.kill().unwrap();
    follow.wait().unwrap();
    let file = fs::read_to_string(cluster.path("alpha/events.jsonl")).unwrap();
    assert!(file.contains("\"role\":\"standby\""));
}
