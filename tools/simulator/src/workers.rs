//! Seeds are run by processes of their own, so that one which panics or hangs fails alone and the others go on.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    ops::Range,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use twindisk_simulator::{
    Mutant, Outcome, Telling,
    coverage::Coverage,
    run_swarm,
    scenarios::Scenario,
    swarm::{Seed, Swarm},
};

/// Seeds given to a worker at a time.
const CHUNK: u64 = 100;

/// A seed that takes longer hangs.
const SEED_LIMIT: Duration = Duration::from_secs(60);

/// What is played with each seed.
#[derive(Clone, Copy)]
pub(crate) enum Play {
    /// What the seed draws.
    Swarm,
    /// The same for a pair with agents in place of the operator.
    Agents,
    /// The same with a witness.
    Witness,
    /// The same for three nodes with agents.
    Three,
    /// A scenario.
    Scenario(Scenario),
}

impl Play {
    /// How another process is told.
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Swarm => Vec::new(),
            Self::Agents => vec!["--agents".to_owned()],
            Self::Witness => vec!["--witness".to_owned()],
            Self::Three => vec!["--three".to_owned()],
            Self::Scenario(scenario) => vec!["--scenario".to_owned(), scenario.name.to_owned()],
        }
    }

    fn live(self, seed: u64, mutant: Option<Mutant>, alone: bool) -> Outcome {
        let mut swarm = match self {
            Self::Swarm => Swarm::draw(seed),
            Self::Agents => Swarm::draw_with_agents(seed),
            Self::Witness => Swarm::draw_with_witness(seed),
            Self::Three => Swarm::draw_with_three(seed),
            Self::Scenario(scenario) => {
                let number = seed;
                let seed = Seed {
                    number,
                    mutant,
                    alone,
                };
                return (scenario.run)(seed, Telling::Silent);
            }
        };
        swarm.mutant = mutant;
        swarm.alone = alone;
        run_swarm(swarm, Telling::Silent)
    }
}

/// What to run.
pub(crate) struct Orders {
    pub(crate) start: u64,
    pub(crate) seeds: u64,
    pub(crate) jobs: usize,
    pub(crate) deadline: Option<Instant>,
    pub(crate) failures: usize,
    pub(crate) play: Play,
    /// A deliberate bug in every core.
    pub(crate) mutant: Option<Mutant>,
    /// Nodes are asked what they would do alone.
    pub(crate) alone: bool,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) seeds: u64,
    pub(crate) events: u64,
    pub(crate) writes: u64,
    pub(crate) coverage: Coverage,
    pub(crate) failing: BTreeMap<u64, String>,
}

/// Runs seeds for the process that started this one; says on standard output how it goes.
pub(crate) fn work(seeds: Range<u64>, play: Play, mutant: Option<Mutant>, alone: bool) {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        say(&format!("panic {text}"));
    }));
    let mut coverage = Coverage::default();
    for seed in seeds {
        say(&format!("begin {seed}"));
        let outcome = play.live(seed, mutant, alone);
        coverage.merge(&outcome.coverage);
        if let Some(violation) = outcome.violation {
            say(&format!(
                "fail {}",
                violation.to_string().replace('\n', " ")
            ));
        }
        say(&format!("end {} {}", outcome.events, outcome.writes));
    }
    let listed = coverage
        .rows()
        .map(|(row, count)| (row.kind, row.name, count));
    for (kind, name, count) in listed.chain(coverage.unlisted()) {
        if count > 0 {
            say(&format!("reached {kind}\t{name}\t{count}"));
        }
    }
}

/// Runs all seeds on several workers.
pub(crate) fn run_all(orders: &Orders) -> Results {
    let results = Mutex::new(Results::default());
    let next = Mutex::new(orders.start);
    let end = orders.start + orders.seeds;
    thread::scope(|scope| {
        for _ in 0..orders.jobs {
            scope.spawn(|| {
                while let Some((first, count)) = take_chunk(&next, end) {
                    run_chunk((first, count), orders, &results);
                    let failing = lock(&results).failing.len();
                    let late = orders.deadline.is_some_and(|at| Instant::now() >= at);
                    if late || failing >= orders.failures {
                        break;
                    }
                }
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The last lines of a seed's story.
pub(crate) fn last_lines(seed: u64, orders: &Orders, lines: usize) -> Vec<String> {
    let child = program()
        .args(["--seed", &seed.to_string(), "--trace"])
        .args(orders.play.arguments())
        .args(
            orders
                .mutant
                .map(|mutant| format!("--mutant={}", mutant.name())),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return Vec::new();
    };
    let mut last = std::collections::VecDeque::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if last.len() == lines {
                last.pop_front();
            }
            last.push_back(line.chars().take(600).collect());
        }
    }
    let _ = child.wait();
    last.into()
}

fn take_chunk(next: &Mutex<u64>, end: u64) -> Option<(u64, u64)> {
    let mut next = lock(next);
    let first = *next;
    let count = CHUNK.min(end.saturating_sub(first));
    *next += count;
    (count > 0).then_some((first, count))
}

/// Runs a chunk, going on behind a seed that takes its worker down.
fn run_chunk((first, count): (u64, u64), orders: &Orders, results: &Mutex<Results>) {
    let end = first + count;
    let mut from = first;
    while from < end {
        if lock(results).failing.len() >= orders.failures {
            return;
        }
        let mut arguments = vec![
            "--worker".to_owned(),
            "--start".to_owned(),
            from.to_string(),
            "--seeds".to_owned(),
            (end - from).to_string(),
        ];
        arguments.extend(["--alone".to_owned(), orders.alone.to_string()]);
        arguments.extend(orders.play.arguments());
        if let Some(mutant) = orders.mutant {
            arguments.extend(["--mutant".to_owned(), mutant.name().to_owned()]);
        }
        let child = program()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => from = listen(child, from, orders, results),
            Err(error) => {
                lock(results)
                    .failing
                    .insert(from, format!("no worker: {error}"));
                return;
            }
        }
    }
}

/// Listens to a worker to its end; gives the first seed that it has not run.
fn listen(mut child: Child, first: u64, orders: &Orders, results: &Mutex<Results>) -> u64 {
    let lines = read_lines(&mut child);
    let mut seed = first;
    let mut open = None;
    loop {
        match lines.recv_timeout(SEED_LIMIT) {
            Ok(line) => {
                let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
                match word {
                    "begin" => {
                        seed = rest.parse().unwrap_or(seed);
                        open = Some("died without a word".to_owned());
                    }
                    "panic" => open = Some(format!("panic: {rest}")),
                    "fail" => {
                        let mut results = lock(results);
                        results.failing.insert(seed, rest.to_owned());
                        if results.failing.len() >= orders.failures {
                            open = None;
                            let _ = child.kill();
                            break;
                        }
                    }
                    "end" => {
                        open = None;
                        let mut results = lock(results);
                        results.seeds += 1;
                        let mut numbers = rest.split(' ').map(|number| number.parse().unwrap_or(0));
                        results.events += numbers.next().unwrap_or(0);
                        results.writes += numbers.next().unwrap_or(0);
                    }
                    "reached" => {
                        let mut parts = rest.split('\t');
                        if let (Some(kind), Some(name), Some(count)) =
                            (parts.next(), parts.next(), parts.next())
                        {
                            let count = count.parse().unwrap_or(0);
                            lock(results).coverage.add(kind, name, count);
                        }
                    }
                    _ => {}
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                open = Some(format!("hangs for {} s", SEED_LIMIT.as_secs()));
                let _ = child.kill();
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let _ = child.wait();
    if let Some(why) = open {
        let mut results = lock(results);
        results.seeds += 1;
        results.failing.insert(seed, why);
    }
    seed + 1
}

fn read_lines(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(output) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// This program once more.
pub(crate) fn program() -> Command {
    Command::new(std::env::current_exe().unwrap_or_else(|_| "twindisk-simulator".into()))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
