//! Growing the device on line. Every peer says that it has room; the new blocks are zeroed everywhere; every peer stores the
//! new size; then this node does, and clients see it.
//!
//! So whoever has stored the size has zeros there, and nobody has when the primary is lost before. Whoever follows a leader
//! takes over its size: no client can have seen a larger one.

use twindisk_format::{
    control::ControlMessage,
    frame::Frame,
    ids::{BlockRange, Seq, Slot, SlotSet},
    limits::MAX_ZERO_BLOCKS,
};

use crate::{
    Action, Cause, CommandId, ExportState, Failure, LinkId, Mark, OpId, Report, Role,
    mutants::Mutant,
    mutation::{Body, Mutation, Origin, Stage},
    peer::Phase,
    replica::{Op, Replica, Then},
};

/// A resize that is led from here.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    command: CommandId,
    wanted: Option<u64>,
    to: u64,
    /// Peers that have not answered.
    waiting: SlotSet,
    /// Next block to be zeroed.
    zeroed: u64,
    /// Everything is zeroed: the peers are storing the size.
    storing: bool,
}

/// What a primary asks of this standby, while the backing device is being looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerResize {
    slot: Slot,
    link: LinkId,
    size_blocks: u64,
    store: bool,
}

impl Replica {
    /// The operator wants a larger device.
    pub(crate) fn resize(&mut self, id: CommandId, wanted: Option<u64>) {
        if self.role != Role::Primary || self.frozen() {
            return self.refuse_command(
                id,
                Cause::ResizeNotNow,
                "only a primary whose I/O is not suspended can resize the device",
                "promote a node, or release the suspension, then try again",
            );
        }
        let not_equal = self
            .slots()
            .find(|slot| self.peer(*slot).phase != Phase::Established);
        if let Some(slot) = not_equal {
            let name = self.peer(slot).name.clone();
            return self.refuse_command(
                id,
                Cause::ResizeNotEqual,
                format!("{name} is not connected and equal"),
                "every peer must take part: connect it and let its resync finish",
            );
        }
        if self.resize.is_some() {
            return self.refuse_command(
                id,
                Cause::ResizeBusy,
                "a resize is under way",
                "wait for it",
            );
        }
        let size = self.size_blocks();
        self.resize = Some(Resize {
            command: id,
            wanted,
            to: size,
            waiting: SlotSet::EMPTY,
            zeroed: size,
            storing: false,
        });
        let op = self.op(Op::Capacity);
        self.act(Action::ProbeCapacity { op });
    }

    /// How large the backing device is now.
    pub(crate) fn capacity_known(&mut self, op: OpId, blocks: u64) {
        assert_eq!(
            self.take_op(op),
            Op::Capacity,
            "the answer belongs to a probe"
        );
        let most = blocks.min(self.store.get().max_size_blocks);
        self.capacity_blocks = self.capacity_blocks.max(most);
        if let Some(asked) = self.peer_resizes.pop_front() {
            return self.answer_peer_resize(asked);
        }
        let Some(resize) = &mut self.resize else {
            return;
        };
        resize.to = resize.wanted.unwrap_or(self.capacity_blocks);
        let (id, to) = (resize.command, resize.to);
        let size = self.size_blocks();
        if to <= size || to > self.capacity_blocks {
            let most = self.capacity_blocks;
            self.resize = None;
            return self.refuse_command(
                id,
                Cause::ResizeSize,
                format!(
                    "the device has {size} blocks of 4 KiB and can only grow; backing device and metadata here have \
                     room for {most}"
                ),
                "grow the backing device on every node first. Where the metadata lies at its end: stop the node, grow, \
                 `twindisk metadata move`, start it. Metadata of its own has room up to the --max-size of `init`",
            );
        }
        self.ask_all_to_resize(to, false);
    }

    /// Goes on when every peer has answered.
    fn ask_all_to_resize(&mut self, size_blocks: u64, store: bool) {
        let slots: SlotSet = self.slots().collect();
        let Some(resize) = &mut self.resize else {
            return;
        };
        resize.waiting = slots;
        resize.storing = store;
        for slot in slots.iter() {
            let message = ControlMessage::Resize { size_blocks, store };
            self.send(slot, Frame::Control(message));
        }
        if slots.is_empty() {
            self.peers_agree();
        }
    }

    /// The primary asks for room for a new size, or for it to be stored.
    pub(crate) fn peer_resize(&mut self, slot: Slot, size_blocks: u64, store: bool) {
        let Some(link) = self.peer(slot).link else {
            return;
        };
        self.peer_resizes.push_back(PeerResize {
            slot,
            link: link.id,
            size_blocks,
            store,
        });
        let op = self.op(Op::Capacity);
        self.act(Action::ProbeCapacity { op });
    }

    /// Sizes that a peer has asked for, and has no answer to.
    pub(crate) fn resizes_for(&self, slot: Slot) -> usize {
        let resizes = self.peer_resizes.iter();
        resizes.filter(|resize| resize.slot == slot).count()
    }

    fn answer_peer_resize(&mut self, asked: PeerResize) {
        let PeerResize {
            slot,
            link,
            size_blocks,
            store,
        } = asked;
        if self
            .peer(slot)
            .link
            .is_none_or(|current| current.id != link)
        {
            return;
        }
        if size_blocks > self.capacity_blocks {
            self.marks.mark(Mark::NoRoomForSize);
            let why = format!("there is room for {} blocks here", self.capacity_blocks);
            return self.send(slot, Frame::Control(ControlMessage::Refused { why }));
        }
        if self.follows() != Some(slot) {
            self.marks.mark(Mark::ResizeUnfollowed);
            let why = "this node does not follow".to_owned();
            return self.send(slot, Frame::Control(ControlMessage::Refused { why }));
        }
        let size = self.size_blocks();
        let growing = &mut self.peer_mut(slot).received.growing;
        if !store && size_blocks >= size {
            *growing = Some((size, size_blocks));
            return self.send_resized(slot, link, size_blocks);
        }
        if size_blocks == size {
            return self.send_resized(slot, link, size_blocks);
        }
        // Zeros lie in what was asked for; and what is stored may be taken back.
        if growing.is_none_or(|(from, to)| ![from, to].contains(&size_blocks)) {
            let why = format!(
                "it wants a device of {size_blocks} blocks, which it has not asked room for"
            );
            return self.drop_link(slot, Mark::ResizeUnasked, why);
        }
        self.adopt_size(size_blocks);
        self.store.then(Then::Resized {
            slot,
            link,
            size_blocks,
        });
    }

    /// Takes over the leader's size. What it adds is zeroed, or resynced, by the leader.
    pub(crate) fn adopt_size(&mut self, size_blocks: u64) {
        if size_blocks == self.size_blocks() {
            return;
        }
        self.store
            .change(|superblock| superblock.size_blocks = size_blocks);
        for peer in &mut self.peers {
            peer.bitmap.resize(size_blocks);
        }
        self.report(Report::Resized { size_blocks });
    }

    pub(crate) fn send_resized(&mut self, slot: Slot, link: LinkId, size_blocks: u64) {
        if self
            .peer(slot)
            .link
            .is_some_and(|current| current.id == link)
        {
            self.send(
                slot,
                Frame::Control(ControlMessage::Resized { size_blocks }),
            );
        }
    }

    /// A peer has room for the new size, or has stored it.
    pub(crate) fn peer_resized(&mut self, slot: Slot, size_blocks: u64) {
        let Some(resize) = &mut self.resize else {
            return;
        };
        if resize.to == size_blocks && resize.waiting.remove(slot) && resize.waiting.is_empty() {
            self.peers_agree();
        }
    }

    /// Every peer has answered.
    fn peers_agree(&mut self) {
        let Some(resize) = &self.resize else {
            return;
        };
        if resize.storing {
            let to = resize.to;
            self.adopt_size(to);
            self.store.then(Then::ResizeDone);
        } else {
            self.zero_next();
        }
    }

    /// The device stays as it was. Peers that have stored the new size take it back.
    pub(crate) fn resize_refused(&mut self, cause: Cause, why: &str) {
        let Some(resize) = self.resize.take() else {
            return;
        };
        self.give_up_zeros();
        if resize.storing {
            let size_blocks = self.size_blocks();
            for slot in self.slots() {
                let store = true;
                let message = ControlMessage::Resize { size_blocks, store };
                self.send(slot, Frame::Control(message));
            }
        }
        self.refuse_command(
            resize.command,
            cause,
            format!("the size is as before: {why}"),
            "`twindisk status` shows the peers; see that there is room on each, then try again",
        );
    }

    /// Zeros that have not begun are not written any more; those that wait for the activity log see it when it is written.
    /// Nobody is waited for with those that have: they lie beyond the end of the device, where no bit says that a peer which
    /// is lost lacks them, so that it may be equal again without ever answering.
    fn give_up_zeros(&mut self) {
        let zeros: Vec<usize> = self
            .mutations
            .iter()
            .filter(|(_, mutation)| mutation.origin == Origin::Resize && !mutation.answered)
            .map(|(index, _)| index)
            .collect();
        let waits = self.mutant(Mutant::ZerosWaitForTheLost);
        for index in zeros {
            let mutation = &mut self.mutations[index];
            mutation.cancelled = true;
            if !waits {
                mutation.waiting = SlotSet::EMPTY;
            }
            if matches!(mutation.stage, Stage::Locking | Stage::Frozen) {
                self.frozen.retain(|&other| other != index);
                self.drop_unissued(index);
            } else {
                self.check_done(index);
            }
        }
    }

    /// A peer is lost before the new size is in force everywhere.
    pub(crate) fn resize_lost_peer(&mut self, slot: Slot, why: &str) {
        let Some(resize) = &self.resize else {
            return;
        };
        // Once every peer has stored it, only this node is left to do so.
        if !resize.storing || resize.waiting.contains(slot) {
            let name = self.peer(slot).name.clone();
            self.resize_refused(Cause::ResizePeerLost, &format!("{name} was lost: {why}"));
        }
    }

    /// A resize is not waited for by who gives up the role, unless every peer has it and only this node has yet to store it.
    pub(crate) fn end_resize(&mut self) -> bool {
        let resize = self.resize.as_ref();
        if resize.is_some_and(|resize| resize.storing && resize.waiting.is_empty()) {
            return false;
        }
        if !self.mutant(Mutant::ResizeOutlivesTheRole) {
            self.give_up_resize();
        }
        true
    }

    /// This node stops being primary: what is added stays unseen.
    pub(crate) fn give_up_resize(&mut self) {
        self.resize_refused(Cause::ResizeSteppedDown, "this node stops being primary");
    }

    /// Zeroes the next part of what is added, on every replica.
    fn zero_next(&mut self) {
        let began = self.now;
        let skips = self.mutant(Mutant::ResizeWithoutZeroing);
        let Some(resize) = &mut self.resize else {
            return;
        };
        if resize.zeroed == resize.to || skips {
            let to = resize.to;
            return self.ask_all_to_resize(to, true);
        }
        let blocks = (resize.to - resize.zeroed).min(u64::from(MAX_ZERO_BLOCKS)) as u32;
        let range = BlockRange::new(resize.zeroed, blocks);
        resize.zeroed = range.end();
        self.begin_mutation(Mutation {
            origin: Origin::Resize,
            body: Body::Zero { unmap: true },
            range,
            fua: true,
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

    /// A part is zeroed everywhere.
    pub(crate) fn resize_zeroed(&mut self, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.zero_next(),
            Err(_) => {
                let why = "the new blocks could not be zeroed";
                self.resize_refused(Cause::ResizeNotZeroed, why);
            }
        }
    }

    /// The new size is stored: clients may see it.
    pub(crate) fn resize_done(&mut self) {
        let Some(resize) = self.resize.take() else {
            return;
        };
        if self.export_open {
            self.set_export(ExportState::Open {
                size_blocks: resize.to,
            });
        }
        self.done(
            resize.command,
            format!("the device has {} blocks now", resize.to),
        );
    }
}
