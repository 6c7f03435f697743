//! What a program that drives the command line depends on: exit codes, answers in JSON, what is so already is done, and what
//! nobody waits for any more is not carried out.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use twindisk_nbd::client::Fua;

use crate::harness::cluster::{ALPHA, BETA, Cluster};

/// The exit code, which comes with what it means on the control socket.
fn code(cluster: &Cluster, node: &str, arguments: &[&str]) -> (i32, String) {
    let said = cluster.run(node, &[arguments, &["--json"]].concat());
    let answer: Value = serde_json::from_str(&said.out)
        .unwrap_or_else(|error| panic!("{node} {arguments:?}: {said:?}: {error}"));
    let refused = answer["refused"]["code"].as_str().unwrap_or_default();
    assert_eq!(
        said.code == 0,
        answer["done"]["message"].is_string(),
        "{said:?}"
    );
    (said.code, refused.to_owned())
}

#[test]
fn what_is_so_already_is_done() {
    let mut cluster = Cluster::pair("16MiB", "");
    assert_eq!(code(&cluster, ALPHA, &["promote"]).0, 0);
    assert_eq!(code(&cluster, BETA, &["demote"]).0, 0);
    cluster.kill(BETA);
    for _ in 0..2 {
        assert_eq!(code(&cluster, ALPHA, &["fenced", BETA]).0, 0);
    }
    assert_eq!(cluster.ok(ALPHA, &["score"]), "10000 primary\n");
}

#[test]
fn each_refusal_has_its_code() {
    let mut cluster = Cluster::pair("16MiB", "");
    let refused = |code: i32, word: &str| (code, word.to_owned());
    assert_eq!(cluster.ok(BETA, &["score", "--missing"]), "1000 standby\n");
    assert_eq!(
        code(&cluster, BETA, &["promote"]),
        refused(21, "peer-is-primary")
    );
    assert_eq!(
        code(&cluster, ALPHA, &["fenced", BETA]),
        refused(26, "peer-answers")
    );
    let met = cluster.replica(ALPHA)["peers"][0]["met"].clone();
    assert!(
        met.as_u64().is_some_and(|met| met < 1 << 53),
        "a number of JSON holds it: {met}"
    );

    // A right is missing; which one is told to programs, too.
    cluster.kill(ALPHA);
    cluster.until(BETA, "the loss", |replica| {
        replica["peers"][0]["connection"] == "connecting"
    });
    assert_eq!(code(&cluster, BETA, &["promote"]), refused(20, "no-right"));
    let began = Instant::now();
    assert_eq!(
        code(&cluster, BETA, &["promote", "--wait", "600ms"]).0,
        20,
        "nobody has brought one"
    );
    assert!(began.elapsed() > Duration::from_millis(400), "it waits");
    let beta = cluster.replica(BETA);
    let missing = &beta["promotion"]["missing"][0];
    assert_eq!(beta["promotion"]["code"], "no-right", "{beta}");
    assert_eq!(beta["promotion"]["score"], 1000, "{beta}");
    assert_eq!(missing["node"], ALPHA, "{beta}");
    assert!(missing["lost-ms"].as_u64().unwrap() > 400, "{beta}");
    let met = missing["met"].to_string();
    let lines = cluster.ok(BETA, &["score", "--missing"]);
    assert!(
        lines.starts_with(&format!("1000 standby\nmissing alpha {met} ")),
        "{lines}"
    );
    // What was done at another meeting proves nothing.
    let other = ["fenced", ALPHA, "--met", "1"];
    assert_eq!(code(&cluster, BETA, &other), refused(26, "peer-answers"));
    cluster.ok(BETA, &["fenced", ALPHA, "--met", &met]);
    cluster.ok(BETA, &["promote", "--wait", "5s"]);

    // A copy that has met nobody since its start is no primary by any receipt; a person may vouch for it.
    cluster.kill(BETA);
    cluster.serve(ALPHA);
    cluster.ok(ALPHA, &["fenced", BETA]);
    assert_eq!(
        code(&cluster, ALPHA, &["promote", "--wait", "30s"]),
        refused(22, "disk-not-up-to-date"),
        "at once"
    );
    assert_eq!(cluster.ok(ALPHA, &["score"]), "none standby\n");
}

#[test]
fn a_person_vouches_for_the_copy_that_came_back() {
    let mut cluster = Cluster::pair("16MiB", "");
    cluster.kill(ALPHA);
    cluster.kill(BETA);
    cluster.serve(BETA);
    let trust = ["trust", "--reason", "alpha burnt down"];
    assert_eq!(cluster.run(BETA, &trust).code, 2, "it is to be confirmed");
    cluster.ok(BETA, &[&trust[..], &["--confirm", "r0"]].concat());
    assert_eq!(code(&cluster, BETA, &["promote"]).0, 20, "all the same");
    let human = [
        "fenced",
        ALPHA,
        "--by",
        "human",
        "--reason",
        "I saw it burn",
    ];
    cluster.ok(BETA, &human);
    cluster.ok(BETA, &["promote"]);
    cluster.serve(ALPHA);
    cluster.until_in_sync(BETA);
}

/// Whoever asked has called it failed, and done something else since.
#[test]
fn what_nobody_waits_for_is_not_carried_out() {
    let cluster = Cluster::pair("16MiB", "");
    cluster.ok(ALPHA, &["demote"]);
    for command in ["status", "promote"] {
        cluster.pause(BETA);
        let said = cluster.run(BETA, &[command, "--timeout", "300ms"]);
        cluster.resume(BETA);
        assert_eq!(said.code, 25, "{said:?}");
        assert!(said.err.contains("says nothing for 300 ms"), "{said:?}");
    }
    thread::sleep(Duration::from_millis(500));
    assert_eq!(cluster.replica(BETA)["role"], "standby");
    let told = cluster.events_of(BETA, "command");
    let last = told.last().expect("it was asked");
    let outcome = last["outcome"].as_str().unwrap();
    assert!(outcome.contains("whoever asked has gone"), "{last}");
}

/// The fence device knows of a death seconds before the connection does.
#[test]
fn a_receipt_ends_a_suspension_before_the_silence_is_noticed() {
    let cluster = Cluster::pair("16MiB", "ping-interval = \"1s\"\npeer-timeout = \"20s\"\n");
    cluster.pause(BETA);
    let mut client = cluster.client(ALPHA);
    let began = Instant::now();
    thread::scope(|scope| {
        let write = scope.spawn(|| client.write(0, &[1; 4096], Fua::No));
        cluster.ok(ALPHA, &["fenced", BETA]);
        write.join().unwrap().expect("it goes on without beta");
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    cluster.resume(BETA);
    cluster.until_in_sync(ALPHA);
}

#[test]
fn suspended_writes_are_waited_for_and_then_dropped() {
    let mut cluster = Cluster::pair("16MiB", "");
    cluster.kill(BETA);
    cluster.until_suspended(ALPHA);
    let alpha = cluster.replica(ALPHA);
    assert_eq!(alpha["suspended"]["code"], "peer-lost", "{alpha}");
    assert_eq!(alpha["suspended"]["missing"][0]["node"], BETA, "{alpha}");
    let suspended = (24, "suspended".to_owned());
    assert_eq!(code(&cluster, ALPHA, &["demote"]), suspended);
    let began = Instant::now();
    cluster.ok(ALPHA, &["demote", "--abandon-after", "500ms"]);
    assert!(began.elapsed() > Duration::from_millis(400), "it waits");
    assert_eq!(cluster.ok(ALPHA, &["score"]), "1000 standby\n");
}

/// A mount on a device that waits for ever can't be unmounted: where a cluster manager looks after it, it fails in the end.
#[test]
fn what_is_suspended_for_too_long_fails_and_the_role_is_given_up() {
    let policy = "on-no-quorum = \"io-error\"\nno-quorum-timeout = \"1s\"";
    let alone = Cluster::new(&[ALPHA, BETA], policy);
    let said = alone.run(ALPHA, &["status"]);
    assert_eq!(said.code, 10, "{said:?}");
    assert!(said.err.contains("arbiter = \"external\""), "{said:?}");

    let mut cluster = Cluster::new(&[ALPHA, BETA], &format!("arbiter = \"external\"\n{policy}"));
    for (node, first) in [(ALPHA, &["--first"][..]), (BETA, &[])] {
        cluster.ok(node, &[&["init", "--size", "16MiB"], first].concat());
        cluster.serve(node);
    }
    cluster.ok(ALPHA, &["promote", "--anyway"]);
    cluster.until_in_sync(ALPHA);
    let mut client = cluster.client(ALPHA);
    client.write(0, &[1; 4096], Fua::No).expect("a write");
    cluster.kill(BETA);
    client
        .write(0, &[2; 4096], Fua::No)
        .expect_err("nobody answers for beta");
    cluster.until(ALPHA, "standby", |replica| replica["role"] == "standby");
    assert_eq!(cluster.ok(ALPHA, &["score"]), "1000 standby\n");
    let warnings = cluster.events_of(ALPHA, "warning");
    let told = |one: &Value| one["what"].as_str().unwrap().contains("on-no-quorum");
    assert!(warnings.iter().any(told), "{warnings:?}");
}

#[test]
fn who_decides_is_one() {
    let cluster = Cluster::pair("16MiB", "");
    cluster.edit("[resource.r0]", "[resource.r0]\narbiter = \"external\"");
    for arguments in [&["promote"][..], &["demote"], &["switchover"]] {
        let why = cluster.refused(ALPHA, arguments);
        assert!(why.contains("arbiter = \"external\""), "{why}");
    }
    cluster.ok(ALPHA, &["demote", "--anyway"]);
    cluster.ok(ALPHA, &["promote", "--anyway"]);
    cluster.edit("secret =", "agent = {}\nsecret =");
    let agent = cluster.run(ALPHA, &["agent"]);
    assert_eq!(agent.code, 10, "{agent:?}");
    assert!(agent.err.contains("a cluster manager decides"), "{agent:?}");
}

/// One process serves the host; each resource comes and goes on its own.
#[test]
fn a_resource_goes_down_and_comes_up_while_its_process_lives() {
    let cluster = Cluster::pair("16MiB", "");
    let pid = |node| -> Value {
        let said = cluster.ok(node, &["status", "--json"]);
        serde_json::from_str::<Value>(&said).unwrap()["pid"].clone()
    };
    let before = pid(BETA);
    cluster.ok(BETA, &["up"]); // It is.
    for _ in 0..2 {
        assert_eq!(code(&cluster, BETA, &["down"]).0, 0);
        assert_eq!(cluster.run(BETA, &["score"]).code, 12);
    }
    // It left in good order: the primary goes on without a word from anybody.
    let mut client = cluster.client(ALPHA);
    client.write(0, &[1; 4096], Fua::No).expect("alone");
    cluster.ok(BETA, &["outdate", "--offline"]);
    for _ in 0..2 {
        cluster.ok(BETA, &["up"]);
    }
    cluster.until_in_sync(ALPHA);

    // A primary that goes down leaves its role behind, and its clients.
    cluster.ok(ALPHA, &["down"]);
    client
        .write(0, &[2; 4096], Fua::No)
        .expect_err("it is down");
    cluster.ok(BETA, &["promote", "--wait", "10s"]);
    let mut client = cluster.client(BETA);
    client.write(0, &[3; 4096], Fua::No).expect("it is served");
    cluster.ok(ALPHA, &["up"]);
    cluster.until_in_sync(BETA);
    // With nothing left to serve the process stays, until it is told to end.
    cluster.ok(BETA, &["down"]);
    let refused = cluster.run(BETA, &["promote"]);
    assert!(refused.err.contains("twindisk up r0"), "{refused:?}");
    cluster.ok(BETA, &["up"]);
    assert_eq!(pid(BETA), before, "the same process all the time");
}

#[test]
fn orders_to_go_down_and_to_come_up_that_meet_leave_a_resource_that_can_be_told() {
    let cluster = Cluster::pair("16MiB", "");
    let mut client = cluster.client(ALPHA);
    for round in 0..6_u8 {
        client.write(0, &[round; 4096], Fua::No).expect("mirrored");
        let mut down = cluster.command(BETA, &["down"]).spawn().unwrap();
        if round % 2 == 0 {
            // Whoever has asked for it is gone: it is down, or it has never heard of that.
            thread::sleep(Duration::from_millis(u64::from(round) * 4));
            down.kill().unwrap();
        }
        let up = cluster.command(BETA, &["up"]).output().unwrap();
        down.wait().unwrap();
        cluster.ok(BETA, &["up"]);
        cluster.until_in_sync(ALPHA);
        assert!(up.status.success(), "{round}: {up:?}");
    }
    cluster.ok(BETA, &["down"]);
    assert_eq!(cluster.run(BETA, &["score"]).code, 12);
}
