//! R14: the in-sync set grows only when every member has stored that it does; who joins is told last. Until then it is a
//! whole copy, kept equal, that counts for nothing. A set that grew behind the back of a member that is away would let
//! that member go on alone, and let the joiner be promoted without what it had acknowledged.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{Epoch, Slot, SlotSet},
    lineage::Relation,
    superblock::{Standing, StoredDisk},
};

use super::{Entry, GrowStep, Kind};
use crate::{
    Mark, Protocol, Role,
    jobs::{After, Job, Step},
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// The number of the next in-sync set: above all that this node has stored, proposed or heard of.
    pub(crate) fn next_epoch(&mut self) -> Epoch {
        let heard = self
            .peers
            .iter()
            .filter_map(|peer| Some(peer.said.as_ref()?.epoch));
        let newest = heard.fold(self.proposed.max(self.store.get().epoch), Epoch::max);
        self.proposed = newest.next();
        self.proposed
    }

    /// A set that this node itself has changed. What it holds about others that stay is as true as before: nobody takes
    /// them into a newer set without its word.
    pub(super) fn enter_epoch(&mut self, epoch: Epoch) {
        self.store.change(|superblock| {
            for receipt in superblock
                .peers
                .iter_mut()
                .filter_map(|peer| peer.receipt.as_mut())
            {
                if receipt.epoch == superblock.epoch {
                    receipt.epoch = epoch;
                }
            }
            superblock.epoch = epoch;
        });
    }

    /// By its own account the peer belongs to the set of the newest generation: to become equal again adds nobody.
    pub(crate) fn says_it_is_in(&self, slot: Slot) -> bool {
        self.peer(slot).said.as_ref().is_some_and(|said| {
            said.disk == StoredDisk::UpToDate
                && said.lineage.relation(&self.store.get().lineage) == Relation::Same
        })
    }

    /// What a peer becomes that is equal now.
    pub(super) fn entry_of(&self, slot: Slot, resynced: bool) -> Entry {
        let counted = self.store.peer(slot).standing.is_counted();
        if self.follows().is_some() {
            // Whom a primary counts on is for it to say.
            return if counted { Entry::Member } else { Entry::Copy };
        }
        // Protocol A peers are kept equal, but never counted on (R1). One that is counted on since it handed over in good
        // order leaves only by a right, like everybody: it may be promoted.
        if !counted && self.peer(slot).protocol == Protocol::A {
            return Entry::Copy;
        }
        let again = !resynced && self.says_it_is_in(slot);
        let others = self.others_of(slot);
        if again || others.is_empty() || self.mutant(Mutant::GrowUnheard) {
            Entry::Member
        } else {
            Entry::Copy
        }
    }

    /// R14: the term is granted to a peer, which says from now on who is in sync. What this node was about to tell would be
    /// told in the new term, and taken for that peer's.
    pub(crate) fn leave_the_set_to(&mut self, grantee: Slot) {
        self.granted = Some(grantee);
        let kind = self.change.as_ref().map(|change| change.kind.clone());
        match kind {
            // The joiner may have been told in the old term: then it is counted on until somebody knows better.
            Some(Kind::Grow(..)) => {
                self.marks.mark(Mark::GrantEndsChange);
                self.change = None;
            }
            Some(Kind::Join(slot, _)) if self.has_joined(slot) => {
                // It has stored what it was told in the old term: nothing more is to be said.
                if let Some(change) = &mut self.change {
                    change.awaiting = SlotSet::EMPTY;
                }
            }
            // To become equal again adds nobody.
            Some(Kind::Join(slot, Entry::Member)) if self.says_it_is_in(slot) => {}
            Some(Kind::Join(slot, _)) => {
                self.change = None;
                let why = "the term is granted to another node: once more in its";
                self.drop_link(slot, Mark::GrantEndsChange, why);
            }
            // Those are a primary's, or a candidate's, which is no grantor.
            Some(Kind::Leave(..) | Kind::Detach | Kind::Promote) | None => {}
        }
    }

    /// It has stored the set that it is in now.
    pub(crate) fn has_joined(&self, slot: Slot) -> bool {
        self.change
            .as_ref()
            .is_some_and(|change| change.stored && !change.awaiting.contains(slot))
    }

    /// A member that has begun to part and is back before this primary went on without it is a copy now. What was
    /// acknowledged with it must not hang on a cache here when it becomes one.
    pub(super) fn becomes_a_copy(&self, slot: Slot) -> bool {
        self.role == Role::Primary
            && self.store.peer(slot).standing == Standing::In
            && !self.says_it_is_in(slot)
            && !self.others_of(slot).is_empty()
    }

    /// The members whose word is needed before `joiner` is one: all but those whose release is held for this epoch.
    fn others_of(&self, joiner: Slot) -> SlotSet {
        self.store
            .in_sync()
            .iter()
            .filter(|slot| *slot != joiner)
            // A primary goes on without them first, in a generation of its own.
            .filter(|slot| self.role == Role::Primary || !self.has_released_itself(*slot))
            .collect()
    }

    /// Members that are away, so that `slot`, which is equal, can't become one.
    pub(crate) fn growth_waits_for(&self, slot: Slot) -> SlotSet {
        self.others_of(slot)
            .iter()
            .filter(|other| !self.is_here(*other))
            .collect()
    }

    pub(crate) fn is_here(&self, slot: Slot) -> bool {
        let peer = self.peer(slot);
        peer.phase == Phase::Established && peer.link.is_some_and(|link| !link.closing)
    }

    /// An equal copy that is not counted on, and would be if every member were here.
    pub(crate) fn is_whole_copy(&self, slot: Slot) -> bool {
        // What nearly always holds is asked first: this is asked after every event.
        if self.store.peer(slot).standing == Standing::In {
            return false;
        }
        let leads = self.role == Role::Primary
            || self.follows().is_none() && self.stored_up_to_date() && self.disk_attached();
        let wanted = self.peer(slot).protocol != Protocol::A || self.hands_over_to(slot);
        leads && wanted && self.is_here(slot)
    }

    /// The role is about to be handed to this peer.
    fn hands_over_to(&self, slot: Slot) -> bool {
        matches!(
            &self.job,
            Some(Job { step: Step::Draining { after: After::TakeOver(to), .. }, .. }) if *to == slot
        )
    }

    /// Takes a whole copy into the set, if one is there and every member is.
    pub(super) fn begin_growth(&mut self) -> bool {
        let Some(slot) = self.slots().find(|slot| self.may_grow(*slot)) else {
            return false;
        };
        let epoch = self.next_epoch();
        let others = self.others_of(slot);
        self.changes += 1;
        let id = self.changes;
        self.change = Some(super::Change {
            id,
            kind: Kind::Grow(slot, GrowStep::Members, epoch),
            stored: true,
            awaiting: others,
        });
        for other in others.iter() {
            self.send_membership(id, other);
        }
        true
    }

    fn may_grow(&self, slot: Slot) -> bool {
        if !self.is_whole_copy(slot) {
            return false;
        }
        let quiet = self.job.is_none() || self.hands_over_to(slot);
        // Whoever is granted a term says who is in sync in it.
        let granted = self.role == Role::Standby && self.granted.is_some();
        let first = self.role == Role::Primary || self.leads_standbys(slot);
        quiet
            && !granted
            && first
            && (self.role == Role::Standby || self.is_confirmed())
            && self.peer(slot).bitmap.dirty() == 0
            && self.growth_waits_for(slot).is_empty()
    }

    /// Of standbys that are all equal the one with the lowest number changes the set, but for the one that is to be taken in.
    fn leads_standbys(&self, joiner: Slot) -> bool {
        let mine = self.store.get().node;
        let others = self.store.in_sync();
        let mut others = others.iter().filter(|slot| *slot != joiner);
        others.all(|slot| self.peer(slot).node > mine || !self.is_here(slot))
    }

    /// Every member has stored it: now the joiner may know.
    pub(super) fn tell_joiner(&mut self, id: u64, slot: Slot, epoch: Epoch) {
        let gone: Vec<Slot> = self
            .store
            .in_sync()
            .iter()
            .filter(|other| *other != slot && self.has_released_itself(*other))
            .collect();
        self.enter_epoch(epoch);
        self.store.change(|superblock| {
            for other in &gone {
                superblock.peers[other.index()].standing = Standing::Out;
                superblock.peers[other.index()].receipt = None;
            }
            let record = &mut superblock.peers[slot.index()];
            record.standing = Standing::Joining;
            record.receipt = None;
        });
        if let Some(change) = &mut self.change {
            change.kind = Kind::Grow(slot, GrowStep::Joiner, epoch);
            change.stored = false;
            change.awaiting = SlotSet::EMPTY;
        }
        self.store.then(Then::Changed(id));
    }

    /// It has stored it as well.
    pub(super) fn grown(&mut self, slot: Slot) {
        self.marks.mark(Mark::SetGrew);
        self.store
            .change(|superblock| superblock.peers[slot.index()].standing = Standing::In);
        self.tell_members();
    }

    /// That `slot` has everything was not known to the other members: they keep what it may lack as dirty until they hear it.
    pub(super) fn is_news_to_members(&self, slot: Slot) -> bool {
        self.store.in_sync().iter().any(|other| other != slot)
    }

    /// Tells `to` the set.
    pub(super) fn send_membership(&mut self, change: u64, to: Slot) {
        self.tell_all_seen(to);
        let membership = self.membership(change, to);
        self.send(to, Frame::Control(ControlMessage::Membership(membership)));
    }

    /// Tells the members what has come of a change they know of. Nothing waits for that. Who has granted a term says no more:
    /// it would be told in the new term, and whom the grantee has yet to ask would be in that term already.
    pub(super) fn tell_members(&mut self) {
        let granted = self.role == Role::Standby && self.granted.is_some();
        if granted || self.follows().is_some() {
            return;
        }
        for slot in self.store.in_sync().iter() {
            if self.is_here(slot) && self.store.peer(slot).standing == Standing::In {
                self.send_membership(0, slot);
            }
        }
    }

    /// A peer is lost while the set grows by `joiner`.
    pub(super) fn growth_lost(&mut self, joiner: Slot, step: GrowStep, lost: Slot) {
        match step {
            GrowStep::Members => {
                let needed = self
                    .change
                    .as_ref()
                    .is_some_and(|change| change.awaiting.contains(lost));
                if lost == joiner || needed {
                    // The joiner has heard of nothing: there is nothing to be afraid of.
                    self.marks.mark(Mark::GrowthPutOff);
                    self.change = None;
                    // Those that have stored it hear that nothing came of it.
                    let epoch = self.next_epoch();
                    self.enter_epoch(epoch);
                    self.tell_members();
                }
            }
            // It may have stored it: it is counted on until there is a right about it.
            GrowStep::Joiner if lost == joiner => self.change = None,
            GrowStep::Joiner => {}
        }
    }
}
