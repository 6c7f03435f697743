//! A node at work: one process, a thread per resource, and this control plane on a thread of its own.

mod auth;
mod control;
mod events;
mod exports;
mod listeners;
mod nbd;
mod node;
mod peers;
mod presence;
mod replica;
mod roster;
mod sockets;
mod start;
mod stdio;
mod strangers;
mod systemd;
mod tls;

use std::{fs, io, path::PathBuf, rc::Rc, time::Instant};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use twindisk_core::Command;
use twindisk_engine::ring_refused;

pub use sockets::BindError;

use self::{
    auth::Identity,
    events::{Events, Happened},
    listeners::Listeners,
    node::Node,
    roster::{Presence, Roster},
    systemd::Inherited,
    tls::Tls,
};
use crate::{
    config::{Config, ConfigError, Node as NodeConfig},
    limits,
};

/// How a node is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// One NBD client on standard input and output; the process ends with it.
    pub stdio: bool,
    /// Every resource becomes primary before the first client is let in. For scratch disks without peers.
    pub promote: bool,
    /// No control socket, no event log, no replication listener: nothing outlives the process.
    pub ephemeral: bool,
}

/// Why a node can't be served, or why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A socket can't be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A folder or file can't be made.
    #[error("{}: {source}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No resource could be started.
    #[error("no resource of node {node} could be started:{}", list(why))]
    NothingRuns {
        /// Which node.
        node: String,
        /// The metadata of at least one can't be trusted.
        damaged: bool,
        /// Each resource and its reason.
        why: Vec<(String, String)>,
    },
    /// The kernel gives no ring.
    #[error("{}", ring_refused(.0))]
    Ring(io::Error),
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A scratch disk did not come up.
    #[error("resource {resource} could not be made primary: {why}")]
    NotPromoted {
        /// Which.
        resource: String,
        /// Why.
        why: String,
    },
    /// Everything stopped though nobody asked for it.
    #[error("every replica of node {node} has stopped:{}", list(why))]
    AllHalted {
        /// Which node.
        node: String,
        /// Each resource and its reason.
        why: Vec<(String, String)>,
    },
}

/// Serves `node` until it is told to stop (SIGTERM, SIGINT) or nothing is left to serve.
///
/// # Errors
/// When it could not begin, or everything stopped by itself.
pub fn run(config: &Config, node: &NodeConfig, options: Options) -> Result<(), ServeError> {
    // Before anything else is opened: these descriptors have fixed numbers.
    let inherited = systemd::inherited().map_err(|source| ServeError::System {
        what: "taking over inherited sockets",
        source,
    })?;
    // Not `tokio_uring::start`, which panics where the kernel gives no ring.
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder()).map_err(ServeError::Ring)?;
    let result =
        runtime.block_on(async { Box::pin(serve(config, node, options, inherited)).await });
    systemd::notify("STOPPING=1");
    result
}

async fn serve(
    config: &Config,
    node: &NodeConfig,
    options: Options,
    inherited: Vec<Inherited>,
) -> Result<(), ServeError> {
    let tls = Tls::of(config.tls).map_err(|source| ServeError::System {
        what: "making the key for TLS",
        source,
    })?;
    let identity = Rc::new(Identity::new(config, node, tls)?);
    let events = Events::new(&node.name);
    let mut log = None;
    if !options.ephemeral {
        make_folder(&node.run_dir)?;
        make_folder(&node.state_dir)?;
        log = Some(events.write_to(node).map_err(at(&node.event_log))?);
    }
    let mut listeners = Listeners::bind(config, node, inherited, !options.ephemeral).await?;
    let shared = begin(config, node, &events, identity)?;
    for replica in shared.roster.replicas() {
        presence::attend(&shared, &replica);
    }
    if let Some(peers) = listeners.take_peers() {
        tokio::task::spawn_local(peers::accept(peers, Rc::clone(&shared)));
    }
    if options.promote {
        promote(&shared).await?;
    }
    listeners.accept_clients(&shared);
    listeners.accept_operators(&shared);
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let pid = std::process::id();
    events.emit(None, &Happened::Started { pid, program });
    systemd::notify("READY=1");

    let end = until_end(&shared, options.stdio).await?;
    if let End::Asked(why) = &end {
        events.emit(None, &Happened::Stopping { why: why.clone() });
    }
    systemd::notify("STOPPING=1");
    let why = halted(&shared);
    stop(&shared).await;
    listeners.remove_paths();
    events.close();
    if let Some(log) = log {
        let _ = timeout(limits::STOP_GRACE, log).await;
    }
    match end {
        End::Asked(_) => Ok(()),
        End::AllHalted => Err(ServeError::AllHalted {
            node: node.name.clone(),
            why,
        }),
    }
}

/// Starts every resource; one that can't be started does not keep the others from it.
fn begin(
    config: &Config,
    node: &NodeConfig,
    events: &Events,
    identity: Rc<Identity>,
) -> Result<Rc<Node>, ServeError> {
    let shared = Rc::new(Node {
        whole: config.clone(),
        config: node.clone(),
        identity,
        roster: Roster::default(),
        events: events.clone(),
        since: Instant::now(),
    });
    let mut damaged = false;
    for resource in config.resources_on(node) {
        if let Err(not_started) = presence::begin(&shared, resource) {
            damaged |= not_started.damaged;
            let why = not_started.why;
            let halted = Happened::Halted { why: why.clone() };
            events.emit(Some(&resource.name), &halted);
            tracing::error!(resource = resource.name, why, "cannot start");
            let absent = Presence::NotStarted(why);
            shared.roster.set(&resource.name, absent);
        }
    }
    if shared.roster.replicas().is_empty() {
        let absent = shared.roster.absent().into_iter();
        return Err(ServeError::NothingRuns {
            node: node.name.clone(),
            damaged,
            why: absent.map(|absent| (absent.name, absent.why)).collect(),
        });
    }
    Ok(shared)
}

async fn promote(node: &Node) -> Result<(), ServeError> {
    for replica in node.roster.replicas() {
        let promoted = replica.command(Command::Promote { force: None }).await;
        promoted.map_err(|refusal| ServeError::NotPromoted {
            resource: replica.name().to_owned(),
            why: format!("{}; {}", refusal.why, refusal.next),
        })?;
        replica.until_open().await;
    }
    Ok(())
}

/// Why the node ends.
enum End {
    Asked(String),
    AllHalted,
}

async fn until_end(node: &Rc<Node>, with_stdio: bool) -> Result<End, ServeError> {
    let signals = |source| ServeError::System {
        what: "listening for signals",
        source,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let (_never, mut client_gone) = oneshot::channel();
    if with_stdio {
        let (socket, ended) = stdio::join().map_err(|source| ServeError::System {
            what: "joining standard input and output",
            source,
        })?;
        client_gone = ended;
        let served = nbd::Served::all_of(node);
        tokio::task::spawn_local(async move {
            if let Err(error) = nbd::negotiate(socket, &served).await {
                tracing::info!(%error, "the client on standard input did not get through");
            }
        });
    }
    Ok(tokio::select! {
        _ = terminate.recv() => End::Asked("SIGTERM".to_owned()),
        _ = interrupt.recv() => End::Asked("SIGINT".to_owned()),
        _ = &mut client_gone => End::Asked("the client on standard input has gone".to_owned()),
        () = node.roster.until_over() => End::AllHalted,
    })
}

/// Stops every replica in good order; one that does not get there in time is left behind.
async fn stop(node: &Rc<Node>) {
    let all = node.roster.take_all();
    let stopping: Vec<_> = all
        .iter()
        .map(|(replica, _)| {
            let replica = Rc::clone(replica);
            tokio::task::spawn_local(async move {
                if !presence::stopped_in_order(&replica).await {
                    tracing::error!(
                        resource = replica.name(),
                        "the replica did not stop in time; the process ends without it, which its peers see as a crash",
                    );
                }
            })
        })
        .collect();
    for one in stopping {
        let _ = one.await;
    }
    for (replica, thread) in all {
        // A thread that has said its last word ends at once; another one must not hold up the process.
        if replica.halted().is_some() {
            thread.join();
        }
    }
}

fn halted(node: &Node) -> Vec<(String, String)> {
    let replicas = node.roster.replicas();
    replicas
        .iter()
        .map(|replica| {
            (
                replica.name().to_owned(),
                replica.halted().unwrap_or_default(),
            )
        })
        .collect()
}

fn list(why: &[(String, String)]) -> String {
    why.iter()
        .map(|(resource, why)| format!("\n  {resource}: {why}"))
        .collect()
}

fn make_folder(path: &std::path::Path) -> Result<(), ServeError> {
    fs::create_dir_all(path).map_err(at(path))
}

fn at(path: &std::path::Path) -> impl Fn(io::Error) -> ServeError + use<> {
    let path = path.to_owned();
    move |source| ServeError::Path {
        path: path.clone(),
        source,
    }
}
