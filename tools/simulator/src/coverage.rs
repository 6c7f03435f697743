//! What runs have reached, in a closed table: a row that no run reaches is a promise that nobody tested.
//!
//! Most rows are decisions that the core itself counts by name (`twindisk_core::Mark` and `Cause`): the lineage table,
//! refusals, dropped connections. The others are seen from outside: transitions, reports, events, actions, faults.

mod table;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::OnceLock,
};

/// Counts for each row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
    /// What happened and stands in no row: a transition that nobody has thought of.
    unlisted: BTreeMap<(String, String), u64>,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// What it is about.
    pub kind: &'static str,
    /// Which of those.
    pub name: &'static str,
    /// Whether it must be reached.
    pub must: Must,
}

/// Whether runs must reach a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// Some run must, or nobody knows whether it works.
    BeReached,
    /// It needs a coincidence that a short series of runs need not bring: why.
    Luck(&'static str),
    /// No run may: what replicas that keep to the rules never do to each other, or what comes earlier: why.
    NeverBe(&'static str),
}

struct Table {
    rows: Vec<Row>,
    index: BTreeMap<(&'static str, &'static str), usize>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows: Vec<Row> = table::rows();
        let index = rows
            .iter()
            .enumerate()
            .map(|(at, row)| ((row.kind, row.name), at))
            .collect();
        Table { rows, index }
    })
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            counts: vec![0; table().rows.len()],
            unlisted: BTreeMap::new(),
        }
    }
}

impl Coverage {
    /// Counts one.
    pub fn reach(&mut self, kind: &str, name: &str) {
        self.add(kind, name, 1);
    }

    /// Counts several.
    pub fn add(&mut self, kind: &str, name: &str, count: u64) {
        match table().index.get(&(kind, name)) {
            Some(&at) => self.counts[at] += count,
            None if count > 0 => {
                let key = (kind.to_owned(), name.to_owned());
                *self.unlisted.entry(key).or_default() += count;
            }
            None => {}
        }
    }

    /// Takes another run's counts in.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        for ((kind, name), count) in &other.unlisted {
            self.add(kind, name, *count);
        }
    }

    /// How often a row was reached.
    #[must_use]
    pub fn count(&self, kind: &str, name: &str) -> u64 {
        table()
            .index
            .get(&(kind, name))
            .map_or(0, |&at| self.counts[at])
    }

    /// All rows with their counts.
    pub fn rows(&self) -> impl Iterator<Item = (Row, u64)> {
        table()
            .rows
            .iter()
            .zip(&self.counts)
            .map(|(row, count)| (*row, *count))
    }

    /// What was reached and has no row.
    pub fn unlisted(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.unlisted
            .iter()
            .map(|((kind, name), count)| (kind.as_str(), name.as_str(), *count))
    }

    /// What is wrong with it: rows never reached, rows reached that can't be, and what stands in no row.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (row, count) in self.rows() {
            match (row.must, count) {
                (Must::BeReached, 0) => {
                    gaps.push(format!("never reached: {}: {}", row.kind, row.name));
                }
                (Must::NeverBe(why), 1..) => gaps.push(format!(
                    "reached {count} times, though \"{why}\": {}: {}",
                    row.kind, row.name
                )),
                (Must::BeReached | Must::Luck(_) | Must::NeverBe(_), _) => {}
            }
        }
        for (kind, name, count) in self.unlisted() {
            gaps.push(format!(
                "reached {count} times and in no row: {kind}: {name}"
            ));
        }
        gaps
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (row, count) in self.rows() {
            if row.kind != last {
                writeln!(f, "{}", row.kind)?;
                last = row.kind;
            }
            let mut line = format!("  {count:>9}  {}", row.name);
            match (row.must, count) {
                (Must::NeverBe(why), _) => _ = write!(line, "  (never: {why})"),
                (Must::Luck(why), 0) => _ = write!(line, "  (luck: {why})"),
                (Must::BeReached, 0) => line.push_str("  (NOT REACHED)"),
                (Must::BeReached | Must::Luck(_), _) => {}
            }
            writeln!(f, "{line}")?;
        }
        for (kind, name, count) in self.unlisted() {
            writeln!(f, "  {count:>9}  {kind}: {name}  (IN NO ROW)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_once_and_every_exception_names_a_row() {
        assert_eq!(table().rows.len(), table().index.len());
        for (kind, name, _) in table::EXCEPTIONS {
            let known = table().index.contains_key(&(*kind, *name));
            assert!(known, "{kind}: {name}");
        }
    }

    #[test]
    fn gaps_are_named() {
        let mut coverage = Coverage::default();
        coverage.reach("role", "Primary");
        coverage.reach("disk", "Diskless to Failed");
        let gaps = coverage.gaps();
        assert!(gaps.contains(&"never reached: role: Standby".to_owned()));
        assert!(!gaps.iter().any(|gap| gap.contains("role: Primary")));
        assert!(gaps.iter().any(|gap| gap.contains("in no row: disk")));
    }
}
