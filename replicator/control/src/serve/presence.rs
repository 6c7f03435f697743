//! A resource comes up, and goes down, while the process serves the others.

use std::rc::Rc;

use tokio::time::timeout;
use twindisk_core::{Command, CommandReply};

use super::{
    auth,
    control::failed,
    node::Node,
    peers,
    replica::Replica,
    roster::Presence,
    start::{self, NotStarted},
};
use crate::{config::Resource, limits, protocol::Answer};

/// Starts a resource.
pub(crate) fn begin(node: &Rc<Node>, resource: &Resource) -> Result<Rc<Replica>, NotStarted> {
    let started = start::start(&node.whole, &node.config, resource, auth::new_boot())?;
    let replica = Rc::clone(&started.replica);
    let presence = Presence::Up(started.replica, started.thread);
    node.roster.set(&resource.name, presence);
    Ok(replica)
}

/// Hears what it tells, and dials those of its peers with higher numbers.
pub(crate) fn attend(node: &Rc<Node>, replica: &Rc<Replica>) {
    let (hears, told) = (Rc::clone(node), Rc::clone(replica));
    tokio::task::spawn_local(async move {
        told.take_notices(&hears.events).await;
        hears.roster.has_changed();
    });
    for (index, peer) in replica.peers.iter().enumerate() {
        let other = node.whole.nodes.iter().find(|other| other.id == peer.node);
        if let Some(other) = other.filter(|other| node.config.id < other.id) {
            tokio::task::spawn_local(peers::keep_dialling(
                Rc::clone(node),
                Rc::clone(replica),
                index,
                other.address.clone(),
            ));
        }
    }
}

/// Brings a resource up that is down, could not be started, or has halted.
pub(crate) async fn up(node: &Rc<Node>, name: &str) -> Answer {
    let Some(resource) = node.resource(name) else {
        return node.no_resource(name);
    };
    let _turn = node.roster.turn(name).await;
    if let Some(replica) = node.roster.find(name) {
        if replica.halted().is_none() {
            return done(format!("{name} is up"));
        }
        if let Some(Presence::Up(_, thread)) = node.roster.set(name, Presence::Down) {
            thread.join();
        }
    }
    match begin(node, resource) {
        Ok(replica) => {
            attend(node, &replica);
            done(format!("{name} is up"))
        }
        Err(NotStarted { why, .. }) => {
            node.roster.set(name, Presence::NotStarted(why.clone()));
            failed(
                &format!("{name} can't be started: {why}"),
                "put that right, then say it once more",
            )
        }
    }
}

/// Takes a resource down: its peers hear that it leaves, its files are let go.
pub(crate) async fn down(node: &Rc<Node>, name: &str) -> Answer {
    if node.resource(name).is_none() {
        return node.no_resource(name);
    }
    let turn = node.roster.turn(name).await;
    // A task of its own: once it has begun it is carried to its end, whether somebody still waits for it or not.
    let (of, name) = (Rc::clone(node), name.to_owned());
    let ending = tokio::task::spawn_local(async move {
        let answer = end(&of, &name).await;
        drop(turn);
        answer
    });
    let fault = |error| {
        failed(
            &format!("it can't be taken down: {error}"),
            "look at the log",
        )
    };
    ending.await.unwrap_or_else(fault)
}

async fn end(node: &Node, name: &str) -> Answer {
    if let Some(replica) = node.roster.find(name)
        && !stopped_in_order(&replica).await
    {
        return failed(
            &format!("{name} does not stop"),
            "`twindisk status` says what it waits for; the end of the process ends it, too",
        );
    }
    if let Some(Presence::Up(_, thread)) = node.roster.set(name, Presence::Down) {
        thread.join();
    }
    done(format!("{name} is down"))
}

/// Stops a replica in good order. Whether it got there in time.
pub(crate) async fn stopped_in_order(replica: &Replica) -> bool {
    if replica.halted().is_some() {
        return true;
    }
    let patience = replica.resource.timings.stop_timeout + limits::STOP_GRACE;
    let in_order = async {
        if let Err(refusal) = replica.command(Command::Stop).await {
            tracing::warn!(resource = replica.name(), why = refusal.why, "stopping");
        }
        replica.until_halted().await;
    };
    timeout(patience, in_order).await.is_ok()
}

fn done(message: String) -> Answer {
    Answer::Done(CommandReply { message })
}
