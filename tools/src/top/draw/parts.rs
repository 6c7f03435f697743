//! Bars, graphs, numbers and wrapped text.

use super::super::view::Stage;

const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LETTERS: [char; 8] = ['_', '.', ',', '-', '=', '+', '*', '#'];

/// A graph of the newest values, as high as the highest of `whole`, of which they are a part; a space where there is none.
pub(super) fn graph(
    values: &[Option<u64>],
    whole: &[Option<u64>],
    width: usize,
    ascii: bool,
) -> String {
    let steps = if ascii { LETTERS } else { EIGHTHS };
    let values = newest_of(values, width);
    let all = values.iter().chain(newest_of(whole, width));
    let highest = all.flatten().max().copied().unwrap_or(0).max(1);
    let graph: String = values
        .iter()
        .map(|value| {
            value.map_or(' ', |value| {
                let step = (u128::from(value) * 7).div_ceil(u128::from(highest));
                steps.get(step as usize).copied().unwrap_or(' ')
            })
        })
        .collect();
    format!("{graph:>width$}")
}

fn newest_of(values: &[Option<u64>], count: usize) -> &[Option<u64>] {
    &values[values.len().saturating_sub(count)..]
}

/// How far something is.
pub(super) fn bar(part: f64, width: usize, ascii: bool) -> String {
    let (full, empty) = if ascii { ('#', '.') } else { ('█', '░') };
    let done = (part.clamp(0.0, 1.0) * width as f64) as usize;
    let bar: String = (0..width)
        .map(|at| if at < done { full } else { empty })
        .collect();
    format!("[{bar}] {:5.1} %", part * 100.0)
}

/// Nanoseconds in milliseconds.
pub(super) fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ms {
        ..9.995 => format!("{ms:.2}"),
        ..99.95 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// The newest mean that there is.
pub(super) fn newest(stage: &Stage) -> Option<u64> {
    stage.means_ns.iter().rev().flatten().next().copied()
}

/// Whether anything was done lately.
pub(super) fn is_busy(stage: &Stage) -> bool {
    stage.means_ns.iter().any(Option::is_some)
}

/// Lines no longer than `width`, those after the first indented. A word that is longer than a line is cut.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let width = width.max(indent + 8);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    let mut fresh = true;
    for mut word in text.split(' ') {
        loop {
            let length = word.chars().count();
            let space = usize::from(!fresh);
            if used + space + length <= width {
                if !fresh {
                    line.push(' ');
                }
                line.push_str(word);
                used += space + length;
                fresh = false;
                break;
            }
            if fresh {
                // Alone on its line and too long: what has room, then the rest.
                let cut = word
                    .char_indices()
                    .nth(width - used)
                    .map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..cut]);
                word = &word[cut..];
            }
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
            fresh = true;
        }
    }
    lines.push(line);
    lines
}

/// On one line.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(3)).collect();
    kept + "..."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_are_as_high_as_their_highest() {
        let values = [Some(0), Some(1), None, Some(4), Some(8)];
        assert_eq!(graph(&values, &[], 6, false), " ▁▂ ▅█");
        assert_eq!(graph(&values, &[], 2, true), "=#");
        assert_eq!(graph(&values, &[Some(16)], 2, true), ",=");
        assert_eq!(graph(&[Some(0)], &[], 1, true), "_");
        assert_eq!(graph(&[], &[], 3, true), "   ");
        assert_eq!(graph(&[Some(u64::MAX)], &[], 1, true), "#");
    }

    #[test]
    fn bars_are_full_when_it_is_done() {
        assert_eq!(bar(0.0, 4, true), "[....]   0.0 %");
        assert_eq!(bar(0.999, 4, true), "[###.]  99.9 %");
        assert_eq!(bar(1.0, 4, false), "[████] 100.0 %");
    }

    #[test]
    fn text_is_wrapped_at_spaces_and_long_words_are_cut() {
        assert_eq!(wrap("a bc def", 80, 2), ["a bc def"]);
        assert_eq!(wrap("abcd efgh ijkl", 10, 2), ["abcd efgh", "  ijkl"]);
        let cut = wrap("x 0123456789abcdef", 10, 2);
        assert_eq!(cut, ["x", "  01234567", "  89abcdef"]);
        assert_eq!(wrap("", 10, 2), [""]);
        for width in 0..20 {
            for line in wrap("some words ünd-ein-langes-wort more", width, 3) {
                assert!(line.chars().count() <= width.max(11), "{width}: {line}");
            }
        }
    }
}
