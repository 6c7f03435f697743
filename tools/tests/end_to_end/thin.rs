//! Thin storage: a standby that was away is as thin as its primary once it is back, and holds the same bytes.

use std::{fs, os::unix::fs::MetadataExt};

use twindisk_nbd::client::Fua;

use crate::harness::cluster::{ALPHA, BETA, Cluster};

const SIZE: u32 = 64 << 20;

#[test]
fn a_resync_leaves_holes_where_the_primary_has_them() {
    for io in ["direct", "cached"] {
        let mut cluster = Cluster::on(&[ALPHA, BETA], "", |node| {
            format!("backing = \"{node}.img\", io = \"{io}\"")
        });
        for node in [ALPHA, BETA] {
            let sparse =
                fs::File::create(cluster.image(node)).and_then(|file| file.set_len(SIZE.into()));
            sparse.expect("a file of holes");
        }
        cluster.first_start(&[]);
        let mut client = cluster.client(ALPHA);
        client.write(16 << 20, &[0x44; 8 << 20], Fua::No).unwrap();
        client.flush().unwrap();
        assert!(taken(&cluster, BETA) >= 8 << 20);
        cluster.stop(BETA);
        client.trim(0, SIZE, Fua::No).unwrap();
        // Islands: a block each, a hole of one block beside, and one in the middle of what was written before.
        for block in [0, 2, 3, 5, 4096 + 512, 16_383] {
            client.write(block << 12, &[0x55; 4096], Fua::No).unwrap();
        }
        // What a client writes as zeros is no hole at the primary, and may be one here: the bytes are the same.
        client.write(40 << 20, &[0; 1 << 20], Fua::Yes).unwrap();
        cluster.serve(BETA);
        cluster.until_in_sync(ALPHA);
        cluster.ok(ALPHA, &["verify", "--wait"]);
        client.disconnect().unwrap();
        cluster.stop(ALPHA);
        cluster.stop(BETA);
        cluster.compare_images();
        let (alpha, beta) = (taken(&cluster, ALPHA), taken(&cluster, BETA));
        assert!(alpha >= 1 << 20, "{alpha}");
        // Six blocks, and what a file system keeps about them.
        assert!(beta <= 64 << 10, "{beta} bytes instead of {alpha}, {io}");
    }
}

/// Bytes that the file beneath a node takes.
fn taken(cluster: &Cluster, node: &str) -> u64 {
    let file = fs::File::open(cluster.image(node)).expect("it is there");
    file.sync_all().expect("delayed allocation has an end");
    file.metadata().expect("it is there").blocks() * 512
}
