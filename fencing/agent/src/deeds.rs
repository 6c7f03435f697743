//! What the core wants done that takes its time: each in a task of its own, which brings its outcome as an input.

use std::thread;

use tokio::task::{JoinHandle, spawn_local};
use tracing::{info, warn};
use twindisk_arbiter::{Ask, Version};
use twindisk_fencing_core::{Memory, Order, PeerIndex, Power, ResourceIndex};

use crate::{
    arbiter, memory, news, replica,
    run::{Driver, Input},
};

impl Driver {
    /// On a thread that is none of the runtime's, whose number is limited: what hangs there must not keep it from being stored.
    pub(crate) fn store(&mut self, memory: Memory) {
        let (path, version) = (self.settings.memory.clone(), memory.version);
        let inputs = self.inputs.clone();
        let begun = thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || {
                let result = memory::store(&path, &memory).map_err(|error| error.to_string());
                let _ = inputs.send(Input::Stored { version, result });
            });
        match begun {
            Ok(thread) => self.storing = Some(thread),
            Err(error) => {
                let result = Err(error.to_string());
                let _ = self.inputs.send(Input::Stored { version, result });
            }
        }
    }

    /// Asks whoever keeps the record; a question without an answer is told as one.
    pub(crate) fn ask_arbiter(&self, resource: ResourceIndex, known: Option<Version>, ask: Ask) {
        let errand = arbiter::Errand {
            resource: self.settings.resources[resource].name.clone(),
            node: self.settings.node,
            known,
            ask,
        };
        let (inputs, keeper) = (self.inputs.clone(), self.keepers[resource].clone());
        let patience = self.settings.profile.dead() / 2;
        spawn_local(async move {
            let result = arbiter::ask(keeper, errand, patience).await;
            let _ = inputs.send(Input::Arbiter { resource, result });
        });
    }

    pub(crate) fn read_power(&mut self, peer: PeerIndex) {
        let (inputs, before) = (self.inputs.clone(), self.readings[peer].take());
        let Some(fencer) = self.fencers[peer].clone() else {
            let power = Power::Unknown;
            let _ = inputs.send(Input::Power { peer, power });
            return;
        };
        let checked = self.settings.read_power;
        self.readings[peer] = Some(spawn_local(async move {
            end(before).await;
            let power = if checked {
                fencer.checked_reading().await
            } else {
                fencer.reading().await
            };
            let power = news::power(power);
            let _ = inputs.send(Input::Power { peer, power });
        }));
    }

    pub(crate) fn check_power(&mut self, peer: PeerIndex) {
        // A person, or a device that takes something else than power, is not asked; what is not answered is not believed.
        let Some(fencer) = self.fencers[peer].clone().filter(|one| one.can_read()) else {
            return;
        };
        let (inputs, before) = (self.inputs.clone(), self.readings[peer].take());
        self.readings[peer] = Some(spawn_local(async move {
            end(before).await;
            let power = news::power(fencer.check_power().await);
            let _ = inputs.send(Input::Checked { peer, power });
        }));
    }

    pub(crate) fn fence(&mut self, peer: PeerIndex) {
        let inputs = self.inputs.clone();
        let Some(fencer) = self.fencers[peer].clone() else {
            let result = Err("no fence device is configured".to_owned());
            let _ = inputs.send(Input::Fenced { peer, result });
            return;
        };
        let agent = self.agent.clone();
        let reading = self.readings[peer].take();
        spawn_local(async move {
            end(reading).await;
            let result = fencer
                .power_off(|| agent.borrow().still_wants(peer))
                .await
                .map(|proof| proof.to_string())
                .map_err(|failure| failure.to_string());
            let _ = inputs.send(Input::Fenced { peer, result });
        });
    }

    pub(crate) fn power_on(&self, peer: PeerIndex) {
        let Some(fencer) = self.fencers[peer].clone() else {
            return;
        };
        spawn_local(async move {
            for told in fencer.power_on().await {
                let (node, device) = (fencer.node(), told.device);
                match told.answer {
                    Ok(()) => info!(node, device, "switched on again"),
                    Err(why) => warn!(node, device, "not switched on again: {why}"),
                }
            }
        });
    }

    /// What comes of it is seen by looking.
    pub(crate) fn kill(&self, resource: ResourceIndex, run: u64) {
        let socket = self.settings.control_socket.clone();
        let name = self.settings.resources[resource].name.clone();
        spawn_local(replica::kill_hung(socket, name, run));
    }

    pub(crate) fn order(&self, resource: ResourceIndex, order: Order) {
        let (office, inputs) = (self.office.clone(), self.inputs.clone());
        let settings = self.settings.clone();
        spawn_local(async move {
            let name = &settings.resources[resource].name;
            let peers = settings.peers.iter().map(|peer| &*peer.name).collect();
            let result = office.carry_out(name, &peers, order).await;
            let _ = inputs.send(Input::Ordered { resource, result });
        });
    }

    /// Up, for this term of the role; or down.
    pub(crate) fn services(&mut self, resource: ResourceIndex, term: Option<u64>) {
        // What leads clients here ends before they find nobody.
        if term.is_none()
            && let Some(hook) = self.hooks[resource].take()
        {
            hook.abort();
        }
        let inputs = self.inputs.clone();
        let Some(stack) = self.stacks[resource].clone() else {
            let _ = inputs.send(Input::Services {
                resource,
                result: Ok(()),
            });
            return;
        };
        spawn_local(async move {
            let mut stack = stack.lock().await;
            let result = match term {
                Some(term) => stack.start(term).await.map_err(|error| error.to_string()),
                None => {
                    let stopped = stack.stop(twindisk_services::Role::Standby).await;
                    stopped.map_err(|error| error.to_string())
                }
            };
            let _ = inputs.send(Input::Services { resource, result });
        });
    }

    /// What is to be run for this term of the role, now that its services are up.
    pub(crate) fn after_promote(&mut self, resource: ResourceIndex, term: u64) {
        let (inputs, settings) = (self.inputs.clone(), self.settings.clone());
        let Some(stack) = self.stacks[resource].clone() else {
            return;
        };
        let task = spawn_local(async move {
            let ours = &settings.resources[resource];
            let Some(hook) = &ours.after_promote else {
                return;
            };
            let mut host = stack.lock().await.host().clone();
            host.term = term;
            let members = ours.members.iter();
            let peers: Vec<&str> = members
                .map(|member| &*settings.peers[member.peer].name)
                .collect();
            let result = hook.run(&host, &peers).await;
            let result = result.map_err(|problem| problem.to_string());
            let _ = inputs.send(Input::AfterPromote {
                resource,
                term,
                result,
            });
        });
        self.hooks[resource] = Some(task.abort_handle());
    }
}

/// Breaks a reading off: many a power switch talks to one at a time.
async fn end(reading: Option<JoinHandle<()>>) {
    if let Some(reading) = reading {
        reading.abort();
        let _ = reading.await;
    }
}
