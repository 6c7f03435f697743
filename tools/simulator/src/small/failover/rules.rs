//! What must hold of a pair with agents, whatever the order.

use twindisk_fencing_core::{Order, Role};

use super::{Failover, Step, name};
use crate::small::search::Walk as _;

/// Within so many strides a healed pair serves.
const PATIENCE: u8 = 40;

impl Failover {
    /// A node that opens its device does not open it to services of before the other one had (R17).
    pub(super) fn note_openings(&mut self) -> Result<(), String> {
        for number in 0..2 {
            let is_open = self.world.nodes[number].export_open;
            let was_open = std::mem::replace(&mut self.guards[number].was_open, is_open);
            if !is_open || was_open {
                continue;
            }
            if self.guards[number].stale {
                return Err(format!(
                    "R17: {} opens its device to services that ran before the other node opened its own",
                    name(number)
                ));
            }
            let other = &mut self.guards[1 - number];
            other.stale = other.services;
        }
        Ok(())
    }

    /// R12: services are not started while some run elsewhere.
    pub(super) fn check_start(&self, number: usize) -> Result<(), String> {
        if self.guards[1 - number].services {
            return Err(format!(
                "R12: the services are started on {} while they run on {}",
                name(number),
                name(1 - number)
            ));
        }
        Ok(())
    }

    /// R2: nobody is said to be off who is not known to be. R12: services go before the role.
    pub(super) fn check_order(&self, number: usize, order: &Order) -> Result<(), String> {
        let guard = &self.guards[number];
        match order {
            Order::ReceiptFenced { .. } if !guard.told_off => Err(format!(
                "R2: {} says that {} is off, and was not told so",
                name(number),
                name(1 - number)
            )),
            Order::Outdate { .. } | Order::HandOver { .. } if guard.services => Err(format!(
                "R12: {} gives the role away while its services run",
                name(number)
            )),
            _ => Ok(()),
        }
    }

    /// R6: the intent is durable.
    pub(super) fn check_shot(&self, number: usize) -> Result<(), String> {
        let victim = name(1 - number);
        let intents = &self.guards[number].memory.intents;
        if intents.iter().any(|intent| intent.node == victim) {
            return Ok(());
        }
        Err(format!(
            "R6: {} fires at {victim}, and has not stored that it would",
            name(number)
        ))
    }

    /// Of each state: one primary takes writes.
    pub(super) fn check(&self) -> Result<(), String> {
        let takes_writes = |number: &usize| {
            self.world.status(*number).is_some_and(|status| {
                status.role == twindisk_core::Role::Primary
                    && status.export_open
                    && status.suspended.is_none()
            })
        };
        if (0..2).filter(takes_writes).count() > 1 {
            return Err("S3: both nodes are primary and take writes".to_owned());
        }
        Ok(())
    }

    /// The device is open on a node and its services run there.
    pub(super) fn serves(&self, number: usize) -> bool {
        let view = self.view(number);
        let is_open =
            view.is_some_and(|view| view.role == Role::Primary && view.open && !view.suspended);
        is_open && self.guards[number].services && !self.guards[1 - number].services
    }

    /// Of a state from which nothing leads on: once cables are whole and everything is started again, the service goes on
    /// by itself.
    pub(super) fn ends_well(&self) -> Result<(), String> {
        let mut pair = self.clone();
        pair.step(Step::Heal)?;
        for _ in 0..PATIENCE {
            for number in 0..2 {
                let node = &pair.world.nodes[number];
                if !node.powered {
                    pair.step(Step::PowerOn(number))?;
                }
                if pair.world.nodes[number].replica.is_none() {
                    pair.step(Step::Serve(number))?;
                }
                if pair.guards[number].agent.is_none() {
                    pair.step(Step::Watch(number))?;
                }
                // Looks that bring nothing new still say that the replica answers.
                pair.guards[number].seen = None;
            }
            pair.settle(1)?;
            pair.check()?;
            if (0..2).any(|number| pair.serves(number)) {
                return Ok(());
            }
        }
        let [ann, bob] = [0, 1].map(|number| {
            let agent = pair.guards[number].agent.as_ref();
            let said = agent.map(|agent| agent.status().resources[0].state.clone());
            format!("{}: {}", name(number), said.unwrap_or_default())
        });
        Err(format!(
            "everything is up again, and after {PATIENCE} strides nobody serves; {ann}; {bob}"
        ))
    }
}
