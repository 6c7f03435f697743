//! Keeps the architecture: who may import whom, what a core must never know, where `unsafe` may stand, how long a file
//! may get. What is checked here need not be argued about in reviews.

mod links;
mod rules;
mod rust;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use rust::{begins_with, code, paths, words};

/// A file is read in one sitting.
const MOST_LINES: usize = 500;

/// Longer files, each with its reason. An entry that is no longer needed fails the test too.
const LONGER: &[(&str, usize, &str)] = &[
    (
        "replicator/core/src/sweep.rs",
        800,
        "resync and verify are one walk over the device",
    ),
    (
        "replicator/core/src/replica.rs",
        800,
        "the replica's state and the one place where events come in",
    ),
    (
        "tools/simulator/src/links.rs",
        700,
        "a link from the first word to its end, with everything that can happen to it",
    ),
];

/// Crates of this workspace and those of them that each may use: arrows point one way.
const MAY_USE: &[(&str, &[&str])] = &[
    ("nbd", &[]),
    ("replicator/format", &[]),
    ("replicator/core", &["twindisk-format"]),
    (
        "replicator/engine",
        &["twindisk-core", "twindisk-format", "twindisk-nbd"],
    ),
    (
        "replicator/control",
        &[
            "twindisk-core",
            "twindisk-engine",
            "twindisk-format",
            "twindisk-nbd",
        ],
    ),
    ("fencing/arbiter", &[]),
    ("fencing/core", &["twindisk-arbiter"]),
    ("fencing/witness", &["twindisk-arbiter"]),
    ("fencing/etcd", &["twindisk-arbiter"]),
    ("fencing/stonith", &[]),
    ("fencing/services", &["twindisk-nbd"]),
    ("fencing/view", &["twindisk-core", "twindisk-fencing-core"]),
    (
        "fencing/agent",
        &[
            "twindisk-arbiter",
            "twindisk-control",
            "twindisk-core",
            "twindisk-etcd",
            "twindisk-fencing-core",
            "twindisk-format",
            "twindisk-services",
            "twindisk-stonith",
            "twindisk-view",
            "twindisk-witness",
        ],
    ),
    (
        "tools/simulator",
        &[
            "twindisk-arbiter",
            "twindisk-core",
            "twindisk-fencing-core",
            "twindisk-format",
            "twindisk-view",
        ],
    ),
    (
        "tools",
        &[
            "twindisk-control",
            "twindisk-core",
            "twindisk-agent",
            "twindisk-engine",
            "twindisk-etcd",
            "twindisk-format",
            "twindisk-nbd",
            "twindisk-witness",
        ],
    ),
    (
        "benches",
        &[
            "twindisk-control",
            "twindisk-core",
            "twindisk-engine",
            "twindisk-format",
            "twindisk-nbd",
        ],
    ),
];

/// What must be the same in production, in the simulator and in the fuzzer, and what it must therefore never name.
const PURE: &[Pure] = &[
    Pure {
        place: "replicator/core/src",
        except: &[],
        never: OUTSIDE_WORLD,
    },
    Pure {
        place: "replicator/format/src",
        // Reads the fuzzers' seeds.
        except: &["replicator/format/src/fuzzing/tests.rs"],
        never: OUTSIDE_WORLD,
    },
    Pure {
        place: "fencing/arbiter/src",
        except: &[],
        never: OUTSIDE_WORLD,
    },
    Pure {
        place: "fencing/core/src",
        except: &[],
        never: OUTSIDE_WORLD,
    },
    Pure {
        place: "fencing/view/src",
        except: &[],
        never: OUTSIDE_WORLD,
    },
    Pure {
        place: "nbd/src",
        // The client and the attachment to the kernel are the two that do I/O; errno.rs names the system's numbers.
        except: &["nbd/src/client", "nbd/src/attach", "nbd/src/errno.rs"],
        never: OUTSIDE_WORLD,
    },
];

const OUTSIDE_WORLD: &[&str] = &[
    "std::io",
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::sync",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
    "io_uring",
    "libc",
    "nix",
    "rand",
    "tokio",
    "tokio_uring",
];

/// Everybody else forbids it in the compiler's words.
const MAY_BE_UNSAFE: &[&str] = &[
    "replicator/engine/",
    "nbd/src/attach/socket.rs",
    "replicator/control/src/serve/systemd.rs",
];

/// What no file may hold: tests that do not run, code that is not there.
const NEVER_WRITTEN: &[&str] = &[
    "#[ignore",
    "todo!",
    "unimplemented!",
    "#[should_panic",
    "dbg!",
];

struct Pure {
    place: &'static str,
    except: &'static [&'static str],
    never: &'static [&'static str],
}

#[test]
fn every_file_says_what_it_is_for_and_is_short() {
    let mut longer: BTreeMap<&str, usize> = LONGER
        .iter()
        .map(|(path, lines, _)| (*path, *lines))
        .collect();
    let mut complaints = Vec::new();
    for file in sources() {
        if !file.text.starts_with("//! ") && !file.text.starts_with("//!\n") {
            complaints.push(format!(
                "{}: the first line is no `//!` that says what it is for",
                file.path
            ));
        }
        let lines = file.text.lines().count();
        let most = longer.remove(file.path.as_str()).unwrap_or(MOST_LINES);
        if lines > most {
            complaints.push(format!(
                "{}: {lines} lines, at most {most}: it has more than one subject",
                file.path
            ));
        } else if most > MOST_LINES && lines <= MOST_LINES {
            complaints.push(format!(
                "{}: {lines} lines: its exception in LONGER is no longer needed",
                file.path
            ));
        }
    }
    complaints.extend(
        longer
            .keys()
            .map(|gone| format!("{gone} is in LONGER but not in the tree")),
    );
    none(&complaints);
}

#[test]
fn arrows_point_one_way() {
    let mut complaints = Vec::new();
    let manifests = files("Cargo.toml");
    for (path, text) in &manifests {
        let place = path.trim_end_matches("/Cargo.toml");
        if path == "Cargo.toml" || place.ends_with("/fuzz") {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == place) else {
            complaints.push(format!(
                "{path}: a crate that MAY_USE of this test does not place"
            ));
            continue;
        };
        for used in text.lines().filter(|line| line.starts_with("twindisk")) {
            let used = used
                .split(|c: char| !c.is_alphanumeric() && c != '-')
                .next()
                .unwrap_or_default();
            if !allowed.contains(&used) {
                complaints.push(format!("{path}: {place} must not use {used}"));
            }
        }
    }
    assert!(manifests.len() > MAY_USE.len(), "{}", manifests.len());
    none(&complaints);
}

#[test]
fn cores_and_formats_know_no_clock_no_io_and_no_chance() {
    let mut complaints = Vec::new();
    let sources = sources();
    for pure in PURE {
        let place = format!("{}/", pure.place);
        assert!(
            sources.iter().any(|file| file.path.starts_with(&place)),
            "{place} is no more"
        );
        let inside = sources.iter().filter(|file| {
            file.path.starts_with(&format!("{}/", pure.place))
                && !pure
                    .except
                    .iter()
                    .any(|except| file.path.starts_with(except))
        });
        for file in inside {
            for path in paths(&file.text) {
                if let Some(never) = pure.never.iter().find(|never| begins_with(&path, never)) {
                    complaints.push(format!(
                        "{}: names {path}; {} must not know {never}",
                        file.path, pure.place
                    ));
                }
            }
        }
    }
    none(&complaints);
}

#[test]
fn only_the_simulator_has_deliberate_bugs() {
    let simulator = "tools/simulator/";
    let homes = ["replicator/core/", "fencing/core/"];
    let mut complaints = Vec::new();
    for (path, text) in files("Cargo.toml") {
        let turns_on = text
            .lines()
            .any(|line| !line.starts_with('#') && line.contains("\"mutants\""));
        if turns_on != (path == format!("{simulator}Cargo.toml")) {
            complaints.push(format!(
                "{path}: the feature \"mutants\" is for the simulator"
            ));
        }
        if text
            .lines()
            .any(|line| line.starts_with("twindisk-simulator"))
        {
            complaints.push(format!(
                "{path}: whoever uses the simulator gets a core with deliberate bugs in it"
            ));
        }
        // What `cargo build --release` builds and ships has no part that turns the feature on.
        if path == "Cargo.toml" && !text.contains("default-members = [\"tools\"]") {
            complaints.push("Cargo.toml: the default members are what is shipped".to_owned());
        }
    }
    for file in sources() {
        let may = homes
            .iter()
            .chain([&simulator])
            .any(|place| file.path.starts_with(place));
        if !may && words(&file.text).any(|word| word == "with_mutant" || word == "Mutant") {
            complaints.push(format!(
                "{}: makes a replica with a deliberate bug",
                file.path
            ));
        }
    }
    none(&complaints);
}

#[test]
fn unsafe_stays_where_it_is_looked_after() {
    let mut complaints = Vec::new();
    for file in sources() {
        if MAY_BE_UNSAFE
            .iter()
            .any(|place| file.path.starts_with(place))
        {
            continue;
        }
        if words(&file.text).any(|word| word == "unsafe") {
            complaints.push(format!(
                "{}: unsafe, but not one of {MAY_BE_UNSAFE:?}",
                file.path
            ));
        }
    }
    none(&complaints);
}

#[test]
fn nothing_is_left_for_later() {
    let mut complaints = Vec::new();
    for file in sources() {
        let code = code(&file.text);
        for never in NEVER_WRITTEN {
            if code.contains(never) {
                complaints.push(format!("{}: {never}", file.path));
            }
        }
    }
    none(&complaints);
}

fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

struct Source {
    /// From the top of the workspace.
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let found: Vec<Source> = files(".rs")
        .into_iter()
        .map(|(path, text)| Source { path, text })
        .collect();
    assert!(found.len() > 50, "only {} sources", found.len());
    found
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above this crate")
}

/// Every file whose name ends so, with its text, but what tools have made.
fn files(end: &str) -> Vec<(String, String)> {
    let top = top();
    let mut found = Vec::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if name.ends_with(end) && path.is_file() {
                let text = fs::read_to_string(&path).expect("text");
                let short = path
                    .strip_prefix(top)
                    .expect("below the top")
                    .to_string_lossy()
                    .into_owned();
                found.push((short, text));
            }
        }
    }
    found.sort();
    found
}
