//! A service that was brought up ends by itself: people are told.

use crate::{
    harness::{
        arena::{Arena, Plan},
        cluster::ALPHA,
        eventually,
    },
    services::Marker,
};

#[test]
fn a_service_that_ends_by_itself_is_an_alarm_until_it_is_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let marker = Marker::install(dir.path());
    let arena = Arena::running(Plan {
        resource: marker.config(),
        ..Plan::default()
    });
    arena.until_agent(ALPHA, "its services are up", |said| {
        said["resources"][0]["services"] == "up"
    });
    let until_told = |words: &str| {
        let told = || {
            arena
                .told(ALPHA)
                .iter()
                .any(|told| told.contains(words))
                .then_some(())
        };
        eventually(words, || arena.logs(), told);
    };
    marker.ends(ALPHA);
    until_told("ended by itself, and nobody starts it again: marker");
    let said = arena.cluster.ok(ALPHA, &["agent", "status"]);
    assert!(said.contains("ended by itself"), "{said}");
    marker.is_mended(ALPHA);
    until_told("all its services are up again");

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
