//! Runs seeds by the thousand, or one with its story.

mod mutation;
mod shrink;
mod workers;

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use twindisk_simulator::{
    Mutant, Outcome, Telling,
    coverage::Coverage,
    out, run_swarm, say, scenarios, small,
    swarm::{ASK_ALONE, Seed, Swarm},
};

use workers::Play;

/// The whole cluster in one process, under every fault, from a seed.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// How many to run at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Stop after so many minutes.
    #[arg(long)]
    minutes: Option<f64>,
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Live through a hand-written scenario; `list` names them, `all` runs them.
    #[arg(long)]
    scenario: Option<String>,
    /// With --seed: print a line for everything that happens.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: print what the seed drew.
    #[arg(long, requires = "seed")]
    draw: bool,
    /// With --seed: look for a shorter story that breaks the same rule.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// With --seed: leave out these planned faults.
    #[arg(long, requires = "seed", value_delimiter = ',')]
    skip: Vec<u32>,
    /// With --seed: no faults at interesting moments.
    #[arg(long, requires = "seed")]
    untargeted: bool,
    /// With --seed: so many client operations.
    #[arg(long, requires = "seed")]
    operations: Option<u64>,
    /// Give every core a deliberate bug; `list` names them.
    #[arg(long)]
    mutant: Option<String>,
    /// Look for every deliberate bug, in at most --seeds seeds each and in the scenarios, and print which rule found it.
    #[arg(long, conflicts_with_all = ["mutant", "seed", "scenario"])]
    mutants: bool,
    /// Stop at so many failing seeds.
    #[arg(long, default_value_t = 20)]
    failures: usize,
    /// Lines of story to print of the first failing seeds.
    #[arg(long, default_value_t = 25)]
    lines: usize,
    /// Pairs with agents in place of the operator.
    #[arg(long)]
    agents: bool,
    /// Pairs with agents and a witness in place of the fence device.
    #[arg(long)]
    witness: bool,
    /// Three nodes with agents.
    #[arg(long)]
    three: bool,
    /// Walk every order of events in small worlds, of each at most so many states.
    #[arg(long, value_name = "STATES", conflicts_with_all = ["seed", "scenario", "agents"])]
    small: Option<usize>,
    /// Ask every node all the time: if all others were fenced now, would it serve, and does it hold everything?
    #[arg(long, value_name = "BOOL", default_value_t = ASK_ALONE, action = clap::ArgAction::Set)]
    alone: bool,
    /// Run seeds for another process of this program.
    #[arg(long, hide = true)]
    worker: bool,
}

impl Arguments {
    /// A bug of agents is looked for where there are some.
    fn has_agents(&self) -> bool {
        let mutant = mutation::named(self.mutant.as_deref()).ok().flatten();
        self.agents || self.witness || self.three || mutant.is_some_and(Mutant::is_of_agents)
    }

    fn has_three(&self) -> bool {
        let mutant = mutation::named(self.mutant.as_deref()).ok().flatten();
        self.three || mutant.is_some_and(Mutant::needs_three)
    }

    fn has_witness(&self) -> bool {
        let mutant = mutation::named(self.mutant.as_deref()).ok().flatten();
        self.witness || mutant.is_some_and(Mutant::needs_witness)
    }

    /// What the seeds of a run are for.
    fn play(&self) -> Play {
        let scenario = self.scenario.as_deref().and_then(scenarios::named);
        match scenario {
            Some(scenario) => Play::Scenario(scenario),
            None if self.has_witness() => Play::Witness,
            None if self.has_three() => Play::Three,
            None if self.has_agents() => Play::Agents,
            None => Play::Swarm,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Ok(mutant) = mutation::named(arguments.mutant.as_deref()) else {
        return ExitCode::from(u8::from(arguments.mutant.as_deref() != Some("list")));
    };
    if arguments.worker {
        let seeds = arguments.start..arguments.start + arguments.seeds;
        workers::work(seeds, arguments.play(), mutant, arguments.alone);
        return ExitCode::SUCCESS;
    }
    if let Some(states) = arguments.small {
        return small_worlds(states, mutant);
    }
    if arguments.mutants {
        return mutation::find_all(arguments.start, arguments.seeds, arguments.jobs.max(1));
    }
    match (&arguments.scenario, arguments.seed) {
        (Some(name), number) => {
            let number = number.unwrap_or(1);
            let alone = arguments.alone;
            let seed = Seed {
                number,
                mutant,
                alone,
            };
            scenario(name, seed, &arguments)
        }
        (None, Some(seed)) => one(seed, mutant, &arguments),
        (None, None) => many(mutant, &arguments),
    }
}

/// Prints what became of each small world; the way to a broken rule is a list of steps.
fn small_worlds(states: usize, mutant: Option<Mutant>) -> ExitCode {
    let mut broken = false;
    for mut world in small::worlds::short()
        .into_iter()
        .chain(small::worlds::long())
    {
        world.bounds.mutant = mutant.and_then(Mutant::of_replicas);
        broken |= walk(world.name, small::World::new(&world.bounds), states);
    }
    for (name, mut bounds) in small::worlds::short_failovers()
        .into_iter()
        .chain(small::worlds::long_failovers())
    {
        bounds.mutant = mutant.and_then(Mutant::of_agents);
        broken |= walk(name, small::Failover::new(bounds), states);
    }
    ExitCode::from(u8::from(broken))
}

/// Walks one of them, and says whether a rule was broken.
fn walk<W: small::Walk<Step: std::fmt::Debug>>(name: &str, first: W, states: usize) -> bool {
    let began = Instant::now();
    let found = small::walk(first, states);
    say!(
        "{name:<36} {:>9} states, {:>10} steps, longest way {:>3}, {:>5.1} s{}",
        found.states,
        found.steps,
        found.depth,
        began.elapsed().as_secs_f64(),
        if found.complete { "" } else { ", not all" },
    );
    let Some((why, way)) = found.violation else {
        return false;
    };
    say!("  BROKEN  {why}\n  {way:?}");
    true
}

fn scenario(name: &str, seed: Seed, arguments: &Arguments) -> ExitCode {
    if name == "all" {
        return every_scenario(seed);
    }
    let Some(scenario) = scenarios::named(name) else {
        for scenario in scenarios::all() {
            say!("{:<12} {}", scenario.subject, scenario.name);
        }
        return ExitCode::from(u8::from(name != "list"));
    };
    report(seed.number, arguments, |telling| {
        (scenario.run)(seed, telling)
    })
}

fn every_scenario(seed: Seed) -> ExitCode {
    let mut failing = 0;
    for scenario in scenarios::all() {
        // In a process of its own: a core that goes round in circles ends nothing but that.
        let results = workers::run_all(&workers::Orders {
            start: seed.number,
            seeds: 1,
            jobs: 1,
            deadline: None,
            failures: 1,
            play: Play::Scenario(scenario),
            mutant: seed.mutant,
            alone: seed.alone,
        });
        match results.failing.values().next() {
            None => say!("holds  {}", scenario.name),
            Some(why) => {
                failing += 1;
                say!("FAILS  {}: {why}", scenario.name);
            }
        }
    }
    ExitCode::from(u8::from(failing > 0))
}

/// Every scenario with the dice that the tests use, for a run of many seeds; says how many fail.
fn scenarios_too(coverage: &mut Coverage, arguments: &Arguments) -> usize {
    let mut failing = 0;
    for scenario in scenarios::all() {
        let results = workers::run_all(&workers::Orders {
            start: 1,
            seeds: scenarios::DICE,
            jobs: 1,
            deadline: None,
            failures: usize::MAX,
            play: Play::Scenario(scenario),
            mutant: None,
            alone: arguments.alone,
        });
        coverage.merge(&results.coverage);
        for (seed, why) in results.failing {
            failing += 1;
            let name = scenario.name;
            say!("scenario {name} with seed {seed}: {why}");
        }
    }
    failing
}

fn one(seed: u64, mutant: Option<Mutant>, arguments: &Arguments) -> ExitCode {
    let mut swarm = if arguments.has_witness() {
        Swarm::draw_with_witness(seed)
    } else if arguments.has_three() {
        Swarm::draw_with_three(seed)
    } else if arguments.has_agents() {
        Swarm::draw_with_agents(seed)
    } else {
        Swarm::draw(seed)
    };
    swarm.mutant = mutant;
    swarm.alone = arguments.alone;
    if arguments.draw {
        say!("{swarm:#?}");
    }
    if arguments.shrink {
        return shrink::shrink(seed, &swarm);
    }
    swarm.skip.clone_from(&arguments.skip);
    if arguments.untargeted {
        swarm.faults.targeted = 0;
    }
    if let Some(operations) = arguments.operations {
        swarm.load.operations = operations;
    }
    report(seed, arguments, |telling| run_swarm(swarm, telling))
}

fn report(seed: u64, arguments: &Arguments, run: impl FnOnce(Telling) -> Outcome) -> ExitCode {
    let telling = if arguments.trace {
        Telling::Print
    } else {
        Telling::Silent
    };
    let began = Instant::now();
    let outcome = run(telling);
    let Outcome {
        fingerprint,
        events,
        writes,
        violation,
        coverage,
        ..
    } = outcome;
    if !arguments.trace {
        out::text(format_args!("{coverage}"));
    }
    say!(
        "seed {seed}: {events} events, {writes} writes acknowledged, {} ms, fingerprint {fingerprint:016x}",
        began.elapsed().as_millis()
    );
    match violation {
        Some(violation) => {
            say!("VIOLATION {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn many(mutant: Option<Mutant>, arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let orders = workers::Orders {
        start: arguments.start,
        seeds: arguments.seeds,
        jobs: arguments.jobs.max(1),
        deadline: arguments
            .minutes
            .map(|minutes| began + std::time::Duration::from_secs_f64(minutes * 60.0)),
        failures: arguments.failures,
        play: arguments.play(),
        mutant,
        alone: arguments.alone,
    };
    let mut results = workers::run_all(&orders);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    // A mutant is looked for by seeds alone: `--mutants` tries the scenarios too.
    let scripts = match mutant {
        None if !arguments.has_agents() => scenarios_too(&mut results.coverage, arguments),
        _ => 0,
    };
    if !arguments.has_agents() {
        show(&results.coverage); // An agent does not do all that an operator may.
    }
    say!(
        "{} seeds in {:.1} s ({:.0} a minute), {} events, {} writes acknowledged, {} failing",
        results.seeds,
        minutes * 60.0,
        results.seeds as f64 / minutes,
        results.events,
        results.writes,
        results.failing.len()
    );
    for (index, (seed, why)) in results.failing.iter().enumerate() {
        say!("\nseed {seed}: {why}");
        if index < 3 {
            for line in workers::last_lines(*seed, &orders, arguments.lines) {
                say!("    {line}");
            }
        }
    }
    if results.failing.is_empty() && scripts == 0 {
        ExitCode::SUCCESS
    } else {
        say!("\nThe whole story of one: --seed N --trace");
        ExitCode::FAILURE
    }
}

fn show(coverage: &Coverage) {
    say!("reached:");
    out::text(format_args!("{coverage}"));
    let gaps = coverage.gaps();
    match gaps.len() {
        0 => say!("the table is complete"),
        some => say!("{some} gaps in the table, of which more seeds may fill some"),
    }
    gaps.iter().for_each(|gap| say!("    {gap}"));
}
