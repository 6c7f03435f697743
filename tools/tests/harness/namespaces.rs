//! A network namespace for each node and one for their clients, with cables that can be cut: one between the nodes, one
//! from each to the clients. Needs root.

use std::process::Command;

use super::{
    cluster::{ALPHA, BETA},
    programs::have,
};

/// On each end of the cable: one for replication and heartbeats, one for heartbeats alone.
const NETWORKS: [&str; 2] = ["10.77.1", "10.77.2"];
const CABLE: &str = "cable";

/// On a node: the cable to its clients.
const TO_CLIENTS: &str = "clients";

/// A host among the clients, for the table `[agent]`.
pub(crate) const PING: &str = "ping = [\"10.77.9.9\"]";
const PINGED: &str = "10.77.9.9";

/// The namespaces.
pub(crate) struct Namespaces {
    nodes: [String; 2],
    clients: String,
}

impl Namespaces {
    /// Makes them for a test of this name, or says why not.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !have(&["ip", "tc", "ping"]) {
            return None;
        }
        let name = |what| format!("twindisk-{}-{test}-{what}", std::process::id());
        let names = Self {
            nodes: [ALPHA, BETA].map(name),
            clients: name("clients"),
        };
        let made = Command::new("ip")
            .args(["netns", "add", &names.clients])
            .output()
            .expect("ip runs");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "CI=true, and no network namespace can be made: {why}");
            println!("NOT TESTED: no network namespace can be made here (it needs root): {why}");
            return None;
        }
        let [alpha, beta] = &names.nodes;
        for name in [alpha, beta] {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        lay([alpha, CABLE], [beta, CABLE]);
        for (name, host) in names.nodes.iter().zip(["1", "2"]) {
            for network in NETWORKS {
                let address = format!("{network}.{host}/24");
                ip(&["-n", name, "address", "add", &address, "dev", CABLE]);
            }
        }
        names.connect_clients();
        Some(names)
    }

    fn connect_clients(&self) {
        let clients = &self.clients;
        ip(&["-n", clients, "link", "set", "lo", "up"]);
        ip(&["-n", clients, "address", "add", PINGED, "dev", "lo"]);
        for ((name, node), network) in self
            .nodes
            .iter()
            .zip([ALPHA, BETA])
            .zip(["10.77.3", "10.77.4"])
        {
            lay([name, TO_CLIENTS], [clients, node]);
            let [here, there] = [1, 254].map(|host| format!("{network}.{host}"));
            let local = |address: &str| format!("{address}/24");
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &local(&here),
                "dev",
                TO_CLIENTS,
            ]);
            ip(&["-n", clients, "address", "add", &local(&there), "dev", node]);
            ip(&["-n", name, "route", "add", PINGED, "via", &there]);
        }
    }

    /// The namespace of a node.
    pub(crate) fn of(&self, node: &str) -> &str {
        &self.nodes[usize::from(node == BETA)]
    }

    /// Of each node: where its replica listens, and two heartbeat paths.
    pub(crate) fn addresses(&self) -> [[String; 3]; 2] {
        ["1", "2"].map(|host| {
            let [first, second] = NETWORKS;
            [
                format!("{first}.{host}:7800"),
                format!("{first}.{host}:7790"),
                format!("{second}.{host}:7790"),
            ]
        })
    }

    /// Nothing gets through between the nodes any more, and nobody is told, as when a cable is cut somewhere in the middle.
    pub(crate) fn cut(&self) {
        for name in &self.nodes {
            swallow("add", name, CABLE);
        }
    }

    /// It gets through again.
    pub(crate) fn heal(&self) {
        for name in &self.nodes {
            swallow("del", name, CABLE);
        }
    }

    /// A node loses both its cables.
    pub(crate) fn isolate(&self, node: &str) {
        swallow("add", self.of(node), TO_CLIENTS);
        self.cut();
    }

    /// It has both again.
    pub(crate) fn rejoin(&self, node: &str) {
        swallow("del", self.of(node), TO_CLIENTS);
        self.heal();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.clients]) {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// Lays a cable between two ends, each a namespace and the name of its interface there.
fn lay([one, at_one]: [&str; 2], [other, at_other]: [&str; 2]) {
    ip(&[
        "-n", one, "link", "add", at_one, "type", "veth", "peer", "name", at_other, "netns", other,
    ]);
    ip(&["-n", one, "link", "set", at_one, "up"]);
    ip(&["-n", other, "link", "set", at_other, "up"]);
}

/// Whatever leaves through an interface is lost from now on, or no more.
fn swallow(what: &str, namespace: &str, interface: &str) {
    let swallow = ["qdisc", what, "dev", interface, "root", "blackhole"];
    ip(&[&["netns", "exec", namespace, "tc"][..], &swallow].concat());
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("ip runs");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
