//! What the configuration says of the agent: `[agent]`, and `heartbeat`, `fence` and `services` where they stand.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use twindisk_control::config::{Arbiter, Config, ConfigError, Member, Node, Resource, Section};
use twindisk_fencing_core::{
    HungIo, MemberConfig, MemberIndex, PathIndex, PeerConfig, PeerIndex, Profile, Recovery,
    ResourceConfig, ResourceIndex, Table,
};
use twindisk_services::{Hook, config::Services};
use twindisk_stonith::Topology;

use crate::arbiter::identity;

/// Everything that an agent needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// This node's name.
    pub name: String,
    /// Its number.
    pub node: u8,
    /// The configuration file.
    pub file: PathBuf,
    /// Where this node's processes leave what others find them by.
    pub run_dir: PathBuf,
    /// The socket of this agent.
    pub socket: PathBuf,
    /// The socket of `twindisk serve`.
    pub control_socket: PathBuf,
    /// Where the agent's memory is kept.
    pub memory: PathBuf,
    /// How fast to judge.
    pub profile: Profile,
    /// What is done about I/O that stands still.
    pub hung_io: HungIo,
    /// See [`twindisk_fencing_core::Config`].
    pub max_failovers: u32,
    /// The same.
    pub failover_window: Duration,
    /// What is done about services that end by themselves.
    pub recovery: Option<Recovery>,
    /// Resets the host when it is fed no longer.
    pub watchdog: Option<PathBuf>,
    /// The power of a silent node is read before it counts as dead.
    pub read_power: bool,
    /// Hosts that clients are reached through.
    pub ping: Vec<String>,
    /// Own heartbeat addresses, a path each.
    pub heartbeat: Table<PathIndex, SocketAddr>,
    /// Where HTTP is answered.
    pub http: Option<SocketAddr>,
    /// The nodes that this one shares a resource with.
    pub peers: Table<PeerIndex, PeerSettings>,
    /// Resources with two or three nodes.
    pub resources: Table<ResourceIndex, ResourceSettings>,
    /// Names of resources with another number of nodes.
    pub left_alone: Vec<String>,
    /// Things that a person should know.
    pub warnings: Vec<String>,
}

/// A peer.
#[derive(Debug)]
pub struct PeerSettings {
    /// Its name.
    pub name: String,
    /// Its number.
    pub node: u8,
    /// Its heartbeat addresses, a path each.
    pub heartbeat: Table<PathIndex, SocketAddr>,
    /// How it is powered off.
    pub fence: Option<Topology>,
}

/// A resource.
#[derive(Debug)]
pub struct ResourceSettings {
    /// Its name.
    pub name: String,
    /// The other nodes, in the order in which they are to take over.
    pub members: Table<MemberIndex, MemberConfig>,
    /// Who grants the next term (R8).
    pub arbiter: Arbiter,
    /// Which one of those that is, for the other node to compare.
    pub arbiter_id: String,
    /// What follows the primary.
    pub services: Option<Services>,
    /// What is run once they are up on a new primary.
    pub after_promote: Option<Hook>,
}

/// Why there can be no agent.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something is missing.
    #[error("{0}")]
    Missing(String),
}

/// A resource with more other nodes has no automatic failover.
const MOST_OTHERS: usize = 2;

/// That services have ended is seen within ten seconds, and a start may take its time: seconds.
const LEAST_WINDOW: u64 = 60;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnServiceEnd {
    /// A person is told.
    Alarm,
    /// They are started again, then given to another node.
    #[default]
    Restart,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct RawAgent {
    profile: Profile,
    hung_io: HungIo,
    read_power: Option<bool>,
    ping: Vec<String>,
    watchdog: Option<PathBuf>,
    max_failovers: Option<u32>,
    failover_window_s: Option<u64>,
    on_service_end: OnServiceEnd,
    service_restarts: Option<u32>,
    service_restart_window_s: Option<u64>,
}

impl RawAgent {
    fn recovery(&self) -> Result<Option<Recovery>, SettingsError> {
        let window = self.service_restart_window_s.unwrap_or(600);
        if window < LEAST_WINDOW {
            return Err(SettingsError::Missing(format!(
                "[agent]: service-restart-window-s = {window} is too short for an end to be counted: write at least {LEAST_WINDOW}"
            )));
        }
        let recovery = Recovery {
            restarts: self.service_restarts.unwrap_or(3),
            window: Duration::from_secs(window),
        };
        Ok(match self.on_service_end {
            OnServiceEnd::Alarm => None,
            OnServiceEnd::Restart => Some(recovery),
        })
    }
}

impl Settings {
    /// As `node` reads the configuration.
    ///
    /// # Errors
    /// With file, line and key of what is wrong or missing.
    pub fn new(config: &Config, node: &Node) -> Result<Self, SettingsError> {
        let Some(section) = &config.agent else {
            return Err(SettingsError::Missing(format!(
                "{}: there is no table [agent]: without it there is no automatic failover. Add `[agent]`, and `heartbeat` and \
                 `fence` to each [nodes.NAME]",
                config.path.display()
            )));
        };
        let raw: RawAgent = section.read()?;
        let external = |resource: &Resource| resource.arbiter == Arbiter::External;
        if config.resources_on(node).all(external) {
            return Err(SettingsError::Missing(
                "every resource of this node has arbiter = \"external\": a cluster manager decides about them, and no `twindisk \
                 agent` may run beside it"
                    .to_owned(),
            ));
        }
        let own = addresses(node)?;
        let mut settings = Self {
            cluster: config.cluster.clone(),
            name: node.name.clone(),
            node: node.id.0,
            file: config.path.clone(),
            socket: node.run_dir.join("agent.sock"),
            run_dir: node.run_dir.clone(),
            control_socket: node.control_socket.clone(),
            memory: node.state_dir.join("agent.json"),
            profile: raw.profile,
            hung_io: raw.hung_io,
            max_failovers: raw.max_failovers.unwrap_or(3),
            failover_window: Duration::from_secs(raw.failover_window_s.unwrap_or(3600)),
            recovery: raw.recovery()?,
            watchdog: raw.watchdog,
            read_power: raw.read_power.unwrap_or(true),
            ping: raw.ping,
            heartbeat: own,
            http: node.http,
            peers: Table::new(),
            resources: Table::new(),
            left_alone: Vec::new(),
            warnings: Vec::new(),
        };
        for resource in config.resources_on(node) {
            if resource.arbiter == Arbiter::External {
                settings.warnings.push(format!(
                    "{} has arbiter = \"external\": a cluster manager decides about it, and this agent leaves it alone",
                    resource.name
                ));
                settings.left_alone.push(resource.name.clone());
                continue;
            }
            let others: Vec<_> = resource
                .members
                .iter()
                .filter(|member| member.id != node.id)
                .collect();
            if others.is_empty() || others.len() > MOST_OTHERS {
                settings.warnings.push(format!(
                    "{} has {} nodes: there is automatic failover for two or three, so it is left alone",
                    resource.name,
                    others.len() + 1
                ));
                settings.left_alone.push(resource.name.clone());
                continue;
            }
            // An agent that has looked after other resources so far goes on doing that.
            let paths = settings.heartbeat.len();
            let deaf = |member: &&&Member| {
                let Some(other) = config.node(&member.node) else {
                    return true;
                };
                other.heartbeat.is_none() || addresses(other).is_ok_and(|all| all.len() != paths)
            };
            if let Some(member) = others.iter().find(deaf).filter(|_| others.len() > 1) {
                settings.warnings.push(format!(
                    "{} has {} nodes, and there is no `heartbeat` in [nodes.{}] with as many addresses as here, so it is left alone",
                    resource.name,
                    others.len() + 1,
                    member.node
                ));
                settings.left_alone.push(resource.name.clone());
                continue;
            }
            let members = settings.members(config, node, resource)?;
            let services = resource.services.as_ref();
            let after_promote = resource.after_promote.as_ref();
            if let Some(section) = after_promote.filter(|_| services.is_none()) {
                let hint = "add `services`, and where there are none: services = []";
                let what = "after-promote is run when the services are up, and there is no `services` in this table";
                return Err(section.bad(what, hint).into());
            }
            settings.resources.push(ResourceSettings {
                name: resource.name.clone(),
                members,
                arbiter: resource.arbiter,
                arbiter_id: identity(config, resource.arbiter),
                services: services.map(Section::read).transpose()?,
                after_promote: after_promote.map(Section::read).transpose()?,
            });
        }
        if settings.heartbeat.len() < 2 {
            let warning = "there is one heartbeat path: when that alone is cut, a healthy node is shot. Give each node two";
            settings.warnings.push(warning.to_owned());
        }
        // Beside a record nobody is powered off.
        let fenced = |at: PeerIndex| {
            let mut resources = settings.resources.iter();
            resources.any(|resource| {
                let mut members = resource.members.iter();
                !resource.arbiter.keeps_record() && members.any(|member| member.peer == at)
            })
        };
        let peers = settings.peers.entries();
        let lacking = peers.filter(|(at, peer)| peer.fence.is_none() && fenced(*at));
        for peer in lacking.map(|(_, peer)| peer) {
            settings.warnings.push(format!(
                "there is no `fence` in [nodes.{}]: when it is lost, nothing is promoted before a person says that it is off",
                peer.name
            ));
        }
        let served = |resource: &&ResourceSettings| {
            resource.arbiter.keeps_record() && resource.services.is_some()
        };
        let unwatched = settings.resources.iter().filter(served);
        let unwatched = unwatched.filter(|_| settings.watchdog.is_none());
        for resource in unwatched {
            settings.warnings.push(format!(
                "{} has services, nobody is powered off for it, and there is no `watchdog` in [agent]: services of a node that is \
                 cut off and that can't be stopped, or whose agent hangs, stay beside those of the other one, with the same \
                 addresses",
                resource.name
            ));
        }
        Ok(settings)
    }

    /// The other nodes of a resource, in the order in which they are to take over.
    fn members(
        &mut self,
        config: &Config,
        node: &Node,
        resource: &Resource,
    ) -> Result<Table<MemberIndex, MemberConfig>, SettingsError> {
        let mut preferred = true;
        let mut members = Table::new();
        for id in &resource.prefer {
            if *id == node.id {
                preferred = false;
            } else if let Some(member) = resource.member(*id) {
                let peer = self.peer(config, &member.node)?;
                members.push(MemberConfig { peer, preferred });
            }
        }
        Ok(members)
    }

    fn peer(&mut self, config: &Config, name: &str) -> Result<PeerIndex, SettingsError> {
        if let Some(at) = self.peers.position(|peer| peer.name == name) {
            return Ok(at);
        }
        let node = config.node(name).ok_or_else(|| {
            SettingsError::Missing(format!("node {name} is not in the configuration"))
        })?;
        let heartbeat = addresses(node)?;
        if heartbeat.len() != self.heartbeat.len() {
            return Err(SettingsError::Missing(format!(
                "{}: node {} has {} heartbeat addresses and {name} has {}: the first of one talks to the first of the other, and \
                 so on, so there must be as many",
                config.path.display(),
                self.name,
                self.heartbeat.len(),
                heartbeat.len()
            )));
        }
        Ok(self.peers.push(PeerSettings {
            name: name.to_owned(),
            node: node.id.0,
            heartbeat,
            fence: node.fence.as_ref().map(Section::read).transpose()?,
        }))
    }

    /// The peer of that name.
    ///
    /// # Errors
    /// With the names that there are.
    pub(crate) fn peer_named(&self, name: &str) -> Result<PeerIndex, String> {
        let found = self.peers.position(|peer| peer.name == name);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.peers.iter().map(|peer| &*peer.name).collect();
            format!(
                "no peer of this node is called {name:?}: there is {}",
                known.join(", ")
            )
        })
    }

    /// The same for the core.
    #[must_use]
    pub fn core(&self) -> twindisk_fencing_core::Config {
        twindisk_fencing_core::Config {
            name: self.name.clone(),
            node: self.node,
            profile: self.profile,
            hung_io: self.hung_io,
            host: host_boot(),
            peers: self
                .peers
                .iter()
                .map(|peer| PeerConfig {
                    name: peer.name.clone(),
                    node: peer.node,
                    paths: peer.heartbeat.iter().map(ToString::to_string).collect(),
                    can_fence: peer.fence.is_some(),
                    reads_power: self.read_power && peer.fence.is_some(),
                })
                .collect(),
            resources: self
                .resources
                .iter()
                .map(|resource| ResourceConfig {
                    name: resource.name.clone(),
                    members: resource.members.clone(),
                    has_services: resource.services.is_some(),
                    after_promote: resource.after_promote.is_some(),
                    arbiter: resource.arbiter.keeps_record(),
                    arbiter_id: resource.arbiter_id.clone(),
                })
                .collect(),
            max_failovers: self.max_failovers,
            failover_window: self.failover_window,
            recovery: self.recovery,
        }
    }
}

/// A node's heartbeat addresses: one, or a list.
fn addresses(node: &Node) -> Result<Table<PathIndex, SocketAddr>, SettingsError> {
    let Some(section) = &node.heartbeat else {
        return Err(SettingsError::Missing(format!(
            "node {} has no `heartbeat`: add its addresses to [nodes.{}], as heartbeat = [\"10.0.1.1:7790\", \"10.0.2.1:7790\"]",
            node.name, node.name
        )));
    };
    let texts: Vec<String> = section.read()?;
    let parsed = texts.iter().map(|text| {
        let address: SocketAddr = text.parse().map_err(|_| {
            let hint = "write an IP address and a port, as \"10.0.1.1:7790\" or \"[fd00::1]:7790\"";
            section.bad(format!("{text:?} is no heartbeat address"), hint)
        })?;
        match address {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                let hint = "write a routed or unique-local address (fd…), or the number of the interface, as \"[fe80::1%2]:7790\"";
                Err(section.bad(format!("{text:?} is link-local, and nothing says on which interface"), hint))
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => Ok(address),
        }
    });
    let addresses: Table<_, SocketAddr> = parsed.collect::<Result<_, _>>()?;
    if addresses.is_empty() || addresses.len() > 8 {
        return Err(section
            .bad(
                format!("{} heartbeat addresses", addresses.len()),
                "write one to eight, better two",
            )
            .into());
    }
    Ok(addresses)
}

/// The name of this boot of the host (Linux: proc(5), `/proc/sys/kernel/random/boot_id`).
fn host_boot() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
