//! Twindisk beside its neighbours and beside the bare file, on one disk, interleaved: each round gives every contestant its
//! turn before anyone has a second one, so that a noisy neighbour hits all of them; what a turn leaves in the page cache
//! is written out before the next one begins, so that nobody pays for another's writes.

use std::{
    collections::BTreeMap,
    fs,
    io::stdin,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use twindisk_benches::{
    build::{self, Build},
    chart::bars,
    contestants::{self, Contestant, KINDS, Kind},
    cpu,
    failure::{Failure, Result, Trying},
    fio, house,
    loads::{self, Load},
    machine::{self, Machine},
    report,
    results::{Cpu, Named, Results, Turn},
};

/// Compares Twindisk with its neighbours in one run: prints medians of rates, latencies, CPU per operation and ratios,
/// keeps every figure as JSON, and draws a picture.
#[derive(Parser, Debug)]
#[command(max_term_width = 100)]
struct Args {
    /// How often everyone has a turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long a turn is
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Size of the device; each contestant has its own files, filled with random bytes
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    size: u64,
    /// On which disk: a scratch directory is made in it [default: cargo's target directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only the load of this name, or those whose names contain it
    #[arg(long, value_name = "PATTERN", default_value = "")]
    only: String,
    /// Only these, separated by commas [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    contestants: Vec<String>,
    /// The binary that is measured [default: it is built from this tree]
    #[arg(long, value_name = "PROGRAM")]
    twindisk: Option<PathBuf>,
    /// Another build: each of our contestants takes part a second time, as CONTESTANT@NAME
    #[arg(long, value_name = "NAME=TWINDISK", value_parser = Build::other)]
    against: Vec<Build>,
    /// Where every figure goes [default: peers.json in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the picture goes [default: peers.svg in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Leave the contestants running at the end until Enter is pressed, for perf and strace
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    house::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let loads = loads::matching(&args.only)?;
    let kinds: Vec<Kind> = match args.contestants.as_slice() {
        [] => KINDS.to_vec(),
        names => names
            .iter()
            .map(|name| Kind::named(name))
            .collect::<Result<_>>()?,
    };
    let target = build::target_directory()?;
    let mut builds = Vec::new();
    if kinds.iter().any(|kind| kind.is_ours()) {
        builds.push(Build::measured(args.twindisk.as_deref())?);
        builds.extend(args.against.iter().cloned());
    }
    let scratch = house::scratch(args.dir.as_deref().unwrap_or(&target))?;
    let programs = contestants::programs(&builds, &kinds)?;
    let machine = Machine::look(&scratch, programs)?;

    eprintln!("filling files and starting the contestants …");
    let contestants = start(&kinds, &builds, &scratch, args.size)?;
    let named = |name: &str, words: &str| Named {
        name: name.to_owned(),
        words: words.to_owned(),
    };
    let mut results = Results {
        machine,
        rounds: 0,
        seconds: args.seconds,
        mib: args.size,
        contestants: contestants
            .iter()
            .map(|one| named(&one.name, one.kind.words()))
            .collect(),
        loads: loads
            .iter()
            .map(|load| named(load.name, load.words))
            .collect(),
        turns: Vec::new(),
        summary: Vec::new(),
        resident_kib: BTreeMap::new(),
    };
    let json = args
        .json
        .clone()
        .unwrap_or_else(|| target.join("peers.json"));
    let svg = args.svg.clone().unwrap_or_else(|| target.join("peers.svg"));
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for load in &loads {
            for contestant in contestants.iter().filter(|one| one.kind.does(load)) {
                let turn = turn(args, round, load, contestant, &scratch)?;
                results.turns.push(turn);
            }
        }
        // A run that is broken off has told what it knew.
        results.rounds = round;
        results.resident_kib = resident(&contestants);
        results.machine.load_at_end = machine::load();
        results.summarize();
        write(
            &json,
            &serde_json::to_string_pretty(&results).trying("the results")?,
        )?;
        if let Some(picture) = bars::svg(&results) {
            write(&svg, &picture)?;
        }
    }
    if args.rounds > 0 {
        print!("{}", report::text(&results));
        eprintln!(
            "every figure is in {}, the picture is {}",
            json.display(),
            svg.display()
        );
    }
    if args.keep {
        keep(&contestants)?;
    }
    Ok(())
}

fn start(kinds: &[Kind], builds: &[Build], scratch: &Path, mib: u64) -> Result<Vec<Contestant>> {
    let mut contestants = Vec::new();
    for kind in kinds {
        if kind.is_ours() {
            for build in builds {
                contestants.push(Contestant::start(*kind, Some(build), scratch, mib)?);
            }
        } else {
            contestants.push(Contestant::start(*kind, None, scratch, mib)?);
        }
    }
    Ok(contestants)
}

/// One contestant under one load, once.
fn turn(args: &Args, round: u32, load: &Load, contestant: &Contestant, dir: &Path) -> Result<Turn> {
    let plan = fio::Plan {
        load,
        target: &contestant.target,
        mib: args.size,
        time: Duration::from_secs_f64(args.seconds),
        jobs: 1,
        dir,
    };
    let measured = contestant.during(&plan, || {
        let before = used(contestant)?;
        let ran = fio::run(&plan)?;
        let after = used(contestant)?;
        let servers: Vec<f64> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect();
        Ok((ran, servers))
    });
    let ((ran, servers), resync) = measured.map_err(|why| {
        let words: Vec<String> = contestant
            .processes
            .iter()
            .map(house::Process::last_words)
            .collect();
        Failure(format!(
            "{} under {}: {why}\n{}",
            contestant.name,
            load.name,
            words.join("\n")
        ))
    })?;
    contestant.write_out()?;
    let per_operation = |seconds: f64| seconds * 1e6 / ran.operations.max(1.0);
    Ok(Turn {
        round,
        load: load.name.to_owned(),
        contestant: contestant.name.clone(),
        rate: ran.rate,
        p50_us: ran.p50_us,
        p99_us: ran.p99_us,
        p999_us: ran.p999_us,
        cpu_us: Cpu {
            client: per_operation(ran.cpu_seconds),
            server: servers.first().copied().map(per_operation),
            second: servers.get(1).copied().map(per_operation),
        },
        resync,
    })
}

/// CPU seconds of each server so far.
fn used(contestant: &Contestant) -> Result<Vec<f64>> {
    let processes = contestant.processes.iter();
    processes
        .map(|process| cpu::seconds(process.pid()))
        .collect()
}

fn resident(contestants: &[Contestant]) -> BTreeMap<String, u64> {
    let processes = contestants.iter().flat_map(|contestant| {
        let processes = contestant.processes.iter();
        processes.map(|process| {
            (
                format!("{} {}", contestant.name, process.name()),
                process.pid(),
            )
        })
    });
    processes
        .filter_map(|(name, pid)| Some((name, machine::resident_kib(pid)?)))
        .collect()
}

fn keep(contestants: &[Contestant]) -> Result<()> {
    for contestant in contestants {
        println!("{}: {:?}", contestant.name, contestant.target);
        for process in &contestant.processes {
            println!("    {}: process {}", process.name(), process.pid());
        }
    }
    println!("Enter ends them.");
    let mut line = String::new();
    stdin()
        .read_line(&mut line)
        .trying("standard input")
        .map(|_| ())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).trying(path.display())
}
