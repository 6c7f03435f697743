//! The story of a run: its fingerprint always, its words when asked for.

use std::{collections::VecDeque, fmt::Write as _};

use crate::say;

/// Lines kept for the story of a failure.
const RING: usize = 4000;

/// How much of the story is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// Only the fingerprint.
    #[default]
    Silent,
    /// The last lines are kept.
    Keep,
    /// Every line is printed as it happens.
    Print,
}

/// What happened, in order.
#[derive(Debug)]
pub(crate) struct Trace {
    telling: Telling,
    lines: VecDeque<String>,
    /// The resource that the next line is about, where there are several.
    pub(crate) about: Option<usize>,
    hash: u64,
}

impl Trace {
    pub(crate) fn new(telling: Telling, several: bool) -> Self {
        Self {
            telling,
            lines: VecDeque::new(),
            about: several.then_some(0),
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    /// Takes a number into the fingerprint.
    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x9fb2_1c65_1e98_df25)
            .rotate_left(29);
    }

    /// The same for every run of the same seed, and hardly for another.
    pub(crate) const fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// Whether lines are wanted: formatting them costs more than the run.
    pub(crate) fn is_on(&self) -> bool {
        self.telling != Telling::Silent
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, now: u64, text: &str) {
        let mut line = String::new();
        let _ = write!(
            line,
            "{:>3}.{:09} ",
            now / 1_000_000_000,
            now % 1_000_000_000
        );
        if let Some(about) = self.about {
            let _ = write!(line, "r{about} ");
        }
        line.push_str(text);
        match self.telling {
            Telling::Silent => {}
            Telling::Keep => {
                if self.lines.len() == RING {
                    self.lines.pop_front();
                }
                self.lines.push_back(line);
            }
            Telling::Print => say!("{line}"),
        }
    }

    /// The last lines.
    pub(crate) fn tail(&self, lines: usize) -> Vec<String> {
        let skip = self.lines.len().saturating_sub(lines);
        self.lines.iter().skip(skip).cloned().collect()
    }
}

/// Writes a line of the story, formatting it only when somebody reads it.
macro_rules! tell {
    ($world:expr, $($text:tt)*) => {
        if $world.trace.is_on() {
            let text = format!($($text)*);
            let now = $world.now;
            $world.trace.line(now, &text);
        }
    };
}
pub(crate) use tell;
