//! Two nodes: what one writes, the other has.

use std::io::Write as _;

use twindisk_core::{Command as Admin, ConnectionState};
use twindisk_engine::Input;
use twindisk_nbd::Command;
use twindisk_nbd::client::{Fua, Zeroing};

use crate::harness::{Node, connect, link, until};

fn pair(blocks: u64) -> (Node, Node) {
    let mut one = Node::new(1, &[2], blocks);
    let mut other = Node::new(2, &[1], blocks);
    one.start();
    other.start();
    connect(&one, &other);
    (one, other)
}

fn stop_both_and_compare(one: &mut Node, other: &mut Node) {
    one.stop();
    other.stop();
    assert!(one.contents() == other.contents(), "the replicas differ");
}

#[test]
fn writes_zeros_and_flushes_are_on_both() {
    let (mut one, mut other) = pair(4096);
    one.promote();
    let mut client = one.structured_client();
    for (index, length) in [1usize, 4096, 5000, 65_536, 3 << 20]
        .into_iter()
        .enumerate()
    {
        let data: Vec<u8> = (0..length).map(|at| (at * 7 + index) as u8).collect();
        let offset = (index * 2) << 20;
        client.write(offset as u64, &data, Fua::Yes).expect("write");
        assert!(
            other.contents()[offset..offset + length] == data,
            "{length} bytes"
        );
    }
    let zeroing = Zeroing {
        fua: true,
        ..Zeroing::default()
    };
    client.write_zeroes(100, 1 << 20, zeroing).expect("zero");
    client.trim(6 << 20, 8192, Fua::No).expect("trim");
    client.flush().expect("flush");
    client.disconnect().expect("disconnect");
    stop_both_and_compare(&mut one, &mut other);
}

#[test]
fn a_deep_queue_is_replicated() {
    let (mut one, mut other) = pair(4096);
    one.promote();
    let mut client = one.kernel_client();
    let mut answered = 0;
    for index in 0..2000u32 {
        let offset = u64::from(index.wrapping_mul(2_654_435_761) % 4096) * 4096;
        client
            .submit(
                Command::Write { fua: false },
                offset,
                4096,
                &[index as u8; 4096],
            )
            .expect("submit");
        if client.in_flight() >= 64 {
            assert!(client.receive().expect("reply").result.is_ok());
            answered += 1;
        }
    }
    while answered < 2000 {
        assert!(client.receive().expect("reply").result.is_ok());
        answered += 1;
    }
    drop(client);
    stop_both_and_compare(&mut one, &mut other);
}

#[test]
fn a_newer_connection_takes_the_place_of_the_older_one() {
    let (mut one, mut other) = pair(1024);
    one.promote();
    let mut client = one.kernel_client();
    for round in 0..5u8 {
        client.write(0, &[round; 8192], Fua::No).expect("write");
        // No LinkBroken for a replaced connection: nothing broke.
        connect(&one, &other);
    }
    client.write(4096, &[99; 4096], Fua::No).expect("write");
    drop(client);
    stop_both_and_compare(&mut one, &mut other);
}

#[test]
fn what_was_written_alone_is_resynced() {
    let (mut one, mut other) = pair(1024);
    one.promote();
    one.command(Admin::Disconnect {
        peer: one.slot_of(2),
    })
    .expect("disconnected");
    until("the link goes", || {
        (one.status().peers[0].connection == ConnectionState::Standalone).then_some(())
    });
    let mut client = one.kernel_client();
    client
        .write(0, &[1; 1 << 20], Fua::No)
        .expect("write alone");
    client
        .write(3 << 20, &[2; 5000], Fua::Yes)
        .expect("write alone");
    one.command(Admin::Connect {
        peer: one.slot_of(2),
    })
    .expect("connects");
    let (near, far) = link(&one, &other);
    one.sender().send(Input::Peer(near)).expect("running");
    other.sender().send(Input::Peer(far)).expect("running");
    until("in sync again", || {
        let status = one.status();
        (status.in_sync == [1, 2]).then_some(())
    });
    client.write(8192, &[3; 4096], Fua::Yes).expect("write");
    assert_eq!(other.contents()[8192..8193], [3]);
    drop(client);
    stop_both_and_compare(&mut one, &mut other);
}

#[test]
fn a_write_cut_off_within_its_payload_never_happens_whole() {
    let (mut one, mut other) = pair(1024);
    one.promote();
    let client = one.kernel_client();
    let mut raw = client.into_stream().expect("nothing in flight");
    let header = twindisk_nbd::Header {
        flags: 0,
        command: twindisk_nbd::protocol::command::WRITE,
        cookie: twindisk_nbd::Cookie(1),
        offset: 0,
        length: 512 << 10,
    };
    raw.write_all(&header.encode()).expect("header");
    raw.write_all(&[7; 300_000]).expect("part of the payload");
    drop(raw);
    let mut client = one.kernel_client();
    let mut read = vec![9; 512 << 10];
    client.read(0, &mut read).expect("read");
    assert!(read.iter().all(|&byte| byte == 0));
    until("it is forgotten", || {
        (one.status().activity.requests == 0).then_some(())
    });
    drop(client);
    stop_both_and_compare(&mut one, &mut other);
}

#[test]
fn large_writes_go_through_a_small_pool_of_the_peer() {
    let (mut one, mut other) = pair(16 * 1024);
    one.promote();
    let clients: Vec<_> = (0..4).map(|_| one.kernel_client()).collect();
    std::thread::scope(|scope| {
        for (index, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let offset = (index as u64) << 24;
                for round in 0..6u8 {
                    let data = vec![round * 16 + index as u8 + 1; 15 << 20];
                    client.write(offset, &data, Fua::No).expect("write");
                }
            });
        }
    });
    stop_both_and_compare(&mut one, &mut other);
}
