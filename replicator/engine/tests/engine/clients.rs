//! Clients against one node.

use std::{
    io::{Read, Write},
    sync::mpsc,
};

use twindisk_engine::Input;
use twindisk_nbd::client::{Client, Fua, Zeroing};
use twindisk_nbd::{Command, Errno};

use crate::harness::{DEADLINE, Node};

fn primary(blocks: u64) -> Node {
    let mut node = Node::new(1, &[], blocks);
    node.start().promote();
    node
}

/// Bytes that differ everywhere.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed)
        .collect()
}

#[test]
fn requests_of_every_size_and_offset_read_back() {
    let node = primary(16 * 1024);
    let mut model = vec![0; 16 * 1024 * 4096];
    for (mut client, seed) in [(node.kernel_client(), 1), (node.structured_client(), 2)] {
        let lengths = [
            1,
            511,
            512,
            4095,
            4096,
            4097,
            65_536,
            1 << 20,
            (1 << 20) + 1,
            32 << 20,
        ];
        let offsets = [0, 1, 512, 4095, 4096, 12_289, (1 << 20) - 7];
        for length in lengths {
            for offset in offsets {
                let data = pattern(length, seed);
                let fua = if length % 2 == 0 { Fua::Yes } else { Fua::No };
                client.write(offset as u64, &data, fua).expect("write");
                model[offset..offset + length].copy_from_slice(&data);
                let mut read = vec![0; length];
                client.read(offset as u64, &mut read).expect("read");
                assert!(read == data, "{length} bytes at {offset}");
            }
        }
        client.flush().expect("flush");
        let mut all = vec![0; 32 << 20];
        for half in [0, 32 << 20] {
            client.read(half as u64, &mut all).expect("read");
            assert!(all == model[half..half + all.len()]);
        }
        client.disconnect().expect("disconnect");
    }
    assert!(node.contents() == model);
}

#[test]
fn zeros_and_trims_touch_exactly_what_they_may() {
    let node = primary(4096);
    let mut client = node.structured_client();
    let mut model = pattern(4096 * 4096, 3);
    client.write(0, &model, Fua::No).expect("write");
    let ranges = [
        (5usize, 10usize),
        (4096, 4096),
        (4000, 200),
        (4097, 20_000),
        (8191, 1 << 20),
    ];
    for (offset, length) in ranges {
        for (fua, no_hole) in [(false, true), (true, false)] {
            let zeroing = Zeroing {
                fua,
                no_hole,
                fast: false,
            };
            client
                .write_zeroes(offset as u64, length as u32, zeroing)
                .expect("zero");
            model[offset..offset + length].fill(0);
            let mut read = vec![0; model.len()];
            client.read(0, &mut read).expect("read");
            assert!(read == model, "{length} bytes at {offset}");
        }
    }
    // A trim of less than a block changes nothing, a larger one only whole blocks.
    client.trim(3 << 20, 100, Fua::No).expect("trim");
    client.trim((2 << 20) + 1, 8192, Fua::Yes).expect("trim");
    model[(2 << 20) + 4096..(2 << 20) + 8192].fill(0);
    let mut read = vec![0; model.len()];
    client.read(0, &mut read).expect("read");
    assert!(read == model);
    let extents = client.block_status(0, 1 << 20).expect("status");
    assert!(!extents.is_empty());
    client.cache(0, 4096).expect("cache");
}

#[test]
fn many_requests_in_flight_are_all_answered() {
    let node = primary(4096);
    for depth in [3u32, 100, 400] {
        let mut client = node.kernel_client();
        let mut read = 0;
        for index in 0..2 * depth {
            let block = pattern(4096, index as u8);
            let offset = u64::from(index) * 4096;
            client
                .submit(Command::Write { fua: false }, offset, 4096, &block)
                .expect("submit");
            if client.in_flight() as u32 >= depth {
                let done = client.receive().expect("reply");
                assert!(done.result.is_ok(), "{done:?}");
                read += 1;
            }
        }
        while read < 2 * depth {
            assert!(client.receive().expect("reply").result.is_ok());
            read += 1;
        }
        for index in 0..2 * depth {
            let mut block = vec![0; 4096];
            client
                .read(u64::from(index) * 4096, &mut block)
                .expect("read");
            assert!(block == pattern(4096, index as u8), "block {index}");
        }
    }
}

#[test]
fn large_requests_of_many_connections_share_the_memory() {
    let node = primary(16 * 1024);
    std::thread::scope(|scope| {
        for seed in 0..4u8 {
            let mut client = node.kernel_client();
            scope.spawn(move || {
                let offset = u64::from(seed) * (16 << 20);
                for round in 0..5 {
                    let data = pattern(16 << 20, seed + 10 * round);
                    client.write(offset, &data, Fua::No).expect("write");
                    let mut read = vec![0; data.len()];
                    client.read(offset, &mut read).expect("read");
                    assert!(read == data);
                }
            });
        }
    });
}

#[test]
fn what_can_not_be_is_refused_and_the_connection_lives() {
    let node = primary(256);
    let mut client = node.structured_client();
    let end = 256 * 4096;
    let cookie = client
        .submit(Command::Write { fua: false }, end - 1, 2, &[1, 2])
        .expect("submit");
    let done = client.wait(cookie).expect("answered");
    assert_eq!(done.result.expect_err("past the end").errno, Errno::NoSpace);
    let mut byte = [0];
    client.read(end - 1, &mut byte).expect("read");
    assert_eq!(byte, [0]);
}

#[test]
fn what_a_client_sent_before_it_hung_up_is_not_executed_afterwards() {
    let node = primary(256);
    hang_up_behind_writes(&node, node.kernel_client());
    hang_up_behind_writes(&node, node.tcp_client());
}

fn hang_up_behind_writes<S: Read + Write>(node: &Node, client: Client<S>) {
    let mut raw = client.into_stream().expect("nothing in flight");
    let mut header = twindisk_nbd::Header {
        flags: 0,
        command: twindisk_nbd::protocol::command::WRITE,
        cookie: twindisk_nbd::Cookie(1),
        offset: 0,
        length: 4096,
    };
    // The thread stands still while the client writes and hangs up: it sees both in one batch.
    let (entered, is_standing) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let stand = Input::Status(Box::new(move |_| {
        entered.send(()).expect("waited for");
        may_go_on.recv_timeout(DEADLINE).expect("released");
    }));
    node.sender().send(stand).expect("running");
    is_standing
        .recv_timeout(DEADLINE)
        .expect("the thread stands");
    for block in 0..20 {
        header.offset = block * 4096;
        raw.write_all(&header.encode()).expect("header");
        raw.write_all(&[7; 4096]).expect("payload");
    }
    drop(raw);
    go_on.send(()).expect("the thread waits");
    let mut client = node.kernel_client();
    let mut read = vec![9; 20 * 4096];
    client.read(0, &mut read).expect("read");
    assert!(read.iter().all(|&byte| byte == 0));
}

#[test]
fn a_closed_device_sends_its_clients_away_and_opens_again() {
    let node = primary(256);
    for round in 0..3u8 {
        let mut clients = [node.kernel_client(), node.structured_client()];
        clients[0].write(0, &[round; 4096], Fua::No).expect("write");
        node.command(twindisk_core::Command::Demote { abandon: false })
            .expect("demoted");
        for client in &mut clients {
            let mut block = [0; 4096];
            client.read(0, &mut block).expect_err("sent away");
        }
        node.promote();
        let mut block = [0; 4096];
        node.kernel_client().read(0, &mut block).expect("read");
        assert_eq!(block, [round; 4096]);
    }
}
