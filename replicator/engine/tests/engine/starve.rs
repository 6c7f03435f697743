//! Clients that promise and do not send, that ask and do not read: nobody else waits for them.

use std::{
    fs::File,
    io::Write,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use twindisk_nbd::{
    Command, Cookie, Header,
    client::{Answer, Client, Fua},
    protocol::command,
};

use crate::harness::{DEADLINE, Node};

/// As many as the goal says.
const MANY: usize = 64;

const LARGE: u32 = 32 << 20;

fn primary() -> Node {
    let mut node = Node::new(1, &[], 16 * 1024);
    node.start().promote();
    node
}

fn pattern(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 12) as u8)
        .collect()
}

/// A write of the largest length, and so much of its payload.
fn promise(node: &Node, sent: usize) -> UnixStream {
    let mut raw = node.kernel_client().into_stream().expect("idle");
    let header = Header {
        flags: 0,
        command: command::WRITE,
        cookie: Cookie(1),
        offset: 1,
        length: LARGE,
    };
    raw.write_all(&header.encode()).expect("header");
    raw.write_all(&vec![1; sent]).expect("payload");
    raw
}

/// Requests of every size, each answered rightly and soon.
fn assert_served(node: &Node) {
    let began = Instant::now();
    let mut client = node.kernel_client();
    for length in [4096, 65_536, 1 << 20, LARGE as usize - 4096] {
        for offset in [32 << 20, (32 << 20) + 512] {
            let data = pattern(offset, length);
            client.write(offset, &data, Fua::No).expect("write");
            let mut read = vec![0; length];
            client.read(offset, &mut read).expect("read");
            assert!(read == data, "{length} bytes at {offset}");
        }
    }
    client.flush().expect("flush");
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

#[test]
fn a_promise_takes_no_memory() {
    let node = primary();
    let promises: Vec<_> = (0..MANY).map(|_| promise(&node, 0)).collect();
    assert_served(&node);
    assert!(node.status().activity.requests < 8);
    drop(promises);
}

#[test]
fn payloads_that_stop_in_their_middle_leave_room_for_others() {
    let node = primary();
    let stopped: Vec<_> = (0..MANY)
        .map(|at| promise(&node, 9000 + 20_000 * at))
        .collect();
    assert_served(&node);
    drop(stopped);
    assert_served(&node);
}

#[test]
fn answers_that_nobody_reads_leave_room_for_others() {
    let node = primary();
    let mut silent: Vec<_> = (0..MANY).map(|_| node.kernel_client()).collect();
    for client in &mut silent {
        for length in [65_536, LARGE, 4096, 1 << 20, LARGE, LARGE, LARGE] {
            client
                .submit(
                    Command::Read {
                        dont_fragment: false,
                    },
                    0,
                    length,
                    &[],
                )
                .expect("submit");
        }
    }
    assert_served(&node);
    drop(silent);
    assert_served(&node);
}

/// A read that finds no room for all of it is sent piece by piece, and nothing comes in between.
#[test]
fn what_is_read_late_and_in_pieces_is_right() {
    let node = primary();
    let all = pattern(0, 64 << 20);
    let mut writer = node.kernel_client();
    for (offset, half) in [(0, &all[..32 << 20]), (32 << 20, &all[32 << 20..])] {
        writer.write(offset, half, Fua::No).expect("write");
    }
    let others: Vec<_> = (0..8).map(|at| promise(&node, 9000 + at)).collect();
    let late = [node.kernel_client(), node.structured_client()];
    let late = late.map(|client| ask_much(client, all.len() as u64));
    // Both have more in flight than there is memory.
    assert_served_beside(&node);
    for (mut client, asked) in late {
        for _ in 0..asked {
            let done = client.receive().expect("answered");
            let request = done.request;
            let from = request.offset as usize;
            match done.result.expect("success") {
                Answer::Data(data) => {
                    let expected = &all[from..from + request.length as usize];
                    assert!(data == expected, "{request:?}");
                }
                other => assert_eq!(other, Answer::Done, "{request:?}"),
            }
        }
    }
    drop(others);
}

fn ask_much(mut client: Client<UnixStream>, size: u64) -> (Client<UnixStream>, usize) {
    let mut asked = 0;
    for round in 0..6_u64 {
        let reads = [(round * 512 + 1, LARGE - 4096), (round << 20, 4096)];
        for (offset, length) in reads {
            let read = Command::Read {
                dont_fragment: false,
            };
            client.submit(read, offset, length, &[]).expect("submit");
        }
        let at = size - 4096 * (round + 1);
        let data = pattern(at, 4096);
        let write = Command::Write { fua: false };
        client.submit(write, at, 4096, &data).expect("submit");
        client.submit(Command::Flush, 0, 0, &[]).expect("submit");
        asked += 4;
    }
    (client, asked)
}

/// Small requests only: the others look at the data.
fn assert_served_beside(node: &Node) {
    let mut client = node.kernel_client();
    let began = Instant::now();
    for at in 0..200 {
        let offset = at * 4096;
        let data = pattern(offset, 4096);
        client.write(offset, &data, Fua::No).expect("write");
    }
    assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
}

/// Clients that are sent away, or leave, in the middle of everything give everything back.
#[test]
fn a_device_that_closes_beside_them_opens_again() {
    let node = primary();
    for _ in 0..3 {
        let promises: Vec<_> = (0..8).map(|at| promise(&node, at * 300_000)).collect();
        let late: Vec<_> = (0..4)
            .map(|_| ask_much(node.structured_client(), 64 << 20))
            .collect();
        assert_served_beside(&node);
        node.command(twindisk_core::Command::Demote { abandon: false })
            .expect("demoted");
        for (mut client, _) in late {
            // Whatever is said to be data is.
            while let Ok(done) = client.receive() {
                if let Ok(Answer::Data(data)) = done.result {
                    assert_eq!(data.len(), done.request.length as usize);
                }
            }
        }
        drop(promises);
        node.promote();
        assert_served(&node);
    }
}

/// Many at once are answered one after the other, beside everything else, and a device that closes meanwhile loses none of
/// its requests' places.
#[test]
fn block_status_is_answered_beside_the_rest() {
    let node = primary();
    for round in 0..2 {
        let mut asking: Vec<_> = (0..8).map(|_| node.structured_client()).collect();
        for client in &mut asking {
            let one_extent = false;
            for at in 0..200_u64 {
                let status = Command::BlockStatus { one_extent };
                (client.submit(status, at * 8192, LARGE, &[])).expect("submit");
            }
        }
        assert_served_beside(&node);
        for client in &mut asking {
            for _ in 0..if round == 0 { 200 } else { 10 } {
                let done = client.receive().expect("answered");
                match done.result.expect("success") {
                    Answer::Extents(extents) => assert!(!extents.is_empty()),
                    other => panic!("{other:?}"),
                }
            }
        }
        node.command(twindisk_core::Command::Demote { abandon: false })
            .expect("demoted");
        drop(asking);
        node.promote();
    }
    assert_served_beside(&node);
}

#[test]
fn strangers_of_a_network_leave_places_for_this_host() {
    let node = primary();
    let many: Vec<_> = (0..300).map(|_| node.tcp_client()).collect();
    assert_served_beside(&node);
    let mut locals: Vec<_> = (0..60).map(|_| node.kernel_client()).collect();
    for client in &mut locals {
        client.flush().expect("it has its place");
    }
    drop(many);
}

/// Each flood is answered, too, but sixteen at a time.
#[test]
fn a_flood_of_requests_that_cost_nothing_leaves_the_thread_to_others() {
    let node = primary();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..MANY / 4 {
            let mut client = node.structured_client();
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    while client.in_flight() < 200 {
                        client
                            .submit(Command::Cache, 0, LARGE, &[])
                            .expect("submit");
                    }
                    while client.in_flight() > 100 {
                        client.receive().expect("answered");
                    }
                }
            });
        }
        assert_served_beside(&node);
        over.store(true, Ordering::Relaxed);
    });
}

/// A read that found room for its first parts only fails in the others, after those are there: what lies in the buffers is no
/// answer.
#[test]
fn the_rest_of_a_read_fails() {
    let node = primary();
    let mut writer = node.kernel_client();
    for (offset, byte) in [(0, 0xAA), (32 << 20, 0xAA), (0, 0x55)] {
        let bytes = vec![byte; LARGE as usize];
        writer.write(offset, &bytes, Fua::No).expect("write");
    }
    drop(writer);
    let read = |client: &mut Client<UnixStream>, offset, length| {
        let command = Command::Read {
            dont_fragment: false,
        };
        client.submit(command, offset, length, &[]).expect("sent");
    };
    // It takes nothing of what it has asked for: half of all memory is with it.
    let mut holds = node.kernel_client();
    read(&mut holds, 0, 16 << 20);
    sleep(Duration::from_millis(500));
    let mut client = node.kernel_client();
    read(&mut client, 40 << 20, 20 << 20);
    sleep(Duration::from_millis(500));
    let file = File::options().write(true).open(node.backing());
    file.expect("its file").set_len(41 << 20).expect("cut");
    drop(holds);
    // An error, or no connection any more, is an answer.
    let Ok(done) = client.receive() else { return };
    match done.result {
        Ok(Answer::Data(data)) => assert!(
            data.iter().all(|byte| *byte == 0xAA),
            "bytes of another client"
        ),
        Ok(other) => panic!("{other:?}"),
        Err(_) => {}
    }
}
