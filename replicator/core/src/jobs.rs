//! Role changes and stops: what takes several steps and is answered once.

mod demote;
mod part;
mod promote;

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Epoch, Slot, SlotSet, Term},
};

use crate::{Cause, CommandId, CommandReply, Report, Time, mark::No, replica::Replica};

/// Something that is under way for an operator (or a peer).
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Who gets the answer.
    pub(crate) command: Option<CommandId>,
    /// The primary that hands over to this node: it is told when nothing comes of it.
    pub(crate) asked_by: Option<Slot>,
    pub(crate) step: Step,
    /// When it is given up, or cut short.
    pub(crate) deadline: Time,
}

/// What a job waits for.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Promotion: everything received is being applied.
    Applying {
        force: Option<String>,
        handover: Option<Slot>,
    },
    /// Promotion: connected peers are asked for the term.
    Asking {
        term: Term,
        asked: SlotSet,
        /// Of those, whoever has not answered.
        waiting: SlotSet,
        released: SlotSet,
        /// Those that are no members by their own account.
        copies: SlotSet,
        /// The in-sync set for which the rights were looked at.
        counted: SlotSet,
        /// And in which term and epoch.
        asked_in: (Term, Epoch),
        force: Option<String>,
    },
    /// Promotion: the new in-sync set is being stored.
    Promoting,
    /// Demotion: requests under way are being finished and made stable.
    Draining { abandon: bool, after: After },
    /// Demotion: the role is being stored.
    Demoting { after: After },
    /// The new primary is to say that it is one.
    HandingOver { to: Slot },
    /// Parting: being recorded as Outdated.
    Releasing { after: After },
    /// Parting: peers store the receipt.
    Parting { waiting: SlotSet, after: After },
    /// Stopping: dirty bits are being stored.
    Stopping,
    /// Stopping: the clean stop is being stored.
    Halting,
}

/// What a demotion or parting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// Let this peer be primary.
    TakeOver(Slot),
    /// Close the connection to this peer, and stay apart.
    Disconnect(Slot),
    /// Close the connection to this peer, which wants to part; come back when it does.
    Part(Slot),
    /// Close the connection to this peer, for whose writes there is no space; come back later.
    NoSpace(Slot),
    Stop,
}

impl Job {
    pub(crate) const fn deadline(&self) -> Option<Time> {
        match self.step {
            Step::Stopping | Step::Halting | Step::Promoting | Step::Demoting { .. } => None,
            _ => Some(self.deadline),
        }
    }
}

impl Replica {
    /// Begins a job; the caller has made sure that there is none.
    pub(crate) fn start_job(&mut self, command: Option<CommandId>, step: Step) {
        assert!(self.job.is_none(), "one job at a time");
        let deadline = self.now + self.config.timings.stop_timeout;
        self.job = Some(Job {
            command,
            asked_by: None,
            step,
            deadline,
        });
    }

    /// A demotion is under way: new requests are turned away.
    pub(crate) fn giving_up(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Draining { .. } | Step::Demoting { .. }))
    }

    /// This node has recorded, or is recording, that it leaves: its copy counts no more.
    pub(crate) fn is_parting(&self) -> bool {
        self.job.as_ref().is_some_and(|job| {
            matches!(
                job.step,
                Step::Releasing { .. } | Step::Parting { .. } | Step::Stopping | Step::Halting
            )
        })
    }

    /// What is written here is being made stable for the last time: nothing may come after it.
    pub(crate) fn is_halting(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Stopping | Step::Halting))
    }

    /// Takes the job to its next step if that is possible.
    pub(crate) fn advance_job(&mut self) -> bool {
        let Some(job) = &mut self.job else {
            return false;
        };
        match &mut job.step {
            Step::Applying { force, handover } => {
                let (force, handover) = (force.clone(), *handover);
                // One change of the in-sync set at a time: a right is asked for in an epoch that stays.
                if self.is_applied(force.is_some()) && self.change.is_none() {
                    self.ask(force, handover)
                } else {
                    false
                }
            }
            // One change of the in-sync set at a time: a join that is being stored ends first.
            Step::Asking { waiting, force, .. } if waiting.is_empty() && self.change.is_none() => {
                // R13: a person has the last copy also where what it received finds no space.
                let forced = force.is_some() && self.space.is_short();
                (self.stable_alone() || forced && self.stable_here()) && self.promote_now()
            }
            Step::Draining { abandon, after } => {
                let (abandon, after) = (*abandon, *after);
                self.drain(abandon, after)
            }
            Step::Parting { waiting, after } if waiting.is_empty() => {
                let after = *after;
                self.parted(after);
                true
            }
            Step::Stopping => self.stop_stored(),
            Step::Asking { .. }
            | Step::Promoting
            | Step::Demoting { .. }
            | Step::HandingOver { .. }
            | Step::Releasing { .. }
            | Step::Parting { .. }
            | Step::Halting => false,
        }
    }

    /// Answers whoever asked for the job, and ends it.
    pub(crate) fn finish_job(&mut self, result: Result<CommandReply, No>) {
        let Some(job) = self.job.take() else { return };
        if let (Step::Asking { .. }, Err(_)) = (&job.step, &result) {
            // Whoever has granted the term waits to hear what comes of it.
            self.tell_state();
        }
        if let Some(id) = job.command {
            self.reply(id, result);
        } else if let Err(no) = result {
            if let Some(slot) = job.asked_by {
                let why = no.why.clone();
                self.send(slot, Frame::Control(ControlMessage::Refused { why }));
            }
            self.marks.refuse(no.cause);
            self.report(Report::Warning { what: no.why });
        }
    }

    /// A peer is gone: a job that waits for it goes on without it, or can't.
    pub(crate) fn job_lost_peer(&mut self, slot: Slot, why: &str) {
        let name = self.peer(slot).name.clone();
        let Some(job) = &mut self.job else { return };
        match &mut job.step {
            Step::Asking { waiting, .. } if waiting.contains(slot) && job.asked_by.is_some() => {
                // The primary that hands over waits: once more, when that one is met again.
                job.step = Step::Applying {
                    force: None,
                    handover: job.asked_by,
                };
            }
            Step::Asking { waiting, .. } if waiting.contains(slot) => {
                self.finish_job(Err(No {
                    cause: Cause::LostWhileAsking,
                    why: format!("{name} was lost while it was asked for the next term: {why}"),
                    next: "try again: `twindisk promote` says what is missing now".into(),
                }));
            }
            Step::Parting { waiting, .. } => _ = waiting.remove(slot),
            Step::HandingOver { to } if *to == slot => {
                self.finish_job(Err(No {
                    cause: Cause::LostInHandover,
                    why: format!("{name} was lost before it said that it is primary: {why}"),
                    next: format!("this node is standby now: look at {name}, or promote this node"),
                }));
            }
            _ => {}
        }
    }

    /// Jobs that take too long.
    pub(crate) fn job_timers(&mut self) {
        let now = self.now;
        let Some(job) = &mut self.job else { return };
        if job.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        job.deadline = now + self.config.timings.stop_timeout;
        match &mut job.step {
            Step::Draining {
                after: After::Stop,
                abandon,
            } => *abandon = true,
            Step::Parting { waiting, .. } => *waiting = SlotSet::EMPTY,
            // Requests were dropped: there is no way back, only what the disk still works on to be waited for.
            Step::Draining { abandon: true, .. } => {}
            Step::Draining { .. } => self.drain_took_too_long(),
            Step::Applying { .. } if self.space.is_short() => {
                let why = self.no_space(now).why;
                self.finish_job(Err(No {
                    cause: Cause::StillWriting,
                    why: format!("what this node received can't be written: {why}"),
                    next: "free room there and try again".into(),
                }));
            }
            Step::Applying { .. } | Step::Asking { .. } | Step::HandingOver { .. } => {
                self.finish_job(Err(No {
                    cause: Cause::PeerTooSlow,
                    why: "a peer did not answer in time".into(),
                    next: "`twindisk status` shows the peers; try again".into(),
                }));
            }
            Step::Releasing { .. }
            | Step::Promoting
            | Step::Demoting { .. }
            | Step::Stopping
            | Step::Halting => {}
        }
    }

    fn drain_took_too_long(&mut self) {
        let space = self.no_space_now(self.now);
        let space = space.map_or_else(String::new, |space| format!(": {}", space.why));
        self.finish_job(Err(No {
            cause: Cause::DrainTooLong,
            why: format!(
                "requests under way could not be finished in time; this node is still primary{space}"
            ),
            next: "`twindisk status` says what they wait for; `twindisk demote --abandon` drops what was never acknowledged"
                .into(),
        }));
    }
}
