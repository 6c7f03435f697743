//! A service that was brought up ends by itself: it is started again, then the role goes to the other node; or people are told.

use crate::{
    harness::{
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        eventually,
    },
    services::Marker,
};

fn until_told(arena: &Arena, node: &str, words: &str) {
    let told = || {
        let told = arena.told(node);
        told.iter().any(|told| told.contains(words)).then_some(())
    };
    eventually(words, || arena.logs(), told);
}

fn until_up(arena: &Arena, node: &str) {
    arena.until_agent(node, "its services are up", |said| {
        said["resources"][0]["services"] == "up"
    });
}

#[test]
fn a_service_that_ends_by_itself_is_started_again_and_then_goes_to_the_other_node_once() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = Arena::running(Plan {
        agent: "service-restarts = 1",
        resource: marker.config(),
        ..Plan::default()
    });
    until_up(&arena, ALPHA);
    arena.cluster.until_in_sync(ALPHA);
    marker.ends(ALPHA);
    until_told(
        &arena,
        ALPHA,
        "ended by itself: marker: started again, 1 of 1 times within 600 s",
    );
    until_up(&arena, ALPHA);
    let said = arena.cluster.ok(ALPHA, &["agent", "status"]);
    assert!(
        said.contains("its services ended or did not come up 1 times"),
        "{said}"
    );

    marker.ends(ALPHA);
    until_told(&arena, ALPHA, "too often: the role goes to beta");
    until_up(&arena, BETA);
    arena.cluster.until_in_sync(BETA);
    marker.ends(BETA);
    until_told(&arena, BETA, "ended by itself: marker: started again");
    until_up(&arena, BETA);
    marker.ends(BETA);
    until_told(&arena, BETA, "alpha has given them up as well");
    arena.cluster.ok(BETA, &["agent", "clear"]);
    until_up(&arena, BETA);
    assert_eq!(
        marker.history(),
        // What has ended is not stopped once more.
        [
            "up on alpha",
            "up on alpha",
            "up on beta",
            "up on beta",
            "up on beta"
        ],
    );
}

#[test]
fn a_service_that_ends_by_itself_is_an_alarm_until_it_is_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = Arena::running(Plan {
        agent: "on-service-end = \"alarm\"",
        resource: marker.config(),
        ..Plan::default()
    });
    until_up(&arena, ALPHA);
    marker.ends(ALPHA);
    until_told(
        &arena,
        ALPHA,
        "ended by itself, and nobody starts it again: marker",
    );
    let said = arena.cluster.ok(ALPHA, &["agent", "status"]);
    assert!(said.contains("ended by itself"), "{said}");
    marker.is_mended(ALPHA);
    until_told(&arena, ALPHA, "all its services are up again");

    // Those that are taken down in good order are no alarm.
    let before = arena.told(ALPHA).len();
    arena.cluster.until_in_sync(ALPHA);
    arena.cluster.ok(ALPHA, &["switchover"]);
    arena.until_agent(ALPHA, "its services are down", |said| {
        said["resources"][0]["services"] == "down"
    });
    let told = arena.told(ALPHA).split_off(before);
    assert!(
        !told.iter().any(|told| told.contains("ended by itself")),
        "{told:?}"
    );
}
