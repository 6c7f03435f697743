//! Two nodes of Twindisk on this machine, as an operator would run them.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::free_ports;
use crate::{
    control,
    failure::{Result, Trying},
    house::{Process, output, until},
};

/// The resource's name.
pub const RESOURCE: &str = "r0";

/// The node that is primary.
pub const ALPHA: usize = 0;

/// The other one.
pub const BETA: usize = 1;

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
    /// More lines for each resource.
    pub resource: String,
}

impl Plan {
    /// Twindisk as it comes.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            protocol: "C",
            io: "direct",
            resource: String::new(),
        }
    }
}

/// A pair that runs: the first node is primary, the second in sync.
#[derive(Debug)]
pub struct Pair {
    dir: PathBuf,
    processes: Vec<Process>,
}

impl Pair {
    /// A node's control socket.
    #[must_use]
    pub fn control(&self, node: usize) -> PathBuf {
        self.dir.join(name(node)).join("control.sock")
    }

    /// Where a node's clients go.
    #[must_use]
    pub fn uri(&self, node: usize) -> String {
        let socket = self.dir.join(name(node)).join("nbd.sock");
        format!("nbd+unix:///{RESOURCE}?socket={}", socket.display())
    }

    /// The primary's process, then the standby's.
    #[must_use]
    pub fn into_processes(self) -> Vec<Process> {
        self.processes
    }
}

/// Starts a pair over `alpha.img` and `beta.img` of `dir`.
///
/// # Errors
/// When it does not come up.
pub fn start(plan: &Plan, dir: &Path) -> Result<Pair> {
    let config = dir.join("twindisk.toml");
    fs::write(&config, configuration(plan)?).trying(config.display())?;
    // It holds a secret.
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&config, private).trying(config.display())?;
    let twindisk = |node: usize, arguments: &[&str]| {
        let mut command = Command::new(&plan.program);
        command.args(arguments).arg("--config").arg(&config);
        command.args(["--node", name(node)]);
        command
    };
    output(&mut twindisk(ALPHA, &["init", "--first", RESOURCE]))?;
    output(&mut twindisk(BETA, &["init", RESOURCE]))?;
    let mut processes = Vec::new();
    for (node, role) in [(ALPHA, "server"), (BETA, "second")] {
        let log = dir.join(format!("{}.log", name(node)));
        processes.push(Process::start(role, &twindisk(node, &["serve"]), &log)?);
    }
    let mut pair = Pair {
        dir: dir.to_owned(),
        processes,
    };
    let socket = pair.control(ALPHA);
    until("the promotion", &mut pair.processes, || {
        control::tell(&socket, "promote", RESOURCE, &json!({})).ok()
    })?;
    until("the first resync", &mut pair.processes, || {
        control::status(&socket, RESOURCE).filter(is_in_sync)
    })?;
    Ok(pair)
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

fn configuration(plan: &Plan) -> Result<String> {
    // Nobody else's: whoever runs this may read it all the same.
    let mut text = format!(
        "cluster = \"bench\"\nsecret = \"{:032x}\"\n",
        std::process::id()
    );
    for (node, port) in free_ports(NODES.len())?.into_iter().enumerate() {
        let (name, id) = (name(node), node + 1);
        let _ = write!(
            text,
            "[nodes.{name}]\nid = {id}\naddress = \"127.0.0.1:{port}\"\nrun-dir = \"{name}\"\nstate-dir = \"{name}\"\n"
        );
    }
    let _ = write!(
        text,
        "[resource.{RESOURCE}]\nprotocol = \"{}\"\n{}",
        plan.protocol, plan.resource
    );
    for name in NODES {
        let _ = writeln!(
            text,
            "on.{name} = {{ backing = \"{name}.img\", io = \"{}\", nbd = [\"unix:{name}/nbd.sock\"] }}",
            plan.io
        );
    }
    Ok(text)
}

fn name(node: usize) -> &'static str {
    NODES.get(node).copied().unwrap_or("nobody")
}
