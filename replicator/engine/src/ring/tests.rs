//! The ring against the kernel.

use std::{
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use io_uring::opcode;

use super::*;
use crate::tokens::Kind;

fn token(slot: u32) -> Token {
    Token::new(Kind::Disk, 1, slot)
}

fn nop(ring: &mut Ring, turn: Turn, slot: u32) {
    let file = RingFile::Descriptor(-1);
    // SAFETY: a no-op points to nothing.
    unsafe { ring.stage(turn, file, opcode::Nop::new().build(), token(slot)) };
}

#[test]
fn operations_begin_in_the_order_of_their_turn() {
    let mut ring = Ring::new(4).expect("ring");
    nop(&mut ring, Turn::Receive, 3);
    nop(&mut ring, Turn::Disk, 2);
    nop(&mut ring, Turn::Peers, 0);
    nop(&mut ring, Turn::Replies, 1);
    assert_eq!(ring.in_flight(), 4);
    let mut completions = Vec::new();
    while completions.len() < 4 {
        ring.turn(None, Duration::ZERO, &mut completions)
            .expect("turn");
    }
    let slots: Vec<u32> = completions.iter().map(|done| done.token.slot).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn more_than_the_queue_holds_goes_through() {
    let mut ring = Ring::new(4).expect("ring");
    let many = RING_ENTRIES * COMPLETIONS_PER_ENTRY * 2 + 17;
    for slot in 0..many {
        nop(&mut ring, Turn::Disk, slot);
    }
    let mut completions = Vec::new();
    while completions.len() < many as usize {
        ring.turn(None, Duration::ZERO, &mut completions)
            .expect("turn");
    }
    assert_eq!(ring.in_flight(), 0);
    let mut slots: Vec<u32> = completions.iter().map(|done| done.token.slot).collect();
    slots.sort_unstable();
    assert!(slots.iter().copied().eq(0..many));
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let mut ring = Ring::new(4).expect("ring");
    let mut completions = Vec::new();
    let timeout = Duration::from_millis(20);
    for spin in [Duration::ZERO, timeout / 2, 2 * timeout] {
        let waited = ring
            .turn(Some(timeout), spin, &mut completions)
            .expect("turn");
        let Waited::InVain(time) = waited else {
            panic!("{waited:?}, and nothing came");
        };
        assert!(time >= timeout * 19 / 20);
        assert!(completions.is_empty());
    }
}

#[test]
fn spinning_sees_a_receive_on_a_registered_socket() {
    let mut ring = Ring::new(4).expect("ring");
    let (mut ours, theirs) = UnixStream::pair().expect("pair");
    let file = ring.add_file(theirs.as_raw_fd());
    assert!(matches!(file, RingFile::Registered(_)));
    let mut buffer = [0u8; 8];
    let entry = opcode::Recv::new(file.fd(), buffer.as_mut_ptr(), 8).build();
    // SAFETY: `buffer` lives until the completion is taken below.
    unsafe { ring.stage(Turn::Receive, file, entry, token(7)) };
    let mut completions = Vec::new();
    ring.turn(Some(Duration::ZERO), Duration::ZERO, &mut completions)
        .expect("turn");
    assert!(completions.is_empty());
    ours.write_all(b"12345").expect("write");
    ring.turn(None, Duration::from_secs(5), &mut completions)
        .expect("turn");
    assert_eq!(completions[0].bytes(), Ok(5));
    assert_eq!(&buffer[..5], b"12345");
    ring.forget_file(file);
    drop(theirs);
    assert!(
        ours.write_all(b"x").is_err(),
        "the ring must not keep the socket open"
    );
}
