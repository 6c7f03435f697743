//! What is said on the control socket: one JSON object a line, a request and its answer (or, for `events`, a stream).
//!
//! ```text
//! > {"version":1,"command":"promote","resource":"r0"}
//! < {"refused":{"code":"no-right","why":"…","next":"…"}}
//! ```
//!
//! Field names are stable: scripts and monitoring read them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twindisk_core::{CommandReply, Refusal, Status};

use crate::config::TlsMode;

/// Version of this protocol. A request of another version is refused by name.
pub const VERSION: u32 = 1;

/// A request with its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of whoever asks.
    pub version: u32,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// What can be asked. Nodes and resources go by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "command",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case"
)]
pub enum Ask {
    /// Everything about the node, or about one resource.
    Status {
        /// Only this one.
        #[serde(default)]
        resource: Option<String>,
    },
    /// Events from now on, after the last `recent` ones.
    Events {
        /// Only of this resource.
        #[serde(default)]
        resource: Option<String>,
        /// How many of the past first.
        #[serde(default)]
        recent: usize,
        /// Go on with what happens from now on.
        #[serde(default)]
        follow: bool,
    },
    /// Start the replica of a resource, when it is not at work.
    Up {
        /// Of this resource.
        resource: String,
    },
    /// Stop it in good order, suspended or not; the process goes on serving the others.
    Down {
        /// Of this resource.
        resource: String,
    },
    /// Become primary.
    Promote {
        /// Of this resource.
        resource: String,
        /// An operator's reason to do it without a receipt.
        #[serde(default)]
        force: Option<String>,
    },
    /// Become standby.
    Demote {
        /// Of this resource.
        resource: String,
        /// Drop suspended requests.
        #[serde(default)]
        abandon: bool,
    },
    /// Hand the primary role over.
    Switchover {
        /// Of this resource.
        resource: String,
        /// To this node.
        #[serde(default)]
        to: Option<String>,
    },
    /// Connect to peers.
    Connect {
        /// Of this resource.
        resource: String,
        /// Only to this one.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Part from peers in good order.
    Disconnect {
        /// Of this resource.
        resource: String,
        /// Only from this one.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Store a right.
    Receipt {
        /// Of this resource.
        resource: String,
        /// The node it is about; may be left out when there is only one peer.
        #[serde(default)]
        about: Option<String>,
        /// What proof.
        kind: ReceiptWord,
        /// What was done, by whom.
        detail: String,
        /// `met` of the peer's status when that was done: refused if the two were connected since.
        #[serde(default)]
        met: Option<u64>,
    },
    /// Record this standby as Outdated.
    Outdate {
        /// Of this resource.
        resource: String,
    },
    /// A person vouches that no newer copy than this Consistent one will come back.
    Trust {
        /// Of this resource.
        resource: String,
        /// Their reason.
        reason: String,
    },
    /// Compare with in-sync peers.
    Verify {
        /// Of this resource.
        resource: String,
        /// First byte, a multiple of 4096.
        #[serde(default)]
        from_bytes: u64,
        /// Bytes, a multiple of 4096; to the end when left out.
        #[serde(default)]
        length_bytes: Option<u64>,
        /// Rewrite differing blocks on the peer.
        #[serde(default)]
        repair: bool,
    },
    /// Stop a verify.
    VerifyStop {
        /// Of this resource.
        resource: String,
    },
    /// Bring a peer up to date from here.
    Resync {
        /// Of this resource.
        resource: String,
        /// The peer.
        #[serde(default)]
        peer: Option<String>,
        /// Compare everything.
        #[serde(default)]
        full: bool,
    },
    /// Grow on every node.
    Resize {
        /// Of this resource.
        resource: String,
        /// A multiple of 4096; as large as possible when left out.
        #[serde(default)]
        size_bytes: Option<u64>,
    },
    /// End a split brain.
    Resolve {
        /// Of this resource.
        resource: String,
        /// The node whose changes are given up.
        discard: String,
        /// The node whose data is kept, when there are several.
        #[serde(default)]
        keep: Option<String>,
    },
}

/// A receipt as an operator names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReceiptWord {
    /// The node recorded itself Outdated.
    Released,
    /// The node was powered off, and read as off.
    Fenced,
    /// The arbiter has granted the next term. Only agents say so.
    Granted,
    /// A person vouches.
    Force,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is done.
    Done(CommandReply),
    /// The state forbids it: why, and what would make it possible.
    Refused(Refusal),
    /// It could not be asked.
    Error(Failed),
    /// The status.
    Status(Box<NodeStatus>),
    /// One event of a stream.
    Event(EventLine),
    /// The stream of past events has ended, and no more was asked for.
    End {},
}

/// Why a request could not even be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What is wrong.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// A node and its resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeStatus {
    /// Version of this format.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The node's number.
    pub node_id: u8,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// What protects the links between the nodes; an older version has nothing.
    #[serde(default)]
    pub tls: TlsMode,
    /// Each resource.
    pub resources: Vec<ResourceStatus>,
}

/// A resource on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// Its backing device.
    pub backing: String,
    /// How its data is read and written: `direct` or `cached`.
    pub io: String,
    /// Its metadata; `internal` when at the tail of the backing device.
    pub metadata: String,
    /// Where clients reach it while it is primary.
    pub nbd: Vec<String>,
    /// The name `RESOURCE@TERM-ID` by which a client has the device only as long as no other node writes to it: for
    /// clients that connect again by themselves. `None` when there is no such role, or it is not known.
    #[serde(default)]
    pub bound_export: Option<String>,
    /// Clients that were handed over and have not been seen to leave are not counted: this is whether it runs.
    pub running: bool,
    /// It was taken down on demand.
    #[serde(default)]
    pub down: bool,
    /// Why it does not run or does not answer.
    pub why: Option<String>,
    /// What it says of itself.
    pub replica: Option<Status>,
}

/// One event: when, where, what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// RFC 3339, UTC, milliseconds.
    pub time: String,
    /// The node that saw it.
    pub node: String,
    /// The resource it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
    /// `event` names its kind; the other fields belong to it.
    #[serde(flatten)]
    pub event: Map<String, Value>,
}

impl Ask {
    /// The resource that a command is about.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        match self {
            Self::Status { resource } | Self::Events { resource, .. } => resource.as_deref(),
            Self::Up { resource }
            | Self::Down { resource }
            | Self::Promote { resource, .. }
            | Self::Demote { resource, .. }
            | Self::Switchover { resource, .. }
            | Self::Connect { resource, .. }
            | Self::Disconnect { resource, .. }
            | Self::Receipt { resource, .. }
            | Self::Outdate { resource }
            | Self::Trust { resource, .. }
            | Self::Verify { resource, .. }
            | Self::VerifyStop { resource }
            | Self::Resync { resource, .. }
            | Self::Resize { resource, .. }
            | Self::Resolve { resource, .. } => Some(resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use twindisk_core::RefusalCode;

    use super::*;

    #[test]
    fn requests_are_one_flat_object() {
        let request = Request {
            version: VERSION,
            ask: Ask::Promote {
                resource: "r0".into(),
                force: None,
            },
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"command":"promote","resource":"r0","force":null}"#
        );
        let short = r#"{"version":1,"command":"promote","resource":"r0"}"#;
        assert_eq!(serde_json::from_str::<Request>(short).unwrap(), request);
        assert!(serde_json::from_str::<Request>(r#"{"version":1,"command":"promot"}"#).is_err());
    }

    #[test]
    fn answers_keep_their_names() {
        let answer = Answer::Refused(Refusal {
            code: RefusalCode::NoRight,
            why: "w".into(),
            next: "n".into(),
        });
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            r#"{"refused":{"code":"no-right","why":"w","next":"n"}}"#
        );
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }

    #[test]
    fn counts_that_an_older_version_does_not_know_are_nought() {
        let old = r#"{"requests":1,"oldest-ms":2,"writes":3}"#;
        let activity: twindisk_core::Activity = serde_json::from_str(old).unwrap();
        assert_eq!((activity.writes, activity.written_bytes), (3, 0));
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let text = r#"{"time":"t","node":"alpha","resource":"r0","event":"role","role":"primary","term":3}"#;
        let line: EventLine = serde_json::from_str(text).unwrap();
        assert_eq!(line.event.get("term"), Some(&Value::from(3)));
        assert_eq!(
            serde_json::to_value(&line).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }
}
