//! Whoever is not a peer, a client or an operator as they should be.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::harness::cluster::Cluster;

#[test]
fn a_node_with_another_secret_gets_nowhere() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    cluster.ok("beta", &["init", "--size", "8MiB"]);
    cluster.serve("beta");
    cluster.edit(
        "0123456789abcdef0123456789abcdef",
        "another secret of some length",
    );
    cluster.serve("alpha");
    cluster.wait_for("beta", "the refusal", |cluster| {
        let events = cluster.ok("beta", &["events"]);
        events.contains("can't prove the secret").then_some(())
    });
    cluster.wait_for("alpha", "the failure", |cluster| {
        let events = cluster.ok("alpha", &["events"]);
        events.contains("peer-unreachable").then_some(())
    });
    assert_eq!(
        cluster.replica("beta")["peers"][0]["connection"],
        "connecting"
    );
}

#[test]
fn noise_on_the_replication_port_changes_nothing() {
    let cluster = Cluster::pair("32MiB", "");
    let text = std::fs::read_to_string(cluster.path("twindisk.toml")).unwrap();
    let beta = text.split("[nodes.beta]").nth(1).unwrap();
    let address = beta
        .split("address = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let mut noise = TcpStream::connect(address).unwrap();
    noise
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    noise.write_all(&[0x55; 300]).unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as a close.
    let _ = noise.read_to_end(&mut answer);
    assert!(answer.len() < 200, "it was told {} bytes", answer.len());
    cluster.wait_for("beta", "the refusal", |cluster| {
        cluster
            .ok("beta", &["events"])
            .contains("peer-refused")
            .then_some(())
    });
    cluster.until_in_sync("alpha");
}

#[test]
fn nonsense_on_the_control_socket_is_answered_in_a_sentence() {
    let cluster = Cluster::pair("32MiB", "");
    let mut socket = UnixStream::connect(cluster.path("alpha/control.sock")).unwrap();
    let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
    for (line, part) in [
        ("hello", "this is no request"),
        ("{\"version\":7,\"command\":\"status\"}", "version 7"),
        ("{\"version\":1,\"command\":\"fly\"}", "unknown variant"),
        (
            "{\"version\":1,\"command\":\"status\",\"resource\":\"r9\"}",
            "no resource",
        ),
        ("{\"version\":1,\"command\":\"status\"}", "\"status\""),
    ] {
        socket.write_all(format!("{line}\n").as_bytes()).unwrap();
        let answer = answers.next().unwrap().unwrap();
        assert!(answer.contains(part), "{line}: {answer}");
    }
    let long = vec![b'x'; 100_000];
    let _ = socket.write_all(&long);
    let answer = answers.next().unwrap().unwrap();
    assert!(answer.contains("too long"), "{answer}");
    cluster.ok("alpha", &["status"]);
}

#[test]
fn silent_clients_are_few_and_sent_away() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.edit("id = 1\n", "id = 1\nnbd-max-connections = 2\n");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    cluster.serve("alpha");
    let path = cluster.path("alpha/r0.sock");
    let began = Instant::now();
    let silent = |_| {
        let mut client = UnixStream::connect(&path).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // The greeting shows that it has its place.
        client.read_exact(&mut [0; 18]).unwrap();
        client
    };
    let held: Vec<UnixStream> = (0..2).map(silent).collect();
    let mut third = UnixStream::connect(&path).unwrap();
    assert_eq!(third.read(&mut [0; 18]).unwrap(), 0, "there is no place");
    for mut client in held {
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "it was too slow");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(9), "after {took:?}");
    silent(0);
}

#[test]
fn a_client_that_says_nothing_or_nonsense_holds_nobody_up() {
    let cluster = Cluster::pair("32MiB", "");
    let path = cluster.path("alpha/r0.sock");
    let _silent: Vec<UnixStream> = (0..20)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    let mut odd = UnixStream::connect(&path).unwrap();
    odd.write_all(&[0xff; 64]).unwrap();
    let mut end = Vec::new();
    let _ = odd.read_to_end(&mut end);
    let mut client = cluster.client("alpha");
    client.flush().unwrap();
}
