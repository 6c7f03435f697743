//! A running node: its resources, and what operators ask of them.

use std::{rc::Rc, time::Instant};

use twindisk_core::{Command, CommandReply, ExportState, Refusal, RefusalCode};
use twindisk_format::{
    ids::{NodeId, Slot},
    limits::BLOCK_BYTES,
    superblock::ReceiptKind,
};

use super::{
    auth::Identity,
    control::failed,
    events::Events,
    presence,
    replica::Replica,
    roster::{Absent, Roster},
};
use crate::{
    config::{Config, Node as NodeConfig, Resource},
    protocol::{Answer, Ask, NodeStatus, ReceiptWord, ResourceStatus, VERSION},
};

/// What all tasks of the control plane share.
pub(crate) struct Node {
    /// The configuration of all nodes.
    pub(crate) whole: Config,
    /// That of this one.
    pub(crate) config: NodeConfig,
    /// What it proves to its peers.
    pub(crate) identity: Rc<Identity>,
    /// Its resources.
    pub(crate) roster: Roster,
    /// The event log.
    pub(crate) events: Events,
    /// When the process began.
    pub(crate) since: Instant,
}

impl Node {
    /// Everything, or one resource.
    pub(crate) async fn status(&self, only: Option<&str>) -> Answer {
        let mut resources = Vec::new();
        for replica in self.roster.replicas() {
            if only.is_none_or(|name| name == replica.name()) {
                resources.push(self.resource_status(&replica).await);
            }
        }
        let absent = self.roster.absent().into_iter();
        let meant = absent.filter(|absent| only.is_none_or(|name| name == absent.name));
        resources.extend(meant.map(|absent| self.absent_status(absent)));
        if let (Some(name), true) = (only, resources.is_empty()) {
            return self.no_resource(name);
        }
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        Answer::Status(Box::new(NodeStatus {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.whole.cluster.clone(),
            node: self.config.name.clone(),
            node_id: self.config.id.0,
            pid: std::process::id(),
            uptime_s: self.since.elapsed().as_secs(),
            tls: self.whole.tls,
            resources,
        }))
    }

    /// Carries out a command and says how it went.
    pub(crate) async fn carry_out(self: &Rc<Self>, ask: &Ask) -> Answer {
        let name = ask.resource().unwrap_or_default();
        match ask {
            Ask::Up { .. } => return presence::up(self, name).await,
            Ask::Down { .. } => return presence::down(self, name).await,
            _ => {}
        }
        let Some(replica) = self.roster.find(name) else {
            return self.no_resource(name);
        };
        if let Ask::Switchover { to: Some(to), .. } = ask
            && *to == self.config.name
            && matches!(replica.export(), ExportState::Open { .. })
        {
            return Answer::Refused(Refusal {
                code: RefusalCode::NothingToDo,
                why: format!("{to} is primary already"),
                next: "name another node with --to".to_owned(),
            });
        }
        let commands = match self.commands(&replica, ask) {
            Ok(commands) => commands,
            Err(answer) => return *answer,
        };
        let mut said = Vec::new();
        let mut refused = None;
        for command in commands {
            match replica.command(command).await {
                Ok(reply) => said.push(reply.message),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        match refused {
            // With several peers one may be connected already: what could be done was done.
            Some(refusal) if said.is_empty() => Answer::Refused(refusal),
            Some(refusal) => Answer::Done(CommandReply {
                message: format!("{}; not done: {}", said.join("; "), refusal.why),
            }),
            None => Answer::Done(CommandReply {
                message: said.join("; "),
            }),
        }
    }

    /// What the resource's thread is asked, with names turned into slots.
    fn commands(&self, replica: &Replica, ask: &Ask) -> Result<Vec<Command>, Box<Answer>> {
        let command = match ask {
            Ask::Status { .. } | Ask::Events { .. } | Ask::Up { .. } | Ask::Down { .. } => {
                return Ok(Vec::new());
            }
            Ask::Promote { force, .. } => Command::Promote {
                force: force.clone(),
            },
            Ask::Demote { abandon, .. } => Command::Demote { abandon: *abandon },
            Ask::Switchover { to, .. } => Command::Switchover {
                to: self.target(replica, to.as_deref())?,
            },
            Ask::Connect { peer, .. } => {
                let peers = self.peers(replica, peer.as_deref())?;
                return Ok(peers
                    .into_iter()
                    .map(|peer| Command::Connect { peer })
                    .collect());
            }
            Ask::Disconnect { peer, .. } => {
                let peers = self.peers(replica, peer.as_deref())?;
                return Ok(peers
                    .into_iter()
                    .map(|peer| Command::Disconnect { peer })
                    .collect());
            }
            Ask::Receipt {
                about,
                kind,
                detail,
                met,
                ..
            } => Command::Receipt {
                about: self.one_peer(replica, about.as_deref(), "--about NODE")?,
                // R8: which of them is a right is the replica's to say, by its arbiter.
                kind: match kind {
                    ReceiptWord::Released => ReceiptKind::Release,
                    ReceiptWord::Fenced => ReceiptKind::Fence,
                    ReceiptWord::Granted => ReceiptKind::Arbiter,
                    ReceiptWord::Force => ReceiptKind::Operator,
                },
                detail: detail.clone(),
                met: *met,
            },
            Ask::Outdate { .. } => Command::Outdate,
            Ask::Trust { reason, .. } => Command::Trust {
                reason: reason.clone(),
            },
            Ask::Verify {
                from_bytes,
                length_bytes,
                repair,
                ..
            } => Command::Verify {
                first: blocks("--from", *from_bytes)?,
                blocks: length_bytes
                    .map(|bytes| blocks("--length", bytes))
                    .transpose()?,
                repair: *repair,
            },
            Ask::VerifyStop { .. } => Command::VerifyStop,
            Ask::Resync { peer, full, .. } => Command::Resync {
                peer: self.one_peer(replica, peer.as_deref(), "--peer NODE")?,
                full: *full,
            },
            Ask::Resize { size_bytes, .. } => Command::Resize {
                size_blocks: size_bytes
                    .map(|bytes| blocks("--size", bytes))
                    .transpose()?,
            },
            Ask::Resolve { discard, keep, .. } => Command::Discard {
                peer: self.target(replica, Some(discard))?,
                keep: keep
                    .as_deref()
                    .map(|keep| self.one_peer(replica, Some(keep), "--keep NODE"))
                    .transpose()?,
            },
        };
        Ok(vec![command])
    }

    /// A peer by name; `None` when it is this node, or nobody was named.
    fn target(&self, replica: &Replica, name: Option<&str>) -> Result<Option<Slot>, Box<Answer>> {
        match name {
            None => Ok(None),
            Some(name) if name == self.config.name => Ok(None),
            Some(name) => self.one_peer(replica, Some(name), "").map(Some),
        }
    }

    /// The peer of that name, or the only one.
    fn one_peer(
        &self,
        replica: &Replica,
        name: Option<&str>,
        option: &str,
    ) -> Result<Slot, Box<Answer>> {
        let peers = self.peers(replica, name)?;
        match peers.as_slice() {
            [only] => Ok(*only),
            [] => Err(bad_argument(
                format!("resource {} has no peers", replica.name()),
                "add another node to its configuration".to_owned(),
            )),
            [_, _, ..] => Err(bad_argument(
                format!("resource {} has several peers", replica.name()),
                format!(
                    "say which one is meant with {option}: {}",
                    peer_names(replica)
                ),
            )),
        }
    }

    /// The peer of that name, or all.
    fn peers(&self, replica: &Replica, name: Option<&str>) -> Result<Vec<Slot>, Box<Answer>> {
        let found: Vec<Slot> = replica
            .peers
            .iter()
            .filter(|peer| name.is_none_or(|name| name == peer.name))
            .map(|peer| peer.slot)
            .collect();
        match (name, found.is_empty()) {
            (Some(name), true) => Err(bad_argument(
                format!(
                    "{name:?} is no peer of {} for resource {}",
                    self.config.name,
                    replica.name()
                ),
                format!("its peers are: {}", peer_names(replica)),
            )),
            _ => Ok(found),
        }
    }

    async fn resource_status(&self, replica: &Replica) -> ResourceStatus {
        let mut answer = replica.status().await;
        if let Ok(status) = &mut answer
            && self.whole.sends_in_the_clear()
            && !replica.peers.is_empty()
        {
            // Whoever wants it so goes on seeing it.
            status.warnings.push(IN_THE_CLEAR.to_owned());
        }
        let replica_status = answer.as_ref().ok();
        let binding = replica_status.and_then(|status| status.binding);
        let listeners = self.config.nbd.iter().chain(&replica.member.nbd);
        ResourceStatus {
            name: replica.name().to_owned(),
            backing: replica.member.backing.display().to_string(),
            io: replica.member.io.to_string(),
            metadata: metadata_text(&replica.member),
            nbd: listeners
                .map(|listener| listener.uri(replica.name()))
                .collect(),
            bound_export: binding.map(|binding| binding.export_of(replica.name())),
            running: replica.halted().is_none(),
            down: false,
            why: answer.as_ref().err().cloned(),
            replica: answer.ok(),
        }
    }

    fn absent_status(&self, absent: Absent) -> ResourceStatus {
        let member = self.resource(&absent.name);
        let member = member.and_then(|resource| resource.member(self.config.id));
        ResourceStatus {
            name: absent.name,
            backing: member.map_or_else(String::new, |member| member.backing.display().to_string()),
            io: member.map_or_else(String::new, |member| member.io.to_string()),
            metadata: member.map_or_else(String::new, metadata_text),
            nbd: Vec::new(),
            bound_export: None,
            running: false,
            down: absent.down,
            why: Some(absent.why),
            replica: None,
        }
    }

    /// The resource of that name, if this node has a replica of it.
    pub(crate) fn resource(&self, name: &str) -> Option<&Resource> {
        let mut mine = self.whole.resources_on(&self.config);
        mine.find(|resource| resource.name == name)
    }

    /// Why nothing can be done with a resource that is not at work.
    pub(crate) fn no_resource(&self, name: &str) -> Answer {
        let mut absent = self.roster.absent().into_iter();
        if let Some(absent) = absent.find(|absent| absent.name == name) {
            return failed(
                &format!("resource {name} is not running: {}", absent.why),
                &format!("`twindisk up {name}`, when what kept it from running is put right"),
            );
        }
        let replicas = self.roster.replicas();
        let known: Vec<&str> = replicas.iter().map(|replica| replica.name()).collect();
        failed(
            &format!("node {} serves no resource {name:?}", self.config.name),
            &format!(
                "it serves: {}; a resource that was added to the configuration appears after a restart of `twindisk serve`",
                known.join(", ")
            ),
        )
    }

    /// The replica that a peer means, and that peer in it.
    pub(crate) fn find_peer(
        &self,
        resource: twindisk_format::ids::ResourceId,
        node: NodeId,
    ) -> Option<(Rc<Replica>, usize)> {
        let mut replicas = self.roster.replicas().into_iter();
        let replica = replicas.find(|replica| replica.id == resource)?;
        let index = replica.peers.iter().position(|peer| peer.node == node)?;
        Some((replica, index))
    }
}

const IN_THE_CLEAR: &str =
    "`tls = \"off\"` is unsafe: whoever can alter packets between the nodes alters data unseen";

/// Where a member's metadata lies, for eyes.
pub(crate) fn metadata_text(member: &crate::config::Member) -> String {
    member
        .metadata
        .as_ref()
        .map_or_else(|| "internal".to_owned(), |path| path.display().to_string())
}

fn peer_names(replica: &Replica) -> String {
    let names: Vec<&str> = replica
        .peers
        .iter()
        .map(|peer| peer.name.as_str())
        .collect();
    names.join(", ")
}

fn blocks(option: &str, bytes: u64) -> Result<u64, Box<Answer>> {
    let block = BLOCK_BYTES as u64;
    if bytes.is_multiple_of(block) {
        Ok(bytes / block)
    } else {
        Err(bad_argument(
            format!("{option}: {bytes} bytes are no multiple of 4096"),
            format!(
                "use {} or {}",
                bytes / block * block,
                bytes.div_ceil(block) * block
            ),
        ))
    }
}

fn bad_argument(why: String, next: String) -> Box<Answer> {
    Box::new(Answer::Refused(Refusal {
        code: RefusalCode::BadArgument,
        why,
        next,
    }))
}
