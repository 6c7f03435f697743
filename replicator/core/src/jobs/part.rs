//! Parting from peers in good order, recorded as Outdated first, and stopping.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Slot, SlotSet},
    superblock::StoredDisk,
};

use super::{After, Job, Step};
use crate::{
    Action, CommandReply, LinkIntent, Mark,
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// Parts in good order: recorded as Outdated first, so that the peers may go on without asking anybody.
    pub(crate) fn release_self(&mut self, after: After) {
        let whom = self.parting_from(after);
        // A primary that stays connected goes on counting on this copy, and no other standby may go on without it.
        let counted_on = self
            .follows()
            .is_some_and(|primary| !whom.contains(primary));
        let useful = !counted_on
            && whom
                .iter()
                .any(|slot| self.store.peer(slot).standing.is_counted());
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
            After::Disconnect(slot) | After::Part(slot) | After::NoSpace(slot) => {
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
    pub(super) fn parted(&mut self, after: After) {
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
            After::NoSpace(slot) => {
                self.part_for_space(slot);
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

    /// Stopping: dirty bits first, the mark of a clean stop last.
    pub(super) fn stop_stored(&mut self) -> bool {
        // What finds no space is not waited for: the next start takes this stop for a crash, which it makes good.
        let lacks_space = self.only_lacks_space();
        if !self.mutations.is_empty() && self.disk_attached() && !lacks_space {
            return false;
        }
        let clean = !self.metadata_failed && self.disk_attached() && !lacks_space;
        if clean && !self.stable_here() {
            return false;
        }
        if !clean {
            self.halt();
            return true;
        }
        // What became of the last that came is told to nobody who has stopped: others may lack it.
        for slot in self.slots() {
            self.recent_becomes_dirty(slot);
        }
        if !self.all_bitmaps_stored() {
            self.write_all_bitmaps();
            return false;
        }
        if self.store.get().active {
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
}
