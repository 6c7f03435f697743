//! The size of the device, and the number of devices: what they cost one node that has no standby, over sparse files.

use std::{fs, path::Path, time::Instant};

use serde_json::json;
use twindisk_benches::{
    contestants::pair::{self, ALPHA, Pair, RESOURCE},
    control,
    failure::{Failure, Result, Trying},
    fill,
    fio::{self, Target},
    loads::Load,
    machine,
    scale::{Curve, size},
};

use super::Bench;

const GIB: u64 = 1 << 30;

/// The largest file of ext4 is a block shorter than 16 TiB.
const LARGEST: u64 = (16 << 40) - (1 << 20);

const WRITES: Load = Load {
    name: "scale",
    words: "random writes of 4 KiB",
    pattern: "randwrite",
    block_bytes: 4 << 10,
    depth: 1,
    fsync: false,
};

pub(super) fn sizes(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let mut curve = Curve::new(
        "One node without a standby, by size of the device",
        [
            "init, s",
            "start to promoted, s",
            "memory, MiB",
            "metadata on disk, MiB",
            "writes/s in 1 GiB",
            "writes/s everywhere",
            "AL writes per write everywhere",
        ],
    );
    for gib in [1, 16, 128, 1 << 10, 4 << 10, 16 << 10] {
        if gib <= bench.args.largest {
            let bytes = (gib * GIB).min(LARGEST);
            curve.push(size(gib * GIB), of_a_size(bench, bytes)?);
        }
    }
    Ok(vec![curve])
}

fn of_a_size(bench: &Bench<'_>, bytes: u64) -> Result<Vec<Option<f64>>> {
    let place = bench.place("device")?;
    let plan = pair::Plan::new(&bench.build.program);
    let alone = Alone::start(plan, &place, bytes)?;
    let metadata = place.join(format!("alpha/{RESOURCE}.meta"));
    let metadata = fs::metadata(&metadata).trying(metadata.display())?.len();
    let target = Target::Nbd(alone.pair.uri(ALPHA));
    let rate = |mib: u64| {
        let plan = fio::Plan {
            load: &WRITES,
            target: &target,
            mib,
            time: bench.time(),
            jobs: 1,
            dir: &bench.dir,
        };
        fio::run(&plan)
    };
    let hot = rate(1024)?;
    let before = alone.al_writes();
    let cold = rate(bytes >> 20)?;
    let al_writes = (alone.al_writes() - before) / cold.operations.max(1.0);
    let values = vec![
        alone.init_seconds,
        alone.start_seconds,
        alone.resident_mib()?,
        metadata as f64 / f64::from(1 << 20),
        hot.rate,
        cold.rate,
        al_writes,
    ];
    drop(alone);
    fs::remove_dir_all(&place).trying(place.display())?;
    Ok(values.into_iter().map(Some).collect())
}

pub(super) fn resources(bench: &Bench<'_>) -> Result<Vec<Curve>> {
    let mut curve = Curve::new(
        "One node without a standby, by number of resources (1 GiB each)",
        [
            "init, s",
            "start to promoted, s",
            "memory, MiB",
            "threads",
            "writes/s of one client on the first",
        ],
    );
    for count in [1, 16, 128] {
        if count > bench.args.resources {
            continue;
        }
        let needed = u64::from(count) * RESOURCE_MIB;
        let there = machine::available_mib();
        if needed > there / 2 {
            eprintln!("NOT MEASURED: {count} resources need {needed} MiB, {there} are available");
            continue;
        }
        curve.push(count.to_string(), of_a_number(bench, count)?);
    }
    Ok(vec![curve])
}

/// Seen with the least buffers that a resource can be given, 72 MiB.
const RESOURCE_MIB: u64 = 85;

fn of_a_number(bench: &Bench<'_>, count: u32) -> Result<Vec<Option<f64>>> {
    let place = bench.place("resources")?;
    let mut plan = pair::Plan::new(&bench.build.program);
    plan.resources = (0..count).map(|number| format!("r{number}")).collect();
    plan.resource =
        "client-buffers = \"64MiB\"\npeer-buffers = \"4MiB\"\nresync-buffers = \"4MiB\"\n"
            .to_owned();
    let alone = Alone::start(plan, &place, GIB)?;
    let target = Target::Nbd(alone.pair.uri(ALPHA));
    let plan = fio::Plan {
        load: &WRITES,
        target: &target,
        mib: 1024,
        time: bench.time(),
        jobs: 1,
        dir: &bench.dir,
    };
    let ran = fio::run(&plan)?;
    let threads = fs::read_dir(format!("/proc/{}/task", alone.pid()?)).trying("its threads")?;
    let values = vec![
        alone.init_seconds,
        alone.start_seconds,
        alone.resident_mib()?,
        threads.count() as f64,
        ran.rate,
    ];
    drop(alone);
    fs::remove_dir_all(&place).trying(place.display())?;
    Ok(values.into_iter().map(Some).collect())
}

/// The first node, promoted, without the second.
struct Alone {
    pair: Pair,
    init_seconds: f64,
    start_seconds: f64,
}

impl Alone {
    fn start(plan: pair::Plan, dir: &Path, bytes: u64) -> Result<Self> {
        let resources = plan.resources.clone();
        for resource in &resources {
            fill::sparse(&pair::image(dir, ALPHA, resource), bytes)?;
        }
        let began = Instant::now();
        let mut pair = pair::initialized(plan, dir)?;
        let init_seconds = began.elapsed().as_secs_f64();
        let began = Instant::now();
        pair.boot(ALPHA)?;
        let socket = pair.control(ALPHA);
        for resource in &resources {
            pair.until("the promotion", || {
                control::tell(&socket, "promote", resource, &json!({})).ok()
            })?;
        }
        Ok(Self {
            pair,
            init_seconds,
            start_seconds: began.elapsed().as_secs_f64(),
        })
    }

    fn pid(&self) -> Result<nix::unistd::Pid> {
        let serve = self.pair.processes(ALPHA).first();
        let serve = serve.ok_or_else(|| Failure("the node does not run".to_owned()))?;
        Ok(serve.pid())
    }

    fn resident_mib(&self) -> Result<f64> {
        let kib = machine::resident_kib(self.pid()?);
        let kib = kib.ok_or_else(|| Failure("the node is gone".to_owned()))?;
        Ok(kib as f64 / 1024.0)
    }

    fn al_writes(&self) -> f64 {
        let status = control::status(&self.pair.control(ALPHA), RESOURCE);
        status.map_or(f64::NAN, |status| {
            status["activity"]["al-writes"].as_f64().unwrap_or(f64::NAN)
        })
    }
}
