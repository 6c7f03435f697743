//! What the NBD checklist (`nbd/README.md`) leaves to whoever serves.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::OwnedFd,
};

use twindisk_core::{Command as Admin, ConnectionState};
use twindisk_engine::Input;
use twindisk_nbd::{
    Command, Errno,
    client::{Fua, Zeroing},
    protocol::{STATE_HOLE, STATE_ZERO},
};

use crate::harness::{Node, link, until};

const MIB: u64 = 1 << 20;

fn primary(blocks: u64) -> Node {
    let mut node = Node::new(1, &[], blocks);
    node.start().promote();
    node
}

fn disk_flushes(node: &Node) -> u64 {
    node.status().activity.disk_flushes
}

#[test]
fn a_flush_on_one_connection_covers_the_writes_of_another() {
    let node = primary(1024);
    let (mut writer, mut flusher) = (node.kernel_client(), node.structured_client());
    flusher.flush().expect("flush");
    for round in 1..=3u8 {
        let before = disk_flushes(&node);
        writer.write(0, &[round; 8192], Fua::No).expect("write");
        assert_eq!(disk_flushes(&node), before, "a write alone flushes nothing");
        flusher.flush().expect("flush");
        assert_eq!(disk_flushes(&node), before + 1);
        // With nothing written since, there is nothing to flush.
        writer.flush().expect("flush");
        assert_eq!(disk_flushes(&node), before + 1);
    }
}

#[test]
fn a_fast_zero_is_fast_or_refused_and_a_hole_is_told_as_one() {
    let node = primary(4096);
    let mut client = node.structured_client();
    client.write(0, &vec![7; 4 << 20], Fua::No).expect("write");
    let fast = Zeroing {
        fua: false,
        no_hole: false,
        fast: true,
    };
    let mut expected = vec![7; 4 << 20];
    let zeroed = client.write_zeroes(MIB, 1 << 20, fast);
    match zeroed {
        Ok(()) => expected[1 << 20..2 << 20].fill(0),
        Err(error) => assert!(error.to_string().contains("ot supported"), "{error}"),
    }
    client.trim(2 * MIB, 1 << 20, Fua::No).expect("trim");
    expected[2 << 20..3 << 20].fill(0);
    let kept = Zeroing {
        fua: false,
        no_hole: true,
        fast: false,
    };
    client.write_zeroes(3 * MIB, 65536, kept).expect("zero");
    expected[3 << 20..(3 << 20) + 65536].fill(0);
    client.flush().expect("flush");
    let mut read = vec![1; 4 << 20];
    client.read(0, &mut read).expect("read");
    assert!(read == expected);

    let extents = client.block_status(0, 4 << 20).expect("status");
    let mut at = 0;
    let mut holes = 0;
    for extent in &extents {
        let length = usize::try_from(extent.length).expect("64 bits");
        if extent.flags & STATE_ZERO != 0 {
            let bytes = &read[at..at + length];
            assert!(bytes.iter().all(|byte| *byte == 0), "{extent:?} at {at}");
        }
        if extent.flags & STATE_HOLE != 0 {
            holes += length;
            let kept = 3 << 20..(3 << 20) + 65536;
            assert!(!kept.contains(&at), "what was to keep its place is a hole");
        }
        at += length;
    }
    assert_eq!(at, 4 << 20, "{extents:?}");
    assert!(holes >= 1 << 20, "the trimmed part is one: {extents:?}");
}

#[test]
fn a_disconnect_lets_what_is_in_flight_finish() {
    let node = primary(1024);
    let mut client = node.kernel_client();
    for block in 0..100u64 {
        let data = [block as u8 + 1; 4096];
        client
            .submit(Command::Write { fua: true }, block * 4096, 4096, &data)
            .expect("submit");
    }
    client
        .submit(Command::Disconnect, 0, 0, &[])
        .expect("submit");
    for _ in 0..100 {
        let done = client.receive().expect("answered, though it said goodbye");
        assert!(done.result.is_ok(), "{done:?}");
    }
    let contents = node.contents();
    for block in 0..100 {
        assert_eq!(contents[block * 4096], block as u8 + 1);
    }
}

/// Two nodes in sync and a hold on their connection, which nobody makes anew.
fn pair_with_a_fuse() -> (Node, Node, TcpStream) {
    let mut one = Node::new(1, &[2], 1024);
    let mut other = Node::new(2, &[1], 1024);
    one.start();
    other.start();
    let (near, far) = link(&one, &other);
    let fuse = OwnedFd::try_clone(&near.socket).expect("one more descriptor");
    one.sender().send(Input::Peer(near)).expect("running");
    other.sender().send(Input::Peer(far)).expect("running");
    until("the peers replicate", || {
        let peer = &one.status().peers[0];
        (peer.connection == ConnectionState::Established && peer.in_sync).then_some(())
    });
    (one, other, TcpStream::from(fuse))
}

#[test]
fn requests_that_wait_when_the_device_is_closed_are_answered_with_shutdown() {
    let (one, _other, fuse) = pair_with_a_fuse();
    one.promote();
    let mut client = one.kernel_client();
    client.write(0, &[1; 4096], Fua::No).expect("write");
    fuse.shutdown(Shutdown::Both).expect("cut");
    until("the primary waits for a word about its peer", || {
        one.status().suspended.map(drop)
    });
    for command in [Command::Write { fua: false }, Command::Flush] {
        let (length, data) = match command {
            Command::Flush => (0, &[][..]),
            _ => (4096, &[2; 4096][..]),
        };
        client.submit(command, 0, length, data).expect("submit");
    }
    until("both are there", || {
        (one.status().activity.requests == 2).then_some(())
    });
    one.command(Admin::Demote { abandon: true })
        .expect("demoted");
    for _ in 0..2 {
        let done = client.receive().expect("answered before it is closed");
        let error = done.result.expect_err("not done");
        assert_eq!(error.errno, Errno::Shutdown, "{error}");
    }
    client.receive().expect_err("and then it is closed");
}
