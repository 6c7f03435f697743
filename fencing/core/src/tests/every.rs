//! Every state of a shot with every event, for both roles: where it leads.

use super::{
    bench::*,
    rules::{Driver, Event, Said},
};
use crate::{Operator, Role, fence::Fencing};

/// States in the order of the columns, each with what leads there from the one before.
const STATES: [&str; 7] = [
    "lost",     // the replicas are not connected, the peer was heard a moment ago
    "storing",  // silent for long: the intent is being stored
    "waiting",  // it is stored; clients are out of reach, so that a primary waits, too
    "firing",   // the wait is over
    "retrying", // the device has failed
    "proven",   // it has worked; the receipt is on its way to the replica
    "entitled", // the replica has taken it
];

/// What each event makes of each state, whichever role this node has: `I`dle, `S`toring, `W`aiting, `F`iring, `R`etrying, `P`roven off.
const TABLE: &str = "
beat         I I I F I P P
deaf         I I I F I P P
goodbye      I I I F I P P
reboot       I I I F I I I
linked       I I I F I P P
met          I I I F I I I
over         I I I F I P P
gone         I I I F I P P
stored       I W W F R P P
unstored     I S W F R P P
worked       I S W P R P P
failed       I S W R R P P
off          I S F F R P P
on           I S W F R P P
clients      I S W F R P P
maintenance  I I I F I P P
leave        I I I F I P P
confirm      I P P F P P P
later        S S F F F P P
stall        I I I F I P P
";

/// The same of a peer that says long enough that its primary hangs: only a standby has one to lose.
fn hung(role: Role) -> &'static str {
    match role {
        Role::Primary => "hung         I I I F I P P\n",
        Role::Standby => "hung         S S S F S P P\n",
    }
}

fn driver(role: Role, state: usize) -> Driver {
    let (connected, lost) = views(role);
    let mut driver = Driver::new();
    let mut say = well();
    if role == Role::Standby {
        say.about.role = Role::Primary;
    }
    let beat = || Event::Beat(0, say.clone());
    for event in [
        Event::Pass(1), // It says something, which the peer can answer.
        beat(),
        Event::View(0, Some(connected.clone())),
        Event::View(1, Some(connected)),
        Event::Served(0, true),
        Event::Stored(true),
        Event::Stored(true),
        Event::Ping(false),
        beat(),
        Event::View(1, Some(lost)),
    ] {
        driver.on(event);
    }
    let path = [
        Event::Pass(DEAD),
        Event::Stored(true),
        Event::Pass(4 * DELAY),
        Event::Fenced(false),
    ];
    let proven = [
        Event::Pass(DEAD),
        Event::Stored(true),
        Event::Pass(4 * DELAY),
        Event::Fenced(true),
        Event::Ordered(1, true),
    ];
    let events = if state < 5 {
        path[..state].to_vec()
    } else {
        proven[..state - 1].to_vec()
    };
    for event in events {
        driver.on(event);
    }
    driver
}

fn views(role: Role) -> (ReplicaView, ReplicaView) {
    match role {
        Role::Primary => (primary(), frozen()),
        Role::Standby => (standby(), orphan()),
    }
}

fn event(name: &str, role: Role) -> Event {
    let (mut connected, _) = views(role);
    let mut said = well();
    match name {
        "beat" => Event::Beat(0, said),
        "deaf" => {
            said.hears = 0;
            Event::Beat(0, said)
        }
        "goodbye" => {
            said.leaving = true;
            Event::Beat(0, said)
        }
        "reboot" => {
            said.run = 1;
            Event::Beat(0, said)
        }
        "linked" => Event::View(1, Some(connected)),
        "met" => {
            connected.met += 1;
            Event::View(1, Some(connected))
        }
        "over" => Event::View(
            1,
            Some(if role == Role::Primary {
                alone()
            } else {
                outdated()
            }),
        ),
        "gone" => Event::View(1, None),
        "stored" => Event::Stored(true),
        "unstored" => Event::Stored(false),
        "worked" => Event::Fenced(true),
        "failed" => Event::Fenced(false),
        "off" => Event::Power(Some(false)),
        "on" => Event::Power(Some(true)),
        "clients" => Event::Ping(true),
        "maintenance" => Event::Wish(Operator::Maintenance(true)),
        "leave" => Event::Wish(Operator::Leave),
        "confirm" => Event::Wish(Operator::Confirm(BETA)),
        "later" => Event::Pass(40_000),
        "stall" => Event::Stall(40_000),
        "hung" => {
            said.about.hung = true;
            match role {
                Role::Primary => said.answers = true, // One that does not is shot for that.
                Role::Standby => said.about.role = Role::Primary,
            }
            Event::Says(said, GRACE + INTERVAL)
        }
        other => panic!("{other}"),
    }
}

fn letter(driver: &Driver) -> char {
    let peer = &driver.agent.peers[BETA];
    match &peer.fencing {
        Fencing::Idle if peer.proof.is_some() => 'P',
        Fencing::Idle => 'I',
        Fencing::Storing { .. } => 'S',
        Fencing::Waiting { failed: 0, .. } => 'W',
        Fencing::Waiting { .. } => 'R',
        Fencing::Firing { .. } => 'F',
    }
}

fn expected(role: Role) -> String {
    format!("{TABLE}{}", hung(role))
}

fn table_of(role: Role) -> String {
    let mut table = String::from("\n");
    for line in expected(role).lines().filter(|line| !line.is_empty()) {
        let name = line.split(' ').next().expect("a name");
        let mut row = format!("{name:<12}");
        for state in 0..STATES.len() {
            let mut driver = driver(role, state);
            driver.on(event(name, role));
            row.push(' ');
            row.push(letter(&driver));
            // Whatever it is now, it goes on and keeps the rules: alone, and with a peer that is well again.
            driver.on(Event::Stored(true));
            driver.on(Event::Pass(10_000));
            driver.on(Event::Stored(true));
            let mut said = well();
            said.run = 2;
            driver.on(Event::Beat(1, said));
            driver.on(Event::Pass(INTERVAL));
        }
        table.push_str(&row);
        table.push('\n');
    }
    table
}

#[test]
fn every_event_in_every_state_of_a_primary() {
    assert_eq!(
        table_of(Role::Primary),
        expected(Role::Primary),
        "{STATES:?}"
    );
}

#[test]
fn every_event_in_every_state_of_a_standby() {
    assert_eq!(
        table_of(Role::Standby),
        expected(Role::Standby),
        "{STATES:?}"
    );
}

/// A beat of the first run that is as it should be.
fn well() -> Said {
    Said {
        run: 0,
        hears: 3,
        answers: false,
        leaving: false,
        about: said("r0"),
    }
}
