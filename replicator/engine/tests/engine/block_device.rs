//! A block device as the backing device: a loop device, where this process may make one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as Program,
    sync::Arc,
};

use twindisk_engine::store::{Access, Backing, BackingKind, IoMode, Metadata, StoreError};
use twindisk_nbd::client::{Fua, Zeroing};

use crate::harness::Node;

/// A loop device on a file; it goes with the value.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let made = Program::new("losetup")
            .args(["--find", "--show", "--direct-io=on"])
            .arg(file)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let device = String::from_utf8(made.stdout).expect("a path");
        Some(Self(device.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Program::new("losetup").arg("-d").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_with_internal_metadata_serves_and_is_exclusive() {
    let mut node = Node::new(1, &[], 4096);
    fs::write(node.backing(), vec![0xee; 4096 * 4096]).expect("write");
    let Some(device) = Loop::new(&node.backing()) else {
        eprintln!("no loop device can be made here: nothing was tested");
        return;
    };
    let backing = Arc::new(Backing::open(&device.0, Access::Exclusive).expect("open"));
    assert_eq!(backing.kind(), BackingKind::BlockDevice);
    assert!(backing.is_direct());
    let error = Backing::open(&device.0, Access::Exclusive).expect_err("taken");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    let data_blocks = Metadata::internal_data_blocks(&backing, 0).expect("room");
    let mut superblock = node.superblock();
    superblock.size_blocks = data_blocks;
    superblock.max_size_blocks = data_blocks;
    Metadata::create_internal(&backing, &superblock).expect("create");
    drop(backing);
    node.blocks = data_blocks;
    for round in 0..4u8 {
        let mut options = node.options();
        // Each finds what the other left behind, in the page cache or past it.
        options.io = if round % 2 == 0 {
            IoMode::Direct
        } else {
            IoMode::Cached
        };
        options.backing = device.0.clone();
        options.metadata = None;
        node.try_start(options).expect("start");
        node.promote();
        let mut client = node.structured_client();
        let mut model = vec![round; 1 << 20];
        // Not stable: with a page cache it is dirty there when parts of it are zeroed.
        client.write(4096, &model, Fua::No).expect("write");
        for (offset, length, no_hole) in [(0usize, 8192usize, true), (100_000, 50_000, false)] {
            let zeroing = Zeroing {
                fua: true,
                no_hole,
                fast: false,
            };
            client
                .write_zeroes(4096 + offset as u64, length as u32, zeroing)
                .expect("zero");
            model[offset..offset + length].fill(0);
        }
        client
            .trim(4096 + (512 << 10), 65_536, Fua::No)
            .expect("trim");
        model[512 << 10..(512 << 10) + 65_536].fill(0);
        let mut read = vec![1; model.len()];
        client.read(4096, &mut read).expect("read");
        assert!(read == model);
        client.flush().expect("flush");
        drop(client);
        node.stop();
    }
}
