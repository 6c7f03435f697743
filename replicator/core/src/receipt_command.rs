//! A receipt that is brought from outside: a fencing that was verified, or a person's word. Whoever brings it may know of a
//! death long before this node has heard silence for long enough. So a peer that is still linked is asked: it answers, and
//! the receipt is refused; or it does not, and its link is given up for what it is.

use twindisk_format::{ids::Slot, superblock::ReceiptKind};

use crate::{
    Cause, CommandId, Mark, Role, Time,
    limits::{RECEIPT_LOOK, RECEIPT_LOOKS},
    mutants::Mutant,
    replica::{Replica, Then},
};

/// A receipt about a peer that is still linked, while that one may answer.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptCheck {
    command: CommandId,
    kind: ReceiptKind,
    detail: String,
    /// When the ping was sent whose answer counts: that of an earlier one may have been on its way when it died.
    pinged: Time,
    /// How often there is still time for an answer; none left: the link is being given up. Counted instead of measured, so
    /// that a process that itself stood still judges nobody by it.
    looks: u32,
    next: Time,
}

impl Replica {
    /// What is claimed was done when the two had met `met` times, if that is known.
    pub(crate) fn receipt(
        &mut self,
        id: CommandId,
        slot: Slot,
        kind: ReceiptKind,
        detail: String,
        met: Option<u64>,
    ) {
        if let Err(no) = self.may_grant_rights(kind)
            && !self.mutant(Mutant::FenceBesideArbiter)
        {
            return self.reply(id, Err(no));
        }
        let name = self.peer(slot).name.clone();
        if met.is_some_and(|met| met != self.peer(slot).met) {
            return self.refuse_command(
                id,
                Cause::ReceiptMetSince,
                format!("{name} was connected since that was done: it proves nothing any more"),
                "do it again, if it is still needed",
            );
        }
        if self.peer(slot).link.is_some() {
            return self.ask_whether_it_is_there(id, slot, kind, detail);
        }
        self.take_receipt(id, slot, kind, &detail);
    }

    fn take_receipt(&mut self, id: CommandId, slot: Slot, kind: ReceiptKind, detail: &str) {
        let name = self.peer(slot).name.clone();
        if !self.store.peer(slot).standing.is_counted() {
            return self.refuse_command(
                id,
                Cause::ReceiptNotNeeded,
                format!("{name} is not in the in-sync set: no right about it is needed"),
                "nothing is to be done",
            );
        }
        if self.metadata_failed {
            return self.refuse_command(
                id,
                Cause::ReceiptNotStorable,
                "the metadata of this node can't be written",
                "replace its disk",
            );
        }
        self.store_receipt(slot, kind, detail);
        self.store.then(Then::ReceiptStored { command: id, slot });
    }

    fn ask_whether_it_is_there(
        &mut self,
        id: CommandId,
        slot: Slot,
        kind: ReceiptKind,
        detail: String,
    ) {
        if self.peer(slot).receipt_check.is_some() {
            let name = self.peer(slot).name.clone();
            return self.refuse_command(
                id,
                Cause::ReceiptAsking,
                format!("{name} is just being asked whether it is there, for another receipt"),
                "try again in a moment",
            );
        }
        let now = self.now;
        self.ping(slot);
        let peer = self.peer(slot);
        let asked = peer.pings.back() == Some(&now);
        let hears = peer
            .link
            .is_some_and(|link| link.paused.is_none() && !link.closing);
        let apart = matches!(kind, ReceiptKind::Release | ReceiptKind::Arbiter);
        if apart || !asked || !hears {
            // A release comes from its own mouth; a term was granted in place of one that was not connected; and who can't hear an answer can't miss it.
            return self.refuse_linked(id, slot, "is connected");
        }
        self.peer_mut(slot).receipt_check = Some(ReceiptCheck {
            command: id,
            kind,
            detail,
            pinged: now,
            looks: RECEIPT_LOOKS,
            next: now + RECEIPT_LOOK,
        });
    }

    fn refuse_linked(&mut self, id: CommandId, slot: Slot, what: &str) {
        let name = self.peer(slot).name.clone();
        self.refuse_command(
            id,
            Cause::ReceiptConnected,
            format!("{name} {what}: it is not gone"),
            format!("power {name} off or stop it first, then say so"),
        );
    }

    /// A peer has answered the ping that was sent then.
    pub(crate) fn answered_receipt(&mut self, slot: Slot, sent: Time) {
        let answers = |check: &mut ReceiptCheck| sent >= check.pinged && check.looks > 0;
        if let Some(check) = self.peer_mut(slot).receipt_check.take_if(answers) {
            self.refuse_linked(check.command, slot, "answers");
        }
    }

    /// A peer has connected anew while it was being asked.
    pub(crate) fn came_back_before_receipt(&mut self, slot: Slot) {
        if let Some(check) = self.peer_mut(slot).receipt_check.take() {
            self.refuse_linked(check.command, slot, "has connected anew");
        }
    }

    /// The link is gone, because it did not answer or by itself: nothing speaks against the receipt any more.
    pub(crate) fn take_checked_receipt(&mut self, slot: Slot) {
        if let Some(check) = self.peer_mut(slot).receipt_check.take() {
            self.take_receipt(check.command, slot, check.kind, &check.detail);
        }
    }

    /// Time passes for a peer that is being asked.
    pub(crate) fn look_for_answer(&mut self, slot: Slot) {
        let now = self.now;
        let Some(check) = &mut self.peer_mut(slot).receipt_check else {
            return;
        };
        if check.looks == 0 || now < check.next {
            return;
        }
        check.looks -= 1;
        check.next = now + RECEIPT_LOOK;
        if check.looks == 0 {
            let why = format!(
                "it did not answer for {} ms, and somebody says: {}",
                (RECEIPT_LOOK * RECEIPT_LOOKS).as_millis(),
                check.detail
            );
            self.drop_link(slot, Mark::ReceiptUnanswered, why);
        }
    }

    pub(crate) fn receipt_stored(&mut self, id: CommandId, slot: Slot) {
        let name = self.peer(slot).name.clone();
        let next = match self.role {
            Role::Primary => "I/O goes on without it".to_owned(),
            Role::Standby => match self.may_promote(false, None) {
                Ok(()) => "`twindisk promote` may use it".to_owned(),
                Err(no) => format!("this node can't be promoted all the same: {}", no.why),
            },
        };
        let term = self.store.get().term;
        self.done(
            id,
            format!("the receipt about {name} is stored for term {term}: {next}"),
        );
    }
}

impl ReceiptCheck {
    /// When time is to pass for it.
    pub(crate) fn deadline(&self) -> Option<Time> {
        (self.looks > 0).then_some(self.next)
    }
}
