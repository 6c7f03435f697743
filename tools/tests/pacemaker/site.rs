//! The pair beneath Pacemaker, and what a test does to it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    cib,
    harness::{
        LOOK,
        client::Client,
        cluster::{ALPHA, BETA, Cluster},
        namespaces::{Namespaces, VIRTUAL_IP},
        observer::Observer,
        process::program,
        programs::{have, told},
    },
    machine::{self, Machine},
    power::{Fault, Power},
};

/// Of the device.
const SIZE: &str = "32MiB";

/// Whatever Pacemaker does is done within this time, a boot and its patience with it included.
const LONGEST: Duration = Duration::from_secs(90);

pub(crate) const CONFIG: &str = "twindisk.toml";

/// What a manager of the cluster is told with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Crm,
    Pcs,
}

/// Two nodes with power, one primary, the other in sync, clients busy.
pub(crate) struct Site {
    // Dropped in this order.
    client: Option<Client>,
    observer: Option<Observer>,
    pub(crate) power: Power,
    pub(crate) cluster: Cluster,
}

impl Site {
    /// `None`: not here.
    pub(crate) fn start(test: &str, shell: Shell) -> Option<Self> {
        let program = match shell {
            Shell::Crm => "crm",
            Shell::Pcs => "pcs",
        };
        if !have(&[machine::PROGRAMS, &[program]].concat()) || !machine::possible() {
            return None;
        }
        let namespaces = Namespaces::new(test)?;
        let cluster = Cluster::new(&[ALPHA, BETA], "");
        let dir = cluster.dir.path().to_owned();
        // Pacemaker's own users reach what is mounted from here, and what runs as root writes it.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&dir, open).expect("our own folder");
        fs::write(dir.join(CONFIG), config(&namespaces)).expect("the configuration");
        cluster.ok(ALPHA, &["init", "--first", "--size", SIZE]);
        cluster.ok(BETA, &["init", "--size", SIZE]);
        install(&dir);
        fs::write(dir.join("agents/corosync.conf"), corosync()).expect("a file");
        fs::write(dir.join("agents/cib.xml"), cib::EMPTY).expect("a file");
        let site = Self {
            client: None,
            observer: None,
            power: Power::new(&dir, namespaces),
            cluster,
        };
        for node in [ALPHA, BETA] {
            site.power.plugs().on(node);
        }
        site.until("both nodes are in the cluster", || {
            let nodes = site.on_any(&["crm_mon", "-1", "--output-as", "xml"]);
            nodes.is_some_and(|text| text.matches(r#"online="true""#).count() == 2)
        });
        cib::configure(&site, shell);
        Some(site.settled())
    }

    fn settled(mut self) -> Self {
        self.until_in_sync();
        self.observer = Some(Observer::start(&self.cluster));
        self.client = Some(Client::start(&self.cluster));
        self
    }

    /// Runs something on a node. It must end well.
    pub(crate) fn on(&self, node: &str, arguments: &[&str]) -> String {
        let plugs = self.power.plugs();
        let machine = plugs.machine(node);
        let machine = machine.unwrap_or_else(|| panic!("{node} has no power"));
        // Not while the switch is held: what runs there may be waiting for it.
        let first = machine.first();
        drop(plugs);
        let output = machine::command_in(first, arguments).output();
        let output = output.expect("nsenter runs");
        assert!(
            output.status.success(),
            "{node} {arguments:?}: {}\n{}",
            told(&output),
            self.logs()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same on whichever node has power and answers.
    pub(crate) fn on_any(&self, arguments: &[&str]) -> Option<String> {
        [ALPHA, BETA].into_iter().find_map(|node| {
            let first = self.power.plugs().machine(node).map(Machine::first)?;
            let output = machine::command_in(first, &[&["timeout", "5"], arguments].concat());
            let output = { output }.output().expect("nsenter runs");
            let well = output.status.success();
            well.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Which node is primary, and open.
    pub(crate) fn primary(&self) -> &'static str {
        let mut found = None;
        self.until("one is primary", || {
            found = [ALPHA, BETA].into_iter().find(|node| self.is_primary(node));
            found.is_some()
        });
        found.expect("it was found")
    }

    pub(crate) fn is_primary(&self, node: &str) -> bool {
        self.replica(node)
            .is_some_and(|replica| replica["role"] == "primary" && replica["export-open"] == true)
    }

    pub(crate) fn replica(&self, node: &str) -> Option<Value> {
        let said = self
            .cluster
            .run(node, &["status", "--json", "--timeout", "2s"]);
        let status: Value = serde_json::from_str(&said.out).ok()?;
        Some(status["resources"][0]["replica"].clone())
    }

    /// One node is primary, with the address; the other one has everything.
    pub(crate) fn until_in_sync(&self) {
        self.until("a primary with its address, and an equal standby", || {
            let mut nodes = [ALPHA, BETA].into_iter();
            let Some(primary) = nodes.find(|node| self.is_primary(node)) else {
                return false;
            };
            let equal = self.replica(primary).is_some_and(|replica| {
                let peer = &replica["peers"][0];
                peer["in-sync"] == true && peer["connection"] == "established"
            });
            let other = other(primary);
            equal
                && self
                    .replica(other)
                    .is_some_and(|one| one["promotion"]["score"] == 1000)
                && self.has_address(primary)
                && !self.has_address(other)
        });
    }

    fn has_address(&self, node: &str) -> bool {
        let first = self.power.plugs().machine(node).map(Machine::first);
        first.is_some_and(|first| {
            let show = ["ip", "-o", "address", "show", "to", VIRTUAL_IP];
            let output = machine::command_in(first, &show).output();
            !output.expect("nsenter runs").stdout.is_empty()
        })
    }

    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONGEST;
        while !is_so() {
            let late = Instant::now() > deadline;
            assert!(!late, "NOT within {LONGEST:?}: {what}\n{}", self.logs());
            thread::sleep(5 * LOOK);
        }
    }

    /// Waits until the client gets on, and says how long nobody accepted anything.
    pub(crate) fn outage_since(&self, moment: Instant) -> Duration {
        self.client.as_ref().expect("it runs").until_busy();
        let observer = self.observer.as_ref().expect("it runs");
        observer.longest_gap(moment)
    }

    pub(crate) fn shots(&self) -> usize {
        self.power.plugs().shots.len()
    }

    pub(crate) fn spoil(&self, fault: Fault) {
        self.power.plugs().fault = fault;
    }

    /// Nothing was lost, nobody wrote beside anybody, the copies are equal.
    pub(crate) fn end(mut self) {
        self.until_in_sync();
        let primary = self.primary();
        let client = self.client.take().expect("it ends once");
        client.end(&self.cluster.uri(primary));
        let reigns = self.observer.take().expect("it ends once").end();
        println!("who accepted writes, in order: {}", reigns.join(", "));
        self.cluster.ok(primary, &["verify", "--wait"]);
        self.cluster.ok(primary, &["demote", "--anyway"]);
        for node in [ALPHA, BETA] {
            self.power.plugs().off(node);
        }
        self.cluster.compare_images();
    }

    /// What everybody says, and the ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let mut text = self.on_any(&["crm_mon", "-1rfA"]).unwrap_or_default();
        let dir = self.cluster.dir.path();
        for node in [ALPHA, BETA] {
            let own = machine::own(dir, node);
            for file in [
                "console",
                "var/log/pacemaker/pacemaker.log",
                "var/log/twindisk-r0.log",
            ] {
                let log = fs::read_to_string(own.join(file)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(40)..].join("\n");
                text += &format!("--- {node} {file}\n{end}\n");
            }
        }
        text
    }
}

pub(crate) fn other(node: &str) -> &'static str {
    if node == ALPHA { BETA } else { ALPHA }
}

/// The agents that are tested, and the power switch, where Pacemaker looks for them.
fn install(dir: &Path) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("pacemaker");
    let agents = dir.join("agents");
    let sbin = agents.join("usr/sbin");
    let provider = agents.join("usr/lib/ocf/resource.d/twindisk");
    for folder in [&sbin, &provider] {
        fs::create_dir_all(folder).expect("a folder");
    }
    let script = |path: &Path, text: String| {
        fs::write(path, text).expect("a script");
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, executable).expect("our own file");
    };
    let text = |name: &str| fs::read_to_string(ours.join(name)).expect("an agent of ours");
    script(&provider.join("twindisk"), text("twindisk"));
    script(&sbin.join("fence_twindisk"), text("fence_twindisk"));
    script(&sbin.join("fence_test"), Power::agent(dir));
    // By its name, as where it is installed.
    let program = program();
    script(
        &sbin.join("twindisk"),
        format!("#!/bin/sh\nexec '{}' \"$@\"\n", program.display()),
    );
}

/// As in the operator's guide, for the addresses here.
fn config(namespaces: &Namespaces) -> String {
    let mut text = "cluster = \"test\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n".to_owned();
    for (index, (node, [address, ..])) in
        [ALPHA, BETA].iter().zip(namespaces.addresses()).enumerate()
    {
        text += &format!(
            "[nodes.{node}]\nid = {}\naddress = \"{address}\"\nrun-dir = \"{node}\"\nstate-dir = \"{node}\"\n",
            index + 1
        );
    }
    text += "[resource.r0]\narbiter = \"external\"\n";
    for node in [ALPHA, BETA] {
        text += &format!("on.{node} = {{ backing = \"{node}.img\" }}\n");
    }
    text
}

/// The cluster's own messages go over the second network of the cable: each of the two can be cut alone.
fn corosync() -> String {
    let mut text = "totem {\n version: 2\n cluster_name: test\n transport: knet\n token: 1000\n \
         crypto_cipher: none\n crypto_hash: none\n}\n\
         system {\n sched_rr: no\n move_to_root_cgroup: no\n}\n\
         logging {\n to_stderr: no\n to_syslog: no\n to_logfile: yes\n logfile: /var/log/corosync/corosync.log\n}\n\
         quorum {\n provider: corosync_votequorum\n two_node: 1\n}\nnodelist {\n"
        .to_owned();
    for (index, node) in [ALPHA, BETA].iter().enumerate() {
        let number = index + 1;
        text += &format!(
            " node {{\n nodeid: {number}\n name: {node}\n ring0_addr: 10.77.2.{number}\n }}\n"
        );
    }
    text + "}\n"
}
