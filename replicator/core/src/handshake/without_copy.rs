//! A primary without a copy of its own can bring nobody up. A member that is recorded as outdated is of no use to it, and
//! never will be before somebody else has brought it up: the primary goes on without it, by the member's own word.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::Slot,
    superblock::{ReceiptKind, StoredDisk},
};

use crate::{
    LinkId, Role,
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// The two can't become equal. R3: that this copy is not the newest is stored before it is said.
    pub(super) fn release_to_one_without_disk(&mut self, slot: Slot) {
        let peer = self.peer(slot);
        let without = peer.said.as_ref();
        let without = without.is_some_and(|said| said.primary && said.disk == StoredDisk::Failed);
        let outdated = self.store.get().disk != StoredDisk::UpToDate;
        if without
            && outdated
            && self.role == Role::Standby
            && !self.metadata_failed
            && let Some(link) = peer.link
            && !self.mutant(Mutant::KeepToTheOutdated)
        {
            self.store.then(Then::Released {
                slot,
                link: link.id,
            });
        }
    }

    pub(crate) fn release_is_stored(&mut self, slot: Slot, link: LinkId) {
        let peer = self.peer(slot);
        let same = peer.link.is_some_and(|current| current.id == link);
        if same && peer.phase == Phase::Waiting && !self.stored_up_to_date() {
            self.send(
                slot,
                Frame::Control(ControlMessage::Ready { released: true }),
            );
        }
    }

    /// A member says that it is recorded as outdated, though nobody is about to bring it up.
    pub(super) fn released_without_a_resync(&mut self, slot: Slot) {
        let said = self.peer(slot).said.as_ref();
        let outdated = said.is_some_and(|said| said.disk != StoredDisk::UpToDate);
        if outdated
            && self.role == Role::Primary
            && !self.disk_attached()
            && self.store.peer(slot).standing.is_counted()
        {
            self.store_receipt(slot, ReceiptKind::Release, "it recorded itself as outdated");
        }
    }
}
