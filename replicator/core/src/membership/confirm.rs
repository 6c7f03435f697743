//! Until every member has stored a generation it is *unconfirmed*: if its primary is lost before, it is forgotten. Nothing
//! is acknowledged in it before that.

use twindisk_format::ids::GenerationId;

use crate::{
    Role,
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
