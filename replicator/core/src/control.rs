//! Control messages and stored changes: which part of the replica each of them belongs to.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Slot, Term},
};

use crate::{
    Cause, Mark, Role,
    jobs::{After, Step},
    mark::No,
    membership::Entry,
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// A peer says something rare.
    pub(crate) fn control(&mut self, slot: Slot, term: Term, message: ControlMessage) {
        // R4: a lower term is refused and told the higher one, which every frame of ours carries.
        let stale = term < self.store.get().term;
        if !self.may_speak(slot, &message) && !self.mutant(Mutant::StrangersRelease) {
            return self.marks.mark(Mark::StrangerUnheard);
        }
        match message {
            ControlMessage::State(state) if self.peer(slot).phase == Phase::Comparing => {
                self.granted.take_if(|grantee| *grantee == slot);
                self.peer_state(slot, term, state);
            }
            ControlMessage::State(state) => {
                let was = self.follows();
                self.granted.take_if(|grantee| *grantee == slot);
                let demoted = !state.primary;
                self.peer_mut(slot).said = Some(state);
                if demoted {
                    self.peer_demoted(slot);
                }
                if was == Some(slot) && self.follows().is_none() {
                    // The primary's word held the others back.
                    self.meet_again();
                }
            }
            ControlMessage::Ready { released } => self.follower_ready(slot, released),
            ControlMessage::BeginResync { size_blocks } => self.begin_resync(slot, size_blocks),
            ControlMessage::ResyncBegun => self.resync_begun(slot),
            ControlMessage::Membership(membership) => self.receive_membership(slot, membership),
            ControlMessage::MembershipStored { change } => self.membership_stored(slot, change),
            ControlMessage::TermRequest {
                term,
                lineage,
                dirty,
            } => {
                self.term_requested(slot, term, &lineage, dirty);
            }
            ControlMessage::TermGranted {
                term,
                released,
                member,
            } => {
                let standing = if member { Entry::Member } else { Entry::Copy };
                self.term_granted(slot, term, released, standing);
            }
            ControlMessage::TermRefused { term, why } => self.term_refused(slot, term, &why),
            ControlMessage::SwitchoverRequest => self.switchover_requested(slot),
            ControlMessage::TakeOver if stale => {}
            // Whoever gives the role up says so first, on this connection or when it began.
            ControlMessage::TakeOver if self.follows().is_some() => {
                let why = "it wants to hand a role over that it did not give up";
                self.drop_link(slot, Mark::TakeOverUnasked, why);
            }
            ControlMessage::TakeOver => self.take_over(slot),
            ControlMessage::Refused { why } => self.peer_refused(slot, &why),
            ControlMessage::Released => self.peer_released(slot, "it has left in good order"),
            ControlMessage::ReleaseStored => self.release_stored(slot),
            ControlMessage::DiskFailed { stored: true } => {
                self.peer_has_no_copy(slot);
                self.peer_released(slot, "its backing device has failed");
            }
            ControlMessage::DiskFailed { stored: false } => {
                self.peer_has_no_copy(slot);
                self.peer_withdraws(slot);
            }
            ControlMessage::Resize { size_blocks, store } => {
                self.peer_resize(slot, size_blocks, store);
            }
            ControlMessage::Resized { size_blocks } => self.peer_resized(slot, size_blocks),
            ControlMessage::Discard => self.discard_asked(slot),
            ControlMessage::Goodbye { why } => self.goodbye(slot, &why),
            ControlMessage::Moment { moment } => self.heard_moment(slot, moment),
            ControlMessage::Seen { node, seen } => self.told_seen(slot, node, seen),
        }
    }

    /// The superblock with this change is stored.
    pub(crate) fn stored(&mut self, then: Then) {
        match then {
            Then::Changed(id) => self.change_stored(id),
            Then::Moment => self.tell_moment(),
            Then::Confirmed(generation) => self.generation_confirmed(generation),
            Then::Prepared {
                slot,
                link,
                released,
            } => self.prepared(slot, link, released),
            Then::Rewound { slot, link } => self.rewound_stored(slot, link),
            Then::BeginResync { slot, link } => self.send_begin_resync(slot, link),
            Then::Inconsistent { slot, link } => self.send_resync_begun(slot, link),
            Then::MembershipStored { slot, link, change } => {
                self.membership_adopted(slot, link, change);
            }
            Then::Granted {
                slot,
                link,
                term,
                released,
                member,
            } => {
                self.send_grant(slot, link, term, (released, member));
            }
            Then::Demoted => self.demoted(),
            Then::LeaveStored => self.leave_stored(),
            Then::NoCopyStored { slot, link } => self.no_copy_stored(slot, link),
            Then::ReleaseStored { slot, link } => {
                if self
                    .peer(slot)
                    .link
                    .is_some_and(|current| current.id == link)
                {
                    self.send(slot, Frame::Control(ControlMessage::ReleaseStored));
                    if !self.peer(slot).wanted {
                        self.disconnect_now(slot, "disconnected by the operator");
                    }
                }
            }
            Then::DiskFailureStored => {
                self.tell_disk_failed(true, "the backing device of this node has failed");
            }
            Then::Withdrawn => self.withdrawal_stored(),
            Then::ReceiptStored { command, slot } => self.receipt_stored(command, slot),
            Then::Outdated { command } => self.outdated(command),
            Then::Resized {
                slot,
                link,
                size_blocks,
            } => {
                self.send_resized(slot, link, size_blocks);
            }
            Then::ResizeDone => self.resize_done(),
            Then::Discarded { slot } => self.discarded(slot),
            Then::Stopped => self.halt(),
        }
    }

    /// The superblock with this change can't be stored. Whoever waits for it must hear so, and a node can be stopped all
    /// the same; peers hear that this disk has failed.
    pub(crate) fn not_stored(&mut self, then: Then) {
        let next = "replace the disk of this node";
        match then {
            Then::Demoted => self.demoted(),
            Then::LeaveStored => self.leave_not_stored(),
            Then::Stopped => self.halt(),
            Then::ReceiptStored { command, .. } => {
                let why = "the receipt can't be stored";
                self.refuse_command(command, Cause::ReceiptNotStorable, why, next);
            }
            Then::Outdated { command } => {
                let why = "this node can't record that it is outdated";
                self.refuse_command(command, Cause::OutdateNoDisk, why, next);
            }
            Then::Discarded { .. } => self.discard_not_stored(),
            Then::ResizeDone => {
                let why = "the new size can't be stored";
                self.resize_refused(Cause::ResizeNotStored, why);
            }
            Then::Changed(_)
            | Then::Moment
            | Then::Confirmed(_)
            | Then::Prepared { .. }
            | Then::Rewound { .. }
            | Then::BeginResync { .. }
            | Then::Inconsistent { .. }
            | Then::MembershipStored { .. }
            | Then::Granted { .. }
            | Then::NoCopyStored { .. }
            | Then::ReleaseStored { .. }
            | Then::DiskFailureStored
            | Then::Withdrawn
            | Then::Resized { .. } => {}
        }
    }

    /// The link is being closed on purpose. A standby whose primary parts from it leaves in good order, so that the
    /// primary may go on.
    fn goodbye(&mut self, slot: Slot, why: &str) {
        let follows = self.peer(slot).phase == Phase::Established
            && self
                .peer(slot)
                .said
                .as_ref()
                .is_some_and(|said| said.primary);
        if self.role == Role::Standby && follows && self.job.is_none() && self.stored_up_to_date() {
            self.start_job(
                None,
                Step::Releasing {
                    after: After::Part(slot),
                },
            );
            return self.release_self(After::Part(slot));
        }
        self.drop_link(slot, Mark::Goodbye, why);
    }

    fn peer_refused(&mut self, slot: Slot, why: &str) {
        let name = self.peer(slot).name.clone();
        self.resize_refused(Cause::ResizeRefused, &format!("{name}: {why}"));
        if let Some(job) = &self.job
            && matches!(job.step, Step::HandingOver { to } if to == slot)
        {
            self.finish_job(Err(No {
                cause: Cause::TakeOverRefused,
                why: format!("{name} refused to take over: {why}"),
                next: "this node is standby now: `twindisk promote` makes it primary again".into(),
            }));
            return;
        }
        self.report(crate::Report::Warning {
            what: format!("{name} refused: {why}"),
        });
    }

    /// The next decision that is possible now, if any.
    pub(crate) fn decide(&mut self) -> bool {
        for slot in self.slots() {
            if self.lead(slot) {
                return true;
            }
        }
        self.store_membership()
            || self.meet_when_written()
            || self.end_change()
            || self.begin_change()
            || self.promote_disk()
            || self.advance_job()
            || self.rest()
            || self.fail_over()
            || self.confirm_generation()
            || self.watch_suspension()
            || self.thaw()
            || self.read_after_writes()
            || self.end_verifies()
            || self.step_sweeps()
    }

    /// The operator prefers a fail-over to serving without a local disk.
    fn fail_over(&mut self) -> bool {
        if !self.fail_over_wanted || self.role == Role::Standby || self.job.is_some() {
            return false;
        }
        if self.frozen() {
            return false;
        }
        self.fail_over_wanted = false;
        let to = self.slots().find(|slot| {
            self.peer(*slot).phase == Phase::Established
                && self.store.peer(*slot).standing.is_counted()
        });
        if let Some(to) = to {
            self.begin_demotion(None, false, After::TakeOver(to));
        }
        to.is_some()
    }
}
