//! What an agent wants done: each part of that is a step, and may be late.

use twindisk_core::{Command, CommandId};
use twindisk_fencing_core::{Action, Memory, Order, Power};
use twindisk_format::superblock::ReceiptKind;

use super::{
    Failover,
    guard::{PEER, RESOURCE},
};
use crate::small::world::PEER as SLOT;

/// Something that is under way for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Its memory is being written.
    Store(Memory),
    /// An order is on its way to the replica.
    Obey(Order),
    /// The answer is on its way back.
    Answer(Result<(), String>),
    /// The program that shoots is started.
    Aim,
    /// The shot is on its way.
    Hit,
    /// What came of it is on its way back.
    Shot(Result<(), String>),
    /// The power of the other node is being read.
    Read,
    /// Services are being brought up, or down.
    Services(bool),
    /// The other node is about to be switched on.
    PowerOn,
}

impl Task {
    /// It goes on when the agent is gone.
    pub(super) fn outlives_agent(&self) -> bool {
        matches!(self, Self::Obey(_) | Self::Services(_)) || self.outlives_host()
    }

    /// It goes on when the host is gone.
    pub(super) const fn outlives_host(&self) -> bool {
        matches!(self, Self::Hit | Self::PowerOn)
    }
}

impl Failover {
    /// An agent wants something.
    pub(super) fn begin(&mut self, number: usize, action: Action) -> Result<(), String> {
        let guard = &mut self.guards[number];
        match action {
            Action::Send { beat, .. } => {
                if !self.cut[1] {
                    self.guards[1 - number].beat = Some(beat);
                }
            }
            Action::Store(memory) => guard.tasks.push(Task::Store(memory)),
            Action::ReadPower(_) => guard.tasks.push(Task::Read),
            Action::Fence(_) => {
                guard.tasks.retain(|task| *task != Task::Read);
                guard.tasks.push(Task::Aim);
            }
            Action::PowerOn(_) => guard.tasks.push(Task::PowerOn),
            Action::Order(_, order) => {
                guard.tasks.push(Task::Obey(order.clone()));
                self.check_order(number, &order)?;
            }
            Action::StartServices { .. } => {
                self.check_start(number)?;
                let guard = &mut self.guards[number];
                guard.services = true;
                guard.tasks.push(Task::Services(true));
            }
            // It ends when the services do.
            Action::AfterPromote { .. } if !guard.services => {
                return Err(format!("node {number} tells that it serves, and does not"));
            }
            Action::StopServices(_) => guard.tasks.push(Task::Services(false)),
            Action::AfterPromote { .. }
            | Action::Kill { .. }
            | Action::Report { .. }
            | Action::CheckPower(_)
            | Action::Arbiter { .. } => {}
        }
        Ok(())
    }

    /// A part of what an agent wanted is done.
    pub(super) fn go_on(&mut self, number: usize, index: usize) -> Result<(), String> {
        let guard = &mut self.guards[number];
        match guard.tasks.remove(index) {
            Task::Store(memory) => {
                let version = memory.version;
                guard.memory = memory;
                self.tell(number, |agent, now| {
                    agent.handle_stored(now, version, Ok(()))
                })
            }
            Task::Obey(order) => self.obey(number, order),
            Task::Answer(result) => self.tell(number, |agent, now| {
                agent.handle_ordered(now, RESOURCE, result);
            }),
            Task::Aim => {
                let wanted = guard
                    .agent
                    .as_ref()
                    .is_some_and(|agent| agent.still_wants(PEER));
                if wanted {
                    guard.tasks.push(Task::Hit);
                    return self.check_shot(number);
                }
                guard
                    .tasks
                    .push(Task::Shot(Err("it is not wanted any more".into())));
                Ok(())
            }
            Task::Hit => self.hit(number),
            Task::Shot(result) => {
                guard.told_off |= result.is_ok();
                self.tell(number, |agent, now| {
                    let result = result.map(|()| "its power was read as off".to_owned());
                    agent.handle_fenced(now, PEER, result);
                })
            }
            Task::Read => {
                let on = self.world.nodes[1 - number].powered;
                guard.told_off |= !on;
                let power = if on {
                    Power::On
                } else {
                    Power::Off("the switch".into())
                };
                self.tell(number, |agent, now| agent.handle_power(now, PEER, power))
            }
            Task::Services(up) => {
                // A later wish follows: this one says nothing any more, but for what runs.
                if !up {
                    (guard.services, guard.stale) = (false, false);
                }
                self.tell(number, |agent, now| {
                    agent.handle_services(now, RESOURCE, Ok(()));
                })
            }
            Task::PowerOn => self.boot(1 - number),
        }
    }

    fn hit(&mut self, number: usize) -> Result<(), String> {
        let victim = 1 - number;
        // R7: one node is left, whoever was quicker.
        if self.guards[number].shot {
            return Err(format!(
                "R7: {} was shot, and its own shot hits {} after that",
                super::name(number),
                super::name(victim)
            ));
        }
        self.guards[victim].shot |= self.world.nodes[victim].powered;
        self.power_off(victim);
        let guard = &mut self.guards[number];
        if guard.agent.is_some() {
            guard.tasks.push(Task::Shot(Ok(())));
        }
        Ok(())
    }

    fn obey(&mut self, number: usize, order: Order) -> Result<(), String> {
        let receipt = |kind, detail, met| Command::Receipt {
            about: SLOT,
            kind,
            detail,
            met: Some(met),
        };
        let command = match order {
            Order::Promote => Command::Promote { force: None },
            Order::ReceiptFenced { detail, met, .. } => receipt(ReceiptKind::Fence, detail, met),
            Order::ReceiptReleased { detail, met, .. } => {
                receipt(ReceiptKind::Release, detail, met)
            }
            Order::Outdate { offline: false } => Command::Outdate,
            Order::Outdate { offline: true } => {
                let result = self.world.nodes[number].outdate();
                self.answer(number, result);
                return Ok(());
            }
            Order::ReceiptGranted { detail, met, .. } => receipt(ReceiptKind::Arbiter, detail, met),
            Order::StepDown => Command::Demote { abandon: true },
            Order::HandOver { .. } => Command::Switchover { to: Some(SLOT) },
        };
        if self.world.nodes[number].replica.is_none() {
            let result = Err("twindisk serve does not answer".to_owned());
            self.answer(number, result);
            return Ok(());
        }
        let id = self.world.try_command(number, command)?;
        let guard = &mut self.guards[number];
        guard.asked = guard.agent.is_some().then_some(id);
        Ok(())
    }

    fn answer(&mut self, number: usize, result: Result<(), String>) {
        let guard = &mut self.guards[number];
        if guard.agent.is_some() {
            guard.tasks.push(Task::Answer(result));
        }
    }

    /// Replicas have answered commands, or are gone.
    pub(super) fn take_replies(&mut self) {
        let replies = std::mem::take(&mut self.world.replies);
        for number in 0..2 {
            let Some(asked) = self.guards[number].asked else {
                continue;
            };
            let found = |(id, _): &&(CommandId, _)| *id == asked;
            let result = match replies.iter().find(found) {
                Some((_, result)) => result.clone().map_err(|refusal| refusal.why),
                None if self.world.nodes[number].replica.is_none() => {
                    Err("twindisk serve does not answer: the connection broke".to_owned())
                }
                None => continue,
            };
            self.guards[number].asked = None;
            self.answer(number, result);
        }
    }
}
