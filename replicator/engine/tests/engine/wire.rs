//! A peer that does not keep to the protocol: nothing of it is believed.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use twindisk_engine::{Input, Notice, PeerLink};
use twindisk_format::{
    auth::Session,
    frame::{Envelope, Frame, How},
    ids::{BlockRange, BootId, NodeId, ResourceId, Seq, Term},
    wire::ChainEncoder,
};

use crate::harness::{DEADLINE, Node, until};

/// A standby, and the far end of its link with the encoder for it.
fn standby() -> (Node, TcpStream, ChainEncoder) {
    let mut node = Node::new(1, &[2], 1024);
    node.start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let far = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    far.set_read_timeout(Some(DEADLINE)).expect("timeout");
    let (near, _) = listener.accept().expect("accept");
    let link = PeerLink {
        peer: node.slot_of(2),
        socket: near.into(),
        session: Session {
            peer: NodeId(2),
            peer_boot: BootId(5),
            resource: ResourceId(2),
            version: 1,
            features: 0,
            send_seed: 1,
            receive_seed: 2,
        },
        leftover: Vec::new(),
        tls: None,
    };
    node.sender().send(Input::Peer(link)).expect("running");
    (node, far, ChainEncoder::new(2))
}

fn envelope(frame: Frame) -> Envelope {
    Envelope {
        term: Term(1),
        stable: Seq(0),
        frame,
    }
}

fn write_of(blocks: u32) -> Envelope {
    envelope(Frame::Write {
        seq: Seq(1),
        depends_on: Seq(0),
        range: BlockRange::new(0, blocks),
        how: How::default(),
    })
}

/// Why the node dropped the link.
fn broken(node: &Node) -> String {
    node.wait("the link breaks", |notice| match notice {
        Notice::LinkBroken { why, .. } => Some(why),
        _ => None,
    })
}

/// The node has closed its end.
fn is_closed(far: &mut TcpStream) {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = far.read_to_end(&mut bytes);
}

/// Each ping has an answer, and nobody takes them: the link ends before they fill the memory.
#[test]
fn who_asks_and_reads_no_answer_loses_the_link() {
    let (node, mut far, mut encoder) = standby();
    far.set_write_timeout(Some(DEADLINE)).expect("timeout");
    let mut ping = || encoder.encode(&envelope(Frame::Ping), 0, &mut Vec::new());
    // What is on the way in the kernel, and what waits, is less than half of this.
    for _ in 0..200 {
        let pings: Vec<u8> = (0..10_000).flat_map(|_| ping()).collect();
        if far.write_all(&pings).is_err() {
            break;
        }
    }
    let why = broken(&node);
    assert!(why.contains("goes on asking"), "{why}");
    assert_eq!(node.status().role, twindisk_core::Role::Standby);
}

#[test]
fn a_flipped_bit_in_a_header_breaks_the_chain() {
    let (node, mut far, mut encoder) = standby();
    let mut inline = Vec::new();
    let mut header = encoder.encode(&envelope(Frame::Ping), 0, &mut inline);
    header[24] ^= 4;
    far.write_all(&header).expect("send");
    let why = broken(&node);
    assert!(why.contains("chain value"), "{why}");
    is_closed(&mut far);
}

#[test]
fn a_lost_frame_breaks_the_chain() {
    let (node, mut far, mut encoder) = standby();
    let mut inline = Vec::new();
    let _lost = encoder.encode(&envelope(Frame::Ping), 0, &mut inline);
    let next = encoder.encode(&envelope(Frame::Ping), 0, &mut inline);
    far.write_all(&next).expect("send");
    let why = broken(&node);
    assert!(why.contains("lost, repeated or reordered"), "{why}");
}

#[test]
fn a_flipped_bit_in_a_payload_never_reaches_the_disk() {
    for blocks in [1u32, 200] {
        let (mut node, mut far, mut encoder) = standby();
        let mut data = vec![0xab; blocks as usize * 4096];
        let crc = crc32fast::hash(&data);
        let header = encoder.encode(&write_of(blocks), crc, &mut Vec::new());
        data[blocks as usize * 2000] ^= 1;
        far.write_all(&header).expect("send");
        far.write_all(&data).expect("send");
        let why = broken(&node);
        assert!(
            why.contains(&format!("{crc:08x}")),
            "both values are named: {why}"
        );
        assert!(
            why.contains(&format!("{:08x}", crc32fast::hash(&data))),
            "{why}"
        );
        node.stop();
        assert!(node.contents().iter().all(|&byte| byte == 0));
    }
}

#[test]
fn a_cut_frame_never_reaches_the_disk() {
    let (mut node, mut far, mut encoder) = standby();
    let data = vec![0xab; 100 * 4096];
    let header = encoder.encode(&write_of(100), crc32fast::hash(&data), &mut Vec::new());
    far.write_all(&header).expect("send");
    far.write_all(&data[..data.len() - 1]).expect("send");
    drop(far);
    broken(&node);
    until("the node knows", || {
        let status = node.status();
        (status.peers[0].connection != twindisk_core::ConnectionState::Established).then_some(())
    });
    node.stop();
    assert!(node.contents().iter().all(|&byte| byte == 0));
}
