//! What an operator has run once the services are up on a new primary.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    harness::{
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        eventually,
    },
    services::Marker,
};

/// It says where it is run, and whether the service is up there; then it fails where `broken` is, and hangs where `slow` is.
const SCRIPT: &str = r#"#!/bin/sh
dir=$(dirname "$0")
up=down
[ ! -e "$dir/up-on-$TWINDISK_NODE" ] || up=up
echo "$1 $TWINDISK_RESOURCE on $TWINDISK_NODE, not $TWINDISK_PEERS, in $TWINDISK_TERM: $up" >>"$dir/told"
[ ! -e "$dir/slow" ] || sleep 1000
[ ! -e "$dir/broken" ] || { echo "no proxy" >&2; exit 7; }
"#;

struct Hook(PathBuf);

impl Hook {
    fn install(dir: &Path) -> Self {
        let hook = Self(dir.join("hook"));
        fs::write(&hook.0, SCRIPT).unwrap();
        fs::set_permissions(&hook.0, fs::Permissions::from_mode(0o755)).unwrap();
        hook
    }

    fn config(&self) -> String {
        format!("after-promote = [\"{}\", \"proxy:\"]", self.0.display())
    }

    /// Where and in which term it was run, and how the service was then.
    fn told(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.with_file_name("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn until_told(&self, arena: &Arena, times: usize) -> String {
        let told = || (self.told().len() >= times).then(|| self.told());
        let told = eventually("it is run", || arena.logs(), told);
        assert_eq!(told.len(), times, "{told:?}");
        told[times - 1].clone()
    }
}

fn until_up(arena: &Arena, node: &str) {
    arena.until_agent(node, "its services are up", |said| {
        said["resources"][0]["services"] == "up"
    });
}

fn until_alarm(arena: &Arena, node: &str, words: &str) {
    let told = || {
        let told = arena.told(node);
        told.iter().any(|told| told.contains(words)).then_some(())
    };
    eventually(words, || arena.logs(), told);
}

#[test]
fn it_is_run_once_on_each_new_primary_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (marker, hook) = (Marker::install(dir.path()), Hook::install(dir.path()));
    let arena = Arena::running(Plan {
        resource: format!("{}\n{}", marker.config(), hook.config()),
        ..Plan::default()
    });
    until_up(&arena, ALPHA);
    let first = hook.until_told(&arena, 1);
    assert!(
        first.starts_with("proxy: r0 on alpha, not beta, in ") && first.ends_with(": up"),
        "{first}"
    );
    let term = |told: &str| -> u64 {
        let term = told.rsplit(' ').nth(1).unwrap();
        term.trim_end_matches(':').parse().unwrap()
    };
    let before = term(&first);

    // A service that is started again in place is no new primary.
    arena.cluster.until_in_sync(ALPHA);
    marker.ends(ALPHA);
    until_alarm(&arena, ALPHA, "ended by itself: marker: started again");
    until_up(&arena, ALPHA);
    assert_eq!(hook.told().len(), 1);

    // It fails on the other node, and everything stays as it is.
    fs::write(dir.path().join("broken"), "").unwrap();
    arena.until_agents_see(ALPHA, BETA);
    arena.cluster.ok(ALPHA, &["switchover"]);
    until_alarm(&arena, BETA, "after-promote failed");
    until_alarm(&arena, BETA, "no proxy");
    let second = hook.until_told(&arena, 2);
    assert!(second.contains("on beta, not alpha"), "{second}");
    assert!(term(&second) > before, "{second}");
    until_up(&arena, BETA);

    // One that hangs keeps the role from going nowhere, and is ended with the services.
    fs::remove_file(dir.path().join("broken")).unwrap();
    fs::write(dir.path().join("slow"), "").unwrap();
    arena.cluster.until_in_sync(BETA);
    arena.until_agents_see(BETA, ALPHA);
    arena.cluster.ok(BETA, &["switchover"]);
    hook.until_told(&arena, 3);
    until_up(&arena, ALPHA);
    arena.cluster.until_in_sync(ALPHA);
    arena.until_agents_see(ALPHA, BETA);
    fs::remove_file(dir.path().join("slow")).unwrap();
    arena.cluster.ok(ALPHA, &["switchover"]);
    hook.until_told(&arena, 4);
    let told = arena.told(ALPHA);
    assert!(
        !told.iter().any(|told| told.contains("after-promote")),
        "{told:?}"
    );
}
