//! A figure as it grows with something: what the program `scale` measures.

use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine,
    table::{markdown, number},
};

/// A whole run, as it is kept in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// On what.
    pub machine: Machine,
    /// How often each point was measured.
    pub rounds: u32,
    /// How long.
    pub seconds: f64,
    /// Size of the device, where that is not what was varied.
    pub mib: u64,
    /// What came of it.
    pub curves: Vec<Curve>,
}

/// Rows are steps of what grows, columns are whom or what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What, and in which unit.
    pub title: String,
    /// Above the columns.
    pub columns: Vec<String>,
    /// Each with its name.
    pub rows: Vec<Row>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// How much of what grows.
    pub name: String,
    /// The same as a number, where the columns are whom was measured: its place in a picture.
    pub at: Option<f64>,
    /// A value for each column, where there is one.
    pub values: Vec<Option<f64>>,
}

impl Curve {
    /// Without steps yet.
    #[must_use]
    pub fn new(title: &str, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a step.
    pub fn push(&mut self, name: impl Into<String>, values: Vec<Option<f64>>) {
        self.rows.push(Row {
            name: name.into(),
            at: None,
            values,
        });
    }

    /// Adds a step that has a place in a picture.
    pub fn push_at(&mut self, at: f64, name: impl Into<String>, values: Vec<Option<f64>>) {
        self.rows.push(Row {
            name: name.into(),
            at: Some(at),
            values,
        });
    }

    /// As a table.
    #[must_use]
    pub fn text(&self) -> String {
        let head: Vec<String> = [String::new()]
            .into_iter()
            .chain(self.columns.clone())
            .collect();
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let cells = row.values.iter().map(|value| cell(*value));
                [row.name.clone()].into_iter().chain(cells).collect()
            })
            .collect();
        format!("{}\n\n{}", self.title, markdown(&head, &rows))
    }
}

/// Counts are whole.
fn cell(value: Option<f64>) -> String {
    match value {
        Some(value) if value.fract() == 0.0 && value < 100.0 => format!("{value}"),
        value => number(value.unwrap_or(f64::NAN)),
    }
}

/// A size in words: `512 B`, `4 KiB`, `16 TiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!(
        "{} {}",
        (value * 100.0).round() / 100.0,
        units.get(unit).copied().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_words() {
        let words = [512, 4 << 10, 3 << 19, 16 << 40].map(size);
        assert_eq!(words, ["512 B", "4 KiB", "1.5 MiB", "16 TiB"]);
    }

    #[test]
    fn a_curve_is_a_table_and_what_is_missing_is_shown() {
        let mut curve = Curve::new("rate", ["ours", "theirs"]);
        curve.push("1 KiB", vec![Some(12.0), None]);
        assert_eq!(
            curve.text(),
            "rate\n\n|       | ours | theirs |\n| ----- | ---: | -----: |\n| 1 KiB |   12 |      - |\n"
        );
    }
}
