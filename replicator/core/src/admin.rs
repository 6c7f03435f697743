//! The operator's commands.

use twindisk_format::{control::ControlMessage, frame::Frame, ids::Slot, superblock::StoredDisk};

use crate::{
    Action, Arbiter, Cause, Command, CommandId, CommandReply, DiskState, LinkIntent, Mark, Refusal,
    Role,
    jobs::{After, Job, Step},
    mark::No,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// The operator wants something.
    pub(crate) fn command(&mut self, id: CommandId, command: Command) {
        let stop = matches!(command, Command::Stop);
        let busy = self.job.is_some() && needs_quiet(&command);
        if stop {
            return self.stop(id);
        }
        if busy {
            return self.refuse_command(
                id,
                Cause::RolesBusy,
                "a change of roles is under way",
                "`twindisk status` shows it; try again when it is done",
            );
        }
        match command {
            Command::Promote { force } => self.promote(id, force),
            Command::Demote { abandon } => self.demote(id, abandon),
            Command::Switchover { to } => self.switchover(id, to),
            Command::Connect { peer } => self.connect(id, peer),
            Command::Disconnect { peer } => self.disconnect(id, peer),
            Command::Receipt {
                about,
                kind,
                detail,
                met,
            } => self.receipt(id, about, kind, detail, met),
            Command::Outdate => self.outdate_by_hand(id),
            Command::Trust { reason } => self.trust(id, &reason),
            Command::Verify {
                first,
                blocks,
                repair,
            } => self.verify(id, first, blocks, repair),
            Command::VerifyStop => self.verify_stop(id),
            Command::Resync { peer, full } => self.resync(id, peer, full),
            Command::Resize { size_blocks } => self.resize(id, size_blocks),
            Command::Discard { peer, keep } => self.discard(id, peer, keep),
            Command::Stop => unreachable!("handled above"),
        }
    }

    pub(crate) fn reply(&mut self, id: CommandId, result: Result<CommandReply, No>) {
        let result = result.map_err(|no| {
            self.marks.refuse(no.cause);
            Refusal {
                code: no.cause.code(),
                why: no.why,
                next: no.next,
            }
        });
        self.act(Action::Reply { id, result });
    }

    pub(crate) fn done(&mut self, id: CommandId, message: impl Into<String>) {
        self.reply(
            id,
            Ok(CommandReply {
                message: message.into(),
            }),
        );
    }

    pub(crate) fn refuse_command(
        &mut self,
        id: CommandId,
        cause: Cause,
        why: impl Into<String>,
        next: impl Into<String>,
    ) {
        self.reply(
            id,
            Err(No {
                cause,
                why: why.into(),
                next: next.into(),
            }),
        );
    }

    fn demote(&mut self, id: CommandId, abandon: bool) {
        if self.role == Role::Standby {
            return self.refuse_command(
                id,
                Cause::StandbyAlready,
                "this node is standby already",
                "nothing is to be done",
            );
        }
        if self.frozen() && !abandon {
            let why = self.suspended.as_ref().map_or_else(
                || "the in-sync set is being changed".to_owned(),
                |suspended| suspended.why.clone(),
            );
            return self.refuse_command(
                id,
                Cause::DemoteSuspended,
                format!("I/O is suspended, requests under way can't be finished: {why}"),
                "release the suspension first (`twindisk status` says how), or `twindisk demote \
                 --abandon`: it drops what was never acknowledged",
            );
        }
        self.begin_demotion(Some(id), abandon, After::Nothing);
    }

    fn switchover(&mut self, id: CommandId, to: Option<Slot>) {
        if self.role == Role::Standby {
            return self.ask_for_switchover(id);
        }
        let established: Vec<Slot> = self
            .slots()
            .filter(|slot| self.peer(*slot).phase == Phase::Established)
            .filter(|slot| to.is_none_or(|to| to == *slot))
            .collect();
        match established[..] {
            [to] if self.frozen() => {
                let name = self.peer(to).name.clone();
                self.refuse_command(
                    id,
                    Cause::SwitchoverSuspended,
                    format!("I/O is suspended: handing over to {name} can't be done in order"),
                    "`twindisk status` says what would release it",
                );
            }
            [to] => self.begin_demotion(Some(id), false, After::TakeOver(to)),
            [] => self.refuse_command(
                id,
                Cause::NobodyToHandTo,
                "no peer that is connected and equal could take over",
                "`twindisk status` shows the peers: connect one and let its resync finish",
            ),
            _ => self.refuse_command(
                id,
                Cause::SeveralToHandTo,
                "several peers could take over",
                "name one with `--to NODE`",
            ),
        }
    }

    fn ask_for_switchover(&mut self, id: CommandId) {
        let primary = self.slots().find(|slot| {
            let peer = self.peer(*slot);
            peer.phase == Phase::Established && peer.said.as_ref().is_some_and(|said| said.primary)
        });
        let Some(slot) = primary else {
            return self.refuse_command(
                id,
                Cause::NobodyToTakeFrom,
                "no connected peer is primary: there is nobody to take over from",
                "use `twindisk promote`",
            );
        };
        self.send(slot, Frame::Control(ControlMessage::SwitchoverRequest));
        let name = self.peer(slot).name.clone();
        self.done(
            id,
            format!("asked {name} to hand over; `twindisk status --watch` shows it"),
        );
    }

    /// A standby asks this primary to hand over.
    pub(crate) fn switchover_requested(&mut self, slot: Slot) {
        let ready = self.role == Role::Primary
            && self.job.is_none()
            && self.peer(slot).phase == Phase::Established
            && !self.frozen();
        if ready {
            self.begin_demotion(None, false, After::TakeOver(slot));
        } else {
            self.marks.mark(Mark::HandOverUnable);
            let why = "this node is not primary, or not able to hand over now".to_owned();
            self.send(slot, Frame::Control(ControlMessage::Refused { why }));
        }
    }

    fn connect(&mut self, id: CommandId, slot: Slot) {
        let peer = self.peer_mut(slot);
        let before = peer.connection();
        peer.wanted = true;
        let name = peer.name.clone();
        if peer.link.is_none() {
            self.set_phase(slot, Phase::Down, "connecting");
            self.report_connection(slot, before);
        }
        self.act(Action::Link {
            peer: slot,
            intent: LinkIntent::Connect,
        });
        self.done(id, format!("connecting to {name}"));
    }

    fn disconnect(&mut self, id: CommandId, slot: Slot) {
        if self.role == Role::Standby {
            self.start_job(
                Some(id),
                Step::Releasing {
                    after: After::Disconnect(slot),
                },
            );
            return self.release_self(After::Disconnect(slot));
        }
        let name = self.peer(slot).name.clone();
        if self.peer(slot).phase == Phase::Established
            && self.store.peer(slot).standing.is_counted()
        {
            // The standby leaves; once it has, this node goes on without it.
            let why = "the primary disconnects".to_owned();
            self.peer_mut(slot).wanted = false;
            self.send(slot, Frame::Control(ControlMessage::Goodbye { why }));
            return self.done(
                id,
                format!("{name} was asked to leave; the primary goes on alone"),
            );
        }
        self.disconnect_now(slot, "disconnected by the operator");
        self.done(id, format!("disconnected from {name}"));
    }

    fn outdate_by_hand(&mut self, id: CommandId) {
        if self.role == Role::Primary {
            return self.refuse_command(
                id,
                Cause::OutdatePrimary,
                "this node is primary",
                "demote it first",
            );
        }
        if self.metadata_failed || !self.disk_attached() {
            return self.refuse_command(
                id,
                Cause::OutdateNoDisk,
                "this node has no disk to record it on",
                "power the node off and use `twindisk receipt --fenced` on the other one",
            );
        }
        if self.config.arbiter == Arbiter::Witness && self.store.get().went_on_alone() {
            // Others run that do not know it, and would take the record for their right to go on.
            return self.refuse_command(
                id,
                Cause::OutdateNewest,
                "this node went on without another one: nobody else has what it has acknowledged since",
                "connect the two; if this copy is to be given up, `twindisk promote --force` on the other one",
            );
        }
        if let Some(slot) = self.slots().find(|slot| self.peer(*slot).link.is_some()) {
            let name = self.peer(slot).name.clone();
            return self.refuse_command(
                id,
                Cause::OutdateConnected,
                format!("{name} is connected: this node can leave in good order"),
                "`twindisk disconnect` does that, and tells the other side",
            );
        }
        self.outdate("outdated by the operator");
        self.store.then(Then::Outdated { command: id });
    }

    pub(crate) fn outdated(&mut self, id: CommandId) {
        let term = self.store.get().term;
        let name = self.config.name.clone();
        self.done(
            id,
            format!(
                "{name} is recorded as outdated in term {term}: it can't be promoted before a \
                 resync; on the other node: `twindisk receipt --released --about {name}`"
            ),
        );
    }

    /// R5: after a boot nobody but a person can say that no other copy is newer, when the others do not come back. If they are
    /// wrong, the two are found to have gone on both when they meet (R11).
    fn trust(&mut self, id: CommandId, reason: &str) {
        if self.disk == DiskState::UpToDate {
            return self.done(id, "this copy is UpToDate: nothing is to be done");
        }
        if self.disk != DiskState::Consistent || self.store.get().disk != StoredDisk::UpToDate {
            return self.refuse_command(
                id,
                Cause::TrustNotConsistent,
                format!(
                    "the disk of this node is {:?}: {}",
                    self.disk, self.disk_why
                ),
                "only a Consistent copy can be the newest; `twindisk promote --force` takes this one as it is",
            );
        }
        if let Some(no) = self.conflict_refusal() {
            return self.reply(id, Err(no));
        }
        if let Some(slot) = self.slots().find(|slot| self.peer(*slot).link.is_some()) {
            let name = self.peer(slot).name.clone();
            return self.refuse_command(
                id,
                Cause::TrustConnected,
                format!("{name} is connected: the two find out by themselves whose data is newer"),
                "`twindisk status` shows it",
            );
        }
        self.set_disk(
            DiskState::UpToDate,
            &format!("a person vouches for it: {reason}"),
        );
        self.done(
            id,
            "this copy counts as the newest as long as this process lives",
        );
    }

    fn verify(&mut self, id: CommandId, first: u64, blocks: Option<u64>, repair: bool) {
        let size = self.size_blocks();
        let end = blocks
            .map_or(size, |blocks| first.saturating_add(blocks))
            .min(size);
        if first >= end {
            return self.refuse_command(
                id,
                Cause::VerifyBeyond,
                format!("block {first} lies beyond the device of {size} blocks"),
                "name a range within the device",
            );
        }
        if !self.disk_attached() {
            return self.refuse_command(
                id,
                Cause::VerifyNoDisk,
                format!("this node has no disk to compare with: {}", self.disk_why),
                "verify from a node that has a disk, after a switchover to it",
            );
        }
        let followed = self.slots().find(|slot| {
            let peer = self.peer(*slot);
            peer.phase == Phase::Established && peer.said.as_ref().is_some_and(|said| said.primary)
        });
        if let Some(slot) = followed {
            let name = self.peer(slot).name.clone();
            return self.refuse_command(
                id,
                Cause::VerifyOnStandby,
                format!("{name} is primary: a verify starts where writes start"),
                format!("give the command on {name}"),
            );
        }
        let slots: Vec<Slot> = self
            .slots()
            .filter(|slot| self.peer(*slot).phase == Phase::Established)
            .filter(|slot| self.peer(*slot).sweep.is_none())
            .collect();
        if slots.is_empty() {
            return self.refuse_command(
                id,
                Cause::VerifyNobody,
                "no peer is connected and equal, or a verify is running already",
                "`twindisk status` shows the peers",
            );
        }
        let names: Vec<String> = slots
            .iter()
            .map(|slot| self.peer(*slot).name.clone())
            .collect();
        for slot in slots {
            self.begin_verify(slot, first..end, repair);
        }
        self.done(
            id,
            format!("comparing {} blocks with {}", end - first, names.join(", ")),
        );
    }

    fn verify_stop(&mut self, id: CommandId) {
        if self.stop_verify_of_all() {
            self.done(id, "the verify stops");
        } else {
            self.refuse_command(
                id,
                Cause::NoVerify,
                "no verify is running",
                "nothing is to be done",
            );
        }
    }

    /// Everything that may differ is sent again: the peer leaves the in-sync set and follows anew.
    fn resync(&mut self, id: CommandId, slot: Slot, full: bool) {
        let name = self.peer(slot).name.clone();
        if self.store.peer(slot).standing.is_counted() || self.peer(slot).link.is_none() {
            return self.refuse_command(
                id,
                Cause::ResyncNotNow,
                format!("{name} is in sync, or not connected"),
                format!(
                    "give `twindisk outdate` on {name} first (or `disconnect` and `connect`), or \
                     use `twindisk verify --repair`"
                ),
            );
        }
        if full {
            self.store
                .change(|superblock| superblock.peers[slot.index()].base = None);
        }
        self.drop_link(slot, Mark::ResyncAsked, "a resync was asked for");
        self.done(id, format!("{name} will be resynced"));
    }

    /// Always gets there, also when suspended.
    fn stop(&mut self, id: CommandId) {
        if let Some(Job {
            step: Step::Stopping | Step::Halting | Step::Parting { .. },
            ..
        }) = &self.job
        {
            return self.refuse_command(
                id,
                Cause::StoppingAlready,
                "it is being stopped already",
                "wait for it",
            );
        }
        self.finish_job(Err(No {
            cause: Cause::InterruptedByStop,
            why: "this node is being stopped".into(),
            next: "start it again, then try again".into(),
        }));
        if self.role == Role::Primary {
            let abandon = self.frozen();
            return self.begin_demotion(Some(id), abandon, After::Stop);
        }
        self.start_job(Some(id), Step::Releasing { after: After::Stop });
        self.release_self(After::Stop);
    }

    /// Whether this disk may be kept as it is by a peer that leaves.
    pub(crate) fn stored_up_to_date(&self) -> bool {
        self.store.get().disk == StoredDisk::UpToDate
    }
}

/// Whether a command changes what a job is working on.
const fn needs_quiet(command: &Command) -> bool {
    match command {
        Command::Promote { .. }
        | Command::Demote { .. }
        | Command::Switchover { .. }
        | Command::Disconnect { .. }
        | Command::Outdate
        | Command::Trust { .. }
        | Command::Resize { .. }
        | Command::Discard { .. } => true,
        Command::Connect { .. }
        | Command::Receipt { .. }
        | Command::Verify { .. }
        | Command::VerifyStop
        | Command::Resync { .. }
        | Command::Stop => false,
    }
}
