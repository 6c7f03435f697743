//! Links between documents lead somewhere.

use std::{collections::BTreeSet, path::Path};

use crate::{files, none, top};

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = files(".md");
    let headings = |path: &str| -> Option<BTreeSet<String>> {
        let (_, text) = documents.iter().find(|(known, _)| known == path)?;
        Some(anchors(text))
    };
    let mut complaints = Vec::new();
    let mut followed = 0;
    for (path, text) in &documents {
        for link in links(text) {
            let (to, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(path).parent().unwrap_or(Path::new(""));
            let target = if to.is_empty() {
                path.clone()
            } else {
                plain(&folder.join(to))
            };
            followed += 1;
            if !top().join(&target).exists() {
                complaints.push(format!("{path}: there is no {target}"));
            } else if !anchor.is_empty()
                && headings(&target).is_none_or(|known| !known.contains(anchor))
            {
                complaints.push(format!("{path}: {target} has no heading for #{anchor}"));
            }
        }
    }
    assert!(followed > 50, "only {followed} links");
    none(&complaints);
}

/// Targets of links to files of this repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
        .filter(|target| !target.contains(':') && !target.contains(' '))
}

/// What headings are called in links.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
            title.chars().filter(kept).collect::<String>()
        })
        .map(|title| title.replace(' ', "-"))
        .collect()
}

/// Without `..`.
fn plain(path: &Path) -> String {
    let mut parts: Vec<_> = Vec::new();
    for part in path {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part.to_string_lossy().into_owned());
        }
    }
    parts.join("/")
}

#[test]
fn links_and_headings_are_read() {
    let text = "## What a *client* has, `now`\n[a](b/c.md#d) and [e](https://f) and [g](#h)";
    assert_eq!(links(text).collect::<Vec<_>>(), ["b/c.md#d", "#h"]);
    let known: Vec<_> = anchors(text).into_iter().collect();
    assert_eq!(known, ["what-a-client-has-now"]);
    assert_eq!(plain(Path::new("a/b/../../c.md")), "c.md");
}
