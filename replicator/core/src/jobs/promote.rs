//! Promotion, step by step: the peers are asked for the next term, the new term is stored, the device opens (R2).

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Slot, SlotSet, Term},
    lineage::{Lineage, Relation},
    superblock::{Lack, Standing, StoredDisk},
};

use super::{Job, Step};
use crate::{
    Cause, CommandReply, DiskState, ExportState, LinkId, Mark, Report, Role, binding,
    mark::No,
    membership::{Entry, Kind},
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// Promotion: gathers the right to the next term (R2).
    pub(super) fn ask(&mut self, force: Option<String>, handover: Option<Slot>) -> bool {
        if let Err(no) = self.may_promote(force.is_some(), handover) {
            if handover.is_some() && no.cause == Cause::NoRight {
                // Another standby is just being met again: the old primary waits, and is told if nothing comes of it.
                return false;
            }
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
                asked,
                waiting: asked,
                released: SlotSet::EMPTY,
                copies: SlotSet::EMPTY,
                counted: self.store.in_sync(),
                asked_in: (highest, self.store.get().epoch),
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
        lineage: &Lineage,
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
        self.leave_the_set_to(slot);
        // Writes may come before the in-sync set of the new primary is stored here.
        self.take_part();
        self.store.change(|superblock| superblock.term = term);
        if released {
            self.outdate("another standby is promoted, and the two may differ");
        }
        let member = self.stored_up_to_date();
        self.store.then(Then::Granted {
            slot,
            link: link.id,
            term,
            released,
            member,
        });
    }

    fn may_grant(&self, slot: Slot, term: Term, lineage: &Lineage) -> Result<(), (Mark, String)> {
        let me = &self.config.name;
        let mine = self.store.get();
        // Of two that ask at the same time the lower number comes first; who is asked no more has begun its generation.
        let first = mine.node < self.peer(slot).node;
        let promoting = self.job.as_ref().is_some_and(|job| {
            matches!(job.step, Step::Asking { .. }) && first || matches!(job.step, Step::Promoting)
        });
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
        } else if promoting {
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

    pub(crate) fn send_grant(
        &mut self,
        slot: Slot,
        link: LinkId,
        term: Term,
        (released, member): (bool, bool),
    ) {
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
        // That it has begun to part since is not stored yet, and says so itself when it is.
        let was = member && !self.mutant(Mutant::GrantOfTheMoment);
        let member = was || self.stored_up_to_date();
        self.send(
            slot,
            Frame::Control(ControlMessage::TermGranted {
                term,
                released,
                member,
            }),
        );
    }

    /// A peer has granted the term asked for.
    pub(crate) fn term_granted(
        &mut self,
        slot: Slot,
        granted: Term,
        peer_released: bool,
        peer_standing: Entry,
    ) {
        let Some(Job {
            step:
                Step::Asking {
                    term,
                    waiting,
                    released,
                    copies,
                    ..
                },
            ..
        }) = &mut self.job
        else {
            return;
        };
        if *term == granted && waiting.remove(slot) {
            if peer_released {
                released.insert(slot);
            }
            if peer_standing == Entry::Copy {
                copies.insert(slot);
            }
        }
    }

    /// A peer has refused it.
    pub(crate) fn term_refused(&mut self, slot: Slot, term: Term, why: &str) {
        if self.job.as_ref().is_some_and(
            |job| matches!(&job.step, Step::Asking { waiting, .. } if waiting.contains(slot)),
        ) {
            let name = &self.peer(slot).name;
            self.finish_job(Err(No {
                cause: Cause::TermRefused,
                why: format!("{name} refused the next term (it is in term {term}): {why}"),
                next: format!("look at `twindisk status` on {name}, then try again"),
            }));
        }
    }

    /// Every right is there: the new term is stored before the device opens (R2).
    pub(super) fn promote_now(&mut self) -> bool {
        let Some(Job {
            step:
                Step::Asking {
                    term,
                    asked,
                    released,
                    copies,
                    counted,
                    asked_in,
                    force,
                    ..
                },
            ..
        }) = &self.job
        else {
            return false;
        };
        let (term, asked, released) = (*term, *asked, *released);
        // R14: who was never told that it is in is no member of the new set either, before all others know it.
        let copies = *copies;
        let (counted, asked_in, force) = (*counted, *asked_in, force.clone());
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
                    && self.store.peer(*slot).standing.is_counted()
                    && !released.contains(*slot)
                    && !copies.contains(*slot)
                    && self.peer(*slot).bitmap.dirty() == 0
            })
            .collect();
        // One that has granted the term and released nothing stays in the set, or there is no promotion (R1).
        let lost = self.store.in_sync().iter().find(|slot| {
            let accounted = staying.contains(*slot) || released.contains(*slot);
            asked.contains(*slot) && !accounted && !(copies.contains(*slot) && self.is_here(*slot))
        });
        if let Some(slot) =
            lost.filter(|_| force.is_none() && !self.mutant(Mutant::PromoteWithoutRight))
        {
            let peer = self.peer(slot);
            let why = format!(
                "{} was lost after it had granted the term: {}",
                peer.name, peer.why
            );
            self.finish_job(Err(No {
                cause: Cause::LostWhileAsking,
                why,
                next: "try again: `twindisk promote` says what is missing now".into(),
            }));
            return true;
        }
        // R15: what this copy has become is looked at when the right is used, too: a handover may have waited for long.
        let any = self.mutant(Mutant::PromoteOutdated) || self.mutant(Mutant::PromoteInconsistent);
        if !self.stored_up_to_date() && force.is_none() && !any {
            self.finish_job(Err(No {
                cause: Cause::RightGone,
                why: "this copy ceased to be the newest while the right to the term was being gathered".into(),
                next: "let it be brought up, then try again".into(),
            }));
            return true;
        }
        // R15: a right is looked at when it is used, in the term and epoch in which it was asked for.
        if self.store.get().epoch != asked_in.1 && force.is_none() {
            if let Some(job) = &mut self.job
                && job.asked_by.is_some()
            {
                // The primary that hands over waits: once more, in the new epoch.
                job.step = Step::Applying {
                    force: None,
                    handover: job.asked_by,
                };
                return true;
            }
            self.finish_job(Err(No {
                cause: Cause::SetChanged,
                why: "the in-sync set changed while peers were asked for the term".into(),
                next: "try again: `twindisk promote` says what is missing now".into(),
            }));
            return true;
        }
        let gone = self.store.in_sync().iter().find(|slot| {
            let granted =
                staying.contains(*slot) || released.contains(*slot) || copies.contains(*slot);
            !granted && !self.receipt_held(*slot, asked_in)
        });
        if let Some(slot) =
            gone.filter(|_| force.is_none() && !self.mutant(Mutant::PromoteWithoutRight))
        {
            let name = self.peer(slot).name.clone();
            self.finish_job(Err(No {
                cause: Cause::RightGone,
                why: format!(
                    "{name} may have come back, or been taken into the in-sync set, while the right to the term was \
                     being gathered: what was known of it does not hold any more"
                ),
                next: "try again: `twindisk promote` says what is missing now".into(),
            }));
            return true;
        }
        for slot in released.iter() {
            self.peer_left(slot, "it has to be resynced from the new primary");
        }
        let held = self.binding_held(force.is_some());
        if let Some(reason) = force {
            let what = format!("promoted by force: {reason}");
            self.report(Report::Warning { what });
            self.conflicts_decided();
        }
        let rewound = self.store.get().rewound;
        let generation = self.new_generation(term);
        let binding = binding::at_promotion(held, generation);
        self.before_promotion = Some(self.store.get().clone());
        let for_ever = self.mutant(Mutant::ReceiptIsForEver);
        let host = self.host;
        self.store.change(|superblock| {
            superblock.term = term;
            superblock.lineage.begin(generation);
            superblock.unconfirmed = staying != SlotSet::EMPTY;
            superblock.primary = true;
            superblock.binding = Some(binding);
            superblock.active = true;
            superblock.host = host;
            superblock.lack = Lack::Nothing;
            superblock.disk = StoredDisk::UpToDate;
            superblock.rewound = false;
            for (index, record) in superblock.peers.iter_mut().enumerate() {
                if rewound {
                    // A person takes it as it is: its bits are as old as its data.
                    record.base = None;
                }
                let stays = Slot::new(index).is_some_and(|slot| staying.contains(slot));
                record.standing = if stays { Standing::In } else { Standing::Out };
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
        self.granted = None;
        self.role = Role::Primary;
        self.inherits();
        for slot in self.slots() {
            // What an earlier primary sent there may not be stable: the first flush covers it.
            self.peer_mut(slot).sent.dirty |= self.peer(slot).phase == Phase::Established;
        }
        self.set_disk(DiskState::UpToDate, "");
        let term = self.store.get().term.0;
        self.report(Report::Role {
            role: Role::Primary,
            term,
            why: "promoted".into(),
        });
        self.tell_binding();
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
            let equal = peer.bitmap.dirty() == 0;
            if peer.undecided() || peer.phase == Phase::Established && !equal {
                self.drop_link(slot, Mark::MeetAsPrimary, "meeting it again as primary");
            }
        }
    }
}
