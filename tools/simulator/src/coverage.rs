//! What runs have reached: states, refusals, reports. A row that no seed reaches is a promise nobody tested.

use std::{collections::BTreeMap, fmt};

/// Counts by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    rows: BTreeMap<(String, String), u64>,
}

impl Coverage {
    /// Counts one.
    pub fn reach(&mut self, kind: &str, name: &str) {
        self.add(kind, name, 1);
    }

    /// Counts several.
    pub fn add(&mut self, kind: &str, name: &str, count: u64) {
        *self
            .rows
            .entry((kind.to_owned(), name.to_owned()))
            .or_default() += count;
    }

    /// Takes another run's counts in.
    pub fn merge(&mut self, other: &Self) {
        for ((kind, name), count) in &other.rows {
            self.add(kind, name, *count);
        }
    }

    /// How often a row was reached.
    #[must_use]
    pub fn count(&self, kind: &str, name: &str) -> u64 {
        let key = (kind.to_owned(), name.to_owned());
        self.rows.get(&key).copied().unwrap_or(0)
    }

    /// All rows: kind, name, count.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.rows
            .iter()
            .map(|((kind, name), count)| (kind.as_str(), name.as_str(), *count))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (kind, name, count) in self.rows() {
            if kind != last {
                writeln!(f, "{kind}")?;
                last = kind;
            }
            writeln!(f, "  {count:>9}  {name}")?;
        }
        Ok(())
    }
}
