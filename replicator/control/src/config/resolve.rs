//! From what is written to what is meant: references followed, ranges checked, defaults filled in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::Spanned;
use twindisk_core::Timings;
use twindisk_engine::{BufferSizes, BusyPoll};
use twindisk_format::{ids::NodeId, limits::MAX_PEERS};

use super::{
    Config, ConfigError, Endpoint, Member, NbdAddress, Node, Resource, SecretSource,
    error::nearest,
    place::locate,
    raw::{OneOrMany, RawConfig, RawMember, RawNode, RawResource, Text},
};
use crate::{
    limits,
    units::{Bytes, Span},
};

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
        return Err(at.bad(0..0, format!("{} resources are too many", raw.resource.len()), format!("at most {}", limits::MAX_RESOURCES)));
    }
    let resources = raw
        .resource
        .iter()
        .map(|(name, resource)| at.resource(name, resource, &nodes))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(node) = &raw.node
        && !nodes.iter().any(|known| known.name == *node.get_ref())
    {
        return Err(at.unknown_node(node, &nodes));
    }
    Ok(Config {
        path: path.to_owned(),
        cluster: raw.cluster.into_inner(),
        secret,
        node: raw.node.map(Spanned::into_inner),
        nodes,
        resources,
    })
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

/// The file that errors name.
struct Source<'t> {
    path: &'t Path,
    text: &'t str,
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
        return Err(at.bad(0..0, "there are no nodes", "add a table [nodes.NAME] with `id` and `address` for each"));
    }
    let mut ids: BTreeMap<i64, &str> = BTreeMap::new();
    let mut addresses: BTreeMap<String, &str> = BTreeMap::new();
    let mut nodes = Vec::new();
    for (name, node) in raw {
        if let Some(other) = ids.insert(*node.id.get_ref(), name.get_ref()) {
            return Err(at.bad(node.id.span(), format!("{} is the number of node {other} too", node.id.get_ref()), "each node needs its own"));
        }
        let node = at.node(name, node, dirs)?;
        if let Some(other) = addresses.insert(node.address.to_string(), name.get_ref()) {
            let span = raw.get(name).map_or(0..0, |raw| raw.address.span());
            return Err(at.bad(span, format!("{} is the address of node {other} too", node.address), "each node needs its own"));
        }
        nodes.push(node);
    }
    nodes.sort_by_key(|node| node.id);
    Ok(nodes)
}

impl Source<'_> {
    fn bad(
        &self,
        span: std::ops::Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> ConfigError {
        let (line, key) = locate(self.text, Some(span));
        ConfigError::Bad {
            path: self.path.to_owned(),
            line,
            key,
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn node(&self, name: &Text, raw: &RawNode, dirs: &Dirs) -> Result<Node, ConfigError> {
        self.name(name, "a node's name")?;
        let id = u8::try_from(*raw.id.get_ref()).map_err(|_| {
            self.bad(raw.id.span(), format!("{} is no node number", raw.id.get_ref()), "use 0 to 255")
        })?;
        let run_dir = raw.run_dir.as_ref().map_or_else(|| dirs.run.clone(), |dir| self.absolute(dir.get_ref()));
        let state_dir = raw.state_dir.as_ref().map_or_else(|| dirs.state.clone(), |dir| self.absolute(dir.get_ref()));
        let inside = |given: Option<&Text>, dir: &Path, default: &str| {
            given.map_or_else(|| dir.join(default), |given| self.absolute(given.get_ref()))
        };
        Ok(Node {
            id: NodeId(id),
            address: self.endpoint(&raw.address, raw.address.get_ref())?,
            control_socket: inside(raw.control_socket.as_ref(), &run_dir, "control.sock"),
            control_mode: self.mode(raw.control_mode.as_ref(), 0o600)?,
            event_log: inside(raw.event_log.as_ref(), &state_dir, "events.jsonl"),
            event_log_bytes: self.bytes(raw.event_log_size.as_ref(), 16 << 20, 64 << 10..=1 << 40)?,
            nbd: self.listeners(raw.nbd.as_ref())?,
            nbd_mode: self.mode(raw.nbd_mode.as_ref(), 0o660)?,
            nbd_max_connections: self.count(raw.nbd_max_connections.as_ref(), 256, 1..=65_536)?,
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
    ) -> Result<Resource, ConfigError> {
        self.name(name, "a resource's name")?;
        let mut members = raw
            .on
            .iter()
            .map(|(node, member)| self.member(name.get_ref(), (node, member), raw, nodes))
            .collect::<Result<Vec<_>, _>>()?;
        members.sort_by_key(|member| member.id);
        if members.is_empty() {
            return Err(self.bad(name.span(), format!("resource {} is on no node", name.get_ref()), "add `on.NODE = { backing = \"...\" }` for each of its nodes"));
        }
        if members.len() > MAX_PEERS + 1 {
            return Err(self.bad(name.span(), format!("{} replicas are too many", members.len()), format!("a resource has at most {}", MAX_PEERS + 1)));
        }
        Ok(Resource {
            name: name.get_ref().clone(),
            on_peer_loss: raw.on_peer_loss.unwrap_or_default(),
            on_disk_error: raw.on_disk_error.unwrap_or_default(),
            timings: self.timings(raw)?,
            busy_poll: self.busy_poll(raw.busy_poll.as_ref())?,
            buffers: self.buffers(raw)?,
            al_extents: self.count(raw.al_extents.as_ref(), DEFAULT_AL_EXTENTS, 16..=1 << 20)?,
            members,
        })
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
                raw.metadata.as_ref().map_or(raw.backing.span(), Spanned::span),
                "backing device and metadata are the same file",
                "name another file, or write metadata = \"internal\"",
            ));
        }
        let listeners = raw.nbd.as_ref().or(of.nbd.as_ref());
        let nbd = if listeners.is_some() {
            self.listeners(listeners)?
        } else if node.nbd.is_empty() {
            vec![NbdAddress::Unix(node.run_dir.join(format!("{resource}.sock")))]
        } else {
            Vec::new()
        };
        Ok(Member {
            node: node.name.clone(),
            id: node.id,
            backing,
            metadata,
            nbd,
            protocol: raw.protocol.or(of.protocol).unwrap_or_default(),
        })
    }

    fn timings(&self, raw: &RawResource) -> Result<Timings, ConfigError> {
        let default = Timings::default();
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

    fn span(&self, given: Option<&Spanned<Span>>, default: Duration) -> Result<Duration, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        let value = given.get_ref().0;
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
        if !(min..=max).contains(&value) {
            return Err(self.bad(given.span(), format!("{} is out of range", Span(value)), "use 1ms to 24h"));
        }
        Ok(value)
    }

    fn busy_poll(&self, given: Option<&Text>) -> Result<BusyPoll, ConfigError> {
        let Some(given) = given else {
            return Ok(BusyPoll::Auto);
        };
        match given.get_ref().as_str() {
            "auto" => Ok(BusyPoll::Auto),
            "off" => Ok(BusyPoll::Off),
            text => {
                let bad = |why: String| {
                    self.bad(given.span(), why, "use \"auto\", \"off\" or a time up to 10ms like \"50us\"")
                };
                let span: Span = text.parse().map_err(|error| bad(format!("{error}")))?;
                if span.0 > Duration::from_millis(10) {
                    return Err(bad(format!("{span} of spinning is too long")));
                }
                Ok(BusyPoll::For(span.0))
            }
        }
    }

    fn buffers(&self, raw: &RawResource) -> Result<BufferSizes, ConfigError> {
        let size = |given: Option<&Spanned<Bytes>>, default: u64, min: u64| {
            self.bytes(given, default, min..=limits::MAX_BUFFER_BYTES)
                .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let peer = limits::MIN_PEER_BUFFER_BYTES;
        Ok(BufferSizes {
            client_bytes: size(raw.client_buffers.as_ref(), 96 << 20, limits::MIN_CLIENT_BUFFER_BYTES)?,
            peer_bytes: size(raw.peer_buffers.as_ref(), 64 << 20, peer)?,
            resync_bytes: size(raw.resync_buffers.as_ref(), 16 << 20, peer)?,
        })
    }

    fn bytes(
        &self,
        given: Option<&Spanned<Bytes>>,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        let value = given.get_ref().0;
        if !range.contains(&value) {
            return Err(self.bad(
                given.span(),
                format!("{} is out of range", Bytes(value)),
                format!("use {} to {}", Bytes(*range.start()), Bytes(*range.end())),
            ));
        }
        Ok(value)
    }

    fn count(
        &self,
        given: Option<&Spanned<i64>>,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        usize::try_from(*given.get_ref())
            .ok()
            .filter(|value| range.contains(value))
            .ok_or_else(|| {
                self.bad(
                    given.span(),
                    format!("{} is out of range", given.get_ref()),
                    format!("use {} to {}", range.start(), range.end()),
                )
            })
    }

    fn mode(&self, given: Option<&Text>, default: u32) -> Result<u32, ConfigError> {
        let Some(given) = given else {
            return Ok(default);
        };
        u32::from_str_radix(given.get_ref(), 8)
            .ok()
            .filter(|mode| mode & !0o777 == 0)
            .ok_or_else(|| self.bad(given.span(), format!("{:?} are no permission bits", given.get_ref()), "write them like \"0660\""))
    }

    fn listeners(&self, given: Option<&OneOrMany>) -> Result<Vec<NbdAddress>, ConfigError> {
        let mut seen = BTreeSet::new();
        let mut listeners = Vec::new();
        for text in given.iter().flat_map(|given| given.iter()) {
            if !seen.insert(text.get_ref()) {
                return Err(self.bad(text.span(), format!("{:?} is there twice", text.get_ref()), "remove one"));
            }
            listeners.push(self.listener(text)?);
        }
        Ok(listeners)
    }

    fn listener(&self, text: &Text) -> Result<NbdAddress, ConfigError> {
        let given = text.get_ref();
        if let Some(path) = given.strip_prefix("unix:") {
            return Ok(NbdAddress::Unix(self.absolute(path)));
        }
        if let Some(endpoint) = given.strip_prefix("tcp:") {
            return self.endpoint(text, endpoint).map(NbdAddress::Tcp);
        }
        Err(self.bad(
            text.span(),
            format!("{given:?} is no place to listen at"),
            "write \"unix:/run/twindisk/NAME.sock\" or \"tcp:HOST:10809\"",
        ))
    }

    fn endpoint(&self, text: &Text, given: &str) -> Result<Endpoint, ConfigError> {
        let bad = || {
            self.bad(text.span(), format!("{given:?} is no address with a port"), "write \"10.0.0.1:7800\" or \"[fd00::1]:7800\"")
        };
        let (host, port) = given.rsplit_once(':').ok_or_else(bad)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host);
        if host.is_empty() || (bracketed.is_none() && host.contains(':')) {
            return Err(bad());
        }
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
        Ok(Endpoint {
            host: host.to_owned(),
            port,
        })
    }

    /// Names stand in paths, URIs and on the wire: letters, digits, `-`, `_` and `.`, not at the front.
    fn name(&self, name: &Text, what: &str) -> Result<(), ConfigError> {
        let text = name.get_ref();
        let fits = (1..=limits::MAX_NAME_BYTES).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if fits {
            return Ok(());
        }
        Err(self.bad(
            name.span(),
            format!("{text:?} cannot be {what}"),
            format!("use letters, digits, `-`, `_` and `.`, at most {} of them", limits::MAX_NAME_BYTES),
        ))
    }

    fn unknown_node(&self, name: &Text, nodes: &[Node]) -> ConfigError {
        let known: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let hint = nearest(name.get_ref(), known.iter().copied())
            .map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean {near:?}?"));
        self.bad(name.span(), format!("there is no node {:?}", name.get_ref()), hint)
    }

    fn path_or(&self, given: Option<&Text>, default: &str) -> PathBuf {
        given.map_or_else(|| PathBuf::from(default), |given| self.absolute(given.get_ref()))
    }

    /// Relative paths start from the folder of the file, so that they mean the same wherever a command is run.
    fn absolute(&self, path: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let joined = folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

/// 4 GiB hot: a database's busy part, resynced in seconds after a crash.
const DEFAULT_AL_EXTENTS: usize = 1024;
