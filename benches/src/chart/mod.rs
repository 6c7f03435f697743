//! Results as pictures, which read on light and on dark ground: [`bars`] of a comparison, [`lines`] of what grows.

pub mod bars;
pub mod lines;

use std::fmt::Write as _;

use crate::machine::Machine;

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
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
    ("twindisk-cached-tls", "#1f7fa6"),
    ("twindisk-tls", "#1f4fa8"),
    ("twindisk-b", "#7a6fe0"),
    ("twindisk-a", "#a673d1"),
    ("twindisk-alone", "#2fa37a"),
    ("twindisk-resync", "#7fb069"),
];

/// For contestants of other builds, in turn.
const MORE_COLOURS: &[&str] = &["#5b8a72", "#6c8ebf", "#9b7fb8", "#4f9da6"];

/// Of a contestant that stands at this position.
fn colour(name: &str, position: usize) -> &'static str {
    let known = COLOURS.iter().find(|(known, _)| *known == name);
    let more = || MORE_COLOURS.iter().cycle().nth(position).copied();
    known
        .map(|(_, colour)| *colour)
        .or_else(more)
        .unwrap_or("#888888")
}

/// How it was measured.
fn conditions(rounds: u32, seconds: f64, mib: u64, machine: &Machine) -> String {
    format!(
        "{rounds} rounds of {seconds} s, contestants interleaved, medians; {mib} MiB, filled. {}",
        machine.words()
    )
}

/// What is drawn on.
struct Canvas {
    body: String,
    /// Where the next thing goes.
    y: f64,
}

impl Canvas {
    fn new(title: &str, words: &str) -> Self {
        let mut canvas = Self {
            body: String::new(),
            y: 30.0,
        };
        canvas.text(LEFT, "title", title);
        canvas.y += 20.0;
        for line in wrapped(words, 175) {
            canvas.text(LEFT, "small", &line);
            canvas.y += LINE;
        }
        canvas
    }

    /// Names, and what they stand for.
    fn legend<'a>(&mut self, names: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut x = LEFT;
        self.y += 8.0;
        for (position, (name, words)) in names.into_iter().enumerate() {
            let width = 30.0 + 7.0 * name.len() as f64;
            if x + width > WIDTH - RIGHT {
                x = LEFT;
                self.y += LINE + 2.0;
            }
            let (y, colour) = (self.y - 9.0, colour(name, position));
            let _ = writeln!(
                self.body,
                r#"<g><title>{}</title><rect x="{x:.0}" y="{y:.0}" width="10" height="10" fill="{colour}"/>"#,
                escaped(words)
            );
            self.text(x + 15.0, "", name);
            self.body.push_str("</g>\n");
            x += width;
        }
        self.y += LINE;
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let (y, text) = (self.y, escaped(text));
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        );
    }

    /// A line of the axis, from one side to the other.
    fn across(&mut self, class: &str, left: f64, right: f64, y: f64) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#
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
.curve { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .ground { fill: #0d1117; }
  .grid { stroke: #30363d; }
  .one { stroke: #e6edf3; }
}
";

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
