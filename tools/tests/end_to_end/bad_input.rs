//! Metadata, devices, ports and peers that are not what they should be: each a clear error, nothing half done.

use std::{fs, net::TcpListener, path::Path};

use crate::harness::{cluster::Cluster, process::Said};

/// Two nodes with two resources, `r0` of 8 MiB and `r1` without a replica yet.
fn prepared() -> Cluster {
    let cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "8MiB"]);
    cluster.ok("beta", &["init", "--size", "8MiB"]);
    cluster
}

/// `serve` ends with this code, its reasons named, and changes nothing of the metadata.
fn serve_fails(cluster: &Cluster, code: i32, reasons: &[&str]) {
    let meta = cluster.path("alpha/r0.meta");
    let before = fs::read(&meta).unwrap();
    let said = cluster.run("alpha", &["serve"]);
    assert_eq!(said.code, code, "{said:?}");
    has_all(&said, reasons);
    assert!(fs::read(&meta).unwrap() == before, "it was touched");
}

fn has_all(said: &Said, reasons: &[&str]) {
    for reason in reasons {
        assert!(said.err.contains(reason), "{reason} is not in {said:?}");
    }
}

#[test]
fn metadata_of_another_node_resource_or_cluster() {
    let cluster = prepared();
    let mine = fs::read(cluster.path("alpha/r0.meta")).unwrap();
    fs::copy(cluster.path("beta/r0.meta"), cluster.path("alpha/r0.meta")).unwrap();
    serve_fails(
        &cluster,
        1,
        &["belongs to node number 2", "number 1", "its own metadata"],
    );
    fs::write(cluster.path("alpha/r0.meta"), mine).unwrap();
    cluster.edit("[resource.r0]", "[resource.r9]");
    fs::copy(cluster.path("alpha/r0.meta"), cluster.path("alpha/r9.meta")).unwrap();
    serve_fails(
        &cluster,
        1,
        &["another resource than r9", "metadata dump r9"],
    );
    cluster.edit("[resource.r9]", "[resource.r0]");
    cluster.edit("cluster = \"test\"", "cluster = \"other\"");
    serve_fails(&cluster, 1, &["another resource than r0 of cluster other"]);
}

/// Gives a metadata block another format version and seals it again, as the format's document says.
fn set_version(path: &Path, block: usize, version: u16) {
    let mut bytes = fs::read(path).unwrap();
    let sectors = &mut bytes[block * 4096..(block + 1) * 4096];
    sectors[8..10].copy_from_slice(&version.to_le_bytes());
    let data: Vec<u8> = sectors
        .chunks(512)
        .flat_map(|sector| &sector[..504])
        .copied()
        .collect();
    let block_crc = crc32fast::hash(&data);
    for (number, sector) in (0u8..).zip(sectors.chunks_mut(512)) {
        sector[504..508].copy_from_slice(&block_crc.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[number]);
        crc.update(&sector[..508]);
        sector[508..].copy_from_slice(&crc.finalize().to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn metadata_of_another_version() {
    let cluster = prepared();
    let meta = cluster.path("alpha/r0.meta");
    set_version(&meta, 0, 1);
    cluster.ok("alpha", &["metadata", "check"]);
    // One copy is enough: it may be the newer one.
    set_version(&meta, 1, 2);
    serve_fails(&cluster, 13, &["version 2", "newer"]);
    set_version(&meta, 1, 0);
    serve_fails(&cluster, 13, &["version 0", "upgrade the metadata"]);
    let check = cluster.run("alpha", &["metadata", "repair", "--confirm", "r0"]);
    assert_eq!(check.code, 13, "{check:?}");
}

#[test]
fn a_backing_device_that_is_too_small_in_use_missing_or_no_disk() {
    let mut cluster = prepared();
    let image = cluster.image("alpha");
    let whole = fs::read(&image).unwrap();
    fs::write(&image, &whole[..4 << 20]).unwrap();
    serve_fails(
        &cluster,
        1,
        &["alpha.img is too small", "1024 blocks", "2048 are needed"],
    );
    fs::remove_file(&image).unwrap();
    serve_fails(&cluster, 1, &["alpha.img does not exist"]);
    fs::create_dir(&image).unwrap();
    serve_fails(&cluster, 1, &["neither a regular file nor a block device"]);
    fs::remove_dir(&image).unwrap();
    fs::write(&image, &whole).unwrap();
    cluster.edit("backing = \"alpha.img\"", "backing = \"beta.img\"");
    cluster.serve("beta");
    serve_fails(&cluster, 1, &["beta.img is in use"]);
}

/// Root writes to files whatever their mode says, so the filesystem itself is made read-only, for one process.
#[test]
fn a_backing_device_that_is_read_only() {
    let cluster = prepared();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let dir = cluster.dir.path().display();
    let program = crate::harness::process::program();
    let script = format!(
        "mount --bind {dir} {dir} && mount --bind {dir}/alpha {dir}/alpha && mount -o remount,bind,ro {dir} && \
         exec {} serve --config {dir}/twindisk.toml --node alpha",
        program.display()
    );
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("mount: ") {
        eprintln!("left out: no mounting here: {text}");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("alpha.img can't be written"), "{text}");
    assert!(text.contains("Read-only"), "{text}");
}

/// What a container gives by default, and nothing at all: one resource's ring, or already the first one.
#[test]
fn a_limit_of_locked_memory_that_is_too_small() {
    use std::os::unix::fs::chown;
    let cluster = prepared();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root becomes somebody else");
        return;
    }
    let nobody = Some(65_534);
    chown(cluster.dir.path(), nobody, nobody).unwrap();
    for name in ["alpha", "alpha.img", "alpha/r0.meta", "twindisk.toml"] {
        chown(cluster.path(name), nobody, nobody).unwrap();
    }
    for kib in [64, 0] {
        let program = crate::harness::process::program();
        let script = format!("ulimit -l {kib} && exec \"$0\" \"$@\"");
        let output = std::process::Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "sh",
                "-c",
                &script,
            ])
            .arg(program)
            .args(["serve", "--node", "alpha", "--config"])
            .arg(cluster.path("twindisk.toml"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("Permission denied") {
            eprintln!("left out: the program lies where others do not look: {text}");
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{text}");
        let limit = format!("may lock {kib} KiB");
        for part in ["io_uring is not available", &limit, "LimitMEMLOCK=infinity"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}

#[test]
fn a_port_that_somebody_else_has() {
    let cluster = prepared();
    let text = fs::read_to_string(cluster.path("twindisk.toml")).unwrap();
    let address = text.split("address = \"").nth(1).unwrap();
    let address = address.split('"').next().unwrap();
    let taken = TcpListener::bind(address).unwrap();
    serve_fails(
        &cluster,
        1,
        &[
            address,
            "another process has this port",
            "configure another",
        ],
    );
    drop(taken);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let nbd = format!("[resource.r0]\nnbd = \"tcp:127.0.0.1:{port}\"\n");
    cluster.edit("[resource.r0]\n", &nbd);
    serve_fails(&cluster, 1, &["another process has this port"]);
}

#[test]
fn a_peer_of_another_cluster_is_refused_by_name() {
    let mut cluster = prepared();
    cluster.serve("beta");
    cluster.edit("cluster = \"test\"", "cluster = \"other\"");
    cluster.ok("alpha", &["init", "--first", "--force-overwrite"]);
    cluster.serve("alpha");
    cluster.wait_for("beta", "the refusal", |cluster| {
        let refused = cluster.events_of("beta", "peer-refused");
        let text = refused.iter().map(ToString::to_string).collect::<String>();
        text.contains("of another cluster").then_some(())
    });
}

#[test]
fn a_peer_that_is_too_small_waits_and_says_what_to_grow() {
    let mut cluster = Cluster::new(&["alpha", "beta"], "");
    cluster.ok("alpha", &["init", "--first", "--size", "16MiB"]);
    cluster.ok("beta", &["init", "--size", "8MiB"]);
    cluster.serve("alpha");
    cluster.serve("beta");
    for node in ["alpha", "beta"] {
        let replica = cluster.until(node, "it waits", |replica| {
            let why = replica["peers"][0]["connection-why"].as_str();
            why.is_some_and(|why| why.contains("grow the smaller"))
        });
        assert_eq!(replica["peers"][0]["in-sync"], false);
    }
    let table = cluster.ok("alpha", &["status"]);
    assert!(table.contains("grow the smaller backing device"), "{table}");
}
