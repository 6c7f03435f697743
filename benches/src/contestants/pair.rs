//! Two nodes of Twindisk on this machine, as an operator would run them.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::free_ports;
use crate::{
    control,
    failure::{Result, Trying},
    house::{Process, output, until},
    network::{LOCAL, Network, REMOTE},
    power::Switch,
};

/// The resource's name.
pub const RESOURCE: &str = "r0";

/// The node that is primary.
pub const ALPHA: usize = LOCAL;

/// The other one.
pub const BETA: usize = REMOTE;

const NODES: [&str; 2] = ["alpha", "beta"];

/// How a pair is configured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary.
    pub program: PathBuf,
    /// `protocol` of each resource.
    pub protocol: &'static str,
    /// `io` of both nodes.
    pub io: &'static str,
    /// TLS between the nodes also where it is not the default.
    pub tls: bool,
    /// More lines for each resource.
    pub resource: String,
    /// `profile` of the agents, if there are agents. They have a power switch.
    pub agents: Option<&'static str>,
    /// Between the nodes.
    pub network: Network,
    /// Names of the resources; [`RESOURCE`] is the first.
    pub resources: Vec<String>,
}

impl Plan {
    /// Twindisk as it comes.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            protocol: "C",
            io: "direct",
            tls: false,
            resource: String::new(),
            agents: None,
            network: Network::loopback(),
            resources: vec![RESOURCE.to_owned()],
        }
    }
}

/// A pair that runs: the first node is primary, the second in sync.
#[derive(Debug)]
pub struct Pair {
    plan: Plan,
    dir: PathBuf,
    switch: Option<Switch>,
    /// Of each node: `serve`, and its agent if there are agents.
    processes: [Vec<Process>; 2],
}

/// The backing file of a resource on a node.
#[must_use]
pub fn image(dir: &Path, node: usize, resource: &str) -> PathBuf {
    dir.join(format!("{}-{resource}.img", name(node)))
}

/// Starts a pair over the images of `dir`.
///
/// # Errors
/// When it does not come up.
pub fn start(plan: Plan, dir: &Path) -> Result<Pair> {
    let mut pair = initialized(plan, dir)?;
    for node in [ALPHA, BETA] {
        pair.boot(node)?;
    }
    let socket = pair.control(ALPHA);
    // Agents decide that by themselves.
    let promote = pair.plan.agents.is_none();
    pair.until("the promotion", || {
        if promote {
            return control::tell(&socket, "promote", RESOURCE, &json!({})).ok();
        }
        control::status(&socket, RESOURCE)
            .filter(is_open)
            .map(|_| ())
    })?;
    pair.until("the first resync", || {
        control::status(&socket, RESOURCE)
            .filter(is_in_sync)
            .map(|_| ())
    })?;
    if pair.plan.agents.is_some() {
        pair.until_agents_see(ALPHA, "primary here, beta connected")?;
        pair.until_agents_see(BETA, "standby, alpha connected")?;
        // Each has told the other with a beat: they come every 250 ms or faster.
        thread::sleep(Duration::from_millis(600));
    }
    Ok(pair)
}

/// Makes the replicas of a pair over the images of `dir`. Nothing runs yet.
///
/// # Errors
/// When that can't be done.
pub fn initialized(plan: Plan, dir: &Path) -> Result<Pair> {
    let switch = plan.agents.map(|_| Switch::install(dir)).transpose()?;
    let config = dir.join(CONFIG);
    let text = configuration(&plan, switch.as_ref())?;
    fs::write(&config, text).trying(config.display())?;
    // It holds a secret.
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&config, private).trying(config.display())?;
    let pair = Pair {
        plan,
        dir: dir.to_owned(),
        switch,
        processes: [Vec::new(), Vec::new()],
    };
    for resource in &pair.plan.resources {
        output(&mut pair.command(ALPHA, &["init", "--first", resource]))?;
        if image(dir, BETA, resource).exists() {
            // The images are filled beforehand, and its content is what a resync is to overwrite.
            output(&mut pair.command(BETA, &["init", resource, "--force-overwrite"]))?;
        }
    }
    Ok(pair)
}

impl Pair {
    /// Starts a node's processes.
    ///
    /// # Errors
    /// When one does not start.
    pub fn boot(&mut self, node: usize) -> Result<()> {
        let kinds: &[&str] = match self.plan.agents {
            Some(_) => &["serve", "agent"],
            None => &["serve"],
        };
        let mut started = Vec::new();
        for kind in kinds {
            let log = self.dir.join(format!("{}-{kind}.log", name(node)));
            let process = match (*kind, node) {
                ("serve", ALPHA) => "server",
                ("serve", _) => "second",
                (kind, _) => kind,
            };
            started.push(Process::start(process, &self.command(node, &[kind]), &log)?);
        }
        if let Some(switch) = &self.switch {
            let pids: Vec<_> = started.iter().map(Process::pid).collect();
            switch.plug_in(name(node), &pids)?;
        }
        if let Some(processes) = self.processes.get_mut(node) {
            *processes = started;
        }
        Ok(())
    }

    /// A node's control socket.
    #[must_use]
    pub fn control(&self, node: usize) -> PathBuf {
        self.dir.join(name(node)).join("control.sock")
    }

    /// Where a node's clients go, for its first resource.
    #[must_use]
    pub fn uri(&self, node: usize) -> String {
        self.uri_of(node, RESOURCE)
    }

    /// Where a node's clients go for a resource.
    #[must_use]
    pub fn uri_of(&self, node: usize, resource: &str) -> String {
        let socket = self.dir.join(name(node)).join(format!("{resource}.sock"));
        format!("nbd+unix:///{resource}?socket={}", socket.display())
    }

    /// A node's processes: `serve`, and its agent if there are agents.
    #[must_use]
    pub fn processes(&self, node: usize) -> &[Process] {
        self.processes.get(node).map_or(&[], Vec::as_slice)
    }

    /// The primary's process, then the standby's.
    #[must_use]
    pub fn into_processes(self) -> Vec<Process> {
        self.processes.into_iter().flatten().collect()
    }

    /// A node's power is gone; the switch, if there is one, reads so.
    ///
    /// # Errors
    /// When that can't be done.
    pub fn lose_power(&self, node: usize) -> Result<()> {
        if let Some(switch) = &self.switch {
            switch.lose(name(node))?;
        }
        for process in self.processes(node) {
            process.signal(Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Waits for something, while both nodes run.
    ///
    /// # Errors
    /// When a node ends, or it does not come.
    pub fn until<T>(&mut self, what: &str, look: impl FnMut() -> Option<T>) -> Result<T> {
        let [alpha, beta] = &mut self.processes;
        let mut all: Vec<&mut Process> = alpha.iter_mut().chain(beta).collect();
        until(what, &mut all, look)
    }

    fn until_agents_see(&mut self, node: usize, state: &str) -> Result<()> {
        let ask = self.command(node, &["agent", "status", "--json"]);
        self.until(state, || {
            let mut command = Command::new(ask.get_program());
            let said = output(command.args(ask.get_args())).ok()?;
            let said: Value = serde_json::from_str(&said).ok()?;
            (said["resources"][0]["state"] == state).then_some(())
        })
    }

    fn command(&self, node: usize, arguments: &[&str]) -> Command {
        let program = self.plan.program.to_string_lossy();
        let mut command = self.plan.network.command(node, &program);
        command
            .args(arguments)
            .arg("--config")
            .arg(self.dir.join(CONFIG));
        command.args(["--node", name(node)]);
        command
    }
}

/// Waits until a primary's standby is in sync.
///
/// # Errors
/// When that takes too long.
pub fn until_in_sync(socket: &Path) -> Result<()> {
    until("the resync", &mut [], || {
        let status = control::status(socket, RESOURCE);
        status.filter(is_in_sync).map(|_| ())
    })
}

/// Whether the standby has everything and gets everything. (With protocol A it never counts as in sync.)
#[must_use]
pub fn is_in_sync(status: &Value) -> bool {
    control::peer(status).is_some_and(|peer| {
        peer["connection"] == "established"
            && peer["disk"] == "UpToDate"
            && peer["progress"].is_null()
    })
}

/// Whether clients may come.
#[must_use]
pub fn is_open(status: &Value) -> bool {
    status["role"] == "primary" && status["export-open"] == true
}

const CONFIG: &str = "twindisk.toml";

fn configuration(plan: &Plan, switch: Option<&Switch>) -> Result<String> {
    // Nobody else's: whoever runs this may read it all the same.
    let mut text = format!(
        "cluster = \"bench\"\nsecret = \"{:032x}\"\n",
        std::process::id()
    );
    if plan.tls {
        text.push_str("tls = \"secret\"\n");
    }
    if let Some(profile) = plan.agents {
        let _ = writeln!(text, "[agent]\nprofile = \"{profile}\"");
    }
    for (node, port) in free_ports(NODES.len())?.into_iter().enumerate() {
        let (name, id) = (name(node), node + 1);
        let [first, second] = plan.network.hosts(node);
        let _ = write!(
            text,
            "[nodes.{name}]\nid = {id}\naddress = \"{first}:{port}\"\nrun-dir = \"{name}\"\nstate-dir = \"{name}\"\n"
        );
        if let Some(switch) = switch {
            let switch = switch.program();
            let _ = write!(
                text,
                "heartbeat = [\"{first}:{port}\", \"{second}:{port}\"]\n\
                 fence = [{{ devices = [{{ agent = \"{}\", plug = \"{name}\" }}] }}]\n",
                switch.display()
            );
        }
    }
    for resource in &plan.resources {
        let _ = write!(
            text,
            "[resource.{resource}]\nprotocol = \"{}\"\n{}",
            plan.protocol, plan.resource
        );
        for name in NODES {
            let _ = writeln!(
                text,
                "on.{name} = {{ backing = \"{name}-{resource}.img\", io = \"{}\", nbd = [\"unix:{name}/{resource}.sock\"] }}",
                plan.io
            );
        }
    }
    Ok(text)
}

fn name(node: usize) -> &'static str {
    NODES.get(node).copied().unwrap_or("nobody")
}
