//! From what is written to what is meant: references followed, ranges checked, defaults filled in.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Spanned;
use twindisk_core::{OnNoQuorum, OnPeerLoss, Protocol, Timings};
use twindisk_engine::BufferSizes;
use twindisk_format::{ids::NodeId, limits::MAX_PEERS};

use super::{
    Arbiter, Config, ConfigError, Member, NbdAddress, Node, Resource, SecretSource, TlsMode,
    error::nearest,
    raw::{NoQuorum, RawConfig, RawMember, RawNode, RawResource, Text},
    values::Source,
};
use crate::{
    limits,
    units::{Bytes, Span},
};

/// Long enough for every fence device, and for a person who looks.
const NO_QUORUM_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn resolve(path: &Path, text: &str, raw: RawConfig) -> Result<Config, ConfigError> {
    let at = Source { path, text };
    at.name(&raw.cluster, "a cluster's name")?;
    let dirs = Dirs {
        run: at.path_or(raw.run_dir.as_ref(), "/run/twindisk"),
        state: at.path_or(raw.state_dir.as_ref(), "/var/lib/twindisk"),
    };
    let secret = secret(&at, &raw)?;
    let nodes = nodes(&at, &raw.nodes, &dirs)?;
    if raw.resource.len() > limits::MAX_RESOURCES {
        return Err(at.bad(
            0..0,
            format!("{} resources are too many", raw.resource.len()),
            format!("at most {}", limits::MAX_RESOURCES),
        ));
    }
    let resources = raw
        .resource
        .iter()
        .map(|(name, resource)| at.resource(name, resource, &nodes, raw.agent.is_some()))
        .collect::<Result<Vec<_>, _>>()?;
    for resource in resources.iter().filter(|one| one.arbiter.keeps_record()) {
        let name = (raw.resource.keys()).find(|name| *name.get_ref() == resource.name);
        let span = name.map_or(0..0, Spanned::span);
        if let Some((why, next)) = against_record(resource, &raw) {
            let word = resource.arbiter.word();
            let why = format!("{} has arbiter = {word:?}, and {why}", resource.name);
            return Err(at.bad(span, why, next));
        }
    }
    if let Some(node) = &raw.node
        && !nodes.iter().any(|known| known.name == *node.get_ref())
    {
        return Err(at.unknown_node(node, &nodes));
    }
    Ok(Config {
        path: path.to_owned(),
        cluster: raw.cluster.into_inner(),
        secret,
        tls: TlsMode::resolve(raw.tls, &nodes),
        node: raw.node.map(Spanned::into_inner),
        witness: (raw.witness.as_ref())
            .map(|text| at.endpoint(text.span(), text.get_ref()))
            .transpose()?,
        etcd: raw.etcd.as_ref().map(|raw| at.etcd(raw)).transpose()?,
        agent: at.section(raw.agent.as_ref()),
        nodes,
        resources,
    })
}

/// What keeps a record from being the arbiter of a resource, and what to do.
fn against_record(resource: &Resource, raw: &RawConfig) -> Option<(&'static str, &'static str)> {
    let copies = resource.members.iter();
    let unsure = copies.clone().any(|member| member.protocol == Protocol::A);
    if resource.arbiter == Arbiter::Witness && raw.witness.is_none() {
        Some((
            "nothing says where the witness is",
            "add `witness = \"HOST:PORT\"` at the top",
        ))
    } else if resource.arbiter == Arbiter::Etcd && raw.etcd.is_none() {
        Some((
            "nothing says where etcd is",
            "add a table [etcd] with `endpoints = [\"https://HOST:2379\"]`",
        ))
    } else if raw.agent.is_none() {
        Some(("only agents ask for a record", "add a table [agent]"))
    } else if resource.timings.read_lease < 2 * resource.timings.ping_interval {
        Some((
            "its read-lease is shorter than two ping-intervals: clients would wait for answers most of the time",
            "make read-lease longer, or ping-interval shorter",
        ))
    } else if copies.len() != 2 {
        Some((
            "only a resource with two nodes may",
            "use \"fence\" or \"external\"",
        ))
    } else if unsure {
        Some((
            "protocol \"A\" keeps no copy that could take over",
            "use \"B\" or \"C\"",
        ))
    } else if resource.on_peer_loss == OnPeerLoss::Continue {
        Some(("on-peer-loss = \"continue\" asks nobody", "remove that"))
    } else {
        None
    }
}

pub(super) fn read_secret(source: &SecretSource) -> Result<Vec<u8>, ConfigError> {
    let (place, mut bytes) = match source {
        SecretSource::Inline(secret) => ("key `secret`".to_owned(), secret.clone().into_bytes()),
        SecretSource::File(path) => {
            let unreadable = |source| ConfigError::SecretUnreadable {
                path: path.clone(),
                source,
            };
            let mut bytes = Vec::new();
            fs::File::open(path)
                .map_err(unreadable)?
                .take(limits::MAX_SECRET_BYTES as u64 + 2)
                .read_to_end(&mut bytes)
                .map_err(unreadable)?;
            (path.display().to_string(), bytes)
        }
    };
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if !(limits::MIN_SECRET_BYTES..=limits::MAX_SECRET_BYTES).contains(&bytes.len()) {
        return Err(ConfigError::SecretLength {
            place,
            bytes: bytes.len(),
            min: limits::MIN_SECRET_BYTES,
            max: limits::MAX_SECRET_BYTES,
        });
    }
    Ok(bytes)
}

/// Folders that hold for all nodes.
struct Dirs {
    run: PathBuf,
    state: PathBuf,
}

fn secret(at: &Source<'_>, raw: &RawConfig) -> Result<SecretSource, ConfigError> {
    match (&raw.secret, &raw.secret_file) {
        (Some(secret), None) => {
            let source = SecretSource::Inline(secret.get_ref().clone());
            read_secret(&source).map_err(|error| at.bad(secret.span(), error.to_string(), ""))?;
            Ok(source)
        }
        (None, Some(file)) => Ok(SecretSource::File(at.absolute(file.get_ref()))),
        (Some(_), Some(file)) => Err(at.bad(
            file.span(),
            "`secret` and `secret-file` are both there",
            "keep `secret-file`",
        )),
        (None, None) => Err(at.bad(
            raw.cluster.span(),
            "neither `secret-file` nor `secret` is there",
            "add `secret-file = \"/etc/twindisk/secret\"`: peers prove to each other that they know it",
        )),
    }
}

fn nodes(
    at: &Source<'_>,
    raw: &BTreeMap<Text, RawNode>,
    dirs: &Dirs,
) -> Result<Vec<Node>, ConfigError> {
    if raw.is_empty() {
        return Err(at.bad(
            0..0,
            "there are no nodes",
            "add a table [nodes.NAME] with `id` and `address` for each",
        ));
    }
    let mut ids: BTreeMap<i64, &str> = BTreeMap::new();
    let mut addresses: BTreeMap<String, &str> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (name, node) in raw {
        if let Some(other) = ids.insert(*node.id.get_ref(), name.get_ref()) {
            return Err(at.bad(
                node.id.span(),
                format!("{} is the number of node {other} too", node.id.get_ref()),
                "each node needs its own",
            ));
        }
        let node = at.node(name, node, dirs)?;
        if let Some(other) = addresses.insert(node.address.to_string(), name.get_ref()) {
            let span = raw.get(name).map_or(0..0, |raw| raw.address.span());
            return Err(at.bad(
                span,
                format!("{} is the address of node {other} too", node.address),
                "each node needs its own",
            ));
        }
        nodes.push(node);
    }
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

impl Source<'_> {
    fn node(&self, name: &Text, raw: &RawNode, dirs: &Dirs) -> Result<Node, ConfigError> {
        self.name(name, "a node's name")?;
        let id = u8::try_from(*raw.id.get_ref()).map_err(|_| {
            self.bad(
                raw.id.span(),
                format!("{} is no node number", raw.id.get_ref()),
                "use 0 to 255",
            )
        })?;
        let run_dir = raw
            .run_dir
            .as_ref()
            .map_or_else(|| dirs.run.clone(), |dir| self.absolute(dir.get_ref()));
        let state_dir = raw
            .state_dir
            .as_ref()
            .map_or_else(|| dirs.state.clone(), |dir| self.absolute(dir.get_ref()));
        let inside = |given: Option<&Text>, dir: &Path, default: &str| {
            given.map_or_else(|| dir.join(default), |given| self.absolute(given.get_ref()))
        };
        Ok(Node {
            id: NodeId(id),
            address: self.endpoint(raw.address.span(), raw.address.get_ref())?,
            control_socket: inside(raw.control_socket.as_ref(), &run_dir, "control.sock"),
            control_mode: self.mode(raw.control_mode.as_ref(), 0o600)?,
            event_log: inside(raw.event_log.as_ref(), &state_dir, "events.jsonl"),
            event_log_bytes: self.bytes(
                raw.event_log_size.as_ref(),
                16 << 20,
                64 << 10..=1 << 40,
            )?,
            nbd: self.listeners(raw.nbd.as_ref())?,
            nbd_mode: self.mode(raw.nbd_mode.as_ref(), 0o660)?,
            nbd_max_connections: self.count(raw.nbd_max_connections.as_ref(), 256, 1..=65_536)?,
            heartbeat: self.section(raw.heartbeat.as_ref()),
            http: self.http(raw.http.as_ref())?,
            fence: self.section(raw.fence.as_ref()),
            name: name.get_ref().clone(),
            run_dir,
            state_dir,
        })
    }

    fn resource(
        &self,
        name: &Text,
        raw: &RawResource,
        nodes: &[Node],
        judged: bool,
    ) -> Result<Resource, ConfigError> {
        self.name(name, "a resource's name")?;
        let mut members = raw
            .on
            .iter()
            .map(|(node, member)| self.member(name.get_ref(), (node, member), raw, nodes))
            .collect::<Result<Vec<_>, _>>()?;
        members.sort_by_key(|member| member.id);
        if members.is_empty() {
            return Err(self.bad(
                name.span(),
                format!("resource {} is on no node", name.get_ref()),
                "add `on.NODE = { backing = \"...\" }` for each of its nodes",
            ));
        }
        if members.len() > MAX_PEERS + 1 {
            return Err(self.bad(
                name.span(),
                format!("{} replicas are too many", members.len()),
                format!("a resource has at most {}", MAX_PEERS + 1),
            ));
        }
        let arbiter = raw.arbiter.unwrap_or_default();
        Ok(Resource {
            name: name.get_ref().clone(),
            arbiter,
            prefer: self.preferred(raw.prefer.as_deref().unwrap_or_default(), &members)?,
            on_peer_loss: raw.on_peer_loss.unwrap_or_default(),
            on_disk_error: raw.on_disk_error.unwrap_or_default(),
            on_no_quorum: self.no_quorum(raw, arbiter)?,
            timings: self.timings(raw, judged || arbiter == Arbiter::External)?,
            busy_poll: self.busy_poll(raw.busy_poll.as_ref())?,
            buffers: self.buffers(raw)?,
            al_extents: raw
                .al_extents
                .as_ref()
                .map(|given| self.count(Some(given), 0, 16..=1 << 20))
                .transpose()?,
            services: self.section(raw.services.as_ref()),
            after_promote: self.section(raw.after_promote.as_ref()),
            members,
        })
    }

    /// The nodes that are named, in that order, then the others by their numbers.
    fn preferred(&self, named: &[Text], members: &[Member]) -> Result<Vec<NodeId>, ConfigError> {
        let mut order = Vec::new();
        for name in named {
            let member = members.iter().find(|member| member.node == *name.get_ref());
            let Some(id) = member.map(|member| member.id) else {
                let known: Vec<&str> = members.iter().map(|member| &*member.node).collect();
                return Err(self.bad(
                    name.span(),
                    format!(
                        "`prefer` names {:?}, which has no copy of the resource",
                        name.get_ref()
                    ),
                    format!("write some of {}", known.join(", ")),
                ));
            };
            if order.contains(&id) {
                let why = format!("`prefer` names {:?} twice", name.get_ref());
                return Err(self.bad(name.span(), why, "write each node once"));
            }
            order.push(id);
        }
        let others = members.iter().map(|member| member.id);
        let others: Vec<NodeId> = others.filter(|id| !order.contains(id)).collect();
        order.extend(others);
        Ok(order)
    }

    fn member(
        &self,
        resource: &str,
        (name, raw): (&Text, &RawMember),
        of: &RawResource,
        nodes: &[Node],
    ) -> Result<Member, ConfigError> {
        let Some(node) = nodes.iter().find(|node| node.name == *name.get_ref()) else {
            return Err(self.unknown_node(name, nodes));
        };
        let metadata = match raw.metadata.as_ref() {
            None => Some(node.state_dir.join(format!("{resource}.meta"))),
            Some(text) if text.get_ref() == "internal" => None,
            Some(text) => Some(self.absolute(text.get_ref())),
        };
        let backing = self.absolute(raw.backing.get_ref());
        if metadata.as_ref() == Some(&backing) {
            return Err(self.bad(
                raw.metadata
                    .as_ref()
                    .map_or(raw.backing.span(), Spanned::span),
                "backing device and metadata are the same file",
                "name another file, or write metadata = \"internal\"",
            ));
        }
        let listeners = raw.nbd.as_ref().or(of.nbd.as_ref());
        let nbd = if listeners.is_some() {
            self.listeners(listeners)?
        } else if node.nbd.is_empty() {
            vec![NbdAddress::Unix(
                node.run_dir.join(format!("{resource}.sock")),
            )]
        } else {
            Vec::new()
        };
        Ok(Member {
            node: node.name.clone(),
            id: node.id,
            backing,
            io: self.io_mode(raw.io.as_ref())?,
            metadata,
            nbd,
            protocol: raw.protocol.or(of.protocol).unwrap_or_default(),
        })
    }

    fn no_quorum(&self, raw: &RawResource, arbiter: Arbiter) -> Result<OnNoQuorum, ConfigError> {
        let after = self.span(raw.no_quorum_timeout.as_ref(), NO_QUORUM_TIMEOUT)?;
        match raw.on_no_quorum.as_ref() {
            Some(given) if *given.get_ref() == NoQuorum::IoError => {
                if arbiter == Arbiter::External {
                    return Ok(OnNoQuorum::IoError { after });
                }
                Err(self.bad(
                    given.span(),
                    "on-no-quorum = \"io-error\" needs a cluster manager that notices, with arbiter = \"external\"".to_owned(),
                    "leave it out: the agent and a person are told, and I/O waits",
                ))
            }
            _ => Ok(OnNoQuorum::Suspend),
        }
    }

    fn timings(&self, raw: &RawResource, judged: bool) -> Result<Timings, ConfigError> {
        let mut default = Timings::default();
        if judged {
            // Whoever has found a peer dead waits for this connection no longer than for its own heartbeats.
            default.ping_interval = Duration::from_millis(300);
            default.peer_timeout = Duration::from_millis(1500);
            default.read_lease = Duration::from_millis(900);
        }
        let timings = Timings {
            ping_interval: self.span(raw.ping_interval.as_ref(), default.ping_interval)?,
            peer_timeout: self.span(raw.peer_timeout.as_ref(), default.peer_timeout)?,
            request_timeout: self.span(raw.request_timeout.as_ref(), default.request_timeout)?,
            read_lease: self.span(raw.read_lease.as_ref(), default.read_lease)?,
            flush_interval: self.span(raw.flush_interval.as_ref(), default.flush_interval)?,
            stop_timeout: self.span(raw.stop_timeout.as_ref(), default.stop_timeout)?,
        };
        if timings.ping_interval >= timings.peer_timeout {
            let span = raw.peer_timeout.as_ref().or(raw.ping_interval.as_ref());
            return Err(self.bad(
                span.map_or(0..0, Spanned::span),
                format!(
                    "peer-timeout ({}) is not longer than ping-interval ({})",
                    Span(timings.peer_timeout),
                    Span(timings.ping_interval)
                ),
                "a peer would be lost between two pings: make it three times as long",
            ));
        }
        if timings.read_lease > timings.peer_timeout {
            let span = raw.read_lease.as_ref().or(raw.peer_timeout.as_ref());
            return Err(self.bad(
                span.map_or(0..0, Spanned::span),
                format!(
                    "read-lease ({}) is longer than peer-timeout ({})",
                    Span(timings.read_lease),
                    Span(timings.peer_timeout)
                ),
                "a lost primary could still answer reads while its successor takes writes: shorten it",
            ));
        }
        Ok(timings)
    }

    fn buffers(&self, raw: &RawResource) -> Result<BufferSizes, ConfigError> {
        let size = |given: Option<&Spanned<Bytes>>, default: u64, min: u64| {
            self.bytes(given, default, min..=limits::MAX_BUFFER_BYTES)
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let peer = limits::MIN_PEER_BUFFER_BYTES;
        Ok(BufferSizes {
            client_bytes: size(
                raw.client_buffers.as_ref(),
                64 << 20,
                limits::MIN_CLIENT_BUFFER_BYTES,
            )?,
            peer_bytes: size(raw.peer_buffers.as_ref(), 16 << 20, peer)?,
            resync_bytes: size(raw.resync_buffers.as_ref(), 8 << 20, peer)?,
        })
    }

    fn unknown_node(&self, name: &Text, nodes: &[Node]) -> ConfigError {
        let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let hint = nearest(name.get_ref(), known.iter().copied()).map_or_else(
            || format!("there are {}", known.join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        self.bad(
            name.span(),
            format!("there is no node {:?}", name.get_ref()),
            hint,
        )
    }
}
