//! What an agent learns of its replica, and tells it: two connections to its process, as in production. A status may be
//! old when it arrives, overtake an answer or be overtaken by it, or not come at all.

use std::collections::BTreeMap;

use twindisk_core::{Arbiter, Command, CommandId, Refusal};
use twindisk_fencing_core::{Looking, Order, PeerIndex, PeerView, ReplicaView, Role};
use twindisk_format::{
    ids::BootId,
    superblock::{ReceiptKind, StoredDisk},
};
use twindisk_view::{Look, news};

use super::{AgentEv, node_of};
use crate::{
    checker::Violation,
    node::{name, slot_of},
    swarm::{MS, SEC, US},
    trace::tell,
    world::World,
};

/// How long a process has to answer a question about its state.
const PATIENCE: u64 = 2 * SEC;
/// How long it has to carry out an order.
const ORDER_PATIENCE: u64 = 30 * SEC;

/// A status that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    /// The agent's run.
    pub(super) run: u64,
    /// When it was asked for.
    asked: u64,
    /// What the agent noted then.
    looking: Looking,
}

/// An order that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    /// The agent's run.
    run: u64,
    /// No two orders have the same.
    serial: u64,
    /// The boot of the machine: what was under way when the power went is carried out by nobody.
    host: BootId,
    order: Order,
}

impl World {
    /// How long something takes from the agent to the process, or back: now and then for ever so long.
    fn way(&mut self) -> u64 {
        let die = &mut self.dice.agent;
        if !self.healed && die.chance(20) {
            return die.between(2 * MS, 300 * MS);
        }
        die.between(20 * US, 2 * MS)
    }

    /// The agent asks its replica what it is.
    pub(super) fn ask_status(&mut self, number: usize) {
        let agents = self.agents.as_ref().expect("agents");
        let node = &agents.nodes[number];
        let Some(agent) = &node.agent else {
            return;
        };
        let (run, looking) = (node.run, agent.looking(self.its_index()));
        let question = Question {
            run,
            asked: self.now,
            looking,
        };
        let delay = self.way();
        self.agent_later(delay, number, AgentEv::Read { question });
    }

    /// The question reaches the process, which answers if it does anything.
    pub(super) fn read_status(&mut self, number: usize, question: Question) {
        let Question { run, asked, .. } = question;
        let again = self.agents().look_every;
        let node = &self.nodes[number];
        let stopped = node.stopped_until;
        if stopped > self.now {
            if stopped < asked + PATIENCE {
                return self.agent_later(stopped - self.now, number, AgentEv::Read { question });
            }
            let rest = (asked + PATIENCE).saturating_sub(self.now);
            return self.agent_later(rest, number, AgentEv::Look { run });
        }
        let status = node.status(self.now);
        let lost = !self.healed && self.dice.agent.chance(5);
        let look = match &status {
            Some(_) if lost => Look::Silent,
            Some(status) => Look::Said {
                run: self.nodes[number].run,
                status,
            },
            None => Look::Gone,
        };
        let others: Vec<u8> = self.others(number).map(|other| other as u8).collect();
        match news(&look, &others) {
            Some(view) => {
                let (delay, view) = (self.way(), view.map(Box::new));
                self.agent_later(delay, number, AgentEv::Seen { question, view });
            }
            None => self.agent_later(again, number, AgentEv::Look { run }),
        }
    }

    /// The agent hears what its replica is, or was when it answered.
    pub(super) fn see_status(
        &mut self,
        number: usize,
        question: Question,
        view: Option<Box<ReplicaView>>,
    ) {
        let Question {
            run,
            asked,
            looking,
        } = question;
        let now = self.agent_time(number);
        let next = (asked + self.agents().look_every).saturating_sub(self.now);
        let (index, view) = (self.its_index(), view.map(|view| *view));
        let leads = |peer: &PeerView| peer.role == Some(Role::Primary);
        let led = view.as_ref().and_then(|view| view.peers.position(leads));
        let led = led.map(|member| node_of(number, PeerIndex::new(member.index())));
        let at = self.now;
        let side = &mut self.ward().sides[number];
        let before = side.follows.filter(|(node, _)| Some(*node) == led);
        side.follows = before.or(led.map(|node| (node, at)));
        side.seen.clone_from(&view);
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_replica(now, index, looking, view);
        }
        self.agent_later(next, number, AgentEv::Look { run });
    }

    /// The agent tells its replica something.
    pub(super) fn agent_orders(&mut self, number: usize, order: Order) {
        let host = self.nodes[number].host;
        let offline = order == Order::Outdate { offline: true };
        let agents = self.agents();
        agents.errands += 1;
        let serial = agents.errands;
        let run = agents.nodes[number].run;
        self.ward().sides[number].order = Some(serial);
        let errand = Box::new(Errand {
            run,
            serial,
            host,
            order,
        });
        let mut delay = self.way();
        if offline {
            delay += self.dice.agent.between(2 * MS, 40 * MS); // A program is started for it.
        }
        self.check_errand(number, &errand.order);
        self.agent_later(delay, number, AgentEv::Obey { errand });
        let result = Err(format!("no answer within {} s", ORDER_PATIENCE / SEC));
        let late = AgentEv::Ordered {
            run,
            serial,
            result,
        };
        self.agent_later(ORDER_PATIENCE, number, late);
    }

    /// R2: nobody is said to be off who is not known to be. R12: services go before the role.
    fn check_errand(&mut self, number: usize, order: &Order) {
        match order {
            Order::Promote | Order::ReceiptReleased { .. } | Order::StepDown => {}
            Order::ReceiptGranted { .. } => self.check_grant(number),
            Order::ReceiptFenced { about, .. } => {
                let victim = node_of(number, *about);
                if !self.agents().nodes[number].told_off.contains(&victim) {
                    let (here, there) = (name(number), name(victim));
                    let story = format!("{here} says that {there} is off, and was not told so");
                    self.violate(Violation::new("R2", story));
                }
                if !self.has_died(number, victim) {
                    let (here, there) = (name(number), name(victim));
                    let story =
                        format!("{here} says that {there} is off, as it was heard last it lives");
                    self.violate(Violation::new("R2", story));
                }
            }
            Order::Outdate { .. } | Order::HandOver { .. } => self.check_release(number),
        }
    }

    /// An order reaches the process, or the metadata. The agent may be gone by now: nobody takes it back.
    pub(super) fn obey(&mut self, number: usize, errand: Errand) {
        if errand.host != self.nodes[number].host {
            return;
        }
        let slot = |peer| slot_of(number, node_of(number, peer));
        let receipt = |kind, about, detail, met| Command::Receipt {
            about: slot(about),
            kind,
            detail,
            met: Some(met),
        };
        let command = match errand.order {
            Order::Promote => Command::Promote { force: None },
            Order::ReceiptFenced { about, detail, met } => {
                receipt(ReceiptKind::Fence, about, detail, met)
            }
            Order::ReceiptReleased { about, detail, met } => {
                receipt(ReceiptKind::Release, about, detail, met)
            }
            Order::Outdate { offline: false } => Command::Outdate,
            Order::Outdate { offline: true } => {
                let result = self.outdate_offline(number);
                return self.answer_order(number, (errand.run, errand.serial), result);
            }
            Order::ReceiptGranted { about, detail, met } => {
                receipt(ReceiptKind::Arbiter, about, detail, met)
            }
            Order::StepDown => Command::Demote { abandon: true },
            Order::HandOver { to } => Command::Switchover { to: Some(slot(to)) },
        };
        let asker = (number, errand.run, errand.serial);
        if self.nodes[number].replica.is_none() {
            let result = Err("twindisk serve does not answer".to_owned());
            return self.answer_order(number, (errand.run, errand.serial), result);
        }
        let id = self.command(number, command);
        self.ward().asked.insert(id, asker);
    }

    fn outdate_offline(&mut self, number: usize) -> Result<(), String> {
        if self.nodes[number].replica.is_some() {
            return Err("its metadata is in use".to_owned());
        }
        let stored = self.nodes[number].meta.superblock();
        if self.swarm.arbiter == Arbiter::Witness && stored.is_some_and(|one| one.went_on_alone()) {
            return Err("it went on without the other one".to_owned());
        }
        tell!(self, "{}: its agent records it as outdated", name(number));
        self.nodes[number].meta.edit(|superblock| {
            superblock.disk = superblock.disk.min(StoredDisk::Outdated);
        });
        Ok(())
    }

    fn answer_order(&mut self, number: usize, of: (u64, u64), result: Result<(), String>) {
        let delay = self.way();
        let (run, serial) = of;
        let answer = AgentEv::Ordered {
            run,
            serial,
            result,
        };
        self.agent_later(delay, number, answer);
    }

    /// A replica has answered a command: one of an agent's, perhaps.
    pub(crate) fn replied_to_agent(&mut self, id: CommandId, answer: &Result<(), Refusal>) {
        if self.agents.is_none() {
            return;
        }
        let asker = self.ward().asked.remove(&id);
        if let Some((number, run, serial)) = asker {
            let result = answer.clone().map_err(|refusal| refusal.why);
            self.answer_order(number, (run, serial), result);
        }
    }

    /// The process of a node is gone: the connections to it break.
    pub(crate) fn break_orders(&mut self, number: usize) {
        if self.agents.is_none() {
            return;
        }
        let ward = self.ward();
        let (broken, others) = std::mem::take(&mut ward.asked)
            .into_iter()
            .partition(|(_, (node, ..))| *node == number);
        ward.asked = others;
        let broken: BTreeMap<CommandId, (usize, u64, u64)> = broken;
        for (_, run, serial) in broken.into_values() {
            let result = Err("twindisk serve does not answer: the connection broke".to_owned());
            self.answer_order(number, (run, serial), result);
        }
    }

    /// The agent hears what came of an order.
    pub(super) fn ordered(&mut self, number: usize, serial: u64, result: Result<(), String>) {
        let now = self.agent_time(number);
        let index = self.its_index();
        let side = &mut self.ward().sides[number];
        if side.order != Some(serial) {
            return;
        }
        side.order = None;
        if let Some(agent) = &mut self.agents().nodes[number].agent {
            agent.handle_ordered(now, index, result);
        }
    }
}
