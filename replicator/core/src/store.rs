//! The superblock in memory and on the disk: changes are made here, stored, and only then does anything that depends
//! on them happen.

use std::collections::VecDeque;

use twindisk_format::{
    ids::{Moment, Slot, SlotSet},
    layout::Layout,
    meta_block::MetaBlock,
    superblock::{PeerRecord, Superblock},
};

/// The superblock, with the changes that are not stored yet. `T` says what is to be done once a change is stored.
#[derive(Clone, Debug)]
pub(crate) struct Store<T> {
    superblock: Superblock,
    /// Of the newest copy on the disk, or on its way there.
    counter: u64,
    changes: u64,
    stored: u64,
    /// Which could not be stored.
    failed: u64,
    /// Which state is on its way to the disk.
    writing: Option<u64>,
    /// The counter of the newest copy that is on the disk for certain.
    moment: Moment,
    /// The counter of the copy on its way there.
    in_flight: Moment,
    /// Something was noted that no write has brought along.
    notes: bool,
    then: VecDeque<(u64, T)>,
    /// By what is on the disk, and by what is on its way there, nobody else is in the in-sync set.
    alone: (bool, bool),
    /// By what is on the disk, and by what is on its way there, the copy is at rest.
    rests: (bool, bool),
    /// By what is on the disk, and by what is on its way there, the newest generation may be forgotten.
    unconfirmed: (bool, bool),
}

fn is_alone(superblock: &Superblock) -> bool {
    let mut peers = superblock.peers.iter();
    peers.all(|peer| !peer.standing.is_counted())
}

impl<T> Store<T> {
    pub(crate) fn new(superblock: Superblock, counter: u64) -> Self {
        let alone = is_alone(&superblock);
        Self {
            alone: (alone, alone),
            rests: (!superblock.active, !superblock.active),
            unconfirmed: (superblock.unconfirmed, superblock.unconfirmed),
            superblock,
            counter,
            changes: 0,
            stored: 0,
            failed: 0,
            writing: None,
            moment: Moment(counter),
            in_flight: Moment(counter),
            notes: false,
            then: VecDeque::new(),
        }
    }

    /// The newest state, stored or not.
    pub(crate) const fn get(&self) -> &Superblock {
        &self.superblock
    }

    /// Changes the state. It is stored by the next write, which `next_write` asks for.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Superblock)) {
        change(&mut self.superblock);
        self.changes += 1;
    }

    /// How many changes there were, and how many of them are stored.
    pub(crate) const fn progress(&self) -> (u64, u64) {
        (self.changes, self.stored)
    }

    /// Changes something that the next write may bring along, and that is worth none of its own.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Superblock)) {
        change(&mut self.superblock);
        self.notes = true;
    }

    /// Whether something was noted that no write has brought along.
    pub(crate) const fn has_notes(&self) -> bool {
        self.notes
    }

    /// Does `then` once everything changed so far is stored.
    pub(crate) fn then(&mut self, then: T) {
        self.then.push_back((self.changes, then));
    }

    /// What waits to be stored.
    pub(crate) fn waiting(&self) -> impl ExactSizeIterator<Item = &T> {
        self.then.iter().map(|(_, then)| then)
    }

    /// The write that is due now: block number and contents. One is under way at a time.
    pub(crate) fn next_write(&mut self) -> Option<(u64, Box<MetaBlock>)> {
        if !self.is_due() {
            return None;
        }
        self.writing = Some(self.changes);
        self.counter += 1;
        self.notes = false;
        self.in_flight = Moment(self.counter);
        self.alone.1 = is_alone(&self.superblock);
        self.rests.1 = !self.superblock.active;
        self.unconfirmed.1 = self.superblock.unconfirmed;
        let block = Layout::superblock_block(self.counter);
        Some((block, self.superblock.encode(self.counter)))
    }

    /// The write succeeded.
    pub(crate) fn written(&mut self) {
        self.stored = self
            .writing
            .take()
            .expect("a superblock write was under way");
        self.moment = self.in_flight;
        self.alone.0 = self.alone.1;
        self.rests.0 = self.rests.1;
        self.unconfirmed.0 = self.unconfirmed.1;
    }

    /// Whether a process that started now might find that the copy was at rest.
    pub(crate) const fn may_be_at_rest(&self) -> bool {
        self.rests.0 || self.rests.1
    }

    /// Whether a process that started now might forget the newest generation.
    pub(crate) const fn may_be_unconfirmed(&self) -> bool {
        self.unconfirmed.0 || self.unconfirmed.1
    }

    /// Whether a process that started now would take its copy for the only one.
    pub(crate) const fn is_alone_stored(&self) -> bool {
        self.alone.0
    }

    /// The write failed. The copy it went to is not to be counted on: the next write goes there again. Returns what
    /// waited for it, in vain.
    pub(crate) fn failed(&mut self) -> Vec<T> {
        self.writing = None;
        self.counter -= 1;
        // Nothing is tried again by itself, or a dead metadata device would be written to for ever.
        self.failed = self.changes;
        self.then.drain(..).map(|(_, then)| then).collect()
    }

    /// Nothing more will be written. Returns what waits for a change that is not even on its way to the disk.
    pub(crate) fn give_up(&mut self) -> Vec<T> {
        let last = self.writing.unwrap_or(self.stored);
        let kept = self.then.partition_point(|(change, _)| *change <= last);
        self.then.drain(kept..).map(|(_, then)| then).collect()
    }

    /// The next thing to do whose state is stored.
    pub(crate) fn next_then(&mut self) -> Option<T> {
        let &(change, _) = self.then.front()?;
        if change > self.stored {
            None
        } else {
            self.then.pop_front().map(|(_, then)| then)
        }
    }

    /// Whether `next_write` has a write.
    pub(crate) const fn is_due(&self) -> bool {
        self.stored != self.changes && self.failed != self.changes && self.writing.is_none()
    }

    pub(crate) fn peer(&self, slot: Slot) -> &PeerRecord {
        &self.superblock.peers[slot.index()]
    }

    /// How often the superblock on the disk was written.
    pub(crate) const fn moment(&self) -> Moment {
        self.moment
    }

    /// The peers of the in-sync set.
    pub(crate) fn in_sync(&self) -> SlotSet {
        self.slots()
            .filter(|slot| self.peer(*slot).standing.is_counted())
            .collect()
    }

    /// The slots in use.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<T> {
        (0..self.superblock.peers.len()).filter_map(Slot::new)
    }
}
