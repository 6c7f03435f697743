//! A fence device that cannot prove anything: nothing is promoted, and a person's word counts.

use std::time::Duration;

use crate::{
    client::Client,
    harness::{
        arena::{Arena, Plan},
        cluster::{ALPHA, BETA},
        switch::Fault,
    },
    observer::Observer,
};

/// Longer than any takeover would have taken.
const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_broken_fence_device_promotes_nobody_until_a_person_confirms() {
    let mut arena = Arena::running(Plan {
        device: ", retries = 0",
        ..Plan::default()
    });
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let alive = arena.cluster.run(
        BETA,
        &[
            "fence", "confirm", ALPHA, "--is-off", ALPHA, "--by", "a test",
        ],
    );
    assert_eq!(alive.code, 11, "alpha is heard: {alive:?}");
    arena.switch.spoil(Fault::Broken);
    arena.lose_power(ALPHA);
    arena.stays_standby(BETA, LONG);
    assert!(arena.switch.shots_at(ALPHA) > 1, "it is tried again");
    let said = arena.until_agent(BETA, "it says that fencing fails", |said| {
        said["peers"][0]["state"]
            .as_str()
            .is_some_and(|state| state.contains("fencing has failed"))
    });
    let told = arena.told(BETA).join("\n");
    assert!(told.contains("no connection to the switch"), "{said}");
    assert!(
        told.contains("twindisk fence confirm alpha --is-off alpha"),
        "{told}"
    );

    let wrong = arena
        .cluster
        .run(BETA, &["fence", "confirm", ALPHA, "--is-off", BETA]);
    assert_ne!(wrong.code, 0, "{wrong:?}");
    arena.stays_standby(BETA, Duration::from_secs(1));
    arena.cluster.ok(
        BETA,
        &[
            "fence", "confirm", ALPHA, "--is-off", ALPHA, "--by", "a test",
        ],
    );
    arena.until_primary(BETA);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("a person"), "{receipt}");
    client.until_busy();

    arena.switch.mend(Fault::Broken);
    arena.switch.restore(ALPHA);
    arena.come_home(ALPHA, BETA);
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
}

#[test]
fn a_fence_device_that_lies_promotes_nobody() {
    let arena = Arena::running(Plan {
        device: ", retries = 0, timeout = \"2s\"",
        ..Plan::default()
    });
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    arena.switch.spoil(Fault::Liar);
    // It hangs, and would write on if it were replaced: that is what a lie costs.
    arena.freeze(ALPHA);
    arena.stays_standby(BETA, LONG + Duration::from_secs(3));
    assert!(arena.switch.shots_at(ALPHA) > 0, "{}", arena.logs());
    let told = arena.told(BETA).join("\n");
    assert!(told.contains("fencing alpha has failed"), "{told}");

    arena.thaw(ALPHA);
    client.until_busy();
    arena.cluster.until_in_sync(ALPHA);
    assert_eq!(observer.end(), [ALPHA]);
    client.end(&arena.cluster.uri(ALPHA));
}
