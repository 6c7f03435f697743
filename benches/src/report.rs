//! The results of a comparison as text.

use std::fmt::Write as _;

use crate::{
    results::{Results, Summary},
    table::{markdown, number},
};

/// Everything, for the terminal and for Markdown.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut text = String::new();
    for load in &results.loads {
        let rows: Vec<&Summary> = results
            .contestants
            .iter()
            .filter_map(|contestant| results.of(&load.name, &contestant.name))
            .collect();
        if !rows.is_empty() {
            let _ = writeln!(
                text,
                "{} ({})\n\n{}",
                load.words,
                load.name,
                of_a_load(&rows)
            );
        }
    }
    for measure in measures(&results.summary) {
        let multiples = multiples(results, measure);
        let _ = writeln!(
            text,
            "Rates as multiples of {measure}'s, medians of the rounds' ratios\n\n{multiples}"
        );
    }
    if !results.resident_kib.is_empty() {
        let sizes = results.resident_kib.iter();
        let sizes: Vec<String> = sizes
            .map(|(name, kib)| format!("{name} {}", number(*kib as f64 / 1024.0)))
            .collect();
        let _ = writeln!(
            text,
            "Memory of the servers after it (resident, MiB): {}\n",
            sizes.join(", ")
        );
    }
    for contestant in &results.contestants {
        let _ = writeln!(text, "- {}: {}", contestant.name, contestant.words);
    }
    let _ = writeln!(
        text,
        "\n{} rounds of {} s, {} MiB; medians of the rounds. Latency from the submission on (of the fsync alone where there is one).\n{}",
        results.rounds,
        results.seconds,
        results.mib,
        results.machine.words()
    );
    text
}

fn of_a_load(rows: &[&Summary]) -> String {
    let measures = measures(rows.iter().copied());
    let mut head = vec!["".to_owned()];
    head.extend(["ops/s", "p50 us", "p99 us", "p99.9 us"].map(str::to_owned));
    head.extend(["CPU us/op", "client", "server", "second"].map(str::to_owned));
    head.extend(measures.iter().map(|measure| format!(": {measure}")));
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cpu = row.cpu_us;
            let figures = [
                row.rate,
                row.p50_us,
                row.p99_us,
                row.p999_us,
                cpu.all(),
                cpu.client,
            ];
            let mut cells = vec![match row.resynced {
                Some(share) => format!("{} (for {:.0} % of it)", row.contestant, share * 100.0),
                None => row.contestant.clone(),
            }];
            cells.extend(figures.map(number));
            let others = [cpu.server, cpu.second];
            cells.extend(others.map(|figure| figure.map(number).unwrap_or_default()));
            let ratios = measures
                .iter()
                .map(|measure| row.ratios.get(measure.as_str()));
            cells.extend(ratios.map(|ratio| ratio.copied().map(number).unwrap_or_default()));
            cells
        })
        .collect();
    markdown(&head, &rows)
}

/// Each that is in a ratio of one of these.
fn measures<'a>(summaries: impl IntoIterator<Item = &'a Summary>) -> Vec<&'a String> {
    let ratios = summaries.into_iter().flat_map(|row| row.ratios.keys());
    let mut measures: Vec<&String> = ratios.collect();
    measures.sort_unstable();
    measures.dedup();
    measures
}

fn multiples(results: &Results, measure: &str) -> String {
    let mut head = vec!["".to_owned()];
    head.extend(results.loads.iter().map(|load| load.name.clone()));
    let rows = results.contestants.iter().filter_map(|contestant| {
        let cells: Vec<Option<f64>> = results
            .loads
            .iter()
            .map(|load| {
                let summary = results.of(&load.name, &contestant.name)?;
                summary.ratios.get(measure).copied()
            })
            .collect();
        let known = cells.iter().any(Option::is_some);
        let cells = cells.iter().map(|ratio| number(ratio.unwrap_or(f64::NAN)));
        known.then(|| [contestant.name.clone()].into_iter().chain(cells).collect())
    });
    markdown(&head, &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use crate::results::tests::results;

    #[test]
    fn the_text_has_every_figure() {
        let text = super::text(&results(&[
            ("bare", [100.0, 10.0, 400.0]),
            ("twindisk", [5000.0, 2000.0, 30000.0]),
        ]));
        assert!(
            text.contains(
                "| twindisk | 5,000 |    200 |    400 |      600 |      12.0 |   5.00 |   7.00 |        |   75.0 |"
            ),
            "{text}"
        );
        assert!(text.contains("| twindisk |        75.0 |"), "{text}");
        assert!(text.contains("- bare: what bare is"), "{text}");
    }
}
