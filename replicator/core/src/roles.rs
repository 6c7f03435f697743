//! Who may be primary: the boot rule, and what a promotion needs (R2, R3, R5).

use twindisk_format::{
    ids::{Slot, SlotSet},
    limits::EXTENT_BLOCKS,
    superblock::{Lack, StoredDisk},
};

use crate::{
    Action, Cause, DiskState, LinkIntent, Mark, Report, Role,
    jobs::{After, Step},
    mark::No,
    mutants::Mutant,
    peer::Phase,
    replica::Replica,
};

impl Replica {
    /// R5: always standby, the disk at most Consistent, unless this node alone held the newest term.
    pub(crate) fn boot(&mut self, crashed: bool) {
        self.lacks_by_crash(crashed);
        let stored = self.store.get();
        let alone = self.store.in_sync().is_empty();
        let (disk, why) = match stored.disk {
            StoredDisk::Failed => (
                DiskState::Failed,
                "it failed before and was not resynced since",
            ),
            StoredDisk::Inconsistent if stored.lineage.newest().is_none() => {
                (DiskState::Inconsistent, "it has no data yet")
            }
            StoredDisk::Inconsistent => (
                DiskState::Inconsistent,
                "a resync into it had begun and not ended",
            ),
            StoredDisk::Outdated => (DiskState::Outdated, "it is recorded as outdated"),
            StoredDisk::UpToDate if alone || self.mutant(Mutant::BootUpToDate) => {
                (DiskState::UpToDate, "")
            }
            StoredDisk::UpToDate => (
                DiskState::Consistent,
                "not compared with the other replicas since the start",
            ),
        };
        self.disk = disk;
        why.clone_into(&mut self.disk_why);
        // What an earlier run wrote may be in a cache only: the first flush covers it.
        self.flusher.dirty = self.disk_attached();
        if crashed && !self.mutant(Mutant::IgnoreExtentsAtBoot) {
            self.extents_become_dirty();
        }
        let (boot, began) = (self.boot, self.store.moment());
        self.store.change(|superblock| {
            superblock.primary = false;
            superblock.runs.begin(boot, began);
        });
        for slot in self.slots() {
            self.act(Action::Link {
                peer: slot,
                intent: LinkIntent::Connect,
            });
        }
        self.bound_after_crash();
        self.tell_binding();
        let term = self.store.get().term.0;
        self.report(Report::Role {
            role: Role::Standby,
            term,
            why: "started".into(),
        });
        self.write_metadata();
    }

    /// After a crash any block of an active extent may differ from any peer.
    fn extents_become_dirty(&mut self) {
        let size = self.size_blocks();
        let extents: Vec<u32> = self.al.extents().collect();
        for peer in &mut self.peers {
            for &extent in &extents {
                let start = u64::from(extent) * EXTENT_BLOCKS;
                let blocks = size.saturating_sub(start).min(EXTENT_BLOCKS) as u32;
                if blocks > 0 {
                    peer.bitmap
                        .set(twindisk_format::ids::BlockRange::new(start, blocks));
                }
            }
        }
    }

    /// A Consistent disk is known to be the newest once every replica of its in-sync set is accounted for (R5).
    pub(crate) fn promote_disk(&mut self) -> bool {
        if self.disk != DiskState::Consistent || self.store.get().disk != StoredDisk::UpToDate {
            return false;
        }
        // Who left has gone on nowhere, but may have what this node's disk has lost in a crash.
        if self.lack() != Lack::Nothing {
            return false;
        }
        let accounted = self
            .store
            .in_sync()
            .iter()
            .all(|slot| self.has_released_itself(slot));
        if accounted {
            self.set_disk(
                DiskState::UpToDate,
                "every other replica of its set has left in good order",
            );
        }
        accounted
    }

    /// Begins a promotion.
    pub(crate) fn promote(&mut self, command: crate::CommandId, force: Option<String>) {
        if self.role == Role::Primary {
            return self.refuse_command(
                command,
                Cause::PrimaryAlready,
                "this node is primary already",
                "nothing is to be done",
            );
        }
        if let Err(no) = self.may_promote(force.is_some(), None) {
            return self.reply(command, Err(no));
        }
        self.start_job(
            Some(command),
            Step::Applying {
                force,
                handover: None,
            },
        );
    }

    /// Why this node can't be promoted, and what would make it possible (R2, R3).
    pub(crate) fn may_promote(&self, forced: bool, handover: Option<Slot>) -> Result<(), No> {
        let refuse = |cause, why: String, next: String| Err(No { cause, why, next });
        if let Some(primary) = self.connected_primary(handover) {
            let name = &self.peer(primary).name;
            return refuse(
                Cause::PeerIsPrimary,
                format!("{name} is primary and connected"),
                if self.store.peer(primary).conflict.is_some() {
                    format!(
                        "the two are in conflict: demote {name} there first, or `twindisk disconnect` it"
                    )
                } else {
                    "use `twindisk switchover` to hand the role over".into()
                },
            );
        }
        if !self.disk_attached() || self.store.get().lineage.newest().is_none() {
            return refuse(
                Cause::NoData,
                format!(
                    "the disk of this node is {:?}: {}",
                    self.disk, self.disk_why
                ),
                "only a resync from another node, or `twindisk init --first`, gives it data".into(),
            );
        }
        if self.saving.is_some() {
            return refuse(
                Cause::Saving,
                "this node is saving its changes, to give them up".into(),
                "wait for it; then it follows".into(),
            );
        }
        if self.peers.iter().any(|peer| peer.pending.is_some()) {
            return refuse(
                Cause::Joining,
                "this node is just joining the in-sync set".into(),
                "try again in a moment".into(),
            );
        }
        if forced {
            return Ok(());
        }
        // R11: no agent, arbiter or cluster manager decides between two forks. A primary may hand over within its own.
        if let Some(no) = self.conflict_refusal()
            && handover.is_none()
            && !self.mutant(Mutant::PromoteInConflict)
        {
            return Err(no);
        }
        let mutated = match self.disk {
            DiskState::Outdated => self.mutant(Mutant::PromoteOutdated),
            DiskState::Inconsistent => self.mutant(Mutant::PromoteInconsistent),
            _ => false,
        };
        if self.disk != DiskState::UpToDate && handover.is_none() && !mutated {
            return refuse(
                Cause::DiskNotUpToDate,
                format!(
                    "the disk of this node is {:?}: {}",
                    self.disk, self.disk_why
                ),
                self.how_to_be_up_to_date(),
            );
        }
        if handover.is_none() && self.has_unwritten() {
            if let Some(space) = self.no_space_now(self.now) {
                return refuse(
                    Cause::StillWriting,
                    format!(
                        "what this node received before the connection broke, and may have acknowledged, can't be \
                         written: {}",
                        space.why
                    ),
                    "free room there, or at your own risk `twindisk promote --force`: what waits is kept, and written \
                     when there is room"
                        .into(),
                );
            }
            return refuse(
                Cause::StillWriting,
                "this node is still writing what it received before the connection broke".into(),
                "wait for its disk; set no other node aside before that: nobody else may have it"
                    .into(),
            );
        }
        let without = self.without_right();
        let missing: Vec<&str> = without.iter().map(|slot| &*self.peer(slot).name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let (each, name) = match missing.as_slice() {
            [name] => ("", *name),
            _ => ("for each of them: ", "NODE"),
        };
        refuse(
            Cause::NoRight,
            format!(
                "{} may still be primary: silence is no proof of anything else",
                missing.join(" or ")
            ),
            format!(
                "{each}connect to it; or power it off and say so with `twindisk receipt --fenced --about {name}`; or \
                 stop it there, say `twindisk outdate` there, and here `twindisk receipt --released --about {name}`"
            ),
        )
    }

    /// The members of the in-sync set that are not here, and about which there is no right.
    pub(crate) fn without_right(&self) -> SlotSet {
        let in_sync = self.store.in_sync();
        let here = |slot: Slot| self.peer(slot).phase == Phase::Established;
        let without = |slot: &Slot| {
            !here(*slot) && !self.receipt_holds(*slot) && !self.mutant(Mutant::PromoteWithoutRight)
        };
        in_sync.iter().filter(without).collect()
    }

    fn connected_primary(&self, handover: Option<Slot>) -> Option<Slot> {
        self.slots().find(|slot| {
            let peer = self.peer(*slot);
            Some(*slot) != handover
                && peer.link.is_some()
                && peer.said.as_ref().is_some_and(|said| said.primary)
        })
    }

    fn how_to_be_up_to_date(&self) -> String {
        let names: Vec<&str> = self
            .store
            .in_sync()
            .iter()
            .map(|slot| &*self.peer(slot).name)
            .collect();
        let names = if names.is_empty() {
            "another replica".into()
        } else {
            names.join(", ")
        };
        match self.disk {
            DiskState::Consistent => format!(
                "connect to {names} so that the two can be compared; if it is gone for good, \
                 `twindisk promote --force` takes this copy as it is"
            ),
            _ => format!(
                "connect to {names} and let the resync finish; if every newer copy is gone for \
                 good, `twindisk promote --force` takes this copy as it is"
            ),
        }
    }

    /// What an operator would have to do to promote this node; empty when nothing.
    pub(crate) fn promote_needs(&self) -> Vec<String> {
        if self.role == Role::Primary {
            return Vec::new();
        }
        match self.may_promote(false, None) {
            Ok(()) => Vec::new(),
            Err(no) => vec![format!("{}: {}", no.why, no.next)],
        }
    }

    /// Begins to give the role up.
    pub(crate) fn begin_demotion(
        &mut self,
        command: Option<crate::CommandId>,
        abandon: bool,
        after: After,
    ) {
        self.start_job(command, Step::Draining { abandon, after });
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            for (request, arrived) in held {
                self.client_request(request, arrived);
            }
        }
    }

    /// The primary that was hands over to this node.
    pub(crate) fn take_over(&mut self, from: Slot) {
        self.peer_demoted(from);
        self.meet_again();
        if self.job.is_some() || self.role == Role::Primary {
            let why = "something else is under way".to_owned();
            self.marks.mark(Mark::TakeOverBusy);
            return self.send(
                from,
                twindisk_format::frame::Frame::Control(
                    twindisk_format::control::ControlMessage::Refused { why },
                ),
            );
        }
        self.start_job(
            None,
            Step::Applying {
                force: None,
                handover: Some(from),
            },
        );
        if let Some(job) = &mut self.job {
            job.asked_by = Some(from);
            job.deadline = self.now + self.config.timings.stop_timeout / 2;
        }
    }
}
