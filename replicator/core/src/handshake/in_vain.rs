//! A primary without a copy of its own counts on one that can't lead it, since it is none any more: it was rolled back, or
//! is recorded as outdated.

use twindisk_format::{control::ControlMessage, frame::Frame, ids::Slot, lineage::Relation};

use crate::{
    LinkId, Role,
    moment::Leads,
    mutants::Mutant,
    peer::Phase,
    replica::{Replica, Then},
};

impl Replica {
    /// Nothing comes of the comparison. A primary with a copy would bring this one up, and hear before that it has
    /// released itself. One without has to hear it too: it would wait for ever for a member that is here.
    pub(super) fn counted_on_in_vain(&mut self, slot: Slot) {
        let Some((link, said)) = self.peer(slot).link.zip(self.peer(slot).said.as_ref()) else {
            return;
        };
        let mine = self.store.get();
        let counted = said.primary
            && said.in_sync.contains(&mine.node)
            // It counts on nothing that one who is being taken in has.
            && !said.joining.contains(&mine.node)
            && matches!(
                mine.lineage.relation(&said.lineage),
                Relation::Same | Relation::Behind
            );
        let silent = self.metadata_failed || self.mutant(Mutant::CountedOnInVain);
        if !counted || self.role == Role::Primary || silent {
            return;
        }
        let name = self.peer(slot).name.clone();
        self.was_rewound(slot, Leads::No);
        self.outdate(&format!("{name} has newer data, and no copy of its own"));
        let link = link.id;
        self.store.then(Then::NoCopyStored { slot, link });
    }

    /// That is stored.
    pub(crate) fn no_copy_stored(&mut self, slot: Slot, link: LinkId) {
        let peer = self.peer(slot);
        let here = (peer.link).is_some_and(|current| current.id == link && !current.closing);
        if !here || peer.phase != Phase::Waiting || self.stored_up_to_date() {
            return;
        }
        self.send(slot, Frame::Control(ControlMessage::Released));
        // So is that it was rolled back: the peer need not remember it any more.
        let moment = self.store.moment();
        self.send_moment(slot, moment);
    }
}
