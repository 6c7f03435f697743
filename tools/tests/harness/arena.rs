//! Two nodes, or three, as an operator runs them: on each `serve` and `agent`, and a power switch for all. The test is the service
//! manager, the host that dies, and the operator.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{
    LOOK, PATIENCE,
    cluster::{ALPHA, BETA, Cluster, GAMMA},
    eventually,
    namespaces::Namespaces,
    process::{clean_command, free_port, signal, through},
    programs::told,
    switch::Switch,
};

/// Of the device.
pub(crate) const SIZE: u64 = 32 << 20;

/// The configuration of both nodes.
pub(crate) const CONFIG: &str = "twindisk.toml";

/// What differs between the scenarios.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// Lines at the top.
    pub(crate) top: String,
    /// Lines of the table `[agent]`.
    pub(crate) agent: &'a str,
    /// More keys of each fence device, each behind a comma.
    pub(crate) device: &'static str,
    /// Lines of the table of the resource.
    pub(crate) resource: String,
    /// The line about services in that table, for the folder of the cluster.
    pub(crate) services: Option<fn(&Path) -> String>,
    /// Where the nodes run, if not on loopback.
    pub(crate) namespaces: Option<Namespaces>,
    /// There is a third node, gamma.
    pub(crate) third: bool,
    /// What is beneath alpha and beta, if not a file each.
    pub(crate) members: Option<[String; 2]>,
    /// Of the device, in bytes, if not `SIZE`.
    pub(crate) size: Option<u64>,
}

/// One of the two processes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Serve,
    Agent,
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Agent => "agent",
        }
    }
}

/// The nodes.
pub(crate) struct Arena {
    /// The files, and the command line. It runs no process here.
    pub(crate) cluster: Cluster,
    pub(crate) switch: Switch,
    pub(crate) namespaces: Option<Namespaces>,
    /// Of each node: where its replica listens, and two heartbeat paths.
    addresses: Vec<[String; 3]>,
    /// Of each node: the command that starts its processes where they belong, before their own.
    pub(crate) ways: Vec<Vec<String>>,
    running: Vec<(String, What, Child)>,
}

impl Arena {
    /// Makes the replicas; nothing runs yet.
    pub(crate) fn new(plan: Plan<'_>) -> Self {
        let nodes: &[&str] = if plan.third {
            &[ALPHA, BETA, GAMMA]
        } else {
            &[ALPHA, BETA]
        };
        let cluster = Cluster::new(nodes, "");
        let switch = Switch::install(cluster.dir.path());
        let namespaces = plan.namespaces;
        let addresses = namespaces.as_ref().map_or_else(
            || on_loopback(nodes.len()),
            |names| names.addresses().into(),
        );
        let ways: Vec<Vec<String>> = cluster
            .names()
            .map(|node| {
                let inside =
                    |names: &Namespaces| ["ip", "netns", "exec", names.of(node)].map(str::to_owned);
                namespaces
                    .as_ref()
                    .map(inside)
                    .into_iter()
                    .flatten()
                    .collect()
            })
            .collect();
        let arena = Self {
            cluster,
            switch,
            namespaces,
            addresses,
            ways,
            running: Vec::new(),
        };
        let services = plan.services.map(|line| line(arena.cluster.dir.path()));
        let resource = plan.resource + "\n" + &services.unwrap_or_default();
        let members = plan
            .members
            .map_or_else(|| files(&arena.cluster), Vec::from);
        let mut text = plan.top + "\n" + &arena.configuration(plan.agent, plan.device, &resource);
        for (node, member) in arena.cluster.names().zip(members) {
            text += &format!("on.{node} = {{ {member} }}\n");
        }
        fs::write(arena.cluster.path(CONFIG), text).expect("the configuration");
        let size = plan.size.unwrap_or(SIZE).to_string();
        for node in arena.cluster.names() {
            let first: &[&str] = if node == ALPHA { &["--first"] } else { &[] };
            let init = [&["init", "--size", &size], first].concat();
            arena.cluster.ok(node, &init);
        }
        arena
    }

    /// The same, and everything runs: the agents have made alpha primary, and beta is in sync.
    pub(crate) fn running(plan: Plan<'_>) -> Self {
        let mut arena = Self::new(plan);
        arena.start();
        arena
    }

    /// Starts everything.
    pub(crate) fn start(&mut self) {
        let nodes: Vec<&str> = self.cluster.names().collect();
        for node in &nodes {
            self.boot(node);
        }
        self.until_primary(ALPHA);
        self.cluster.until_in_sync(ALPHA);
        match nodes.as_slice() {
            [_, beta] => self.until_agents_see(ALPHA, beta),
            _ => self.until_all_agents_see(ALPHA),
        }
    }

    fn configuration(&self, agent: &str, device: &str, resource: &str) -> String {
        let mut text =
            "cluster = \"test\"\nsecret = \"0123456789abcdef0123456789abcdef\"\n".to_owned();
        text += &format!("[agent]\n{agent}\n");
        for (index, (node, [address, first, second])) in
            self.cluster.names().zip(&self.addresses).enumerate()
        {
            text += &format!(
                "[nodes.{node}]\nid = {}\naddress = \"{address}\"\nrun-dir = \"{node}\"\nstate-dir = \"{node}\"\n\
                 heartbeat = [\"{first}\", \"{second}\"]\n\
                 fence = [{{ devices = [{{ agent = \"{}\", plug = \"{node}\"{device} }}] }}]\n",
                index + 1,
                self.switch.program().display(),
            );
        }
        text + &format!("[resource.r0]\n{resource}\n")
    }

    /// The two heartbeat paths of a node.
    pub(crate) fn heartbeats(&self, node: &str) -> &[String] {
        &self.addresses[self.index(node)][1..]
    }

    /// A second configuration, with other heartbeat addresses for one node.
    pub(crate) fn redirected(&self, name: &str, node: &str, to: &[String]) -> String {
        let text = fs::read_to_string(self.cluster.path(CONFIG)).expect("the configuration");
        let from = format!("heartbeat = {:?}", self.heartbeats(node));
        assert!(text.contains(&from), "{from} is not in {text}");
        let text = text.replace(&from, &format!("heartbeat = {to:?}"));
        fs::write(self.cluster.path(name), &text).expect("a configuration");
        text
    }

    fn index(&self, node: &str) -> usize {
        let found = self.cluster.names().position(|name| name == node);
        found.expect("one of its nodes")
    }

    /// Starts both processes of a node, as its service manager does.
    pub(crate) fn boot(&mut self, node: &str) {
        self.serve(node);
        self.agent(node);
    }

    /// Starts `serve`, and waits until it answers.
    pub(crate) fn serve(&mut self, node: &str) {
        self.spawn(node, What::Serve, CONFIG);
        self.cluster
            .wait_for(node, "an answer of serve", |cluster| {
                (cluster.run(node, &["status", "--json"]).code == 0).then_some(())
            });
    }

    /// Starts `agent`, and waits until it answers.
    pub(crate) fn agent(&mut self, node: &str) {
        self.agent_with(node, CONFIG);
    }

    /// The same with another configuration file.
    pub(crate) fn agent_with(&mut self, node: &str, config: &str) {
        self.spawn(node, What::Agent, config);
        self.until_agent(node, "its first answer", |_| true);
    }

    /// Starts a process of a node and returns at once.
    pub(crate) fn spawn(&mut self, node: &str, what: What, config: &str) {
        let command = match self.ways[self.index(node)].split_first() {
            Some((program, arguments)) => through(program, arguments, &clean_command()),
            None => clean_command(),
        };
        self.spawn_by(command, node, what, config);
    }

    /// Starts `agent` where it can't see the processes of its host, nor kill one; waits until it answers.
    pub(crate) fn agent_apart(&mut self, node: &str) {
        let apart = ["--pid", "--fork", "--kill-child"];
        self.spawn_by(
            through("unshare", &apart, &clean_command()),
            node,
            What::Agent,
            CONFIG,
        );
        self.until_agent(node, "its first answer", |_| true);
    }

    fn spawn_by(&mut self, mut command: Command, node: &str, what: What, config: &str) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_of(node, what))
            .expect("a log");
        let child = command
            .arg(what.name())
            .arg("--config")
            .arg(self.cluster.path(config))
            .args(["--node", node])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program runs");
        self.running.push((node.to_owned(), what, child));
        let pids: Vec<u32> = self.of(node).map(Child::id).collect();
        self.switch.plug_in(node, &pids);
    }

    /// SIGKILL; returns when the process is gone.
    pub(crate) fn kill(&mut self, node: &str, what: What) {
        let mut child = self.take(node, what);
        child.kill().expect("it is ours to kill");
        killed(node, &child.wait().expect("it is ours to wait for"));
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(&mut self, node: &str, what: What) {
        let mut child = self.take(node, what);
        signal(&child, Signal::SIGTERM);
        let status = ended(&mut child);
        assert!(status.success(), "{node}: {what:?}: {status}");
    }

    /// The host loses its power: both processes are gone in the same moment, and the switch reads off.
    pub(crate) fn lose_power(&mut self, node: &str) {
        self.switch.lose(node);
        self.switch.strike(node);
        for child in self.of(node) {
            signal(child, Signal::SIGKILL);
        }
        self.await_death(node);
    }

    /// The host hangs: neither process does anything, neither is gone.
    pub(crate) fn freeze(&self, node: &str) {
        for child in self.of(node) {
            signal(child, Signal::SIGSTOP);
        }
    }

    /// One of its processes hangs, and its host does not.
    pub(crate) fn freeze_one(&self, node: &str, what: What) {
        let mut running = self.running.iter();
        let found = running.find(|(name, which, _)| name == node && *which == what);
        signal(&found.expect("it runs").2, Signal::SIGSTOP);
    }

    /// It hangs no longer.
    pub(crate) fn thaw(&self, node: &str) {
        for child in self.of(node) {
            signal(child, Signal::SIGCONT);
        }
    }

    /// Waits until somebody has killed both processes of a node.
    pub(crate) fn await_death(&mut self, node: &str) {
        for what in [What::Agent, What::Serve] {
            self.await_death_of(node, what);
        }
    }

    /// Waits until somebody has killed a process.
    pub(crate) fn await_death_of(&mut self, node: &str, what: What) {
        killed(node, &ended(&mut self.take(node, what)));
    }

    /// Whether both processes of a node run.
    pub(crate) fn lives(&mut self, node: &str) -> bool {
        let children = self.running.iter_mut().filter(|(name, ..)| name == node);
        let alive = children
            .filter_map(|(.., child)| child.try_wait().expect("ours").is_none().then_some(()));
        alive.count() == 2
    }

    /// A node that was fenced is switched on by the other's agent, boots, and is brought up to date.
    pub(crate) fn come_home(&mut self, node: &str, primary: &str) {
        self.cluster.wait_for(node, "it is switched on again", |_| {
            self.switch.is_on(node).then_some(())
        });
        self.boot(node);
        self.cluster.until_in_sync(primary);
        assert_eq!(self.cluster.replica(node)["role"], "standby");
    }

    /// Waits until a node is primary and lets clients in.
    pub(crate) fn until_primary(&self, node: &str) {
        self.wait_for(node, "primary, and open", |arena| {
            arena.is_primary(node).then_some(())
        });
    }

    pub(crate) fn is_primary(&self, node: &str) -> bool {
        self.cluster
            .try_replica(node)
            .is_some_and(|replica| replica["role"] == "primary" && replica["export-open"] == true)
    }

    /// Fails if a node becomes primary, or anybody else dies or is shot at, within so long.
    pub(crate) fn stays_standby(&self, node: &str, long: Duration) {
        let until = Instant::now() + long;
        while Instant::now() < until {
            let replica = self.cluster.replica(node);
            assert_eq!(replica["role"], "standby", "{}", self.logs());
            thread::sleep(5 * LOOK);
        }
    }

    pub(super) fn wait_for<T>(
        &self,
        node: &str,
        what: &str,
        look: impl Fn(&Self) -> Option<T>,
    ) -> T {
        eventually(&format!("{node}: {what}"), || self.logs(), || look(self))
    }

    /// The states, and the ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        for node in self.cluster.names() {
            for command in [&["status"][..], &["agent", "status"]] {
                // A node that hangs answers nothing, and the failure must be told all the same.
                let command = self.cluster.command(node, command);
                let output = Command::new("timeout")
                    .arg("5")
                    .arg(command.get_program())
                    .args(command.get_args())
                    .output()
                    .expect("coreutils has `timeout`");
                text += &format!("--- {node}: {command:?}\n{}", told(&output));
            }
            let log = self.log_of(node, What::Agent);
            text += &format!("--- {node}'s agent\n{}\n", end(&log));
            text += &format!("--- {node}'s serve\n{}\n", self.cluster.log(node));
        }
        text
    }

    fn log_of(&self, node: &str, what: What) -> std::path::PathBuf {
        match what {
            What::Serve => self.cluster.path(&format!("{node}.log")),
            What::Agent => self.cluster.path(&format!("{node}-agent.log")),
        }
    }

    fn of(&self, node: &str) -> impl Iterator<Item = &Child> {
        let running = self.running.iter();
        running
            .filter(move |(name, ..)| name == node)
            .map(|(.., child)| child)
    }

    fn take(&mut self, node: &str, what: What) -> Child {
        let mut running = self.running.iter();
        let index = running.position(|(name, which, _)| name == node && *which == what);
        let index = index.unwrap_or_else(|| panic!("{node}: {what:?} does not run"));
        self.running.remove(index).2
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for (.., child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Of each node: where its replica listens, and two heartbeat paths.
fn on_loopback(nodes: usize) -> Vec<[String; 3]> {
    // All ports are held until all are chosen, so that they differ.
    let ports: Vec<TcpListener> = (0..nodes).map(|_| free_port()).collect();
    let addresses = ports.iter().map(|port| {
        let port = port.local_addr().expect("it is bound").port();
        ["127.0.0.1", "127.0.0.1", "127.0.0.2"].map(|host| format!("{host}:{port}"))
    });
    addresses.collect()
}

/// A file beneath each node.
fn files(cluster: &Cluster) -> Vec<String> {
    let file = |node| format!("backing = \"{node}.img\"");
    cluster.names().map(file).collect()
}

fn ended(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("it is ours to wait for") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("a process does not end");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn killed(node: &str, status: &std::process::ExitStatus) {
    assert_eq!(
        status.signal(),
        Some(Signal::SIGKILL as i32),
        "{node} was not killed, it ended by itself: {status}"
    );
}

fn end(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
