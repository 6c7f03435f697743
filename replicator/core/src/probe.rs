//! Metadata that dies in silence. A quiet node stores nothing for hours, and would learn that it can't when it is to take
//! over. So while somebody counts on it the superblock is written once more whenever nothing was for a third of the request
//! timeout. A write that fails is what every failed metadata write is; one that does not come back is a disk that hangs.
//!
//! A standby whose metadata hangs can't record that it leaves. It *withdraws*: it is Outdated from now on, in memory,
//! which only a resync ends (R3), and says so to its primary while that has a copy of its own. The word holds for as
//! long as a fence receipt: this process is never promoted, and the next one is bound by R5. What was to be recorded is,
//! when the device answers again; then the two meet afresh.

use core::time::Duration;

use twindisk_format::ids::{BootId, Epoch, Slot, Term};

use crate::{
    Mark, Report, Role, Time,
    limits::PROBES_PER_REQUEST_TIMEOUT,
    mutants::Mutant,
    peer::Phase,
    replica::{Op, Replica, Then},
};

/// When the metadata is looked at, and what came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    /// When it is to be looked at next.
    due: Time,
    /// This standby has withdrawn, and could not store that yet.
    withdrawn: bool,
}

/// A member has withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withdrawn {
    /// From this set.
    term: Term,
    epoch: Epoch,
    /// In this run of its process, and it holds for no other.
    run: BootId,
}

impl Probe {
    pub(crate) fn new(now: Time, request_timeout: Duration) -> Self {
        Self {
            due: now + request_timeout / PROBES_PER_REQUEST_TIMEOUT,
            withdrawn: false,
        }
    }

    pub(crate) const fn is_due(&self, now: Time) -> bool {
        self.due.0 <= now.0
    }
}

impl Replica {
    /// When the metadata is to be looked at, if this peer counts on it.
    pub(crate) fn probe_for(&self, slot: Slot) -> Option<Time> {
        let counts = matches!(self.peer(slot).phase, Phase::Established)
            && self.store.peer(slot).standing.is_counted();
        (counts && !self.metadata_failed).then_some(self.probe.due)
    }

    fn probe_interval(&self) -> Duration {
        self.config.timings.request_timeout / PROBES_PER_REQUEST_TIMEOUT
    }

    /// The superblock was stored: its device works.
    pub(crate) fn metadata_works(&mut self) {
        self.probe.due = self.now + self.probe_interval();
    }

    /// Nothing was stored for a while.
    pub(crate) fn probe_metadata(&mut self) {
        self.probe.due = self.now + self.probe_interval();
        if self.metadata_failed || self.mutant(Mutant::NoProbe) {
            return;
        }
        if let Some(since) = self.oldest_metadata_write() {
            let limit = since + self.config.timings.request_timeout;
            if self.now < limit {
                self.probe.due = limit;
            } else {
                self.metadata_hangs();
            }
        } else if self.slots().any(|slot| self.probe_for(slot).is_some()) {
            // With nobody to go on, a node is not to learn that it should stop.
            self.marks.mark(Mark::MetadataProbed);
            self.store.change(|_| {});
        }
    }

    /// Since when the oldest write of the metadata is under way.
    pub(crate) fn oldest_metadata_write(&self) -> Option<Time> {
        self.oldest_of(|op| matches!(op, Op::Superblock | Op::AlPage(_) | Op::BitmapPage(..)))
    }

    /// It has not answered for as long as a request may take. A primary like that is for its agent to judge: what it has
    /// under way would stay under way.
    fn metadata_hangs(&mut self) {
        let primary = self
            .follows()
            .filter(|slot| self.store.peer(*slot).standing.is_counted());
        let Some(primary) = primary else { return };
        let busy = self.job.is_some() || self.granted.is_some() || self.change.is_some();
        if busy || !self.disk_attached() || !self.stored_up_to_date() {
            return;
        }
        let name = self.peer(primary).name.clone();
        let ms = self.config.timings.request_timeout.as_millis();
        let why = format!("its metadata device has not finished a write for {ms} ms");
        let what =
            format!("{why}: this node leaves the in-sync set, and {name} goes on without it");
        self.report(Report::Warning { what });
        self.marks.mark(Mark::MetadataHangs);
        self.probe.withdrawn = true;
        if !self.mutant(Mutant::WithdrawInWordsOnly) {
            self.outdate(&why);
        }
        for slot in self.slots() {
            // What is stored later must not undo it.
            self.peer_mut(slot).pending = None;
        }
        self.store.then(Then::Withdrawn);
        self.tell_disk_failed(false, "the metadata of this node can't be written now");
    }

    /// Whether what this node stores now is of a time before it withdrew.
    pub(crate) const fn has_withdrawn(&self) -> bool {
        self.probe.withdrawn
    }

    /// Its metadata can't be written, for good or for now.
    pub(crate) const fn has_nothing_to_store_on(&self) -> bool {
        self.metadata_failed || self.probe.withdrawn
    }

    /// The device answers again, and that this node is Outdated is stored.
    pub(crate) fn withdrawal_stored(&mut self) {
        self.probe.withdrawn = false;
        self.meet_again();
    }

    /// A member of this primary's set says that it can't store that it leaves. Of one that has followed this primary on
    /// this very connection that is a right like a fence receipt, for as long as it would hold: what it has stored
    /// says that it follows, so a later process of it waits for a comparison (R5).
    pub(crate) fn peer_withdraws(&mut self, slot: Slot) {
        let member = self.role == Role::Primary
            && self.peer(slot).phase == Phase::Established
            && self.store.peer(slot).standing.is_counted();
        let run = self.peer(slot).said.as_ref().map(|said| said.boot);
        if let Some(run) = run.filter(|_| member) {
            let (term, epoch) = (self.store.get().term, self.store.get().epoch);
            self.peer_mut(slot).withdrawn = Some(Withdrawn { term, epoch, run });
            self.marks.mark(Mark::MemberWithdraws);
            self.report(Report::Receipt {
                about: self.peer(slot).node.0,
                kind: "withdrawal".into(),
                term: term.0,
                detail:
                    "it can't write its metadata, and is no copy for as long as its process lives"
                        .into(),
            });
        }
        let why = "its metadata can't be written: a failover to it would be refused; replace its disk, or start its \
                   process anew once its device works";
        self.peer_left(slot, why);
    }

    /// Whether a member has withdrawn from this very set, and the process that did is the one which was met last.
    pub(crate) fn withdrawal_holds(&self, slot: Slot) -> bool {
        let (term, epoch) = (self.store.get().term, self.store.get().epoch);
        if self.mutant(Mutant::WithdrawalIsForEver) {
            return self.peer(slot).withdrawn.is_some();
        }
        // While the two compare nobody knows yet who it is.
        let said = self.peer(slot).said.as_ref();
        said.is_some_and(|said| {
            let run = said.boot;
            self.peer(slot).withdrawn == Some(Withdrawn { term, epoch, run })
        })
    }
}
