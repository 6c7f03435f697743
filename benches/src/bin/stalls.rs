//! How long an application stands still when the remote half of its mirror dies, hangs, is unplugged or slow: Twindisk beside
//! QEMU's quorum, whose remote halves live at the other end of a cable of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use nix::sys::signal::Signal;
use serde::Serialize;
use twindisk_benches::{
    application::{Application, Latencies},
    build::{self, Build},
    contestants::{
        Contestant,
        pair::{self, ALPHA, BETA, Pair},
    },
    failure::{Failure, Result, Trying},
    fill,
    fio::Target,
    house::{self, Process},
    machine::{self, Machine},
    network::Network,
    statistics::median,
    table::{markdown, number},
};

/// Measures outages of an application that writes 4 KiB after 4 KiB while something happens to the remote half of its
/// mirror. Needs root, for a cable that can be cut.
#[derive(Parser, Debug)]
#[command(max_term_width = 100)]
struct Args {
    /// How often
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// How long the application is watched after what happened, if it goes on
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// How long it is waited for if it does not
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    patience: f64,
    /// Size of the device
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    size: u64,
    /// On which disk: a scratch directory is made in it [default: cargo's target directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only what happens that has this in its name
    #[arg(long, value_name = "PATTERN", default_value = "")]
    only: String,
    /// Only these, separated by commas: quorum, continue, agents, fast-agents [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    contestants: Vec<Who>,
    /// The binary that is measured [default: it is built from this tree]
    #[arg(long, value_name = "PROGRAM")]
    twindisk: Option<PathBuf>,
    /// Where every figure goes [default: stalls.json in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Whose remote half it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Who {
    Quorum,
    Continue,
    Agents,
    FastAgents,
}

impl Who {
    const ALL: &[Self] = &[Self::Quorum, Self::Continue, Self::Agents, Self::FastAgents];

    const fn words(self) -> &'static str {
        match self {
            Self::Quorum => "quorum",
            Self::Continue => "twindisk, on-peer-loss = \"continue\" (unsafe)",
            Self::Agents => "twindisk, agents, default profile",
            Self::FastAgents => "twindisk, agents, fast profile",
        }
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    Nothing,
    Killed,
    PowerLost,
    Stopped,
    Unplugged,
    Slow,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::Killed,
        Self::PowerLost,
        Self::Stopped,
        Self::Unplugged,
        Self::Slow,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Killed => "its process is killed",
            Self::PowerLost => "its host loses power",
            Self::Stopped => "its host hangs (SIGSTOP)",
            Self::Unplugged => "it is unplugged",
            Self::Slow => "it is slow (stopped for 20 ms, five times a second)",
        }
    }
}

/// Of one case.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    round: u32,
    who: Who,
    fault: Fault,
    /// The longest that a write took that was not acknowledged when it happened; nothing if one still was not at the end.
    outage_seconds: Option<f64>,
    watched_seconds: f64,
    errors: u64,
    before: Latencies,
    after: Option<Latencies>,
}

#[derive(Debug, Serialize)]
struct Results {
    machine: Machine,
    mib: u64,
    contestants: Vec<Who>,
    faults: Vec<Fault>,
    outcomes: Vec<Outcome>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    house::run(|| run(&args))
}

fn run(args: &Args) -> Result<()> {
    let target = build::target_directory()?;
    let scratch = house::scratch(args.dir.as_deref().unwrap_or(&target))?;
    let ours = Build::measured(args.twindisk.as_deref())?;
    let qemu = machine::version("qemu-storage-daemon").ok_or_else(missing)?;
    let nbdkit = machine::version("nbdkit").ok_or_else(missing)?;
    let programs = vec![ours.describe()?, qemu, nbdkit];
    let mut results = Results {
        machine: Machine::look(&scratch, programs)?,
        mib: args.size,
        contestants: match args.contestants.as_slice() {
            [] => Who::ALL.to_vec(),
            some => some.to_vec(),
        },
        faults: Fault::ALL
            .into_iter()
            .filter(|fault| fault.words().contains(&args.only))
            .collect(),
        outcomes: Vec::new(),
    };
    for round in 1..=args.rounds {
        for fault in results.faults.clone() {
            for who in results.contestants.clone() {
                eprintln!(
                    "round {round} of {}: {}: {}",
                    args.rounds,
                    who.words(),
                    fault.words()
                );
                let case = Case { round, who, fault };
                let dir = scratch.join(format!("{round}-{who:?}-{fault:?}"));
                fs::create_dir(&dir).trying(dir.display())?;
                let outcome = case.run(args, &ours.program, &dir);
                let outcome = outcome.map_err(|why| Failure(format!("{case:?}: {why}")))?;
                results.outcomes.push(outcome);
                fs::remove_dir_all(&dir).trying(dir.display())?;
            }
        }
    }
    results.machine.load_at_end = machine::load();
    let json = args
        .json
        .clone()
        .unwrap_or_else(|| target.join("stalls.json"));
    let text = serde_json::to_string_pretty(&results).trying("the results")?;
    fs::write(&json, text).trying(json.display())?;
    print!("{}", report(&results));
    Ok(())
}

fn missing() -> Failure {
    Failure("qemu-storage-daemon and nbdkit are needed (Debian: qemu-utils nbdkit)".to_owned())
}

#[derive(Clone, Copy, Debug)]
struct Case {
    round: u32,
    who: Who,
    fault: Fault,
}

impl Case {
    fn run(self, args: &Args, program: &Path, dir: &Path) -> Result<Outcome> {
        let network = Network::cable(&format!("{}{:?}{:?}", self.round, self.who, self.fault))?;
        let mirror = Mirror::start(self.who, program, &network, dir, args.size)?;
        let application = Application::start(&[mirror.uri()], args.size)?;
        let began = Instant::now();
        thread::sleep(WARM_UP);
        let before = Latencies::of(&application.since(began))?;
        let happened = Instant::now();
        inflict(self.fault, &mirror, &network)?;
        let patience = Duration::from_secs_f64(args.patience.max(args.seconds));
        loop {
            self.wait(&mirror)?;
            let quiet = application
                .last()
                .is_none_or(|last| last.elapsed() > STANDSTILL);
            let watched = happened.elapsed();
            if watched > patience || (watched.as_secs_f64() > args.seconds && !quiet) {
                break;
            }
        }
        let writes = application.since(happened);
        let stands = application
            .last()
            .is_none_or(|last| last.elapsed() > STANDSTILL);
        let after = Latencies::of(&writes).ok();
        let outcome = Outcome {
            round: self.round,
            who: self.who,
            fault: self.fault,
            outage_seconds: after
                .filter(|_| !stands)
                .map(|after| after.longest_ms / 1e3),
            watched_seconds: happened.elapsed().as_secs_f64(),
            errors: application.errors(),
            before,
            after,
        };
        application.stop();
        Ok(outcome)
    }

    /// Between two looks at the application.
    fn wait(self, mirror: &Mirror) -> Result<()> {
        if self.fault == Fault::Slow {
            signal(mirror.remote(), Signal::SIGSTOP)?;
            thread::sleep(Duration::from_millis(20));
            signal(mirror.remote(), Signal::SIGCONT)?;
            thread::sleep(Duration::from_millis(180));
        } else {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Before something happens.
const WARM_UP: Duration = Duration::from_secs(2);

/// An application that had no answer for so long stands still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// A contestant with its remote half at the other end of a cable.
enum Mirror {
    Quorum(Contestant),
    Pair(Pair),
}

impl Mirror {
    fn start(who: Who, program: &Path, network: &Network, dir: &Path, mib: u64) -> Result<Self> {
        let mut plan = pair::Plan::new(program);
        plan.network = network.clone();
        match who {
            Who::Quorum => {
                let quorum = Contestant::quorum_over(network, dir, mib);
                return quorum.map(Self::Quorum);
            }
            Who::Continue => plan.resource.push_str("on-peer-loss = \"continue\"\n"),
            Who::Agents => plan.agents = Some("default"),
            Who::FastAgents => plan.agents = Some("fast"),
        }
        for node in [ALPHA, BETA] {
            fill::random(&pair::image(dir, node, pair::RESOURCE), mib, 1)?;
        }
        pair::start(plan, dir).map(Self::Pair)
    }

    fn uri(&self) -> String {
        match self {
            Self::Quorum(quorum) => match &quorum.target {
                Target::Nbd(uri) => uri.clone(),
                Target::Files(paths) => format!("{paths:?}"),
            },
            Self::Pair(pair) => pair.uri(ALPHA),
        }
    }

    /// All processes of the remote host, the one that replicates first.
    fn remote(&self) -> &[Process] {
        match self {
            Self::Quorum(quorum) => quorum.processes.get(1..).unwrap_or_default(),
            Self::Pair(pair) => pair.processes(BETA),
        }
    }
}

fn inflict(fault: Fault, mirror: &Mirror, network: &Network) -> Result<()> {
    match (fault, mirror) {
        (Fault::Nothing | Fault::Slow, _) => Ok(()),
        (Fault::Killed, _) => signal(
            mirror.remote().get(..1).unwrap_or_default(),
            Signal::SIGKILL,
        ),
        (Fault::Stopped, _) => signal(mirror.remote(), Signal::SIGSTOP),
        (Fault::Unplugged, _) => network.cut(),
        (Fault::PowerLost, Mirror::Pair(pair)) => {
            // No kernel is left that could say goodbye.
            network.cut()?;
            pair.lose_power(BETA)
        }
        (Fault::PowerLost, Mirror::Quorum(_)) => {
            network.cut()?;
            signal(mirror.remote(), Signal::SIGKILL)
        }
    }
}

fn signal(processes: &[Process], signal: Signal) -> Result<()> {
    processes
        .iter()
        .try_for_each(|process| process.signal(signal))
}

fn report(results: &Results) -> String {
    let outages = table(results, |outcomes| {
        let longest: Option<Vec<f64>> = outcomes
            .iter()
            .map(|outcome| outcome.outage_seconds)
            .collect();
        let errors: u64 = outcomes.iter().map(|outcome| outcome.errors).sum();
        let cell = longest.map_or_else(
            || {
                let watched = outcomes.iter().map(|outcome| outcome.watched_seconds);
                format!("blocked (after {:.0} s)", watched.fold(0.0, f64::max))
            },
            |longest| format!("{:.3}", median(longest)),
        );
        if errors > 0 {
            return format!("{cell}, {errors} errors");
        }
        cell
    });
    let tails = table(results, |outcomes| {
        let after = outcomes.iter().filter_map(|outcome| outcome.after);
        number(median(after.map(|after| after.p999_ms)))
    });
    format!(
        "The longest that a write took, s, when this happened to the remote half\n\n{outages}\n\
         p99.9 of the writes that were acknowledged since, ms\n\n{tails}\n{}\n",
        results.machine.words()
    )
}

fn table(results: &Results, cell: impl Fn(&[&Outcome]) -> String) -> String {
    let names = results.contestants.iter().map(|who| who.words().to_owned());
    let head: Vec<String> = [String::new()].into_iter().chain(names).collect();
    let rows = results.faults.iter().map(|fault| {
        let cells = results.contestants.iter().map(|who| {
            let all = results.outcomes.iter();
            let these: Vec<&Outcome> = all
                .filter(|outcome| outcome.who == *who && outcome.fault == *fault)
                .collect();
            cell(&these)
        });
        let name = [fault.words().to_owned()];
        name.into_iter().chain(cells).collect()
    });
    markdown(&head, &rows.collect::<Vec<_>>())
}
