//! Clients and strangers that would keep everybody else waiting, against real nodes: the others are served all the while.
//!
//! How fast is not measured here: what a starved client waited for came after half a minute, or never.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod crowd;
mod port;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use twindisk_nbd::client::{Client, ConnectOptions, Fua};

use self::{
    crowd::{Crowd, Kind},
    harness::{
        cluster::{ALPHA, BETA, Cluster},
        process::free_port,
    },
};

/// As the goal says.
const MANY: u64 = 64;

/// Every honest client is done within this time, however busy the machine is.
const SOON: Duration = Duration::from_secs(10);

/// A pair whose primary serves r0 at this address, too.
fn pair() -> (Cluster, SocketAddr) {
    let mut cluster = Cluster::new(&[ALPHA, BETA], "");
    let port = free_port();
    let address = port.local_addr().unwrap();
    drop(port);
    let both = format!("id = 1\nnbd = [\"unix:alpha/r0.sock\", \"tcp:{address}\"]\n");
    cluster.edit("id = 1\n", &both);
    cluster.first_start(&["--size", "64MiB"]);
    (cluster, address)
}

/// Small requests, and some of each other size; every answer is right.
fn assert_served(cluster: &Cluster, what: &str) {
    let began = Instant::now();
    let options = ConnectOptions {
        timeout: Some(harness::PATIENCE),
        ..ConnectOptions::default()
    };
    let mut client = Client::connect(&cluster.uri(ALPHA), &options).unwrap();
    for at in 0..200_u64 {
        let block = [at as u8; 4096];
        client
            .write((32 << 20) + at * 4096, &block, Fua::No)
            .unwrap();
    }
    for length in [4096, 65_536, 1 << 20, 8 << 20] {
        let data: Vec<u8> = (0..length)
            .map(|at: usize| (at >> 9) as u8 ^ 0x5a)
            .collect();
        client.write(48 << 20, &data, Fua::No).unwrap();
        let mut read = vec![0; length];
        client.read(48 << 20, &mut read).unwrap();
        assert!(read == data, "{what}: {length} bytes");
    }
    client.flush().unwrap();
    client.disconnect().unwrap();
    let took = began.elapsed();
    assert!(took < SOON, "{what}: {took:?}");
}

#[test]
fn a_client_is_served_whatever_sixty_four_others_do() {
    let (mut cluster, address) = pair();
    // Many holes.
    let mut client = cluster.client(ALPHA);
    for at in 0..2000_u64 {
        client.trim(at * 8192 + 4096, 4096, Fua::No).unwrap();
    }
    drop(client);
    for kind in [
        Kind::Promise,
        Kind::Stop,
        Kind::Deaf,
        Kind::DeafToSmall,
        Kind::Extents,
    ] {
        let crowd = Crowd::gather(kind, MANY, address);
        for _ in 0..2 {
            assert_served(&cluster, &format!("{kind:?}"));
        }
        let replica = cluster.replica(ALPHA);
        assert_eq!(replica["peers"][0]["connection"], "established", "{kind:?}");
        assert!(replica["suspended"].is_null(), "{kind:?}: {replica}");
        drop(crowd);
    }
    assert_served(&cluster, "when all are gone");
    for node in [ALPHA, BETA] {
        cluster.stop(node);
    }
    cluster.compare_images();
}

/// Those that have negotiated and say nothing, and those that have not even done that.
#[test]
fn places_at_the_unix_socket_are_not_for_tcp_to_take() {
    let (cluster, address) = pair();
    let options = ConnectOptions::default();
    let idle: Vec<_> = (0..300)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .map(|socket| Client::negotiate(socket, "r0", &options))
        .collect();
    assert_served(&cluster, "beside idle clients");
    let silent: Vec<_> = (0..300)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    assert_served(&cluster, "beside silent clients");
    drop((idle, silent));
}
