//! Clients' requests on the primary: taken, held while I/O is suspended, given up when the client is gone.

use crate::{
    Action, Arbiter, ClientOp, ClientRequest, ConnectionId, DiskState, Failure, Mark, Report, Role,
    SuspensionCode, Time,
    limits::{MAX_HELD_REQUESTS, MAX_MUTATIONS},
    mutants::Mutant,
    mutation::{Body, Mutation, Origin, Stage},
    replica::{Replica, Suspended},
};
use twindisk_format::ids::{Seq, SlotSet};

impl Replica {
    /// A client has asked for something, when it `arrived`.
    pub(crate) fn client_request(&mut self, request: ClientRequest, arrived: Time) {
        if self.role != Role::Primary || !self.export_open {
            return self.refuse(&request, Mark::NotPrimary);
        }
        if self.giving_up() {
            return self.refuse(&request, Mark::GivingUp);
        }
        let full = self.has_most_mutations() || !self.held.is_empty();
        let frozen = self.frozen();
        let waits = match request.op {
            ClientOp::Read { .. } => self.read_waits(frozen),
            ClientOp::Write { .. } | ClientOp::Zero { .. } | ClientOp::Flush => frozen || full,
        };
        if !waits {
            return self.serve(request, arrived);
        }
        if self.held.len() >= MAX_HELD_REQUESTS {
            return self.refuse(&request, Mark::HeldTooMany);
        }
        self.held.push_back((request, arrived));
    }

    fn has_most_mutations(&self) -> bool {
        self.mutations.len() >= MAX_MUTATIONS || self.window.is_full()
    }

    fn serve(&mut self, request: ClientRequest, arrived: Time) {
        let ClientRequest {
            request: id,
            connection,
            op,
        } = request;
        let origin = Origin::Client {
            request: id,
            connection,
            arrived,
        };
        let size = self.size_blocks();
        match op {
            ClientOp::Read { range, .. }
            | ClientOp::Write { range, .. }
            | ClientOp::Zero { range, .. }
                if !self.within(range, size) =>
            {
                self.refuse(&request, Mark::BeyondDevice);
            }
            ClientOp::Read { range, buf } => self.begin_read(request, arrived, range, buf),
            ClientOp::Write {
                range,
                buf,
                fill,
                fua,
            } => {
                self.begin_client_mutation(origin, Body::Write { buf, fill }, range, fua);
            }
            ClientOp::Zero { range, unmap, fua } => {
                self.begin_client_mutation(origin, Body::Zero { unmap }, range, fua);
            }
            ClientOp::Flush => self.client_flush(id, connection, arrived),
        }
    }

    fn begin_client_mutation(
        &mut self,
        origin: Origin,
        body: Body,
        range: twindisk_format::ids::BlockRange,
        fua: bool,
    ) {
        let began = self.now;
        self.begin_mutation(Mutation {
            origin,
            body,
            range,
            fua,
            seq: Seq(0),
            depends_on: Seq(0),
            lock: None,
            heated: false,
            stage: Stage::Locking,
            waiting: SlotSet::EMPTY,
            outstanding: SlotSet::EMPTY,
            answered: false,
            cancelled: false,
            began,
            issued: began,
        });
    }

    fn refuse(&mut self, request: &ClientRequest, why: Mark) {
        self.marks.mark(why);
        let failure = match why {
            Mark::NotPrimary => Failure::NotPrimary,
            Mark::GivingUp => Failure::Shutdown,
            _ => Failure::Io,
        };
        if let ClientOp::Write { buf, .. } = request.op {
            self.act(Action::Release { buf });
        }
        self.act(Action::Complete {
            request: request.request,
            result: Err(failure),
        });
    }

    fn forget_request(&mut self, request: &ClientRequest) {
        if let ClientOp::Write { buf, .. } = request.op {
            self.act(Action::Release { buf });
        }
        self.act(Action::Forget {
            request: request.request,
        });
    }

    /// A client's connection is gone: what has not begun is dropped, what has is finished silently.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) {
        self.give_up(|other| other == connection);
    }

    /// Gives up the requests of the connections that `of` names.
    pub(crate) fn give_up(&mut self, of: impl Fn(ConnectionId) -> bool) {
        let held = std::mem::take(&mut self.held);
        for (request, arrived) in held {
            if of(request.connection) && !self.mutant(Mutant::GhostWrites) {
                self.forget_request(&request);
            } else {
                self.held.push_back((request, arrived));
            }
        }
        let mut ready = Vec::new();
        for (index, mutation) in &mut self.mutations {
            if matches!(mutation.origin, Origin::Client { connection, .. } if of(connection))
                && !mutation.answered
            {
                mutation.cancelled = true;
                if matches!(mutation.stage, Stage::Locking | Stage::Frozen) {
                    ready.push(index);
                }
            }
        }
        for index in ready {
            self.frozen.retain(|&other| other != index);
            self.drop_unissued(index);
        }
        for (_, flush) in &mut self.flushes {
            flush.abandoned |= of(flush.connection);
        }
        self.check_flushes();
        for (_, read) in &mut self.reads {
            read.abandon(&of);
        }
    }

    /// This node stops being the place to write to: no client of it is answered any more.
    pub(crate) fn give_up_all_clients(&mut self) {
        self.give_up(|_| true);
        self.give_up_resize();
        let issued: Vec<usize> = self
            .mutations
            .iter_mut()
            .filter(|(_, mutation)| mutation.cancelled && !mutation.answered)
            .map(|(index, mutation)| {
                // What it still misses on peers is covered by their dirty bits.
                mutation.waiting = SlotSet::EMPTY;
                index
            })
            .collect();
        for index in issued {
            self.check_done(index);
        }
        if self.space.is_short() {
            self.forget_clients_without_space();
        }
    }

    /// New writes must wait: this node may not be the one primary, or a change of the in-sync set is under way.
    pub(crate) fn frozen(&self) -> bool {
        self.role != Role::Primary
            || self.suspended.is_some()
            || self.detach_wanted
            || self.change.as_ref().is_some_and(|change| change.freezes())
            || !self.is_confirmed()
            || !self.joining() && self.is_anyone_missing()
    }

    /// R1: whether what all in-sync replicas have done may be told to clients now. Beside a witness that takes the lease, as
    /// a read does: who has stood still may have been replaced, and not know it yet (S3).
    pub(crate) fn may_complete(&self) -> bool {
        let leased = self.config.arbiter != Arbiter::Witness
            || self.lease_holds()
            || self.mutant(Mutant::CompleteAfterLease);
        self.role == Role::Primary
            && leased
            && !self.detach_wanted
            && self.change.as_ref().is_none_or(|change| !change.freezes())
            && self.is_confirmed()
            && !self.is_anyone_missing()
    }

    /// R9: whether a read waits. Beside a witness nobody who is lost is known to be off: then each read needs the lease.
    fn read_waits(&mut self, frozen: bool) -> bool {
        let leased = frozen || self.config.arbiter == Arbiter::Witness;
        let answered = !leased || self.lease_holds();
        if !answered {
            self.marks.mark(Mark::ReadHeld);
        } else if frozen {
            self.marks.mark(Mark::ReadByLease);
        }
        !answered
    }

    /// R9: a frozen primary may answer reads while every missing peer was there recently; beside a witness every primary,
    /// while every member was. That counts from the sending of what it answered: an answer may have been on its way, or lain
    /// in a buffer here, for long.
    fn lease_holds(&self) -> bool {
        let lease = self.config.timings.read_lease;
        let arrival = self.mutant(Mutant::LeaseFromArrival);
        let renewed = |slot| {
            let peer = self.peer(slot);
            if arrival {
                Some(peer.heard)
            } else {
                peer.answered
            }
        };
        self.mutant(Mutant::ReadAfterLease)
            || self.role == Role::Primary
                && self.leased().iter().all(|slot| {
                    renewed(slot).is_some_and(|renewed| self.now.since(renewed) < lease)
                })
    }

    /// Whose word a read rests on: who may have gone on without this node.
    fn leased(&self) -> SlotSet {
        if self.config.arbiter == Arbiter::Witness {
            self.store.in_sync()
        } else {
            self.missing()
        }
    }

    /// Notices that I/O must wait, or may go on.
    pub(crate) fn watch_suspension(&mut self) -> bool {
        let wanted = self.suspension();
        match (&mut self.suspended, wanted) {
            (Some(suspended), Some((why, release))) => {
                suspended.why = why;
                suspended.release = release;
                false
            }
            (None, Some((why, release))) => {
                let since = self.now;
                self.marks.mark(if self.data_without(self.missing()) {
                    Mark::InSyncLost
                } else {
                    Mark::LastCopyLost
                });
                self.report(Report::Suspended {
                    why: why.clone(),
                    release: release.clone(),
                });
                self.suspended = Some(Suspended {
                    since,
                    why,
                    release,
                });
                true
            }
            (Some(_), None) => {
                self.suspended = None;
                let why = match self.role {
                    Role::Primary => "every replica of the in-sync set answers in this term",
                    Role::Standby => "this node is primary no more: nothing waits",
                };
                let why = why.to_owned();
                self.report(Report::Resumed { why });
                true
            }
            (None, None) => false,
        }
    }

    /// Why I/O waits, for programs.
    pub(crate) fn suspension_code(&self) -> SuspensionCode {
        if self.is_change_stuck() {
            SuspensionCode::Metadata
        } else if self.data_without(self.missing()) {
            SuspensionCode::PeerLost
        } else {
            SuspensionCode::LastCopyLost
        }
    }

    /// Why I/O must wait, and what would release it.
    fn suspension(&self) -> Option<(String, String)> {
        if self.role == Role::Primary && self.is_change_stuck() {
            let why =
                "the in-sync set had to shrink, and the metadata of this node can't be written"
                    .into();
            let release = "`twindisk serve` is started anew here once the metadata can be written: the nodes compare then";
            return Some((why, release.into()));
        }
        if self.role != Role::Primary || self.change.is_some() || !self.is_anyone_missing() {
            return None;
        }
        let missing: Vec<_> = self.missing().iter().collect();
        let first = *missing.first()?;
        let names: Vec<&str> = missing.iter().map(|slot| &*self.peer(*slot).name).collect();
        let names = names.join(", ");
        let why = format!(
            "the in-sync replica on {names} is lost: {}",
            self.peer(first).why
        );
        if !self.data_without(self.missing()) {
            let release = format!("{names} comes back: nobody else has the data");
            return Some((why, release));
        }
        let release = format!(
            "{names} comes back, or proof that it can't be primary: after powering it off \
             `twindisk receipt --fenced`, after `twindisk outdate` on it `twindisk receipt \
             --released`, or at your own risk `twindisk receipt --force`"
        );
        Some((why, release))
    }

    /// A peer is on its way into the in-sync set and has not confirmed yet.
    fn joining(&self) -> bool {
        self.change.as_ref().is_some_and(|change| !change.freezes())
    }

    /// Goes on with what waited for a suspension to end.
    pub(crate) fn thaw(&mut self) -> bool {
        if self.frozen() {
            // Reads may go on while the lease lasts; they wait with the others once it has not.
            return false;
        }
        if self.parked && self.may_complete() {
            self.parked = false;
            let issued: Vec<usize> = self.window.iter().collect();
            issued.into_iter().for_each(|index| self.check_done(index));
            self.check_flushes();
            return true;
        }
        if let Some(index) = self.frozen.pop_front() {
            self.issue(index);
            return true;
        }
        if !self.has_most_mutations()
            && let Some((request, arrived)) = self.next_held()
        {
            if self.giving_up() {
                self.refuse(&request, Mark::GivingUp);
            } else {
                self.serve(request, arrived);
            }
            return true;
        }
        false
    }

    fn next_held(&mut self) -> Option<(ClientRequest, Time)> {
        if self.mutant(Mutant::GhostWrites) {
            return self.held.pop_back();
        }
        // R9: a read that waits for the lease keeps nobody else waiting.
        let leased = self.config.arbiter != Arbiter::Witness || self.lease_holds();
        let goes = |(request, _): &(ClientRequest, Time)| {
            leased || !matches!(request.op, ClientOp::Read { .. }) || self.giving_up()
        };
        let at = self.held.iter().position(goes)?;
        self.held.remove(at)
    }

    /// The disk can be given to clients: the newest data there is.
    pub(crate) fn disk_is_up_to_date(&self) -> bool {
        self.disk == DiskState::UpToDate
    }
}
