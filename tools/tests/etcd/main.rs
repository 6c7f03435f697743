//! etcd as the keeper of the records, with real processes: of two claims one wins, whatever dies in the middle, and what is
//! not to be believed is not.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod proof;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use harness::{
    etcd::{Etcd, PROGRAMS, Plan},
    eventually,
    process::{clean_command, pause, said},
    programs::have,
    random::Random,
    register::{ask, asked, next, refused, swap},
};
use nix::sys::signal::Signal;
use twindisk_etcd::{Access, Seal};
use twindisk_witness::{Answer, Ask, Nonce, Record, Version};

const SECRET: &[u8] = b"the secret of the cluster";
const KEY: &str = "/twindisk/db/r0";

/// An agent waits so long, in the default profile.
const AGENT: Duration = Duration::from_secs(1);

fn access(endpoints: Vec<String>) -> Access {
    Access {
        endpoints,
        prefix: "/twindisk/".to_owned(),
        ca_file: None,
        certificate: None,
        user: None,
    }
}

fn client(access: Access) -> twindisk_etcd::Etcd {
    twindisk_etcd::Etcd::new(access, "db", Seal::new(SECRET, "db"))
}

fn of(etcd: &Etcd) -> twindisk_etcd::Etcd {
    client(access(etcd.endpoints()))
}

/// Why there is no answer.
fn fault(access: Access) -> String {
    asked(&client(access), None, Ask::Read, 5 * AGENT).unwrap_err()
}

fn version(record: &Record) -> Option<Version> {
    Some(record.stamp.version)
}

#[test]
fn of_two_claims_of_one_record_one_wins() {
    if !have(PROGRAMS) {
        return;
    }
    let etcd = Etcd::start(Plan::ONE);
    let nodes = [of(&etcd), of(&etcd)];
    assert_eq!(ask(&nodes[0], None, Ask::Read), Some(Answer::Held(None)));
    let mut held: Option<Record> = None;
    for round in 0..20 {
        let from = held.as_ref();
        let answers = thread::scope(|scope| {
            let racers = [0, 1].map(|node: usize| {
                let (nodes, nonce) = (&nodes, 1 + 2 * round + node as u64);
                scope.spawn(move || swap(&nodes[node], from, nonce))
            });
            racers.map(|racer| racer.join().unwrap())
        });
        let won = answers
            .iter()
            .filter(|(to, answer)| *answer == Some(Answer::Done(to.clone())));
        let won: Vec<&Record> = won.map(|(to, _)| to).collect();
        let [won] = won.as_slice() else {
            panic!("{answers:?}");
        };
        let lost = Some(Answer::Lost(Some((*won).clone())));
        assert!(
            answers.iter().any(|(_, answer)| *answer == lost),
            "{answers:?}"
        );
        // Its answer was lost: who asks again is told that it is done.
        let nonce = won.stamp.nonce.0;
        let (_, again) = swap(&nodes[0], from, nonce);
        assert_eq!(again, Some(Answer::Done((*won).clone())));
        held = Some((*won).clone());
    }
    let said = etcd.ctl(&["get", "--keys-only", "--prefix", "/"]);
    assert_eq!(said.trim(), KEY);
}

/// What two nodes were told that is done: whose, by version.
type Done = Mutex<BTreeMap<Version, Nonce>>;

/// Claims until it is told to stop: reads, and has the next one held. Never does it read less than it was told before.
fn claim(client: &twindisk_etcd::Etcd, node: u64, done: &Done, stop: &AtomicBool) {
    let (mut known, mut nonce) = (None, node);
    while !stop.load(Ordering::Relaxed) {
        let held = match asked(client, known, Ask::Read, AGENT) {
            Ok(Answer::Held(held)) => held,
            Ok(other) => panic!("{other:?}"),
            Err(_) => continue,
        };
        known = held.as_ref().map(|record| record.stamp.version).max(known);
        nonce += 2;
        let (to, swap) = next(held.as_ref(), nonce);
        match asked(client, known, swap, AGENT) {
            Ok(Answer::Done(record)) => {
                assert_eq!(record, to);
                known = version(&to);
                let other = done
                    .lock()
                    .unwrap()
                    .insert(to.stamp.version, to.stamp.nonce);
                assert_eq!(other, None, "two have won {:?}", to.stamp.version);
            }
            // The other one was quicker; or it is not known.
            Ok(Answer::Lost(_)) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_leader_that_is_killed_in_the_middle_of_claims_costs_none_of_them() {
    if !have(PROGRAMS) {
        return;
    }
    let mut etcd = Etcd::start(Plan::THREE);
    let nodes = [of(&etcd), of(&etcd)];
    let (done, stop) = (Done::default(), AtomicBool::new(false));
    let mut random = Random::new(3);
    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        for (node, client) in (0..).zip(&nodes) {
            let (done, stop) = (&done, &stop);
            scope.spawn(move || claim(client, node, done, stop));
        }
        let count = || done.lock().unwrap().len();
        for _ in 0..4 {
            let before = count();
            eventually(
                "claims",
                || etcd.logs(),
                || (count() > before + 20).then_some(()),
            );
            pause(
                &mut random,
                Duration::from_millis(1),
                Duration::from_millis(100),
            );
            let leader = etcd.leader();
            let moment = Instant::now();
            etcd.kill(leader);
            let before = count();
            eventually(
                "claims after it",
                || etcd.logs(),
                || (count() > before + 5).then_some(()),
            );
            longest = longest.max(moment.elapsed());
            etcd.run(leader);
            etcd.until_served();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // What was told last is there, or what came after it.
    let done = done.into_inner().unwrap();
    let (last, nonce) = done.last_key_value().unwrap();
    let Some(Answer::Held(Some(held))) = ask(&nodes[0], Some(*last), Ask::Read) else {
        panic!("nothing is held");
    };
    assert!(held.stamp.version > *last || held.stamp.nonce == *nonce);
    println!("{} claims; at most {longest:?} without one", done.len());
}

#[test]
fn one_that_hangs_costs_half_of_the_patience_once() {
    if !have(PROGRAMS) {
        return;
    }
    let etcd = Etcd::start(Plan::THREE);
    let leader = etcd.leader();
    let hangs = (leader + 1) % 3;
    let mut endpoints = etcd.endpoints();
    endpoints.swap(0, hangs);
    let client = client(access(endpoints));
    etcd.signal(hangs, Signal::SIGSTOP);
    let patience = 4 * AGENT;
    let mut spent = Vec::new();
    for _ in 0..2 {
        let moment = Instant::now();
        let answer = asked(&client, None, Ask::Read, patience);
        assert_eq!(answer, Ok(Answer::Held(None)));
        spent.push(moment.elapsed());
    }
    etcd.signal(hangs, Signal::SIGCONT);
    assert!(spent[0] >= patience / 2 && spent[0] < patience, "{spent:?}");
    assert!(spent[1] < patience / 2, "{spent:?}");
}

#[test]
fn without_a_majority_nothing_is_told() {
    if !have(PROGRAMS) {
        return;
    }
    let mut etcd = Etcd::start(Plan::THREE);
    let client = of(&etcd);
    let (first, answer) = swap(&client, None, 1);
    assert_eq!(answer, Some(Answer::Done(first.clone())));
    let leader = etcd.leader();
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    for member in &others {
        etcd.kill(*member);
    }
    let why = asked(&client, version(&first), Ask::Read, 3 * AGENT).unwrap_err();
    assert!(
        why.contains("in time") || why.contains("no leader"),
        "{why}"
    );
    assert!(why.contains("can't be reached"), "{why}");
    etcd.run(others[0]);
    etcd.until_served();
    let held = Some(Answer::Held(Some(first)));
    eventually(
        "an answer",
        || etcd.logs(),
        || (ask(&client, None, Ask::Read) == held).then_some(()),
    );
}

/// Has the record begin anew, as the primary does with its standby in sync.
fn adopt(client: &twindisk_etcd::Etcd, from: Option<&Record>, epoch: u64) -> Record {
    let mut to = Record::first(Nonce(epoch), 9, vec![0, 1], 0);
    to.stamp.version.epoch = epoch;
    let from = from.map(|record| record.stamp);
    let adopt = Ask::Adopt {
        from,
        to: to.clone(),
    };
    assert_eq!(ask(client, None, adopt), Some(Answer::Done(to.clone())));
    to
}

#[test]
fn a_restored_backup_is_noticed() {
    if !have(PROGRAMS) {
        return;
    }
    let mut etcd = Etcd::start(Plan::ONE);
    let client = of(&etcd);
    let (first, _) = swap(&client, None, 1);
    let backup = etcd.save("backup");
    let (second, _) = swap(&client, Some(&first), 2);
    // The same names give the same ids, and a lower revision.
    etcd.restore(&backup, "etcd-cluster");
    let why = refused(&client, version(&second), Ask::Read);
    assert!(why.contains("rolled back"), "{why}");
    // From now on for everybody, also who has not seen the later one.
    let (_, claim) = next(Some(&first), 3);
    refused(&client, None, claim);
    let adopted = adopt(&client, Some(&first), 2);
    let held = Some(Answer::Held(Some(adopted.clone())));
    assert_eq!(ask(&client, version(&adopted), Ask::Read), held);
    // Where it becomes an etcd of its own that is seen without anybody's memory.
    let backup = etcd.save("second");
    etcd.restore(&backup, "another");
    let why = refused(&client, None, Ask::Read);
    assert!(why.contains("another etcd"), "{why}");
    let adopted = adopt(&client, Some(&adopted), 3);
    // Emptied, it is no new one for who has seen what was there.
    etcd.ctl(&["del", "--prefix", "/twindisk/"]);
    let why = refused(&client, version(&adopted), Ask::Read);
    assert!(why.contains("it holds no record"), "{why}");
}

#[test]
fn what_others_write_there_is_not_believed() {
    if !have(PROGRAMS) {
        return;
    }
    let etcd = Etcd::start(Plan::ONE);
    let client = of(&etcd);
    let (first, _) = swap(&client, None, 1);
    // Another cluster of the same name, with the same resource.
    let namesake = Seal::new(b"the secret of another one", "db");
    let namesake = twindisk_etcd::Etcd::new(access(etcd.endpoints()), "db", namesake);
    let why = refused(&namesake, None, Ask::Read);
    assert!(why.contains("another secret") && why.contains(KEY), "{why}");
    let held = Some(Answer::Held(Some(first)));
    assert_eq!(ask(&client, None, Ask::Read), held, "it is left alone");
    // Other clusters have other keys.
    let mail =
        twindisk_etcd::Etcd::new(access(etcd.endpoints()), "mail", Seal::new(SECRET, "mail"));
    assert_eq!(ask(&mail, None, Ask::Read), Some(Answer::Held(None)));
    for garbage in ["", "garbage", "TWARB1"] {
        etcd.ctl(&["put", KEY, garbage]);
        let why = refused(&client, None, Ask::Read);
        assert!(why.contains("damaged"), "{garbage}: {why}");
    }
    let adopted = adopt(&client, None, 2);
    let held = Some(Answer::Held(Some(adopted)));
    assert_eq!(ask(&client, None, Ask::Read), held);
    etcd.ctl(&["put", KEY, &"x".repeat(100_000)]);
    let why = asked(&client, None, Ask::Read, AGENT).unwrap_err();
    assert!(why.contains("more than is read"), "{why}");
}

#[test]
fn an_etcd_without_space_answers_no_claim_and_says_so() {
    if !have(PROGRAMS) {
        return;
    }
    let etcd = Etcd::start(Plan {
        arguments: &["--quota-backend-bytes", "600000"],
        ..Plan::ONE
    });
    let client = of(&etcd);
    let (first, _) = swap(&client, None, 1);
    let large = "x".repeat(60_000);
    eventually(
        "it is full",
        || etcd.logs(),
        || {
            let mut put = clean_ctl(&etcd);
            let output = put.args(["put", "large", &large]).output().unwrap();
            (!output.status.success()).then_some(())
        },
    );
    let (second, claim) = next(Some(&first), 2);
    let why = refused(&client, None, claim.clone());
    assert!(why.contains("NOSPACE"), "{why}");
    // A read does not hide that.
    let why = refused(&client, None, Ask::Read);
    assert!(why.contains("NOSPACE"), "{why}");
    let revision = etcd.ctl(&["get", "large", "-w", "fields", "--keys-only"]);
    let revision = revision
        .lines()
        .find_map(|line| line.strip_prefix("\"Revision\" : "));
    etcd.ctl(&["compact", revision.unwrap()]);
    etcd.ctl(&["defrag"]);
    etcd.ctl(&["alarm", "disarm"]);
    let held = Some(Answer::Held(Some(first)));
    assert_eq!(ask(&client, None, Ask::Read), held);
    assert_eq!(ask(&client, None, claim), Some(Answer::Done(second)));
}

fn clean_ctl(etcd: &Etcd) -> Command {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3");
    command.args(["--endpoints", &etcd.endpoints().join(",")]);
    command
}

/// A configuration of a pair that names these endpoints.
fn configuration(folder: &Path, endpoints: &[String]) -> PathBuf {
    let text = format!(
        "cluster = \"db\"\nsecret = {:?}\n[agent]\n[etcd]\nendpoints = {endpoints:?}\n\
         [nodes.a]\nid = 1\naddress = \"10.0.0.1:7800\"\n[nodes.b]\nid = 2\naddress = \"10.0.0.2:7800\"\n\
         [resource.r0]\narbiter = \"etcd\"\non.a = {{ backing = \"a\" }}\non.b = {{ backing = \"b\" }}\n",
        String::from_utf8_lossy(SECRET),
    );
    let path = folder.join("twindisk.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn arbiter_status_says_what_is_held_and_by_whom() {
    if !have(PROGRAMS) {
        return;
    }
    let etcd = Etcd::start(Plan::ONE);
    let other = Etcd::start(Plan::ONE);
    let folder = tempfile::tempdir().unwrap();
    let status = |endpoints: &[String], json: bool| {
        let mut command = clean_command();
        command.args(["arbiter", "status", "--node", "a", "--config"]);
        command.arg(configuration(folder.path(), endpoints));
        said(&command.args(json.then_some("--json")).output().unwrap())
    };
    let all = etcd.endpoints();
    let first = status(&all, false);
    assert!(
        first.code == 0 && first.out.contains("no record yet"),
        "{first:?}"
    );
    let client = of(&etcd);
    swap(&client, None, 1);
    let held = status(&all, false);
    assert!(held.out.contains("db r0: record 1.1, term 1"), "{held:?}");
    assert!(
        held.out.contains("version 3.") && held.out.contains("leads"),
        "{held:?}"
    );
    let json: serde_json::Value = serde_json::from_str(&status(&all, true).out).unwrap();
    assert_eq!(json["etcd"]["records"][0]["resource"], "r0");
    assert_eq!(json["etcd"]["members"][0]["leads"], true);
    etcd.ctl(&["put", KEY, "garbage"]);
    let damaged = status(&all, false);
    assert_eq!(damaged.code, 13);
    assert!(damaged.out.contains("REFUSES EVERY CLAIM"), "{damaged:?}");
    let two = [etcd.endpoints(), other.endpoints()].concat();
    let several = status(&two, false);
    assert_eq!(several.code, 13);
    assert!(several.out.contains("SEVERAL ETCDS"), "{several:?}");
    drop(etcd);
    let nobody = status(&all, false);
    assert_eq!(nobody.code, 12, "{nobody:?}");
    assert!(nobody.err.contains("can't be reached"), "{nobody:?}");
}
