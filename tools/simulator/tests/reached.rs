//! Every row of the table is reached, and every scenario holds.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};

use twindisk_simulator::{
    Outcome, Telling,
    coverage::Coverage,
    run,
    scenarios::{self, DICE},
};

/// Seeds that are run for what they reach.
const SEEDS: u64 = 1500;

/// One that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn every_row_is_reached_and_every_scenario_holds() {
    let scenarios: Vec<_> = scenarios::all().collect();
    let scripted = scenarios.len() as u64 * DICE;
    let next = AtomicU64::new(0);
    let all = Mutex::new((Coverage::default(), Vec::new()));
    let watchdog = Watchdog::default();
    std::thread::scope(|scope| {
        scope.spawn(|| watchdog.watch());
        for _ in 0..2 {
            scope.spawn(|| {
                let _working = watchdog.working();
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    let (name, outcome) = if job < scripted {
                        let scenario = scenarios[(job / DICE) as usize];
                        let seed = job % DICE + 1;
                        let name = format!("{} with seed {seed}", scenario.name);
                        watchdog.begins(&name);
                        (name, lived(|| (scenario.run)(seed.into(), Telling::Silent)))
                    } else if job < scripted + SEEDS {
                        let seed = job - scripted;
                        watchdog.begins(&format!("seed {seed}"));
                        let outcome = lived(|| run(seed, Telling::Silent));
                        (format!("seed {seed}"), outcome)
                    } else {
                        break;
                    };
                    let mut all = all.lock().expect("panics are caught");
                    match outcome {
                        Some(outcome) => {
                            all.0.merge(&outcome.coverage);
                            if let Some(violation) = outcome.violation {
                                all.1.push(format!("{name}: {violation}"));
                            }
                        }
                        None => all.1.push(format!("{name}: panics")),
                    }
                }
            });
        }
    });
    let (coverage, mut wrong) = all.into_inner().expect("panics are caught");
    println!("{coverage}");
    wrong.extend(coverage.gaps());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Ends the test, with a name, when a core goes round in circles: nothing else can end that.
#[derive(Default)]
struct Watchdog {
    begun: Mutex<HashMap<ThreadId, (String, Instant)>>,
    at_work: AtomicU64,
    started: AtomicBool,
}

impl Watchdog {
    fn working(&self) -> impl Drop + '_ {
        struct Working<'a>(&'a Watchdog);
        impl Drop for Working<'_> {
            fn drop(&mut self) {
                self.0.at_work.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.at_work.fetch_add(1, Ordering::SeqCst);
        self.started.store(true, Ordering::SeqCst);
        Working(self)
    }

    fn begins(&self, name: &str) {
        let mut begun = self.begun.lock().expect("panics are caught");
        begun.insert(
            std::thread::current().id(),
            (name.to_owned(), Instant::now()),
        );
    }

    fn watch(&self) {
        while !self.started.load(Ordering::SeqCst) || self.at_work.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(100));
            let begun = self.begun.lock().expect("panics are caught");
            for (name, since) in begun.values() {
                if since.elapsed() > LIMIT && self.at_work.load(Ordering::SeqCst) > 0 {
                    eprintln!("{name} hangs for {} s", LIMIT.as_secs());
                    std::process::exit(1);
                }
            }
        }
    }
}

/// What came of it; nothing if it panicked.
fn lived(run: impl FnOnce() -> Outcome) -> Option<Outcome> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
}

#[test]
fn names_of_scenarios_are_unique() {
    let mut names: Vec<_> = scenarios::all().map(|scenario| scenario.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 40, "{count} scenarios");
}

#[test]
fn the_documents_name_only_scenarios_that_there_are() {
    let names: Vec<_> = scenarios::all().map(|scenario| scenario.name).collect();
    let documents = [
        include_str!("../README.md"),
        include_str!("../SCENARIOS.md"),
        include_str!("../FINDINGS.md"),
    ];
    let mut named = 0;
    // What stands between backticks and looks like the name of a scenario is one.
    let quoted = documents.map(|text| text.split('`').skip(1).step_by(2));
    for word in quoted.into_iter().flatten() {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if word.contains('-') && !word.starts_with('-') && word.chars().all(plain) {
            assert!(names.contains(&word), "a document names {word}");
            named += 1;
        }
    }
    assert!(named > 100, "{named} names");
}
