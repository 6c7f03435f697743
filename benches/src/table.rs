//! Tables for terminals that are Markdown, too, and the numbers in them.

/// Columns as wide as they must be, the first to the left, the others to the right.
#[must_use]
pub fn markdown(head: &[String], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| cell(row, column).chars().count());
        cells.chain([cell(head, column).chars().count(), 3]).max()
    };
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    let line = |row: &[String]| {
        let cells = widths.iter().enumerate().map(|(column, width)| {
            let text = cell(row, column);
            if column == 0 {
                format!("{text:<width$}")
            } else {
                format!("{text:>width$}")
            }
        });
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    line(head) + &line(&rule) + &body
}

/// Three digits that count, thousands apart; nothing for what is no number.
#[must_use]
pub fn number(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "-".to_owned(),
        _ if value >= 100.0 => apart(value.round() as u64),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn apart(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let texts = [f64::NAN, 0.123, 12.34, 123.4, 1_234_567.0].map(number);
        assert_eq!(texts, ["-", "0.12", "12.3", "123", "1,234,567"]);
    }

    #[test]
    fn a_table() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = markdown(
            &row(["who", "rate"]),
            &[row(["bare", "1"]), row(["…", "12345"])],
        );
        let expected = "| who  |  rate |\n| ---- | ----: |\n| bare |     1 |\n| …    | 12345 |\n";
        assert_eq!(text, expected);
    }
}
