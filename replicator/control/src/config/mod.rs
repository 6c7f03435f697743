//! The configuration: one TOML file, the same on all nodes, read into types that cannot hold nonsense.
//!
//! [`Config::load`] reads and checks everything that can be checked without looking at the host; [`check`] looks at the
//! host and says what is missing or risky. Every key is described in `tools/doc/twindisk.toml.md`.

mod check;
mod error;
mod etcd;
mod place;
mod raw;
mod resolve;
#[cfg(test)]
mod tests;
mod tls;
mod values;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use twindisk_core::{OnDiskError, OnNoQuorum, OnPeerLoss, Protocol, Timings};
use twindisk_engine::{BufferSizes, BusyPoll, store::IoMode};
use twindisk_format::ids::NodeId;

pub use check::{Finding, Makes, Severity, check};
pub use error::ConfigError;
pub use etcd::{Certificate, Etcd, Url, User};
pub use raw::keys;
pub use tls::TlsMode;

/// The whole cluster as the file describes it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read from.
    pub path: PathBuf,
    /// Name of the cluster.
    pub cluster: String,
    /// What the nodes prove to each other that they know.
    pub secret: SecretSource,
    /// What protects the replication links between all its nodes.
    pub tls: TlsMode,
    /// Which node this host is, when the file says so.
    pub node: Option<String>,
    /// Where the witness is, for resources whose arbiter it is.
    pub witness: Option<Endpoint>,
    /// Where etcd is, for resources whose arbiter it is.
    pub etcd: Option<Etcd>,
    /// Settings of the agents; without them there is no automatic failover.
    pub agent: Option<Section>,
    /// In order of their numbers.
    pub nodes: Vec<Node>,
    /// In order of their names.
    pub resources: Vec<Resource>,
}

/// Where the shared secret comes from. Its `Debug` never shows it.
#[derive(Clone)]
pub enum SecretSource {
    /// A file that holds it.
    File(PathBuf),
    /// The configuration itself.
    Inline(String),
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number, the same for ever.
    pub id: NodeId,
    /// Where its peers reach it.
    pub address: Endpoint,
    /// Where sockets are put.
    pub run_dir: PathBuf,
    /// Where the event log and saved blocks are kept.
    pub state_dir: PathBuf,
    /// The control socket.
    pub control_socket: PathBuf,
    /// Permission bits of the control socket.
    pub control_mode: u32,
    /// The event log.
    pub event_log: PathBuf,
    /// Size at which the event log is put aside and a new one begun.
    pub event_log_bytes: u64,
    /// Listeners that serve every resource by its name.
    pub nbd: Vec<NbdAddress>,
    /// Permission bits of NBD sockets.
    pub nbd_mode: u32,
    /// Most NBD clients at once.
    pub nbd_max_connections: usize,
    /// Addresses of its agent, one for each heartbeat path.
    pub heartbeat: Option<Section>,
    /// Where its agent answers HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// How it is powered off.
    pub fence: Option<Section>,
}

/// A part of the file that is read by whoever uses it.
#[derive(Clone, PartialEq)]
pub struct Section {
    /// What is written there.
    pub value: toml::Value,
    path: PathBuf,
    line: usize,
    key: String,
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Section(line {})", self.line) // It may hold passwords of fence devices.
    }
}

impl Section {
    /// What is wrong with it.
    #[must_use]
    pub fn bad(&self, message: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::Bad {
            path: self.path.clone(),
            line: self.line,
            key: self.key.clone(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is not what it should be.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        Deserialize::deserialize(self.value.clone()).map_err(|error| {
            let (message, hint) = raw::explain(error.message());
            self.bad(message, hint)
        })
    }
}

/// Who decides which node is primary of a resource, and who grants the next term to one that has lost another (R8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arbiter {
    /// Power switches, and the agent that asks them; or a person.
    #[default]
    Fence,
    /// A cluster manager, as Pacemaker.
    External,
    /// The record that a witness keeps.
    Witness,
    /// The record that etcd keeps.
    Etcd,
}

impl Arbiter {
    /// A record grants the next term, and nobody is fenced for it.
    #[must_use]
    pub const fn keeps_record(self) -> bool {
        match self {
            Self::Witness | Self::Etcd => true,
            Self::Fence | Self::External => false,
        }
    }

    /// As the file has it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::External => "external",
            Self::Witness => "witness",
            Self::Etcd => "etcd",
        }
    }
}

/// A replica does not care who keeps a record.
impl From<Arbiter> for twindisk_core::Arbiter {
    fn from(arbiter: Arbiter) -> Self {
        match arbiter {
            Arbiter::Fence => Self::Fence,
            Arbiter::External => Self::External,
            Arbiter::Witness | Arbiter::Etcd => Self::Witness,
        }
    }
}

/// One replicated device.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name: also the name of the NBD export.
    pub name: String,
    /// Who grants the next term.
    pub arbiter: Arbiter,
    /// All its nodes, in the order in which they are to take over.
    pub prefer: Vec<NodeId>,
    /// What a primary does when an in-sync peer is lost.
    pub on_peer_loss: OnPeerLoss,
    /// What a primary does when its own disk fails.
    pub on_disk_error: OnDiskError,
    /// What a primary does that stays suspended.
    pub on_no_quorum: OnNoQuorum,
    /// How long things may take.
    pub timings: Timings,
    /// Spinning while I/O is in flight.
    pub busy_poll: BusyPoll,
    /// Memory for payloads.
    pub buffers: BufferSizes,
    /// Most extents hot in the activity log; `None`: by the size of the device.
    pub al_extents: Option<usize>,
    /// Services that follow the primary.
    pub services: Option<Section>,
    /// What is run once they are up on a new primary.
    pub after_promote: Option<Section>,
    /// In order of the nodes' numbers.
    pub members: Vec<Member>,
}

/// One node's replica of a resource.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of the node.
    pub node: String,
    /// Number of the node.
    pub id: NodeId,
    /// The backing device or file.
    pub backing: PathBuf,
    /// How its data is read and written.
    pub io: IoMode,
    /// The metadata file or device; `None`: at the tail of the backing device.
    pub metadata: Option<PathBuf>,
    /// Listeners that serve this resource alone.
    pub nbd: Vec<NbdAddress>,
    /// When a write counts as done on this node while it is standby.
    pub protocol: Protocol,
}

/// A TCP address: a literal address or a host name, with a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

/// Where NBD clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NbdAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP, with `TCP_NODELAY`.
    Tcp(Endpoint),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With file, line and key of the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = raw::read(path)?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file; `path` stands in errors, and relative paths start from its folder.
    ///
    /// # Errors
    /// With file, line and key of the first thing that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let raw = raw::parse(path, text)?;
        resolve::resolve(path, text, raw)
    }

    /// The node that this process is: `wanted`, else the file's `node`, else the one whose name is this host's.
    ///
    /// # Errors
    /// When none fits.
    pub fn this_node(&self, wanted: Option<&str>) -> Result<&Node, ConfigError> {
        if let Some(name) = wanted.or(self.node.as_deref()) {
            return self.node(name).ok_or_else(|| ConfigError::UnknownNode {
                path: self.path.clone(),
                name: name.to_owned(),
                known: self.node_names(),
            });
        }
        if let [only] = self.nodes.as_slice() {
            return Ok(only);
        }
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let short = host.split('.').next().unwrap_or_default();
        self.node(&host)
            .or_else(|| self.node(short))
            .ok_or_else(|| ConfigError::NoNodeForHost {
                path: self.path.clone(),
                host,
                known: self.node_names(),
            })
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The resource of that name.
    #[must_use]
    pub fn resource(&self, name: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.name == name)
    }

    /// The resources that `node` takes part in.
    pub fn resources_on<'c>(&'c self, node: &'c Node) -> impl Iterator<Item = &'c Resource> {
        self.resources
            .iter()
            .filter(|resource| resource.member(node.id).is_some())
    }

    /// The resource that is meant: the one named, or the only one that `node` has.
    ///
    /// # Errors
    /// When there is none of that name, or no name and several.
    pub fn pick<'c>(
        &'c self,
        node: &'c Node,
        name: Option<&str>,
    ) -> Result<(&'c Resource, &'c Member), ConfigError> {
        let known: Vec<String> = self
            .resources_on(node)
            .map(|resource| resource.name.clone())
            .collect();
        let chosen = match (name, known.as_slice()) {
            (Some(name), _) => Some(name),
            (None, [only]) => Some(only.as_str()),
            (None, _) => None,
        };
        chosen
            .and_then(|name| self.resource(name))
            .and_then(|resource| Some((resource, resource.member(node.id)?)))
            .ok_or_else(|| ConfigError::NoResource {
                path: self.path.clone(),
                node: node.name.clone(),
                wanted: name.map(str::to_owned),
                known,
            })
    }

    fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }
}

impl Resource {
    /// The replica on the node of that number.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The replicas on other nodes, in order of their numbers: the order of slots.
    pub fn peers_of(&self, id: NodeId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.id != id)
    }
}

impl SecretSource {
    /// The secret's bytes, without a newline at the end of its file.
    ///
    /// # Errors
    /// When the file can't be read, or the secret is too short or too long.
    pub fn read(&self) -> Result<Vec<u8>, ConfigError> {
        resolve::read_secret(self)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(_) => f.write_str("Inline(..)"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(endpoint) => write!(f, "tcp:{endpoint}"),
        }
    }
}

impl NbdAddress {
    /// The NBD URI of `export` there.
    #[must_use]
    pub fn uri(&self, export: &str) -> String {
        match self {
            Self::Unix(path) => format!("nbd+unix:///{export}?socket={}", path.display()),
            Self::Tcp(endpoint) => format!("nbd://{endpoint}/{export}"),
        }
    }
}
