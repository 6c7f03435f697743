//! What a comparison measured: every turn, and the medians and ratios that are made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    contestants::Resynced,
    machine::Machine,
    statistics::{median, median_ratio},
};

/// A whole run, as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// On what.
    pub machine: Machine,
    /// How often everyone had a turn.
    pub rounds: u32,
    /// How long a turn was.
    pub seconds: f64,
    /// Size of the device.
    pub mib: u64,
    /// In the order of tables.
    pub contestants: Vec<Named>,
    /// In the order of tables.
    pub loads: Vec<Named>,
    /// Everything that was measured.
    pub turns: Vec<Turn>,
    /// What the tables show.
    pub summary: Vec<Summary>,
    /// Resident memory at the end, KiB, of each server process.
    pub resident_kib: BTreeMap<String, u64>,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// In words.
    pub words: String,
}

/// CPU time per operation, microseconds, of each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// fio.
    pub client: f64,
    /// The server that it talks to.
    pub server: Option<f64>,
    /// The remote half.
    pub second: Option<f64>,
}

impl Cpu {
    /// Of all together.
    #[must_use]
    pub fn all(&self) -> f64 {
        self.client + self.server.unwrap_or_default() + self.second.unwrap_or_default()
    }
}

/// One turn of one contestant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// From 1 on.
    pub round: u32,
    /// Its name.
    pub load: String,
    /// Its name.
    pub contestant: String,
    /// Operations per second.
    pub rate: f64,
    /// Latency; of the fsync where the load has one after each write.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// As above.
    pub p999_us: f64,
    /// CPU per operation.
    pub cpu_us: Cpu,
    /// Of a contestant that is being resynced.
    pub resync: Option<Resynced>,
}

/// Of one contestant under one load: medians of all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub load: String,
    /// Its name.
    pub contestant: String,
    /// Operations per second.
    pub rate: f64,
    /// Latency.
    pub p50_us: f64,
    /// As above.
    pub p99_us: f64,
    /// As above.
    pub p999_us: f64,
    /// CPU per operation.
    pub cpu_us: Cpu,
    /// Median of the rounds' ratios of the rate: to each contestant that is a measure, by its name; to the same
    /// contestant of another build, by `@` and the build's name.
    pub ratios: BTreeMap<String, f64>,
    /// Median of the part of its turns that the resync took.
    pub resynced: Option<f64>,
}

/// Those that the others are measured by.
pub const MEASURES: &[&str] = &["bare", "two-files", "quorum", "quorum-direct"];

impl Results {
    /// Makes the summary of the turns.
    pub fn summarize(&mut self) {
        let mut summary = Vec::new();
        for load in &self.loads {
            for contestant in &self.contestants {
                summary.extend(self.summary_of(&load.name, &contestant.name));
            }
        }
        self.summary = summary;
    }

    /// What the tables show of one contestant under one load.
    #[must_use]
    pub fn of(&self, load: &str, contestant: &str) -> Option<&Summary> {
        let mut all = self.summary.iter();
        all.find(|summary| summary.load == load && summary.contestant == contestant)
    }

    fn summary_of(&self, load: &str, contestant: &str) -> Option<Summary> {
        let turns = self.turns_of(load, contestant);
        if turns.is_empty() {
            return None;
        }
        let middle = |value: fn(&Turn) -> f64| median(turns.iter().map(|turn| value(turn)));
        let of_process = |value: fn(&Turn) -> Option<f64>| {
            let known = turns.iter().filter_map(|turn| value(turn));
            Some(median(known)).filter(|median| !median.is_nan())
        };
        let rates = |name: &str| -> Vec<f64> {
            let turns = self.turns_of(load, name);
            turns.iter().map(|turn| turn.rate).collect()
        };
        let ratios = self
            .measures_of(contestant)
            .into_iter()
            // Not everyone takes part in every load.
            .filter(|(_, measure)| !rates(measure).is_empty())
            .map(|(name, measure)| {
                let ratio = median_ratio(&rates(contestant), &rates(measure));
                (name, ratio)
            });
        Some(Summary {
            load: load.to_owned(),
            contestant: contestant.to_owned(),
            rate: middle(|turn| turn.rate),
            p50_us: middle(|turn| turn.p50_us),
            p99_us: middle(|turn| turn.p99_us),
            p999_us: middle(|turn| turn.p999_us),
            cpu_us: Cpu {
                client: middle(|turn| turn.cpu_us.client),
                server: of_process(|turn| turn.cpu_us.server),
                second: of_process(|turn| turn.cpu_us.second),
            },
            ratios: ratios.collect(),
            resynced: of_process(|turn| turn.resync.map(|resync| resync.share)),
        })
    }

    /// What a contestant is compared with: how a table calls that, and its name.
    fn measures_of(&self, contestant: &str) -> Vec<(String, &str)> {
        let names = self.contestants.iter().map(|other| other.name.as_str());
        let measures = names.filter_map(|name| {
            let build = name
                .strip_prefix(contestant)
                .filter(|build| build.starts_with('@'));
            let measure = build.or_else(|| MEASURES.contains(&name).then_some(name))?;
            Some((measure.to_owned(), name))
        });
        measures.collect()
    }

    /// In the order of rounds.
    fn turns_of(&self, load: &str, contestant: &str) -> Vec<&Turn> {
        let turns = self.turns.iter();
        turns
            .filter(|turn| turn.load == load && turn.contestant == contestant)
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three rounds of one load; rates of each contestant.
    pub(crate) fn results(rates: &[(&str, [f64; 3])]) -> Results {
        let named = |name: &str| Named {
            name: name.to_owned(),
            words: format!("what {name} is"),
        };
        let turns = rates.iter().flat_map(|(contestant, rates)| {
            rates.iter().zip(1..).map(|(rate, round)| Turn {
                round,
                load: "write-4k-d1".to_owned(),
                contestant: (*contestant).to_owned(),
                rate: *rate,
                p50_us: 1e6 / rate,
                p99_us: 2e6 / rate,
                p999_us: 3e6 / rate,
                cpu_us: Cpu {
                    client: 5.0,
                    server: (*contestant != "bare").then_some(7.0),
                    second: None,
                },
                resync: None,
            })
        });
        let mut results = Results {
            machine: Machine::default(),
            rounds: 3,
            seconds: 1.0,
            mib: 256,
            contestants: rates.iter().map(|(name, _)| named(name)).collect(),
            loads: vec![named("write-4k-d1")],
            turns: turns.collect(),
            summary: Vec::new(),
            resident_kib: BTreeMap::new(),
        };
        results.summarize();
        results
    }

    #[test]
    fn ratios_are_of_rounds_and_rates_are_medians() {
        let results = results(&[
            ("bare", [100.0, 10.0, 400.0]),
            ("twindisk", [50.0, 20.0, 300.0]),
            ("twindisk@before", [25.0, 10.0, 75.0]),
        ]);
        let ours = results.of("write-4k-d1", "twindisk").unwrap();
        assert!((ours.rate - 50.0).abs() < 1e-9);
        let expected = [("bare", 0.75), ("@before", 2.0)];
        let expected = expected.map(|(name, ratio)| (name.to_owned(), ratio));
        assert_eq!(ours.ratios, BTreeMap::from(expected));
        assert!((ours.cpu_us.all() - 12.0).abs() < 1e-9);
        let bare = results.of("write-4k-d1", "bare").unwrap();
        assert_eq!(bare.cpu_us.server, None);
        assert_eq!(bare.ratios.len(), 1);
    }

    #[test]
    fn nobody_is_measured_by_whom_a_load_was_not_for() {
        let rates = [
            ("bare", [100.0; 3]),
            ("two-files", [50.0; 3]),
            ("twindisk", [40.0; 3]),
        ];
        let mut results = results(&rates);
        let read = |name: &str| Named {
            name: name.to_owned(),
            words: "a read".to_owned(),
        };
        results.loads.push(read("read-4k-d1"));
        let reads: Vec<Turn> = results
            .turns
            .iter()
            .filter(|turn| turn.contestant != "two-files")
            .map(|turn| Turn {
                load: "read-4k-d1".to_owned(),
                ..turn.clone()
            })
            .collect();
        results.turns.extend(reads);
        results.summarize();
        assert!(results.of("read-4k-d1", "two-files").is_none());
        let ratios = |load: &str| results.of(load, "twindisk").unwrap().ratios.clone();
        let expected = [("bare", 0.4), ("two-files", 0.8)];
        let expected = expected.map(|(name, ratio)| (name.to_owned(), ratio));
        assert_eq!(ratios("write-4k-d1"), BTreeMap::from(expected.clone()));
        assert_eq!(ratios("read-4k-d1"), BTreeMap::from([expected[0].clone()]));
        let text = crate::report::text(&results);
        let row = "| twindisk  |        0.80 |          - |";
        assert!(text.contains(row), "{text}");
        let picture = crate::chart::bars::svg(&results).unwrap();
        assert_eq!(
            picture.matches("</title></rect>").count(),
            3 * (3 + 2),
            "{picture}"
        );
    }
}
