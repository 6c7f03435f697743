//! The file as it is written: one field per key, nothing checked but names and types.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use serde::Deserialize;
use toml::Spanned;
use twindisk_core::{OnDiskError, OnPeerLoss, Protocol};

use super::{
    Arbiter,
    error::{ConfigError, nearest},
    etcd::{ETCD_KEYS, RawEtcd},
    place::locate,
    tls::RawTls,
};
use crate::{
    limits::MAX_CONFIG_BYTES,
    units::{Bytes, Span},
};

pub(super) type Text = Spanned<String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawConfig {
    pub(super) cluster: Text,
    pub(super) secret: Option<Text>,
    pub(super) secret_file: Option<Text>,
    #[serde(default)]
    pub(super) tls: RawTls,
    pub(super) node: Option<Text>,
    pub(super) agent: Option<Spanned<toml::Value>>,
    pub(super) witness: Option<Text>,
    pub(super) etcd: Option<RawEtcd>,
    pub(super) run_dir: Option<Text>,
    pub(super) state_dir: Option<Text>,
    #[serde(default)]
    pub(super) nodes: BTreeMap<Text, RawNode>,
    #[serde(default)]
    pub(super) resource: BTreeMap<Text, RawResource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawNode {
    pub(super) id: Spanned<i64>,
    pub(super) address: Text,
    pub(super) run_dir: Option<Text>,
    pub(super) state_dir: Option<Text>,
    pub(super) control_socket: Option<Text>,
    pub(super) control_mode: Option<Text>,
    pub(super) event_log: Option<Text>,
    pub(super) event_log_size: Option<Spanned<Bytes>>,
    pub(super) nbd: Option<Spanned<OneOrMany>>,
    pub(super) nbd_mode: Option<Text>,
    pub(super) nbd_max_connections: Option<Spanned<i64>>,
    pub(super) heartbeat: Option<Spanned<toml::Value>>,
    pub(super) http: Option<Text>,
    pub(super) fence: Option<Spanned<toml::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawResource {
    pub(super) protocol: Option<Protocol>,
    pub(super) arbiter: Option<Arbiter>,
    pub(super) prefer: Option<Vec<Text>>,
    pub(super) on_peer_loss: Option<OnPeerLoss>,
    pub(super) on_disk_error: Option<OnDiskError>,
    pub(super) on_no_quorum: Option<Spanned<NoQuorum>>,
    pub(super) no_quorum_timeout: Option<Spanned<Span>>,
    pub(super) ping_interval: Option<Spanned<Span>>,
    pub(super) peer_timeout: Option<Spanned<Span>>,
    pub(super) request_timeout: Option<Spanned<Span>>,
    pub(super) read_lease: Option<Spanned<Span>>,
    pub(super) flush_interval: Option<Spanned<Span>>,
    pub(super) stop_timeout: Option<Spanned<Span>>,
    pub(super) busy_poll: Option<Text>,
    pub(super) client_buffers: Option<Spanned<Bytes>>,
    pub(super) peer_buffers: Option<Spanned<Bytes>>,
    pub(super) resync_buffers: Option<Spanned<Bytes>>,
    pub(super) al_extents: Option<Spanned<i64>>,
    pub(super) nbd: Option<Spanned<OneOrMany>>,
    pub(super) services: Option<Spanned<toml::Value>>,
    pub(super) after_promote: Option<Spanned<toml::Value>>,
    #[serde(default)]
    pub(super) on: BTreeMap<Text, RawMember>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RawMember {
    pub(super) backing: Text,
    pub(super) io: Option<Text>,
    pub(super) metadata: Option<Text>,
    pub(super) nbd: Option<Spanned<OneOrMany>>,
    pub(super) protocol: Option<Protocol>,
}

/// What a primary does that stays suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoQuorum {
    Suspend,
    IoError,
}

/// A string, or an array of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(super) fn iter(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::One(one) => std::slice::from_ref(one).iter(),
            Self::Many(many) => many.iter(),
        }
    }
}

/// Every key of the file by its section, for the reference's test.
#[must_use]
pub fn keys() -> Vec<(&'static str, &'static [&'static str])> {
    vec![
        ("top", TOP_KEYS),
        ("etcd", ETCD_KEYS),
        ("nodes.NAME", NODE_KEYS),
        ("resource.NAME", RESOURCE_KEYS),
        ("resource.NAME.on.NODE", MEMBER_KEYS),
    ]
}

const TOP_KEYS: &[&str] = &[
    "cluster",
    "secret",
    "secret-file",
    "tls",
    "node",
    "agent",
    "witness",
    "etcd",
    "run-dir",
    "state-dir",
    "nodes",
    "resource",
];
const NODE_KEYS: &[&str] = &[
    "id",
    "address",
    "run-dir",
    "state-dir",
    "control-socket",
    "control-mode",
    "event-log",
    "event-log-size",
    "nbd",
    "nbd-mode",
    "nbd-max-connections",
    "heartbeat",
    "http",
    "fence",
];
const RESOURCE_KEYS: &[&str] = &[
    "protocol",
    "arbiter",
    "prefer",
    "on-peer-loss",
    "on-disk-error",
    "on-no-quorum",
    "no-quorum-timeout",
    "ping-interval",
    "peer-timeout",
    "request-timeout",
    "read-lease",
    "flush-interval",
    "stop-timeout",
    "busy-poll",
    "client-buffers",
    "peer-buffers",
    "resync-buffers",
    "al-extents",
    "nbd",
    "services",
    "after-promote",
    "on",
];
const MEMBER_KEYS: &[&str] = &["backing", "io", "metadata", "nbd", "protocol"];

/// The text of a file of sensible length.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    let bytes = file
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if bytes as u64 > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLong {
            path: path.to_owned(),
            bytes: bytes as u64,
        });
    }
    Ok(text)
}

/// Names and types.
pub(super) fn parse(path: &Path, text: &str) -> Result<RawConfig, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let (line, key) = locate(text, error.span());
        let (message, hint) = explain(error.message());
        ConfigError::Bad {
            path: path.to_owned(),
            line,
            key,
            message,
            hint,
        }
    })
}

/// serde's sentence in ours, with the key that was probably meant.
pub(super) fn explain(message: &str) -> (String, String) {
    let mut names = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field") {
        let wrong = names.next().unwrap_or_default();
        let known: Vec<&str> = names.collect();
        let hint = nearest(wrong, known.iter().copied()).map_or_else(
            || format!("the keys here are {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return (format!("there is no key `{wrong}` here"), hint);
    }
    if message.starts_with("unknown variant") {
        let wrong = names.next().unwrap_or_default();
        let known: Vec<&str> = names.collect();
        return (
            format!("{wrong:?} is not known here"),
            format!("use one of {}", known.join(", ")),
        );
    }
    if message.starts_with("missing field") {
        let key = names.next().unwrap_or_default();
        return (format!("the key `{key}` is missing"), "add it".to_owned());
    }
    let message = message.trim().replace('\n', ", ");
    (message, String::new())
}
