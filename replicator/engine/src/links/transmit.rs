//! From queued frames to bytes: as many as fit in one call, block data straight from its buffers.

use twindisk_format::{
    frame::{Envelope, Frame},
    ids::{BlockRange, Slot},
    limits::BLOCK_BYTES,
};

use super::{
    Context, Links, Why,
    link::{Link, Outgoing, State},
    receive::token,
    tls::Tls,
};
use crate::{
    buffers::Buffers,
    ring::{Completion, Turn},
    send::Sent,
    tokens::Kind,
};

impl Links {
    /// Begins the next send, unless one is under way.
    pub(super) fn transmit(&mut self, slot: Slot, context: &mut Context<'_>) {
        let Some(link) = self.link(slot) else {
            return;
        };
        if link.state == State::Dead || link.is_sending() {
            return;
        }
        let within = link.tls.as_ref().is_some_and(Tls::is_within_batch);
        while !within && link.batch.has_room(1) {
            let Some(frame) = link.queue.pop() else {
                break;
            };
            link.add(&frame, context.buffers);
        }
        let batch = match &mut link.tls {
            None => &mut link.batch,
            Some(tls) => {
                if let Err(why) = tls.encrypt(&link.batch, context.buffers) {
                    return self.end(slot, Why::Broken(why), context);
                }
                &mut tls.outgoing
            }
        };
        if !batch.is_empty() {
            let token = token(Kind::LinkSend, link.id, slot);
            let to = (link.file, Turn::Peers);
            batch.stage(context.ring, context.buffers, to, token);
        }
    }

    /// A send has ended.
    pub(crate) fn sent(&mut self, completion: Completion, context: &mut Context<'_>) {
        let slot = self.slot_of(completion);
        let link = self.link(slot).expect("just found");
        let sent = match &mut link.tls {
            None => link.batch.complete(completion),
            Some(tls) => match tls.outgoing.complete(completion) {
                Sent::Whole if !tls.is_sent(&link.batch) => Sent::Part,
                Sent::Whole => {
                    link.batch.clear();
                    Sent::Whole
                }
                sent @ (Sent::Part | Sent::Failed(_)) => sent,
            },
        };
        match sent {
            Sent::Whole => {
                for held in link.batch_bufs.drain(..) {
                    held.let_go(context);
                }
            }
            // `transmit` sends the rest.
            Sent::Part => {}
            Sent::Failed(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                self.end(
                    slot,
                    Why::Broken(format!("sending failed: {error}")),
                    context,
                );
            }
        }
    }
}

impl Link {
    /// Encodes a frame into the batch. Its place in the chain is fixed by that.
    fn add(&mut self, frame: &Outgoing, buffers: &mut Buffers) {
        let payload = frame
            .payload
            .map(|(buf, at)| (buf, at, payload_range(&frame.envelope)));
        let crc = payload.map_or(0, |(buf, at, range)| buffers.crc(buf, at, range.blocks));
        let small = self.batch.begin_small();
        let at = small.len();
        small.resize(at + twindisk_format::wire::HEADER_BYTES, 0);
        // Contents go behind the header's place in the same memory.
        let header = self.encoder.encode(&frame.envelope, crc, small);
        small[at..at + header.len()].copy_from_slice(&header);
        self.batch.end_small();
        if let Some((buf, at, range)) = payload {
            let bytes = range.blocks as usize * BLOCK_BYTES;
            self.batch
                .push_payload(buf, at as usize * BLOCK_BYTES, bytes);
            self.batch_bufs.extend(frame.held());
        }
    }
}

/// The blocks whose data follows the frame.
fn payload_range(envelope: &Envelope) -> BlockRange {
    match envelope.frame {
        Frame::Write { range, .. } | Frame::ReadReply { range, .. } => range,
        ref other => panic!("block data with {other:?}"),
    }
}
