//! Two standbys; several resources in one process; a listener that they share.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use serde_json::Value;
use twindisk_nbd::client::{Client, ConnectOptions, Fua, list_exports};

use crate::harness::{cluster::Cluster, process::assert_same};

const NODES: [&str; 3] = ["alpha", "beta", "gamma"];

#[test]
fn two_standbys_both_have_it_and_one_takes_over() {
    let mut cluster = Cluster::new(&NODES, "");
    cluster.ok("alpha", &["init", "--first", "--size", "16MiB"]);
    for node in ["beta", "gamma"] {
        cluster.ok(node, &["init", "--size", "16MiB"]);
    }
    for node in NODES {
        cluster.serve(node);
    }
    // With both at hand nobody else can be primary.
    cluster.until_in_sync("alpha");
    cluster.ok("alpha", &["promote"]);
    cluster.until_in_sync("alpha");
    let which = cluster.refused("alpha", &["receipt", "--fenced"]);
    assert!(which.contains("--about"), "{which}");
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 65536], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.ok("alpha", &["switchover", "--to", "gamma"]);
    cluster.until("gamma", "primary", |replica| replica["export-open"] == true);
    cluster.until_in_sync("gamma");
    let mut client = cluster.client("gamma");
    client.write(65536, &[2; 65536], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.until_in_sync("gamma");
    cluster.ok("gamma", &["demote"]);
    for node in NODES {
        cluster.stop(node);
    }
    assert_same(&cluster.path("alpha.img"), &cluster.path("beta.img"));
    assert_same(&cluster.path("alpha.img"), &cluster.path("gamma.img"));
}

#[test]
fn several_resources_share_a_listener() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    let path = cluster.path("twindisk.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    text = text.replace("id = 1\n", "id = 1\nnbd = \"unix:all.sock\"\n");
    text += "[resource.r1]\non.alpha = { backing = \"alpha1.img\" }\non.beta = { backing = \"beta1.img\" }\n";
    fs::write(&path, text).unwrap();
    for resource in ["r0", "r1"] {
        cluster.ok("alpha", &["init", resource, "--first", "--size", "8MiB"]);
        cluster.ok("beta", &["init", resource, "--size", "8MiB"]);
    }
    cluster.serve("alpha");
    cluster.serve("beta");
    let several = cluster.run("alpha", &["promote"]);
    assert_eq!(several.code, 2, "{several:?}");
    assert!(several.err.contains("r0, r1"), "{several:?}");
    cluster.ok("alpha", &["promote", "r0"]);
    cluster.ok("beta", &["status"]);
    let socket = cluster.path("all.sock");
    let uri = |name: &str| {
        format!("nbd+unix:///{name}?socket={}", socket.display())
            .parse()
            .unwrap()
    };
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let listed = list_exports(&mut stream).unwrap();
    let names: Vec<&str> = listed.iter().map(|export| export.name.as_str()).collect();
    // The primary's has a second name, for clients that are bound to its role.
    let plain: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !name.contains('@'))
        .collect();
    assert_eq!((plain, names.len()), (vec!["r0", "r1"], 3));
    let mut client = Client::connect(&uri("r0"), &ConnectOptions::default()).unwrap();
    client.write(0, &[1; 4096], Fua::Yes).unwrap();
    assert!(
        Client::connect(&uri("r1"), &ConnectOptions::default()).is_err(),
        "a standby"
    );
    let unnamed = Client::connect(&uri(""), &ConnectOptions::default());
    assert!(
        unnamed.is_err(),
        "the empty name means the only one, and there are two"
    );
    let status: Value = serde_json::from_str(&cluster.ok("alpha", &["status", "--json"])).unwrap();
    assert_eq!(status["resources"][0]["replica"]["role"], "primary");
    assert_eq!(status["resources"][1]["replica"]["role"], "standby");
}

#[test]
fn one_damaged_resource_does_not_keep_the_others_from_running() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    let path = cluster.path("twindisk.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    text += "[resource.r1]\non.alpha = { backing = \"alpha1.img\" }\n";
    fs::write(&path, text).unwrap();
    cluster.ok("alpha", &["init", "r0", "--first", "--size", "8MiB"]);
    cluster.serve("alpha");
    let status: Value = serde_json::from_str(&cluster.ok("alpha", &["status", "--json"])).unwrap();
    assert_eq!(status["resources"][0]["running"], true);
    assert_eq!(status["resources"][1]["running"], false);
    assert!(
        status["resources"][1]["why"]
            .as_str()
            .unwrap()
            .contains("init r1"),
        "{status}"
    );
    let promote = cluster.run("alpha", &["promote", "r1"]);
    assert_eq!(promote.code, 1, "{promote:?}");
    assert!(promote.err.contains("is not running"), "{promote:?}");
}

#[test]
fn the_service_manager_is_told() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    let place = cluster.path("notify");
    let socket = UnixDatagram::bind(&place).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    cluster
        .environment
        .push(("NOTIFY_SOCKET", place.into_os_string()));
    cluster.serve("alpha");
    let mut text = [0; 64];
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"READY=1");
    cluster.stop("alpha");
    let length = socket.recv(&mut text).unwrap();
    assert_eq!(&text[..length], b"STOPPING=1");
}
