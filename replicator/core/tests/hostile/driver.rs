//! What a node's driver does with the actions of its core.

use twindisk_core::{
    Action, BufId, ClientOp, ConnectionId, DiskError, DiskIo, Event, ExportState, LinkId,
    LinkIntent, RequestId,
};
use twindisk_format::{
    frame::{Envelope, Frame},
    ids::Slot,
};

use crate::{
    node::{MOST_BLOCKS, node_at},
    world::{Sent, World},
};

impl World {
    /// Does what a node asks for.
    pub(crate) fn drain(&mut self, number: usize) {
        while let Some(action) = self.nodes[number].replica.poll_action() {
            self.act(number, action);
        }
    }

    fn act(&mut self, number: usize, action: Action) {
        match action {
            Action::Disk { op, io } => {
                let unreadable = self.nodes[number].unreadable;
                let result = match io {
                    DiskIo::Read { .. } | DiskIo::Hash { .. } if unreadable => Err(DiskError {
                        errno: 5,
                        what: "it can't be read".to_owned(),
                    }),
                    io => Ok(self.nodes[number].disk_io(io)),
                };
                let done = Event::DiskDone { op, result };
                self.nodes[number].pending.push(done);
            }
            Action::MetaWrite { op, block, data } => {
                let node = &mut self.nodes[number];
                assert!(node.meta.insert(block, data).is_some(), "block {block}");
                let result = Ok(());
                node.pending.push(Event::MetaDone { op, result });
            }
            Action::Send {
                peer,
                link,
                envelope,
                payload,
            } => self.send(number, (peer, link), envelope, payload),
            Action::Complete { request, result } => self.answered(number, request, result.is_ok()),
            Action::Forget { request } => self.answered(number, request, false),
            Action::Release { buf } => {
                let node = &mut self.nodes[number];
                assert!(node.bufs.remove(&buf).is_some(), "{buf:?} released twice");
            }
            Action::Link { peer, intent } => self.intend(number, peer, intent),
            Action::Export(state) => {
                let node = &mut self.nodes[number];
                node.open = matches!(state, ExportState::Open { .. });
                if !node.open {
                    let connection = ConnectionId(1);
                    node.pending.push(Event::ConnectionClosed { connection });
                }
            }
            Action::ProbeCapacity { op } => {
                let blocks = MOST_BLOCKS;
                let pending = &mut self.nodes[number].pending;
                pending.push(Event::Capacity { op, blocks });
            }
            Action::SaveBlocks { op, .. } => {
                let result = Ok("a file".to_owned());
                self.nodes[number].pending.push(Event::Saved { op, result });
            }
            Action::Halt { .. } => self.nodes[number].halted = true,
            Action::Report(_) | Action::Reply { .. } | Action::Bound(_) => {}
        }
    }

    fn send(
        &mut self,
        number: usize,
        (peer, link): (Slot, LinkId),
        envelope: Envelope,
        payload: Option<(BufId, u32)>,
    ) {
        let node = &self.nodes[number];
        let data = payload.map(|(buf, at)| {
            let (Frame::Write { range, .. } | Frame::ReadReply { range, .. }) = envelope.frame
            else {
                unreachable!("{envelope:?} has no payload");
            };
            let held = &node.bufs[&buf][at as usize..];
            held[..range.blocks as usize].to_vec()
        });
        if matches!(envelope.frame, Frame::ReadReply { .. }) {
            let (buf, _) = payload.expect("a reply has data");
            self.nodes[number].pending.push(Event::Sent { buf });
        }
        if self.nodes[number].links[peer.index()] != Some(link) {
            return;
        }
        let to = node_at(number, peer);
        let sent = Sent { envelope, data };
        self.overheard.push_back((number, to, sent.clone()));
        if self.overheard.len() > 60 {
            self.overheard.pop_front();
        }
        self.wires.entry((number, to)).or_default().push_back(sent);
    }

    fn intend(&mut self, number: usize, peer: Slot, intent: LinkIntent) {
        let other = node_at(number, peer);
        match intent {
            LinkIntent::Connect => self.nodes[number].wanted[peer.index()] = true,
            LinkIntent::Reconnect { why, .. } => {
                self.nodes[number].why.push(why);
                self.cut(number, other, "the other side has ended it");
            }
            LinkIntent::Disconnect { .. } => {
                self.nodes[number].wanted[peer.index()] = false;
                while self
                    .wires
                    .get(&(number, other))
                    .is_some_and(|wire| !wire.is_empty())
                {
                    self.deliver(number, other);
                }
                self.cut(number, other, "the other side has closed it");
            }
        }
    }

    /// What was acknowledged is what must be found; anything else that was asked for meanwhile may be.
    fn answered(&mut self, number: usize, request: RequestId, done: bool) {
        let node = &mut self.nodes[number];
        let (op, data) = node.asked.remove(&request).expect("answered once");
        match op {
            ClientOp::Read { buf, .. } => {
                node.bufs.remove(&buf).expect("a read has its buffer");
            }
            ClientOp::Write { range, .. } | ClientOp::Zero { range, .. } if done => {
                for block in range.start..range.end() {
                    let stamps = self.book.entry(block).or_default();
                    let mine = stamps.iter().rposition(|stamp| *stamp == data[0]);
                    // What was asked for before and is not under way with it is gone.
                    if let Some(at) = mine.filter(|_| data[0] != 0) {
                        stamps.drain(..at);
                    }
                }
            }
            ClientOp::Write { .. } | ClientOp::Zero { .. } | ClientOp::Flush => {}
        }
    }
}
