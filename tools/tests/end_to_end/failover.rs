//! Processes that die: suspended writes, receipts, promotion, the return of the old primary.

use std::{sync::mpsc, thread, time::Duration};

use twindisk_nbd::client::Fua;

use crate::harness::{
    cluster::Cluster,
    process::{assert_same, run},
};

#[test]
fn a_dead_primary_is_replaced_only_with_a_receipt() {
    let mut cluster = Cluster::pair("32MiB", "");
    let mut client = cluster.client("alpha");
    for block in 0..64_u64 {
        client
            .write(block * 4096, &[block as u8 + 1; 4096], Fua::No)
            .unwrap();
    }
    cluster.kill("alpha");
    cluster.until("beta", "the loss", |replica| {
        replica["peers"][0]["connection"] == "connecting"
    });
    let refusal = cluster.refused("beta", &["promote"]);
    assert!(refusal.contains("receipt --fenced"), "{refusal}");
    let needs = cluster.replica("beta")["promote-needs"].clone();
    assert!(!needs.as_array().unwrap().is_empty(), "{needs}");
    let said = cluster.ok(
        "beta",
        &[
            "receipt",
            "--fenced",
            "--about",
            "alpha",
            "--reason",
            "killed by the test",
        ],
    );
    assert!(said.contains("alpha"), "{said}");
    cluster.ok("beta", &["promote"]);
    cluster.until("beta", "open", |replica| replica["export-open"] == true);
    let mut client = cluster.client("beta");
    for block in 0..64_u64 {
        let mut data = vec![0; 4096];
        client.read(block * 4096, &mut data).unwrap();
        assert_eq!(data, [block as u8 + 1; 4096], "block {block}");
    }
    client.write(0, &[99; 4096], Fua::Yes).unwrap();
    drop(client);

    cluster.serve("alpha");
    cluster.until_in_sync("beta");
    let back = cluster.replica("alpha");
    assert_eq!(back["role"], "standby");
    assert_eq!(back["disk"], "UpToDate");
    cluster.ok("beta", &["demote"]);
    cluster.stop("alpha");
    cluster.stop("beta");
    assert_same(&cluster.path("alpha.img"), &cluster.path("beta.img"));
}

#[test]
fn a_primary_that_lost_its_standby_waits_for_a_receipt() {
    let mut cluster = Cluster::pair("32MiB", "");
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 4096], Fua::No).unwrap();
    cluster.kill("beta");
    let suspended = cluster.until("alpha", "suspended", |replica| {
        !replica["suspended"].is_null()
    });
    assert!(
        suspended["suspended"]["release"]
            .as_str()
            .unwrap()
            .contains("receipt"),
        "{suspended}"
    );
    assert!(
        cluster
            .ok("alpha", &["status"])
            .contains("I/O IS SUSPENDED")
    );
    let (done, answered) = mpsc::channel();
    let writer = thread::spawn(move || {
        client.write(4096, &[2; 4096], Fua::No).unwrap();
        done.send(()).unwrap();
        client
    });
    // The write is on its way and must not be acknowledged: it is seen to wait.
    cluster.until("alpha", "the write waiting", |replica| {
        replica["activity"]["requests"].as_u64() > Some(0)
    });
    assert!(answered.try_recv().is_err(), "acknowledged without a right");
    cluster.ok(
        "alpha",
        &["receipt", "--fenced", "--reason", "killed by the test"],
    );
    answered.recv_timeout(Duration::from_secs(30)).unwrap();
    drop(writer.join().unwrap());
    cluster.until("alpha", "going on", |replica| {
        replica["suspended"].is_null()
    });
    cluster.serve("beta");
    cluster.until_in_sync("alpha");
}

#[test]
fn continue_goes_on_alone_and_says_that_it_is_unsafe() {
    let mut cluster = Cluster::pair("32MiB", "on-peer-loss = \"continue\"");
    cluster.kill("beta");
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 4096], Fua::Yes).unwrap();
    assert_eq!(cluster.replica("alpha")["on-peer-loss"], "continue");
    assert!(cluster.ok("alpha", &["status"]).contains("UNSAFE"));
}

#[test]
fn a_forced_promotion_forks_and_only_a_person_mends_it() {
    let mut cluster = Cluster::pair("32MiB", "");
    // Both are cut from each other without either being dead.
    cluster.kill("beta");
    cluster.until("alpha", "suspended", |replica| {
        !replica["suspended"].is_null()
    });
    cluster.ok(
        "alpha",
        &[
            "receipt",
            "--force",
            "--reason",
            "a test",
            "--confirm",
            "r0",
        ],
    );
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 4096], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.kill("alpha");
    cluster.serve("beta");
    cluster.refused("beta", &["promote"]);
    cluster.ok(
        "beta",
        &[
            "promote",
            "--force",
            "--reason",
            "a test",
            "--confirm",
            "r0",
        ],
    );
    cluster.until("beta", "open", |replica| replica["export-open"] == true);
    let mut client = cluster.client("beta");
    client.write(4096, &[2; 4096], Fua::Yes).unwrap();
    client.disconnect().unwrap();

    cluster.serve("alpha");
    for node in ["alpha", "beta"] {
        cluster.until(node, "split brain", |replica| {
            replica["peers"][0]["connection"] == "split-brain"
        });
    }
    cluster.ok(
        "beta",
        &["resolve", "--discard", "alpha", "--confirm", "r0"],
    );
    cluster.until_in_sync("beta");
    let mut data = vec![7; 8192];
    cluster.client("beta").read(0, &mut data).unwrap();
    assert_eq!(data[..4096], [0; 4096], "alpha's change is given up");
    assert_eq!(data[4096..], [2; 4096]);
    let kept = std::fs::read_dir(cluster.path("alpha"))
        .unwrap()
        .any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("discard")
        });
    assert!(kept, "the given-up blocks are kept in a file");
}

#[test]
fn the_demo_proves_it() {
    let said = run(&["demo", "--seconds", "1", "--size", "32MiB", "--seed", "1"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("PROVED"), "{said:?}");
}

#[test]
fn a_dead_process_on_a_living_host_is_released_by_its_metadata() {
    let mut cluster = Cluster::pair("32MiB", "");
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 4096], Fua::No).unwrap();
    let served = cluster.refused("alpha", &["outdate", "--offline"]);
    assert!(served.contains("is being served"), "{served}");
    cluster.kill("alpha");
    let said = cluster.ok("alpha", &["outdate", "--offline"]);
    assert!(
        said.contains("receipt r0 --released --about alpha"),
        "{said}"
    );
    cluster.until("beta", "the loss", |replica| {
        replica["peers"][0]["connection"] == "connecting"
    });
    cluster.ok("beta", &["receipt", "--released", "--about", "alpha"]);
    cluster.ok("beta", &["promote"]);
    let mut data = vec![0; 4096];
    cluster.until("beta", "open", |replica| replica["export-open"] == true);
    cluster.client("beta").read(0, &mut data).unwrap();
    assert_eq!(data, [1; 4096]);
    cluster.serve("alpha");
    cluster.refused("alpha", &["promote"]);
    cluster.until_in_sync("beta");
    assert_eq!(cluster.replica("alpha")["disk"], "UpToDate");
}

#[test]
fn a_standby_that_was_outdated_releases_the_primary() {
    let mut cluster = Cluster::pair("32MiB", "");
    cluster.kill("beta");
    cluster.until("alpha", "suspended", |replica| {
        !replica["suspended"].is_null()
    });
    cluster.ok("beta", &["outdate", "--offline"]);
    cluster.ok("alpha", &["receipt", "--released", "--about", "beta"]);
    cluster.until("alpha", "going on", |replica| {
        replica["suspended"].is_null()
    });
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 4096], Fua::Yes).unwrap();
}

#[test]
fn writes_in_flight_at_the_loss_are_answered_after_the_receipt() {
    let mut cluster = Cluster::pair("32MiB", "");
    let mut client = cluster.client("alpha");
    let (progress, written) = mpsc::channel();
    let writer = thread::spawn(move || {
        for round in 0..u64::MAX {
            client
                .write(round % 1024 * 4096, &[1; 4096], Fua::No)
                .unwrap();
            if progress.send(round).is_err() {
                return;
            }
        }
    });
    written.recv_timeout(Duration::from_secs(30)).unwrap();
    cluster.kill("beta");
    cluster.until("alpha", "suspended", |replica| {
        !replica["suspended"].is_null()
    });
    while written.try_recv().is_ok() {}
    cluster.ok(
        "alpha",
        &["receipt", "--fenced", "--reason", "killed by the test"],
    );
    written.recv_timeout(Duration::from_secs(30)).unwrap();
    drop(written);
    writer.join().unwrap();
}
