//! Links with TLS: what goes through them arrives, and what was altered on the way never does.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

use rustls::Connection;
use twindisk_core::{Command as Admin, ConnectionState};
use twindisk_engine::{Input, Notice, PeerLink};
use twindisk_format::{
    auth::Session,
    frame::{Envelope, Frame},
    ids::{BootId, NodeId, ResourceId, Seq, Term},
    wire::ChainEncoder,
};
use twindisk_nbd::{Command, client::Fua};

use crate::{
    encrypted::{self, connect},
    harness::{Node, until},
};

#[test]
fn small_and_large_writes_are_on_both_and_what_was_missed_is_resynced() {
    let mut one = Node::new(1, &[2], 4096);
    let mut other = Node::new(2, &[1], 4096);
    one.start();
    other.start();
    connect(&one, &other);
    one.promote();
    let mut client = one.kernel_client();
    let data = |seed: usize, length: usize| -> Vec<u8> {
        (0..length)
            .map(|at| (at * 31 + at / 4096 + seed) as u8)
            .collect()
    };
    for (index, length) in [4096, 5000, 16 << 10, 1 << 20, 3 << 20]
        .into_iter()
        .enumerate()
    {
        let (offset, data) = (index << 20, data(index, length));
        client.write(offset as u64, &data, Fua::Yes).expect("write");
        let there = &other.contents()[offset..offset + length];
        assert!(there == data, "{length} bytes");
    }
    for index in 0..600u32 {
        let offset = u64::from(index.wrapping_mul(2_654_435_761) % 2048) * 4096;
        let length = if index % 9 == 0 { 1 << 20 } else { 4096 };
        let data = data(index as usize, length);
        client
            .submit(Command::Write { fua: false }, offset, length as u32, &data)
            .expect("submit");
        if client.in_flight() > 31 {
            assert!(client.receive().expect("reply").result.is_ok());
        }
    }
    while client.in_flight() > 0 {
        assert!(client.receive().expect("reply").result.is_ok());
    }

    one.command(Admin::Disconnect {
        peer: one.slot_of(2),
    })
    .expect("disconnected");
    until("the link goes", || {
        (one.status().peers[0].connection == ConnectionState::Standalone).then_some(())
    });
    client
        .write(0, &data(1, 5 << 20), Fua::No)
        .expect("write alone");
    one.command(Admin::Connect {
        peer: one.slot_of(2),
    })
    .expect("connects");
    connect_again(&one, &other);
    client.write(8192, &[3; 4096], Fua::Yes).expect("write");
    drop(client);
    one.stop();
    other.stop();
    assert!(one.contents() == other.contents(), "the replicas differ");
}

fn connect_again(one: &Node, other: &Node) {
    connect(one, other);
    until("in sync again", || {
        (one.status().in_sync == [1, 2]).then_some(())
    });
}

/// More than the standby has memory for: it stops reading, and goes on, again and again.
#[test]
fn large_writes_go_through_a_small_pool_of_the_peer() {
    let mut one = Node::new(1, &[2], 16 * 1024);
    let mut other = Node::new(2, &[1], 16 * 1024);
    one.start();
    other.start();
    connect(&one, &other);
    one.promote();
    let clients: Vec<_> = (0..4).map(|_| one.kernel_client()).collect();
    thread::scope(|scope| {
        for (index, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                let offset = (index as u64) << 24;
                for round in 0..3u8 {
                    let data = vec![round * 16 + index as u8 + 1; 15 << 20];
                    client.write(offset, &data, Fua::No).expect("write");
                }
            });
        }
    });
    one.stop();
    other.stop();
    assert!(one.contents() == other.contents(), "the replicas differ");
}

/// A peer that speaks TLS and whose ciphertext is at hand before it is sent.
struct Far {
    socket: TcpStream,
    tls: Box<Connection>,
    encoder: ChainEncoder,
}

fn standby() -> (Node, Far) {
    let mut node = Node::new(1, &[2], 1024);
    node.start();
    let (near, (socket, tls)) = encrypted::pair();
    let link = PeerLink {
        peer: node.slot_of(2),
        socket: near.0.into(),
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
        tls: Some(near.1),
    };
    node.sender().send(Input::Peer(link)).expect("running");
    let encoder = ChainEncoder::new(2);
    (
        node,
        Far {
            socket,
            tls,
            encoder,
        },
    )
}

impl Far {
    /// The record of a ping.
    fn ping(&mut self) -> Vec<u8> {
        let envelope = Envelope {
            term: Term(1),
            stable: Seq(0),
            frame: Frame::Ping,
        };
        let header = self.encoder.encode(&envelope, 0, &mut Vec::new());
        self.tls.writer().write_all(&header).expect("buffer");
        self.ciphertext()
    }

    fn ciphertext(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("buffer");
        }
        bytes
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("send");
    }

    /// Waits for so many bytes of frames.
    fn receive(&mut self, bytes: usize) {
        let mut seen = 0;
        while seen < bytes {
            assert!(self.tls.read_tls(&mut self.socket).expect("receive") > 0);
            let state = self.tls.process_new_packets().expect("its TLS");
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plain).expect("there");
            seen += plain.len();
        }
    }

    /// Reads to the end; whether the node said that it is one, or what it said instead.
    fn end(&mut self) -> Result<bool, rustls::Error> {
        loop {
            let read = self.tls.read_tls(&mut self.socket).unwrap_or(0);
            let state = self.tls.process_new_packets()?;
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            let _ = self.tls.reader().read(&mut plain);
            if state.peer_has_closed() || read == 0 {
                return Ok(state.peer_has_closed());
            }
        }
    }
}

fn broken(node: &Node) -> String {
    node.wait("the link breaks", |notice| match notice {
        Notice::LinkBroken { why, .. } => Some(why),
        _ => None,
    })
}

#[test]
fn what_was_altered_lost_repeated_or_reordered_ends_the_link() {
    type Attack = fn(Vec<u8>, Vec<u8>) -> Vec<Vec<u8>>;
    let attacks: [(&str, Attack); 4] = [
        ("altered", |mut first, second| {
            let middle = first.len() / 2;
            first[middle] ^= 1;
            vec![first, second]
        }),
        ("lost", |_, second| vec![second]),
        ("repeated", |first, _| vec![first.clone(), first]),
        ("reordered", |first, second| vec![second, first]),
    ];
    for (name, attack) in attacks {
        let (node, mut far) = standby();
        let (first, second) = (far.ping(), far.ping());
        for record in attack(first, second) {
            // Once the link is over it may be refused.
            let _ = far.socket.write_all(&record);
        }
        let why = broken(&node);
        assert!(
            why.contains("altered, lost, repeated or reordered"),
            "{name}: {why}"
        );
        let said = far.end().unwrap_err();
        assert!(
            format!("{said:?}").contains("BadRecordMac"),
            "{name}: {said:?}"
        );
    }
}

#[test]
fn records_come_in_pieces_and_with_new_keys() {
    let (node, mut far) = standby();
    for round in 0..4 {
        far.tls.refresh_traffic_keys().expect("TLS 1.3");
        let record = far.ping();
        for byte in record {
            far.send(&[byte]);
        }
        // An answer to each, at least.
        far.receive(64);
        assert!(
            node.status().peers[0].connection != ConnectionState::Connecting,
            "{round}"
        );
    }
}

#[test]
fn an_end_is_said_and_a_cut_does_not_pass_for_one() {
    let (node, far) = standby();
    far.socket.shutdown(Shutdown::Write).expect("cut");
    let why = broken(&node);
    assert!(why.contains("cut off"), "{why}");

    let (node, mut far) = standby();
    far.tls.send_close_notify();
    let words = far.ciphertext();
    far.send(&words);
    assert_eq!(broken(&node), "the peer closed it");

    let (node, mut far) = standby();
    let reader = thread::spawn(move || far.end());
    let peer = node.slot_of(2);
    node.command(Admin::Disconnect { peer }).expect("done");
    assert_eq!(reader.join().expect("reader"), Ok(true));
}

#[test]
fn what_is_no_tls_ends_the_link() {
    let (node, mut far) = standby();
    far.send(b"TWDK in the clear");
    let why = broken(&node);
    assert!(why.contains("no TLS"), "{why}");
}
