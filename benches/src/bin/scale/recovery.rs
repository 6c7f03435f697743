//! Coming back: a resync, what it does to an application, and a failover.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use twindisk_benches::{
    application::{Application, Latencies},
    contestants::{
        Kind,
        pair::{self, ALPHA, BETA, RESOURCE},
    },
    failure::{Failure, Result, Trying},
    fill,
    fio::{self, Ran},
    loads::{Load, matching},
    network::Network,
    scale::{Curve, size},
    statistics::median,
};

use super::Bench;

/// The whole device is dirty; a turn without a resync, and one with it.
pub(super) fn resync(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let place = bench.place("resync")?;
    let quiet = bench.contestant(Kind::Twindisk, &place)?;
    let busy = bench.contestant(Kind::Resync, &place)?;
    let mut curve = Curve::new(
        "A resync of the whole device beside an application",
        [
            "resync, MiB/s",
            "resync ran for, % of the time",
            "ops/s without it",
            "ops/s with it",
            "p50 without it, us",
            "p50 with it, us",
            "p99 without it, us",
            "p99 with it, us",
        ],
    );
    let alone = (0..bench.args.rounds).map(|_| {
        let took = busy.resync_to_the_end(bench.args.size, &bench.dir)?;
        Ok(bench.args.size as f64 / took.as_secs_f64())
    });
    let alone = median(alone.collect::<Result<Vec<f64>>>()?);
    let nobody = [Some(alone), Some(100.0), None, None, None, None, None, None];
    curve.push("no application", nobody.to_vec());
    let loads = ["write-4k-d1", "write-4k-d16", "read-4k-d1"];
    let loads: Vec<Load> = loads
        .iter()
        .map(|name| matching(name))
        .collect::<Result<Vec<_>>>()?
        .concat();
    for load in &loads {
        let (mut without, mut with, mut rates, mut shares) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.args.rounds {
            for contestant in [&quiet, &busy] {
                let plan = fio::Plan {
                    load,
                    target: &contestant.target,
                    mib: bench.args.size,
                    time: bench.time(),
                    jobs: 1,
                    dir: &bench.dir,
                };
                let began = Instant::now();
                let mut took = Duration::ZERO;
                let (ran, resynced) = contestant.during(&plan, || {
                    let turn = Instant::now();
                    let ran = fio::run(&plan);
                    took = turn.elapsed();
                    ran
                })?;
                contestant.write_out()?;
                let Some(resynced) = resynced else {
                    without.push(ran);
                    continue;
                };
                with.push(ran);
                rates.push(resynced.mib / (took.as_secs_f64() * resynced.share));
                shares.push(resynced.share * 100.0);
                eprintln!(
                    "{}: a round in {:.1} s",
                    load.name,
                    began.elapsed().as_secs_f64()
                );
            }
        }
        let middle = |ran: &[Ran], value: fn(&Ran) -> f64| Some(median(ran.iter().map(value)));
        curve.push(
            load.words,
            vec![
                Some(median(rates)),
                Some(median(shares)),
                middle(&without, |ran| ran.rate),
                middle(&with, |ran| ran.rate),
                middle(&without, |ran| ran.p50_us),
                middle(&with, |ran| ran.p50_us),
                middle(&without, |ran| ran.p99_us),
                middle(&with, |ran| ran.p99_us),
            ],
        );
    }
    drop((quiet, busy));
    fs::remove_dir_all(&place).trying(place.display())?;
    Ok(vec![curve])
}

/// The primary's host hangs; the application goes on at the other one.
pub(super) fn failover(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let profiles = ["fast", "default"];
    let mut curve = Curve::new(
        "Seconds that an application stands still when the primary's host hangs, by size of the device (sparse) and of what is written",
        profiles,
    );
    for (mib, written) in [
        (64, 16),
        (1024, 16),
        (1024, 1024),
        (16 << 10, 16),
        (16 << 10, 16 << 10),
    ] {
        if mib > bench.args.largest << 10 {
            continue;
        }
        let values = profiles.map(|profile| {
            let rounds = (0..bench.args.rounds).map(|_| takeover(bench, profile, mib, written));
            rounds
                .collect::<Result<Vec<f64>>>()
                .map(|outages| Some(median(outages)))
        });
        let name = format!("{}, {} of it", size(mib << 20), size(written << 20));
        curve.push(name, values.into_iter().collect::<Result<_>>()?);
    }
    Ok(vec![curve])
}

fn takeover(bench: &Bench<'_>, profile: &'static str, mib: u64, written: u64) -> Result<f64> {
    let place = bench.place("failover")?;
    let mut plan = pair::Plan::new(&bench.build.program);
    plan.agents = Some(profile);
    plan.network = Network::loopback();
    for node in [ALPHA, BETA] {
        fill::sparse(&pair::image(&place, node, RESOURCE), mib << 20)?;
    }
    let pair = pair::start(plan, &place)?;
    let uris = [ALPHA, BETA].map(|node| pair.uri(node));
    let application = Application::start(&uris, written)?;
    thread::sleep(bench.time());
    let hung = Instant::now();
    for process in pair.processes(ALPHA) {
        process.signal(Signal::SIGSTOP)?;
    }
    let deadline = hung + PATIENCE;
    // Until a write that was asked for behind the outage is acknowledged.
    let after = loop {
        let writes = application.since(hung);
        if writes
            .last()
            .is_some_and(|last| last.asked > hung + Duration::from_millis(100))
        {
            break Latencies::of(&writes)?;
        }
        if Instant::now() > deadline {
            return Err(Failure(format!("no failover in {PATIENCE:?}")));
        }
        thread::sleep(Duration::from_millis(50));
    };
    application.stop();
    drop(pair);
    fs::remove_dir_all(&place).trying(place.display())?;
    Ok(after.longest_ms / 1e3)
}

/// Far longer than any profile takes.
const PATIENCE: Duration = Duration::from_secs(120);
