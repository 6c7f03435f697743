//! Two nodes with somebody between them.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;
mod wiretap;

use std::{net::SocketAddr, thread};

use twindisk_nbd::client::Fua;

use self::{
    harness::{
        cluster::{ALPHA, BETA, Cluster},
        eventually,
    },
    wiretap::{Attack, Way, Wiretap},
};

/// A pair whose dialling node is led to a wiretap in front of the other one.
fn tapped(tls: &str) -> (Cluster, Wiretap) {
    let mut cluster = Cluster::new(&[ALPHA, BETA], "");
    cluster.edit("cluster =", &format!("tls = \"{tls}\"\ncluster ="));
    cluster.ok(ALPHA, &["init", "--first", "--size", "32MiB"]);
    cluster.ok(BETA, &["init", "--size", "32MiB"]);
    cluster.serve(BETA);
    let address = address_of(&cluster, BETA);
    let tap = Wiretap::to(address);
    cluster.edit(&address.to_string(), &tap.address.to_string());
    cluster.serve(ALPHA);
    cluster.ok(ALPHA, &["promote"]);
    cluster.until_in_sync(ALPHA);
    (cluster, tap)
}

fn address_of(cluster: &Cluster, node: &str) -> SocketAddr {
    let text = std::fs::read_to_string(cluster.path("twindisk.toml")).unwrap();
    let behind = text
        .split(&format!("[nodes.{node}]"))
        .nth(1)
        .unwrap()
        .to_owned();
    let address = behind.split("address = \"").nth(1).unwrap();
    address.split('"').next().unwrap().parse().unwrap()
}

/// Why a node lost the link, each time.
fn breaks(cluster: &Cluster, node: &str) -> Vec<String> {
    let events = cluster.events_of(node, "link-broken");
    let why = |event: &serde_json::Value| event["why"].as_str().unwrap().to_owned();
    events.iter().map(why).collect()
}

/// Whatever is done to a record, its receiver says so and drops the link; nothing of it reaches the disk, and nothing
/// that was acknowledged is missing from the standby when the nodes have found each other again.
#[test]
fn what_is_done_to_a_record_ends_the_link_and_changes_nothing() {
    let (mut cluster, tap) = tapped("secret");
    let contents = b"nobody but the two nodes reads this. ".repeat(111);
    let altered = "altered, lost, repeated or reordered on the way";
    let attacks = [
        (Attack::Flip, altered),
        (Attack::Swallow, altered),
        (Attack::Replay, altered),
        (Attack::Reorder, altered),
        (Attack::Cut, "the connection was cut off"),
    ];
    let mut round = 0_u64;
    for way in [Way::There, Way::Back] {
        for (attack, said) in attacks {
            round += 1;
            let receiver = if way == Way::There { BETA } else { ALPHA };
            let before = breaks(&cluster, receiver).len();
            tap.arm(way, attack);
            // Writes go on over it: they are acknowledged when both have them, over the next link.
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut client = cluster.client(ALPHA);
                    for write in 0..40 {
                        let offset = (round * 40 + write) * 8192;
                        client.write(offset, &contents, Fua::No).unwrap();
                    }
                    client.flush().unwrap();
                });
                eventually("the attack is made", String::new, || {
                    tap.is_done().then_some(())
                });
                cluster.wait_for(
                    receiver,
                    &format!("{attack:?} {way:?} is seen"),
                    |cluster| {
                        let seen = breaks(cluster, receiver);
                        let new = &seen[before..];
                        new.iter().any(|why| why.contains(said)).then_some(())
                    },
                );
            });
            cluster.until_in_sync(ALPHA);
        }
    }
    assert!(
        !tap.saw(&contents[..37]),
        "contents were readable on the way"
    );
    cluster.stop(ALPHA);
    cluster.stop(BETA);
    cluster.compare_images();
    let image = std::fs::read(cluster.image(BETA)).unwrap();
    for write in 40..(round + 1) * 40 {
        let at = write as usize * 8192;
        assert!(
            image[at..at + contents.len()] == contents[..],
            "write {write}"
        );
    }
}

/// What TLS is for: without it everything is there to be read, and to be altered unseen.
#[test]
fn without_tls_the_wiretap_reads_and_writes() {
    let (mut cluster, tap) = tapped("off");
    let contents = b"everybody on the way reads this. ".repeat(128)[..4096].to_vec();
    let broken = || [breaks(&cluster, ALPHA), breaks(&cluster, BETA)];
    let before = broken();
    let mut client = cluster.client(ALPHA);
    tap.arm(Way::There, Attack::Forge);
    client.write(0, &contents, Fua::Yes).unwrap();
    assert!(tap.is_done() && tap.saw(&contents[..33]));
    for write in 1..20 {
        client.write(write * 4096, &contents, Fua::Yes).unwrap();
    }
    drop(client);
    assert_eq!(broken(), before, "nobody saw it");
    cluster.stop(ALPHA);
    cluster.stop(BETA);
    let [here, there] = [ALPHA, BETA].map(|node| std::fs::read(cluster.image(node)).unwrap());
    assert_eq!(
        (here[0] ^ there[0], &here[1..], &here[4096..4098]),
        (1, &there[1..], &b"ev"[..])
    );
}

/// A node that wants TLS neither speaks nor takes anything else, and each of the two says what is to be done.
#[test]
fn a_node_without_tls_does_not_meet_one_with_it() {
    for (dials, listens) in [("off", "secret"), ("secret", "off")] {
        let mut cluster = Cluster::new(&[ALPHA, BETA], "");
        cluster.edit("cluster =", &format!("tls = \"{listens}\"\ncluster ="));
        cluster.ok(ALPHA, &["init", "--first", "--size", "8MiB"]);
        cluster.ok(BETA, &["init", "--size", "8MiB"]);
        cluster.serve(BETA);
        cluster.edit(
            &format!("tls = \"{listens}\""),
            &format!("tls = \"{dials}\""),
        );
        cluster.serve(ALPHA);
        for (node, event) in [(ALPHA, "peer-unreachable"), (BETA, "peer-refused")] {
            let why = cluster.wait_for(node, event, |cluster| {
                let events = cluster.events_of(node, event);
                Some(events.first()?["why"].as_str()?.to_owned())
            });
            let part = "`tls` must be the same on both nodes";
            assert!(why.contains(part), "{node}, {dials} to {listens}: {why}");
        }
        let connection = &cluster.replica(ALPHA)["peers"][0]["connection"];
        assert_eq!(connection, "connecting");
        let status = cluster.ok(ALPHA, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["tls"], dials);
    }
}
