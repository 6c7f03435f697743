//! Two network namespaces and a cable between them that can be cut. Needs root.

use std::process::Command;

use crate::harness::{
    cluster::{ALPHA, BETA},
    programs::have,
};

/// On each end of the cable: one for replication and heartbeats, one for heartbeats alone.
const NETWORKS: [&str; 2] = ["10.77.1", "10.77.2"];
const CABLE: &str = "cable";

/// The namespaces.
pub(crate) struct Namespaces([String; 2]);

impl Namespaces {
    /// Makes them for a test of this name, or says why not.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !have(&["ip", "tc"]) {
            return None;
        }
        let names =
            [ALPHA, BETA].map(|node| format!("twindisk-{}-{test}-{node}", std::process::id()));
        let made = Command::new("ip")
            .args(["netns", "add", &names[0]])
            .output()
            .expect("ip runs");
        if !made.status.success() {
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            let ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!ci, "CI=true, and no network namespace can be made: {why}");
            println!("NOT TESTED: no network namespace can be made here (it needs root): {why}");
            return None;
        }
        let made = Self(names);
        let [alpha, beta] = &made.0;
        ip(&["netns", "add", beta]);
        ip(&[
            "-n", alpha, "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", beta,
        ]);
        for (name, host) in made.0.iter().zip(["1", "2"]) {
            for network in NETWORKS {
                let address = format!("{network}.{host}/24");
                ip(&["-n", name, "address", "add", &address, "dev", CABLE]);
            }
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", CABLE, "up"]);
        }
        Some(made)
    }

    /// The namespace of a node.
    pub(crate) fn of(&self, node: &str) -> &str {
        &self.0[usize::from(node == BETA)]
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

    /// Nothing gets through any more, and nobody is told, as when a cable is cut somewhere in the middle.
    pub(crate) fn cut(&self) {
        self.swallow("add");
    }

    /// It gets through again.
    pub(crate) fn heal(&self) {
        self.swallow("del");
    }

    fn swallow(&self, what: &str) {
        for name in &self.0 {
            let swallow = ["qdisc", what, "dev", CABLE, "root", "blackhole"];
            ip(&[&["netns", "exec", name, "tc"][..], &swallow].concat());
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
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
