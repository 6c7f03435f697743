//! Role changes and stops: what takes several steps and is answered once.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Slot, SlotSet, Term},
    superblock::StoredDisk,
};

use crate::{
    Action, Cause, CommandId, CommandReply, DiskState, ExportState, LinkId, LinkIntent, Mark,
    Protocol, Report, Role, Time,
    mark::No,
    membership::Kind,
    mutants::Mutant,
    mutation::Origin,
    peer::Phase,
    replica::{Replica, Then},
};

/// Something that is under way for an operator (or a peer).
#[derive(Debug)]
pub(crate) struct Job {
    /// Who gets the answer.
    pub(crate) command: Option<CommandId>,
    pub(crate) step: Step,
    /// When it is given up, or cut short.
    deadline: Time,
}

/// What a job waits for.
#[derive(Debug)]
pub(crate) enum Step {
    /// Promotion: everything received is being applied.
    Applying {
        force: Option<String>,
        handover: Option<Slot>,
    },
    /// Promotion: connected peers are asked for the term.
    Asking {
        term: Term,
        waiting: SlotSet,
        released: SlotSet,
        /// The in-sync set for which the rights were looked at.
        counted: SlotSet,
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
                if self.mutations.is_empty() {
                    self.ask(force, handover)
                } else {
                    false
                }
            }
            // One change of the in-sync set at a time: a join that is being stored ends first.
            Step::Asking { waiting, .. } if waiting.is_empty() && self.change.is_none() => {
                self.stable_alone() && self.promote_now()
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

    /// Promotion: gathers the right to the next term (R2).
    fn ask(&mut self, force: Option<String>, handover: Option<Slot>) -> bool {
        if let Err(no) = self.may_promote(force.is_some(), handover) {
            self.finish_job(Err(no));
            return true;
        }
        let highest = self.store.get().term;
        let term = highest.next();
        let lineage = self.store.get().lineage.clone();
        let asked: SlotSet = self
            .slots()
            .filter(|slot| self.peer(*slot).phase == Phase::Established)
            .collect();
        for slot in asked.iter() {
            let dirty = self.peer(slot).bitmap.dirty() > 0;
            let lineage = lineage.clone();
            let request = ControlMessage::TermRequest {
                term,
                lineage,
                dirty,
            };
            self.send(slot, Frame::Control(request));
        }
        if let Some(job) = &mut self.job {
            job.step = Step::Asking {
                term,
                waiting: asked,
                released: SlotSet::EMPTY,
                counted: self.store.in_sync(),
                force,
            };
        }
        true
    }

    /// A peer wants the next term.
    pub(crate) fn term_requested(
        &mut self,
        slot: Slot,
        term: Term,
        lineage: &twindisk_format::lineage::Lineage,
        dirty: bool,
    ) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        if let Err((mark, why)) = self.may_grant(slot, term, lineage) {
            self.marks.mark(mark);
            let term = self.store.get().term;
            return self.send(
                slot,
                Frame::Control(ControlMessage::TermRefused { term, why }),
            );
        }
        // With a difference between the two this node can't stay in sync under the new primary.
        let released = dirty || self.peer(slot).bitmap.dirty() > 0;
        self.store.change(|superblock| superblock.term = term);
        if released {
            self.outdate("another standby is promoted, and the two may differ");
        }
        self.store.then(Then::Granted {
            slot,
            link: link.id,
            term,
            released,
        });
    }

    fn may_grant(
        &self,
        slot: Slot,
        term: Term,
        lineage: &twindisk_format::lineage::Lineage,
    ) -> Result<(), (Mark, String)> {
        use twindisk_format::lineage::Relation;
        let me = &self.config.name;
        let mine = self.store.get();
        let promoting = self
            .job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Asking { .. } | Step::Promoting));
        let other_primary = self.slots().find(|other| {
            let peer = self.peer(*other);
            *other != slot
                && peer.phase == Phase::Established
                && peer.said.as_ref().is_some_and(|said| said.primary)
        });
        if self.role == Role::Primary {
            Err((Mark::GrantPrimary, format!("{me} is primary")))
        } else if let Some(primary) = other_primary {
            let why = format!(
                "{me} is connected to the primary {}",
                self.peer(primary).name
            );
            Err((Mark::GrantFollows, why))
        } else if term <= mine.term {
            let why = format!("{me} is in term {} already", mine.term);
            Err((Mark::GrantTerm, why))
        } else if promoting && mine.node < self.peer(slot).node {
            let why = format!("{me} is being promoted itself");
            Err((Mark::GrantPromoting, why))
        } else if !matches!(
            mine.lineage.relation(lineage),
            Relation::Same | Relation::Behind
        ) {
            Err((Mark::GrantNewer, format!("{me} has newer data")))
        } else {
            Ok(())
        }
    }

    pub(crate) fn send_grant(&mut self, slot: Slot, link: LinkId, term: Term, released: bool) {
        if self
            .peer(slot)
            .link
            .is_none_or(|current| current.id != link)
        {
            return;
        }
        // Whoever has granted a term is no candidate for it.
        if self
            .job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Asking { .. }))
        {
            let name = self.peer(slot).name.clone();
            let why = format!("{name} asked for the term at the same time and comes first");
            self.finish_job(Err(No {
                cause: Cause::OutrunByPeer,
                why,
                next: format!("look at `twindisk status`; {name} is being promoted"),
            }));
        }
        self.send(
            slot,
            Frame::Control(ControlMessage::TermGranted { term, released }),
        );
    }

    /// A peer has granted the term asked for.
    pub(crate) fn term_granted(&mut self, slot: Slot, granted: Term, peer_released: bool) {
        let Some(Job {
            step:
                Step::Asking {
                    term,
                    waiting,
                    released,
                    ..
                },
            ..
        }) = &mut self.job
        else {
            return;
        };
        if *term == granted {
            waiting.remove(slot);
            if peer_released {
                released.insert(slot);
            }
        }
    }

    /// A peer has refused it.
    pub(crate) fn term_refused(&mut self, slot: Slot, term: Term, why: &str) {
        if self
            .job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Asking { .. }))
        {
            let name = &self.peer(slot).name;
            self.finish_job(Err(No {
                cause: Cause::TermRefused,
                why: format!("{name} refused the next term (it is in term {term}): {why}"),
                next: format!("look at `twindisk status` on {name}, then try again"),
            }));
        }
    }

    /// Every right is there: the new term is stored before the device opens (R2).
    fn promote_now(&mut self) -> bool {
        let Some(Job {
            step:
                Step::Asking {
                    term,
                    released,
                    counted,
                    force,
                    ..
                },
            ..
        }) = &self.job
        else {
            return false;
        };
        let (term, released, counted, force) = (*term, *released, *counted, force.clone());
        if self.metadata_failed || !self.disk_attached() {
            self.lost_disk_in_promotion();
            return true;
        }
        let joined = self
            .store
            .in_sync()
            .iter()
            .find(|slot| !counted.contains(*slot));
        if let Some(slot) = joined.filter(|_| force.is_none()) {
            // R1: another standby took it into the set meanwhile; it would not know that it has left again.
            let name = self.peer(slot).name.clone();
            self.finish_job(Err(No {
                cause: Cause::JoinedMeanwhile,
                why: format!("{name} joined the in-sync set while peers were asked for the term"),
                next: "try again: `twindisk promote` says what is missing now".into(),
            }));
            return true;
        }
        if self.store.get().term > term {
            self.finish_job(Err(No {
                cause: Cause::TermPassed,
                why: format!("a peer has moved past the term {term} that was asked for"),
                next: "look at `twindisk status`, then try again".into(),
            }));
            return true;
        }
        let staying: SlotSet = self
            .slots()
            .filter(|slot| {
                self.peer(*slot).phase == Phase::Established
                    && self.store.peer(*slot).in_sync
                    && !released.contains(*slot)
                    && self.peer(*slot).bitmap.dirty() == 0
            })
            .collect();
        for slot in released.iter() {
            self.peer_left(slot, "it has to be resynced from the new primary");
        }
        if let Some(reason) = force {
            let what = format!("promoted by force: {reason}");
            self.report(Report::Warning { what });
        }
        let generation = self.new_generation(term);
        self.before_promotion = Some(self.store.get().clone());
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        self.store.change(|superblock| {
            superblock.term = term;
            superblock.lineage.begin(generation);
            superblock.unconfirmed = staying != SlotSet::EMPTY;
            superblock.primary = true;
            superblock.active = true;
            superblock.disk = StoredDisk::UpToDate;
            for (index, record) in superblock.peers.iter_mut().enumerate() {
                record.in_sync &= Slot::new(index).is_some_and(|slot| staying.contains(slot));
                if !for_ever {
                    record.receipt = None;
                }
            }
        });
        if let Some(job) = &mut self.job {
            job.step = Step::Promoting;
        }
        self.start_change(Kind::Promote);
        true
    }

    /// The disk failed while the right was being gathered, or the term stored: the others are to be asked now.
    pub(crate) fn lost_disk_in_promotion(&mut self) {
        self.before_promotion = None;
        if self.store.get().primary {
            self.store.change(|superblock| superblock.primary = false);
        }
        self.finish_job(Err(No {
            cause: Cause::DiskFailedMeanwhile,
            why: format!("the disk of this node has failed: {}", self.disk_why),
            next: "promote another node; replace the disk of this one".into(),
        }));
    }

    /// R2: the new term could not be stored, so there is no promotion.
    pub(crate) fn promotion_not_stored(&mut self) {
        self.change = None;
        if let Some(before) = self.before_promotion.take() {
            self.store.change(|superblock| *superblock = before);
        }
        self.finish_job(Err(No {
            cause: Cause::PromotionNotStored,
            why: "the new term could not be stored".into(),
            next: "replace the disk of this node; promote another one".into(),
        }));
    }

    /// The new term is stored everywhere it must be: open for writing.
    pub(crate) fn promoted(&mut self) {
        self.role = Role::Primary;
        for slot in self.slots() {
            // What an earlier primary sent there may not be stable: the first flush covers it.
            self.peer_mut(slot).sent.dirty |= self.peer(slot).phase == Phase::Established;
        }
        self.crashed = false;
        self.take_part();
        self.set_disk(DiskState::UpToDate, "");
        let term = self.store.get().term.0;
        self.report(Report::Role {
            role: Role::Primary,
            term,
            why: "promoted".into(),
        });
        let size_blocks = self.size_blocks();
        self.set_export(ExportState::Open { size_blocks });
        for peer in &mut self.peers {
            // A primary that is gone has left dirty bits; one that handed over had made everything stable.
            peer.received.recent.clear();
        }
        self.reconnect_released();
        if self
            .job
            .as_ref()
            .is_some_and(|job| matches!(job.step, Step::Promoting))
        {
            let message = format!("{} is primary in term {term}", self.config.name);
            self.finish_job(Ok(CommandReply { message }));
        }
    }

    /// Peers that have to be brought up from here meet the new primary afresh.
    fn reconnect_released(&mut self) {
        for slot in self.slots() {
            let peer = self.peer(slot);
            let counted = self.store.peer(slot).in_sync || peer.protocol == Protocol::A;
            let equal = counted && peer.bitmap.dirty() == 0;
            if peer.undecided() || peer.phase == Phase::Established && !equal {
                self.drop_link(slot, Mark::MeetAsPrimary, "meeting it again as primary");
            }
        }
    }

    /// Demotion: waits until nothing is under way and everything is stable.
    fn drain(&mut self, abandon: bool, after: After) -> bool {
        // A stop that took too long is cut short whatever it waits for.
        let cut_short = abandon && (self.frozen() || after == After::Stop);
        if cut_short {
            self.give_up_all_clients();
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
            After::Disconnect(_) | After::Part(_) | After::Stop => self.release_self(after),
        }
    }

    /// Tells every peer that is not in the middle of something what this node is now.
    fn tell_state(&mut self) {
        for slot in self.slots() {
            let at_rest = matches!(
                self.peer(slot).phase,
                Phase::Established | Phase::Waiting | Phase::SplitBrain { .. } | Phase::Unrelated
            );
            if at_rest {
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
        {
            let message = format!("{} is primary", self.peer(slot).name);
            self.finish_job(Ok(CommandReply { message }));
        }
    }

    /// Parts in good order: recorded as Outdated first, so that the peers may go on without asking anybody.
    pub(crate) fn release_self(&mut self, after: After) {
        let whom = self.parting_from(after);
        // A primary that stays connected goes on counting on this copy, and no other standby may go on without it.
        let counted_on = self
            .follows()
            .is_some_and(|primary| !whom.contains(primary));
        let useful = !counted_on && whom.iter().any(|slot| self.store.peer(slot).in_sync);
        if !useful || self.metadata_failed || self.store.get().disk != StoredDisk::UpToDate {
            return self.parted(after);
        }
        if !self.mutant(Mutant::ReleaseWithoutOutdated) {
            self.outdate("it parted from its peers in good order");
        }
        if let Some(job) = &mut self.job {
            job.step = Step::Releasing { after };
        }
        if self.mutant(Mutant::ReleaseBeforeStored) {
            return self.leave_stored();
        }
        self.store.then(Then::LeaveStored);
    }

    fn parting_from(&self, after: After) -> SlotSet {
        let established = |slot: &Slot| self.peer(*slot).phase == Phase::Established;
        match after {
            After::Disconnect(slot) | After::Part(slot) => {
                [slot].into_iter().filter(established).collect()
            }
            After::Nothing | After::TakeOver(_) | After::Stop => {
                self.slots().filter(established).collect()
            }
        }
    }

    /// Recorded: now the peers may know.
    pub(crate) fn leave_stored(&mut self) {
        let Some(Job {
            step: Step::Releasing { after },
            ..
        }) = &self.job
        else {
            return;
        };
        let after = *after;
        let waiting = self.parting_from(after);
        for slot in waiting.iter() {
            self.send(slot, Frame::Control(ControlMessage::Released));
        }
        if let Some(job) = &mut self.job {
            job.step = Step::Parting { waiting, after };
        }
    }

    /// It can't be recorded: the peers hear nothing, and this node leaves all the same.
    pub(crate) fn leave_not_stored(&mut self) {
        if let Some(Job {
            step: Step::Releasing { after },
            ..
        }) = &self.job
        {
            let after = *after;
            self.parted(after);
        }
    }

    /// A peer has stored the receipt about this node.
    pub(crate) fn release_stored(&mut self, slot: Slot) {
        if let Some(Job {
            step: Step::Parting { waiting, .. },
            ..
        }) = &mut self.job
        {
            waiting.remove(slot);
        }
    }

    /// Everybody who can know that this node has left does.
    fn parted(&mut self, after: After) {
        match after {
            After::Disconnect(slot) => {
                self.disconnect_now(slot, "disconnected by the operator");
                let message = format!("disconnected from {}", self.peer(slot).name);
                self.finish_job(Ok(CommandReply { message }));
            }
            After::Part(slot) => {
                self.drop_link(slot, Mark::OtherSideParts, "the other side disconnects");
                self.finish_job(Ok(CommandReply {
                    message: "parted".into(),
                }));
            }
            After::Stop => {
                if let Some(job) = &mut self.job {
                    job.step = Step::Stopping;
                }
            }
            After::Nothing | After::TakeOver(_) => unreachable!("only partings come here"),
        }
    }

    pub(crate) fn disconnect_now(&mut self, slot: Slot, why: &str) {
        let peer = self.peer_mut(slot);
        let before = peer.connection();
        peer.wanted = false;
        why.clone_into(&mut peer.why);
        if let Some(link) = &mut peer.link {
            link.closing = true;
        }
        self.send_goodbye(slot, why);
        let intent = LinkIntent::Disconnect {
            why: why.to_owned(),
        };
        self.act(Action::Link { peer: slot, intent });
        if self.peer(slot).link.is_none() {
            self.set_phase(slot, Phase::Down, why);
            self.report_connection(slot, before);
        }
    }

    fn send_goodbye(&mut self, slot: Slot, why: &str) {
        self.send(
            slot,
            Frame::Control(ControlMessage::Goodbye {
                why: why.to_owned(),
            }),
        );
    }

    /// Stopping: dirty bits first, the mark of a clean stop last.
    fn stop_stored(&mut self) -> bool {
        if !self.mutations.is_empty() && self.disk_attached() {
            return false;
        }
        let clean = !self.metadata_failed && self.disk_attached();
        if clean && !self.stable_here() {
            return false;
        }
        if !clean {
            self.halt();
            return true;
        }
        if !self.all_bitmaps_stored() {
            self.write_all_bitmaps();
            return false;
        }
        // A crash that no comparison has made good yet must not be forgotten.
        let forgets = self.mutant(Mutant::StopForgetsCrash);
        if self.store.get().active && (!self.crashed || forgets) {
            self.store.change(|superblock| superblock.active = false);
        }
        if let Some(job) = &mut self.job {
            job.step = Step::Halting;
        }
        self.store.then(Then::Stopped);
        true
    }

    /// The clean stop is stored.
    pub(crate) fn halt(&mut self) {
        for slot in self.slots() {
            if self.peer(slot).link.is_some() {
                self.send_goodbye(slot, "this node is being stopped");
                let why = "this node is being stopped".to_owned();
                self.act(Action::Link {
                    peer: slot,
                    intent: LinkIntent::Disconnect { why },
                });
            }
        }
        let message = "stopped".to_owned();
        self.finish_job(Ok(CommandReply { message }));
        self.halted = true;
        self.act(Action::Halt {
            why: "stopped by the operator".into(),
        });
    }

    /// Answers whoever asked for the job, and ends it.
    pub(crate) fn finish_job(&mut self, result: Result<CommandReply, No>) {
        let Some(job) = self.job.take() else { return };
        if let Some(id) = job.command {
            self.reply(id, result);
        } else if let Err(no) = result {
            self.marks.refuse(no.cause);
            self.report(Report::Warning { what: no.why });
        }
    }

    /// A peer is gone: a job that waits for it goes on without it, or can't.
    pub(crate) fn job_lost_peer(&mut self, slot: Slot, why: &str) {
        let name = self.peer(slot).name.clone();
        let in_sync = self.store.peer(slot).in_sync && !self.receipt_holds(slot);
        let Some(job) = &mut self.job else { return };
        match &mut job.step {
            // One that has granted the term and released nothing stays in the set, or there is no promotion.
            Step::Asking {
                waiting,
                released,
                force,
                ..
            } if waiting.contains(slot)
                || in_sync && !released.contains(slot) && force.is_none() =>
            {
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
            Step::Draining { .. } => self.finish_job(Err(No {
                cause: Cause::DrainTooLong,
                why: "requests under way could not be finished in time; this node is still primary"
                    .into(),
                next:
                    "`twindisk status` says what they wait for; `twindisk demote --abandon` drops \
                       what was never acknowledged"
                        .into(),
            })),
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
