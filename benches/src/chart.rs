//! The results of a comparison as a picture: bars that begin at the one everybody is measured by, and go up or down from there.
//! It reads on light and on dark ground.

use std::fmt::Write as _;

use crate::{
    results::{Results, Summary},
    table::number,
};

/// Draws them, if there is anything to draw.
#[must_use]
pub fn svg(results: &Results) -> Option<String> {
    let measure = measure(results)?;
    let mut chart = Chart::new(results, measure);
    chart.legend();
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
    Some(chart.finish())
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

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
/// Between groups of bars.
const GAP: f64 = 18.0;
/// Of the part with bars in a panel.
const BARS: f64 = 190.0;
/// Above and below it: figures stand at the ends of bars.
const ROOM: f64 = 42.0;
const LINE: f64 = 16.0;

/// Others in warm and grey colours, ours in cold ones. Each stands out on white and on black.
const COLOURS: &[(&str, &str)] = &[
    ("bare", "#8b8f94"),
    ("two-files", "#b5838d"),
    ("qemu-nbd", "#c9a227"),
    ("nbdkit", "#a67c52"),
    ("quorum", "#e07b39"),
    ("quorum-direct", "#c4453c"),
    ("twindisk-cached", "#35a7d6"),
    ("twindisk", "#2f6fde"),
    ("twindisk-b", "#7a6fe0"),
    ("twindisk-a", "#a673d1"),
    ("twindisk-alone", "#2fa37a"),
    ("twindisk-resync", "#7fb069"),
];

/// For contestants of other builds, in turn.
const MORE_COLOURS: &[&str] = &["#5b8a72", "#6c8ebf", "#9b7fb8", "#4f9da6"];

struct Chart<'a> {
    results: &'a Results,
    measure: &'a str,
    body: String,
    /// Where the next thing goes.
    y: f64,
}

impl<'a> Chart<'a> {
    fn new(results: &'a Results, measure: &'a str) -> Self {
        let mut chart = Self {
            results,
            measure,
            body: String::new(),
            y: 30.0,
        };
        chart.text(
            LEFT,
            "title",
            "A mirrored block device, beside its neighbours and the bare file",
        );
        chart.y += 20.0;
        let words = format!(
            "{} rounds of {} s, contestants interleaved, medians; {} MiB, filled. {}",
            results.rounds,
            results.seconds,
            results.mib,
            results.machine.words()
        );
        for line in wrapped(&words, 175) {
            chart.text(LEFT, "small", &line);
            chart.y += LINE;
        }
        chart
    }

    fn legend(&mut self) {
        let mut x = LEFT;
        self.y += 8.0;
        for contestant in &self.results.contestants {
            let width = 30.0 + 7.0 * contestant.name.len() as f64;
            if x + width > WIDTH - RIGHT {
                x = LEFT;
                self.y += LINE + 2.0;
            }
            let (y, colour) = (self.y - 9.0, self.colour(&contestant.name));
            let _ = writeln!(
                self.body,
                r#"<g><title>{}</title><rect x="{x:.0}" y="{y:.0}" width="10" height="10" fill="{colour}"/>"#,
                escaped(&contestant.words)
            );
            self.text(x + 15.0, "", &contestant.name);
            self.body.push_str("</g>\n");
            x += width;
        }
        self.y += LINE;
    }

    fn panel(&mut self, title: &str, better: &str, value: impl Fn(&Summary) -> f64) {
        self.y += 22.0;
        let measure = self.measure;
        self.text(
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
        let scale = Scale::over(&bars, self.y + 8.0 + ROOM);
        self.axis(&scale);
        for drawn in &bars {
            let x = LEFT + drawn.load as f64 * group + GAP / 2.0 + drawn.contestant as f64 * bar;
            self.bar(x, bar, &scale, drawn);
        }
        self.y = scale.bottom + ROOM + 12.0;
        for (index, load) in self.results.loads.iter().enumerate() {
            let x = LEFT + (index as f64 + 0.5) * group;
            self.text(x, "middle", &load.name);
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
            let right = WIDTH - RIGHT;
            let _ = writeln!(
                self.body,
                r#"<line class="{class}" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#
            );
            let label = if doublings < 0.0 {
                format!("1/{}", (-doublings).exp2())
            } else {
                format!("{}", doublings.exp2())
            };
            self.y = y + 4.0;
            self.text(LEFT - 6.0, "end", &label);
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
        let colour = self.colour(name);
        let thick = (width - 1.5).max(1.0);
        let text = number(bar.value);
        let _ = writeln!(
            self.body,
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
            self.body,
            r#"<text class="{class}" transform="translate({across:.1} {at:.1}) rotate(-90)">{text}</text>"#
        );
    }

    fn colour(&self, name: &str) -> &'static str {
        let known = COLOURS.iter().find(|(known, _)| *known == name);
        let position = || {
            self.results
                .contestants
                .iter()
                .position(|other| other.name == name)
        };
        known.map_or_else(
            || {
                MORE_COLOURS
                    .iter()
                    .cycle()
                    .nth(position().unwrap_or(0))
                    .copied()
                    .unwrap_or("#888888")
            },
            |(_, colour)| colour,
        )
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let (y, text) = (self.y, escaped(text));
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    fn finish(self) -> String {
        let height = self.y + 20.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n\
             <style>{STYLE}</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            self.body
        )
    }
}

const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 18px; font-weight: 600; }
.panel { font-weight: 600; }
.small { font-size: 11px; fill: #57606a; }
.figure { font-size: 9.5px; }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.ground { fill: #ffffff; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.one { stroke: #24292f; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .ground { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .one { stroke: #e6edf3; }
}
";

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

fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
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
