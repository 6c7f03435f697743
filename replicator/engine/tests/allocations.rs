//! Counts what a resource's thread allocates while requests go through it: nothing for each of them.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::mpsc,
};

use twindisk_engine::{Input, ReplicaOptions, store::IoMode};
use twindisk_nbd::Command;

#[allow(
    dead_code,
    reason = "shared with the other tests, which use more of it"
)]
#[path = "engine/harness.rs"]
mod harness;

#[path = "engine/encrypted.rs"]
mod encrypted;

use harness::{DEADLINE, Node};

struct Counting;

thread_local! {
    /// Allocations of this thread; `None`: it is not watched.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: everything is passed on to the system's allocator; counting touches a thread-local cell that is made at
// compile time and needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get().map(|count| count + 1));
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get().map(|count| count + 1));
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begins to count on the node's thread, and gives what was counted before.
fn count(node: &Node) -> u64 {
    let (answer, counted) = mpsc::channel();
    let swap = Box::new(move |_| {
        let count = COUNT.replace(None).unwrap_or(0);
        let _ = answer.send(count);
        COUNT.set(Some(0));
    });
    node.sender().send(Input::Status(swap)).expect("running");
    counted.recv_timeout(DEADLINE).expect("answered")
}

fn load(node: &Node, requests: u32) {
    let mut client = node.kernel_client();
    let data = vec![3; 64 << 10];
    let mut answered = 0;
    for index in 0..requests {
        let offset = u64::from(index % 200) * 4096;
        let (command, length) = match index % 4 {
            0 | 1 => (Command::Write { fua: false }, 4096),
            2 => (Command::Write { fua: false }, 64 << 10),
            _ => (
                Command::Read {
                    dont_fragment: false,
                },
                16 << 10,
            ),
        };
        let payload = match command {
            Command::Write { .. } => &data[..length],
            _ => &[],
        };
        client
            .submit(command, offset, length as u32, payload)
            .expect("submit");
        if client.in_flight() > 30 {
            assert!(client.receive().expect("reply").result.is_ok());
            answered += 1;
        }
    }
    while answered < requests {
        assert!(client.receive().expect("reply").result.is_ok());
        answered += 1;
    }
}

#[test]
fn requests_cost_no_allocation_each() {
    for io in [IoMode::Direct, IoMode::Cached] {
        cost_no_allocation_each(io);
    }
}

/// What rustls takes for its records has a bound, too.
#[test]
fn requests_cost_few_allocations_each_with_tls() {
    let requests = 4000;
    let mut one = Node::new(1, &[2], 1024);
    let mut other = Node::new(2, &[1], 1024);
    one.start();
    other.start();
    encrypted::connect(&one, &other);
    one.promote();
    load(&one, requests);
    count(&one);
    count(&other);
    load(&one, requests);
    for node in [&one, &other] {
        let allocations = count(node);
        eprintln!(
            "TLS, node {}: {allocations} allocations in {requests} requests",
            node.id
        );
        assert!(allocations < u64::from(requests) * 8, "{allocations}");
    }
}

fn cost_no_allocation_each(io: IoMode) {
    let requests = 4000;
    let mut one = Node::new(1, &[2], 1024);
    let mut other = Node::new(2, &[1], 1024);
    for node in [&mut one, &mut other] {
        let options = ReplicaOptions {
            io,
            ..node.options()
        };
        node.try_start(options).expect("start");
    }
    harness::connect(&one, &other);
    one.promote();
    // Tables grow to what this load needs.
    load(&one, requests);
    count(&one);
    count(&other);
    load(&one, requests);
    for node in [&one, &other] {
        let allocations = count(node);
        eprintln!(
            "{io}, node {}: {allocations} allocations in {requests} requests",
            node.id
        );
        // The core's ordered maps take a node for every dozen entries; connecting, pings and this very call allocate,
        // too. One allocation for each request would be seen.
        assert!(allocations < u64::from(requests) / 5, "{allocations}");
    }
}
