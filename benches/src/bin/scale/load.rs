//! What a client asks for, varied: everyone in turn at each point, before anyone has a second turn.

use std::fs;

use twindisk_benches::{
    contestants::Contestant,
    failure::{Result, Trying},
    fio::{self, Ran},
    loads::Load,
    scale::{Curve, size},
    statistics::median,
};

use super::Bench;

/// Random writes of 4 KiB.
const WRITES: Load = Load {
    name: "scale",
    words: "random writes",
    pattern: "randwrite",
    block_bytes: 4 << 10,
    depth: 1,
    fsync: false,
};

pub(super) fn block_size(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let sizes = [
        512,
        1 << 10,
        4 << 10,
        16 << 10,
        64 << 10,
        256 << 10,
        1 << 20,
        4 << 20,
    ];
    let points = sizes.map(|block_bytes| Point {
        at: block_bytes,
        name: size(u64::from(block_bytes)),
        load: Load {
            block_bytes,
            depth: 8,
            ..WRITES
        },
        jobs: 1,
    });
    vary(
        bench,
        "random writes, depth 8, by size of the request",
        &points,
    )
}

pub(super) fn depth(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let points = [1, 2, 4, 8, 16, 32, 64, 128, 256].map(|depth| Point {
        at: depth,
        name: depth.to_string(),
        load: Load { depth, ..WRITES },
        jobs: 1,
    });
    vary(
        bench,
        "random writes of 4 KiB, by requests in flight",
        &points,
    )
}

pub(super) fn connections(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let points = [1, 2, 4, 8].map(|jobs| Point {
        at: jobs,
        name: jobs.to_string(),
        load: Load {
            depth: 16,
            ..WRITES
        },
        jobs,
    });
    vary(
        bench,
        "random writes of 4 KiB, by connections (depth 16 each)",
        &points,
    )
}

struct Point {
    at: u32,
    name: String,
    load: Load,
    jobs: u32,
}

fn vary(bench: &Bench<'_>, title: &str, points: &[Point]) -> Result<Vec<Curve>> {
    let place = bench.place("load")?;
    let started = bench
        .kinds
        .iter()
        .map(|kind| bench.contestant(*kind, &place));
    let contestants: Vec<Contestant> = started.collect::<Result<_>>()?;
    let names = || contestants.iter().map(|contestant| contestant.name.clone());
    let mut rates = Curve::new(&format!("Operations per second: {title}"), names());
    let mut tails = Curve::new(&format!("p99, us: {title}"), names());
    for point in points {
        let mut ran: Vec<Vec<Ran>> = contestants.iter().map(|_| Vec::new()).collect();
        for _ in 0..bench.args.rounds {
            for (contestant, ran) in contestants.iter().zip(&mut ran) {
                // Some serve no request of this size: that is an answer.
                match turn(bench, point, contestant) {
                    Ok(turn) => ran.push(turn),
                    Err(why) => eprintln!("{} at {}: {why}", contestant.name, point.name),
                }
                contestant.write_out()?;
            }
        }
        let column = |value: fn(&Ran) -> f64| {
            let medians = ran.iter().map(|ran| Some(median(ran.iter().map(value))));
            medians.collect()
        };
        let at = f64::from(point.at);
        rates.push_at(at, &point.name, column(|ran| ran.rate));
        tails.push_at(at, &point.name, column(|ran| ran.p99_us));
    }
    drop(contestants);
    fs::remove_dir_all(&place).trying(place.display())?;
    Ok(vec![rates, tails])
}

fn turn(bench: &Bench<'_>, point: &Point, contestant: &Contestant) -> Result<Ran> {
    let plan = fio::Plan {
        load: &point.load,
        target: &contestant.target,
        mib: bench.args.size,
        time: bench.time(),
        jobs: point.jobs,
        dir: &bench.dir,
    };
    contestant
        .during(&plan, || fio::run(&plan))
        .map(|(ran, _)| ran)
}
