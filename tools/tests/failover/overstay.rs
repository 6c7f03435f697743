//! Services that have to be gone and can't be stopped, where nobody powers a node off: its watchdog is left to reset it. A
//! plain file stands for the watchdog here, with a letter for each time that it is fed.

use std::{fs, thread, time::Duration};

use crate::{
    harness::{
        arena::{Arena, CONFIG, Plan, What},
        cluster::{ALPHA, BETA},
        eventually,
    },
    services::Marker,
    witnessed::{Keeper, Witness, until_both_named},
};

/// It is fed once a second.
const A_WHILE: Duration = Duration::from_secs(3);

#[test]
fn a_watchdog_is_fed_no_longer_while_services_stay_that_have_to_be_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let (marker, watchdog) = (Marker::install(dir.path()), dir.path().join("watchdog"));
    let witness = Witness::start();
    let mut arena = Arena::running(Plan {
        top: witness.place(),
        resource: format!("arbiter = \"witness\"\n{}", marker.config()),
        ..Plan::default()
    });
    until_both_named(&arena, ALPHA);
    arena.until_agent(ALPHA, "what it has been warned of", |said| {
        said["warnings"]
            .to_string()
            .contains("there is no `watchdog`")
    });

    let text = fs::read_to_string(arena.cluster.path(CONFIG)).expect("written before");
    let line = format!("[agent]\nwatchdog = \"{}\"", watchdog.display());
    fs::write(
        arena.cluster.path("watched.toml"),
        text.replacen("[agent]", &line, 1),
    )
    .expect("our own folder");
    fs::write(&watchdog, "").expect("our own folder");
    arena.kill(ALPHA, What::Agent);
    arena.agent_with(ALPHA, "watched.toml");
    let services = |arena: &Arena, node, state: &str| {
        arena.until_agent(node, &format!("its services are {state}"), |said| {
            said["resources"][0]["services"] == state
        });
    };
    let meals = || fs::read(&watchdog).expect("it is there").len();
    services(&arena, ALPHA, "up");
    let before = meals();
    eventually("it is fed", String::new, || {
        (meals() > before).then_some(())
    });

    // Its process is gone, its agent is heard: it says that they are up, and nobody starts them beside it.
    marker.sticks(ALPHA, true);
    arena.kill(ALPHA, What::Serve);
    arena.until_primary(BETA);
    eventually(
        "it says so",
        || arena.logs(),
        || {
            let told = arena.told(ALPHA);
            let said =
                |told: &String| told.contains("a watchdog, if there is one, is fed no longer");
            told.iter().any(said).then_some(())
        },
    );
    let before = meals();
    thread::sleep(A_WHILE);
    assert!(meals() <= before + 1, "it is fed: {}", arena.logs());
    assert!(!marker.history().contains(&format!("up on {BETA}")));

    // It helps in time, so that this host was not reset.
    marker.sticks(ALPHA, false);
    services(&arena, BETA, "up");
    let before = meals();
    eventually("it is fed", String::new, || {
        (meals() > before).then_some(())
    });
    assert!(!marker.history().contains(&"BOTH".to_owned()));
}
