//! Starting and stopping: what can't be used is refused with a sentence, and nothing is left behind.

use std::{fs, sync::Arc};

use twindisk_engine::{
    Input, SendError, StartError,
    store::{Access, Backing, Metadata, StoreError},
};
use twindisk_nbd::client::Fua;

use crate::harness::Node;

fn refusal(node: &mut Node) -> StoreError {
    let options = node.options();
    match node.try_start(options).expect_err("refused") {
        StartError::Store(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_in_use_is_refused_until_it_is_free() {
    let mut node = Node::new(1, &[], 64);
    let other = Backing::open(&node.backing(), Access::Exclusive).expect("free");
    let error = refusal(&mut node);
    assert!(
        matches!(&error, StoreError::InUse { path } if *path == node.backing()),
        "{error}"
    );
    drop(other);
    let other = Backing::open(&node.metadata(), Access::Exclusive).expect("free");
    let error = refusal(&mut node);
    assert!(
        matches!(&error, StoreError::InUse { path } if *path == node.metadata()),
        "{error}"
    );
    drop(other);
    node.start().stop();
    node.start();
}

#[test]
fn missing_small_and_mixed_up_files_are_refused() {
    let mut node = Node::new(1, &[], 64);
    let mut options = node.options();
    options.metadata = Some(node.backing());
    let error = node.try_start(options).expect_err("refused");
    assert!(
        matches!(error, StartError::Store(StoreError::Same { .. })),
        "{error}"
    );

    let mut options = node.options();
    options.metadata = None;
    let error = node.try_start(options).expect_err("refused");
    let StartError::Store(StoreError::NoInternalMetadata { .. }) = error else {
        panic!("{error}");
    };

    fs::write(node.backing(), vec![0; 63 * 4096]).expect("cut");
    let error = refusal(&mut node);
    let StoreError::TooSmall {
        has_blocks: 63,
        needs_blocks: 64,
        ..
    } = error
    else {
        panic!("{error}");
    };

    fs::remove_file(node.backing()).expect("remove");
    assert!(matches!(refusal(&mut node), StoreError::Missing { .. }));
}

#[test]
fn internal_metadata_is_found_again_and_keeps_out_of_the_data() {
    let mut node = Node::new(1, &[], 1000);
    let backing = Arc::new(Backing::open(&node.backing(), Access::Exclusive).expect("open"));
    let data_blocks = Metadata::internal_data_blocks(&backing, 0).expect("room");
    assert!((900..1000).contains(&data_blocks));
    let mut superblock = node.superblock();
    superblock.size_blocks = data_blocks;
    superblock.max_size_blocks = data_blocks;
    Metadata::create_internal(&backing, &superblock).expect("create");
    drop(backing);
    node.blocks = data_blocks;
    for round in 1..4u8 {
        let mut options = node.options();
        options.metadata = None;
        node.try_start(options).expect("start");
        node.promote();
        let mut client = node.kernel_client();
        let mut last = [0; 4096];
        client
            .read((data_blocks - 1) * 4096, &mut last)
            .expect("read");
        assert_eq!(last, [round - 1; 4096]);
        client
            .write(0, &vec![round; data_blocks as usize * 4096], Fua::Yes)
            .expect("write");
        drop(client);
        node.stop();
    }
}

#[test]
fn a_stopped_replica_takes_nothing() {
    let mut node = Node::new(1, &[], 64);
    node.start();
    let sender = node.sender();
    node.stop();
    let status = Input::Status(Box::new(|_| panic!("nobody is there to ask")));
    assert_eq!(sender.send(status), Err(SendError::Stopped));
}

#[test]
fn a_device_that_shrinks_gives_errors_and_never_zeros() {
    let mut node = Node::new(1, &[], 1024);
    node.start().promote();
    let mut client = node.kernel_client();
    client.write(4 * 4096, &[5; 4096], Fua::Yes).expect("write");
    fs::OpenOptions::new()
        .write(true)
        .open(node.backing())
        .and_then(|file| file.set_len(4 * 4096))
        .expect("cut");
    let mut block = [0; 4096];
    client
        .read(4 * 4096, &mut block)
        .expect_err("there is nothing to read");
}
