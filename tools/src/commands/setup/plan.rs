//! What a new pair shall be, as an operator says it. Whether names, addresses and devices will do is for the configuration
//! to say, which is made of this.

use std::{fs, net::IpAddr};

use super::Args;
use crate::exit::Failure;

/// Where peers reach a node.
const PORT: u16 = 7800;

/// Where its agent is heard.
const HEARTBEAT_PORT: u16 = 7790;

/// Where a witness is asked.
const WITNESS_PORT: u16 = 7795;

/// A new pair.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    pub(super) cluster: String,
    pub(super) resource: String,
    /// The first one has the initial data.
    pub(super) nodes: Vec<Node>,
    /// A backing file is made, of so many bytes.
    pub(super) size: Option<u64>,
    /// `HOST:PORT`.
    pub(super) witness: Option<String>,
    /// Agents run.
    pub(super) agent: bool,
}

/// One of its nodes.
#[derive(Debug, PartialEq)]
pub(super) struct Node {
    pub(super) name: String,
    /// With a port.
    pub(super) address: String,
    /// With ports.
    pub(super) heartbeat: Vec<String>,
    pub(super) backing: String,
    /// In the order in which they are tried.
    pub(super) fence: Vec<Fence>,
}

/// A fence device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fence {
    pub(super) agent: String,
    pub(super) options: Vec<(String, String)>,
}

/// Something of a node: `NODE=…`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Named<T> {
    pub(super) node: String,
    pub(super) value: T,
}

impl Plan {
    /// As the command line has it.
    pub(super) fn new(args: &Args) -> Result<Self, Failure> {
        if args.nodes.len() < 2 {
            return Err(Failure::Usage(
                "a pair has two nodes: twindisk setup alpha=10.0.0.1 beta=10.0.0.2 --backing /dev/vg/r0".to_owned(),
            ));
        }
        let backing: Vec<Named<String>> = (args.backing.iter())
            .flat_map(|text| of_nodes(text, &args.nodes))
            .collect();
        let nodes = args.nodes.iter().map(|node| {
            let mut paths = backing.iter().filter(|one| one.node == node.node);
            let path = paths.next().ok_or_else(|| {
                let name = &node.node;
                Failure::Usage(format!(
                    "nothing says what is beneath {name}: --backing PATH, or --backing {name}=PATH"
                ))
            })?;
            let fence = args.fence.iter().filter(|one| one.node == node.node);
            let fence = fence.map(|one| one.value.clone()).collect();
            Node::new(&node.node, &node.value, &path.value, fence)
        });
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        if let Some(stray) =
            (args.fence.iter()).find(|one| nodes.iter().all(|node| node.name != one.node))
        {
            let name = &stray.node;
            return Err(Failure::Usage(format!(
                "--fence {name}=…: there is no node {name}"
            )));
        }
        Ok(Self {
            cluster: args.cluster.clone(),
            resource: args.resource.clone(),
            nodes,
            size: args.size,
            witness: args
                .witness
                .as_deref()
                .map(|host| with_port(host, WITNESS_PORT)),
            agent: args.agent || args.witness.is_some() || !args.fence.is_empty(),
        })
    }
}

impl Node {
    /// With these addresses, the first for peers.
    pub(super) fn new(
        name: &str,
        addresses: &[String],
        backing: &str,
        fence: Vec<Fence>,
    ) -> Result<Self, Failure> {
        let first = addresses
            .first()
            .ok_or_else(|| Failure::Usage(format!("{name} has no address")))?;
        let address = with_port(first, PORT);
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let more = addresses
            .iter()
            .skip(1)
            .map(|path| with_port(path, HEARTBEAT_PORT));
        Ok(Self {
            heartbeat: [format!("{host}:{HEARTBEAT_PORT}")]
                .into_iter()
                .chain(more)
                .collect(),
            name: name.to_owned(),
            backing: backing.to_owned(),
            address,
            fence,
        })
    }

    /// Where the host is reached by other programs.
    pub(super) fn host(&self) -> &str {
        host_of(&self.address)
    }
}

/// Without its port and brackets.
pub(super) fn host_of(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

impl Named<Vec<String>> {
    /// For clap.
    pub(super) fn addresses(text: &str) -> Result<Self, String> {
        let (node, all) = split(text, "alpha=10.0.0.1")?;
        let value = all.split(',').map(|one| one.trim().to_owned()).collect();
        Ok(Self { node, value })
    }
}

impl Named<Fence> {
    /// For clap.
    pub(super) fn fence(text: &str) -> Result<Self, String> {
        let (node, device) = split(text, "\"alpha=fence_ipmilan ip=10.0.9.1\"")?;
        let value = device.parse()?;
        Ok(Self { node, value })
    }
}

impl std::str::FromStr for Fence {
    type Err = String;

    /// Words, as `crm` and `pcs` have them.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let agent = words.next().ok_or("the name of a fence agent is missing")?;
        let options = words.map(|word| {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word:?} is no option: write KEY=VALUE"))?;
            Ok((key.to_owned(), value_of(value)?))
        });
        Ok(Self {
            agent: agent.to_owned(),
            options: options.collect::<Result<_, String>>()?,
        })
    }
}

/// Passwords need not stand on a command line, which others see.
fn value_of(text: &str) -> Result<String, String> {
    let Some(path) = text.strip_prefix('@') else {
        return Ok(text.to_owned());
    };
    let value = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    Ok(value.trim_end_matches(['\n', '\r']).to_owned())
}

fn split<'t>(text: &'t str, example: &str) -> Result<(String, &'t str), String> {
    let (node, rest) = text
        .split_once('=')
        .filter(|(node, rest)| !node.is_empty() && !rest.is_empty())
        .ok_or_else(|| format!("write the node and what it has, as {example}"))?;
    Ok((node.to_owned(), rest))
}

/// A path of one node, or of each.
fn of_nodes(text: &str, nodes: &[Named<Vec<String>>]) -> Vec<Named<String>> {
    let own = text
        .split_once('=')
        .filter(|(name, _)| nodes.iter().any(|node| node.node == *name));
    match own {
        Some((name, path)) => vec![Named {
            node: name.to_owned(),
            value: path.to_owned(),
        }],
        None => (nodes.iter())
            .map(|node| Named {
                node: node.node.clone(),
                value: text.to_owned(),
            })
            .collect(),
    }
}

/// As it is, if it has a port.
fn with_port(text: &str, port: u16) -> String {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        Ok(IpAddr::V4(_)) => format!("{text}:{port}"),
        Err(_) if text.ends_with(']') || !text.contains(':') => format!("{text}:{port}"),
        Err(_) => text.to_owned(),
    }
}

/// The address of a witness.
pub(super) fn witness(text: &str) -> String {
    with_port(text, WITNESS_PORT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ports_are_added_where_none_is() {
        for (given, meant) in [
            ("10.0.0.1", "10.0.0.1:7800"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("fd00::1", "[fd00::1]:7800"),
            ("[fd00::1]", "[fd00::1]:7800"),
            ("[fd00::1]:9", "[fd00::1]:9"),
            ("alpha.example", "alpha.example:7800"),
        ] {
            assert_eq!(with_port(given, PORT), meant);
        }
        let node = Node::new("a", &["[fd00::1]:9".to_owned()], "/b", Vec::new()).unwrap();
        assert_eq!(node.heartbeat, ["[fd00::1]:7790"]);
        assert_eq!(node.host(), "fd00::1");
    }

    #[test]
    fn a_fence_device_is_an_agent_and_its_options() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "se cret\n").unwrap();
        let text = format!(
            "alpha=fence_x ip=1.2.3.4 password=@{}",
            file.path().display()
        );
        let named = Named::fence(&text).unwrap();
        assert_eq!(named.node, "alpha");
        assert_eq!(named.value.agent, "fence_x");
        let options: Vec<&str> = named
            .value
            .options
            .iter()
            .map(|(_, value)| &**value)
            .collect();
        assert_eq!(options, ["1.2.3.4", "se cret"]);
        for bad in [
            "fence_x",
            "alpha=",
            "alpha=fence_x ip",
            "alpha=fence_x password=@/nowhere",
        ] {
            assert!(Named::fence(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_of_one_node_or_of_all() {
        let nodes = ["alpha=1.1.1.1", "beta=1.1.1.2"].map(|text| Named::addresses(text).unwrap());
        assert_eq!(of_nodes("/dev/vg/a=b", &nodes).len(), 2);
        let own = of_nodes("beta=/dev/b", &nodes);
        assert_eq!(
            (&*own[0].node, &*own[0].value, own.len()),
            ("beta", "/dev/b", 1)
        );
    }
}
