//! A pair that becomes more: a third node, a larger device.

use std::fs;

use twindisk_nbd::client::Fua;

use crate::harness::{cluster::Cluster, process::assert_same};

/// Stops a standby, changes something beneath it, starts it again.
fn restarted(cluster: &mut Cluster, primary: &str, node: &str, change: impl FnOnce(&Cluster)) {
    cluster.stop(node);
    change(cluster);
    cluster.serve(node);
    cluster.until_in_sync(primary);
}

fn switched_over(cluster: &Cluster, to: &str) {
    cluster.ok(to, &["switchover"]);
    cluster.until(to, "primary, and open", |replica| {
        replica["export-open"] == true
    });
    cluster.until_in_sync(to);
}

fn resynced_blocks(cluster: &Cluster) -> u64 {
    ["alpha", "beta"]
        .iter()
        .flat_map(|node| cluster.events_of(node, "resync-ended"))
        .map(|event| event["sent-blocks"].as_u64().unwrap())
        .sum()
}

/// As the operator's guide says it: nobody is initialised anew, and the device is served all the time but for the
/// moments of a switchover.
#[test]
fn a_third_node_joins_a_running_pair() {
    let mut cluster = Cluster::new(&["alpha", "beta", "gamma"], "");
    let path = cluster.path("twindisk.toml");
    let three = fs::read_to_string(&path).unwrap();
    let without_gamma = |line: &&str| !line.starts_with("on.gamma");
    let two: Vec<&str> = three.lines().filter(without_gamma).collect();
    fs::write(&path, two.join("\n")).unwrap();
    for (node, first) in [("alpha", &["--first"][..]), ("beta", &[])] {
        let init = [&["init", "--size", "16MiB", "--peers", "2"], first].concat();
        cluster.ok(node, &init);
        cluster.serve(node);
    }
    let dump = cluster.run("alpha", &["metadata", "dump"]);
    assert!(dump.out.contains("spare"), "{dump:?}");
    cluster.ok("alpha", &["promote"]);
    cluster.until_in_sync("alpha");
    let mut client = cluster.client("alpha");
    client.write(0, &[1; 65536], Fua::Yes).unwrap();
    client.disconnect().unwrap();

    fs::write(&path, &three).unwrap();
    cluster.ok("gamma", &["init", "--size", "16MiB"]);
    cluster.stop("beta");
    cluster.serve("beta");
    // Gamma is not there yet: the pair goes on as a pair.
    cluster.until("alpha", "beta is in sync", |replica| {
        replica["peers"][0]["in-sync"] == true
    });
    cluster.ok("beta", &["switchover"]);
    cluster.until("beta", "primary, and open", |replica| {
        replica["export-open"] == true
    });
    cluster.stop("alpha");
    cluster.serve("alpha");
    cluster.serve("gamma");
    cluster.until_in_sync("beta");
    let mut client = cluster.client("beta");
    client.write(65536, &[2; 65536], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.ok("beta", &["demote"]);
    for node in ["alpha", "beta", "gamma"] {
        cluster.stop(node);
    }
    assert_same(&cluster.path("alpha.img"), &cluster.path("beta.img"));
    assert_same(&cluster.path("alpha.img"), &cluster.path("gamma.img"));
    assert_eq!(
        &fs::read(cluster.path("gamma.img")).unwrap()[65536..131_072],
        [2; 65536]
    );
}

/// A node that does not know the third one yet would take the in-sync set for smaller than it is, and one day be promoted
/// without its word.
#[test]
fn a_standby_follows_no_set_with_a_node_that_it_does_not_know() {
    let mut cluster = Cluster::new(&["alpha", "beta", "gamma"], "");
    let path = cluster.path("twindisk.toml");
    let three = fs::read_to_string(&path).unwrap();
    let without_gamma = |line: &&str| !line.starts_with("on.gamma");
    let two: Vec<&str> = three.lines().filter(without_gamma).collect();
    fs::write(&path, two.join("\n")).unwrap();
    for (node, first) in [("beta", &["--first"][..]), ("alpha", &[])] {
        let init = [&["init", "--size", "16MiB", "--peers", "2"], first].concat();
        cluster.ok(node, &init);
        cluster.serve(node);
    }
    cluster.ok("beta", &["promote"]);
    cluster.until_in_sync("beta");
    cluster.ok("beta", &["demote"]);
    fs::write(&path, &three).unwrap();
    cluster.ok("gamma", &["init", "--size", "16MiB"]);
    cluster.stop("beta");
    cluster.serve("beta");
    cluster.serve("gamma");
    // It has left in good order: the other one brings it up first.
    cluster.until("beta", "the newest copy", |replica| {
        replica["disk"] == "UpToDate"
    });
    cluster.ok("beta", &["promote"]);
    cluster.wait_for("alpha", "why it does not follow", |cluster| {
        let events = cluster.ok("alpha", &["events"]);
        events.contains("does not know it").then_some(())
    });
    let needs = &cluster.replica("alpha")["promote-needs"];
    assert!(!needs.as_array().unwrap().is_empty(), "{needs}");
    cluster.stop("alpha");
    cluster.serve("alpha");
    cluster.until("beta", "both", |replica| {
        let peers = replica["peers"].as_array().unwrap();
        peers.iter().all(|peer| peer["connection"] == "established")
    });
    cluster.until_in_sync("beta");
}

#[test]
fn a_peer_without_a_slot_is_refused_with_the_way_out() {
    let cluster = Cluster::new(&["alpha", "beta", "gamma"], "");
    let path = cluster.path("twindisk.toml");
    let three = fs::read_to_string(&path).unwrap();
    let without_gamma = |line: &&str| !line.starts_with("on.gamma");
    let two: Vec<&str> = three.lines().filter(without_gamma).collect();
    fs::write(&path, two.join("\n")).unwrap();
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    fs::write(&path, &three).unwrap();
    let serve = cluster.run("alpha", &["serve"]);
    assert_ne!(serve.code, 0, "{serve:?}");
    assert!(serve.err.contains("no slot for"), "{serve:?}");
    assert!(serve.err.contains("--peers"), "{serve:?}");
    let few = cluster.run("beta", &["init", "--size", "8MiB", "--peers", "1"]);
    assert_eq!(few.code, 2, "{few:?}");
    let many = cluster.run("beta", &["init", "--size", "8MiB", "--peers", "8"]);
    assert_eq!(many.code, 2, "{many:?}");
}

/// Metadata at the end of the devices moves to their new ends, one node after the other; only what was written meanwhile
/// is resynced.
#[test]
fn devices_with_their_metadata_inside_grow_one_after_the_other() {
    let mut cluster = Cluster::on(&["alpha", "beta"], "", |node| {
        format!("backing = \"{node}.img\", metadata = \"internal\"")
    });
    cluster.first_start(&["--size", "32MiB"]);
    let size = cluster.replica("alpha")["size-bytes"].as_u64().unwrap();
    assert!(size < 32 << 20, "metadata takes its part");
    let mut client = cluster.client("alpha");
    client.write(size - 65536, &[1; 65536], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    let grow = |cluster: &Cluster, node: &str| {
        let image = fs::OpenOptions::new().write(true).open(cluster.image(node));
        image.unwrap().set_len(48 << 20).unwrap();
    };
    let move_metadata = |cluster: &Cluster, node: &str| {
        grow(cluster, node);
        let lost = cluster.run(node, &["serve"]);
        assert_eq!(lost.code, 13, "{lost:?}");
        assert!(lost.err.contains("metadata move --was"), "{lost:?}");
        let wrong = cluster.run(node, &["metadata", "move", "--was", "31MiB"]);
        assert_eq!(wrong.code, 13, "{wrong:?}");
        cluster.ok(node, &["metadata", "move", "--was", "32MiB"]);
        // Once more does no harm.
        cluster.ok(node, &["metadata", "move", "--was", "32MiB"]);
        cluster.ok(node, &["metadata", "check"]);
    };
    cluster.until_remembered();
    let before = resynced_blocks(&cluster);
    restarted(&mut cluster, "alpha", "beta", |cluster| {
        move_metadata(cluster, "beta");
    });
    let early = cluster.refused("alpha", &["resize"]);
    assert!(early.contains("metadata move"), "{early}");
    switched_over(&cluster, "beta");
    restarted(&mut cluster, "beta", "alpha", |cluster| {
        move_metadata(cluster, "alpha");
    });
    assert!(
        resynced_blocks(&cluster) - before < 1000,
        "it was no full resync"
    );
    cluster.ok("beta", &["resize"]);
    let grown = cluster.until("beta", "the new size", |replica| {
        replica["size-bytes"].as_u64().unwrap() > 47 << 20
    });
    let new_size = grown["size-bytes"].as_u64().unwrap();
    let mut client = cluster.client("beta");
    assert_eq!(client.info().size_bytes, new_size);
    let mut data = vec![0; 65536];
    client.read(size - 65536, &mut data).unwrap();
    assert_eq!(data, [1; 65536]);
    let mut added = vec![1; usize::try_from(new_size - size).unwrap()];
    client.read(size, &mut added).unwrap();
    assert!(added.iter().all(|byte| *byte == 0), "what is added is zero");
    client.write(new_size - 4096, &[3; 4096], Fua::Yes).unwrap();
    client.disconnect().unwrap();
    cluster.ok("beta", &["demote"]);
    cluster.stop("alpha");
    cluster.stop("beta");
    let data_of = |node: &str| {
        let mut bytes = fs::read(cluster.image(node)).unwrap();
        bytes.truncate(usize::try_from(new_size).unwrap());
        bytes
    };
    assert!(data_of("alpha") == data_of("beta"));
}
