//! Giving up the primary role: asked for, handed over, or because a higher term was heard (R4).

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Slot, Term},
    superblock::Standing,
};

use super::{After, Job, Step};
use crate::{
    Cause, CommandReply, ExportState, Mark, OnNoQuorum, Report, Role, Time,
    mark::No,
    mutation::Origin,
    peer::{LeadStep, Phase},
    replica::{Replica, Then},
};

impl Replica {
    /// Demotion: waits until nothing is under way and everything is stable.
    pub(super) fn drain(&mut self, abandon: bool, after: After) -> bool {
        // A stop that took too long is cut short whatever it waits for.
        let cut_short = abandon && (self.frozen() || after == After::Stop);
        if cut_short || abandon && self.space.is_short() {
            self.give_up_all_clients();
        }
        if !self.end_resize() {
            return false;
        }
        let clients = |origin| matches!(origin, Origin::Client { .. });
        let busy = self
            .mutations
            .iter()
            .any(|(_, m)| clients(m.origin) && !m.answered)
            || !self.flushes.is_empty()
            || !self.held.is_empty();
        if busy {
            return false;
        }
        if !self.all_stable() && !cut_short {
            for slot in self.slots() {
                self.flush_peer(slot);
            }
            self.stable_here();
            return false;
        }
        // R2: who takes over is durably in the set before the role goes: nobody takes it back then without a right.
        if let After::TakeOver(to) = after
            && self.store.peer(to).standing != Standing::In
        {
            return false;
        }
        self.store.change(|superblock| superblock.primary = false);
        if let Some(job) = &mut self.job {
            job.step = Step::Demoting { after };
        }
        // R10: no answer leaves here once the role is being given up.
        self.role = Role::Standby;
        let why = format!("{} is giving up the primary role", self.config.name);
        self.set_export(ExportState::Closed { why });
        if self.metadata_failed {
            self.demoted();
        } else {
            self.store.then(Then::Demoted);
        }
        true
    }

    /// R10: a primary that stays suspended gives the role up, where it is configured so: who waits gets an error, and can go.
    pub(crate) fn give_up_after_suspension(&mut self) {
        if self.gives_up_at().is_none_or(|at| self.now < at) {
            return;
        }
        self.marks.mark(Mark::GaveUpSuspended);
        let why = self.suspended.as_ref().map(|suspended| &*suspended.why);
        let what = format!(
            "I/O was suspended for too long (on-no-quorum): what waits fails, and this node is no primary any more: {}",
            why.unwrap_or_default()
        );
        self.report(Report::Warning { what });
        self.begin_demotion(None, true, After::Nothing);
    }

    /// When that will be.
    pub(crate) fn gives_up_at(&self) -> Option<Time> {
        let OnNoQuorum::IoError { after } = self.config.on_no_quorum else {
            return None;
        };
        let since = self.suspended.as_ref()?.since;
        let waits = self.role == Role::Primary && self.job.is_none();
        waits.then_some(since + after)
    }

    /// The role is given up durably.
    pub(crate) fn demoted(&mut self) {
        let Some(Job {
            step: Step::Demoting { after },
            ..
        }) = &self.job
        else {
            return;
        };
        let after = *after;
        let term = self.store.get().term.0;
        self.report(Report::Role {
            role: Role::Standby,
            term,
            why: "demoted".into(),
        });
        self.suspended = None;
        self.tell_state();
        match after {
            After::Nothing => {
                let message = format!("{} is standby", self.config.name);
                self.finish_job(Ok(CommandReply { message }));
            }
            After::TakeOver(to) => {
                if let Some(job) = &mut self.job {
                    job.step = Step::HandingOver { to };
                    job.deadline = self.now + self.config.timings.stop_timeout;
                }
                self.send(to, Frame::Control(ControlMessage::TakeOver));
            }
            After::Disconnect(_) | After::Part(_) | After::NoSpace(_) | After::Stop => {
                self.release_self(after);
            }
        }
    }

    /// Tells every peer that is not in the middle of something what this node is now.
    pub(super) fn tell_state(&mut self) {
        for slot in self.slots() {
            let at_rest = matches!(
                self.peer(slot).phase,
                Phase::Established | Phase::Waiting | Phase::SplitBrain { .. } | Phase::Unrelated
            );
            // Who is just joining was told of a primary, and would follow it for ever.
            let joins = matches!(
                self.peer(slot).phase,
                Phase::Leading {
                    step: LeadStep::Joining,
                    ..
                }
            );
            if at_rest || joins {
                let state = self.my_state(slot);
                self.send(slot, Frame::Control(ControlMessage::State(state)));
            }
        }
    }

    /// The peer that was to take over has said that it leads now.
    pub(crate) fn handover_done(&mut self, slot: Slot) {
        if let Some(Job {
            step: Step::HandingOver { to },
            ..
        }) = &self.job
            && *to == slot
            && self
                .peer(slot)
                .said
                .as_ref()
                .is_some_and(|said| said.primary)
        {
            let message = format!("{} is primary", self.peer(slot).name);
            self.finish_job(Ok(CommandReply { message }));
        }
    }

    /// R4: someone else may be primary in a higher term. Nothing more is acknowledged from here on.
    pub(crate) fn step_down(&mut self, term: Term, why: &str) {
        self.role = Role::Standby;
        self.suspended = None;
        self.detach_wanted = false;
        self.change = None;
        self.confirming = None;
        self.finish_job(Err(No {
            cause: Cause::SteppedDown,
            why: format!("this node has stepped down: {why}"),
            next: "`twindisk status` shows who is primary".into(),
        }));
        self.give_up_all_clients();
        self.stop_verify_of_all();
        let term = term.max(self.store.get().term);
        self.store.change(|superblock| {
            superblock.term = term;
            superblock.primary = false;
        });
        self.outdate(why);
        self.report(Report::Role {
            role: Role::Standby,
            term: term.0,
            why: why.to_owned(),
        });
        self.set_export(ExportState::Closed {
            why: why.to_owned(),
        });
        for slot in self.slots() {
            if self.peer(slot).link.is_some() {
                let why = format!("this node has stepped down: {why}");
                self.drop_link(slot, Mark::SteppedDown, why);
            }
        }
    }
}
