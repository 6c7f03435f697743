//! Services of an earlier time of the role are gone before the other node begins (R12, R17), in whatever order the processes
//! of a node end; and a primary that was restarted without its link is no reason to wait for ever.

use std::{fs, time::Duration};

use crate::{
    harness::{
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
        eventually,
    },
    services::Marker,
};

/// Longer than the other node waits for anything but a word that does not come.
const LONG: Duration = Duration::from_secs(10);

/// Alpha is primary, and its services run.
fn serving() -> (tempfile::TempDir, Marker, Arena) {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = Arena::running(Plan {
        resource: marker.config(),
        ..Plan::default()
    });
    arena.until_services(ALPHA, "up");
    arena.until_services(BETA, "down");
    (dir, marker, arena)
}

impl Arena {
    fn until_services(&self, node: &str, state: &str) {
        self.until_agent(node, &format!("its services are {state}"), |said| {
            said["resources"][0]["services"] == state
        });
    }

    /// Which node is primary with its services up; the other one's are down.
    fn until_one_serves(&self) -> &'static str {
        eventually(
            "one node serves",
            || self.logs(),
            || {
                let up = |node: &str| {
                    let said = self.try_agent(node)?;
                    Some(said["resources"][0]["services"] == "up")
                };
                match (up(ALPHA)?, up(BETA)?) {
                    (true, false) => self.is_primary(ALPHA).then_some(ALPHA),
                    (false, true) => self.is_primary(BETA).then_some(BETA),
                    (true, true) | (false, false) => None,
                }
            },
        )
    }
}

fn one_after_the_other(marker: &Marker, arena: &Arena) {
    arena.until_primary(BETA);
    arena.until_services(BETA, "up");
    assert_eq!(
        marker.history(),
        ["up on alpha", "down on alpha", "up on beta"],
        "{}",
        arena.logs()
    );
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

/// As the units do at a shutdown of the host: services, `serve`, agent.
#[test]
fn a_node_that_is_stopped_in_order_takes_its_services_down_first() {
    let (_dir, marker, mut arena) = serving();
    arena.cluster.ok(ALPHA, &["agent", "yield"]);
    assert_eq!(marker.history(), ["up on alpha", "down on alpha"]);
    assert!(arena.is_primary(ALPHA), "the role goes after them");
    arena.stop(ALPHA, What::Serve);
    arena.stop(ALPHA, What::Agent);
    one_after_the_other(&marker, &arena);
}

#[test]
fn services_go_down_before_the_other_node_begins_when_serve_alone_is_stopped() {
    let (_dir, marker, mut arena) = serving();
    arena.stop(ALPHA, What::Serve);
    one_after_the_other(&marker, &arena);
}

/// `systemctl restart`: whoever is primary after that, its services ran nowhere else meanwhile.
#[test]
fn a_restart_of_serve_or_of_both_never_has_services_on_both_nodes() {
    let (_dir, marker, mut arena) = serving();
    let mut primary = ALPHA;
    for both in [false, true] {
        let before = marker.history().len();
        if both {
            arena.cluster.ok(primary, &["agent", "yield"]);
        }
        arena.stop(primary, What::Serve);
        if both {
            arena.stop(primary, What::Agent);
            arena.agent(primary);
        }
        arena.serve(primary);
        let was = primary;
        primary = arena.until_one_serves();
        let history = marker.history().split_off(before);
        match history.as_slice() {
            // It was primary again before anybody saw it gone: its services stay, and their clients have waited.
            [] => assert!(!both && primary == was, "{}", arena.logs()),
            [down, up] => {
                assert!(down.starts_with("down on "), "{history:?}");
                assert_eq!(*up, format!("up on {primary}"));
            }
            _ => panic!("{history:?}\n{}", arena.logs()),
        }
        arena.cluster.until_in_sync(primary);
    }
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

#[test]
fn a_goodbye_of_serve_gives_nobody_the_services_that_a_stopped_agent_left_behind() {
    let (_dir, marker, mut arena) = serving();
    arena.stop(ALPHA, What::Agent);
    arena.stop(ALPHA, What::Serve);
    arena.stays_standby(BETA, LONG);
    assert_eq!(marker.history(), ["up on alpha"]);
    let told = arena.told(BETA).join("\n");
    assert!(told.contains("its agent was stopped by a person"), "{told}");
    arena.agent(ALPHA);
    one_after_the_other(&marker, &arena);
}

/// Its agent is told to do nothing, so they stay up, and its replica grants the other one whatever that asks for.
#[test]
fn a_node_whose_services_stay_up_is_fenced_before_the_other_one_takes_over() {
    let (_dir, marker, mut arena) = serving();
    marker.sees(&arena.switch);
    arena.cluster.ok(ALPHA, &["agent", "maintenance", "on"]);
    arena.kill(ALPHA, What::Serve);
    arena.spawn(ALPHA, What::Serve, CONFIG);
    arena.await_death(ALPHA);
    arena.until_primary(BETA);
    arena.until_services(BETA, "up");
    assert_eq!(marker.history(), ["up on alpha", "up on beta"]);
    assert_eq!(arena.switch.shots(), 1, "{}", arena.logs());
}

/// The replication link is dead, `serve` of the primary was restarted, and heartbeats go on: without anybody's doing neither
/// could ever be primary again.
#[test]
fn a_primary_that_comes_back_without_its_link_is_asked_to_let_go() {
    let mut arena = Arena::running(Plan::default());
    let text = fs::read_to_string(arena.cluster.path(CONFIG)).unwrap();
    // Each listens where nobody looks for it.
    let apart = text.lines().enumerate().map(|(at, line)| {
        if line.starts_with("address") {
            format!("address = \"127.0.0.3:{}\"", 24_000 + at)
        } else {
            line.to_owned()
        }
    });
    let apart: Vec<String> = apart.collect();
    fs::write(arena.cluster.path("apart.toml"), apart.join("\n")).unwrap();
    arena.kill(ALPHA, What::Serve);
    arena.spawn(ALPHA, What::Serve, "apart.toml");
    arena.until_primary(BETA);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("release: "), "{receipt}");
    let replica = arena.cluster.replica(ALPHA);
    assert_eq!(replica["disk"], "Outdated", "{replica}");
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
