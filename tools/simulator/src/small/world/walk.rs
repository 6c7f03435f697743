//! A small world as something that is walked: its names, its questions, and what each step does.

use twindisk_core::{Command, Event, Role, Status};

use super::{EndState, PEER, Step, World};
use crate::small::search::{Walk, hashed};

impl Walk for World {
    type Step = Step;

    fn nodes(&self, before: Option<(&[u128; 2], Step)>) -> [u128; 2] {
        [0, 1].map(|number| match before {
            Some((before, step)) if !step.changes(number) => before[number],
            _ => hashed(&self.nodes[number]),
        })
    }

    fn surroundings(&self) -> u128 {
        let counters = (self.asked, self.faults, self.orders, self.ticks);
        hashed(&(
            self.now,
            &self.wire,
            &self.book,
            &self.requests,
            self.vouched,
            counters,
        ))
    }

    fn asked_of(&self, number: usize) -> u128 {
        let link = self.wire.link.as_ref();
        hashed(&(&self.book, link.map(|link| link.ends[number].state)))
    }

    fn question(&self, number: usize) -> Result<(), String> {
        self.would_keep(number)
    }

    /// Empty: everything has come to rest, and no faults are left.
    fn steps(&self) -> Vec<Step> {
        self.next()
    }

    fn at_rest(&self, steps: &[Step]) -> Result<(), String> {
        if steps.iter().copied().any(Step::goes_on) {
            return Ok(());
        }
        self.are_equal()
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Disk(number, index) => {
                let event = self.nodes[number].end(index);
                self.tell(number, event)?;
            }
            Step::Connect => self.wire.connect(),
            Step::Hear(side) => {
                if let Some(link) = &mut self.wire.link {
                    link.ends[side].state = EndState::Up;
                    let (peer, link) = (PEER, link.id);
                    self.tell(side, Event::LinkUp { peer, link })?;
                }
            }
            Step::Arrive(side) => self.arrive(side)?,
            Step::Part(side) => {
                if let Some(link) = &self.wire.link {
                    let event = Event::LinkDown {
                        peer: PEER,
                        link: link.id,
                        why: "cut".into(),
                    };
                    self.wire.gone(side);
                    self.tell(side, event)?;
                }
            }
            Step::Ask => self.ask()?,
            Step::Start(number) => {
                self.vouched[1 - number] = false;
                self.nodes[number].start(self.now, self.settings)?;
                self.poll(number)?;
            }
            Step::Vouch(number) => {
                self.vouched[number] = true;
                self.vouch(number)?;
            }
            Step::Order(number) => {
                self.orders -= 1;
                let primary = |status: Status| status.role == Role::Primary;
                let order = if self.status(number).is_some_and(primary) {
                    Command::Switchover { to: None }
                } else {
                    Command::Promote { force: None }
                };
                self.try_command(number, order)?;
            }
            Step::Tick(number) => {
                self.ticks = self.ticks.saturating_sub(1);
                if let Some(at) = self.nodes[number].deadline() {
                    self.now = self.now.max(at);
                    self.tell(number, Event::Tick)?;
                }
            }
            Step::Kill(number) => {
                self.faults -= 1;
                self.die(number, false);
            }
            Step::PowerOff(number) => {
                self.faults -= 1;
                self.die(number, true);
            }
            Step::Cut => {
                self.faults -= 1;
                self.wire.cut();
            }
        }
        Ok(())
    }
}
