//! The demo's configuration files.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::pair::RESOURCE;
use crate::exit::Failure;

/// The cluster's name.
const CLUSTER: &str = "demo";

/// Who decides that beta takes over.
pub(super) enum Arbiter {
    /// A person: there are no agents.
    Person,
    /// Agents, with this fence agent.
    Switch(PathBuf),
    /// Agents, by the record of a witness at this address.
    Witness(String),
}

/// A new secret of the cluster.
pub(super) fn secret() -> Result<String, Failure> {
    let mut secret = [0_u8; 16];
    getrandom::fill(&mut secret).map_err(Failure::error)?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// That of the two nodes, which listen at these ports.
pub(super) fn of_nodes(ports: [u16; 2], secret: &str, arbiter: &Arbiter) -> String {
    let [alpha, beta] = ports;
    let fenced = |name: &str| match arbiter {
        Arbiter::Switch(switch) => format!(
            "fence = [{{ devices = [{{ agent = \"{}\", plug = \"{name}\" }}] }}]\n",
            switch.display()
        ),
        Arbiter::Person | Arbiter::Witness(_) => String::new(),
    };
    let watched = |name: &str, port: u16| match arbiter {
        Arbiter::Person => String::new(),
        Arbiter::Switch(_) | Arbiter::Witness(_) => format!(
            "heartbeat = [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]\n{}",
            fenced(name)
        ),
    };
    let (witness, agent, decides) = match arbiter {
        Arbiter::Person => (String::new(), "", ""),
        Arbiter::Switch(_) => (String::new(), AGENT, ""),
        Arbiter::Witness(address) => (
            format!("witness = \"{address}\"\n"),
            AGENT,
            "arbiter = \"witness\"\n",
        ),
    };
    let (alpha_watched, beta_watched) = (watched("alpha", alpha), watched("beta", beta));
    format!(
        r#"# Made by `twindisk demo`.
cluster = "{CLUSTER}"
secret = "{secret}"
{witness}{agent}
[nodes.alpha]
id = 1
address = "127.0.0.1:{alpha}"
run-dir = "alpha"
state-dir = "alpha"
{alpha_watched}
[nodes.beta]
id = 2
address = "127.0.0.1:{beta}"
run-dir = "beta"
state-dir = "beta"
{beta_watched}
[resource.{RESOURCE}]
{decides}on.alpha = {{ backing = "alpha.img" }}
on.beta = {{ backing = "beta.img" }}
"#
    )
}

const AGENT: &str = "\n[agent]\nprofile = \"default\"\n";

/// That of the witness.
pub(super) fn of_witness(address: &str) -> String {
    format!(
        r#"# Made by `twindisk demo`.
listen = "{address}"
state-dir = "witness"

[cluster.{CLUSTER}]
secret-file = "witness.secret"
"#
    )
}

/// Writes a file that nobody else may read.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).map_err(Failure::at(path))?;
    file.write_all(text.as_bytes()).map_err(Failure::at(path))
}
