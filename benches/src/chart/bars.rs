//! The results of a comparison: bars that begin at the one everybody is measured by, and go up or down from there.

use std::fmt::Write as _;

use super::{Canvas, LEFT, RIGHT, WIDTH, colour, conditions, escaped};
use crate::{
    results::{Results, Summary},
    table::number,
};

/// Draws them, if there is anything to draw.
#[must_use]
pub fn svg(results: &Results) -> Option<String> {
    let measure = measure(results)?;
    let mut chart = Chart::new(results, measure);
    chart.panel("Operations per second", "higher is better", |summary| {
        summary.rate
    });
    chart.panel("p99 latency, us", "lower is better", |summary| {
        summary.p99_us
    });
    chart.panel(
        "CPU of client and servers, us per operation",
        "lower is better",
        |summary| summary.cpu_us.all(),
    );
    Some(chart.canvas.finish())
}

/// The neighbour that does the same, if it takes part; or the first there is.
fn measure(results: &Results) -> Option<&str> {
    let mut names = results
        .contestants
        .iter()
        .map(|contestant| contestant.name.as_str());
    names
        .clone()
        .find(|name| *name == "quorum")
        .or_else(|| names.next())
}

/// Between groups of bars.
const GAP: f64 = 18.0;
/// Of the part with bars in a panel.
const BARS: f64 = 190.0;
/// Above and below it: figures stand at the ends of bars.
const ROOM: f64 = 42.0;

struct Chart<'a> {
    results: &'a Results,
    measure: &'a str,
    canvas: Canvas,
}

impl<'a> Chart<'a> {
    fn new(results: &'a Results, measure: &'a str) -> Self {
        let title = "A mirrored block device, beside its neighbours and the bare file";
        let words = conditions(
            results.rounds,
            results.seconds,
            results.mib,
            &results.machine,
        );
        let mut canvas = Canvas::new(title, &words);
        let contestants = results.contestants.iter();
        canvas.legend(contestants.map(|one| (one.name.as_str(), one.words.as_str())));
        Self {
            results,
            measure,
            canvas,
        }
    }

    fn panel(&mut self, title: &str, better: &str, value: impl Fn(&Summary) -> f64) {
        self.canvas.y += 22.0;
        let measure = self.measure;
        self.canvas.text(
            LEFT,
            "panel",
            &format!(
                "{title} ({better}), as multiples of {measure}'s; figures at the bars are absolute"
            ),
        );
        let loads = self.results.loads.len().max(1) as f64;
        let group = (WIDTH - LEFT - RIGHT) / loads;
        let bar = (group - GAP) / self.results.contestants.len().max(1) as f64;
        let bars = self.bars(&value);
        let scale = Scale::over(&bars, self.canvas.y + 8.0 + ROOM);
        self.axis(&scale);
        for drawn in &bars {
            let x = LEFT + drawn.load as f64 * group + GAP / 2.0 + drawn.contestant as f64 * bar;
            self.bar(x, bar, &scale, drawn);
        }
        self.canvas.y = scale.bottom + ROOM + 12.0;
        for (index, load) in self.results.loads.iter().enumerate() {
            let x = LEFT + (index as f64 + 0.5) * group;
            self.canvas.text(x, "middle", &load.name);
        }
    }

    fn bars(&self, value: &impl Fn(&Summary) -> f64) -> Vec<Bar> {
        let mut bars = Vec::new();
        for (load, named) in self.results.loads.iter().enumerate() {
            let Some(one) = self.results.of(&named.name, self.measure).map(value) else {
                continue;
            };
            for (contestant, other) in self.results.contestants.iter().enumerate() {
                let value = self.results.of(&named.name, &other.name).map(value);
                let known = value.filter(|value| *value > 0.0 && one > 0.0);
                bars.extend(known.map(|value| Bar {
                    load,
                    contestant,
                    value,
                    doublings: (value / one).log2().clamp(-MOST_DOUBLINGS, MOST_DOUBLINGS),
                }));
            }
        }
        bars
    }

    fn axis(&mut self, scale: &Scale) {
        let mut doublings = scale.lowest;
        while doublings <= scale.highest {
            let (y, class) = (
                scale.y(doublings),
                if doublings == 0.0 { "one" } else { "grid" },
            );
            self.canvas.across(class, LEFT, WIDTH - RIGHT, y);
            let label = if doublings < 0.0 {
                format!("1/{}", (-doublings).exp2())
            } else {
                format!("{}", doublings.exp2())
            };
            self.canvas.y = y + 4.0;
            self.canvas.text(LEFT - 6.0, "end", &label);
            doublings += 1.0;
        }
    }

    fn bar(&mut self, x: f64, width: f64, scale: &Scale, bar: &Bar) {
        let (one, end) = (scale.y(0.0), scale.y(bar.doublings));
        let (top, height) = (one.min(end), (one - end).abs().max(1.0));
        let name = self
            .results
            .contestants
            .get(bar.contestant)
            .map_or("", |named| named.name.as_str());
        let colour = colour(name, bar.contestant);
        let thick = (width - 1.5).max(1.0);
        let text = number(bar.value);
        let _ = writeln!(
            self.canvas.body,
            r#"<rect x="{x:.1}" y="{top:.1}" width="{thick:.1}" height="{height:.1}" fill="{colour}"><title>{}: {text}</title></rect>"#,
            escaped(name)
        );
        let below = bar.doublings < 0.0;
        let (class, at) = if below {
            ("figure end", end + 4.0)
        } else {
            ("figure", end - 4.0)
        };
        let across = x + thick / 2.0 + 3.5;
        let _ = writeln!(
            self.canvas.body,
            r#"<text class="{class}" transform="translate({across:.1} {at:.1}) rotate(-90)">{text}</text>"#
        );
    }
}

/// A ratio beyond 64 or 1/64 is drawn as that; its figure tells.
const MOST_DOUBLINGS: f64 = 6.0;

struct Bar {
    load: usize,
    contestant: usize,
    value: f64,
    /// Of what it is measured by.
    doublings: f64,
}

struct Scale {
    lowest: f64,
    highest: f64,
    top: f64,
    bottom: f64,
}

impl Scale {
    fn over(bars: &[Bar], top: f64) -> Self {
        let all = || bars.iter().map(|bar| bar.doublings);
        Self {
            lowest: all().fold(-1.0, f64::min).floor(),
            highest: all().fold(1.0, f64::max).ceil(),
            top,
            bottom: top + BARS,
        }
    }

    fn y(&self, doublings: f64) -> f64 {
        let part = (self.highest - doublings) / (self.highest - self.lowest);
        self.top + part * (self.bottom - self.top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn a_bar_for_everyone_from_the_line_of_the_one_they_are_measured_by() {
        let results = results(&[
            ("bare", [400.0; 3]),
            ("quorum", [100.0; 3]),
            ("twindisk <x>", [25.0; 3]),
        ]);
        let svg = svg(&results).unwrap();
        let bars = svg.matches("</title></rect>").count();
        assert_eq!(bars, 3 * 3, "three panels of three: {svg}");
        assert!(
            svg.contains("twindisk &lt;x&gt;") && !svg.contains("<x>"),
            "{svg}"
        );
        assert!(svg.contains("as multiples of quorum's"), "{svg}");
        let figures = svg.matches(">400</text>").count();
        assert_eq!(figures, 1, "{svg}");
    }

    #[test]
    fn four_times_as_much_is_two_lines_up() {
        let bar = |doublings| Bar {
            load: 0,
            contestant: 0,
            value: 1.0,
            doublings,
        };
        let scale = Scale::over(&[bar(2.0), bar(-0.5)], 10.0);
        assert!((scale.y(2.0) - 10.0).abs() < 1e-9);
        assert!((scale.y(-1.0) - 10.0 - BARS).abs() < 1e-9);
        assert!(scale.y(0.0) > scale.y(1.0));
    }
}
