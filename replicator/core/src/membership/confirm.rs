//! Until every member has stored a generation it is *unconfirmed*: if its primary is lost before, it is forgotten. Nothing
//! is acknowledged in it before that.
//!
//! The members of a promotion store it as unconfirmed, too: one of them may never hear of it, and go on with others when
//! the new primary is lost. The first write tells them that this has not happened. A generation that begins because somebody
//! has left is another matter: writes that the members have already are completed in it at once.

use twindisk_format::ids::GenerationId;

use crate::{
    Role,
    mutants::Mutant,
    replica::{Replica, Then},
};

impl Replica {
    /// Every member knows the newest generation: from now on it counts, also against those who do not know it.
    pub(crate) fn confirm_generation(&mut self) -> bool {
        let due = self.role == Role::Primary
            && self.store.get().unconfirmed
            && self.change.is_none()
            && self.missing().is_empty();
        let newest = self.store.get().lineage.newest();
        let Some(newest) = newest.filter(|_| due) else {
            return false;
        };
        self.store
            .change(|superblock| superblock.unconfirmed = false);
        // Without metadata of its own, the members' copies are what counts.
        if !self.metadata_failed {
            self.confirming = Some(newest.id);
            self.store.then(Then::Confirmed(newest.id));
        }
        true
    }

    /// The primary writes in the newest generation: every member has confirmed it. The write waits until that is stored.
    pub(crate) fn hear_that_it_is_confirmed(&mut self) {
        if self.store.get().unconfirmed && !self.mutant(Mutant::WritesConfirmNothing) {
            self.store
                .change(|superblock| superblock.unconfirmed = false);
        }
    }

    /// That is stored: writes may be completed in it.
    pub(crate) fn generation_confirmed(&mut self, generation: GenerationId) {
        if self.confirming == Some(generation) {
            self.confirming = None;
        }
    }

    /// Whether what is completed in the newest generation can't be forgotten with it.
    pub(crate) fn is_confirmed(&self) -> bool {
        !self.store.get().unconfirmed && self.confirming.is_none()
    }
}
