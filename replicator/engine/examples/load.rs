//! Random 4 KiB writes through one node, or through a pair of nodes over TCP, all in this process: latency, rate and
//! CPU time of the replicas' threads. For comparing two builds on one machine, not for boasting.
//!
//! `cargo run --release -p twindisk-engine --example load -- [seconds] [directory] [nodes] [depth]`
#![allow(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::{
    fs,
    time::{Duration, Instant},
};

use twindisk_engine::BusyPoll;
use twindisk_nbd::Command;

#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/engine/harness.rs"]
mod harness;

use harness::Node;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments
        .next()
        .map_or(2.0, |seconds| seconds.parse().unwrap());
    if let Some(directory) = arguments.next() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("TMPDIR", directory) };
    }
    let only_nodes: Option<u8> = arguments.next().map(|nodes| nodes.parse().unwrap());
    let only_depth: Option<usize> = arguments.next().map(|depth| depth.parse().unwrap());
    println!("nodes depth busy-poll fua   p50 us   p99 us     op/s  CPU us/op");
    for nodes in [1, 2] {
        for fua in [false, true] {
            for (depth, busy_poll) in [
                (1, BusyPoll::Off),
                (1, BusyPoll::Auto),
                (4, BusyPoll::Off),
                (4, BusyPoll::Auto),
                (32, BusyPoll::Off),
                (32, BusyPoll::Auto),
            ] {
                if only_nodes.is_some_and(|only| only != nodes)
                    || only_depth.is_some_and(|only| only != depth)
                {
                    continue;
                }
                let result = run(
                    nodes,
                    depth,
                    busy_poll,
                    fua,
                    Duration::from_secs_f64(seconds),
                );
                let name = match busy_poll {
                    BusyPoll::Off => "off ",
                    _ => "auto",
                };
                println!("{nodes:5} {depth:5} {name:>9} {fua:5} {result}");
            }
        }
    }
}

fn run(nodes: u8, depth: usize, busy_poll: BusyPoll, fua: bool, time: Duration) -> String {
    let blocks = 32 * 1024;
    let peers: &[u8] = if nodes == 2 { &[2] } else { &[] };
    let mut one = Node::new(1, peers, blocks);
    let mut other = Node::new(2, &[1], blocks);
    for node in [&mut one, &mut other] {
        let mut options = node.options();
        options.busy_poll = busy_poll;
        options.config.al_extents = 1024;
        node.try_start(options).unwrap();
    }
    if nodes == 2 {
        harness::connect(&one, &other);
    }
    one.promote();
    let mut client = one.kernel_client();
    let block = [7; 4096];
    let mut state = 1u64;
    let mut began = std::collections::HashMap::new();
    let mut latencies = Vec::new();
    // The first extents are cold; that is not what is measured.
    for extent in 0..blocks / 1024 {
        client
            .write(extent << 22, &block, twindisk_nbd::client::Fua::No)
            .unwrap();
    }
    let cpu = cpu_ticks();
    let start = Instant::now();
    while start.elapsed() < time || client.in_flight() > 0 {
        while client.in_flight() < depth && start.elapsed() < time {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let offset = (state >> 33) % blocks * 4096;
            let cookie = client
                .submit(Command::Write { fua }, offset, 4096, &block)
                .unwrap();
            began.insert(cookie, Instant::now());
        }
        let done = client.receive().unwrap();
        done.result.unwrap();
        latencies.push(began.remove(&done.cookie).unwrap().elapsed());
    }
    let took = start.elapsed();
    let cpu_us = (cpu_ticks() - cpu) as f64 * 10_000.0;
    latencies.sort_unstable();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_micros();
    format!(
        "{:8} {:8} {:8.0} {:10.1}",
        at(0.5),
        at(0.99),
        latencies.len() as f64 / took.as_secs_f64(),
        cpu_us / latencies.len() as f64
    )
}

/// User and system time of the replicas' threads, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("stat")).ok())
        .filter(|stat| stat.contains("(twindisk"))
        .map(|stat| {
            let rest = stat.rsplit(')').next().unwrap();
            let fields: Vec<&str> = rest.split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        })
        .sum()
}
