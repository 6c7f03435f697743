//! What brings news to the core: heartbeats, replicas, fence devices.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, SystemTime},
};

use tokio::{net::UdpSocket, sync::mpsc, time::interval};
use tracing::debug;
use twindisk_fencing_core::{
    Agent, Level, Looking, PathIndex, PeerIndex, Power, ReplicaView, ResourceIndex, Table,
};
use twindisk_stonith::Fencer;
use twindisk_view as view;

use crate::{
    config::Settings,
    heartbeat::{MAX_BYTES, Sealer, is_of_another_version},
    http::Serve,
    replica,
    replica::{Look, Watch},
    run::Input,
};

/// Between two proofs that a fence device works.
const MONITOR: Duration = Duration::from_secs(60);

/// Beats of one path.
pub(crate) async fn hear(
    path: PathIndex,
    socket: Rc<UdpSocket>,
    sealer: Sealer,
    nodes: Table<PeerIndex, u8>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut buffer = vec![0; MAX_BYTES];
    let mut told = false;
    loop {
        // An error here is that of an earlier send: the peer's port is closed.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let beat = sealer.open(path, &buffer[..length]);
        if !told && is_of_another_version(&buffer[..length]) {
            told = true; // Anybody can send such a thing.
            let what = format!(
                "a heartbeat of an agent of another version, from {}, is not understood: to this agent its node is silent, and is                  fenced when it is needed off, even one that was stopped in good order. `twindisk agent maintenance on` on all                  nodes until they have the same version",
                from.ip()
            );
            let _ = inputs.send(Input::Noticed {
                level: Level::Alarm,
                resource: None,
                what,
            });
        }
        let known = beat.and_then(|beat| {
            let peer = nodes.position(|node| *node == beat.from)?;
            Some((peer, beat))
        });
        match known {
            Some((peer, beat)) => _ = inputs.send(Input::Beat { peer, path, beat }),
            None => debug!(%from, "not a beat of this cluster"),
        }
    }
}

/// What the replicas say.
pub(crate) async fn watch(
    settings: Rc<Settings>,
    agent: Rc<RefCell<Agent>>,
    inputs: mpsc::UnboundedSender<Input>,
    serve: tokio::sync::watch::Sender<Serve>,
) {
    let mut watch = Watch::default();
    let mut tick = interval(settings.profile.interval() / 4);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let begun: Vec<Looking> = settings
            .resources
            .keys()
            .map(|resource| agent.borrow().looking(resource))
            .collect();
        let look = watch.look(&settings.control_socket).await;
        for ((resource, view), looking) in views(&settings, &look).into_iter().zip(begun) {
            if let Some(view) = view {
                let _ = inputs.send(Input::Replica {
                    resource,
                    looking,
                    view,
                });
            }
        }
        serve.send_modify(|serve| serve.look(look));
    }
}

/// What a look says of each resource, if anything: its replica, or that there is none.
pub(crate) fn views(
    settings: &Settings,
    look: &Look,
) -> Vec<(ResourceIndex, Option<Option<ReplicaView>>)> {
    let resources = settings.resources.entries();
    resources
        .map(|(at, resource)| {
            let members = resource.members.iter();
            let nodes: Vec<u8> = members
                .map(|member| settings.peers[member.peer].node)
                .collect();
            let said = match look {
                Look::Silent => view::Look::Silent,
                Look::Gone => view::Look::Gone,
                Look::Said(status) => {
                    let mut named = status.resources.iter();
                    replica::said_of(status.pid, named.find(|one| one.name == resource.name))
                }
            };
            (at, view::news(&said, &nodes))
        })
        .collect()
}

/// Proves now and then that the fence devices of a peer answer, and learns how long they take.
pub(crate) async fn monitor(
    peer: PeerIndex,
    fencer: Rc<Fencer>,
    inputs: mpsc::UnboundedSender<Input>,
) {
    let mut tick = interval(MONITOR);
    loop {
        tick.tick().await;
        let told = fencer.monitor().await;
        if told.is_empty() {
            return; // A person is not asked.
        }
        let slowest = told.iter().map(|one| one.took).max();
        let failed = told.into_iter().find_map(|one| {
            let error = one.answer.err()?;
            Some(format!("{}: {error}", one.device))
        });
        let result = failed.map_or(Ok(slowest.unwrap_or_default()), Err);
        let _ = inputs.send(Input::Monitored { peer, result });
    }
}

/// What was read of a peer's power, in the core's words.
pub(crate) fn power(read: twindisk_stonith::Power) -> Power {
    match read {
        twindisk_stonith::Power::On => Power::On,
        twindisk_stonith::Power::Off(what) => Power::Off(what),
        twindisk_stonith::Power::Unknown => Power::Unknown,
    }
}

pub(crate) fn micros() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(1, |since| since.as_micros() as u64)
}

pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes) | 1,
        Err(_) => micros() | 1,
    }
}
