//! Reading Rust well enough for the tidy test: code without comments and strings, and the paths that it names.

pub(crate) fn begins_with(path: &str, what: &str) -> bool {
    path.strip_prefix(what)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The text without comments and without what stands in strings and characters.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if let Some((hashes, start)) = raw_string(rest, &out) {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = &rest[start..];
            rest = body.find(&end).map_or("", |at| &body[at + end.len()..]);
            out.push_str("\"\"");
        } else if c == '"' {
            rest = after_string(&rest[1..]);
            out.push_str("\"\"");
        } else if let Some(length) = character(rest) {
            rest = &rest[length..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// For `r"`, `r#"` and so on: how many `#`, and where the text begins.
fn raw_string(rest: &str, before: &str) -> Option<(usize, usize)> {
    let after = rest.strip_prefix('r')?;
    if before.ends_with(|c: char| c.is_alphanumeric() && c != 'b' || c == '_') {
        return None;
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..]
        .starts_with('"')
        .then_some((hashes, hashes + 2))
}

fn after_string(mut rest: &str) -> &str {
    while let Some(at) = rest.find(['"', '\\']) {
        if rest[at..].starts_with('"') {
            return &rest[at + 1..];
        }
        let escaped = rest[at + 1..].chars().next().map_or(0, char::len_utf8);
        rest = &rest[at + 1 + escaped..];
    }
    ""
}

/// The length of a character literal, `'` and all; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    if body.starts_with('\\') {
        return body[2..].find('\'').map(|end| end + 4);
    }
    let first = body.chars().next()?.len_utf8();
    body[first..].starts_with('\'').then_some(first + 2)
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let code = code(text);
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

/// Every path that is named, `use` trees unfolded.
pub(crate) fn paths(text: &str) -> Vec<String> {
    let mut current = String::new();
    let mut found = Vec::new();
    let code = code(text);
    let mut rest = code.as_str();
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("::{") {
            let end = tree_end(rest);
            found.extend(tree(&format!("{current}::"), &rest[3..end]));
            current.clear();
            rest = &rest[(end + 1).min(rest.len())..];
        } else if rest.starts_with("::") {
            if !current.is_empty() {
                current.push_str("::");
            }
            rest = &rest[2..];
        } else if c.is_alphanumeric() || c == '_' || (c == '*' && current.ends_with("::")) {
            current.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            if !current.is_empty() {
                found.push(std::mem::take(&mut current));
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    found.push(current);
    found
}

/// Where the brace that opens a tree closes.
fn tree_end(rest: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == '}' && depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn tree(prefix: &str, body: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut depth = 0_i32;
    let ends = body.char_indices().chain([(body.len(), ',')]);
    for (at, c) in ends {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = body[start..at].trim();
                start = (at + 1).min(body.len());
                let item = item.split(" as ").next().unwrap_or_default();
                match item.find("::{") {
                    Some(open) => {
                        let end = open + tree_end(&item[open..]);
                        let prefix = format!("{prefix}{}::", &item[..open]);
                        found.extend(tree(&prefix, &item[open + 3..end]));
                    }
                    None if item.is_empty() => {}
                    None => found.push(format!("{prefix}{item}")),
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_reader_of_rust_reads() {
    let text = r#"
        //! std::net in a comment
        use std::{collections::HashMap, fs as files, io::{self, Read as _}, time::*};
        /* std::thread */ const A: &str = "std::process \" std::env"; const B: char = '"';
        fn f<'a>(x: &'a str) -> core::time::Duration { ::std::os::x(); tokio::spawn(); let nixie = 1; }
    "#;
    let paths = paths(text);
    for there in [
        "std::collections::HashMap",
        "std::fs",
        "std::io::self",
        "std::io::Read",
        "std::time::*",
        "std::os::x",
        "tokio::spawn",
        "core::time::Duration",
    ] {
        assert!(
            paths.iter().any(|path| path == there),
            "{there} is not in {paths:?}"
        );
    }
    for absent in ["std::net", "std::thread", "std::process", "std::env", "nix"] {
        assert!(
            !paths.iter().any(|path| begins_with(path, absent)),
            "{absent} is in {paths:?}"
        );
    }
    assert_eq!(code("a // b\n\"c\" 'd' /* e */ f"), "a \n\"\"   f");
}
