//! Nodes in a scratch directory, each a process of its own, driven through the command line and ended by number.

use std::{
    ffi::OsString,
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use twindisk_nbd::client::{Client, ConnectOptions, Uri};

use super::{
    LOOK, PATIENCE, eventually,
    process::{Said, assert_same, clean_command, free_port, said, signal},
};

pub(crate) const ALPHA: &str = "alpha";
pub(crate) const BETA: &str = "beta";
pub(crate) const GAMMA: &str = "gamma";

/// A cluster with one resource, `r0`.
pub(crate) struct Cluster {
    pub(crate) dir: tempfile::TempDir,
    nodes: Vec<String>,
    running: Vec<(String, Child)>,
    /// For the processes of nodes.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

impl Cluster {
    /// With these lines in the table of its resource; a file beneath each node.
    pub(crate) fn new(nodes: &[&str], resource: &str) -> Self {
        Self::on(nodes, resource, |node| format!("backing = \"{node}.img\""))
    }

    /// The same, on the members that `member` describes.
    pub(crate) fn on(nodes: &[&str], resource: &str, member: impl Fn(&str) -> String) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("twindisk-test-")
            .tempdir()
            .expect("a scratch directory");
        let mut text =
            "cluster = \"test\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n".to_owned();
        // All ports are held until all are chosen, so that they differ.
        let ports: Vec<TcpListener> = nodes.iter().map(|_| free_port()).collect();
        for (index, (node, port)) in nodes.iter().zip(&ports).enumerate() {
            let address = port.local_addr().expect("it is bound");
            text += &format!(
                "[nodes.{node}]\nid = {}\naddress = \"{address}\"\nrun-dir = \"{node}\"\nstate-dir = \"{node}\"\n",
                index + 1
            );
        }
        text += &format!("[resource.r0]\n{resource}\n");
        for node in nodes {
            text += &format!("on.{node} = {{ {} }}\n", member(node));
        }
        fs::write(dir.path().join("twindisk.toml"), text).expect("the configuration");
        Self {
            dir,
            nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
            running: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Its nodes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let known = [ALPHA, BETA, GAMMA].into_iter();
        known.filter(|name| self.nodes.iter().any(|node| node == name))
    }

    /// Two nodes that replicate, alpha primary, beta in sync.
    pub(crate) fn pair(size: &str, resource: &str) -> Self {
        let mut cluster = Self::new(&[ALPHA, BETA], resource);
        cluster.first_start(&["--size", size]);
        cluster
    }

    /// The same with these lines for each member, besides its file: `io = "cached"`.
    pub(crate) fn pair_with(size: &str, resource: &str, member: impl Fn(&str) -> String) -> Self {
        let mut cluster = Self::on(&[ALPHA, BETA], resource, |node| {
            format!("backing = \"{node}.img\", {}", member(node))
        });
        cluster.first_start(&["--size", size]);
        cluster
    }

    /// Makes the replicas with these arguments, starts the nodes, promotes alpha, waits until all are in sync.
    pub(crate) fn first_start(&mut self, init: &[&str]) {
        for node in self.nodes.clone() {
            let first: &[&str] = if node == ALPHA { &["--first"] } else { &[] };
            self.ok(&node, &[&["init"], first, init].concat());
            self.serve(&node);
        }
        self.ok(ALPHA, &["promote"]);
        self.until_in_sync(ALPHA);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes the configuration.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let path = self.path("twindisk.toml");
        let text = fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(path, text.replace(from, to)).expect("the configuration");
    }

    /// The file beneath a node.
    pub(crate) fn image(&self, node: &str) -> PathBuf {
        self.path(&format!("{node}.img"))
    }

    /// Where clients reach a node.
    pub(crate) fn uri(&self, node: &str) -> Uri {
        self.uri_text(node).parse().expect("our own URI")
    }

    /// The same, for other programs.
    pub(crate) fn uri_text(&self, node: &str) -> String {
        let socket = self.path(&format!("{node}/r0.sock"));
        format!("nbd+unix:///r0?socket={}", socket.display())
    }

    /// Runs a command as a node.
    pub(crate) fn run(&self, node: &str, arguments: &[&str]) -> Said {
        said(
            &self
                .command(node, arguments)
                .output()
                .expect("the program runs"),
        )
    }

    /// A command that must work.
    pub(crate) fn ok(&self, node: &str, arguments: &[&str]) -> String {
        let said = self.run(node, arguments);
        assert_eq!(
            said.code,
            0,
            "{node} {arguments:?}: {said:?}\n{}",
            self.log(node)
        );
        said.out
    }

    /// A command that must be refused; why and what next.
    pub(crate) fn refused(&self, node: &str, arguments: &[&str]) -> String {
        let said = self.run(node, arguments);
        assert!(
            matches!(said.code, 11 | 20..=26),
            "{node} {arguments:?}: {said:?}"
        );
        assert!(said.err.contains("refused: "), "{said:?}");
        assert!(said.err.contains("next: "), "{said:?}");
        said.err
    }

    /// Starts a node and waits until it answers.
    pub(crate) fn serve(&mut self, node: &str) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{node}.log")))
            .expect("a log");
        let child = self
            .command(node, &["serve"])
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        self.running.push((node.to_owned(), child));
        self.wait_for(node, "its first answer", |cluster| {
            (cluster.run(node, &["status", "--json"]).code == 0).then_some(())
        });
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self, node: &str) {
        let mut child = self.take(node);
        child.kill().expect("it is ours to kill");
        let status = child.wait().expect("it is ours to wait for");
        assert_eq!(status.code(), None, "{node} had ended before it was killed");
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(&mut self, node: &str) {
        let mut child = self.take(node);
        signal(&child, Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("it is ours to wait for") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{node} does not stop\n{}", self.log(node));
            }
            thread::sleep(LOOK);
        };
        assert!(status.success(), "{node}: {status}\n{}", self.log(node));
    }

    /// Stops a node's process without ending it: it holds its connections and says nothing.
    pub(crate) fn pause(&self, node: &str) {
        let child = self.child(node);
        signal(child, Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", child.id());
        eventually("every thread is stopped", String::new, || {
            let mut tasks = fs::read_dir(&tasks).expect("it runs").flatten();
            let stopped = tasks.all(|task| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // The state stands behind the name, which may hold anything but a newline.
                stat.rsplit(") ")
                    .next()
                    .is_some_and(|rest| rest.starts_with('T'))
            });
            stopped.then_some(())
        });
    }

    /// Lets it go on.
    pub(crate) fn resume(&self, node: &str) {
        signal(self.child(node), Signal::SIGCONT);
    }

    fn child(&self, node: &str) -> &Child {
        let running = self.running.iter().find(|(name, _)| name == node);
        &running.unwrap_or_else(|| panic!("{node} does not run")).1
    }

    /// Whether a node's process runs.
    pub(crate) fn is_running(&self, node: &str) -> bool {
        self.running.iter().any(|(name, _)| name == node)
    }

    /// What a node says of `r0`, if it answers.
    pub(crate) fn try_replica(&self, node: &str) -> Option<Value> {
        let said = self.run(node, &["status", "r0", "--json"]);
        let status: Value = serde_json::from_str(&said.out).ok()?;
        let replica = &status["resources"][0]["replica"];
        (!replica.is_null()).then(|| replica.clone())
    }

    /// What a node says of `r0`.
    pub(crate) fn replica(&self, node: &str) -> Value {
        self.try_replica(node).unwrap_or_else(|| {
            panic!(
                "{node} does not answer: {:?}\n{}",
                self.run(node, &["status"]),
                self.log(node)
            )
        })
    }

    /// Waits until a node's state is as wanted.
    pub(crate) fn until(&self, node: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_for(node, what, |cluster| {
            cluster.try_replica(node).filter(|replica| wanted(replica))
        })
    }

    /// Waits until every peer of the primary has everything.
    pub(crate) fn until_in_sync(&self, primary: &str) {
        self.until(primary, "all peers in sync", |replica| {
            let peers = replica["peers"].as_array().expect("peers");
            peers.iter().all(|peer| {
                // A peer with protocol A is never counted on.
                (peer["in-sync"] == true || peer["protocol"] == "A")
                    && peer["connection"] == "established"
                    && peer["progress"].is_null()
            })
        });
    }

    /// Waits for some moments of every node (`MOMENT_INTERVAL` of the core is 0.2 s): what was written before is known to be
    /// remembered by all, and would not be resynced if one was lost.
    pub(crate) fn until_remembered(&self) {
        thread::sleep(Duration::from_secs(1));
    }

    /// Waits until a primary has lost a peer and holds its writes.
    pub(crate) fn until_suspended(&self, primary: &str) {
        self.until(primary, "suspended", |replica| {
            !replica["suspended"].is_null()
        });
    }

    /// Promotes `to` after `from` was killed: refused without the word that it is dead, done with it.
    pub(crate) fn fail_over(&self, from: &str, to: &str) {
        assert!(!self.is_running(from), "{from} still runs");
        self.say_fenced(from, to);
        self.ok(to, &["promote"]);
        self.until(to, "primary, and open", |replica| {
            replica["role"] == "primary" && replica["export-open"] == true
        });
    }

    /// Tells `to` that `dead` was killed and seen to be gone.
    pub(crate) fn say_fenced(&self, dead: &str, to: &str) {
        assert!(!self.is_running(dead), "{dead} still runs");
        // The kernel closes the sockets of a ring some time after its process has ended.
        self.until(to, "it has lost the dead node", |replica| {
            let mut peers = replica["peers"].as_array().expect("peers").iter();
            peers.any(|peer| peer["name"] == dead && peer["connection"] == "connecting")
        });
        let reason = "the test killed its process and waited for its end";
        self.ok(
            to,
            &["receipt", "--fenced", "--about", dead, "--reason", reason],
        );
    }

    /// What happened on a node, oldest first, from its event log. A line that was cut by a kill is left out.
    pub(crate) fn events(&self, node: &str) -> Vec<Value> {
        let path = self.path(&format!("{node}/events.jsonl"));
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The events of a kind.
    pub(crate) fn events_of(&self, node: &str, kind: &str) -> Vec<Value> {
        let mut events = self.events(node);
        events.retain(|event| event["event"] == kind);
        events
    }

    /// A client of a node's export.
    pub(crate) fn client(&self, node: &str) -> Client {
        let options = ConnectOptions {
            timeout: Some(PATIENCE),
            ..ConnectOptions::default()
        };
        Client::connect(&self.uri(node), &options).expect("the primary lets clients in")
    }

    pub(crate) fn wait_for<T>(
        &self,
        node: &str,
        what: &str,
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        eventually(
            &format!("{node}: {what}"),
            || {
                let nodes = self.nodes.iter();
                let states = nodes.map(|node| {
                    let said = self.run(node, &["status"]);
                    format!("{node}:\n{}{}{}", said.out, said.err, self.log(node))
                });
                states.collect::<Vec<_>>().join("\n")
            },
            || look(self),
        )
    }

    pub(crate) fn command(&self, node: &str, arguments: &[&str]) -> Command {
        let mut command = clean_command();
        command
            .args(arguments)
            .arg("--config")
            .arg(self.path("twindisk.toml"))
            .args(["--node", node]);
        command
    }

    /// Fails unless both images hold the same bytes. Call it when both have stopped or nothing is in flight.
    pub(crate) fn compare_images(&self) {
        assert_same(&self.image(ALPHA), &self.image(BETA));
    }

    /// The end of a node's log.
    pub(crate) fn log(&self, node: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{node}.log"))).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn take(&mut self, node: &str) -> Child {
        let index = self.running.iter().position(|(name, _)| name == node);
        self.running
            .remove(index.unwrap_or_else(|| panic!("{node} does not run")))
            .1
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::env::var_os("TWINDISK_TEST_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            println!("kept: {}", self.dir.path().display());
        }
        if thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- the end of {node}'s log\n{}", self.log(node));
            }
        }
    }
}
