//! What a person should know before trusting a configuration on this host: what is missing, what is risky.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use twindisk_core::{OnPeerLoss, Protocol};
use twindisk_engine::store::IoMode;

use super::{Arbiter, Config, Endpoint, Member, NbdAddress, Node, Resource, SecretSource};
use crate::{limits, units::Span};

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What it is about: a key, or a file.
    pub about: String,
    /// What is so, what it means, what to do.
    pub text: String,
    /// What `twindisk init` would make, and it is well.
    #[serde(skip)]
    pub made_by_init: Option<Makes>,
}

/// What `twindisk init` makes where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// Metadata.
    Metadata,
    /// A backing file, when it is told its size.
    BackingFile,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity, self.about, self.text)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, but a promise is weakened.
    Risk,
    /// `serve` will not work.
    Missing,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Risk => "risk",
            Self::Missing => "missing",
        })
    }
}

/// Looks at the configuration as `node` on this host would use it. The worst first.
#[must_use]
pub fn check(config: &Config, node: &Node) -> Vec<Finding> {
    let mut found = Findings::default();
    found.secret(&config.secret, config);
    if config.nodes.len() == 1 {
        found.risk(
            "nodes",
            "there is only one node: nothing is replicated; add the second one",
        );
    }
    if config.resources_on(node).next().is_none() {
        found.missing(
            "resource",
            format!(
                "node {} takes part in no resource: add [resource.NAME] with on.{}",
                node.name, node.name
            ),
        );
    }
    for other in &config.nodes {
        found.address(other, node);
    }
    if config.sends_in_the_clear() {
        found.risk(
            "tls",
            "`off`: whoever can alter packets between the nodes alters data unseen, and reads it; leave it out (TLS with the \
             shared secret), or keep the network to the nodes alone",
        );
    }
    for dir in [&node.run_dir, &node.state_dir] {
        found.folder(dir);
    }
    found.unix_path("control-socket", &node.control_socket);
    for listener in &node.nbd {
        found.listener(&format!("nodes.{}.nbd", node.name), listener);
    }
    if let Some(address) = node.http {
        found.http(config, node, address);
    }
    found.witness(config);
    found.etcd(config);
    for resource in &config.resources {
        let judged = config.agent.is_some() || resource.arbiter == Arbiter::External;
        found.resource(resource, judged);
        if let Some(member) = resource.member(node.id) {
            found.member(resource, member);
        }
    }
    found.shared_paths(config, node);
    found
        .0
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found.0
}

#[derive(Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, about: impl Into<String>, text: impl Into<String>) {
        self.0.push(Finding {
            severity,
            about: about.into(),
            text: text.into(),
            made_by_init: None,
        });
    }

    /// Missing, and `twindisk init` makes it.
    fn unmade(&mut self, what: Makes, about: String, text: String) {
        self.missing(about, text);
        if let Some(last) = self.0.last_mut() {
            last.made_by_init = Some(what);
        }
    }

    pub(super) fn note(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Note, about, text);
    }

    pub(super) fn risk(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Risk, about, text);
    }

    pub(super) fn missing(&mut self, about: impl Into<String>, text: impl Into<String>) {
        self.add(Severity::Missing, about, text);
    }

    fn secret(&mut self, source: &SecretSource, config: &Config) {
        let (about, file) = match source {
            SecretSource::File(path) => ("secret-file", path),
            SecretSource::Inline(_) => {
                self.note("secret", "the secret stands in the configuration: `secret-file` keeps it out of backups and of tickets");
                ("secret", &config.path)
            }
        };
        if let Err(error) = source.read() {
            self.missing(about, error.to_string());
        }
        self.private(about, file, "whoever reads it can act as a peer");
    }

    /// A file that others can read, and what that means.
    pub(super) fn private(&mut self, about: &str, file: &Path, means: &str) {
        if let Ok(metadata) = fs::metadata(file)
            && metadata.mode() & 0o077 != 0
        {
            self.risk(
                about,
                format!(
                    "{} can be read by others (mode {:04o}): {means}; chmod 0600 it",
                    file.display(),
                    metadata.mode() & 0o7777
                ),
            );
        }
    }

    fn address(&mut self, other: &Node, node: &Node) {
        let Endpoint { host, .. } = &other.address;
        let about = format!("nodes.{}.address", other.name);
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => self.missing(
                about,
                format!("{address} is no address that a peer can reach: write the node's own"),
            ),
            Ok(address) if address.is_loopback() => {
                self.risk(about, format!("{address} reaches this host only: both replicas die with it"));
            }
            Ok(address) if needs_zone(address) => self.missing(about, no_zone(address)),
            Ok(_) => {}
            // With the zone behind it, no resolver is asked.
            Err(_) if host.contains('%') => {}
            Err(_) if other.id == node.id => self.note(about, "a host name needs a working resolver when this node starts: an address does not"),
            Err(_) => self.note(about, "a host name needs a working resolver just when a peer was lost: an address does not"),
        }
    }

    /// A third vote that is lost with one of the other two is none.
    fn witness(&mut self, config: &Config) {
        let Some(witness) = &config.witness else {
            return;
        };
        if let Some(node) = (config.nodes.iter()).find(|node| node.address.host == witness.host) {
            self.risk(
                "witness",
                format!(
                    "it is on the host of {0}: when that one is lost the other node has no third vote, and its I/O waits; \
                     run `twindisk witness` on a host of its own",
                    node.name
                ),
            );
        }
    }

    fn folder(&mut self, dir: &Path) {
        if dir.is_dir() {
            return;
        }
        let parent = dir.ancestors().skip(1).find(|parent| parent.exists());
        let about = dir.display().to_string();
        match parent {
            Some(parent) if parent.is_dir() => self.note(
                about,
                "this folder does not exist: `twindisk serve` makes it, if it may",
            ),
            Some(_) | None => self.missing(
                about,
                "this folder does not exist and can't be made: what is above it is no folder",
            ),
        }
    }

    fn unix_path(&mut self, about: &str, path: &Path) {
        let bytes = path.as_os_str().len();
        if bytes > limits::MAX_UNIX_PATH_BYTES {
            self.missing(
                about,
                format!(
                    "{} has {bytes} bytes: a Unix socket's path may have {}",
                    path.display(),
                    limits::MAX_UNIX_PATH_BYTES
                ),
            );
        }
    }

    fn listener(&mut self, about: &str, listener: &NbdAddress) {
        match listener {
            NbdAddress::Unix(path) => self.unix_path(about, path),
            NbdAddress::Tcp(endpoint) => {
                let address = endpoint.host.parse::<IpAddr>().ok();
                if let Some(address) = address.filter(|address| needs_zone(*address)) {
                    return self.missing(about, no_zone(address));
                }
                let loopback = address.is_some_and(|address| address.is_loopback());
                if !loopback {
                    self.risk(
                        about,
                        format!("{endpoint}: NBD over TCP has no authentication here: whoever reaches the port reads and writes the device; keep it in a trusted network"),
                    );
                }
            }
        }
    }

    fn http(&mut self, config: &Config, node: &Node, address: SocketAddr) {
        let about = format!("nodes.{}.http", node.name);
        if config.agent.is_none() {
            self.note(
                &about,
                "the agent answers there, and without a table [agent] there is none",
            );
        }
        if let SocketAddr::V6(v6) = address
            && v6.scope_id() == 0
            && needs_zone(address.ip())
        {
            self.missing(&about, no_zone(address.ip()));
        }
        if node.address.to_string() == address.to_string() {
            self.missing(
                &about,
                format!("{address} is where peers reach this node: write another port"),
            );
        }
        if !address.ip().to_canonical().is_loopback() {
            self.risk(
                about,
                format!("{address}: HTTP has no authentication here: whoever reaches the port reads names, roles and states (and can change nothing); keep it in a trusted network, or at 127.0.0.1 behind a proxy"),
            );
        }
    }

    /// `judged`: by an agent or a cluster manager, which find out themselves that a peer is dead.
    fn resource(&mut self, resource: &Resource, judged: bool) {
        let about = format!("resource.{}", resource.name);
        if resource.members.len() == 1 {
            self.risk(&about, "only one replica: nothing is mirrored");
        }
        if resource.on_peer_loss == OnPeerLoss::Continue {
            self.risk(
                format!("{about}.on-peer-loss"),
                "`continue` is unsafe: after a cut link both nodes may take writes, and what one of them acknowledged is lost; `suspend` waits for a receipt",
            );
        }
        // With somebody who judges, the shortest is what it is by default.
        let shortest = Duration::from_millis(if judged { 1500 } else { 2000 });
        if resource.timings.peer_timeout < shortest {
            self.risk(
                format!("{about}.peer-timeout"),
                format!(
                    "below {} a busy host is taken for a dead one",
                    Span(shortest)
                ),
            );
        }
        for member in &resource.members {
            if member.protocol == Protocol::A {
                self.risk(
                    format!("{about}.on.{}.protocol", member.node),
                    format!("protocol A acknowledges before {} has the write: promoting it needs an operator's word", member.node),
                );
            }
        }
    }

    fn member(&mut self, resource: &Resource, member: &Member) {
        let about = format!("resource.{}.on.{}", resource.name, member.node);
        match fs::metadata(&member.backing) {
            Ok(found) if found.file_type().is_block_device() => {}
            Ok(found) if found.is_file() => {
                if found.blocks() * 512 < found.len() {
                    self.risk(
                        format!("{about}.backing"),
                        format!("{} is sparse: writes to its holes are slow and can fail when the filesystem is full; `init --size` writes it whole", member.backing.display()),
                    );
                }
            }
            Ok(_) => self.missing(
                format!("{about}.backing"),
                format!(
                    "{} is neither a block device nor a file",
                    member.backing.display()
                ),
            ),
            Err(error) => self.unmade(
                Makes::BackingFile,
                format!("{about}.backing"),
                format!(
                    "{}: {error}; `twindisk init {} --size SIZE` creates a file",
                    member.backing.display(),
                    resource.name
                ),
            ),
        }
        if member.io == IoMode::Cached {
            self.note(
                format!("{about}.io"),
                "`cached`: writes end in this host's page cache until the next flush (`flush-interval`), and a failing disk is noticed only then; attach the device on another host than this one",
            );
        }
        if let Some(metadata) = &member.metadata
            && let Err(error) = fs::metadata(metadata)
        {
            self.unmade(
                Makes::Metadata,
                format!("{about}.metadata"),
                format!(
                    "{}: {error}; `twindisk init {}` creates it",
                    metadata.display(),
                    resource.name
                ),
            );
        }
        for listener in &member.nbd {
            self.listener(&format!("{about}.nbd"), listener);
        }
    }

    /// Two things of this node at one path.
    fn shared_paths(&mut self, config: &Config, node: &Node) {
        let mut users: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        for (resource, member) in config
            .resources_on(node)
            .filter_map(|resource| Some((resource, resource.member(node.id)?)))
        {
            let mut uses = |path: &Path, what: &str| {
                let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                users
                    .entry(real)
                    .or_default()
                    .insert(format!("{} of {}", what, resource.name));
            };
            uses(&member.backing, "backing");
            if let Some(metadata) = &member.metadata {
                uses(metadata, "metadata");
            }
            for listener in &member.nbd {
                if let NbdAddress::Unix(path) = listener {
                    uses(path, "NBD socket");
                }
            }
        }
        for (path, uses) in users.iter().filter(|(_, uses)| uses.len() > 1) {
            let uses: Vec<&str> = uses.iter().map(String::as_str).collect();
            self.missing(
                path.display().to_string(),
                format!("{} share this path: each needs its own", uses.join(" and ")),
            );
        }
    }
}

/// A link-local address is one of every interface: without a zone the kernel does not know which is meant.
const fn needs_zone(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn no_zone(address: IpAddr) -> String {
    format!(
        "{address} is a link-local address, and nothing says on which interface: write a routed or unique-local address \
         (fd…), or [{address}%INTERFACE], which must have that name on every node"
    )
}
