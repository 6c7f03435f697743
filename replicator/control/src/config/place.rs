//! Where in the text something stands: its line, and the key that a reader would call it by.

use std::ops::Range;

/// Line (from 1) and full key of a byte position.
pub(super) fn locate(text: &str, span: Option<Range<usize>>) -> (usize, String) {
    let Some(span) = span else {
        return (1, String::new());
    };
    let at = span.start.min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line_number = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text
        .get(at..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |offset| at + offset);
    let line = text.get(line_start..line_end).unwrap_or_default();
    let end = span.end.saturating_sub(line_start).min(line.len());
    // A header is above itself: its table is not the one that ended before it.
    let header = if is_header(line) { line } else { before };
    let key = key_in_line(line, at - line_start, end);
    (line_number, join(header_above(header), key))
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// The key that stands at `at`, or whose value does; within inline tables the outer keys too.
fn key_in_line(line: &str, at: usize, end: usize) -> String {
    if is_header(line) {
        return String::new();
    }
    let mut outer: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut brackets = 0_usize;
    for (_, c) in line.char_indices().take_while(|(index, _)| *index < at) {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => word.push(c),
            '=' => current = clean(&std::mem::take(&mut word)),
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            '{' => outer.push(std::mem::take(&mut current)),
            '}' => {
                outer.pop();
            }
            ',' if brackets == 0 => {
                current.clear();
                word.clear();
            }
            _ => word.push(c),
        }
    }
    let token = line.get(at..end).unwrap_or_default();
    let rest = line.get(end..).unwrap_or_default().trim_start();
    if (rest.starts_with('=') || rest.starts_with('.')) && !token.contains('=') {
        current = clean(&word) + &clean(token);
    }
    outer.push(current);
    outer.retain(|key| !key.is_empty());
    outer.join(".")
}

/// The table that the text at the end of `before` belongs to.
fn header_above(before: &str) -> String {
    before
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| line.starts_with('[') && line.contains(']'))
        .map(|line| line.trim_matches(|c| c == '[' || c == ']').to_owned())
        .map(|header| {
            header
                .split(']')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .unwrap_or_default()
}

fn clean(word: &str) -> String {
    word.trim().trim_matches('"').to_owned()
}

fn join(header: String, key: String) -> String {
    match (header.is_empty(), key.is_empty()) {
        (true, _) => key,
        (false, true) => header,
        (false, false) => format!("{header}.{key}"),
    }
}
