//! How figures grow: with the size of requests, their number, the connections of clients, the size of the device, what a resync
//! has to do, how many resources a process serves.

mod device;
mod load;
mod recovery;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    slice,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use twindisk_benches::{
    build::{self, Build},
    chart::lines,
    contestants::{self, Contestant, Kind},
    failure::{Result, Trying},
    house,
    machine::{self, Machine},
    scale::Results,
};

/// Measures how figures of Twindisk and its neighbours grow. Each table is one subject.
#[derive(Parser, Debug)]
#[command(max_term_width = 100)]
struct Args {
    /// What is varied [default: everything]
    subjects: Vec<Subject>,
    /// How long each point is measured
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    seconds: f64,
    /// How often; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Size of the device, where that is not what is varied
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    size: u64,
    /// Whom to vary requests, depth and connections with
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "bare,two-files,quorum,twindisk-cached,twindisk"
    )]
    contestants: Vec<String>,
    /// Largest device, GiB: files are sparse
    #[arg(long, value_name = "GIB", default_value_t = 16 << 10)]
    largest: u64,
    /// Most resources in one process; each takes 85 MiB of memory
    #[arg(long, value_name = "NUMBER", default_value_t = 128)]
    resources: u32,
    /// On which disk: a scratch directory is made in it [default: cargo's target directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The binary that is measured [default: it is built from this tree]
    #[arg(long, value_name = "PROGRAM")]
    twindisk: Option<PathBuf>,
    /// Where every figure goes [default: scale.json in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the picture of requests, depth and connections goes [default: scale.svg in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// 512 B to 4 MiB a request
    BlockSize,
    /// 1 to 256 requests in flight
    Depth,
    /// 1 to 8 connections
    Connections,
    /// 1 GiB to 16 TiB: start-up, memory, metadata, cold extents
    Device,
    /// A resync with and without an application
    Resync,
    /// Failover by size of the device and what was being written
    Failover,
    /// 1, 16, 128 resources in one process
    Resources,
}

/// What every subject needs.
struct Bench<'a> {
    args: &'a Args,
    /// Whom requests, depth and connections are varied with.
    kinds: Vec<Kind>,
    build: Build,
    dir: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    house::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let subjects = match args.subjects.as_slice() {
        [] => Subject::value_variants(),
        some => some,
    };
    let names = args.contestants.iter();
    let kinds: Vec<Kind> = names.map(|name| Kind::named(name)).collect::<Result<_>>()?;
    let target = build::target_directory()?;
    let bench = Bench {
        args,
        kinds,
        build: Build::measured(args.twindisk.as_deref())?,
        dir: house::scratch(args.dir.as_deref().unwrap_or(&target))?,
    };
    // The others are about Twindisk alone.
    let compared = [Subject::BlockSize, Subject::Depth, Subject::Connections];
    let compared = subjects.iter().any(|subject| compared.contains(subject));
    let neighbours = if compared {
        bench.kinds.as_slice()
    } else {
        &[]
    };
    let programs = contestants::programs(slice::from_ref(&bench.build), neighbours)?;
    let mut results = Results {
        machine: Machine::look(&bench.dir, programs)?,
        rounds: args.rounds,
        seconds: args.seconds,
        mib: args.size,
        curves: Vec::new(),
    };
    let json = args
        .json
        .clone()
        .unwrap_or_else(|| target.join("scale.json"));
    let svg = args.svg.clone().unwrap_or_else(|| target.join("scale.svg"));
    for subject in subjects {
        eprintln!("{subject:?} …");
        let began = Instant::now();
        let curves = match subject {
            Subject::BlockSize => load::block_size(&bench)?,
            Subject::Depth => load::depth(&bench)?,
            Subject::Connections => load::connections(&bench)?,
            Subject::Device => device::sizes(&bench)?,
            Subject::Resync => recovery::resync(&bench)?,
            Subject::Failover => recovery::failover(&bench)?,
            Subject::Resources => device::resources(&bench)?,
        };
        for curve in &curves {
            println!("{}", curve.text());
        }
        results.curves.extend(curves);
        // A run that is broken off has told what it knew.
        results.machine.load_at_end = machine::load();
        let text = serde_json::to_string_pretty(&results).trying("the results")?;
        fs::write(&json, text).trying(json.display())?;
        if let Some(picture) = lines::svg(&results) {
            fs::write(&svg, picture).trying(svg.display())?;
        }
        eprintln!("{subject:?} took {:.0} s", began.elapsed().as_secs_f64());
    }
    println!("{}", results.machine.words());
    eprintln!("every figure is in {}", json.display());
    if compared {
        eprintln!("the picture is {}", svg.display());
    }
    Ok(())
}

impl Bench<'_> {
    /// A directory of its own.
    fn place(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).trying(dir.display())?;
        Ok(dir)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.args.seconds)
    }

    fn contestant(&self, kind: Kind, dir: &Path) -> Result<Contestant> {
        Contestant::start(kind, Some(&self.build), dir, self.args.size)
    }
}
