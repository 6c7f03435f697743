//! A network namespace for each node and one for their clients, with cables that can be cut: one between the nodes, one
//! from each to the network of the clients. Needs root.

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

/// Among the clients: where the cables of both nodes end.
const LAN: &str = "lan";

/// An address that may be on either node, for the table of a resource, and for clients.
pub(crate) const VIRTUAL: &str = "{ address = \"10.77.5.100/24\", interface = \"clients\" }";
pub(crate) const VIRTUAL_IP: &str = "10.77.5.100";
const VIRTUAL_NETWORK: &str = "10.77.5.0/24";
const VIRTUAL_ROUTER: &str = "10.77.5.254/24";

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
        ip(&["-n", clients, "link", "add", LAN, "type", "bridge"]);
        ip(&["-n", clients, "link", "set", LAN, "up"]);
        let local = |address: &str| ip(&["-n", clients, "address", "add", address, "dev", LAN]);
        local(VIRTUAL_ROUTER);
        for (name, node) in self.nodes.iter().zip([ALPHA, BETA]) {
            lay([name, TO_CLIENTS], [clients, node]);
            ip(&["-n", clients, "link", "set", node, "master", LAN]);
            let [here, there] = to_clients(node).map(|address| format!("{address}/24"));
            ip(&["-n", name, "address", "add", &here, "dev", TO_CLIENTS]);
            local(&there);
            self.route(node);
        }
    }

    /// A node finds the host that it pings.
    fn route(&self, node: &str) {
        let [_, there] = to_clients(node);
        let name = self.of(node);
        ip(&["-n", name, "route", "replace", PINGED, "via", &there]);
    }

    /// The namespace of the clients.
    pub(crate) fn clients(&self) -> &str {
        &self.clients
    }

    /// Where clients find a node, besides the virtual address.
    pub(crate) fn at_clients(node: &str) -> String {
        to_clients(node)[0].clone()
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

    /// Of what a node would say to the other one about the replicas nothing gets through, and of the heartbeats of one path.
    pub(crate) fn cut_replication(&self) {
        self.blackhole("add", NETWORKS[0]);
    }

    /// It gets through again.
    pub(crate) fn heal_replication(&self) {
        self.blackhole("del", NETWORKS[0]);
    }

    /// Nothing gets through of the heartbeats of the other path.
    pub(crate) fn cut_heartbeats(&self) {
        self.blackhole("add", NETWORKS[1]);
    }

    /// It gets through again.
    pub(crate) fn heal_heartbeats(&self) {
        self.blackhole("del", NETWORKS[1]);
    }

    fn blackhole(&self, what: &str, network: &str) {
        for (name, other) in self.nodes.iter().zip(["2", "1"]) {
            let other = format!("{network}.{other}");
            ip(&["-n", name, "route", what, "blackhole", &other]);
        }
    }

    /// The cable between the nodes takes so much from a node: `20mbit`.
    pub(crate) fn slow_down(&self, node: &str, rate: &str) {
        let name = self.of(node);
        let queue = ["qdisc", "add", "dev", CABLE, "root", "tbf", "rate", rate];
        let size = ["burst", "64kb", "latency", "400ms"];
        ip(&[&["netns", "exec", name, "tc"][..], &queue, &size].concat());
    }

    /// It takes what comes.
    pub(crate) fn speed_up(&self, node: &str) {
        let queue = ["tc", "qdisc", "del", "dev", CABLE, "root"];
        ip(&[&["netns", "exec", self.of(node)][..], &queue].concat());
    }

    /// What a shell does to the network of a node that loses its power.
    pub(crate) fn unplugging(&self, node: &str) -> String {
        let name = self.of(node);
        [CABLE, TO_CLIENTS]
            .map(|cable| format!("ip -n {name} link set {cable} down\n"))
            .concat()
    }

    /// A node has power again. It knows of no address but its own.
    pub(crate) fn plug_in(&self, node: &str) {
        let name = self.of(node);
        let flush = ["address", "flush", "dev", TO_CLIENTS, "to", VIRTUAL_NETWORK];
        ip(&[&["-n", name][..], &flush].concat());
        for cable in [CABLE, TO_CLIENTS] {
            ip(&["-n", name, "link", "set", cable, "up"]);
        }
        self.route(node);
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

/// Of the cable from a node to the clients: the address here, and the one there.
fn to_clients(node: &str) -> [String; 2] {
    let network = if node == BETA { "10.77.4" } else { "10.77.3" };
    ["1", "254"].map(|host| format!("{network}.{host}"))
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
