//! The worlds that are searched, by name.

use twindisk_core::Protocol::{self, A, B, C};

use super::{
    failover,
    world::{
        Ask::{self, Flush, Write, WriteFua},
        Bounds,
    },
};

/// A world, and how many states of it are visited at most.
#[derive(Clone, Debug)]
pub struct Named {
    /// In the table of the README.
    pub name: &'static str,
    /// How large it is.
    pub bounds: Bounds,
}

/// Searched by every test run.
#[must_use]
pub fn short() -> Vec<Named> {
    vec![
        named("one write, one fault, C", C, &[Write(0)], 1, 0),
        named("one write, one fault, B", B, &[Write(0)], 1, 0),
        named("one write, one fault, A", A, &[Write(0)], 1, 0),
        named("one write, one order, C", C, &[Write(0)], 0, 1),
    ]
}

/// Searched by `--small`, beside those.
#[must_use]
pub fn long() -> Vec<Named> {
    vec![
        named("write and flush, one fault, C", C, &[Write(0), Flush], 1, 0),
        named("write and flush, one fault, B", B, &[Write(0), Flush], 1, 0),
        named("two writes, one fault, C", C, &[Write(0), Write(0)], 1, 0),
        named(
            "FUA write, one order, one fault, C",
            C,
            &[WriteFua(0)],
            1,
            1,
        ),
        named("one write, two faults, C", C, &[Write(0)], 2, 0),
        named("one write, two faults, B", B, &[Write(0)], 2, 0),
        named("one write, two faults, A", A, &[Write(0)], 2, 0),
        named(
            "two blocks, flush, two faults, C",
            C,
            &[Write(0), Write(1), Flush],
            2,
            0,
        ),
        named("one write, three faults, C", C, &[Write(0)], 3, 0),
        named("one write, three faults, B", B, &[Write(0)], 3, 0),
    ]
}

/// Pairs with agents, by name: searched by every test run.
#[must_use]
pub fn short_failovers() -> Vec<(&'static str, failover::Bounds)> {
    vec![
        ("agents, one switchover, one delay", pair(0, 1, 6, 1)),
        ("agents, one fault", pair(1, 0, 12, 0)),
        ("agents, one fault, one delay", pair(1, 0, 10, 1)),
    ]
}

/// Searched by `--small`, beside those.
#[must_use]
pub fn long_failovers() -> Vec<(&'static str, failover::Bounds)> {
    vec![
        ("agents, one switchover, two delays", pair(0, 1, 6, 2)),
        ("agents, one switchover, one fault", pair(1, 1, 12, 0)),
        ("agents, two faults", pair(2, 0, 14, 0)),
        ("agents, one fault, two delays", pair(1, 0, 10, 2)),
        ("agents, two faults, one delay", pair(2, 0, 14, 1)),
    ]
}

const fn pair(faults: u8, orders: u8, strides: u8, delays: u8) -> failover::Bounds {
    failover::Bounds {
        faults,
        orders,
        strides,
        delays,
        mutant: None,
    }
}

fn named(name: &'static str, protocol: Protocol, script: &[Ask], faults: u8, orders: u8) -> Named {
    let two_blocks = script.contains(&Write(1));
    Named {
        name,
        bounds: Bounds {
            protocol,
            script: script.to_vec(),
            depth: 2,
            blocks: if two_blocks { 2 } else { 1 },
            faults,
            orders,
            links: 1 + u32::from(faults),
            ticks: 1,
            mutant: None,
        },
    }
}
