//! The rules that code and documents name (R1, S1) are defined in one document, and each of them has a place in the code
//! and something that proves it.

use std::collections::BTreeSet;

use crate::{files, none, rust::code};

/// Where they are defined: `### R1 Title`, then one line each of where it is kept and what proves it.
const RULES: &str = "replicator/RULES.md";
const CODE: &str = "- Code: ";
const PROOF: &str = "- Proof: ";

/// Whose chapters a deliberate bug may name instead of a rule.
const CHAPTERS: [&str; 2] = [RULES, "fencing/ARCHITECTURE.md"];

/// Files by path.
type Tree = [(String, String)];

#[test]
fn every_rule_is_defined_kept_and_proven() {
    let mut tree = files(".rs");
    tree.extend(files(".md"));
    // What stands for the tree below is none of it.
    tree.retain(|(path, _)| path != "tools/tests/tidy/rules.rs");
    let rules = Rule::all(text_of(&tree, RULES).expect("the document of the rules"));
    assert!(rules.len() > 20, "only {} rules", rules.len());
    none(&complaints(&rules, &tree));
}

#[test]
fn a_deliberate_bug_names_the_rule_that_it_breaks() {
    let tree = files(".md");
    let mut known = BTreeSet::new();
    for document in CHAPTERS {
        let text = text_of(&tree, document).expect("a document");
        known.extend(Rule::all(text).into_iter().map(|rule| rule.name));
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        known.extend(headings.map(str::to_lowercase));
    }
    let mut complaints = Vec::new();
    let mut found = 0;
    for (path, text) in files("mutants.rs") {
        // `Name: "rule",` in the macro's list.
        let named = text
            .lines()
            .filter_map(|line| line.trim().strip_suffix("\",")?.split_once(": \""))
            .filter(|(mutant, _)| is_camel_case(mutant));
        for (mutant, rule) in named {
            found += 1;
            if !known.contains(rule) && !known.contains(&rule.to_lowercase()) {
                complaints.push(format!(
                    "{path}: {mutant} breaks {rule:?}, which is no rule or chapter of {CHAPTERS:?}"
                ));
            }
        }
    }
    assert!(found > 50, "only {found} deliberate bugs");
    none(&complaints);
}

/// One rule as it is defined.
#[derive(Debug)]
struct Rule {
    name: String,
    code: String,
    proof: String,
}

impl Rule {
    fn all(text: &str) -> Vec<Self> {
        let sections = text.split("\n### ").skip(1);
        let rules = sections.map(|section| {
            let section = section.split("\n## ").next().unwrap_or_default();
            // A line goes on in those below that are indented.
            let section = section.replace("\n  ", " ");
            let line = |begin| {
                let found = section.lines().find_map(|line| line.strip_prefix(begin));
                found.unwrap_or_default().to_owned()
            };
            Self {
                name: section.split(' ').next().unwrap_or_default().to_owned(),
                code: line(CODE),
                proof: line(PROOF),
            }
        });
        rules.filter(|rule| is_rule(&rule.name)).collect()
    }

    fn complaints(&self, tree: &Tree) -> Vec<String> {
        let mut complaints = Vec::new();
        // What S rules say is a property of the whole: it is what all the R rules come to.
        let kept_by_name = self.name.starts_with('R');
        for (what, said, by_name) in [
            ("kept", &self.code, kept_by_name),
            ("proven", &self.proof, true),
        ] {
            let is_proof = what == "proven";
            let mut named = false;
            for path in quoted(said).filter(|name| name.contains('/')) {
                let Some(text) = text_of(tree, path) else {
                    complaints.push(format!("{}: {path} is not in the tree", self.name));
                    continue;
                };
                if is_proof != proves(path) {
                    complaints.push(format!("{}: {path} is not where it is {what}", self.name));
                }
                named |= !by_name || rules_of(path, text).contains(&*self.name);
            }
            if !named {
                complaints.push(format!(
                    "{}: no file where it is {what} names it",
                    self.name
                ));
            }
        }
        let scenarios = quoted(&self.proof).filter(|name| !name.contains('/'));
        let scenarios = scenarios.map(|name| ("scenario", name, format!("(\"{name}\",")));
        let mutants = words(&self.proof).filter(|word| is_camel_case(word));
        let mutants = mutants.map(|name| ("mutant", name, format!("    {name}: \"")));
        for (kind, name, written) in scenarios.chain(mutants) {
            // A long entry of a list of scenarios has its name on a line of its own.
            let alone = format!("\"{name}\",\n");
            let there = tree.iter().any(|(path, text)| {
                let home = match kind {
                    "scenario" => path.starts_with("tools/simulator/src/scenarios/"),
                    _ => path.ends_with("/mutants.rs"),
                };
                home && (text.contains(&written) || text.contains(&alone))
            });
            if !there {
                complaints.push(format!("{}: there is no {kind} {name}", self.name));
            }
        }
        complaints
    }
}

fn complaints(rules: &[Rule], tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut defined = BTreeSet::new();
    for rule in rules {
        if !defined.insert(&*rule.name) {
            complaints.push(format!("{} is defined twice", rule.name));
        }
        complaints.extend(rule.complaints(tree));
    }
    for (path, text) in tree {
        let named = rules_of(path, text);
        for unknown in named.difference(&defined) {
            complaints.push(format!(
                "{path} names {unknown}, which {RULES} does not define"
            ));
        }
    }
    complaints
}

/// Tests, scenarios, and the simulator with its checkers.
fn proves(path: &str) -> bool {
    path.starts_with("tools/simulator/") || path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn text_of<'a>(tree: &'a Tree, path: &str) -> Option<&'a str> {
    let found = tree.iter().find(|(known, _)| known == path);
    found.map(|(_, text)| &**text)
}

/// Those that a file names: code does so in comments and strings, and may have constants of such names.
fn rules_of<'a>(path: &str, text: &'a str) -> BTreeSet<&'a str> {
    let mut named: BTreeSet<&str> = words(text).filter(|word| is_rule(word)).collect();
    if path.ends_with(".rs") && !named.is_empty() {
        let code = code(text);
        let count = |text: &str, name: &str| words(text).filter(|word| *word == name).count();
        named.retain(|name| count(text, name) > count(&code, name));
    }
    named
}

/// `R1`, `S7`, `R8a`.
fn is_rule(word: &str) -> bool {
    let number = word.strip_prefix(['R', 'S']).unwrap_or_default();
    let digits = number.strip_suffix(|c: char| c.is_ascii_lowercase());
    let digits = digits.unwrap_or(number);
    (1..=2).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit())
}

fn is_camel_case(word: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase();
    let upper = word.chars().filter(char::is_ascii_uppercase).count();
    upper > 1 && word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(lower)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn what_is_missing_is_found() {
    let document = "\n### R1 One\n- Code: `core/src/one.rs`\n- Proof: `core/src/tests/one.rs`; scenario `all-at-once`; mutant BothAtOnce\n\n## Other\n";
    let whole = [
        ("core/src/one.rs", "// R1: here"),
        ("core/src/tests/one.rs", "//! R1"),
        (
            "tools/simulator/src/scenarios/one.rs",
            "(\"all-at-once\", f)",
        ),
        ("core/src/mutants.rs", "    BothAtOnce: \"R1\","),
    ];
    let found = |document: &str, tree: &[(&str, &str)]| {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        let tree: Vec<_> = tree.iter().map(owned).collect();
        complaints(&Rule::all(document), &tree)
    };
    assert_eq!(found(document, &whole), [""; 0]);
    for gone in 0..whole.len() {
        let mut tree = whole.to_vec();
        tree.remove(gone);
        assert_ne!(found(document, &tree), [""; 0], "without {:?}", whole[gone]);
    }
    let mut tree = whole.to_vec();
    tree[1].1 = "//! R10";
    assert_eq!(
        found(document, &tree).len(),
        2,
        "not named, and not defined"
    );
    tree[1].1 = "const R1: u8 = 0; // R10";
    assert_eq!(found(document, &tree).len(), 2, "the constant is no rule");
    tree[1].1 = "const R10: u8 = 0; // R1";
    assert_eq!(found(document, &tree), [""; 0], "nor is that one");
    assert_ne!(found("", &whole), [""; 0], "nothing is defined");
}
