//! R17: a client that comes back by the name it had finds the device that nobody else has written to, or none.

use twindisk_nbd::{
    client::{Client, ClientError, ConnectOptions, Fua},
    protocol::option_reply,
};

use crate::harness::cluster::Cluster;

#[test]
fn a_client_comes_back_after_a_restart_and_not_after_a_switchover() {
    let mut cluster = Cluster::pair("32MiB", "");
    let first = bound_export(&cluster, "alpha");
    let mut client = open(&cluster, "alpha", &first).expect("the name that status shows");
    client.write(0, &[1; 4096], Fua::Yes).unwrap();

    cluster.kill("alpha");
    cluster.serve("alpha");
    // For now, not for ever: nobody else has written.
    let refused = refusal(&cluster, "alpha", &first);
    assert_ne!(refused, option_reply::ERR_UNKNOWN, "before it is promoted");
    cluster.until("alpha", "being compared", |replica| {
        replica["promote-needs"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    cluster.ok("alpha", &["promote"]);
    assert_eq!(
        bound_export(&cluster, "alpha"),
        first,
        "a restart is a pause"
    );
    let mut client = open(&cluster, "alpha", &first).expect("the same role");
    let mut data = vec![0; 4096];
    client.read(0, &mut data).unwrap();
    assert_eq!(data, [1; 4096]);
    cluster.until_in_sync("alpha");
    goes_on(&cluster, "alpha");

    cluster.ok("alpha", &["switchover", "--to", "beta"]);
    let second = bound_export(&cluster, "beta");
    for node in ["alpha", "beta"] {
        let refused = refusal(&cluster, node, &first);
        assert_eq!(refused, option_reply::ERR_UNKNOWN, "{first} at {node}");
    }
    let mut client = open(&cluster, "beta", &second).expect("the role there");
    client.write(0, &[2; 4096], Fua::Yes).unwrap();
    drop(client);

    cluster.until_in_sync("beta");
    goes_on(&cluster, "beta");
    cluster.ok("beta", &["switchover", "--to", "alpha"]);
    let third = bound_export(&cluster, "alpha");
    for over in [&first, &second] {
        let refused = refusal(&cluster, "alpha", over);
        assert_eq!(
            refused,
            option_reply::ERR_UNKNOWN,
            "{over}, and now it is {third}"
        );
    }
    assert!(open(&cluster, "alpha", &third).is_ok());
    assert!(open(&cluster, "alpha", "r0").is_ok(), "by the plain name");
}

/// Right after a promotion I/O waits for a moment, until every member has stored the set: nothing is handed over then.
fn goes_on(cluster: &Cluster, node: &str) {
    cluster.until(node, "no suspension", |replica| {
        replica["suspended"].is_null()
    });
}

/// As status shows it while the device is open.
fn bound_export(cluster: &Cluster, node: &str) -> String {
    let replica = cluster.until(node, "open", |replica| replica["export-open"] == true);
    format!("r0@{}", replica["binding"].as_str().expect("a binding"))
}

fn open(cluster: &Cluster, node: &str, export: &str) -> Result<Client, ClientError> {
    let mut uri = cluster.uri(node);
    export.clone_into(&mut uri.export);
    Client::connect(&uri, &ConnectOptions::default())
}

/// The server's answer to who asks for that export.
fn refusal(cluster: &Cluster, node: &str, export: &str) -> u32 {
    match open(cluster, node, export) {
        Err(ClientError::Refused { reply, .. }) => reply,
        other => panic!("{export} at {node}: {other:?}"),
    }
}
