//! What grows: a panel for each curve whose steps are numbers and whose columns are contestants, a line for each of these.
//! Both axes are logarithmic: twice as much is everywhere as far.

use std::fmt::Write as _;

use super::{Canvas, LEFT, RIGHT, WIDTH, colour, conditions, escaped};
use crate::{
    contestants::Kind,
    scale::{Curve, Results},
    table::number,
};

/// Draws them, if there is anything to draw.
#[must_use]
pub fn svg(results: &Results) -> Option<String> {
    let drawn = |curve: &&Curve| {
        let places = || curve.rows.iter().map(|row| row.at);
        places().count() > 1 && places().all(|at| at > Some(0.0))
    };
    let curves: Vec<&Curve> = results.curves.iter().filter(drawn).collect();
    // All have the same contestants.
    let names = &curves.first()?.columns;
    let title =
        "How figures of a mirrored block device grow, beside its neighbours and the bare file";
    let words = conditions(
        results.rounds,
        results.seconds,
        results.mib,
        &results.machine,
    );
    let mut canvas = Canvas::new(title, &words);
    canvas.legend(names.iter().map(|name| {
        let words = Kind::named(name).map_or("", Kind::words);
        (name.as_str(), words)
    }));
    canvas.y += 22.0;
    for row in curves.chunks(2) {
        let top = canvas.y;
        for (curve, left) in row.iter().zip([LEFT, WIDTH - RIGHT - PANEL]) {
            canvas.y = top;
            panel(&mut canvas, curve, left);
        }
        canvas.y += 34.0;
    }
    Some(canvas.finish())
}

/// Of a panel, without the figures at its left.
const PANEL: f64 = 515.0;
const HEIGHT: f64 = 210.0;
/// Within a panel, at both sides.
const ROOM: f64 = 20.0;

fn panel(canvas: &mut Canvas, curve: &Curve, left: f64) {
    canvas.text(left, "panel", &curve.title);
    let values = curve.rows.iter().flat_map(|row| row.values.iter());
    let values: Vec<f64> = values.filter_map(|value| positive(*value)).collect();
    let steps = steps(&values);
    let (top, bottom) = (canvas.y + 14.0, canvas.y + 14.0 + HEIGHT);
    let upwards = Axis::over(&steps, bottom, top);
    for step in &steps {
        let y = upwards.at(*step);
        canvas.across("grid", left, left + PANEL, y);
        canvas.y = y + 4.0;
        canvas.text(left - 6.0, "end", &number(*step));
    }
    let places: Vec<f64> = curve.rows.iter().filter_map(|row| row.at).collect();
    let across = Axis::over(&places, left + ROOM, left + PANEL - ROOM);
    canvas.y = bottom + 18.0;
    for (row, place) in curve.rows.iter().zip(&places) {
        canvas.text(across.at(*place), "middle", &row.name);
    }
    for (column, name) in curve.columns.iter().enumerate() {
        let points = curve.rows.iter().zip(&places).map(|(row, place)| {
            let value = positive(row.values.get(column).copied().flatten())?;
            Some(Point {
                x: across.at(*place),
                y: upwards.at(value),
                words: format!("{name}, {}: {}", row.name, number(value)),
            })
        });
        line(canvas, &points.collect::<Vec<_>>(), colour(name, column));
    }
}

/// Broken where nothing was measured.
fn line(canvas: &mut Canvas, points: &[Option<Point>], colour: &str) {
    for part in points.split(Option::is_none) {
        let part = || part.iter().flatten();
        let corners: Vec<String> = part()
            .map(|point| format!("{:.1},{:.1}", point.x, point.y))
            .collect();
        let _ = writeln!(
            canvas.body,
            r#"<polyline class="curve" stroke="{colour}" points="{}"/>"#,
            corners.join(" ")
        );
        for point in part() {
            let _ = writeln!(
                canvas.body,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}"><title>{}</title></circle>"#,
                point.x,
                point.y,
                escaped(&point.words)
            );
        }
    }
}

struct Point {
    x: f64,
    y: f64,
    words: String,
}

/// A logarithm has no place for others.
fn positive(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value > 0.0)
}

/// 1, 2 and 5 of the powers of ten: from the last that no value is below to the first that all are below.
fn steps(values: &[f64]) -> Vec<f64> {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    let all: Vec<f64> = (-3..=9)
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)))
        .collect();
    let first = all.iter().rposition(|step| *step <= lowest);
    let last = all.iter().position(|step| *step > highest);
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(all.len() - 1));
    all.get(first..=last).unwrap_or_default().to_vec()
}

/// From values to places in the picture.
struct Axis {
    lowest: f64,
    highest: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    fn over(values: &[f64], begin: f64, end: f64) -> Self {
        Self {
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(0.0, f64::max),
            begin,
            end,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let part = (value / self.lowest).ln() / (self.highest / self.lowest).ln();
        self.begin + part * (self.end - self.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{machine::Machine, scale::size};

    fn results() -> Results {
        let mut rates = Curve::new("rate <by size>", ["bare", "twindisk"]);
        for (at, value) in [
            (1_u64 << 10, Some(1000.0)),
            (4 << 10, None),
            (1 << 20, Some(10.0)),
        ] {
            rates.push_at(at as f64, size(at), vec![Some(3000.0), value]);
        }
        let mut table = Curve::new("what has no axis", ["seconds", "MiB"]);
        table.push("read", vec![Some(1.0), Some(2.0)]);
        Results {
            machine: Machine::default(),
            rounds: 3,
            seconds: 2.0,
            mib: 64,
            curves: vec![rates, table],
        }
    }

    #[test]
    fn a_line_for_each_contestant_broken_where_nothing_is_known() {
        let svg = svg(&results()).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 1 + 2, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3 + 2, "{svg}");
        assert!(
            svg.contains("<title>twindisk, 1 MiB: 10.0</title>"),
            "{svg}"
        );
        assert!(svg.contains("rate &lt;by size&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(!svg.contains("what has no axis"), "{svg}");
    }

    #[test]
    fn without_a_curve_there_is_no_picture() {
        let mut results = results();
        results.curves.remove(0);
        assert_eq!(svg(&results), None);
    }

    #[test]
    fn an_axis_is_logarithmic_and_holds_every_value() {
        assert_eq!(steps(&[30.0, 450.0]), [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(steps(&[2.0, 2.0]), [2.0, 5.0], "never of no length");
        let axis = Axis::over(&[1.0, 4.0, 16.0], 0.0, 100.0);
        assert!((axis.at(4.0) - 50.0).abs() < 1e-9);
        assert!((axis.at(16.0) - 100.0).abs() < 1e-9);
    }
}
