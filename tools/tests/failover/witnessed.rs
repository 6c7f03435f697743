//! A record in place of the power switch: whoever it names goes on, and the other one acknowledges nothing. A witness keeps
//! it here, etcd in `etcd.rs`.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    harness::{
        arena::{Arena, Plan},
        client::Client,
        cluster::{ALPHA, BETA},
        eventually,
        observer::Observer,
        process::{clean_command, free_port},
    },
    outages::Outages,
};

/// A node that is silent for so long is taken for dead, in the default profile.
pub(crate) const DEAD: Duration = Duration::from_secs(2);

/// Who keeps the record, as real processes that come and go.
pub(crate) trait Keeper {
    /// As `arbiter` names it.
    const NAME: &'static str;

    /// Starts it, with what it has kept.
    fn run(&mut self);

    /// Kills all of it.
    fn kill(&mut self);

    /// The lines at the top of the configuration, before any table, that say where it is.
    fn place(&self) -> String;
}

/// A witness on this host, in a folder of its own; its process comes and goes.
pub(crate) struct Witness {
    folder: tempfile::TempDir,
    address: String,
    process: Option<Child>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port().local_addr().expect("an address").port();
        let address = format!("127.0.0.1:{port}");
        fs::write(
            folder.path().join("secret"),
            "0123456789abcdef0123456789abcdef",
        )
        .expect("written");
        let text = format!(
            "listen = \"{address}\"\nstate-dir = \"state\"\n[cluster.test]\nsecret-file = \"secret\"\n"
        );
        fs::write(folder.path().join("witness.toml"), text).expect("written");
        let mut witness = Self {
            folder,
            address,
            process: None,
        };
        witness.run();
        witness
    }
}

impl Keeper for Witness {
    const NAME: &'static str = "witness";

    fn place(&self) -> String {
        format!("witness = \"{}\"", self.address)
    }

    fn run(&mut self) {
        let child = clean_command()
            .args(["witness", "--log", "error", "--witness-config"])
            .arg(self.folder.path().join("witness.toml"))
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(child.expect("the program runs"));
        eventually("the witness listens", String::new, || {
            TcpStream::connect(&self.address).ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two nodes whose record it keeps: it names both.
pub(crate) fn arena<K: Keeper>(keeper: &K) -> Arena {
    let arena = Arena::running(Plan {
        top: keeper.place(),
        agent: "max-failovers = 1000",
        resource: format!("arbiter = \"{}\"", K::NAME),
        ..Plan::default()
    });
    until_both_named(&arena, ALPHA);
    arena
}

/// What an agent says of the record.
fn until_says(arena: &Arena, node: &str, words: &str) {
    arena.until_agent(node, words, |said| {
        said["resources"][0]["arbiter"]
            .as_str()
            .is_some_and(|said| said.contains(words))
    });
}

pub(crate) fn until_both_named(arena: &Arena, primary: &str) {
    until_says(arena, primary, " or ");
}

#[test]
fn a_primary_that_is_gone_is_replaced_by_the_witness_s_word() {
    power_is_lost(Witness::start(), "power loss, a witness");
}

#[test]
fn a_primary_that_stood_still_finds_that_it_is_none_any_more() {
    the_primary_stands_still(&Witness::start(), "frozen primary, a witness");
}

/// One node after the other loses its power, the second time with nobody there who keeps the record.
pub(crate) fn power_is_lost(mut keeper: impl Keeper, name: &'static str) {
    let mut arena = arena(&keeper);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new(name);
    client.until_busy();
    let moment = Instant::now();
    arena.lose_power(ALPHA);
    outages.until_accepted(&arena, &observer, BETA, moment);
    let receipt = arena.last_failover(BETA)["receipt"].to_string();
    assert!(receipt.contains("arbiter: "), "{receipt}");
    client.until_busy();
    // Nobody has switched it off.
    arena.switch.restore(ALPHA);
    arena.come_home(ALPHA, BETA);
    until_both_named(&arena, BETA);
    // The two are connected: nobody misses who keeps the record.
    keeper.kill();
    arena.until_agent(ALPHA, "nobody could take over", |said| {
        let found = &said["resources"][0]["succession"];
        found["successors"] == json!([]) && found["obstacles"][0]["code"] == "arbiter-silent"
    });
    client.until_busy();
    // Now somebody does. It comes back, knows what it knew, and the service goes on.
    arena.lose_power(BETA);
    arena.stays_standby(ALPHA, Duration::from_secs(5));
    keeper.run();
    arena.until_primary(ALPHA);
    client.until_busy();
    outages.print();
    assert_eq!(observer.end(), [ALPHA, BETA, ALPHA]);
    client.end(&arena.cluster.uri(ALPHA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}

/// The primary's processes stand still, and go on when another one is primary.
pub(crate) fn the_primary_stands_still(keeper: &impl Keeper, name: &'static str) {
    let arena = arena(keeper);
    let observer = Observer::start(&arena.cluster);
    let client = Client::start(&arena.cluster);
    let mut outages = Outages::new(name);
    client.until_busy();
    let moment = Instant::now();
    arena.freeze(ALPHA);
    outages.until_accepted(&arena, &observer, BETA, moment);
    outages.print();
    // The client waits for a host that stands still, and has no answer from it.
    thread::sleep(Duration::from_secs(1));
    arena.thaw(ALPHA);
    arena.cluster.until_in_sync(BETA);
    until_both_named(&arena, BETA);
    client.until_busy();
    assert_eq!(observer.end(), [ALPHA, BETA]);
    client.end(&arena.cluster.uri(BETA));
    assert_eq!(arena.switch.shots(), 0, "{}", arena.logs());
}
